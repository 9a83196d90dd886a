"""A graph against what a server tells of its nodes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from likeness.cli.graphs import Overrides
from likeness.cli.graphs_scene import Drawing, scene_graph
from likeness.lora_stack import StackEntry
from likeness.remote.checks import MAX_TOLD, NodeClasses
from likeness.scenes.scene import Scene

from .pretended_comfy import INFO, Graph, graph

GROWING = {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image", "min": 2, "max": 4}}
CHOOSING = {
    "options": [{"key": "off", "inputs": {}}, {"key": "box", "inputs": {"required": {"left": ["FLOAT", {"max": 1.0}]}}}]
}
MORE: dict[str, Any] = {
    **INFO,
    "Loads": {
        "input": {"required": {"image": [["a.png", "b.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
    },
    "Dynamic": {
        "input": {
            "required": {"where": ["COMFY_DYNAMICCOMBO_V3", CHOOSING], "images": ["COMFY_AUTOGROW_V3", GROWING]},
            "optional": {"any": ["*"], "either": ["IMAGE,MASK", {}], "flag": ["BOOLEAN", {}]},
        },
        "output": ["IMAGE"],
        "output_node": True,
    },
}


def problems(nodes: Any) -> list[str]:
    return NodeClasses(MORE).problems(nodes)


def dynamic(**inputs: Any) -> Graph:
    images = {"images.image0": ["1", 0], "images.image1": ["1", 0]}
    loads = {"class_type": "Loads", "inputs": {"image": "a.png"}}
    return {"1": loads, "2": {"class_type": "Dynamic", "inputs": {"where": "off", **images, **inputs}}}


def test_a_good_graph_has_no_problem() -> None:
    assert problems(graph()) == [] and problems(dynamic()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampler_name": "dpmp_2m"}, "sampler_name is 'dpmp_2m', which is not among the 3 that the server has"),
        ({"scheduler": "Karras"}, "scheduler is 'Karras'"),
        ({"steps": 10_001}, "steps is 10001, which is more than 10000, the most that it takes"),
        ({"steps": "many"}, "steps is 'many', which is not a whole number"),
        ({"steps": float("nan")}, "not a whole number"),
        ({"cfg": float("inf")}, "cfg is inf, which is not a number"),
        ({"cfg": None}, "which is not a number"),
        ({"seed": -1}, "seed is -1, which is less than 0"),
        ({"seed": 2**64}, "which is more than 18446744073709551615"),
        ({"model": "1"}, "takes a link from a node that gives MODEL"),
        ({"model": ["7", 0]}, "model is linked to node '7', which is not in the graph"),
        ({"model": ["1", 3]}, "model is linked to output 3 of CheckpointLoaderSimple (node 1), which has 3"),
        ({"model": ["1", 1]}, "model takes MODEL, but CheckpointLoaderSimple (node 1) gives CLIP there"),
        ({"model": ["1"]}, "model is a list that is no link"),
        ({"model": ["2", 0]}, "Nodes are linked in a circle: 2 -> 2."),
    ],
)
def test_each_mistake_is_one_sentence(change: dict[str, Any], said: str) -> None:
    found = problems(graph(**change))
    assert any(said in problem for problem in found), found
    assert all("\n" not in p and p.endswith(".") for p in found)


def test_values_that_the_server_would_turn_into_numbers_are_taken() -> None:
    assert problems(graph(steps="20", cfg=7, seed=True)) == []


def test_inputs_that_a_choice_brings_with_it_are_checked() -> None:
    assert problems(dynamic(where="box", **{"where.left": 0.5})) == []
    assert "the input where.left is missing" in problems(dynamic(where="box"))[0]
    assert "where.left is 2.0, which is more than 1.0" in problems(dynamic(where="box", **{"where.left": 2.0}))[0]
    assert "where is 'circle'" in problems(dynamic(where="circle"))[0]


def test_rows_that_grow_need_their_least_number() -> None:
    nodes = dynamic(**{"images.image3": ["1", 1]})
    assert "images.image3 takes IMAGE, but Loads (node 1) gives MASK" in problems(nodes)[0]
    del nodes["2"]["inputs"]["images.image1"], nodes["2"]["inputs"]["images.image3"]
    assert "the input images.image1 is missing" in problems(nodes)[0]


def test_types_that_may_be_several_fit() -> None:
    assert problems(dynamic(any=["1", 1], either=["1", 1])) == []


def test_an_upload_may_lie_in_a_subfolder() -> None:
    nodes = dynamic()
    nodes["1"]["inputs"]["image"] = "sub/c.png [output]"
    assert problems(nodes) == []


def test_a_part_that_leads_nowhere_is_not_checked_but_has_to_be_known() -> None:
    nodes = graph()
    nodes["8"] = {"class_type": "KSampler", "inputs": {"steps": -1}}
    assert problems(nodes) == []
    nodes["8"]["class_type"] = "Mine"
    assert "no node class 'Mine'" in problems(nodes)[0]


@pytest.mark.parametrize(
    "nodes", [{}, {"1": 3}, {"1": {"class_type": "KSampler"}}, {"1": {"class_type": 3, "inputs": {}}}, {"": []}]
)
def test_what_is_no_graph_is_told(nodes: Any) -> None:
    assert problems(nodes)


def test_a_graph_without_an_output_is_told() -> None:
    nodes = graph()
    del nodes["3"]
    assert problems(nodes) == ["The graph saves and shows nothing: add a Save Image node."]


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"KSampler": None},
        {"KSampler": {"input": 3}},
        {"SaveImage": {"input": {"required": {"a": 3, "b": [], "c": [7]}}}},
    ],
)
def test_a_server_that_tells_nonsense_breaks_nothing(info: dict[str, Any]) -> None:
    assert isinstance(NodeClasses(info).problems(graph()), list)


def test_a_long_chain_and_many_problems_are_no_trouble() -> None:
    nodes: Graph = {"0": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}}}
    for i in range(1, 5000):
        nodes[str(i)] = {"class_type": "Dynamic", "inputs": {"any": [str(i - 1), 0]}}
    begun = time.perf_counter()
    assert len(problems(nodes)) == MAX_TOLD
    assert time.perf_counter() - begun < 5


def test_a_scene_needs_what_a_server_tells_of_its_nodes() -> None:
    scene = Scene(name="park", seed=7, prompt="ada in a park", negative="blurry")
    lora = StackEntry("town.safetensors", 0.7, 0.5, ("portorosso",))
    nodes = scene_graph(
        Drawing("ada", "a.safetensors", "v.pt", numbers=Overrides(steps=9, sampler="heun", width=640)), scene, [lora]
    )
    kinds = [node["class_type"] for node in nodes.values()]
    assert kinds[:5] == [
        "CheckpointLoaderSimple",
        "VAELoader",
        "LoraLoader",
        "LikenessLoadCharacter",
        "LikenessApplyCharacter",
    ]
    (sampler,) = (n["inputs"] for n in nodes.values() if n["class_type"] == "KSampler")
    assert (sampler["seed"], sampler["steps"], sampler["sampler_name"]) == (7, 9, "heun") and isinstance(
        sampler["cfg"], list
    )
    texts = [n["inputs"]["text"] for n in nodes.values() if n["class_type"] == "CLIPTextEncode"]
    assert texts == ["ada in a park, portorosso", "blurry"]
    assert json.dumps(nodes)
