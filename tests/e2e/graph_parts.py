"""Nodes that tests add to the shipped graphs, and what they read from a run."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np

from likeness.cli.graphs import ApiGraph, Link
from likeness.remote.client import Result

from .conftest import ROOT, Running
from .test_graphs import graph

APPLY = "3"  # Apply Character in the portrait graph
TOMAS = "tomas_reed.png"


def add(nodes: ApiGraph, class_type: str, **inputs: Any) -> Link:
    """Add a node ("__" stands for a dot); returns a link to its first output."""
    node_id = str(max(map(int, nodes)) + 1)
    named = {key.replace("__", "."): value for key, value in inputs.items()}
    nodes[node_id] = {"class_type": class_type, "inputs": named, "_meta": {"title": class_type}}
    return [node_id, 0]


def shows_text(nodes: ApiGraph, link: Link) -> str:
    """Shows a text output; returns the id of the node whose text the run gives."""
    return str(add(nodes, "PreviewAny", source=link)[0])


def half_mask(nodes: ApiGraph) -> Link:
    """1 on the left half, 0 on the right."""
    black = add(nodes, "SolidMask", value=0.0, width=64, height=64)
    white = add(nodes, "SolidMask", value=1.0, width=32, height=64)
    return add(nodes, "MaskComposite", destination=black, source=white, x=0, y=0, operation="add")


def portrait(character: str, family: str = "sd15", **apply: Any) -> tuple[ApiGraph, str]:
    """The portrait graph with inputs of Apply Character, and the id of the node that shows its report."""
    nodes = graph("portrait", family, **{"LikenessLoadCharacter.character": character, "KSampler.steps": 1})
    nodes[APPLY]["inputs"] |= apply
    return nodes, shows_text(nodes, [APPLY, 2])


def with_options(character: str, family: str = "sd15", **options: Any) -> tuple[ApiGraph, str]:
    """The portrait graph with FaceID Options; `negative` is the name of a character."""
    nodes, report = portrait(character, family)
    if "negative" in options:
        options["negative"] = add(nodes, "LikenessLoadCharacter", character=options["negative"])
    nodes[APPLY]["inputs"]["options"] = add(nodes, "LikenessFaceIDOptions", **options)
    return nodes, report


def draw(server: Running, made: tuple[ApiGraph, str]) -> tuple[np.ndarray, str]:
    """The picture, int [H, W, 3], and the report."""
    nodes, report = made
    result: Result = server.run(nodes)
    return server.picture(result).astype(int), result.outputs[report]["text"][0]


def create(server: Running, name: str, *pictures: str) -> str:
    """A character from pictures of the input folder; returns its folder name."""
    nodes = graph("create_character", **{"LikenessCreateCharacter.name": name})
    if pictures:
        nodes = {key: node for key, node in nodes.items() if node["class_type"] != "LoadImage"}
        (made,) = nodes.values()
        made["inputs"] = {key: v for key, v in made["inputs"].items() if not key.startswith("images.")}
        for i, picture in enumerate(pictures):
            made["inputs"][f"images.image{i}"] = add(nodes, "LoadImage", image=picture)
    shutil.copy(ROOT / "sample" / "pictures" / TOMAS, server.base / "input" / TOMAS)
    server.run(nodes)
    return name.lower()
