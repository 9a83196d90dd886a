"""Putting a character's LoRA into loaders that a workflow has, as templates with a fixed place for it want it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .edit import Editor, listed, shortened
from .families import ALL
from .insert import Insert
from .models import Lora, behind, families_at, lora_for, own_files
from .slots import Slot, all_slots, is_meant, slots_of, used
from .trace import Encoder, Found, Role, Sampler
from .workflow import Edge, Node

_WORDS = re.compile(r"embeds|cond|positive|negative|prompt|pipe", re.IGNORECASE)


def meant_slots(found: Found, insert: Insert) -> list[Slot]:
    """The places of the workflow that are meant for a character."""
    meant = []
    for node in found.workflow.nodes.values():
        slots = list(slots_of(node))
        known = insert.known_loras | own_files(insert)
        meant += [slot for slot in slots if is_meant(slot, known, alone=len(slots) == 1)]
    return meant


def asked_slots(editor: Editor, insert: Insert) -> list[Slot]:
    """The places that the user names: "12", or "12:lora_2" where a node has several."""
    slots, chosen = all_slots(editor.workflow), []
    for wish in insert.replace:
        here = [slot for slot in slots if wish in (slot.node.id, slot.address)]
        if len(here) == 1:
            chosen += here
        elif here:
            places = [f"{slot.address} ({shortened(slot.file)})" for slot in here]
            editor.refuse(f"{here[0].node} has several LoRAs: say which one, {listed(places, 20)}.")
        else:
            places = [f"{slot.address} ({shortened(slot.file)})" for slot in slots]
            there = f"there is {listed(places, 20)}" if places else "the workflow has none"
            editor.refuse(f"{wish!r} is no place for a LoRA; {there}.")
    return list(dict.fromkeys(chosen))


def replace_loras(editor: Editor, targets: list[Sampler], insert: Insert, slots: list[Slot]) -> None:
    """The character's LoRA in these places. Refused where a sampler would be left without it, or get it twice."""
    loras: dict[str, Lora] = {}
    for node, families in _drawing(editor, targets, insert):
        reached = behind(editor.found, node.id)
        here = [slot for slot in slots if slot.node.id in reached]
        if len(here) != 1:
            _refuse(editor, node, here, reached)
        for slot in here:
            loras[slot.address] = lora_for(insert, families)
    editor.stop_if_refused()
    for slot in slots:
        if (lora := loras.get(slot.address)) is None:
            editor.refuse(f"No sampler draws with what is loaded by {slot.node}: leave {slot.address} out.")
            continue
        before, was = (slot.file, *slot.strengths(editor)), slot.file if used(slot) else "none"
        slot.put(editor, lora.file, lora.model, lora.clip)
        if before != (lora.file, *slot.strengths(editor)):
            told = f"{slot.name} is {lora.file} (version {lora.version}), strength {lora.model:g}; it was {was}"
            editor.change(f"{slot.node}: {told}.")
    editor.note("The character is drawn by its LoRA alone; its face does not steer.")


def _drawing(editor: Editor, targets: list[Sampler], insert: Insert) -> Iterable[tuple[Node, frozenset[str]]]:
    """Every node that samples, with the families that its models can be."""
    for sampler in targets:
        each = [families_at(editor.found, point, insert) for point in sampler.models]
        yield sampler.node, frozenset.intersection(*each) or each[0] if each else ALL
    for node in editor.found.hidden:
        told = "wan" if node.class_type.startswith("WanVideo") else insert.family
        yield node, frozenset({told}) if told else ALL


def _refuse(editor: Editor, node: Node, here: list[Slot], reached: set[str]) -> None:
    if here:
        editor.refuse(
            f"{node} would get the LoRA {len(here)} times, by {listed([s.address for s in here])}: leave one."
        )
        return
    others = [f"{s.address} ({shortened(s.file)})" for s in all_slots(editor.workflow) if s.node.id in reached]
    advice = f"name one of its own too, {listed(others, 20)}" if others else "it has no LoRA loader of its own"
    editor.refuse(f"The model of {node} does not pass through that loader: {advice}, or leave it alone with --skip.")


def hidden_encoders(found: Found) -> list[Encoder]:
    """Texts behind samplers whose pack has types of its own, found by the names of inputs."""
    encoders: dict[tuple[str, str], Encoder] = {}
    for sampler in found.hidden:
        waiting: list[tuple[str, Role]] = [(e.source, _role(e)) for e in _towards_words(found, sampler.id)]
        seen = set(waiting)
        while waiting:
            here, role = waiting.pop()
            made = list(_read(found, here, role))
            encoders |= {(here, encoder.role): encoder for encoder in made}
            onward = [] if made else [(e.source, _role(e, role)) for e in _towards_words(found, here)]
            waiting += [step for step in onward if step not in seen]
            seen |= set(onward)
    return list(encoders.values())


def _towards_words(found: Found, node_id: str) -> list[Edge]:
    return [e for e in found.workflow.into[node_id] if _WORDS.search(e.name) and "image" not in e.name]


def _role(edge: Edge, before: Role = "positive") -> Role:
    return "negative" if "neg" in edge.name.lower() else before


def _read(found: Found, node_id: str, role: Role) -> Iterator[Encoder]:
    """The texts of one node: of both roles where it tells them apart, else of the role it was found in."""
    node = found.workflow.nodes[node_id]
    texts = found.kinds.texts(node)
    negative = tuple(text for text in texts if text.lower().startswith("neg"))
    positive = tuple(text for text in texts if text not in negative)
    if positive and not negative:
        yield Encoder(node, role, positive, only=True)
    elif texts:
        both: tuple[tuple[Role, tuple[str, ...]], ...] = (("positive", positive), ("negative", negative))
        yield from (Encoder(node, part, names, only=True) for part, names in both if names)
