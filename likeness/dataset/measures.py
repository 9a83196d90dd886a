"""What a picture's pixels tell without a face model: bars, light, sharpness; and what five points tell of a face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..faces.face import Face, Pose
from ..faces.measure import laplacian_variance
from ..images import RGB8
from ..measurable import Limits
from .plan import Angle, Box, Expression, Framing, Light, Tilt

SIDE = 256  # px of the longer side at which sharpness and light are measured
_SAME = 6  # grey levels within which a line counts as one colour
_JUMP, _JUMPS = 12, 0.6  # a bar ends where at least that share of the next line differs by more than that
_BAR = 0.015  # of the side, at least, or it is a frame's edge that compression has left
BLACK, WHITE = 4, 251  # grey levels up to and from which nothing can be told apart

FRONTAL, PROFILE = 0.20, 0.50  # |yaw index|: measure.pose_of puts three-quarter at .41, a profile at .57 and more
UP, DOWN = 0.40, 0.78  # pitch index: level faces .45 to .75, a smile lifts the mouth and so the index
# Distance of the mouth's corners over that of the eyes. Of 90 frontal photos all with a broad smile had .95 to 1.09,
# all serious ones .69 to .90; a closed smile lies between. Drawn mouths follow no such rule.
SMILE, SERIOUS = 0.96, 0.88
# Height of the face box / height of the picture. A standing figure from head to foot is 7.5 heads high and the box 3/4
# of a head: .10. Of twelve photos looked at, five down to the waist or the chest had .28 to .38, six of head and
# shoulders .40 to .62 (five of them .45 and more), one that the face fills .85.
FULL_BODY, PORTRAIT = 0.115, 0.42
DARK, BRIGHT = 70.0, 180.0  # mean grey


@dataclass(frozen=True)
class Pixels:
    """Of the whole picture."""

    content: Box  # without bars
    bars: float  # share of the picture that bars take, 0..1
    grey: float  # mean, 0..255
    clipped: float  # share of black and white pixels, 0..1
    sharpness: float  # variance of the Laplacian at 256 px, an eighth of the picture cut off at every side


def pixels_of(picture: RGB8) -> Pixels:
    """Everything that needs the whole picture once."""
    image = Image.fromarray(picture)
    full = np.asarray(image.convert("L"))
    content = content_of(full)
    small = np.asarray(_small(image), dtype=np.float64)
    share = 1.0 - content.width * content.height / full.size
    return Pixels(content, share, float(small.mean()), clipped_share(small), _sharpness(small))


def _small(image: Image.Image) -> Image.Image:
    scale = SIDE / max(image.size)
    size = (max(round(image.width * scale), 8), max(round(image.height * scale), 8))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0).convert("L")


def _sharpness(small: NDArray[np.float64]) -> float:
    """Of the sharpest of nine parts, so that a blurred background is no fault."""
    parts = [p for row in np.array_split(small, 3, axis=0) for p in np.array_split(row, 3, axis=1)]
    return max(laplacian_variance(p) for p in parts if min(p.shape) > 1)


def clipped_share(grey: NDArray[np.float64] | NDArray[np.uint8]) -> float:
    """Share of pixels that are black or white, 0..1."""
    return float(np.mean((grey <= BLACK) | (grey >= WHITE))) if grey.size else 0.0


def content_of(grey: NDArray[np.uint8]) -> Box:
    """The picture without uniform bars at opposite sides.

    A bar ends in a sharp edge along most of its length; a plain wall or sky behind a figure does not.
    """
    height, width = grey.shape
    top, bottom = _bars(grey)
    left, right = _bars(grey[top : height - bottom].T)
    return Box(left=left, top=top, width=width - left - right, height=height - top - bottom)


def _bars(lines: NDArray[np.uint8]) -> tuple[int, int]:
    """Lines of the bars at the first and the last line; 0, 0 unless there are both, of one colour."""
    first, last = _bar(lines), _bar(lines[::-1])
    least = max(len(lines) * _BAR, 2)
    same = abs(int(lines[0].mean()) - int(lines[-1].mean())) <= _SAME
    if first < least or last < least or not same or first + last > len(lines) * 0.8:
        return 0, 0
    return first, last


def _bar(lines: NDArray[np.uint8]) -> int:
    """Lines of one colour from the first on, 0 where they do not end in an edge."""
    colour = int(np.median(lines[0]))
    for i, line in enumerate(lines):
        away = np.abs(line.astype(np.int16) - colour)
        if np.mean(away <= _SAME) >= 0.995:
            continue
        return i if np.mean(away > _JUMP) >= _JUMPS else _after(lines, i, colour)
    return 0


def _after(lines: NDArray[np.uint8], at: int, colour: int) -> int:
    """Where compression has blurred the edge over a line or two, the first line behind it decides."""
    behind = lines[min(at + 2, len(lines) - 1)].astype(np.int16)
    return at + 2 if np.mean(np.abs(behind - colour) > _JUMP) >= _JUMPS and at else 0


def angle_of(pose: Pose) -> Angle:
    """Left and right as the viewer sees the nose point."""
    turned = abs(pose.yaw)
    if turned < FRONTAL:
        return "frontal"
    if turned < PROFILE:
        return "three-quarter right" if pose.yaw > 0 else "three-quarter left"
    return "profile right" if pose.yaw > 0 else "profile left"


def tilt_of(pose: Pose) -> Tilt:
    if abs(pose.yaw) >= PROFILE:
        return ""  # from the side the points tell nothing of it
    return "looking up" if pose.pitch < UP else "looking down" if pose.pitch > DOWN else "level"


def expression_of(mouth: float, pose: Pose, drawn: bool, lower: float | None = None) -> Expression:
    """`mouth`: its width / distance of the eyes. `lower`: `Quality.lower`.

    "" for drawn faces, turned ones, between the two, and where the lower half is covered: there a mouth is a guess.
    """
    covered = lower is not None and lower > Limits.covered_below
    if drawn or covered or abs(pose.yaw) >= FRONTAL:
        return ""
    return "smiling" if mouth >= SMILE else "neutral" if mouth <= SERIOUS else ""


def mouth_of(face: Face) -> float:
    """Distance of the mouth's corners / distance of the eyes; 0 where the eyes fall together."""
    points = np.asarray(face.keypoints, dtype=np.float64)
    eyes = float(np.hypot(*(points[1] - points[0])))
    return float(np.hypot(*(points[4] - points[3]))) / eyes if eyes > 1e-6 else 0.0


def framing_of(face_height: float, crop_height: float) -> Framing:
    share = face_height / max(crop_height, 1.0)
    return "portrait" if share >= PORTRAIT else "upper body" if share >= FULL_BODY else "full body"


def light_of(grey: float) -> Light:
    return "dark" if grey < DARK else "bright" if grey > BRIGHT else "even"
