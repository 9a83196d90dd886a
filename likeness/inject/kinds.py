"""What flows over each link of a workflow: a model, a text encoder, conditioning, a pipe of several, or something else.

With ComfyUI's /object_info the types of inputs and outputs are known, for nodes of other packs too. Without it the
names of inputs tell, which nearly all packs share with ComfyUI's own nodes, and what a node passes through is followed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from .workflow import Edge, Node, Workflow

Kind = Literal["model", "clip", "conditioning", "pipe", "image", "other"]
ObjectInfo = Mapping[str, Any]  # ComfyUI's /object_info
_TYPES: dict[str, Kind] = {"MODEL": "model", "CLIP": "clip", "CONDITIONING": "conditioning", "IMAGE": "image"}
_ANY = ("*", "ANY", "COMFY_MATCHTYPE_V3", "COMFY_AUTOGROW_V3")
_NAMES: tuple[tuple[str, Kind], ...] = (
    (
        r"(opt_|optional_|base_|refiner_|accelerated_)?model([_ ]?\d+|_opt|_negative|_(high|low)(_noise)?|_[ab])?",
        "model",
    ),
    (r"(base|accelerated)_(high|low)|iclora_model", "model"),
    (r"(opt_|refiner_)?clip([_ ]?\d+|_opt)?", "clip"),
    (
        r"(refiner_|opt_)?(positive|negative|pos|neg)(_(new|default|pose|opt|cond(itioning)?|[a-z]|\d+))?",
        "conditioning",
    ),
    (r"(positive|negative|pos|neg|empty|ref|opt)?_?conditioning(_(to|from|[a-z]|\d+))?", "conditioning"),
    (r"cond(_?(new|default|\d+))?|middle|nag_cond_\w+", "conditioning"),
    (r"(\w+_)?pipe(_\w+)?", "pipe"),
    (r"text(_[gl])?|(user_)?prompt|string(_[ab])?|clip_[lg]|t5xxl", "other"),
    (r"images?|pixels", "image"),
)
_PASSES = re.compile(
    r"any(_?\d+|thing\d*|_input)?|input_?\d*|value_?\d*|on_(true|false)|data|source|\*|", re.IGNORECASE
)
_OUTPUTS: dict[str, tuple[str, ...]] = {  # of nodes that are added: their texts go into inputs of all names
    "LikenessCharacterPrompt": ("STRING", "STRING"),
    "LikenessLoadCharacter": ("LIKENESS_CHARACTER", "IMAGE", "STRING"),
    "LikenessApplyCharacter": ("MODEL", "CLIP", "STRING"),
    "StringConcatenate": ("STRING",),
    "PrimitiveString": ("STRING",),
    "PrimitiveStringMultiline": ("STRING",),
}
# Packs whose samplers take a model of their own, which neither ComfyUI's LoRA loaders nor Apply Character can change.
_FOREIGN = re.compile(
    r"(WanVideo|HyVideo|HunyuanVideo\w*Wrapper|CogVideo|Cog |SUPIR|SeedVR2|Hy3D|MochiSampler|DownloadAndLoad|BiRefNet|"
    r"RembgBy|FramePack|LivePortrait|Florence2|Diffusers|MimicMotion|AILab_|CRT_|FlashVSR|SAM3|SDPose|RTDETR)\w*"
)
_FOREIGN_CORE = ("LTXVLatentUpsampler", "SeedVR2Conditioning")
_TEXTS = re.compile(
    r"(positive_|negative_|user_|global_|text_|local_)?(text|prompt)s?(_[gl]|_positive|_negative)?|clip_[lg]|t5xxl|llama|"
    r"bert|mt5xl|qwen25_7b|positive|negative|tags|caption",
    re.IGNORECASE,
)


class Kinds:
    """The kind of every link of one workflow."""

    def __init__(self, workflow: Workflow, info: ObjectInfo | None = None) -> None:
        self._workflow, self._info = workflow, info or {}
        self._edges: dict[Edge, Kind | None] = {}
        self._slots: dict[tuple[str, int], Kind | None] = {}
        self._told: dict[str, dict[str, tuple[str, Mapping[str, Any]]]] = {}  # by class
        self._declare()
        for node_id in workflow.order:
            self._pass_on(node_id)
        for node_id in reversed(workflow.order):
            self._pass_back(node_id)

    def of(self, edge: Edge) -> Kind:
        return self._edges[edge] or "other"

    def output(self, node_id: str, slot: int) -> Kind:
        """Of an output that is linked, or that /object_info tells of."""
        return self._slots.get((node_id, slot)) or self._declared_output(node_id, slot) or "other"

    def into(self, node_id: str, *kinds: Kind) -> list[Edge]:
        """Links of these kinds into a node."""
        return [edge for edge in self._workflow.into[node_id] if self.of(edge) in kinds]

    def gives(self, node_id: str, kind: Kind) -> bool:
        """Whether a node gives that kind on, to a node of this workflow."""
        return any(self.of(edge) == kind for edge in self._workflow.out_of[node_id])

    def first_output(self, node_id: str, kind: Kind) -> int | None:
        """The first output of that kind, linked or told by /object_info."""
        read = {edge.slot for edge in self._workflow.out_of[node_id]}
        slots = {slot for slot in read if self._slots[node_id, slot] == kind}
        told = self._outputs(self._workflow.nodes[node_id].class_type)
        return min(slots | {i for i, name in enumerate(told) if _TYPES.get(name) == kind}, default=None)

    def is_known(self, class_type: str) -> bool:
        """Whether /object_info was given and has that node."""
        return isinstance(self._info.get(class_type), Mapping)

    def texts(self, node: Node) -> list[str]:
        """Names of the inputs that hold a prompt: typed in, or linked from something that can be a text."""
        told = self._inputs(node.class_type)
        names = []
        for name, value in node.inputs.items():
            about = told.get(name)
            if about is not None:
                typed = bool(about[1].get("multiline") or about[1].get("forceInput")) or _TEXTS.fullmatch(name)
                is_text = about[0] == "STRING" and bool(typed) and "system" not in name
            else:
                is_text = not told and _TEXTS.fullmatch(name) is not None
            if is_text and (isinstance(value, str) or self._carries_text(node.id, name)):
                names.append(name)
        return names

    def limit(self, node: Node, name: str) -> int | None:
        """The largest number that an input takes, where /object_info tells."""
        about = self._inputs(node.class_type).get(name)
        most = about[1].get("max") if about else None
        known = isinstance(most, (int, float)) and not isinstance(most, bool) and math.isfinite(most)
        return int(most) if known else None

    def choices(self, class_type: str, name: str) -> list[str] | None:
        """What an input that is a list offers; None where that is not known."""
        found = _section(self._info.get(class_type), name)
        if not found:
            return None
        offered = found[0] if isinstance(found[0], list) else _options(found).get("options")
        return [str(choice) for choice in offered] if isinstance(offered, list) else None

    def _carries_text(self, node_id: str, name: str) -> bool:
        return any(edge.name == name and self._edges[edge] in (None, "other") for edge in self._workflow.into[node_id])

    def _declare(self) -> None:
        for node_id, edges in self._workflow.out_of.items():
            for slot in {edge.slot for edge in edges}:
                readers = [edge for edge in edges if edge.slot == slot]
                self._slots[node_id, slot] = kind = self._agreed(node_id, slot, readers)
                self._edges |= dict.fromkeys(readers, kind)

    def _agreed(self, node_id: str, slot: int, readers: list[Edge]) -> Kind | None:
        """What an output is: as it is declared, as one of its readers is declared, or as their names say."""
        told = [self._declared_output(node_id, slot), *(self._declared_input(edge) for edge in readers)]
        if sure := next((kind for kind in told if kind), None):
            return sure
        guesses = [guess for edge in readers if (guess := self._guess(edge))]
        # An output that is read as a text is one, even where another reader calls it "negative".
        return "other" if "other" in guesses else guesses[0] if guesses else None

    def _pass_on(self, node_id: str) -> None:
        """Outputs of unknown kind are of the kind that comes in by nameless inputs."""
        kinds = {self._edges[edge] for edge in self._workflow.into[node_id] if self._passes(edge)} - {None}
        if len(kinds) == 1:
            (kind,) = kinds
            self._fill(node_id, kind)

    def _fill(self, node_id: str, kind: Kind | None) -> None:
        for edge in self._workflow.out_of[node_id]:
            if self._slots[node_id, edge.slot] is None:
                self._slots[node_id, edge.slot] = kind
            self._edges[edge] = self._edges[edge] or self._slots[node_id, edge.slot]

    def _pass_back(self, node_id: str) -> None:
        """Nameless inputs of unknown kind are of the kind that the node gives on."""
        kinds = {self._edges[edge] for edge in self._workflow.out_of[node_id]} - {None}
        if len(kinds) != 1:
            return
        (kind,) = kinds
        for edge in self._workflow.into[node_id]:
            if self._edges[edge] is None and self._passes(edge):
                self._edges[edge] = kind
                self._fill_slot(edge, kind)

    def _fill_slot(self, edge: Edge, kind: Kind | None) -> None:
        if self._slots[edge.source, edge.slot] is None:
            self._slots[edge.source, edge.slot] = kind

    def _passes(self, edge: Edge) -> bool:
        """Whether an input takes anything."""
        about = self._inputs(self._workflow.nodes[edge.target].class_type).get(edge.name)
        if about is not None:
            return about[0] in _ANY
        return _PASSES.fullmatch(edge.name.rsplit(".", 1)[-1]) is not None

    def _declared_output(self, node_id: str, slot: int) -> Kind | None:
        told = self._outputs(self._workflow.nodes[node_id].class_type)
        return _kind_of_type(told[slot]) if slot < len(told) else None

    def _declared_input(self, edge: Edge) -> Kind | None:
        about = self._inputs(self._workflow.nodes[edge.target].class_type).get(edge.name)
        return None if about is None else _kind_of_type(about[0])

    def _guess(self, edge: Edge) -> Kind | None:
        """By the input's name, where /object_info does not tell of it."""
        class_type = self._workflow.nodes[edge.target].class_type
        if edge.name in self._inputs(class_type) or is_foreign(class_type):
            return None
        return next((kind for rule, kind in _NAMES if re.fullmatch(rule, edge.name, re.IGNORECASE)), None)

    def _inputs(self, class_type: str) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """name -> (type, options) as /object_info tells."""
        if class_type not in self._told:
            self._told[class_type] = _read_inputs(self._info.get(class_type))
        return self._told[class_type]

    def _outputs(self, class_type: str) -> Sequence[str]:
        told = self._info.get(class_type)
        outputs = told.get("output") if isinstance(told, Mapping) else _OUTPUTS.get(class_type)
        if not isinstance(outputs, (list, tuple)):
            return ()
        return [name if isinstance(name, str) else "COMBO" for name in outputs]


