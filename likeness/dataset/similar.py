"""Which pictures show nearly the same: two 64-bit hashes to find pairs, a closer look to confirm them.

dHash compares neighbouring pixels of a 9 x 8 thumbnail (N. Krawetz, "Kind of like that", hackerfactor.com, 2013); pHash
the lowest frequencies of a 32 x 32 one with their median (C. Zauner, "Implementation and benchmarking of perceptual
image hash functions", 2010). Both are our own code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import pi

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..images import RGB8

THUMB = 32  # px
_LOW = 8  # frequencies a side
_BITS = np.array([bin(i).count("1") for i in range(256)], dtype=np.uint8)


@dataclass(frozen=True)
class Fingerprint:
    """How a picture looks from afar."""

    dhash: int  # 64 bits
    phash: int  # 64 bits
    mirrored: tuple[int, int]  # the same two of its mirror image
    thumb: NDArray[np.uint8] = field(repr=False, compare=False)  # uint8 [32, 32], grey


def fingerprint(picture: RGB8) -> Fingerprint:
    """Of the whole picture, whatever its size."""
    grey = Image.fromarray(picture).convert("L")
    thumb = np.asarray(grey.resize((THUMB, THUMB), Image.Resampling.BOX, reducing_gap=None)).copy()
    return Fingerprint(*_hashes(thumb), _hashes(mirror(thumb)), thumb)


def mirror(thumb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W], left and right exchanged."""
    return np.ascontiguousarray(thumb[:, ::-1])


def _hashes(thumb: NDArray[np.uint8]) -> tuple[int, int]:
    """dHash and pHash."""
    rows = np.asarray(Image.fromarray(thumb).resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    return _packed(rows[:, 1:] > rows[:, :-1]), _packed(_low(thumb.astype(np.float64)))


def _low(small: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool [8, 8]: which low frequencies lie above their median, the mean of the picture left out of it."""
    basis = _dct_rows()
    low = basis @ small @ basis.T
    return low > np.median(low.reshape(-1)[1:])


def _dct_rows() -> NDArray[np.float64]:
    """float64 [8, 32]: the first rows of the cosine transform (DCT-II)."""
    at = (2 * np.arange(THUMB) + 1) * pi / (2 * THUMB)
    return np.asarray(np.cos(np.arange(_LOW)[:, None] * at[None, :]))


def _packed(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def alike(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Correlation of two thumbnails, -1..1; 1 for two plain ones of the same grey, 0 for a plain one and another."""
    x, y = (v.astype(np.float64).reshape(-1) for v in (a, b))
    flat = x.std() < 1.0, y.std() < 1.0
    if any(flat):
        return float(all(flat) and abs(x.mean() - y.mean()) < 4.0)
    return float(np.corrcoef(x, y)[0, 1])


class Neighbours:
    """Finds pictures whose hashes differ in few bits."""

    def __init__(self, prints: Sequence[Fingerprint]) -> None:
        self._prints = prints
        self._dhash = _bytes([p.dhash for p in prints])
        self._phash = _bytes([p.phash for p in prints])

    def of(self, index: int, bits: int) -> tuple[int, ...]:
        """Indices of the others of which both hashes, or both of the mirror image, differ in at most `bits` of 64 bits.

        Ascending.
        """
        one = self._prints[index]
        near = np.zeros(len(self._prints), dtype=np.bool_)
        for hashes in ((one.dhash, one.phash), one.mirrored):
            near |= (_distance(self._dhash, hashes[0]) <= bits) & (_distance(self._phash, hashes[1]) <= bits)
        near[index] = False
        return tuple(int(i) for i in np.flatnonzero(near))

    def correlation(self, a: int, b: int) -> tuple[float, bool]:
        """Of two thumbnails, the better of as they are and mirrored; whether it was the mirror image."""
        first, second = self._prints[a].thumb, self._prints[b].thumb
        straight, turned = alike(first, second), alike(mirror(first), second)
        return (turned, True) if turned > straight else (straight, False)


def _bytes(hashes: Sequence[int]) -> NDArray[np.uint8]:
    joined = b"".join(h.to_bytes(8, "big") for h in hashes)
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, 8)


def _distance(table: NDArray[np.uint8], one: int) -> NDArray[np.int64]:
    return np.asarray(_BITS[table ^ _bytes([one])].sum(axis=1, dtype=np.int64))
