"""What one picture says, in numbers that are small enough to keep for tens of thousands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..scoring import SAME_PICTURE, VERDICTS, Score

_MAX_TEXT = 8000  # characters
_COSINES = ("similarity", "nearest_similarity", "second", "style")
_MOST = 1e9  # of any other number


@dataclass(frozen=True, slots=True)
class Row:
    """One picture that was read. A similarity is a cosine, -1..1."""

    name: str  # below the folder, with '/'; as the system gives it
    verdict: str  # of scoring.VERDICTS
    reason: str  # why it is not accepted; "" when it is
    faces: int
    similarity: float | None = None  # None where nothing could be measured, or something else decided
    nearest: str = ""  # reference
    nearest_similarity: float | None = None
    second: float | None = None  # the independent encoder's
    copy: bool = False  # nearer to a reference than `calibration.copy_limit`
    drawn: bool = False
    look: str = ""  # what else was compared, "CCIP difference", and
    look_value: float | None = None
    yaw: float | None = None  # of the face that counts; index as in faces.face.Pose
    pitch: float | None = None
    roll: float | None = None  # degrees
    width: float | None = None  # px
    sharpness: float | None = None
    style: float | None = None  # match of the frame without its faces

    @property
    def measurable(self) -> bool:
        return self.verdict != "not measurable"

    @property
    def accepted(self) -> bool:
        return self.verdict == "accepted"

    @property
    def is_reference(self) -> bool:
        """Whether it is a reference itself, decoded from another file: it says nothing about what was drawn."""
        return self.nearest_similarity is not None and self.nearest_similarity >= SAME_PICTURE

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def row_of(score: Score, style: float | None = None) -> Row:
    """The row of a scored picture."""
    c = score.chosen
    look = score.look if c is None else c.look
    told = (look.name, _rounded(look.value)) if look is not None and math.isfinite(look.value) else ("", None)
    common = {"look": told[0], "look_value": told[1], "style": _rounded(style)}
    if c is None:
        return Row(score.name, score.verdict, score.reason, len(score.faces), **common)  # type: ignore[arg-type]
    by_face = c.measurable and (look is None or look.same is None)
    return Row(
        score.name,
        score.verdict,
        score.reason,
        len(score.faces),
        _rounded(c.similarity) if by_face else None,
        c.nearest if by_face else "",
        _rounded(c.nearest_similarity) if by_face else None,
        _rounded(c.second) if c.measurable else None,
        c.copy,
        c.drawn,
        yaw=_rounded(c.face.pose.yaw),
        pitch=_rounded(c.face.pose.pitch),
        roll=_rounded(c.face.pose.roll),
        width=_rounded(c.face.quality.width),
        sharpness=_rounded(c.face.quality.sharpness),
        **common,  # type: ignore[arg-type]
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 4)


_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float | None": (int, float, type(None)),
}


def row_from(values: object) -> Row | None:
    """The row of `Row.as_dict`, from a file that anybody may have changed; None where it is none."""
    if not isinstance(values, Mapping) or set(values) != {f.name for f in fields(Row)}:
        return None
    for field in fields(Row):
        value, kinds = values[field.name], _KINDS[str(field.type)]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            return None
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            return None
        if isinstance(value, (int, float)) and not abs(value) <= (1.001 if field.name in _COSINES else _MOST):
            return None  # NaN, too
    return Row(**values) if values["verdict"] in VERDICTS else None
