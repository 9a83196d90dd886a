"""Starts a ComfyUI with stand-in models and a large library, and runs tools/panel.mjs on it.

    python tools/check_panel.py [--many 1000] [--shots DIR] [--front-end-root STATIC]

Exit code 0 when all is well, 1 for problems, 77 where chromium, node or ComfyUI is missing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from likeness.cli.comfy import PACK, ComfyServer, find_comfy, link_pack

STANDINS = ("make_standins.py", "make_standin_faces.py")
SAMPLE = PACK / "sample"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--many", type=int, default=1000, help="characters beside the sample")
    parser.add_argument("--shots", type=Path, help="folder for screenshots")
    parser.add_argument("--front-end-root", help="a newer frontend's static folder")
    arguments = parser.parse_args()
    comfy, chromium = find_comfy(), os.environ.get("CHROMIUM") or shutil.which("chromium")
    if comfy is None or chromium is None or shutil.which("node") is None:
        print("Left out: needs a ComfyUI (COMFYUI_PATH), chromium (CHROMIUM) and node.")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        return _drive(arguments, comfy, chromium, Path(folder))


def _drive(arguments: argparse.Namespace, comfy: Path, chromium: str, base: Path) -> int:
    for script in STANDINS:
        command = [sys.executable, PACK / "tools" / script, "--out", base / "models"]
        subprocess.run(command, check=True, capture_output=True)
    shutil.copytree(SAMPLE / "characters", base / "models" / "characters")
    for number in range(arguments.many):
        _copy(base / "models" / "characters", number)
    link_pack(base / "custom_nodes")
    flags = ["--cpu", *(["--front-end-root", arguments.front_end_root] if arguments.front_end_root else [])]
    with ComfyServer(comfy, Path(sys.executable), base, flags, {"OMP_NUM_THREADS": "1"}) as server:
        command = ["node", PACK / "tools" / "panel.mjs", "--server", server.url, "--base", base]
        command += ["--pictures", SAMPLE / "characters" / "mara_voss" / "references", "--many", arguments.many]
        if arguments.shots:
            arguments.shots.mkdir(parents=True, exist_ok=True)
            command += ["--shots", arguments.shots]
        env = {**os.environ, "CHROMIUM": chromium}
        return subprocess.run([str(c) for c in command], env=env, check=False).returncode


def _copy(library: Path, number: int) -> None:
    """The sample once more, under another name."""
    folder = library / f"copy_{number:04d}"
    shutil.copytree(library / "mara_voss", folder)
    path = folder / "profile.toml"
    text = path.read_text(encoding="utf-8").replace('slug = "mara_voss"', f'slug = "{folder.name}"')
    text = text.replace('name = "Mara Voss"', f'name = "Copy {number}"').replace('"maravoss"', f'"copy{number}"')
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
