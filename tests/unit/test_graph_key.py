"""What a graph draws, as one digest."""

from __future__ import annotations

from typing import Any

import pytest

from likeness.sweep.graph_key import checkpoint_name, describe, digest, file_names, plain_model, upstream, used_outputs

GRAPH: dict[str, dict[str, Any]] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "model.safetensors"}},
    "2": {"class_type": "LikenessSweepValues", "inputs": {"lora": "0.4,0.8", "prompts": ["9", 0]}},
    "3": {"class_type": "Apply", "inputs": {"model": ["1", 0], "clip": ["1", 1], "sweep": ["2", 0]}},
    "4": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["3", 1], "text": "a park"}},
    "5": {"class_type": "KSampler", "inputs": {"model": ["3", 0], "positive": ["4", 0], "seed": ["2", 6], "steps": 20}},
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0]}},
    "9": {"class_type": "Text", "inputs": {"value": "red\nblue"}},
}
PICTURE = ["6", 0]


def key(graph: dict[str, dict[str, Any]], link: list[Any] = PICTURE, source: str = "2") -> str:
    return digest(describe(graph.__getitem__, link, source))


def changed(node: str, **inputs: Any) -> dict[str, dict[str, Any]]:
    return {**GRAPH, node: {**GRAPH[node], "inputs": {**GRAPH[node]["inputs"], **inputs}}}


@pytest.mark.parametrize(
    ("node", "inputs"),
    [("1", {"ckpt_name": "b.ckpt"}), ("5", {"steps": 21}), ("4", {"text": "a pool"}), ("5", {"seed": ["2", 5]})],
)
def test_what_draws_changes_the_key(node: str, inputs: dict[str, Any]) -> None:
    assert key(changed(node, **inputs)) != key(GRAPH)


@pytest.mark.parametrize(
    ("node", "inputs"), [("2", {"lora": "1"}), ("9", {"value": "green"}), ("7", {"filename_prefix": "b"})]
)
def test_the_sweep_itself_and_what_comes_after_the_picture_do_not(node: str, inputs: dict[str, Any]) -> None:
    assert key(changed(node, **inputs)) == key(GRAPH)


def test_ids_and_the_order_of_nodes_do_not_count() -> None:
    def moved(value: Any) -> Any:
        return [f"{value[0]}0", value[1]] if isinstance(value, list) else value

    graph = {
        f"{i}0": {**node, "inputs": {k: moved(v) for k, v in node["inputs"].items()}, "_meta": {"title": i}}
        for i, node in reversed(GRAPH.items())
    }
    assert key(graph, ["60", 0], "20") == key(GRAPH)


def test_a_deep_graph_is_no_deeper_than_the_stack() -> None:
    graph: dict[str, dict[str, Any]] = {"0": {"class_type": "Source", "inputs": {}}}
    for i in range(1, 3000):
        graph[str(i)] = {"class_type": "Step", "inputs": {"x": [str(i - 1), 0]}}
    assert len(describe(graph.__getitem__, ["2999", 0], "0")) == 3001


def test_a_value_that_is_no_json_counts_by_its_type() -> None:
    assert key(changed("5", steps=object())) == key(changed("5", steps=object())) != key(GRAPH)


def test_files_checkpoint_and_plain_model_are_found() -> None:
    rows = describe(GRAPH.__getitem__, PICTURE, "2")
    assert file_names(rows) == ["model.safetensors"] and checkpoint_name(rows) == "model.safetensors"
    assert plain_model(GRAPH.__getitem__, PICTURE, "2") == ["1", 0]
    assert plain_model(changed("3", model=["2", 3]).__getitem__, PICTURE, "2") is None
    assert checkpoint_name(describe(GRAPH.__getitem__, ["9", 0], "2")) == ""


def test_used_outputs_are_those_that_reach_the_picture() -> None:
    assert used_outputs(GRAPH.__getitem__, PICTURE, "2") == {0, 6}
    assert used_outputs(GRAPH.__getitem__, ["1", 0], "2") == set()
    assert used_outputs(GRAPH.__getitem__, ["2", 3], "2") == {3}
    assert set(upstream(GRAPH.__getitem__, PICTURE, "2")) == {"1", "3", "4", "5", "6"}
