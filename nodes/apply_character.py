"""Apply Character: the character's LoRA, companion LoRA and face put on a model."""

from __future__ import annotations

import logging
from typing import Any

import comfy.sd
import comfy.utils
from comfy.ldm.modules.attention import optimized_attention
from comfy_api.latest import io

from ..faceid import CompiledIdentity, apply_identity, companion_lora, companion_name
from ..likeness.character import Character
from ..likeness.errors import LikenessError
from ..likeness.faces.packs import FACEID_RECOGNISER, known_model
from ..likeness.lora_file import check_family
from ..likeness.method import Recipe, as_method, as_preset, preset, resolve
from ..likeness.profile import METHODS, PRESETS
from . import faceid_files, host
from .faceid_files import FaceIDFiles
from .types import CharacterType, adapter_input

log = logging.getLogger(__name__)

PROFILE, CUSTOM = "profile", "custom"
_DEFAULTS = preset("balanced", "lora_faceid")[0]
_STRENGTHS = {  # id: (default, min, max, tooltip)
    "lora_model": (_DEFAULTS.lora_model, -10.0, 10.0, "Character LoRA on the model."),
    "lora_clip": (_DEFAULTS.lora_clip, -10.0, 10.0, "Character LoRA on the text encoder."),
    "faceid_weight": (
        _DEFAULTS.faceid_weight,
        0.0,
        5.0,
        "FaceID attention: how strongly the face is steered. 0 is off.",
    ),
    "faceid_weight_v2": (
        _DEFAULTS.faceid_weight_v2,
        0.0,
        5.0,
        "Shortcut of FaceID Plus V2: embedding against picture detail.",
    ),
    "companion_lora": (_DEFAULTS.companion_lora, -10.0, 10.0, "The LoRA that the FaceID adapter was trained with."),
    "start": (_DEFAULTS.start, 0.0, 1.0, "FaceID acts from this share of the sampling steps."),
    "end": (_DEFAULTS.end, 0.0, 1.0, "FaceID acts up to this share of the sampling steps."),
}


def strengths_input() -> io.DynamicCombo.Input:
    """Where the strengths come from; "custom" opens a slider for each."""
    sliders: list[io.Input] = [
        io.Float.Input(key, default=value, min=low, max=high, step=0.05, optional=True, tooltip=tip)
        for key, (value, low, high, tip) in _STRENGTHS.items()
    ]
    options = [io.DynamicCombo.Option(key, []) for key in (PROFILE, *PRESETS)]
    tip = "profile: as saved with the character. A preset's name: that preset. custom: set each by hand."
    return io.DynamicCombo.Input("strengths", options=[*options, io.DynamicCombo.Option(CUSTOM, sliders)], tooltip=tip)


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
                strengths_input(),
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
                io.Combo.Input(
                    "image_encoder",
                    options=[host.AUTO, *host.listed("clip_vision")],
                    default=host.AUTO,
                    optional=True,
                    advanced=True,
                    tooltip="CLIP-Vision model in models/clip_vision, used once when a Plus adapter is compiled.",
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
    def fingerprint_inputs(cls, **_: object) -> list[tuple[str, int, int]]:
        """Runs again when an adapter or LoRA was replaced under its name, or a better one was put beside it."""
        return host.file_stamps("ipadapter") + host.file_stamps("loras")

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
    ) -> io.NodeOutput:
        if strengths is None:  # ComfyUI drops a choice that it does not know
            raise LikenessError(f"strengths is none of {', '.join((PROFILE, *PRESETS, CUSTOM))}: choose one of these.")
        family = host.family_of(model)
        files = faceid_files.find(character, family, adapter)
        recipe = recipe_for(character, family, files, method, strengths)
        lines = [f"{character.profile.name} on {family}: {recipe.method}, strengths from {recipe.source}"]
        if recipe.uses_lora:
            model, clip = _character_lora(model, clip, character, recipe, lines)
        if recipe.uses_faceid:
            compiled = faceid_files.compiled_identity(character, files, image_encoder)
            model = _companion_lora(model, character, recipe, files, compiled, lines)
            model = _face(model, character, compiled, recipe, lines)
        elif recipe.uses_lora and files.missing:
            lines.append(f"note: LoRA alone. {files.missing}")
        report = "\n".join(lines)
        log.info("%s", report.replace("\n", "; "))
        host.show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(model, clip, report)


