"""A node pack for tests: counts what a server opens, and tells it at /likeness_probe.

Counts calls at the libraries' own doors, so that no code of Likeness takes part in the counting. It also makes ComfyUI
build image encoders of a few layers: a ViT-H would take most of the tests' time. The tests of the demo and of
`likeness compile` run it whole.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import comfy.clip_vision
import torch
from aiohttp import web
from comfy_api.latest import ComfyExtension, io

from server import PromptServer

COUNTS: Counter[str] = Counter()


def count(owner: Any, name: str, label: str) -> None:
    original = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        COUNTS[label] += 1
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def make_shallow(layers: int) -> None:
    """Image encoders are of their real width and of that depth; the other layers of a file are left out."""
    original = comfy.clip_vision.ClipVisionModel.__init__

    def init(self: Any, json_config: Any) -> None:
        config = json_config if isinstance(json_config, dict) else json.loads(Path(json_config).read_text())
        original(self, {**config, "num_hidden_layers": layers})

    comfy.clip_vision.ClipVisionModel.__init__ = init


def on_audit(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
        path = Path(os.fsdecode(args[0]))
        if path.suffix in (".bin", ".onnx") or (path.suffix == ".safetensors" and path.parent.name == "ipadapter"):
            COUNTS[f"open {path.name}"] += 1
    elif event in ("socket.connect", "socket.getaddrinfo"):
        COUNTS["network"] += 1


make_shallow(layers=2)
count(comfy.clip_vision, "load", "clip_vision")
count(torch, "load", "torch.load")
try:
    import onnxruntime

    class Counted(onnxruntime.InferenceSession):  # a class, because the insightface package inherits from it
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            COUNTS["onnx_session"] += 1
            super().__init__(*args, **kwargs)

    onnxruntime.InferenceSession = Counted
except ImportError:
    pass
sys.addaudithook(on_audit)


async def counts(request: web.Request) -> web.Response:
    """What has been counted since the last question."""
    answer = dict(COUNTS)
    COUNTS.clear()
    return web.json_response(answer)


class Probe(ComfyExtension):
    async def on_load(self) -> None:
        PromptServer.instance.routes.get("/likeness_probe")(counts)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return []


async def comfy_entrypoint() -> Probe:
    return Probe()
