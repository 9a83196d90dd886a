"""The blueprints in subgraphs/: one node each, and inside the graph of api_graphs/ that it was made from."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ..conftest import ROOT

FILES = sorted((ROOT / "subgraphs").glob("*.json"))
GRAPHS = {
    "Likeness consistent portrait": ("portrait", {"Save"}),
    "Likeness score and gate": (
        "score_gate",
        {
            *("Checkpoint", "Load Character", "Apply Character", "Character Prompt", "Positive", "Negative"),
            *("Character Sampling", "Size", "Sample", "Decode", "Save accepted", "Rejected", "Not measurable"),
        },
    ),
    "Likeness training set": ("training_set", set()),
}
SHOWN = {
    "Likeness consistent portrait": ["ckpt_name", "character", "text", "negative", "batch_size", "seed"],
    "Likeness score and gate": ["face_model", "threshold", "when_empty"],
    "Likeness training set": ["character", "name", "folder", "family", "caption_from", "dry_run"],
}
SOCKETS = {
    "Likeness consistent portrait": ([], ["IMAGE", "character"]),
    "Likeness score and gate": (
        ["character", "images"],
        ["accepted", "consistency rate", "not measurable", "preview", "rejected", "report"],
    ),
    "Likeness training set": (["images"], ["count", "report", "sheet", "training set"]),
}

Json = dict[str, Any]


def read(name: str) -> Json:
    return json.loads((ROOT / "subgraphs" / f"{name}.json").read_text(encoding="utf-8"))


def inside(workflow: Json) -> Json:
    (definition,) = workflow["definitions"]["subgraphs"]
    return definition


def test_there_are_three_blueprints() -> None:
    assert [file.stem for file in FILES] == sorted(GRAPHS) == sorted(SHOWN)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_blueprint_is_one_node_and_its_definition(name: str) -> None:
    workflow = read(name)
    (node,) = workflow["nodes"]
    assert node["type"] == inside(workflow)["id"]
    assert (node["title"], inside(workflow)["name"]) == (name, name)  # the editor shows the file's name
    assert workflow["links"] == []
    assert not [slot for slot in node["inputs"] if slot["link"] is not None]
    assert not [slot for slot in node["outputs"] if slot["links"]]
    assert workflow["extra"]["BlueprintDescription"] and "likeness" in workflow["extra"]["BlueprintSearchAliases"]


@pytest.mark.parametrize("name", GRAPHS)
def test_what_a_user_chooses_is_shown_on_the_node(name: str) -> None:
    (node,) = read(name)["nodes"]
    assert [slot["name"] for slot in node["inputs"] if "widget" in slot] == SHOWN[name]
    sockets = sorted(slot["name"] for slot in node["inputs"] if "widget" not in slot)
    assert (sockets, sorted(slot["name"] for slot in node["outputs"])) == SOCKETS[name]


@pytest.mark.parametrize("name", GRAPHS)
def test_inside_is_the_graph_that_it_was_made_from(name: str) -> None:
    """Same nodes, links and values; build them anew with tools/build_blueprints.py when api_graphs/ changes."""
    graph, outside = GRAPHS[name]
    flat = json.loads((ROOT / "api_graphs" / f"{graph}.json").read_text(encoding="utf-8"))
    wanted = {id: one for id, one in flat.items() if one["_meta"]["title"] not in outside}
    definition = inside(read(name))
    nodes = {str(node["id"]): node for node in definition["nodes"]}
    assert {id: node["type"] for id, node in nodes.items()} == {id: one["class_type"] for id, one in wanted.items()}
    links = {link["id"]: link for link in definition["links"]}
    for id, one in wanted.items():
        slots = {slot["name"]: slot for slot in nodes[id]["inputs"]}
        for key, value in one["inputs"].items():
            if not isinstance(value, list):
                assert _values(nodes[id])[key] == value, (id, key)
            elif value[0] in wanted:
                link = links[slots[key]["link"]]
                assert [str(link["origin_id"]), link["origin_slot"]] == value, (id, key)


def _values(node: Json) -> Json:
    """Values of a node's widgets by name: inputs with a widget in order; after a seed comes what happens to it."""
    names = []
    for slot in node["inputs"]:
        if "widget" in slot:
            names += [slot["name"], *(["control_after_generate"] if slot["name"] == "seed" else [])]
    assert len(names) == len(node["widgets_values"]), node["type"]
    return dict(zip(names, node["widgets_values"], strict=True))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_blueprint_names_no_machine(name: str) -> None:
    text = (ROOT / "subgraphs" / f"{name}.json").read_text(encoding="utf-8")
    assert not re.search(r"127\.0\.0\.1|localhost|(?<![\w])/(?:home|root|tmp|work)/|[A-Z]:\\\\", text)
