"""Apply Character: the character's LoRA, companion LoRA and face put on a model."""

from __future__ import annotations

import logging
from typing import Any

import comfy.sd
from comfy_api.latest import io
from torch import Tensor

from ..likeness.character import Character
from ..likeness.method import Recipe
from ..likeness.profile import METHODS
from ..likeness.sweep.plan import SweepPoint
from . import faceid_files, host, on_model
from .faceid_files import FaceIDFiles
from .faceid_options import DEFAULTS, FaceIDOptions
from .sweep_values import SweepType
from .types import CharacterType, adapter_input, image_encoder_input, options_input

log = logging.getLogger(__name__)


class ApplyCharacter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessApplyCharacter",
            display_name="Apply Character",
            category="likeness/character",
            description="Puts the character on a model by what it has: its LoRA, and its cached face through a "
            "FaceID adapter with that adapter's companion LoRA. The incoming model stays as it is.",
            search_aliases=["likeness", "faceid", "ipadapter", "ip-adapter face", "character lora", "consistent face"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Model.Input(
                    "model", tooltip="Checkpoint to draw with. FaceID works on SD 1.5 and SDXL, LoRAs on all."
                ),
                io.Clip.Input("clip", tooltip="The checkpoint's text encoder; the character LoRA may change it."),
                CharacterType.Input("character", tooltip="From Load Character."),
                on_model.strengths_input(),
                io.Combo.Input(
                    "method",
                    options=[host.AUTO, *METHODS],
                    default=host.AUTO,
                    optional=True,
                    tooltip="auto: the profile's, else the best for what the character has. lora_faceid, "
                    "lora_only, faceid_only, or img2img (the model unchanged: give Load Character's reference to "
                    "VAE Encode and lower denoise).",
                ),
                adapter_input(
                    "FaceID adapter in models/ipadapter. auto: the profile's, else the best that fits the model."
                ),
                image_encoder_input(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the face may act, stretched over the picture; one mask, or one for each picture of "
                    "a batch. The LoRA acts everywhere. For several characters use Place Character.",
                ),
                options_input(),
                SweepType.Input(
                    "sweep",
                    optional=True,
                    tooltip="From Sweep Values or Tune Strengths: replaces the strengths that are swept, and the LoRA "
                    "file where files are.",
                ),
            ],
            outputs=[
                io.Model.Output("MODEL", display_name="model", tooltip="The model that draws the character."),
                io.Clip.Output("CLIP", display_name="clip", tooltip="The text encoder that knows the trigger word."),
                io.String.Output(
                    "report", display_name="report", tooltip="Method, files and strengths that were used."
                ),
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
        character: Character,
        strengths: dict[str, Any] | None = None,
        method: str = host.AUTO,
        adapter: str = host.AUTO,
        image_encoder: str = host.AUTO,
        mask: Tensor | None = None,
        options: FaceIDOptions | None = None,
        sweep: SweepPoint | None = None,
    ) -> io.NodeOutput:
        chosen = on_model.known_strengths(strengths)
        files = faceid_files.find(character, host.family_of(model), adapter, options or DEFAULTS)
        swept = None if sweep is None else sweep.render.cell
        recipe = on_model.recipe_for(character, files, method, chosen, swept)
        lines = [on_model.heading(character, recipe)]
        if recipe.uses_lora:
            lora = on_model.character_lora(character, recipe, lines, "" if swept is None else swept.lora_file)
            s = recipe.strengths
            model, clip = comfy.sd.load_lora_for_models(model, clip, lora, s.lora_model, s.lora_clip)
        if recipe.uses_faceid:
            model = _with_face(model, character, recipe, files, image_encoder, mask, lines)
        else:
            lines += _without_face(recipe, files, mask, options)
        report = "\n".join(lines)
        log.info("%s", report.replace("\n", "; "))
        host.show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(model, clip, report)


def _with_face(
    model: Any,
    character: Character,
    recipe: Recipe,
    files: FaceIDFiles,
    image_encoder: str,
    mask: Tensor | None,
    lines: list[str],
) -> Any:
    compiled = faceid_files.compiled_identity(character, files, image_encoder)
    companion = on_model.companion_of(character, recipe, files, compiled, lines)
    if companion is not None:
        model, line = on_model.with_companion(model, companion, files)
        lines.append(line)
    model = on_model.with_face(model, character, compiled, recipe, files, mask, lines)
    if mask is not None:
        lines.append(f"mask: the face acts in {float(mask.float().mean()):.0%} of the picture")
    return model


def _without_face(recipe: Recipe, files: FaceIDFiles, mask: Tensor | None, options: FaceIDOptions | None) -> list[str]:
    """What to know where no face steers."""
    notes = [f"note: LoRA alone. {files.missing}"] if recipe.uses_lora and files.missing else []
    given = [name for name, value in (("mask", mask), ("options", options)) if value is not None]
    return [*notes, *([f"note: no face steers, so {' and '.join(given)} had no effect"] if given else [])]