def is_foreign(class_type: str) -> bool:
    """Whether a node belongs to a pack with models of its own kind, as far as its name tells."""
    return class_type in _FOREIGN_CORE or _FOREIGN.match(class_type) is not None


def _kind_of_type(name: str) -> Kind | None:
    """None for a type that takes or gives anything."""
    if name in _ANY:
        return None
    parts = {part.strip() for part in name.split(",")}
    known = [kind for type_name, kind in _TYPES.items() if type_name in parts]
    return known[0] if known else "pipe" if name.upper().endswith(("PIPE", "PIPE_LINE")) else "other"


def _read_inputs(told: object) -> dict[str, tuple[str, Mapping[str, Any]]]:
    inputs = told.get("input") if isinstance(told, Mapping) else None
    if not isinstance(inputs, Mapping):
        return {}
    sections = [s for s in (inputs.get("required"), inputs.get("optional")) if isinstance(s, Mapping)]
    return {name: read for section in sections for name, about in section.items() if (read := _declared(about))}


def _declared(about: object) -> tuple[str, Mapping[str, Any]] | None:
    if not isinstance(about, (list, tuple)) or not about:
        return None
    return (about[0] if isinstance(about[0], str) else "COMBO"), _options(about)


def _options(about: Sequence[Any]) -> Mapping[str, Any]:
    return about[1] if len(about) > 1 and isinstance(about[1], Mapping) else {}


def _section(told: object, name: str) -> Sequence[Any] | None:
    inputs = told.get("input") if isinstance(told, Mapping) else None
    for section in ("required", "optional"):
        found = inputs.get(section) if isinstance(inputs, Mapping) else None
        about = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(about, (list, tuple)) and about:
            return about
    return None
