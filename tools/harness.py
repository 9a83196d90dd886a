"""What the browser checks share: options, a ComfyUI with stand-in models, and a script that drives a browser on it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from likeness.cli.comfy import PACK, ComfyServer, find_comfy, link_pack

TOOLS, SAMPLE, SLUG = PACK / "tools", PACK / "sample", "mara_voss"
REFERENCES = SAMPLE / "characters" / SLUG / "references"
STANDINS = ("make_standins.py", "make_standin_faces.py")
LEFT_OUT = 77  # exit code: not run, which is no failure

Words = list[object]


def options(doc: str | None, commands: Sequence[str] = (), many: bool = False) -> argparse.ArgumentParser:
    """The options that all have; `commands`: what it can do, the first by itself; `many`: it wants a large library."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if commands:
        parser.add_argument("command", nargs="?", default=commands[0], choices=commands)
    if many:
        parser.add_argument("--many", type=int, default=1000, help="characters beside the sample")
    parser.add_argument("--shots", type=Path, help="folder for screenshots")
    parser.add_argument("--front-end-root", help="a newer frontend's static folder")
    return parser


def drive(
    script: str, given: argparse.Namespace, prepare: Callable[[Path], Words], standins: Sequence[str] = STANDINS
) -> int:
    """Runs `tools/<script>` on a server of its own; the exit code is the script's, or LEFT_OUT.

    `prepare` fills ComfyUI's base directory, where the stand-in models are already, and returns the script's words.
    """
    comfy, chromium = find_comfy(), os.environ.get("CHROMIUM") or shutil.which("chromium")
    if comfy is None or chromium is None or shutil.which("node") is None:
        print("Left out: needs a ComfyUI (COMFYUI_PATH), chromium (CHROMIUM) and node.")
        return LEFT_OUT
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for maker in standins:
            command = [sys.executable, TOOLS / maker, "--out", base / "models"]
            subprocess.run(command, check=True, capture_output=True)
        words = prepare(base)
        link_pack(base / "custom_nodes")
        flags = ["--cpu", *(["--front-end-root", given.front_end_root] if given.front_end_root else [])]
        with ComfyServer(comfy, Path(sys.executable), base, flags, {"OMP_NUM_THREADS": "1"}) as server:
            words += ["--server", server.url]
            if given.shots:
                given.shots.mkdir(parents=True, exist_ok=True)
                words += ["--shots", given.shots]
            told = [str(word) for word in ("node", TOOLS / script, *words)]
            return subprocess.run(told, env={**os.environ, "CHROMIUM": chromium}, check=False).returncode


def copy_sample(base: Path) -> Path:
    """The sample character into the library, which is returned."""
    library = base / "models" / "characters"
    shutil.copytree(SAMPLE / "characters", library)
    return library
