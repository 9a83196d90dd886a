"""Places in a workflow's nodes that name a LoRA: ComfyUI's loaders, stackers and loaders of other packs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..assets import base_name
from .edit import Editor
from .workflow import Node, Workflow

_FILE = re.compile(r"lora(_name)?(_?\d+)?|lora_\d+_name", re.IGNORECASE)
_MODEL = ("strength_model", "lora_model_strength", "model_strength", "model_str", "model_weight", "strength",
          "lora_strength", "lora_wt", "weight", "lora_weight")  # fmt: skip
_CLIP = ("strength_clip", "lora_clip_strength", "clip_strength", "clip_str", "clip_weight")
_MEANT = re.compile(r"\b(character|likeness)\b", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"((my|your|the)?[ _-]*character[ _-]*(lora|name)?[ _-]*(\d|v\d+)?|.*(%[^%]+%|\{[^}]+\}|<[^>]+>).*|placeholder.*)"
    r"(\.safetensors)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Slot:
    """One LoRA that a node names. `inside` is true where name and strengths stand in one value, as rgthree has it."""

    node: Node
    name: str  # of the input with the file
    file: str
    model: tuple[str, ...]  # inputs with its strength on the model
    clip: tuple[str, ...]  # inputs with its strength on the text encoder
    inside: bool = False

    @property
    def address(self) -> str:
        return f"{self.node.id}:{self.name}"

    def put(self, editor: Editor, file: str, model: float, clip: float) -> None:
        """Write another LoRA into the place."""
        if self.inside:
            value = {**editor.get(self.node.id, self.name), "on": True, "lora": file, "strength": model}
            value |= {"strengthTwo": clip} if value.get("strengthTwo") is not None else {}
            return editor.set(self.node.id, self.name, value)
        editor.set(self.node.id, self.name, file)
        for name in self.model:
            editor.set(self.node.id, name, model)
        for name in self.clip:
            editor.set(self.node.id, name, clip)
        if editor.get(self.node.id, self._switch) == "Off":
            editor.set(self.node.id, self._switch, "On")
        number, count = _digits(self.name), editor.get(self.node.id, "lora_count")
        if number and isinstance(count, int) and int(number) > count:
            editor.refuse(f"{self.node} uses {count} of its LoRAs, so {self.address} would do nothing: name another.")

    def strengths(self, editor: Editor) -> list[Any]:
        if self.inside:
            value = editor.get(self.node.id, self.name)
            return [value.get("on"), value.get("strength"), value.get("strengthTwo")]
        return [editor.get(self.node.id, name) for name in (*self.model, *self.clip, self._switch)]

    @property
    def _switch(self) -> str:
        """The input that turns the place off, in stacks that have one."""
        return f"switch_{_digits(self.name)}"


def slots_of(node: Node) -> Iterator[Slot]:
    """Every LoRA that a node names."""
    if node.class_type.startswith("Likeness"):
        return
    for name, value in node.inputs.items():
        if isinstance(value, dict) and isinstance(value.get("lora"), str) and "strength" in value:
            yield Slot(node, name, value["lora"], ("strength",), (), inside=True)
        elif isinstance(value, str) and _FILE.fullmatch(name):
            model, clip = (tuple(_beside(node, name, fields)) for fields in (_MODEL, _CLIP))
            if model:
                yield Slot(node, name, value, model, clip)


def _beside(node: Node, name: str, fields: tuple[str, ...]) -> Iterator[str]:
    """The inputs of those names that belong to the LoRA in input `name`: with the same number."""
    number = _digits(name)
    for field in fields:
        for candidate in (f"{field}_{number}", f"{field}{number}") if number else (field,):
            if candidate in node.inputs:
                yield candidate


def _digits(name: str) -> str:
    return "".join(re.findall(r"[0-9]+", name))[:9]


def all_slots(workflow: Workflow) -> list[Slot]:
    return [slot for node in workflow.nodes.values() for slot in slots_of(node)]


def is_meant(slot: Slot, known: frozenset[str], alone: bool) -> bool:
    """Whether a place is meant for a character: by the node's title, where it names one LoRA; by a name that stands
    for another; or because a known character's LoRA is in it."""
    titled = alone and _MEANT.search(slot.node.title) is not None
    stands_for = _PLACEHOLDER.fullmatch(base_name(slot.file)) is not None
    return titled or stands_for or slot.file.replace("\\", "/") in known


def used(slot: Slot) -> bool:
    """Whether a LoRA is in the place at all."""
    return slot.file not in ("", "None", "none", "NONE")
