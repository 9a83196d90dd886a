"""Taking a character out of a workflow again: our nodes go, and what they stood between is linked as before."""

from __future__ import annotations

from typing import Any

from ..errors import LikenessError
from .insert import ApiGraph
from .trace import LOAD, WORDS
from .workflow import Workflow, as_link, read_workflow

_THROUGH = {"LikenessApplyCharacter": ("model", "clip"), WORDS: ("text", "negative")}  # output -> input it stands for
_ENDS = (LOAD, "LikenessScoreLikeness")


def remove(workflow: Any) -> ApiGraph:
    """The graph without Load Character, Apply Character, Character Prompt and Score Likeness.

    LikenessError where another node needs one of them for something else.
    """
    given: Workflow = read_workflow(workflow)
    gone = {n.id for n in given.nodes.values() if n.class_type in (*_THROUGH, *_ENDS)}
    kept: ApiGraph = {}
    for node in given.nodes.values():
        if node.id in gone:
            continue
        inputs = {name: _before(given, value, gone, str(node)) for name, value in node.inputs.items()}
        same = all(inputs[name] is value for name, value in node.inputs.items())
        kept[node.id] = given.graph[node.id] if same else {**given.graph[node.id], "inputs": inputs}  # type: ignore[assignment]
    return kept


def _before(workflow: Workflow, value: Any, gone: set[str], reader: str) -> Any:
    link, seen = as_link(value), set()
    while link and link[0] in gone and link not in seen:
        seen.add(link)
        node = workflow.nodes[link[0]]
        names = _THROUGH.get(node.class_type, ())
        if link[1] >= len(names):
            raise LikenessError(f"{reader} needs {node} for something else, so that cannot be taken out.")
        value = node.inputs.get(names[link[1]], "")
        link = as_link(value)
    return value
