"""Register LoRA: a trained LoRA -> a version of the character."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from ..likeness.character import Character, open_character
from ..likeness.errors import LikenessError, LoraError
from ..likeness.lora_keys import family_of_keys
from ..likeness.lora_versions import (
    Incoming,
    Terms,
    chosen,
    from_file,
    inside_output,
    lora_pieces,
    one_source,
    register,
)
from ..likeness.lora_words import notes_for
from ..likeness.profile import FAMILIES, Profile
from . import faceid_files, host
from .types import CharacterType

NO_LORA = "none"
SAME, ANY = "must be the profile's", "any"
TRAINED = "trained LoRA.safetensors"  # what messages call the output of Train LoRA
_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


class RegisterLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessRegisterLoRA",
            display_name="Register LoRA",
            category="likeness/training",
            description="Takes a trained LoRA in as a new version of a character: checks that it is whole, for the "
            "right base family and trained on the character's trigger, and copies it into models/loras/<character>/. "
            "It draws nothing until it is active.",
            search_aliases=["likeness", "lora version", "add lora", "save trained lora", "install lora"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=_inputs(),
            outputs=[
                CharacterType.Output(
                    "CHARACTER", display_name="character", tooltip="The character as it is now saved."
                ),
                CharacterType.Output(
                    "candidate",
                    display_name="candidate",
                    tooltip="The character drawn with this version, to try it; the profile stays as it is.",
                ),
                io.Int.Output("version", display_name="version", tooltip="Its number, for Compare Versions."),
                io.String.Output("file", display_name="file", tooltip="Its file as listed in models/loras."),
                io.String.Output("report", display_name="report", tooltip="What was checked and what to know."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, lora: str | None = NO_LORA, output_file: str | None = "", **_: object) -> list[Any]:
        """Runs again when the file was replaced."""
        try:
            path = _path(lora or NO_LORA, output_file or "")
            return [] if path is None else [str(path), path.stat().st_size, path.stat().st_mtime_ns]
        except (LikenessError, OSError):
            return []

    @classmethod
    def execute(
        cls,
        character: Character,
        lora: str = NO_LORA,
        output_file: str = "",
        trained: dict[str, torch.Tensor] | None = None,
        family: str = host.AUTO,
        trigger: str = SAME,
        activate: bool = False,
        name: str = "",
        training_set: str = "",
        steps: int = 0,
    ) -> io.NodeOutput:
        if character.folder is None:
            raise LikenessError(f"{character.profile.name!r} lies in no library, so it has no versions: save it first.")
        weights = _weights(trained)
        one_source(lora=lora != NO_LORA, output_file=output_file.strip(), trained=weights)
        terms = Terms(
            None if family == host.AUTO else family,
            name,
            training_set,
            steps or None,
            trigger == ANY,
            activate,
            lambda base: faceid_files.find(character, base, any_recipe=True).usable,
        )
        library = host.library()
        path = _path(lora, output_file)
        incoming = from_file(path) if path else _trained(weights, terms, library.get(character.slug))
        made = register(library, character.slug, incoming, host.lora_shelf(), terms, host.stop_if_interrupted)
        opened = open_character(library, character.slug)
        candidate = replace(opened, profile=chosen(opened.profile, made.family, made.version.version))
        report = made.report()
        host.show_text(report, cls.hidden.unique_id)
        shown = {"text": [report], "likeness_version": [made.version.version]}
        return io.NodeOutput(opened, candidate, made.version.version, made.version.file, report, ui=shown)


def _path(lora: str, output_file: str) -> Path | None:
    """Of the file that was named; None where none was."""
    if lora != NO_LORA:
        return host.find_file("loras", lora, "The LoRA")
    return inside_output(host.output_folder(), output_file) if output_file.strip() else None


def _weights(trained: object) -> dict[str, torch.Tensor]:
    """What was connected to trained; nothing where nothing was."""
    found = {} if trained is None else trained
    if not isinstance(found, Mapping) or not all(isinstance(k, str) and _is_data(w) for k, w in found.items()):
        raise LoraError("What is connected to trained is no LoRA: connect the lora output of Train LoRA.")
    return dict(found)


def _is_data(weight: object) -> bool:
    return isinstance(weight, torch.Tensor) and weight.layout == torch.strided and not weight.is_meta


def _trained(weights: Mapping[str, torch.Tensor], terms: Terms, profile: Profile) -> Incoming:
    """The output of Train LoRA as a file, with the notes that it does not write."""
    kept = {key: weight if weight.dtype in _DTYPES else weight.float() for key, weight in weights.items()}
    told = terms.family or family_of_keys({key: list(weight.shape) for key, weight in kept.items()}) or ""
    notes = notes_for(profile.trigger, told, terms.steps, terms.training_set, profile.name)
    tensors = {k: (_DTYPES[w.dtype], tuple(w.shape), _bytes(w)) for k, w in kept.items()}
    return Incoming(TRAINED, lambda: lora_pieces(tensors, notes))


def _bytes(weight: torch.Tensor) -> Callable[[], bytes]:
    return partial(lambda w: w.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes(), weight)


def _inputs() -> list[Any]:
    return [
        CharacterType.Input("character", tooltip="Whose version it becomes."),
        io.Combo.Input(
            "lora",
            options=[NO_LORA, *host.listed("loras")],
            default=NO_LORA,
            optional=True,
            tooltip="A trained file in models/loras. It is copied, so the original may be deleted afterwards.",
        ),
        io.String.Input(
            "output_file",
            default="",
            optional=True,
            tooltip="Or a file below ComfyUI's output folder, for example of Save LoRA Weights: "
            "loras/ComfyUI_trained_lora_1000_steps_00001_.safetensors.",
        ),
        io.Custom("LORA_MODEL").Input("trained", optional=True, tooltip="Or the lora of Train LoRA, without a file."),
        io.Combo.Input(
            "family",
            options=[host.AUTO, *FAMILIES],
            default=host.AUTO,
            optional=True,
            tooltip="Base family it was trained on. auto: as the file says; another one is refused.",
        ),
        io.Combo.Input(
            "trigger",
            options=[SAME, ANY],
            default=SAME,
            optional=True,
            advanced=True,
            tooltip="A file that was trained on another trigger than the profile's is refused, unless any is allowed. "
            "A file that does not tell its trigger is taken.",
        ),
        io.Boolean.Input(
            "activate",
            default=False,
            optional=True,
            tooltip="Draw with it from now on. Otherwise it waits for Compare Versions, unless the character could not "
            "be drawn at all without it.",
        ),
        io.String.Input(
            "name", default="", optional=True, advanced=True, tooltip="Of its file. Empty: character and base family."
        ),
        io.String.Input(
            "training_set",
            default="",
            optional=True,
            tooltip="What it was trained on, for people; kept with the version.",
        ),
        io.Int.Input(
            "steps",
            default=0,
            min=0,
            max=10_000_000,
            optional=True,
            advanced=True,
            tooltip="Trained steps, for a file that does not tell them: connect the steps of Train LoRA. 0: unknown.",
        ),
    ]
