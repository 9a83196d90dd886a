"""What Apply Character and Apply Characters share: strengths, LoRAs and the face, put on a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.sd
import comfy.utils
from comfy.ldm.modules.attention import optimized_attention
from comfy_api.latest import io
from torch import Tensor

from ..faceid import CompiledIdentity, apply_identity, companion_lora, companion_name
from ..likeness.character import Character
from ..likeness.errors import LikenessError
from ..likeness.faces.packs import FACEID_RECOGNISER, known_model
from ..likeness.lora_file import check_family
from ..likeness.method import Recipe, as_method, as_preset, preset, resolve
from ..likeness.profile import PRESETS
from ..likeness.sweep.plan import Cell
from . import faceid_files, host
from .faceid_files import FaceIDFiles

PROFILE, CUSTOM = "profile", "custom"
_COMPANIONS = "likeness_companions"  # in model_options, which clones of the model inherit: keys of those it has
_DEFAULTS = preset("balanced", "lora_faceid")[0]
_STRENGTHS = {  # id: (default, min, max, tooltip)
    "lora_model": (_DEFAULTS.lora_model, -10.0, 10.0, "Character LoRA on the model."),
    "lora_clip": (_DEFAULTS.lora_clip, -10.0, 10.0, "Character LoRA on the text encoder."),
    "faceid_weight": (
        _DEFAULTS.faceid_weight,
        -1.0,
        5.0,
        "FaceID attention: how strongly the face is steered. 0 is off, below 0 steers away.",
    ),
    "faceid_weight_v2": (
        _DEFAULTS.faceid_weight_v2,
        -1.0,
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


def known_strengths(strengths: dict[str, Any] | None) -> dict[str, Any]:
    """The widget's choice. LikenessError for one that ComfyUI has dropped because it is unknown."""
    if strengths is None:
        raise LikenessError(f"strengths is none of {', '.join((PROFILE, *PRESETS, CUSTOM))}: choose one of these.")
    return strengths


def recipe_for(
    character: Character,
    files: FaceIDFiles,
    method: str = host.AUTO,
    strengths: dict[str, Any] | None = None,
    swept: Cell | None = None,
) -> Recipe:
    """The recipe for what the character has on the files' family, with the widget's choice of strengths.

    `swept` replaces the strengths that a sweep varies. LikenessError where they would have no effect.
    """
    chosen = dict(strengths or {"strengths": PROFILE})
    source = chosen.pop("strengths")
    settings = character.profile.settings(files.family)
    by_hand = {k: float(v) for k, v in chosen.items() if v is not None} if source == CUSTOM else {}
    overrides = by_hand | ({} if swept is None else swept.strengths)
    recipe = resolve(
        settings,
        files.family,
        has_lora=settings.lora is not None or (swept is not None and bool(swept.lora_file)),
        has_faceid=files.usable,
        no_faceid=files.missing,
        method=as_method(method),
        preset_name=as_preset(source),
        overrides=overrides or None,
    )
    if swept is not None:
        check_swept(swept, recipe)
    return recipe


def check_swept(cell: Cell, recipe: Recipe) -> None:
    """LikenessError for a swept strength of something that the method does not use: all its pictures were alike."""
    idle = [name for name in ("lora", "lora_file") if cell.get(name) is not None and not recipe.uses_lora]
    face = ("faceid_weight", "faceid_weight_v2", "start")
    idle += [name for name in face if cell.get(name) is not None and not recipe.uses_faceid]
    if idle:
        raise LikenessError(
            f"The sweep varies {', '.join(idle)}, which method {recipe.method} does not use: leave that empty in Sweep "
            "Values, or choose another method."
        )


def heading(character: Character, recipe: Recipe) -> str:
    return f"{character.profile.name} on {recipe.family}: {recipe.method}, strengths from {recipe.source}"


def _load_lora(path: Any) -> dict[str, Any]:
    return comfy.utils.load_torch_file(str(path), safe_load=True)


def character_lora(character: Character, recipe: Recipe, lines: list[str], swept: str = "") -> dict[str, Any]:
    """The state dict of the character's active LoRA, or of the file `swept`."""
    version = character.profile.settings(recipe.family).lora
    if version is None and not swept:  # resolve() has refused the method then
        raise LikenessError(f"Character {character.slug!r} has no active LoRA for {recipe.family}.")
    name = swept or (version.file if version else "")
    path = host.find_file("loras", name, f"The LoRA of character {character.slug!r},")
    check_family(path, recipe.family)
    s, number = recipe.strengths, "" if swept or version is None else f" v{version.version}"
    lines.append(f"character LoRA {name}{number}: model {s.lora_model:g}, clip {s.lora_clip:g}")
    return _load_lora(path)


