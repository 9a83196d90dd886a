"""From what a character has to how it is drawn.

`resolve` is the one place where presets, the profile and the user's overrides meet. What comes out
has no gaps: a Recipe can be handed to the loaders and the sampler as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import cast, get_args

from .character import Character
from .errors import FaceError, LikenessError
from .profile import BaseSettings, Method, PresetName, StrengthSource


@dataclass(frozen=True)
class StrengthValues:
    """Every strength, none missing. Ranges as in `profile.Strengths`."""

    lora_model: float
    lora_clip: float
    faceid_weight: float
    faceid_weight_v2: float
    companion_lora: float
    start: float = 0.0  # share of the sampling steps
    end: float = 1.0


@dataclass(frozen=True)
class SamplingValues:
    """Every KSampler setting, none missing."""

    steps: int
    cfg: float
    denoise: float
    sampler: str = "dpmpp_2m"
    scheduler: str = "karras"
    width: int = 768  # px
    height: int = 768  # px


@dataclass(frozen=True)
class Recipe:
    """How a character is drawn on one base family."""

    family: str
    method: Method
    strengths: StrengthValues
    sampling: SamplingValues
    source: StrengthSource  # where the strengths came from

    @property
    def uses_lora(self) -> bool:
        return self.method in ("lora_faceid", "lora_only")

    @property
    def uses_faceid(self) -> bool:
        return self.method in ("lora_faceid", "faceid_only")


NATIVE_SIZE = {"sd15": 768, "other": 768}  # px; every other family draws at 1024
# The reference implementation runs the shortcut at 1 and the companion LoRA at 1; IPAdapter_plus's
# author, and its users, settle at 0.6 for the LoRA, which distorts the picture less.
_SHORTCUT, _COMPANION = 1.0, 0.6


def _preset(
    lora: float, face: float, cfg: float, steps: int, denoise: float = 1.0
) -> tuple[StrengthValues, SamplingValues]:
    return StrengthValues(lora, lora, face, _SHORTCUT, _COMPANION), SamplingValues(steps, cfg, denoise)


_BALANCED: dict[Method, tuple[StrengthValues, SamplingValues]] = {
    "lora_faceid": _preset(lora=0.7, face=0.6, cfg=7.0, steps=25),
    "lora_only": _preset(lora=0.8, face=0.0, cfg=7.5, steps=30),
    "faceid_only": _preset(lora=0.0, face=0.8, cfg=8.0, steps=30),
    "img2img": _preset(lora=0.0, face=0.0, cfg=7.5, steps=30, denoise=0.4),
}


def preset(name: PresetName, method: Method) -> tuple[StrengthValues, SamplingValues]:
    """Strengths and sampling of a named preset, for SD 1.5.

    balanced         LoRA and face share the work
    face_forward     the face leads: FaceID 0.8 beside LoRA 0.7
    double_shortcut  what FaceID's heaviest user ships: weight w, weight_v2 2w, companion LoRA 0.65w
    """
    strengths, sampling = _BALANCED[method]
    if name == "face_forward" and method == "lora_faceid":
        return replace(strengths, faceid_weight=0.8), replace(sampling, cfg=7.5, steps=30)
    if name == "double_shortcut":
        w = strengths.faceid_weight
        return replace(strengths, faceid_weight_v2=2 * w, companion_lora=0.65 * w), sampling
    return strengths, sampling


def method_for(has_lora: bool, has_faceid: bool) -> Method:
    """The best method for what there is."""
    if has_lora:
        return "lora_faceid" if has_faceid else "lora_only"
    return "faceid_only" if has_faceid else "img2img"


def resolve(
    settings: BaseSettings,
    family: str,
    *,
    has_lora: bool,
    has_faceid: bool,
    no_faceid: str = "",
    method: Method | None = None,
    preset_name: PresetName | None = None,
    overrides: Mapping[str, float] | None = None,
) -> Recipe:
    """The complete recipe: override before profile before preset, number by number.

    `method` and `preset_name` replace the profile's; a named preset also replaces the profile's
    strengths, steps, cfg and denoise, since that is what the user asked to see. LikenessError when the method needs an
    asset the character lacks, and when nobody chose img2img but `no_faceid` (why the face cannot
    steer, in one sentence) leaves nothing else: such a graph would draw a stranger in silence.
    """
    wanted = method or (None if settings.method == "auto" else settings.method)
    chosen = wanted or method_for(has_lora, has_faceid)
    if wanted is None and chosen == "img2img" and no_faceid:
        raise LikenessError(f"{no_faceid} Or choose method img2img, to draw from the reference picture.")
    _check_assets(chosen, family, has_lora, has_faceid, no_faceid)
    strengths, sampling = preset(preset_name or settings.preset, chosen)
    sampling = replace(sampling, width=NATIVE_SIZE.get(family, 1024), height=NATIVE_SIZE.get(family, 1024))
    preset_decides = {"steps", "cfg", "denoise"} if preset_name else set()
    sampling = replace(sampling, **settings.sampling.model_dump(exclude_none=True, exclude=preset_decides))
    own = {} if preset_name else settings.strengths.model_dump(exclude_none=True, exclude={"source"})
    strengths = check_strengths(replace(strengths, **own), overrides or {})
    source: StrengthSource = "hand" if overrides else settings.strengths.source if own else "preset"
    return Recipe(family, chosen, strengths, sampling, source)


def _check_assets(method: Method, family: str, has_lora: bool, has_faceid: bool, no_faceid: str) -> None:
    if method in ("lora_faceid", "lora_only") and not has_lora:
        raise LikenessError(
            f"Method {method} needs a character LoRA for {family} and the profile has no active one: "
            f"add it under [[base.{family}.loras]], or choose method auto."
        )
    if method in ("lora_faceid", "faceid_only") and not has_faceid:
        raise LikenessError(
            f"Method {method} needs a face embedding and a FaceID adapter for {family}: put an adapter into "
            f"models/ipadapter, create the character with a face model, or choose method auto. {no_faceid}".strip()
        )


def check_strengths(values: StrengthValues, overrides: Mapping[str, float]) -> StrengthValues:
    """`values` with `overrides` laid over them, refused when the window is turned around."""
    known = {f.name for f in fields(StrengthValues)}
    if unknown := sorted(set(overrides) - known):
        raise LikenessError(f"Unknown strength {', '.join(unknown)}: known are {', '.join(sorted(known))}.")
    if bad := sorted(key for key, value in overrides.items() if not math.isfinite(value)):
        raise LikenessError(f"{', '.join(bad)} is not a number: give one, usually 0 to 1.")
    merged = replace(values, **overrides)
    if merged.start > merged.end:
        raise LikenessError(f"FaceID would start at {merged.start} and end at {merged.end}: swap start and end.")
    return merged


def as_preset(name: str | None) -> PresetName | None:
    return cast(PresetName, name) if name in get_args(PresetName) else None


def as_method(name: str | None) -> Method | None:
    return cast(Method, name) if name in get_args(Method) else None


def check_comparable(character: Character, other: Character) -> None:
    """FaceError when the faces of two characters are by different recognisers; one that is unknown is trusted."""
    made = [c.pipeline for c in (character, other) if c.pipeline is not None and c.pipeline.recogniser]
    if len({pipeline.recogniser for pipeline in made}) > 1:
        raise FaceError(
            f"{character.profile.name} was made with face model {made[0].pack} and {other.profile.name} with "
            f"{made[1].pack}: their faces cannot be used together. Create both with one face model."
        )
