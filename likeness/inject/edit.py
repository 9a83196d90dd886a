"""Changing a copy of a workflow's graph, and keeping account of it."""

from __future__ import annotations

import re
from typing import Any

from ..errors import LikenessError, quoted
from .insert import ApiGraph
from .trace import Found, Point
from .workflow import Node

MARK = "(Likeness)"  # in the titles of nodes that were added


class Editor:
    """A graph in the making. Nodes that nobody touched stay the objects they were."""

    def __init__(self, found: Found) -> None:
        self.found, self.workflow, self.kinds = found, found.workflow, found.kinds
        self.graph: ApiGraph = dict(found.workflow.graph)  # type: ignore[arg-type]
        self.changes: list[str] = []
        self.notes: list[str] = []
        self.added: list[str] = []
        self.problems: list[str] = []
        numbers = [int(i) for i in self.graph if re.fullmatch(r"[0-9]{1,9}", i)]
        self._next = max(numbers, default=0) + 1

    def add(self, class_type: str, title: str, **inputs: Any) -> str:
        """Add a node; returns its id, a number that no node has."""
        while str(self._next) in self.graph:
            self._next += 1
        node_id = str(self._next)
        self.graph[node_id] = {"inputs": inputs, "class_type": class_type, "_meta": {"title": f"{title} {MARK}"}}
        self.added.append(node_id)
        return node_id

    def set(self, node_id: str, name: str, value: Any) -> None:
        node = self.graph[node_id]
        self.graph[node_id] = {**node, "inputs": {**node["inputs"], name: value}}

    def get(self, node_id: str, name: str) -> Any:
        return self.graph[node_id]["inputs"].get(name)

    def node(self, node_id: str) -> Node:
        return self.workflow.nodes[node_id]

    def change(self, sentence: str) -> None:
        if sentence not in self.changes:
            self.changes.append(sentence)

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def refuse(self, sentence: str) -> None:
        """Something cannot be placed; the others are looked for all the same, so that all are told at once."""
        if sentence not in self.problems:
            self.problems.append(sentence)

    def stop_if_refused(self) -> None:
        if self.problems:
            shown = self.problems[:12]
            more = [f"And {len(self.problems) - 12} more."] if len(self.problems) > 12 else []
            raise LikenessError(" ".join(["The character was not put into the workflow.", *shown, *more]))

    def rewire(self, point: Point, link: list[Any]) -> list[str]:
        """Let all that read an output on the way to a sampler read `link` instead; says which nodes they are."""
        edges = self.found.edges.get(point, [])
        for edge in edges:
            self.set(edge.target, edge.name, list(link))
        return [str(self.node(i)) for i in dict.fromkeys(edge.target for edge in edges)]


def listed(names: list[str], limit: int = 6) -> str:
    """ "a, b and c" ; long lists are cut."""
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def shortened(text: object) -> str:
    return quoted(text, 60)
