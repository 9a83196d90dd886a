"""Starts a ComfyUI with stand-in models and runs tools/build_blueprints.mjs on it.

    python tools/build_blueprints.py build                  write subgraphs/ anew from api_graphs/
    python tools/build_blueprints.py check [--shots DIR]    insert each in the editor, in both renderers

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

from check_editor import STANDINS

from likeness.cli.comfy import PACK, ComfyServer, find_comfy, link_pack


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", default="check", choices=["build", "check"])
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
        subprocess.run(
            [sys.executable, PACK / "tools" / script, "--out", base / "models"], check=True, capture_output=True
        )
    shutil.copytree(PACK / "sample" / "characters", base / "models" / "characters")
    link_pack(base / "custom_nodes")
    flags = ["--cpu", *(["--front-end-root", arguments.front_end_root] if arguments.front_end_root else [])]
    with ComfyServer(comfy, Path(sys.executable), base, flags, {"OMP_NUM_THREADS": "1"}) as server:
        command = ["node", PACK / "tools" / "build_blueprints.mjs", arguments.command, "--server", server.url]
        command += ["--api", PACK / "api_graphs", "--out", PACK / "subgraphs", "--ui", PACK / "subgraphs"]
        if arguments.shots:
            arguments.shots.mkdir(parents=True, exist_ok=True)
            command += ["--shots", arguments.shots]
        env = {**os.environ, "CHROMIUM": chromium}
        return subprocess.run([str(part) for part in command], env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
