"""`likeness compile`: a character's face made ready for a FaceID adapter, by a ComfyUI."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from ..errors import LikenessError
from ..paths import is_slug, slug_of
from ..remote.client import QueueClient
from .comfy import find_python, has_gpu
from .graphs import ApiGraph, compile_identity
from .own_server import own_server, show_seconds
from .places import Places

_SECONDS = 1800.0  # an SDXL adapter of 1.5 GB from a slow disk takes minutes


def compile_character(arguments: argparse.Namespace, places: Places) -> None:
    """Through the server of --server, else through a ComfyUI started for it."""
    slug = arguments.name if is_slug(arguments.name) else slug_of(arguments.name)
    graph = compile_identity(slug, arguments.family, arguments.adapter)
    if arguments.server:
        lines = _queued(arguments.server, graph)
    else:
        places.library().get(slug)  # says what is there before anything is started
        lines = _on_own_server(graph, places)
    print(json.dumps({"slug": slug, "compiled": lines}, indent=2) if arguments.json else "\n".join(lines))


def _queued(url: str, graph: ApiGraph) -> list[str]:
    """One line per family."""
    shown = QueueClient(url).run(graph, _SECONDS, show_seconds).outputs
    return [line for node in shown.values() for text in node.get("text", []) for line in text.splitlines()]


def _on_own_server(graph: ApiGraph, places: Places) -> list[str]:
    python = find_python(places.comfy) if places.comfy else None
    if places.comfy is None or python is None:
        raise LikenessError(
            "Compiling needs a ComfyUI, and none was found (COMFYUI_PATH, the folder this pack sits in, "
            "~/comfy/ComfyUI): start one and give its address with --server."
        )
    print(f"Starting ComfyUI at {places.comfy} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        base, roots = Path(folder), [root.resolve() for root in places.folders.characters]
        with own_server(places.comfy, python, base, roots, places.folders, has_gpu(python)) as server:
            return _queued(server.url, graph)
