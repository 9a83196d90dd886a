"""What a server would say about a graph, before it is queued: every problem at once, in sentences.

Read from what the server tells of its nodes at /object_info:

    {"KSampler": {"input": {"required": {"steps": ["INT", {"min": 1, "max": 10000}], "cfg": [...], ...}},
                  "output": ["LATENT"], "output_node": false}, ...}

The rules are those of ComfyUI's own validation. What only a node itself knows is left to the server.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import printable, quoted
from ..inject.insert import ApiGraph
from ..sweep.graph_key import is_link
from .inputs import Expected, depends, expected_inputs

MAX_TOLD = 40  # problems in one answer
_NEAR = 3
_NUMBERS: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float}
_ANY = ("*", "COMFY_MATCHTYPE_V3")
_UPLOADS = ("upload", "folder", "remote")  # options of a combo whose list the server does not hold its values to


@dataclass(frozen=True)
class NodeClasses:
    """The node classes of one server."""

    info: Mapping[str, Any] = field(repr=False)
    _fixed: dict[str, dict[str, Expected]] = field(default_factory=dict, repr=False, compare=False)

    def problems(self, graph: ApiGraph) -> list[str]:
        """One sentence each, [] for a graph that the server should take; at most MAX_TOLD of them."""
        broken = [p for node_id, node in graph.items() for p in _shape(node_id, node)]
        if broken or not graph:
            return broken[:MAX_TOLD] or ["The graph is empty."]
        unknown = [self._unknown(node_id, node) for node_id, node in graph.items() if not self._about(node)]
        outputs = [i for i, node in graph.items() if self._about(node).get("output_node")]
        found = unknown if outputs or unknown else ["The graph saves and shows nothing: add a Save Image node."]
        wanted, rounds = _upstream(graph, outputs)
        for node_id in wanted:
            if self._about(graph[node_id]):
                found += self._of_node(graph, node_id)
        return [*found, *rounds][:MAX_TOLD]

    def listed(self, class_type: str, name: str) -> tuple[str, ...]:
        """The values that a combo of a node class takes, () where there is none."""
        about = expected_inputs(self.info.get(class_type), {}).get(name)
        return tuple(v for v in (about.choices or ()) if isinstance(v, str)) if about else ()

    def _expected(self, class_type: str, given: Mapping[str, Any]) -> dict[str, Expected]:
        if class_type not in self._fixed:
            found = expected_inputs(self.info.get(class_type), given)
            if depends(self.info.get(class_type)):
                return found
            self._fixed[class_type] = found
        return self._fixed[class_type]

    def _about(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        about = self.info.get(node["class_type"])
        return about if isinstance(about, dict) else {}

    def _unknown(self, node_id: str, node: Mapping[str, Any]) -> str:
        near = _nearest(node["class_type"], self.info)
        return (
            f"{_title(node_id, node)}: the server has no node class {quoted(node['class_type'])}{near}: install the "
            "pack that it comes with there, or leave the node out."
        )

    def _of_node(self, graph: ApiGraph, node_id: str) -> Iterator[str]:
        node = graph[node_id]
        given, where = node["inputs"], _title(node_id, node)
        for name, expected in self._expected(node["class_type"], given).items():
            if name not in given:
                if expected.required:
                    yield f"{where}: the input {name} is missing."
            elif isinstance(given[name], list):
                yield from self._of_link(graph, where, name, given[name], expected)
            elif problem := _of_value(given[name], expected):
                yield f"{where}: {name} {problem}."

    def _of_link(self, graph: ApiGraph, where: str, name: str, link: list[Any], expected: Expected) -> Iterator[str]:
        if not is_link(link):
            yield f"{where}: {name} is a list that is no link: write [node id, output number]."
        elif link[0] not in graph:
            yield f"{where}: {name} is linked to node {quoted(link[0])}, which is not in the graph."
        elif about := self._about(graph[link[0]]):
            source, outputs = _title(link[0], graph[link[0]]), about.get("output")
            types = outputs if isinstance(outputs, list) else []
            if not 0 <= link[1] < len(types):
                yield f"{where}: {name} is linked to output {link[1]} of {source}, which has {len(types)}."
            elif not _fits(types[int(link[1])], expected.kind):
                yield f"{where}: {name} takes {expected.kind}, but {source} gives {types[int(link[1])]} there."


def _shape(node_id: str, node: object) -> Iterator[str]:
    good = isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)
    if not good:
        yield f"Node {printable(str(node_id))[:40]} is no node in API format: it needs class_type and inputs."


def _title(node_id: str, node: Mapping[str, Any]) -> str:
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return f"{printable(str(title or node['class_type']))[:60]} (node {printable(node_id)[:20]})"


def _upstream(graph: ApiGraph, outputs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Every node that the outputs depend on, and a sentence for a circle of links."""
    done: dict[str, None] = {}
    path: dict[str, None] = {}  # nodes that are being walked through
    rounds: list[str] = []
    stack: list[tuple[str, bool]] = [(i, False) for i in reversed(outputs)]
    while stack:
        node_id, left = stack.pop()
        if left:
            path.pop(node_id)
            done[node_id] = None
        elif node_id in path:
            names = [*list(path)[list(path).index(node_id) :], node_id]
            rounds = [f"Nodes are linked in a circle: {' -> '.join(map(printable, names[:12]))}."]
        elif node_id not in done:
            path[node_id] = None
            stack.append((node_id, True))
            links = [v[0] for v in graph[node_id]["inputs"].values() if is_link(v) and v[0] in graph]
            stack += [(i, False) for i in links]
    return list(done), rounds


