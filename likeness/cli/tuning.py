"""`likeness tune`: the strengths at which a character is most alike, found by drawing it, by a ComfyUI."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import LikenessError, ServerError
from ..files import make_folder
from ..inject import read_workflow_file
from ..library import Library
from ..paths import slug_of
from ..remote.client import QueueClient
from .comfy import find_python, has_gpu
from .graphs import ApiGraph, Files, Overrides
from .graphs_tune import Sweep, filled, tune, tune_node
from .output import say, slug_named
from .own_server import own_server
from .places import Places
from .rated import check_graph

_SECONDS = 7 * 24 * 3600.0  # a sweep may take a night; it can be stopped and goes on where it was
_NAME = "strengths"  # of a sweep, as the node has it
_LOOK = 2.0  # seconds between two looks at how far it is
_AXES = {"lora": "lora", "faceid": "faceid_weight", "faceid_v2": "faceid_weight_v2", "start": "start"}


def add_tune_options(parser: argparse.ArgumentParser) -> None:
    """The arguments of `likeness tune`."""
    forms = "values like 0.4,0.6,0.8 or from:to:count"
    parser.add_argument("name", help="the character")
    parser.add_argument("--server", metavar="URL", help="a ComfyUI that runs; without it one is started")
    parser.add_argument("--lora", metavar="VALUES", help=f"strengths of the character LoRA, {forms}")
    parser.add_argument("--faceid", metavar="VALUES", help="strengths of the FaceID attention")
    parser.add_argument("--faceid-v2", metavar="VALUES", help="shortcut of FaceID Plus V2")
    parser.add_argument("--start", metavar="VALUES", help="shares of the sampling steps from which FaceID acts")
    parser.add_argument("--lora-file", nargs="+", metavar="FILE", help="LoRA files to rank, as ComfyUI lists them")
    parser.add_argument("--seeds", type=int, metavar="COUNT", help="how many; halving pays from 4 on (default)")
    parser.add_argument("--seed", type=int, metavar="FIRST", help="the first seed; default 1")
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="a scene; may be given several times")
    parser.add_argument("--full", action="store_true", help="every cell with every seed, instead of halving")
    parser.add_argument("--write", action="store_true", help="write the winning strengths into the profile")
    parser.add_argument("--sweep-name", metavar="NAME", help="its folder's name; default: strengths")
    parser.add_argument("--prompt-bound", type=float, metavar="SHARE", help="of the prompt score the winner may lose")
    parser.add_argument("--variety-bound", type=float, metavar="SHARE", help="of the variety the winner may lose")
    parser.add_argument("--face-model", metavar="PACK", help="face model that measures; default: the character's")
    parser.add_argument("--measure-drawn", action="store_true", help="give drawn faces a similarity all the same")
    parser.add_argument("--clip", metavar="FILE", help="text encoder for the prompt score, with")
    parser.add_argument("--clip-vision", metavar="FILE", help="its image encoder, as ComfyUI lists them")
    parser.add_argument("--checkpoint", metavar="FILE", help="checkpoint to draw with, as ComfyUI lists it")
    parser.add_argument("--adapter", default="auto", metavar="FILE", help="FaceID adapter, as ComfyUI lists it")
    parser.add_argument("--steps", type=int, help="sampling steps; default: the character's")
    parser.add_argument("--size", type=int, metavar="PX", help="width and height; default: the character's")
    parser.add_argument("--graph", type=Path, metavar="FILE", help="your own graph, exported in API format")
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder of the ComfyUI that is started")


def tune_character(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when nothing won."""
    slug = slug_named(arguments.name)
    make = _graph_maker(arguments, slug, places.library())
    if arguments.server:
        values = _tuned(QueueClient(arguments.server), make, slug)
    else:
        places.library().get(slug)  # says what is there before anything is started
        values = _on_own_server(arguments, make, slug, places)
    say(arguments, "\n\n".join(values["text"]), values["likeness_sweep"][0])
    return int(values["likeness_sweep"][0]["winner"] is None)


