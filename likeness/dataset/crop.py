"""Which part of a picture is trained: exactly the shape of a bucket, the head whole, as little lost as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .buckets import Bucket, nearest_bucket
from .plan import Box

# What belongs to a head beyond the face box of a detector, in shares of the box. Such a box goes from the middle of the
# forehead to the chin and from ear to ear (WIDER FACE, which the detectors learned from). From the hairline to the chin
# are 4/5 of a head's height, the box is about 3/4 of that (Farkas, "Anthropometry of the head and face", 1994: crown to
# chin 232 mm, hairline to chin 187 mm, both of men): the crown is .45 above the box. The rest is hair and beard.
ABOVE, BELOW, BESIDE = 0.6, 0.15, 0.35
ROOM = 0.1  # of the head's height that stays free above it where the picture has it


@dataclass(frozen=True)
class Crop:
    """What is cut out and what size it gets."""

    box: Box  # px of the upright original
    bucket: Bucket
    lost: float  # share of the picture that is not trained, 0..1
    whole_head: bool = True

    @property
    def scale(self) -> float:
        """Pixels of the written file per pixel of the original."""
        return max(self.bucket.width / self.box.width, self.bucket.height / self.box.height)


TOLERANCE = 1.0001  # of a scale: boxes are whole pixels
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom; px


SHARES = (1.0, 0.7, 0.4, 0.15)  # a close-up of another shape than any bucket loses some hair, never the face
TILTED = 30.0  # degrees from which the crown may be at any side


def head_of(face: Rectangle, width: int, height: int, roll: float = 0.0, share: float = 1.0) -> Rectangle:
    """The head around a face box, as far as it lies in a picture of that size.

    `roll`: degrees, 0 upright. `share`: of what belongs to a head beyond the box, 0..1; 0 is the face alone.
    """
    left, top, right, bottom = face
    if abs(roll) > TILTED:
        grown = max(right - left, bottom - top) * ABOVE * share
        return max(left - grown, 0.0), max(top - grown, 0.0), min(right + grown, width), min(bottom + grown, height)
    across, down = (right - left) * BESIDE * share, (bottom - top) * share
    return (
        min(max(left - across, 0.0), width),
        min(max(top - down * ABOVE, 0.0), height),
        max(min(right + across, width), 0.0),
        max(min(bottom + down * BELOW, height), 0.0),
    )


def crop_for(area: Box, head: Rectangle | None, buckets: Sequence[Bucket], upscale: float = 1.0) -> Crop:
    """The crop inside `area` that loses least of it without cutting `head` or enlarging more than `upscale` times.

    Where no bucket allows both, enlarging is given up first, and `Crop.scale` tells so; then the head.
    """
    tried = [_fitted(area, head, bucket) for bucket in buckets]
    return min(tried, key=lambda c: (not c.whole_head, c.scale > upscale * TOLERANCE, c.lost, c.bucket))


def crop_around(
    area: Box,
    face: Rectangle,
    size: tuple[int, int],
    buckets: Sequence[Bucket],
    upscale: float = 1.0,
    roll: float = 0.0,
) -> Crop:
    """`crop_for` the head around a face, with less of its hair where no bucket holds all of it without enlarging.

    `size`: of the picture.
    """
    tried = [crop_for(area, head_of(face, *size, roll, share), buckets, upscale) for share in SHARES]
    possible = [crop for crop in tried if crop.whole_head and crop.scale <= upscale * TOLERANCE]
    whole = [crop for crop in tried if crop.whole_head]
    return next(iter([*possible, *whole, *tried]))


def by_hand(box: Box, buckets: Sequence[Bucket]) -> Crop:
    """The largest part of a box that somebody drew which has the shape of the nearest bucket."""
    return _fitted(box, None, nearest_bucket(box.width, box.height, buckets))


def _fitted(area: Box, head: Rectangle | None, bucket: Bucket) -> Crop:
    width, height = _largest(area, bucket)
    left, top, right, bottom = _clamped(head, area) if head else (area.left, area.top, area.right, area.bottom)
    across = _placed((left + right) / 2 - width / 2, (area.left, area.right), width)
    down = (
        _down(area, height, top, bottom)
        if head
        else _placed(area.top + (area.height - height) / 2, _rows(area), height)
    )
    box = Box(left=across, top=down, width=width, height=height)
    lost = 1.0 - width * height / (area.width * area.height)
    return Crop(box, bucket, lost, head is None or _holds(box, (left, top, right, bottom)))


def _down(area: Box, height: int, head_top: float, head_bottom: float) -> int:
    """The middle of the picture, or as near to it as the head and some room above it allow."""
    room = ROOM * (head_bottom - head_top)
    middle = area.top + (area.height - height) / 2
    start = max(min(middle, head_top - room), head_bottom - height)
    return _placed(min(start, head_top), _rows(area), height)


def _rows(area: Box) -> tuple[int, int]:
    return area.top, area.bottom


def _largest(area: Box, bucket: Bucket) -> tuple[int, int]:
    """Width and height of the largest part of `area` with the bucket's shape, to the pixel."""
    width = min(area.width, round(area.height * bucket.width / bucket.height))
    height = min(area.height, round(width * bucket.height / bucket.width))
    return max(width, 1), max(height, 1)


def _placed(start: float, span: tuple[int, int], size: int) -> int:
    """The whole number nearest to `start` from which `size` px stay in `span`."""
    return max(span[0], min(round(start), span[1] - size))


def _clamped(head: Rectangle, area: Box) -> Rectangle:
    left, top, right, bottom = head
    return max(left, area.left), max(top, area.top), min(right, area.right), min(bottom, area.bottom)


def _holds(box: Box, head: Rectangle) -> bool:
    """To the pixel: a head ends at fractions of one."""
    left, top, right, bottom = head
    return box.left <= left + 1 and box.top <= top + 1 and box.right >= right - 1 and box.bottom >= bottom - 1
