"""The graph that `likeness tune` queues, and a user's own graph made ready for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import LikenessError
from .graphs import ApiGraph, Files, Graph, Link, Overrides, applied, checkpoint_of, drawn_picture, loaded, worded

VALUES, TUNE, LOAD = "LikenessSweepValues", "LikenessTuneStrengths", "LikenessLoadCharacter"


@dataclass(frozen=True)
class Sweep:
    """Inputs of Sweep Values and Tune Strengths by name; what is not named keeps the node's default."""

    values: Mapping[str, Any] = field(default_factory=dict)
    tune: Mapping[str, Any] = field(default_factory=dict)
    clip: str = ""  # text encoder file with a projection, and
    clip_vision: str = ""  # its image encoder, as ComfyUI lists them, for the prompt score


SHOWN = Sweep(  # every input of the example graph, as the nodes have it
    {
        "lora": "0.4:1.0:4",
        "faceid_weight": "0.4:1.0:4",
        "faceid_weight_v2": "",
        "start": "",
        "lora_files": "",
        "prompts": "portrait in a sunny park, soft light, looking at the camera\n"
        "sitting in a cafe by the window, reading a book, evening light",
        "seed": 1,
        "seeds": 4,
        "index": 0,
    },
    {
        "name": "strengths",
        "mode": "halving",
        "write": "only report",
        "family": "auto",
        "prompt_bound": 0.05,
        "variety_bound": 0.2,
        "face_model": "auto",
        "drawn_faces": "not measurable",
        "provider": "cpu",
        "backend": "likeness",
    },
)


def tune(files: Files, sweep: Sweep, overrides: Overrides) -> ApiGraph:
    """A character drawn with the strengths, seed and prompt of Sweep Values, and tuned."""
    g = Graph()
    checkpoint = checkpoint_of(g, files)
    character = loaded(g, files)
    values = g.add(VALUES, "Sweep Values", **sweep.values)
    model = applied(g, [checkpoint, 0], [checkpoint, 1], character, files, sweep=[values, 0])
    guided = [[model, 0], *worded(g, [model, 1], character, [values, 7])]
    picture = drawn_picture(g, character, guided, [checkpoint, 2], [values, 6], overrides, adapter=files.adapter)
    seen = _encoders(g, sweep)
    g.add(TUNE, "Tune Strengths", image=picture, sweep=[values, 0], character=character, **seen, **sweep.tune)
    return g.nodes


def _encoders(g: Graph, sweep: Sweep) -> dict[str, Link]:
    found: dict[str, Link] = {}
    if sweep.clip:
        found["clip"] = [g.add("CLIPLoader", "Text encoder", clip_name=sweep.clip, type="stable_diffusion"), 0]
    if sweep.clip_vision:
        found["clip_vision"] = [g.add("CLIPVisionLoader", "Image encoder", clip_name=sweep.clip_vision), 0]
    return found


def filled(graph: ApiGraph, character: str, sweep: Sweep) -> ApiGraph:
    """A user's graph with this character and these settings. LikenessError unless it holds what tuning needs."""
    for kind in (VALUES, TUNE):
        count = sum(node.get("class_type") == kind for node in graph.values())
        if count != 1:
            raise LikenessError(f"The graph holds {count} nodes {kind}: it needs one (export it in API format).")
    changes = {VALUES: dict(sweep.values), TUNE: dict(sweep.tune), LOAD: {"character": character}}
    return {
        node_id: {**node, "inputs": {**node["inputs"], **changes.get(node["class_type"], {})}}
        for node_id, node in graph.items()
    }


def tune_node(graph: ApiGraph) -> str:
    """Id of its Tune Strengths node."""
    return next(node_id for node_id, node in graph.items() if node["class_type"] == TUNE)
