"""Which faces an encoder can judge.

A detector's score and the length of an embedding hardly move when a face gets small or blurred, while
its embedding drifts to a stranger's: at 24 px the cosine to the same face at full size is .81, under a
blur of 7 px .38. Width and sharpness tell it, and the five points tell how far a head is turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .character import Character
from .faces.face import Face

PROFILE_YAW = 0.57  # from here on the far eye is hidden
YAW_MARGIN = 0.25  # a head may be turned that much further than any reference
COVERED_MARGIN = 0.05  # beyond what the references show: a character may always wear a mask
DRAWN = "a drawn face under an encoder of photos, to which drawn faces look alike"


class Gate(Protocol):
    """Tells drawn faces from photographed ones, for one recogniser: `faces.drawn.DrawnGate`."""

    @property
    def references_drawn(self) -> bool:
        """Whether the character itself is drawn, as far as its references tell."""
        ...

    def drawn(self, face: Face) -> bool: ...

    def for_references(self, references: Sequence[Face]) -> Gate:
        """The gate for one character: what its references are, its pictures are likely to be."""
        ...


@dataclass(frozen=True)
class Limits:
    """What a face needs to be judged."""

    width: float = 32.0  # px, at least
    sharpness: float = 60.0  # variance of the Laplacian of the 112 px crop, at least
    yaw: float = PROFILE_YAW  # |yaw index|, at most
    # `Quality.lower` of 126 bare faces under three recognisers: .47 to .72, .20 to .73, .27 to .70. With the lower half
    # under one colour or a texture .78 to 1 (two small recognisers: 50 to 100 % above .78), under a mask .63 to .95;
    # with the upper half gone .10 to .30 (small ones: up to .60). A covered mouth alone and most sunglasses pass.
    covered_below: float = 0.78  # above it the lower half held nothing to lose
    covered_above: float = 0.28  # below it the upper half held nothing that was kept

    @property
    def covered(self) -> bool:
        """Whether covered faces are measured because references show one."""
        return self.covered_below > Limits.covered_below or self.covered_above < Limits.covered_above


def limits_for(character: Character) -> Limits:
    """The limits for one character: its references say how far its head may be turned, and what covers its face."""
    faces, usual = [r.face for r in character.used], Limits()
    lower = [f.quality.lower for f in faces if f.quality.lower is not None]
    return Limits(
        yaw=max_yaw(faces),
        covered_below=max([usual.covered_below, *(value + COVERED_MARGIN for value in lower)]),
        covered_above=min([usual.covered_above, *(value - COVERED_MARGIN for value in lower)]),
    )


def max_yaw(faces: Sequence[Face]) -> float:
    """The largest |yaw index| that these references can vouch for; a profile only where one shows a profile."""
    return max([PROFILE_YAW, *(abs(f.pose.yaw) + YAW_MARGIN for f in faces if abs(f.pose.yaw) >= PROFILE_YAW)])


def why_not_measurable(face: Face, limits: Limits) -> str:
    """One clause, or "" for a face that can be judged."""
    quality, lower, yaw = face.quality, face.quality.lower, abs(face.pose.yaw)
    if quality.width < limits.width:
        return f"the face is too small ({quality.width:.0f} px wide, {limits.width:.0f} are needed)"
    if quality.sharpness < limits.sharpness:
        return f"the face is blurred (sharpness {quality.sharpness:.0f}, {limits.sharpness:.0f} is needed)"
    if yaw >= limits.yaw:
        known = "without a reference that shows a profile" if limits.yaw <= PROFILE_YAW else "by these references"
        return f"the face is turned away (yaw index {yaw:.2f}; up to {limits.yaw:.2f} can be judged {known})"
    if lower is not None and lower > limits.covered_below:
        return "the lower half of the face is covered"
    if lower is not None and lower < limits.covered_above:
        return "the upper half of the face is covered"
    return ""
