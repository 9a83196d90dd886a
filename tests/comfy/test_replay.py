"""Which nodes are copied when a part of a graph is drawn again."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from ..conftest import ROOT, load_folder

# seed -> sample -> decode -> upscale, beside a loader, a prompt, and two nodes that are not ancestors of the picture
GRAPH: dict[str, dict[str, Any]] = {
    "1": {"class_type": "Loader", "inputs": {"name": "a.safetensors"}},
    "2": {"class_type": "Encode", "inputs": {"clip": ["1", 1], "text": "a park"}},
    "3": {"class_type": "LikenessSeed", "inputs": {"seed": 7, "control": "fixed"}},
    "4": {
        "class_type": "Sample",
        "inputs": {"model": ["1", 0], "seed": ["3", 0], "positive": ["2", 0], "mode": "slow", "mode.eta": 0.5},
    },
    "5": {"class_type": "Decode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
    "6": {
        "class_type": "Join",
        "inputs": {"images.image0": ["5", 0], "images.image1": ["2", 1], "id": "x", "class_type": "y"},
    },
    "7": {"class_type": "Save", "inputs": {"images": ["5", 0]}},
    "8": {"class_type": "Another", "inputs": {"seed": ["3", 0]}},
}


@pytest.fixture(scope="module")
def replaying(comfy: Path) -> Any:
    load_folder("likeness_replay_pack", ROOT)
    return importlib.import_module("likeness_replay_pack.nodes.replay")


def prompt(graph: dict[str, dict[str, Any]] = GRAPH) -> Any:
    from comfy_execution.graph import DynamicPrompt

    return DynamicPrompt(graph)


def builder(prefix: str = "9.0.0.") -> Any:
    from comfy_execution.graph_utils import GraphBuilder

    return GraphBuilder(prefix)


def copied(replaying: Any, link: list[Any], nodes: Any = None, source: str = "3") -> tuple[list[Any], dict[str, Any]]:
    """The copy's link, and the copies by class."""
    made = builder()
    given = replaying.replay(nodes or prompt(), source, link, {"seed": 8}, made)
    return given, {node["class_type"]: {"node_id": key, **node} for key, node in made.finalize().items()}


def test_only_what_depends_on_the_source_is_copied(replaying: Any) -> None:
    link, copies = copied(replaying, ["6", 1])
    assert set(copies) == {"LikenessSeed", "Sample", "Decode", "Join"}
    assert link == [copies["Join"]["node_id"], 1]
    assert copies["LikenessSeed"]["inputs"] == {"seed": 8, "control": "fixed"}
    assert GRAPH["3"]["inputs"]["seed"] == 7, "the graph itself stays"


def test_copies_are_linked_to_copies_and_to_the_nodes_that_stay(replaying: Any) -> None:
    _, copies = copied(replaying, ["6", 0])
    sample = copies["Sample"]["inputs"]
    assert sample == {
        "model": ["1", 0],
        "seed": [copies["LikenessSeed"]["node_id"], 0],
        "positive": ["2", 0],
        "mode": "slow",
        "mode.eta": 0.5,
    }
    assert copies["Join"]["inputs"] == {
        "images.image0": [copies["Decode"]["node_id"], 0],
        "images.image1": ["2", 1],
        "id": "x",
        "class_type": "y",
    }


def test_progress_shows_on_the_node_that_was_copied(replaying: Any) -> None:
    _, copies = copied(replaying, ["5", 0])
    assert {k: v["override_display_id"] for k, v in copies.items()} == {
        "LikenessSeed": "3",
        "Sample": "4",
        "Decode": "5",
    }


def test_a_link_that_does_not_depend_on_the_source_comes_back(replaying: Any) -> None:
    assert copied(replaying, ["2", 0]) == (["2", 0], {})
    assert replaying.dependents(prompt(), "3", ["2", 0]) == []


def test_the_source_itself_can_be_what_is_asked_for(replaying: Any) -> None:
    link, copies = copied(replaying, ["3", 0])
    assert set(copies) == {"LikenessSeed"} and link == [copies["LikenessSeed"]["node_id"], 0]


def test_what_the_source_needs_is_not_copied(replaying: Any) -> None:
    graph = {**GRAPH, "0": {"class_type": "Number", "inputs": {}}}
    graph["3"] = {"class_type": "LikenessSeed", "inputs": {"seed": ["0", 0]}}
    _, copies = copied(replaying, ["5", 0], prompt(graph))
    assert "Number" not in copies and copies["LikenessSeed"]["inputs"]["seed"] == 8


def test_two_copies_in_one_builder_do_not_share_nodes(replaying: Any) -> None:
    made = builder()
    links = [replaying.replay(prompt(), "3", ["5", 0], {"seed": n}, made) for n in (8, 9)]
    nodes = made.finalize()
    assert links[0] != links[1] and len(nodes) == 6
    seeds = [nodes[nodes[nodes[i]["inputs"]["samples"][0]]["inputs"]["seed"][0]]["inputs"]["seed"] for i, _ in links]
    assert seeds == [8, 9]


def test_nodes_of_an_expansion_are_copied_like_others(replaying: Any) -> None:
    nodes = prompt()
    first = builder()
    link = replaying.replay(nodes, "3", ["5", 0], {"seed": 8}, first)
    for node_id, node in first.finalize().items():
        nodes.add_ephemeral_node(node_id, node, "9", node["override_display_id"])
    source = next(i for i, n in first.finalize().items() if n["class_type"] == "LikenessSeed")
    second = builder("9.0.1.")
    again = replaying.replay(nodes, source, link, {"seed": 9}, second)
    made = second.finalize()
    assert again[0] in made and not set(made) & set(first.finalize())
    assert nodes.get_display_node_id(made[again[0]]["override_display_id"]) == "5"


def test_a_graph_deeper_than_pythons_stack_is_copied(replaying: Any) -> None:
    graph: dict[str, dict[str, Any]] = {"0": {"class_type": "LikenessSeed", "inputs": {"seed": 1}}}
    for n in range(1, 3000):
        graph[str(n)] = {"class_type": "Step", "inputs": {"a": [str(n - 1), 0], "b": [str(n - 1), 1]}}
    made = builder()
    replaying.replay(prompt(graph), "0", ["2999", 0], {}, made)
    assert len(made.nodes) == 3000