def recipe_for(
    character: Character, family: str, files: FaceIDFiles, method: str, strengths: dict[str, Any] | None = None
) -> Recipe:
    """The recipe for what the character has on `family`, with the widget's choice of strengths."""
    chosen = dict(strengths or {"strengths": PROFILE})
    source = chosen.pop("strengths")
    settings = character.profile.settings(family)
    return resolve(
        settings,
        family,
        has_lora=settings.lora is not None,
        has_faceid=files.usable,
        no_faceid=files.missing,
        method=as_method(method),
        preset_name=as_preset(source),
        overrides={k: float(v) for k, v in chosen.items() if v is not None} if source == CUSTOM else None,
    )


def _load_lora(path: Any) -> dict[str, Any]:
    return comfy.utils.load_torch_file(str(path), safe_load=True)


def _character_lora(model: Any, clip: Any, character: Character, recipe: Recipe, lines: list[str]) -> tuple[Any, Any]:
    version = character.profile.settings(recipe.family).lora
    if version is None:  # resolve() has refused the method then
        raise LikenessError(f"Character {character.slug!r} has no active LoRA for {recipe.family}.")
    path = host.find_file("loras", version.file, f"The LoRA of character {character.slug!r},")
    check_family(path, recipe.family)
    s = recipe.strengths
    lines.append(f"character LoRA {version.file} v{version.version}: model {s.lora_model:g}, clip {s.lora_clip:g}")
    return comfy.sd.load_lora_for_models(model, clip, _load_lora(path), s.lora_model, s.lora_clip)


def _companion_lora(
    model: Any, character: Character, recipe: Recipe, files: FaceIDFiles, compiled: CompiledIdentity, lines: list[str]
) -> Any:
    """The companion LoRA by the profile, else by name, else rebuilt from the adapter, which carries it."""
    strength = recipe.strengths.companion_lora
    adapter_name, variant = compiled.provenance.adapter_name, compiled.provenance.variant
    named = character.profile.settings(recipe.family).faceid.companion_lora
    found = named or companion_name(variant, recipe.family, host.listed("loras"))
    if strength == 0 or variant == "faceid_portrait":
        return model
    if found:
        path = host.find_file("loras", found, "The companion LoRA")
        check_family(path, recipe.family)
        lora = _load_lora(path)
    elif files.adapter is not None:
        lora = companion_lora(faceid_files.open_adapter(files.adapter))
        lines.append(
            f"no companion LoRA for {adapter_name} in models/loras: rebuilt from the adapter, which takes longer"
        )
    else:
        lines.append(f"warning: no companion LoRA for {adapter_name} in models/loras; the likeness will be weaker")
        return model
    lines.append(f"companion LoRA {found or 'from the adapter'}: {strength:g}")
    return comfy.sd.load_lora_for_models(model, None, lora, strength, 0)[0]


def foreign_embedding(character: Character) -> str:
    """A warning where the identity is not by the recogniser that FaceID adapters were trained with, else ""."""
    known = known_model(character.pipeline.recogniser) if character.pipeline else None
    if known is not None and known.name == FACEID_RECOGNISER:
        return ""
    return (
        f"note: this identity was computed with {character.profile.face_model or 'an unknown pack'}; FaceID "
        "adapters were trained on buffalo_l, so the likeness will be weak. Create the character with that pack."
    )


def _face(model: Any, character: Character, compiled: CompiledIdentity, recipe: Recipe, lines: list[str]) -> Any:
    s, made_from = recipe.strengths, compiled.provenance
    if foreign := foreign_embedding(character):
        lines.append(foreign)
    shortcut = f", weight_v2 {s.faceid_weight_v2:g}" if compiled.parts == 2 else ""
    window = f", steps {s.start:g} to {s.end:g}" if (s.start, s.end) != (0.0, 1.0) else ""
    lines.append(f"{made_from.variant} {made_from.adapter_name}: weight {s.faceid_weight:g}{shortcut}{window}")
    return apply_identity(
        model,
        compiled,
        weight=s.faceid_weight,
        weight_v2=s.faceid_weight_v2,
        start=s.start,
        end=s.end,
        attention=optimized_attention,
    )
