"""Reading an API-format workflow: the graph that ComfyUI's queue takes, and nothing that only looks like one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import LikenessError, printable, quoted
from ..files import read_limited

MAX_BYTES, MAX_NODES = 16 << 20, 20_000
_MAX_OUTPUTS = 10_000
_WRAPPINGS = (("prompt",), ("output",), ("workflow",), ("api_graph",), ("input", "workflow"), ("input", "prompt"))
_EXPORT = (
    "This is a workflow in the editor's own format. Open it in ComfyUI, choose Workflow > Export (API), and give that "
    "file."
)


class Edge(NamedTuple):
    """One link: output `slot` of node `source` goes into input `name` of node `target`."""

    source: str
    slot: int
    target: str
    name: str

    @property
    def link(self) -> list[Any]:
        return [self.source, self.slot]


@dataclass(frozen=True, eq=False)  # a node is itself, whatever another one is like
class Node:
    """One node; `inputs` is not to be changed."""

    id: str
    class_type: str
    inputs: Mapping[str, Any]  # name -> value, or [node id, output]
    title: str  # "" where the file gives none

    def __str__(self) -> str:
        """For people: "KSampler 3", or with its title where that says more."""
        plain = self.title in ("", self.class_type) or len(self.title) > 60
        return printable(f"{self.class_type} {self.id}" + ("" if plain else f" ({self.title})"))


@dataclass(frozen=True)
class Workflow:
    """A graph whose nodes and links have been looked at. `document` is the file as it was, `path` where in it the graph
    stands."""

    graph: Mapping[str, Mapping[str, Any]]
    document: Mapping[str, Any]
    path: tuple[str, ...] = ()

    @cached_property
    def nodes(self) -> dict[str, Node]:
        return {i: Node(i, n["class_type"], n["inputs"], _title(n)) for i, n in self.graph.items()}

    @cached_property
    def into(self) -> dict[str, list[Edge]]:
        """Links by the node they go into; dangling ones are left out."""
        found: dict[str, list[Edge]] = {node_id: [] for node_id in self.nodes}
        for node in self.nodes.values():
            for name, value in node.inputs.items():
                if (link := as_link(value)) and link[0] in self.nodes:
                    found[node.id].append(Edge(link[0], link[1], node.id, name))
        return found

    @cached_property
    def out_of(self) -> dict[str, list[Edge]]:
        """Links by the node they come from."""
        found: dict[str, list[Edge]] = {node_id: [] for node_id in self.nodes}
        for edges in self.into.values():
            for edge in edges:
                found[edge.source].append(edge)
        return found

    @cached_property
    def dangling(self) -> list[Edge]:
        """Links to nodes that are not there."""
        every = [(n.id, name, as_link(v)) for n in self.nodes.values() for name, v in n.inputs.items()]
        return [Edge(link[0], link[1], i, name) for i, name, link in every if link and link[0] not in self.nodes]

    @cached_property
    def order(self) -> list[str]:
        """Ids, each after those it depends on. LikenessError where nodes wait for one another."""
        waiting = {node_id: len(edges) for node_id, edges in self.into.items()}
        ready = [node_id for node_id, count in waiting.items() if not count]
        for node_id in ready:  # grows while it is walked
            for edge in self.out_of[node_id]:
                waiting[edge.target] -= 1
                if not waiting[edge.target]:
                    ready.append(edge.target)
        if len(ready) < len(waiting):
            circle = [str(self.nodes[i]) for i in self._circle({i for i, count in waiting.items() if count})]
            more = f" and {len(circle) - 5} more" if len(circle) > 5 else ""
            raise LikenessError(
                f"The workflow goes in a circle through {', '.join(circle[:5])}{more}: ComfyUI cannot run it, so take "
                "one of their links out."
            )
        return ready

    def _circle(self, stuck: set[str]) -> list[str]:
        """Ids of nodes that wait for one another, among those that are never ready: going back from any ends there."""
        way: dict[str, None] = {}
        here = next(iter(stuck))
        while here not in way:
            way[here] = None
            here = next(edge.source for edge in self.into[here] if edge.source in stuck)
        return list(way)[list(way).index(here) :]

    def wrapped(self, graph: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """`graph` in the place of this workflow's."""
        made: Any = graph
        for depth in reversed(range(len(self.path))):
            outer: Any = self.document
            for key in self.path[:depth]:
                outer = outer[key]
            made = {**outer, self.path[depth]: made}
        return made


