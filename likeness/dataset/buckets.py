"""The sizes that sd-scripts trains at, so that a picture written at one of them is neither resampled nor cropped.

Source: `model_util.make_bucket_resolutions` and `BucketManager.select_bucket` of kohya-ss/sd-scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

from ..errors import LikenessError

STEP = 8  # px; the VAE of every family folds 8 pixels into one
MIN_SIDE, MAX_SIDE = 64, 4096  # px


@dataclass(frozen=True, order=True)
class Bucket:
    """A size that training happens at."""

    width: int  # px
    height: int  # px

    @property
    def ratio(self) -> float:
        """Width / height."""
        return self.width / self.height


@dataclass(frozen=True)
class Shape:
    """Which buckets there are. LikenessError for numbers that sd-scripts would stop at."""

    side: int = 768  # px; no bucket is larger than side x side in area
    steps: int = 64  # px; sides are multiples of it
    smallest: int = 384  # px; of a side
    largest: int = 1536  # px; of a side

    def __post_init__(self) -> None:
        if self.steps < STEP or self.steps % STEP or self.steps > 256:
            raise LikenessError(f"shape.steps: {self.steps} px is no multiple of {STEP} up to 256: give 64, 32 or 16.")
        if not MIN_SIDE <= self.smallest <= self.side <= self.largest <= MAX_SIDE:
            raise LikenessError(
                f"shape: smallest {self.smallest}, side {self.side}, largest {self.largest} px: give them in rising "
                f"order, from {MIN_SIDE} to {MAX_SIDE}."
            )
        if self.side < self.steps or self.smallest % self.steps or self.largest % self.steps:
            raise LikenessError(
                f"shape: smallest {self.smallest} and largest {self.largest} px are no multiples of {self.steps} px: "
                "every side of a bucket is one."
            )

    @classmethod
    def of(cls, side: int, steps: int = 64) -> Shape:
        """sd-scripts' usual range for a side: half of it to twice of it (512: 256..1024, 768: 384..1536)."""
        return cls(side, steps, side // 2 // steps * steps or steps, side * 2 // steps * steps)


def buckets_of(shape: Shape) -> tuple[Bucket, ...]:
    """Every bucket, sorted by width, then height."""
    area, step = shape.side * shape.side, shape.steps
    square = isqrt(area) // step * step
    found = {Bucket(square, square)}
    for width in range(shape.smallest, shape.largest + 1, step):
        height = min(shape.largest, area // width // step * step)
        if height >= shape.smallest:
            found |= {Bucket(width, height), Bucket(height, width)}
    return tuple(sorted(found))


def nearest_bucket(width: int, height: int, buckets: Sequence[Bucket]) -> Bucket:
    """The bucket that sd-scripts puts a picture of this size into: the very size, else the least difference of
    width / height, of equal ones the first."""
    exact = Bucket(width, height)
    if exact in buckets:
        return exact
    ratio = width / height
    return min(buckets, key=lambda b: abs(b.ratio - ratio))
