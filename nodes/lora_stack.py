"""LoRA Stack: several LoRAs by name on a model, and their trigger words in the prompt."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import comfy.sd
import comfy.utils
import torch
from comfy_api.latest import io

from ..likeness.character import Character
from ..likeness.errors import LikenessError, LoraError
from ..likeness.lora_file import check_family
from ..likeness.lora_keys import products
from ..likeness.lora_registry import load_registry
from ..likeness.lora_stack import StackEntry, joined_triggers, parse_stack
from ..likeness.shared_files import LORAS, shared_read
from . import host
from .selection import unconnected
from .types import CharacterType

log = logging.getLogger(__name__)

_KEPT, _KEPT_BYTES = 8, 1 << 30  # the newest LoRA files that stay open
_SMALL = ("float8",)  # dtypes that torch cannot look through for a number that is not 0
_open_files: dict[tuple[str, int, int], tuple[dict[str, Any], Any]] = {}  # (path, bytes, time) -> (weights, notes)


class LoraStack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessLoRAStack",
            display_name="LoRA Stack",
            category="likeness/scenes",
            description="Puts several LoRAs on a model by name, with their strengths, and joins their trigger words to "
            "the prompt, each once. Names and trigger words come from the LoRA registry, else from the files.",
            search_aliases=["likeness", "lora stack", "multiple loras", "lora loader", "lora by name", "lora tag"],
            hidden=[io.Hidden.unique_id],
            inputs=_inputs(),
            outputs=[
                io.Model.Output("MODEL", display_name="model", tooltip="The model with the LoRAs on it."),
                io.Clip.Output("CLIP", display_name="clip", tooltip="The text encoder with the LoRAs on it."),
                io.String.Output(
                    "prompt_out",
                    display_name="prompt",
                    tooltip="The prompt with the trigger words that were not in it, for CLIP Text Encode.",
                ),
                io.String.Output(
                    "report", display_name="report", tooltip="Files and strengths that were used, and what to know."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> str:
        """Runs again when a LoRA was replaced or the registry was edited."""
        return host.digest_of([registry_state(), *host.file_stamps("loras")])

    @classmethod
    def execute(
        cls,
        model: Any,
        stack: str = "",
        clip: Any = None,
        character: Character | None = None,
        prompt: str = "",
    ) -> io.NodeOutput:
        lines: list[str] = []
        family = host.family_of(model)
        entries = parse_stack(stack or "", load_registry(host.library()), host.listed("loras"), family, lines)
        entries = without_own(entries, () if character is None else (character,), family, lines)
        model, dressed = put_on(model, clip, entries, family, lines)
        report = "\n".join(lines) or "The stack is empty: nothing was changed."
        log.info("%s", report.replace("\n", "; "))
        host.show_text(report, cls.hidden.unique_id)
        text_encoder = unconnected("LoRA Stack", "clip") if clip is None else dressed
        return io.NodeOutput(model, text_encoder, joined_triggers(prompt or "", entries), report)


def _inputs() -> list[io.Input]:
    return [
        io.Model.Input(
            "model", tooltip="The model to put the LoRAs on, for example of Apply Character or Load Project."
        ),
        io.String.Input(
            "stack",
            default="",
            multiline=True,
            tooltip="LoRAs with strengths, for example: portorosso_backgrounds:0.7, excited_expression:0.6. "
            "name:0.7:0.5 is model and text encoder, <lora:name:0.7> is read, too. A name alone takes its strength "
            "from the registry. Linked, it takes the loras of a scene.",
        ),
        io.Clip.Input("clip", optional=True, tooltip="Its text encoder. Without it the LoRAs act on the model alone."),
        CharacterType.Input(
            "character",
            optional=True,
            tooltip="The character that the model draws: its own LoRA, which Apply Character puts on, is left out of "
            "the stack, so that it does not act twice.",
        ),
        io.String.Input(
            "prompt",
            default="",
            multiline=True,
            optional=True,
            tooltip="The prompt that the trigger words are joined to, for example of Character Prompt.",
        ),
    ]


def registry_state() -> str:
    """Changes with the LoRA registry."""
    try:
        return hashlib.sha256(shared_read(host.library(), LORAS) or b"").hexdigest()
    except LikenessError as error:
        return str(error)


def without_own(
    entries: Sequence[StackEntry], characters: Iterable[Character], family: str, lines: list[str]
) -> tuple[StackEntry, ...]:
    """The entries without the LoRAs that Apply Character puts on; `lines` gets a line where there was one."""
    kept = tuple(entries)
    for character in characters:
        settings = character.profile.settings(family)
        own = {_path_of(version.file): version for version in settings.loras}
        drawn_with = None if settings.method in ("faceid_only", "img2img") else settings.lora
        name, found = character.profile.name, [(entry, own.get(_path_of(entry.file))) for entry in kept]
        for entry, version in found:
            if version is None or drawn_with is None:
                continue
            if version == drawn_with:
                lines.append(f"{entry.file}: left out, it is {name}'s own LoRA, which Apply Character puts on")
            else:
                also = f"version {drawn_with.version} acts, too"
                lines.append(f"note: {entry.file} is version {version.version} of {name}'s own LoRA; {also}")
        kept = tuple(entry for entry, version in found if version is None or version != drawn_with)
    return kept


def _path_of(listed: str) -> Path | str:
    try:
        return host.find_file("loras", listed, "The LoRA")
    except LikenessError:
        return listed


def put_on(model: Any, clip: Any, entries: Sequence[StackEntry], family: str, lines: list[str]) -> tuple[Any, Any]:
    """Clones of model and text encoder, which may be None, with the LoRAs on them; `lines` says which.

    LoraError for a file that was made for another base family.
    """
    for entry in entries:
        host.stop_if_interrupted()
        if not entry.acts:
            lines.append(f"{entry.file}: strength 0, left out")
            continue
        path = host.find_file("loras", entry.file, "The LoRA")
        check_family(path, family)
        weights, notes = _opened(path)
        before = _patches(model, clip)
        model, clip = comfy.sd.load_lora_for_models(
            model, clip, weights, entry.strength, entry.clip_strength, lora_metadata=notes
        )
        on_clip = "" if clip is None else f", clip {entry.clip_strength:g}"
        lines.append(f"{entry.file}: model {entry.strength:g}{on_clip}")
        if _patches(model, clip) == before:
            lines.append(f"warning: {entry.file} changes nothing, because none of its keys fits the model")
        elif _adds_nothing(weights, entry.file):
            lines.append(f"warning: {entry.file} changes nothing, because every number that it would add is 0")
    return model, clip


def _patches(model: Any, clip: Any) -> int:
    """How many changes of weights both carry."""
    patchers = [model, *([] if clip is None else [clip.patcher])]
    return sum(len(changes) for patcher in patchers for changes in patcher.patches.values())


def _opened(path: Path) -> tuple[dict[str, Any], Any]:
    """(weights, the trainer's notes) of a LoRA file; the newest few are kept."""
    about = path.stat()
    key = (str(path), about.st_size, about.st_mtime_ns)
    found = _open_files.pop(key, None)
    if found is None:
        found = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    _open_files[key] = found
    while len(_open_files) > _KEPT or sum(k[1] for k in _open_files) > _KEPT_BYTES:
        _open_files.pop(next(iter(_open_files)))
    return found


def _adds_nothing(weights: Mapping[str, Any], name: str) -> bool:
    """Whether in every product of matrices one is 0. What Likeness cannot read as a LoRA is taken to add something."""
    try:
        made = products({key: tuple(weight.shape) for key, weight in weights.items()}, name)
    except (LoraError, AttributeError):
        return False
    return all(any(not _any(weights[key]) for key in keys) for keys in made)


def _any(weight: torch.Tensor) -> bool:
    small = any(kind in str(weight.dtype) for kind in _SMALL)
    return bool((weight.float() if small else weight).any())
