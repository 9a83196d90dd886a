"""How strongly an identity acts, in which layers, and when: everything a user sets beside the identity itself.

The names of weight types and embeds scalings are those that users know from IPAdapter_plus.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

from .errors import PatchError

WEIGHT_TYPES = (
    "linear",
    "ease in",
    "ease out",
    "ease in-out",
    "reverse in-out",
    "weak input",
    "weak output",
    "weak middle",
    "strong middle",
    "style transfer",
    "composition",
    "strong style transfer",
    "style and composition",
    "style transfer precise",
    "composition precise",
)
EMBEDS_SCALING = ("V only", "K+V", "K+V w/ C penalty", "K+mean(V) w/ C penalty")
MAX_FRAMES = 10_000


@dataclass(frozen=True)
class Controls:
    """Strengths of one applied identity. PatchError when a value is out of range."""

    weight: float = 1.0  # of the face attention; 0 is off
    weight_v2: float = 1.0  # of Plus V2's shortcut
    start: float = 0.0  # 0..1 of the sampling range, start <= end, both inclusive
    end: float = 1.0
    weight_type: str = "linear"  # one of WEIGHT_TYPES: how the weight is shared out among the layers
    weight_composition: float = 1.0  # of the composition layers, for "style and composition"
    layer_weights: tuple[tuple[int, float], ...] = ()  # (transformer, factor of weight); the others are off
    frame_weights: tuple[float, ...] = ()  # factor of weight for each picture of a batch; the last one repeats
    embeds_scaling: str = "V only"  # one of EMBEDS_SCALING: what the weight multiplies
    match_ipadapter_plus: bool = False  # render as IPAdapter_plus does: middle block off, its sizes of masks

    def __post_init__(self) -> None:
        numbers = [("weight", self.weight), ("weight_v2", self.weight_v2), ("composition", self.weight_composition)]
        numbers += [(f"weight of layer {t}", w) for t, w in self.layer_weights]
        numbers += [(f"weight of picture {i}", w) for i, w in enumerate(self.frame_weights)]
        for name, value in numbers:
            if not math.isfinite(value):
                raise PatchError(f"The FaceID {name} is {value}; give a number, usually 0 to 2.")
        if not 0 <= self.start <= self.end <= 1:
            raise PatchError(
                f"FaceID runs from {self.start} to {self.end} of the sampling; expected 0 <= start <= end <= 1."
            )
        for name, value, known in (
            ("weight_type", self.weight_type, WEIGHT_TYPES),
            ("embeds_scaling", self.embeds_scaling, EMBEDS_SCALING),
        ):
            if value not in known:
                raise PatchError(f"FaceID {name} {value!r} is unknown: choose one of {', '.join(known)}.")

    @property
    def off(self) -> bool:
        """True when the identity can have no effect at all."""
        idle = bool(self.frame_weights) and not any(self.frame_weights)
        return idle or (self.weight == 0 and not (self.composes and self.weight_composition))

    @property
    def composes(self) -> bool:
        """Whether weight_composition is used."""
        return self.weight_type == "style and composition" and not self.layer_weights


def parse_layer_weights(text: str) -> tuple[tuple[int, float], ...]:
    """ "3:1, 6:0.5" -> ((3, 1.0), (6, 0.5)): transformer blocks in the order of execution, from 0."""
    return tuple(_pairs(text, "layer_weights", "3:1, 6:0.5"))


def parse_frame_weights(text: str) -> tuple[float, ...]:
    """Factors of the weight, one per picture: "0, 0.5, 1", or keyframes "0:0, 15:1" with straight lines between."""
    if ":" not in text:
        return tuple(_number(part, "frame_weights", "0, 0.5, 1") for part in _parts(text))
    keys = sorted(_pairs(text, "frame_weights", "0:0, 15:1"))
    made = [keys[0][1]] * (keys[0][0] + 1)
    for (at, value), (until, target) in pairwise(keys):
        made += [value + (target - value) * (f - at) / (until - at) for f in range(at + 1, until + 1)]
    return tuple(made)


def _pairs(text: str, field: str, example: str) -> list[tuple[int, float]]:
    pairs: dict[int, float] = {}
    for part in _parts(text):
        number, _, value = part.partition(":")
        if not re.fullmatch(r"\s*\d{1,4}\s*", number):
            raise PatchError(f"{field}: {part.strip()!r} does not start with a number and a colon; write {example!r}.")
        if int(number) in pairs:
            raise PatchError(f"{field} names {int(number)} twice; keep one.")
        pairs[int(number)] = _number(value, field, example)
    return list(pairs.items())


def _number(text: str, field: str, example: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PatchError(f"{field}: {text.strip()!r} is not a number; write {example!r}.")
    return value


def _parts(text: str) -> list[str]:
    parts = [part for part in re.split(r"[,;\n]", text) if part.strip()]
    if len(parts) > MAX_FRAMES:
        raise PatchError(f"There are {len(parts)} weights; up to {MAX_FRAMES} can be given.")
    return parts
