"""Pose and quality of a face, from five points and the aligned crop."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..images import RGB8
from .face import Pose, Quality, Vector

_EDGE = 3  # px beside the picture's edge that it still sharpens
SEEN_LEAST = 0.25  # share of the crop that its sharpness is measured on
NOSE_LINE = 66 / 112  # of the template's height; the nose's tip is at 72, the mouth at 92


def pose_of(keypoints: Vector) -> Pose:
    """Yaw and pitch index and roll of five points, float32 [5, 2]; 0, 0.5 and 0 where they fall together.

    Own definitions: the nose's place in the frame that the eyes span. Measured on photos: yaw .15 and less
    frontal, .41 three-quarter, .57 to 1 profile; pitch .31 looking up, .5 to .6 level, .81 looking down.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    axis = points[1] - points[0]
    distance = float(np.hypot(*axis))
    if distance < 1e-6:
        return Pose(0.0, 0.5, 0.0)
    across = axis / distance
    down = np.array([-across[1], across[0]])
    middle = (points[0] + points[1]) / 2
    nose = points[2] - middle
    mouth = float(((points[3] + points[4]) / 2 - middle) @ down)
    pitch = float(nose @ down) / mouth if abs(mouth) > 1e-6 else 0.5
    return Pose(
        single(float(nose @ across) / distance), single(pitch), single(math.degrees(math.atan2(axis[1], axis[0])))
    )


def quality_of(
    crop: RGB8,
    box: Vector,
    width: float,
    shape: tuple[int, ...],
    lower: float | None = None,
    seen: NDArray[np.bool_] | None = None,
) -> Quality:
    """`crop` is the 112 px aligned face, `width` that of the upright face in the picture, `shape` the picture's.

    `seen` [112, 112] tells which pixels of the crop lie inside the picture; None: all.
    """
    grey = grey_of(crop)
    return Quality(
        single(width),
        single(laplacian_variance(grey, seen)),
        single(float(grey.mean())),
        single(_clipped(box, shape)),
        None if lower is None else single(lower),
    )


def lower_half_blanked(crop: RGB8) -> RGB8:
    """The aligned face, uint8 [S, S, 3], from below the nose filled with its mean colour.

    A recogniser that sees no difference saw nothing of a mouth before: a mask, a hand, a microphone.
    """
    blanked = crop.copy()
    blanked[round(len(crop) * NOSE_LINE) :] = crop.reshape(-1, 3).mean(axis=0)
    return blanked


def single(value: float) -> float:
    """Rounded to float32, as it is stored, so that a cached face equals a fresh one."""
    return float(np.float32(value))


def grey_of(crop: RGB8) -> NDArray[np.float64]:
    """Luma after ITU-R BT.601 as whole numbers, like `cv2.cvtColor(..., COLOR_RGB2GRAY)`."""
    return np.rint(crop.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))


def laplacian_variance(grey: NDArray[np.float64], seen: NDArray[np.bool_] | None = None) -> float:
    """Variance of `cv2.Laplacian`: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.

    Over the pixels in `seen` that are `_EDGE` px away from all others: the edge of a picture is sharper than any
    face. 0 where fewer than `SEEN_LEAST` of them are left.
    """
    padded = np.pad(grey, 1, mode="reflect")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    edges = around - 4 * grey
    if seen is None or seen.all():
        return float(edges.var())
    inner = seen
    for _ in range(_EDGE):
        wide = np.pad(inner, 1, constant_values=True)
        inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:] & inner
    return float(edges[inner].var()) if inner.mean() >= SEEN_LEAST else 0.0


def _clipped(box: Vector, shape: tuple[int, ...]) -> float:
    left, top, right, bottom = (float(v) for v in box)
    area = (right - left) * (bottom - top)
    if area <= 0:
        return 1.0
    inside = max(min(right, shape[1]) - max(left, 0), 0) * max(min(bottom, shape[0]) - max(top, 0), 0)
    return min(max(1.0 - inside / area, 0.0), 1.0)
