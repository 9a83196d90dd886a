"""A ComfyUI of our own that sees the user's characters and models."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..doctor import Folders
from ..files import atomic_write
from .comfy import ComfyServer, link_pack

_KINDS = ("checkpoints", "loras", "ipadapter", "clip_vision", "insightface")


def own_server(
    comfy: Path,
    python: Path,
    base: Path,
    characters: Sequence[Path],
    folders: Folders | None,
    gpu: bool,
    output: Path | None = None,
) -> ComfyServer:
    """A server, not started yet, with its files under `base`; without `folders` it has the models there alone.

    `output`: where its pictures go, if not there.
    """
    flags = ["--output-directory", str(output)] if output else []
    flags += ["--extra-model-paths-config", str(_extra_paths(base, characters, folders)), *([] if gpu else ["--cpu"])]
    env = {} if gpu else {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) // 2))}
    link_pack(base / "custom_nodes")
    return ComfyServer(comfy, python, base, flags, env)


def _extra_paths(base: Path, characters: Sequence[Path], folders: Folders | None) -> Path:
    """An extra_model_paths.yaml for it."""
    rows = {"characters": list(characters)}
    for kind in _KINDS if folders else ():
        rows[kind] = list(getattr(folders, kind))
    text = "".join(f"  {kind}: |\n" + "".join(f"    {path}\n" for path in paths) for kind, paths in rows.items())
    atomic_write(base / "extra_model_paths.yaml", f"likeness:\n{text}".encode())
    return base / "extra_model_paths.yaml"


def show_seconds(seconds: float) -> None:
    """A line that counts while a person waits."""
    if sys.stderr.isatty():
        print(f"\r  {seconds:.0f} s", end="\r", file=sys.stderr, flush=True)
