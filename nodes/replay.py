"""A part of a graph once more: the nodes between a source and a link, copied by node expansion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_execution.graph_utils import GraphBuilder, is_link

Link = list[Any]  # [node id, output index]


def dependents(dynprompt: Any, source_id: str, link: Link) -> list[str]:
    """Ids of the nodes that `link` needs and that need the source: the source first, each node after those it needs.

    Empty when the link does not depend on the source. `dynprompt` is a comfy_execution.graph.DynamicPrompt; its nodes
    may themselves come from an expansion.
    """
    found, seen, stack = {source_id}, {source_id}, [(str(link[0]), False)]
    order = [source_id]
    while stack:  # no recursion: a graph may be deeper than Python's stack
        node_id, ready = stack.pop()
        if ready:
            if any(up in found for up in _needs(dynprompt, node_id)):
                found.add(node_id)
                order.append(node_id)
        elif node_id not in seen:
            seen.add(node_id)
            stack.append((node_id, True))
            stack += [(up, False) for up in _needs(dynprompt, node_id)]
    return order if link[0] in found else []


def _needs(dynprompt: Any, node_id: str) -> list[str]:
    return [value[0] for value in dynprompt.get_node(node_id)["inputs"].values() if is_link(value)]


def replay(dynprompt: Any, source_id: str, link: Link, changes: Mapping[str, Any], builder: GraphBuilder) -> Link:
    """Add to `builder` a copy of every node between the source and `link`; returns the copy's link.

    The source's inputs are overridden by `changes`. What does not depend on the source is referenced, so it is not
    executed again; a link that does not depend on it comes back as it is. Progress shows on the nodes copied.
    """
    copies: dict[str, Any] = {}
    for node_id in dependents(dynprompt, source_id, link):
        node = dynprompt.get_node(node_id)
        copy = builder.node(node["class_type"])
        inputs = node["inputs"] if node_id != source_id else {**node["inputs"], **changes}
        # Not as keywords: an input may be named "id", and dotted names of dynamic inputs stay as they are.
        copy.inputs = {name: _moved(value, copies) for name, value in inputs.items()}
        copy.set_override_display_id(node_id)
        copies[node_id] = copy
    return copies[link[0]].out(link[1]) if copies else link


def _moved(value: Any, copies: Mapping[str, Any]) -> Any:
    return copies[value[0]].out(value[1]) if is_link(value) and value[0] in copies else value
