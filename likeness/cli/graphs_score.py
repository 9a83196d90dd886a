"""The graph that draws until enough pictures are accepted."""

from __future__ import annotations

from typing import Any

from .graphs import ApiGraph, Files, Overrides, _draw

_FILES, _OVERRIDES = Files(), Overrides()


def best_of_n(
    files: Files = _FILES, seed: int = 1, overrides: Overrides = _OVERRIDES, wanted: int = 2, limit: int = 8
) -> ApiGraph:
    """A character drawn with one seed after the other; only what is accepted is saved.

    Best of N passes the best where none is accepted, so that Gate alone decides whether anything is saved.
    """
    text = "portrait at a window, morning light, looking at the camera"
    g, character, picture = _draw(files, text, "likeness/best", seed, overrides)
    source = g.add("LikenessSeed", "Seed", seed=seed)
    _node(g.nodes, "KSampler")["inputs"]["seed"] = [source, 0]
    best = g.add(
        "LikenessBestOfN",
        "Best of N",
        images=picture,
        seed=[source, 0],
        character=character,
        wanted=wanted,
        limit=limit,
        avoid_copies=False,
        when_empty="pass the best",
        face_model="auto",
        threshold=0.0,
        second_face_model="none",
        drawn_faces="not measurable",
        provider="cpu",
        backend="likeness",
    )
    gate = g.add(
        "LikenessGate", "Gate", images=[best, 0], scores=[best, 2], when_empty="block downstream", threshold=0.0
    )
    _node(g.nodes, "SaveImage")["inputs"]["images"] = [gate, 0]
    return g.nodes


def _node(nodes: ApiGraph, class_type: str) -> dict[str, Any]:
    (found,) = (node for node in nodes.values() if node["class_type"] == class_type)
    return found
