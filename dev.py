"""Sets up what a checkout needs and runs it. Needs Python 3.10+ and nothing else.

    python dev.py demo     the sample character, end to end
    python dev.py test     all tests that need neither a GPU nor a browser
    python dev.py soak     the long-running figures of SECURITY.md
    python dev.py editor   the example graphs in a real browser (needs chromium and node)
    python dev.py lint     formatter and linter
    python dev.py likeness ...   the command line

Everything is installed into `.venv` beside this file. Where a ComfyUI is found (COMFYUI_PATH, the
folder this pack sits in, ~/comfy/ComfyUI), its packages are used as they are and never changed: the
environment looks through to them and adds only what is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from likeness.cli.comfy import find_comfy, find_python

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
TORCH = "torch==2.13.0"  # only where no ComfyUI brings one; a CPU build is enough
TOOLS = ["pytest>=8", "pytest-timeout", "hypothesis", "ruff", "aiohttp"]
DEMO_NEEDS = ["numpy", "Pillow", "safetensors", "pydantic", "filelock", "tomli; python_version < '3.11'"]


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make_venv(base: Path | None) -> None:
    """A fresh environment; with `base`, one that looks through to that interpreter's packages."""
    made_for = VENV / "made_for.txt"
    if made_for.is_file() and made_for.read_text() == str(base):
        return
    shutil.rmtree(VENV, ignore_errors=True)
    run([base or sys.executable, "-m", "venv", VENV])
    if base:
        code = "import sysconfig; print(sysconfig.get_path('purelib')); print(sysconfig.get_path('platlib'))"
        site = subprocess.check_output([venv_python(), "-c", code], text=True).split("\n")[0]
        theirs = subprocess.check_output([base, "-c", code], text=True).split()
        (Path(site) / "comfyui_packages.pth").write_text("\n".join(dict.fromkeys(theirs)) + "\n")
    made_for.write_text(str(base))


def has(*modules: str) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {modules!r})))"
    return (
        subprocess.run([venv_python(), "-c", code], capture_output=True, cwd=VENV).returncode == 0
    )  # not from the checkout


def pip(*packages: str) -> None:
    run([venv_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])


def set_up(for_tests: bool) -> tuple[Path | None, Path | None]:
    """The environment for a command; returns the ComfyUI found and its interpreter."""
    comfy = find_comfy()
    base = find_python(comfy) if comfy else None
    if comfy and not base:
        print(f"ComfyUI at {comfy}: no Python with its requirements was found, so it is not used (set COMFYUI_PYTHON).")
    make_venv(base)
    if not has("numpy", "PIL", "safetensors", "pydantic", "filelock"):
        pip(*DEMO_NEEDS)
    if not has("likeness"):
        pip("--no-deps", "setuptools>=77")
        pip("--no-deps", "--no-build-isolation", "-e", str(ROOT))
    if for_tests and not has("pytest", "pytest_timeout", "hypothesis", "ruff", "aiohttp"):
        pip(*TOOLS)
    if for_tests and not has("onnxruntime"):
        pip("onnxruntime")
    if for_tests and not has("torch"):
        pip(TORCH)
    if for_tests and not has("insightface"):
        pip("insightface>=2.1,<3")
    return (comfy if base else None), base


def run(command: list[object], **extra: object) -> int:
    return subprocess.run([str(c) for c in command], check=True, **extra).returncode  # type: ignore[call-overload]


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in ("demo", "test", "soak", "editor", "lint", "likeness"):
        print(__doc__)
        return 2
    command, rest = arguments[0], arguments[1:]
    comfy, _ = set_up(for_tests=command not in ("demo", "likeness"))
    environment = {**os.environ, **({"COMFYUI_PATH": str(comfy)} if comfy else {}), "PYTHONDONTWRITEBYTECODE": "1"}
    python = venv_python()
    commands: dict[str, list[object]] = {
        "demo": [python, "-m", "likeness", "demo", *rest],
        "likeness": [python, "-m", "likeness", *rest],
        "test": [python, "-m", "pytest", "-m", "not soak", *rest],
        "soak": [python, "-m", "pytest", "-m", "soak", "--timeout", "3600", *rest],
        "editor": [python, ROOT / "tools" / "check_editor.py", *rest],
        "lint": [python, "-m", "ruff", "check", ROOT, *rest],
    }
    return subprocess.run([str(c) for c in commands[command]], env=environment, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