def sweep_of(arguments: argparse.Namespace) -> Sweep:
    """The nodes' inputs that the options set."""
    own = bool(arguments.graph)
    values: dict[str, Any] = {key: getattr(arguments, option) for option, key in _AXES.items()}
    if not own and any(v is not None for v in (*values.values(), arguments.lora_file)):
        values = {key: value or "" for key, value in values.items()}  # what is not named is not swept
    values |= {"seed": arguments.seed, "seeds": arguments.seeds}
    values["lora_files"] = "\n".join(arguments.lora_file) if arguments.lora_file else None
    values["prompts"] = "\n".join(" ".join(p.split()) for p in arguments.prompt) if arguments.prompt else None
    chosen: dict[str, Any] = {
        "name": arguments.sweep_name or (None if own else _NAME),
        "mode": "full" if arguments.full else None,
        "write": "write the winner into the profile" if arguments.write else None,
        "prompt_bound": arguments.prompt_bound,
        "variety_bound": arguments.variety_bound,
        "face_model": arguments.face_model,
        "drawn_faces": "measure" if arguments.measure_drawn else None,
    }
    return Sweep(_given(values), _given(chosen), arguments.clip or "", arguments.clip_vision or "")


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


Maker = Callable[[QueueClient], ApiGraph]


def _graph_maker(arguments: argparse.Namespace, slug: str, library: Library) -> Maker:
    sweep = sweep_of(arguments)
    if arguments.graph:
        own: ApiGraph = dict(read_workflow_file(arguments.graph).graph)  # type: ignore[arg-type]
        graph = filled(own, slug, sweep)
        check_graph(library, graph)
        return lambda client: graph
    overrides = Overrides(arguments.steps, arguments.size, arguments.size)

    def make(client: QueueClient) -> ApiGraph:
        checkpoint = arguments.checkpoint or _checkpoint(client)
        graph = tune(Files(checkpoint, slug, adapter=arguments.adapter), sweep, overrides)
        check_graph(library, graph)
        return graph

    return make


def _checkpoint(client: QueueClient) -> str:
    """The only checkpoint there is."""
    about = client.object_info()["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"]
    listed = about[1]["options"] if about[0] == "COMBO" else about[0]
    if len(listed) != 1:
        some = ", ".join(listed[:8]) or "none"
        raise LikenessError(f"Say which checkpoint to draw with, by --checkpoint; there are: {some}.")
    return str(listed[0])


def _tuned(client: QueueClient, make: Maker, slug: str) -> dict[str, Any]:
    """What the Tune Strengths node shows."""
    graph = make(client)
    node = tune_node(graph)
    name = graph[node]["inputs"].get("name")
    progress = _Progress(client, slug, name if isinstance(name, str) else _NAME)
    outputs = client.run(graph, _SECONDS, progress).outputs
    for node_id, shown in outputs.items():  # the node's last expansion shows for it
        if node_id.split(".")[0] == node and "likeness_sweep" in shown:
            return shown
    raise ServerError("The graph ran, and Tune Strengths showed nothing: is another Likeness installed there?")


class _Progress:
    """Shows how far the sweep is, while a person waits."""

    def __init__(self, client: QueueClient, slug: str, name: str) -> None:
        self._client, self._next = client, 0.0
        self._file = {"filename": f"{slug_of(name)}.json", "subfolder": f"likeness/sweeps/{slug}", "type": "output"}
        self._before = self._told()

    def _told(self) -> dict[str, Any]:
        try:
            return json.loads(self._client.fetch(self._file))
        except (ServerError, ValueError):
            return {}  # nothing was drawn yet

    def __call__(self, seconds: float) -> None:
        if not sys.stderr.isatty() or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LOOK
        told = self._told()
        far = f"{told['done']} of {told['of']} pictures, {told['now']}" if told and told != self._before else ""
        print(f"\r\033[K  {seconds:.0f} s  {far}", end="\r", file=sys.stderr, flush=True)


def _on_own_server(arguments: argparse.Namespace, make: Maker, slug: str, places: Places) -> dict[str, Any]:
    python = find_python(places.comfy) if places.comfy else None
    if places.comfy is None or python is None:
        raise LikenessError(
            "Tuning needs a ComfyUI, and none was found (COMFYUI_PATH, the folder this pack sits in, "
            "~/comfy/ComfyUI): start one and give its address with --server."
        )
    output = make_folder((arguments.out or places.comfy / "output").resolve())
    print(f"Starting ComfyUI at {places.comfy}; pictures go to {output} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        roots = [root.resolve() for root in places.folders.characters]
        gpu = has_gpu(python)
        with own_server(places.comfy, python, Path(folder), roots, places.folders, gpu, output) as server:
            return _tuned(QueueClient(server.url), make, slug)