@dataclass(frozen=True)
class Companion:
    """The companion LoRA of a FaceID adapter; equal ones go on a model once."""

    file: str  # as listed in models/loras, "" where it is rebuilt from the adapter
    adapter: str  # sha256
    strength: float

    @property
    def key(self) -> str:
        return self.file or self.adapter

    def __str__(self) -> str:
        return f"companion LoRA {self.file or 'from the adapter'}: {self.strength:g}"


def companion_of(
    character: Character, recipe: Recipe, files: FaceIDFiles, compiled: CompiledIdentity, lines: list[str]
) -> Companion | None:
    """The companion LoRA by the profile, else by name, else rebuilt from the adapter, which carries it."""
    strength = recipe.strengths.companion_lora
    adapter_name, variant = compiled.provenance.adapter_name, compiled.provenance.variant
    named = character.profile.settings(recipe.family).faceid.companion_lora
    found = named or companion_name(variant, recipe.family, host.listed("loras"))
    if strength == 0 or variant.startswith("faceid_portrait"):
        return None
    if not found and files.adapter is None:
        lines.append(f"warning: no companion LoRA for {adapter_name} in models/loras; the likeness will be weaker")
        return None
    if not found:
        lines.append(
            f"no companion LoRA for {adapter_name} in models/loras: rebuilt from the adapter, which takes longer"
        )
    return Companion(found or "", compiled.provenance.adapter_sha256, strength)


def with_companion(model: Any, companion: Companion, files: FaceIDFiles) -> tuple[Any, str]:
    """The model with this companion LoRA, and a line for the report. Two characters need it once."""
    worn = model.model_options.get(_COMPANIONS, ())
    if companion.key in worn:
        return model, f"{companion}, which is on the model already"
    if companion.file:
        path = host.find_file("loras", companion.file, "The companion LoRA")
        check_family(path, files.family)
        lora = _load_lora(path)
    elif files.adapter is not None:
        lora = companion_lora(faceid_files.open_adapter(files.adapter, files.options))
    else:  # companion_of() gives none then
        return model, ""
    dressed = comfy.sd.load_lora_for_models(model, None, lora, companion.strength, 0)[0]
    dressed.model_options[_COMPANIONS] = (*worn, companion.key)
    return dressed, str(companion)


def foreign_embedding(character: Character) -> str:
    """A warning where the identity is not by the recogniser that FaceID adapters were trained with, else ""."""
    known = known_model(character.pipeline.recogniser) if character.pipeline else None
    if known is not None and known.name == FACEID_RECOGNISER:
        return ""
    return (
        f"note: this identity was computed with {character.profile.face_model or 'an unknown pack'}; FaceID "
        "adapters were trained on buffalo_l, so the likeness will be weak. Create the character with that pack."
    )


def with_face(
    model: Any,
    character: Character,
    compiled: CompiledIdentity,
    recipe: Recipe,
    files: FaceIDFiles,
    mask: Tensor | None,
    lines: list[str],
) -> Any:
    """A clone of the model that draws the character's face, within the mask where there is one."""
    s, made_from = recipe.strengths, compiled.provenance
    if foreign := foreign_embedding(character):
        lines.append(foreign)
    told = f" (by {made_from.plus_v2_from})" if made_from.plus_v2_from else ""
    shortcut = f", weight_v2 {s.faceid_weight_v2:g}" if compiled.parts == 2 else ""
    window = f", steps {s.start:g} to {s.end:g}" if (s.start, s.end) != (0.0, 1.0) else ""
    lines.append(f"{made_from.variant}{told} {made_from.adapter_name}: weight {s.faceid_weight:g}{shortcut}{window}")
    if described := files.options.describe():
        several = f" ({compiled.faces} faces)" if compiled.faces > 1 else ""
        several = f" ({compiled.frames} pictures)" if compiled.frames > 1 else several
        lines.append(f"options: {described}{several}")
    return apply_identity(model, compiled, files.options.controls(s), mask=mask, attention=optimized_attention)