def _fits(given: object, wanted: str) -> bool:
    if isinstance(given, list):  # a list of options as a type: the pack's own affair
        return wanted == "COMBO"
    mine, theirs = ({t.strip() for t in str(kind).split(",")} for kind in (given, wanted))
    return bool(mine & theirs) or any(t in _ANY or t.startswith("COMFY_") for t in mine | theirs)


def _of_value(value: object, expected: Expected) -> str:
    """What is wrong with a value that was typed; "" for nothing."""
    if isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    if expected.choices is not None:
        return _of_choice(value, expected)
    if expected.kind in _NUMBERS:
        return _of_number(value, expected)
    if expected.needs_link:
        return f"is {quoted(value, 40)}, but takes a link from a node that gives {expected.kind}"
    return ""


def _of_choice(value: object, expected: Expected) -> str:
    options, choices = expected.options, expected.choices or ()
    if any(options.get(key) for key in options if any(mark in key for mark in _UPLOADS)):
        return ""
    if value in choices or (options.get("multiselect") and not value):
        return ""
    if not choices:
        return f"is {quoted(value)}, but the server has no file or value for it at all"
    few = len(choices) <= 8
    near = f": choose one of {', '.join(map(str, choices))}" if few else _nearest(str(value), choices)
    return f"is {quoted(value)}, which is not among the {len(choices)} that the server has{near}"


def _of_number(value: object, expected: Expected) -> str:
    try:
        number = _NUMBERS[expected.kind](value)
        if not math.isfinite(number):
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        whole = "a whole number" if expected.kind == "INT" else "a number"
        return f"is {quoted(value, 40)}, which is not {whole}"
    least, most = expected.options.get("min"), expected.options.get("max")
    if isinstance(least, (int, float)) and number < least:
        return f"is {number}, which is less than {least}, the least that it takes"
    if isinstance(most, (int, float)) and number > most:
        return f"is {number}, which is more than {most}, the most that it takes"
    return ""


def _nearest(name: str, among: Mapping[str, Any] | Sequence[Any]) -> str:
    known = {str(n).casefold(): str(n) for n in among}
    near = difflib.get_close_matches(name.casefold()[:200], known, _NEAR, 0.5)
    return f"; the nearest {'is' if len(near) == 1 else 'are'} {', '.join(known[n] for n in near)}" if near else ""
