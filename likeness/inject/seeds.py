"""The seeds of a workflow: where they stand, as numbers or behind links, and setting them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .edit import Editor
from .workflow import Workflow, as_link

NAMES = ("seed", "noise_seed")
_SOURCES = ("seed", "noise_seed", "value", "int", "number", "Number", "Value")  # of nodes that hold one number
MAX_SEED = 2**64 - 1


@dataclass(frozen=True)
class Seed:
    """One seed: the input that holds the number, and the samplers' inputs that read it."""

    node: str
    name: str
    value: int


def seeds_in(workflow: Workflow, ids: list[str]) -> list[Seed]:
    """The seeds that these nodes draw by, each once, in the order of the nodes."""
    found: dict[tuple[str, str], Seed] = {}
    for node_id in ids:
        inputs = workflow.nodes[node_id].inputs
        if inputs.get("add_noise") == "disable":
            continue  # its noise is the sampler's before it
        for name in NAMES:
            if name in inputs and (seed := _source(workflow, node_id, name)):
                found[seed.node, seed.name] = seed
    return list(found.values())


def noisy_nodes(workflow: Workflow) -> list[str]:
    """Ids of the nodes that make noise for a sampler, in the order of the file."""
    noise = {e.source for edges in workflow.into.values() for e in edges if e.name == "noise"}
    return [n.id for n in workflow.nodes.values() if n.id in noise]


def set_seeds(editor: Editor, seeds: list[Seed], first: int) -> dict[str, int]:
    """Give the seeds the number `first`; those that differed differ again, by one each. Returns what each is now."""
    made: dict[int, int] = {}
    told: dict[str, int] = {}
    for seed in seeds:
        value = made.setdefault(seed.value, (first + len(made)) % (MAX_SEED + 1))
        node = editor.node(seed.node)
        limit = editor.kinds.limit(node, seed.name)
        if limit is not None and value > limit:
            editor.refuse(f"{node} takes seeds up to {limit:,}, and {value:,} is larger: give a smaller one.")
            continue
        told[f"{seed.node}.{seed.name}"] = value
        if value != seed.value or as_link(node.inputs[seed.name]):
            editor.set(seed.node, seed.name, value)
            editor.change(f"{node}: {seed.name} is {value}.")
    return told


def _source(workflow: Workflow, node_id: str, name: str) -> Seed | None:
    """The input that the number stands in: this one, or, behind links, that of a node which holds one number."""
    at, field, seen = node_id, name, set()
    while (at, field) not in seen:
        seen.add((at, field))
        value: Any = workflow.nodes[at].inputs.get(field)
        if isinstance(value, int) and not isinstance(value, bool):
            return Seed(at, field, value)
        link = as_link(value)
        source = workflow.nodes.get(link[0]) if link else None
        held = [n for n in _SOURCES if source and n in source.inputs]
        if source is None or not held:
            break
        at, field = source.id, held[0]
    # Computed by nodes that hold no plain number: the link gives way to one.
    return Seed(node_id, name, -1)
