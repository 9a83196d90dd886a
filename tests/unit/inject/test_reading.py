"""What is read as a workflow, and what is refused with a sentence."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from likeness.errors import LikenessError
from likeness.inject import Insert, inject, read_workflow

from .graphs import node, plain


@pytest.mark.parametrize("path", [("prompt",), ("output",), ("workflow",), ("input", "workflow")])
def test_a_graph_is_found_in_its_wrapping_and_put_back_into_it(path: tuple[str, ...]) -> None:
    document: Any = plain()
    for key in reversed(path):
        document = {key: document, "client_id": "me"}
    made = inject(document, Insert("ada"))
    inner: Any = made.document
    for key in path:
        assert inner["client_id"] == "me"
        inner = inner[key]
    assert inner == made.graph and len(made.graph) > len(plain())


@pytest.mark.parametrize(
    "wrapped",
    [lambda g: g, lambda g: {"prompt": g}, lambda g: {"workflow": g, "prompt": {}}],
    ids=["bare", "prompt", "png"],
)
def test_the_editors_own_format_is_answered_with_how_to_export(wrapped: Any) -> None:
    editor = {"nodes": [{"id": 1, "type": "KSampler"}], "links": [], "version": 0.4}
    with pytest.raises(LikenessError, match=r"Export \(API\)"):
        read_workflow(wrapped(editor))


HOSTILE = {
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00\x01",
    "a list": b"[1, 2]",
    "a number": b"7",
    "nothing": b"{}",
    "deep": b"[" * 100_000,
    "a long number": b'{"1": ' + b"9" * 10_000 + b"}",
    "an id twice": b'{"1": {"class_type": "A", "inputs": {}}, "1": {"class_type": "B", "inputs": {}}}',
    "no node": {"1": node("A"), "2": "text"},
    "no class": {"1": node("A"), "2": {"inputs": {}}},
    "class is a list": {"1": node("A"), "2": {"class_type": ["A"], "inputs": {}}},
    "class is empty": {"1": node("A"), "2": {"class_type": " ", "inputs": {}}},
    "no inputs": {"1": {"class_type": "A"}},
    "inputs is a list": {"1": {"class_type": "A", "inputs": [1]}},
    "no JSON value": {"1": node("A", x={1, 2})},
    "a circle": {"1": node("A", a=["2", 0]), "2": node("B", b=["1", 0])},
    "a node of itself": {"1": node("A", a=["1", 0])},
    "too many": {str(i): node("A") for i in range(20_001)},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_workflow_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(LikenessError) as error:
        read_workflow(HOSTILE[name])  # type: ignore[arg-type]
    assert 20 < len(str(error.value)) < 500 and "Traceback" not in str(error.value)


def test_a_circle_is_named_by_the_nodes_in_it_and_not_by_those_behind_it() -> None:
    graph = {"1": node("A", a=["2", 0]), "2": node("B", b=["1", 0]), "3": node("Behind", c=["2", 0])}
    with pytest.raises(LikenessError, match="circle") as error:
        read_workflow(graph)
    assert "A 1" in str(error.value) and "Behind" not in str(error.value)


def test_what_looks_like_a_link_is_one_only_where_comfyui_takes_it_for_one() -> None:
    odd = {
        "a": ["2", -1],
        "b": ["2", True],
        "c": [2, 0],
        "d": ["2", 0, 0],
        "e": ["2", 1e300],
        "f": ["2", 0.5],
        "g": ["2", 1.0],
    }
    workflow = read_workflow(json.dumps({"1": node("A", **odd), "2": node("B")}))
    assert [(e.name, e.slot) for e in workflow.into["1"]] == [("g", 1)]


def test_a_number_that_is_not_json_is_not_handed_on() -> None:
    text = json.dumps(plain()).replace('"denoise": 1', '"denoise": NaN')
    assert "NaN" not in json.dumps(inject(text, Insert("ada")).graph)


def test_the_workflow_given_is_not_changed() -> None:
    graph = plain()
    inject(graph, Insert("ada", prompt="at sea", seed=3, score=True))
    assert graph == plain()


def test_ten_thousand_nodes_are_quick() -> None:
    graph = plain()
    graph["3"]["inputs"]["model"] = ["p4999", 0]
    for i in range(5000):
        graph[f"p{i}"] = node("ModelSamplingSD3", model=[f"p{i - 1}", 0] if i else ["4", 0], shift=3)
        graph[f"s{i}"] = node("Any Switch (rgthree)", any_01=[f"s{i - 1}", 0] if i else ["8", 0])
    begun = time.monotonic()
    made = inject(graph, Insert("ada"))
    assert time.monotonic() - begun < 10  # seconds; it takes one or two
    assert made.graph["p0"]["inputs"]["model"][0] in made.added
