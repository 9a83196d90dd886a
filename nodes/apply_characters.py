"""Apply Characters: several characters in one picture, each in its region."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import comfy.hooks
import comfy.lora_convert
import comfy.sd
from comfy_api.latest import io
from torch import Tensor

from ..faceid import CompiledIdentity
from ..faceid.regions import merged, overlaps, share_out
from ..likeness import prompt as prompts
from ..likeness.method import Recipe
from . import faceid_files, host, on_model
from .faceid_files import FaceIDFiles
from .on_model import Companion
from .place_character import Placement
from .types import CastType, adapter_input, image_encoder_input

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Lora:
    """A character's LoRA; the same object for all characters that share file and strengths."""

    weights: dict[str, Any] = field(repr=False)
    model: float
    clip: float


Part = tuple[tuple[str, Lora | None], Tensor | None]  # a text, its LoRA, and its weight over the picture; None: 1


@dataclass(frozen=True)
class Actor:
    """A placed character with all that draws it on this model."""

    placement: Placement
    files: FaceIDFiles
    recipe: Recipe
    lora: Lora | None
    compiled: CompiledIdentity | None
    companion: Companion | None
    lines: list[str]  # of the report


class ApplyCharacters(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessApplyCharacters",
            display_name="Apply Characters",
            category="likeness/character",
            description="Draws the characters of a cast in one picture: each face, prompt and LoRA acts in its own "
            "region. Replaces Apply Character and CLIP Text Encode.",
            search_aliases=["likeness", "two characters", "multiple faces", "regional faceid", "couple", "group"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input("model", tooltip="Checkpoint to draw with, SD 1.5 or SDXL for faces."),
                io.Clip.Input("clip", tooltip="The checkpoint's text encoder."),
                CastType.Input("cast", tooltip="From the last Place Character."),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    tooltip="The whole picture: place, light, how many people and what they do together.",
                ),
                io.String.Input(
                    "negative",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="What to keep out everywhere; each character's own list is added in its region.",
                ),
                io.Float.Input(
                    "share",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="How much a character's own words and LoRA count in its region; the prompt of the whole "
                    "picture has the rest. Faces have their own strengths.",
                ),
                adapter_input(
                    "FaceID adapter for all of them. auto: each profile's, else the best that fits the model."
                ),
                image_encoder_input(),
            ],
            outputs=[
                io.Model.Output("MODEL", display_name="model", tooltip="The model with all faces."),
                io.Conditioning.Output("positive", display_name="positive", tooltip="For the sampler."),
                io.Conditioning.Output("negative_cond", display_name="negative", tooltip="For the sampler."),
                io.String.Output("report", display_name="report", tooltip="What each character got."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> str:
        """Runs again when an adapter, a LoRA or an image encoder was replaced, or a better one was put beside it."""
        return host.model_stamps()

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        cast: tuple[Placement, ...],
        prompt: str,
        negative: str = "",
        share: float = 0.7,
        adapter: str = host.AUTO,
        image_encoder: str = host.AUTO,
    ) -> io.NodeOutput:
        loras: dict[tuple[str, float, float], Lora] = {}
        actors, step = [], host.progress(len(cast))
        for number, placement in enumerate(cast, 1):
            actors.append(_actor(placement, host.family_of(model), adapter, image_encoder, loras))
            step(number)
        positive, kept_out = _parts(actors, prompt, negative, share)
        dressed = _dressed(model, clip, [*positive, *kept_out])
        conds = [dressed.encode(positive), dressed.encode(kept_out)]
        model, notes = _with_companions(dressed.model, actors)
        for actor in actors:
            model = _with_face(model, actor)
        report = _report(actors, notes, len(dressed.hooks))
        log.info("%s", report.replace("\n", "; "))
        host.show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(model, *conds, report)


def _actor(
    placement: Placement,
    family: str,
    adapter: str,
    image_encoder: str,
    loras: dict[tuple[str, float, float], Lora],
) -> Actor:
    character = placement.character
    files = faceid_files.find(character, family, adapter, placement.options)
    recipe = on_model.recipe_for(character, files, strengths=dict(placement.strengths))
    lines = [on_model.heading(character, recipe)]
    lora = compiled = companion = None
    if recipe.uses_lora:
        weights, s = on_model.character_lora(character, recipe, lines), recipe.strengths
        key = (character.profile.settings(family).lora.file, s.lora_model, s.lora_clip)
        lora = loras.setdefault(key, Lora(weights, s.lora_model, s.lora_clip))
    if recipe.uses_faceid:
        compiled = faceid_files.compiled_identity(character, files, image_encoder)
        companion = on_model.companion_of(character, recipe, files, compiled, lines)
    else:
        lines.append(f"note: no face steers. {files.missing}".strip())
    return Actor(placement, files, recipe, lora, compiled, companion, lines)


def _parts(actors: list[Actor], prompt: str, negative: str, share: float) -> tuple[list[Part], list[Part]]:
    """Texts of the positive and the negative conditioning with their weights over the picture."""
    whole, regions = share_out([actor.placement.mask for actor in actors], share)
    weights = [whole, *regions]
    positive: list[tuple[str, Lora | None]] = [(prompt, None)]
    kept_out: list[tuple[str, Lora | None]] = [(prompts.join(negative), None)]
    for actor in actors:
        profile = actor.placement.character.profile
        positive.append((prompts.positive(profile, actor.placement.prompt), actor.lora))
        kept_out.append((prompts.negative(profile, negative), actor.lora))
    return merged(zip(positive, weights, strict=True)), merged(zip(kept_out, weights, strict=True))


@dataclass(frozen=True)
class Dressed:
    """A model and text encoders with the characters' LoRAs."""

    model: Any
    clips: dict[Lora | None, Any]
    hooks: dict[Lora | None, Any]  # comfy.hooks.HookGroup, where LoRAs differ over the picture

    def encode(self, parts: list[Part]) -> list[Any]:
        """CONDITIONING of these texts, each over its part of the picture and with its LoRA."""
        conds = []
        for (text, lora), weight in parts:
            clip = self.clips[lora]
            cond = clip.encode_from_tokens_scheduled(clip.tokenize(text))
            cond = comfy.hooks.set_hooks_for_conditioning(cond, self.hooks.get(lora))
            conds += comfy.hooks.set_mask_for_conditioning(cond, weight, "default", 1.0)
        return conds


def _dressed(model: Any, clip: Any, parts: list[Part]) -> Dressed:
    """One LoRA for all parts goes on the model itself. Different ones go through ComfyUI's hooks, which cost a call of
    the UNet each: the LoRA is on the model while its part is computed."""
    loras = list(dict.fromkeys(lora for (_, lora), _ in parts))
    if len(loras) == 1 and loras[0] is not None:
        model, clip = _load(model, clip, loras[0])
        return Dressed(model, {loras[0]: clip}, {})
    clips, hooks = {None: clip}, {}
    for lora in loras:
        if lora is not None:
            clips[lora] = _load(model, clip, lora)[1]
            hooks[lora] = comfy.hooks.create_hook_lora(comfy.lora_convert.convert_lora(lora.weights), lora.model, 0.0)
    return Dressed(model, clips, hooks)


def _load(model: Any, clip: Any, lora: Lora) -> tuple[Any, Any]:
    return comfy.sd.load_lora_for_models(model, clip, lora.weights, lora.model, lora.clip)


def _with_companions(model: Any, actors: list[Actor]) -> tuple[Any, list[str]]:
    """Every companion LoRA once, at the largest strength that one of its characters has."""
    users: dict[str, list[Actor]] = {}
    for actor in actors:
        if actor.companion is not None:
            users.setdefault(actor.companion.key, []).append(actor)
    notes = []
    for group in users.values():
        strongest = max(group, key=lambda actor: abs(actor.companion.strength))
        model, line = on_model.with_companion(model, strongest.companion, strongest.files)
        notes.append(f"{line}, for the whole picture")
    return model, notes


def _with_face(model: Any, actor: Actor) -> Any:
    if actor.compiled is None:
        return model
    placed = actor.placement
    return on_model.with_face(
        model, placed.character, actor.compiled, actor.recipe, actor.files, placed.mask, actor.lines
    )


def _report(actors: list[Actor], notes: list[str], hooks: int) -> str:
    lines = []
    for actor, (covered, shared) in zip(actors, overlaps([a.placement.mask for a in actors]), strict=True):
        both = f", {shared / covered:.0%} of that shared with others" if shared else ""
        lines += [*actor.lines, f"{actor.placement.where}: {covered:.0%} of the picture{both}"]
    separate = [f"{hooks} character LoRA(s) in their regions only: one more call of the UNet for each"] if hooks else []
    return "\n".join([*lines, *notes, *separate])
