"""The graph that `likeness lora compare` queues: a character with and without a LoRA version on the same seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .graphs import ApiGraph, Files, Graph, Link, Overrides, applied, drawn_picture, worded

COMPARE = "LikenessCompareVersions"
PROMPTS = (
    "portrait in a sunny park, soft light, looking at the camera",
    "sitting in a cafe by the window, reading a book, evening light",
)


@dataclass(frozen=True)
class Trial:
    """What is drawn, and the inputs of Compare Versions by name; what is not named keeps the node's default."""

    version: int
    seeds: Sequence[int] = (1, 2, 3, 4)
    prompts: Sequence[str] = PROMPTS
    inputs: Mapping[str, Any] = field(default_factory=dict)


def compare_versions(files: Files, trial: Trial, overrides: Overrides) -> ApiGraph:
    """Every prompt with every seed, once as the character is drawn now and once with the version."""
    g = Graph()
    checkpoint = g.add("CheckpointLoaderSimple", "Checkpoint", ckpt_name=files.checkpoint)
    present, character = _drawn(g, files, checkpoint, trial, 0, overrides)
    candidate, _ = _drawn(g, files, checkpoint, trial, trial.version, overrides)
    g.add(
        COMPARE,
        "Compare Versions",
        present=present,
        candidate=candidate,
        character=character,
        version=trial.version,
        seeds=", ".join(map(str, trial.seeds))[:200],
        **trial.inputs,
    )
    return g.nodes


def _drawn(
    g: Graph, files: Files, checkpoint: str, trial: Trial, version: int, overrides: Overrides
) -> tuple[Link, Link]:
    """(one batch of all pictures, the character)."""
    what = f"version {version}" if version else "present"
    loaded = g.add("LikenessLoadCharacter", f"Character, {what}", character=files.character, lora_version=version)
    character: Link = [loaded, 0]
    model = applied(g, [checkpoint, 0], [checkpoint, 1], character, files, f"Apply, {what}")
    batch: Link | None = None
    for prompt in trial.prompts:
        guided = [[model, 0], *worded(g, [model, 1], character, prompt, title=f"Prompt, {what}")]
        for seed in trial.seeds:
            picture = drawn_picture(g, character, guided, [checkpoint, 2], seed, overrides, adapter=files.adapter)
            batch = picture if batch is None else [g.add("ImageBatch", "Batch", image1=batch, image2=picture), 0]
    assert batch is not None
    return batch, character


def compare_node(graph: ApiGraph) -> str:
    """Id of its Compare Versions node."""
    return next(node_id for node_id, node in graph.items() if node["class_type"] == COMPARE)
