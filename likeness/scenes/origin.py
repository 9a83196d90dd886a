"""Where the pictures of a scene come from in a graph: one digest of all that draws them, and whether its LoRAs act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..sweep.graph_key import Node, describe, digest, is_link, upstream, used_outputs

_SEEDS = ("seed", "noise_seed")  # typed in: the scene's own is a link
_LORA = "lora"  # in the class of a node that puts LoRAs on


@dataclass(frozen=True)
class Origin:
    """Of the pictures that one node saves."""

    graph: str  # 16 hex digits of the nodes between the scene and the pictures, with all that feeds them
    loras_act: bool  # whether a LoRA node on that way reads the scene's LoRAs


def origin_of(prompt: Any, saver: str, loras: int) -> Origin | None:
    """None where the graph does not tell.

    `prompt` is a graph in API form, `saver` the id of a node with the inputs `images` and `scene`, `loras` the output
    of the scene's node with its LoRAs.
    """
    try:
        inputs = prompt[saver]["inputs"]
        pictures, source = inputs["images"], inputs["scene"][0]
        if not is_link(pictures):
            return None
        rows = describe(lambda node_id: _plain(prompt[node_id]), pictures, source)
        return Origin(digest(rows)[:16], _reads(prompt, pictures, source, loras))
    except (KeyError, TypeError, IndexError, AttributeError):
        return None


def savers_of(prompt: Any, source: str, class_type: str) -> dict[str, Mapping[str, Any]]:
    """Id -> inputs of the nodes of a class that save scenes of this node."""
    found = prompt.items() if isinstance(prompt, Mapping) else ()
    nodes = {
        i: node["inputs"] for i, node in found if isinstance(node, Mapping) and node.get("class_type") == class_type
    }
    return {i: given for i, given in nodes.items() if is_link(given.get("scene")) and given["scene"][0] == source}


def is_read(prompt: Any, source: str, output: int) -> bool:
    """Whether any node reads that output."""
    nodes = prompt.values() if isinstance(prompt, Mapping) else ()
    values = (v for node in nodes if isinstance(node, Mapping) for v in (node.get("inputs") or {}).values())
    return any(is_link(value) and value == [source, output] for value in values)


def _plain(node: Mapping[str, Any]) -> Node:
    """Without a seed that was typed: it changes from run to run, and the scene's own does not come from it."""
    given = {k: v for k, v in node["inputs"].items() if k not in _SEEDS or is_link(v)}
    return {"class_type": node["class_type"], "inputs": given}


def _reads(prompt: Mapping[str, Any], pictures: list[Any], source: str, output: int) -> bool:
    def node_of(node_id: str) -> Node:
        return prompt[node_id]  # type: ignore[no-any-return]

    loaders = [n for n in upstream(node_of, pictures, source).values() if _LORA in n["class_type"].lower()]
    texts = [
        value
        for node in loaders
        for name, value in node["inputs"].items()
        if is_link(value) and name not in ("model", "clip")  # these lead on to what is before it
    ]
    return any(output in used_outputs(node_of, link, source) for link in texts)
