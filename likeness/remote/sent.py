"""A graph as it is sent to a server: it saves under names of its own, and shows what it was drawn with.

Neither changes a picture. Two servers that share an output folder would else number their files alike, and one's
picture would be fetched as the other's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..inject.insert import ApiGraph
from ..scenes.drawn_with import questions, well_formed

SHOWS = "PreviewAny"  # a node of ComfyUI's own that shows any value as text
_TITLE = "Likeness: "
_PREFIX = "filename_prefix"
_KEY = re.compile(r"(.*)_([0-9a-f]{16})", re.DOTALL)
_FINGERPRINT = "is_changed"  # ComfyUI writes it into the graph while it runs


def as_sent(graph: ApiGraph, key: str, ask: bool) -> ApiGraph:
    """A copy whose files are named by `key`, with a node for each question where the server has such nodes."""
    sent = {**graph, **{node_id: _named(node, key) for node_id, node in well_formed(graph).items()}}
    if ask:
        first = max((int(i) for i in graph if re.fullmatch(r"[0-9]{1,9}", i)), default=0) + 1
        for number, (question, link) in enumerate(questions(graph).items(), first):
            meta = {"title": f"{_TITLE}{question}"}
            sent[str(number)] = {"class_type": SHOWS, "inputs": {"source": link}, "_meta": meta}
    return sent


def _named(node: dict[str, Any], key: str) -> dict[str, Any]:
    prefix = node["inputs"].get(_PREFIX)
    if not isinstance(prefix, str) or node["class_type"].startswith("Likeness"):  # ours never write over a file
        return node
    return {**node, "inputs": {**node["inputs"], _PREFIX: f"{prefix}_{key}"}}


def as_it_was(sent: ApiGraph, key_of: Callable[[ApiGraph], str]) -> ApiGraph | None:
    """The graph that `as_sent` was given, from what a server wrote into a picture; None for any other graph."""
    plain, keys = dict[str, dict[str, Any]](), set[str]()
    for node_id, node in well_formed(sent).items():
        if node["class_type"] == SHOWS and _title(node).startswith(_TITLE):
            continue
        inputs, named = dict(node["inputs"]), _KEY.fullmatch(str(node["inputs"].get(_PREFIX, "")))
        if named and not node["class_type"].startswith("Likeness"):
            inputs[_PREFIX] = named[1]
            keys.add(named[2])
        plain[node_id] = {k: v for k, v in node.items() if k != _FINGERPRINT} | {"inputs": inputs}
    return plain if keys == {key_of(plain)} else None


def answers(graph: ApiGraph, shown: Mapping[str, str]) -> dict[str, str]:
    """Question -> answer, from what the nodes of a graph that was sent have shown: id -> text."""
    titles = {node_id: _title(node) for node_id, node in graph.items()}
    return {titles[i].removeprefix(_TITLE): text for i, text in shown.items() if titles.get(i, "").startswith(_TITLE)}


def _title(node: Mapping[str, Any]) -> str:
    meta = node.get("_meta")
    return str(meta.get("title", "")) if isinstance(meta, Mapping) else ""
