"""What a graph draws, as one digest: the part between a source node and a picture, and all that feeds it.

Node ids and titles do not count; the source's own settings do not count either, since they are what changes from
picture to picture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

SOURCE = "<source>"
CHECKPOINTS = ("ckpt_name", "unet_name", "model_name", "model_path")  # inputs that name one
MODEL_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
Node = Mapping[str, Any]  # "class_type", "inputs" by name: a value, or a link [node id, output]
NodeOf = Callable[[str], Node]


def is_link(value: object) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], (int, float))
    )


def upstream(node_of: NodeOf, link: list[Any], source: str) -> dict[str, Node]:
    """Every node that the link depends on, by id, without the source and what only the source depends on."""
    found: dict[str, Node] = {}
    waiting = [link[0]]
    while waiting:
        node_id = waiting.pop()
        if node_id == source or node_id in found:
            continue
        found[node_id] = node_of(node_id)
        waiting += [value[0] for value in found[node_id]["inputs"].values() if is_link(value)]
    return found


def describe(node_of: NodeOf, link: list[Any], source: str) -> list[Any]:
    """The nodes as JSON values, each link as the place of its node in the list; equal graphs give equal lists."""
    places: dict[str, int] = {source: 0}
    rows: list[Any] = [SOURCE]
    for node_id in _in_order(node_of, link[0], source):
        node = node_of(node_id)
        inputs = {
            name: ["node", places[value[0]], value[1]] if is_link(value) else _plain(value)
            for name, value in sorted(node["inputs"].items())
        }
        places[node_id] = len(rows)
        rows.append({"class_type": node["class_type"], "inputs": inputs})
    return [*rows, ["picture", places[link[0]], link[1]]]


def _in_order(node_of: NodeOf, start: str, source: str) -> Iterator[str]:
    """Ids, each after those it depends on, in an order that names of inputs alone decide."""
    done, stack = {source}, [(start, False)]
    while stack:
        node_id, ready = stack.pop()
        if node_id in done:
            continue
        if ready:
            done.add(node_id)
            yield node_id
            continue
        stack.append((node_id, True))
        links = [value[0] for _, value in sorted(node_of(node_id)["inputs"].items()) if is_link(value)]
        stack += [(i, False) for i in reversed(links)]


def _plain(value: object) -> object:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return str(type(value))
    return value


def digest(*parts: object) -> str:
    """sha256, hex, of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def file_names(rows: list[Any]) -> list[str]:
    """Model files that the graph names, sorted."""
    values = [v for row in rows if isinstance(row, dict) for v in row["inputs"].values()]
    return sorted({v for v in values if isinstance(v, str) and v.lower().endswith(MODEL_FILES)})


def checkpoint_name(rows: list[Any]) -> str:
    """The checkpoint or diffusion model that the graph loads; "" where it is not to be seen."""
    for key in CHECKPOINTS:
        for row in rows:
            value = row["inputs"].get(key) if isinstance(row, dict) else None
            if isinstance(value, str):
                return value
    return ""


def plain_model(node_of: NodeOf, link: list[Any], source: str) -> list[Any] | None:
    """Link to the model before strengths act on it: the first `model` that does not depend on the source."""
    nodes = upstream(node_of, link, source)
    for node in nodes.values():
        given = node["inputs"].get("model")
        if is_link(given) and not used_outputs(node_of, given, source):
            return given
    return None


def used_outputs(node_of: NodeOf, link: list[Any], source: str) -> set[int]:
    """Places of the source's outputs that the link's value depends on."""
    nodes = upstream(node_of, link, source).values()
    links = [link, *(value for node in nodes for value in node["inputs"].values() if is_link(value))]
    return {int(value[1]) for value in links if value[0] == source}
