"""The editor hands the values of a saved file out by place, so a file is true to its nodes' inputs in their order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..comfy.test_nodes import INTERFACE
from ..conftest import ROOT

SAVED = [path for folder in ("example_workflows", "subgraphs") for path in sorted((ROOT / folder).glob("*.json"))]


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_values_are_saved_in_the_order_of_the_inputs(path: Path) -> None:
    """If not: tools/check_editor.py build, tools/build_blueprints.py build."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    inner = (node for graph in workflow.get("definitions", {}).get("subgraphs", ()) for node in graph["nodes"])
    for node in (*workflow["nodes"], *inner):
        if node["type"] not in INTERFACE:
            continue
        inputs, _ = INTERFACE[node["type"]]
        saved = [slot["name"] for slot in node["inputs"] if "widget" in slot and "." not in slot["name"]]
        assert saved == [name for name in inputs if name in saved], node["type"]
