"""Sets up what a checkout needs and runs it. Needs Python 3.10+ and nothing else.

    python dev.py demo     the sample character, end to end
    python dev.py test     all tests that need neither a GPU nor a browser
    python dev.py soak     the long-running figures of SECURITY.md
    python dev.py editor   every example graph opened from the dialog and run, in a real browser (needs chromium, node)
    python dev.py panel    every action of the Characters panel in a real browser, with 1,000 characters
    python dev.py widgets  the pickers, bars and sheets on nodes in a real browser
    python dev.py packaging  the archive, an install by ComfyUI-Manager, and what an earlier version left
    python dev.py lint     formatter and linter
    python dev.py likeness ...   the command line

Everything is installed into folders of `.venv` beside this file. Where a ComfyUI is found (COMFYUI_PATH, the
folder this pack sits in, ~/comfy/ComfyUI), its packages are used as they are and never changed: the
environment looks through to them and adds only what is missing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from likeness.cli.comfy import base_directory, find_comfy, find_python

ROOT = Path(__file__).resolve().parent
VENVS = ROOT / ".venv"  # one environment for each ComfyUI, so that trying another one loses nothing
TORCH = "torch==2.13.0"  # only where no ComfyUI brings one; a CPU build is enough
COMMANDS = ("demo", "test", "soak", "editor", "panel", "widgets", "packaging", "lint", "likeness")
TOOLS = ["pytest>=8", "pytest-timeout", "pytest-xdist>=3.5", "hypothesis", "ruff", "aiohttp"]
DEMO_NEEDS = ["numpy", "Pillow", "safetensors", "pydantic", "filelock", "tomli; python_version < '3.11'"]


@dataclass(frozen=True)
class Environment:
    """A virtual environment; with `base`, one that looks through to that interpreter's packages."""

    base: Path | None

    @property
    def folder(self) -> Path:
        mark = hashlib.sha256(str(self.base).encode()).hexdigest()[:8]
        return VENVS / (f"comfyui-{mark}" if self.base else "plain")

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def make(self) -> None:
        ready = self.folder / "ready"
        if ready.is_file():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        run([self.base or sys.executable, "-m", "venv", self.folder])
        if self.base:
            code = "import sysconfig; print(sysconfig.get_path('purelib')); print(sysconfig.get_path('platlib'))"
            site = Path(subprocess.check_output([self.python, "-c", code], text=True).split("\n")[0])
            theirs = subprocess.check_output([self.base, "-c", code], text=True).split("\n")
            (site / "comfyui_packages.pth").write_text("\n".join(dict.fromkeys(filter(None, theirs))) + "\n")
        ready.touch()

    def has(self, *modules: str) -> bool:
        code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {modules!r})))"
        # In another folder than the checkout, whose packages would be found as they lie there.
        return subprocess.run([self.python, "-c", code], capture_output=True, cwd=self.folder).returncode == 0

    def install(self, *packages: str) -> None:
        run([self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])


def set_up(for_tests: bool, for_faces: bool) -> tuple[Path | None, Environment]:
    """The ComfyUI found, if its Python was, and the environment with all that a command needs."""
    comfy = find_comfy()
    base = find_python(comfy) if comfy else None
    if comfy and not base:
        print(f"ComfyUI at {comfy}: no Python with its requirements was found, so it is not used (set COMFYUI_PYTHON).")
    if not comfy and not base_directory() and (named := os.environ.get("COMFYUI_PATH")):
        print(f"COMFYUI_PATH={named} is no ComfyUI: main.py and folder_paths.py are not there.", file=sys.stderr)
    env = Environment(base)
    env.make()
    if not env.has("numpy", "PIL", "safetensors", "pydantic", "filelock"):
        env.install(*DEMO_NEEDS)
    if not env.has("likeness"):
        env.install("--no-deps", "setuptools>=77")
        env.install("--no-deps", "--no-build-isolation", "-e", str(ROOT))
    if for_tests and not env.has("pytest", "pytest_timeout", "xdist", "hypothesis", "ruff", "aiohttp"):
        env.install(*TOOLS)
    if (for_tests or for_faces) and not env.has("onnxruntime"):
        env.install("onnxruntime")
    if for_tests and not env.has("torch"):
        env.install(TORCH)
    if for_tests and not env.has("insightface"):
        env.install("insightface>=2.1,<3")
    return (comfy if base else None), env


def run(command: list[object], **extra: object) -> int:
    return subprocess.run([str(c) for c in command], check=True, **extra).returncode  # type: ignore[call-overload]


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__)
        return 2
    command, rest = arguments[0], arguments[1:]
    comfy, env = set_up(for_tests=command not in ("demo", "likeness"), for_faces=command == "likeness")
    commands: dict[str, list[object]] = {
        "demo": ["-m", "likeness", "demo", *rest],
        "likeness": ["-m", "likeness", *rest],
        "test": ["-m", "pytest", "-m", "not soak and not packaging", "-n", "2", "--dist", "loadgroup", *rest],
        "soak": ["-m", "pytest", "-m", "soak", "--timeout", "3600", *rest],
        "packaging": ["-m", "pytest", "-m", "packaging", "--timeout", "1800", *rest],
        "editor": [ROOT / "tools" / "check_editor.py", *rest],
        "panel": [ROOT / "tools" / "check_panel.py", *rest],
        "widgets": [ROOT / "tools" / "check_widgets.py", *rest],
        "lint": ["-m", "ruff", "check", ROOT, *rest],
    }
    variables = {**os.environ, **({"COMFYUI_PATH": str(comfy)} if comfy else {})}
    here = None if command in ("demo", "likeness") else ROOT  # the user's own paths are meant from where the user is
    return subprocess.run([str(c) for c in (env.python, *commands[command])], env=variables, cwd=here).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