def as_link(value: object) -> tuple[str, int] | None:
    """(node id, output) where ComfyUI takes the value for a link."""
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
        return None
    slot = value[1]
    if isinstance(slot, float) and slot.is_integer():
        slot = int(slot)
    whole = isinstance(slot, int) and not isinstance(slot, bool)
    return (value[0], slot) if whole and 0 <= slot < _MAX_OUTPUTS else None


def read_workflow(source: bytes | str | Mapping[str, Any] | Workflow, name: str = "The workflow") -> Workflow:
    """The graph in `source`, which may stand in {"prompt": ...} or the like. A LikenessError names the node or the
    field that is wrong, and `name`, the file."""
    if isinstance(source, Workflow):
        return source
    document = _parsed(source, name)
    if not isinstance(document, dict):
        raise LikenessError(f"{name} is no workflow: it has to be a JSON object of nodes.")
    path, graph = _unwrapped(document)
    if _is_editor_format(graph):
        raise LikenessError(f"{name}: {_EXPORT}")
    _check(graph, name)
    workflow = Workflow(graph, document, path)
    if not workflow.order:
        raise LikenessError(f"{name} has no node: export the workflow again, with Workflow > Export (API).")
    return workflow


def read_workflow_file(path: Path) -> Workflow:
    """`read_workflow` of a file. FileError where it cannot be read."""
    return read_workflow(read_limited(path, MAX_BYTES), str(path))


def _parsed(source: bytes | str | Mapping[str, Any], name: str) -> Any:
    try:
        if isinstance(source, Mapping):  # by way of text: what is not JSON is refused, and nothing is shared with it
            source = json.dumps(source)
        if len(source) > MAX_BYTES:
            raise LikenessError(f"{name} is larger than {MAX_BYTES >> 20} MB, so it is no workflow.")
        text = source.decode("utf-8-sig") if isinstance(source, bytes) else source
        # NaN comes from pictures of old ComfyUI versions; it is not JSON.
        return json.loads(text, object_pairs_hook=_once, parse_constant=lambda _: None)
    except _Twice as error:
        raise LikenessError(f"{name} has two entries {error}: leave one of them.") from None
    except UnicodeDecodeError:
        raise LikenessError(f"{name} is no text: give the JSON file of Workflow > Export (API).") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise LikenessError(f"{name} is not JSON ({quoted(str(error))}): export the workflow again.") from None


class _Twice(ValueError):
    """A name that stands twice in one JSON object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        raise _Twice(next(quoted(name) for name, _ in pairs if name in seen or seen.add(name)))
    return made


def _unwrapped(document: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
    """Where the graph stands, and the graph."""
    for path in ((), *_WRAPPINGS):
        inner: Any = document
        for key in path:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and any(isinstance(n, dict) and "class_type" in n for n in inner.values()):
            return path, inner
    editors = next((document[k] for k in ("workflow", "prompt") if _is_editor_format(document.get(k))), None)
    return (), editors or document


def _is_editor_format(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("nodes"), list) and ("links" in value or "version" in value)


def _check(graph: Mapping[str, Any], name: str) -> None:
    if len(graph) > MAX_NODES:
        raise LikenessError(f"{name} has {len(graph):,} nodes; more than {MAX_NODES:,} are not read.")
    for node_id, node in graph.items():
        where = f"{name}, node {quoted(node_id)}"
        if not isinstance(node, dict) or "class_type" not in node:
            raise LikenessError(f"{where} is no node: ComfyUI would refuse it, so take it out, or export it again.")
        if not isinstance(node["class_type"], str) or not node["class_type"].strip():
            raise LikenessError(f"{where}: class_type has to be the name of a node, not {quoted(node['class_type'])}.")
        if not isinstance(node.get("inputs"), dict):
            raise LikenessError(f'{where}: inputs has to be an object, {{"name": value}}.')


def _title(node: Mapping[str, Any]) -> str:
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return re.sub(r"\s+", " ", title).strip() if isinstance(title, str) else ""
