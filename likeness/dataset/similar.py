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
    thumb: NDArray[np.uint8] = field(repr=False, compare=False)  # uint8 [32, 32], grey


def fingerprint(picture: RGB8) -> Fingerprint:
    """Of the whole picture, whatever its size."""
    grey = Image.fromarray(picture).convert("L")
    thumb = grey.resize((THUMB, THUMB), Image.Resampling.BOX, reducing_gap=None)
    rows = np.asarray(thumb.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    small = np.asarray(thumb, dtype=np.float64)
    return Fingerprint(_packed(rows[:, 1:] > rows[:, :-1]), _packed(_low(small)), np.asarray(thumb).copy())


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
        """Indices of the others of which both hashes differ in at most `bits` of 64 bits, ascending."""
        near = (_distance(self._dhash, index) <= bits) & (_distance(self._phash, index) <= bits)
        near[index] = False
        return tuple(int(i) for i in np.flatnonzero(near))

    def correlation(self, a: int, b: int) -> float:
        return alike(self._prints[a].thumb, self._prints[b].thumb)


def _bytes(hashes: Sequence[int]) -> NDArray[np.uint8]:
    joined = b"".join(h.to_bytes(8, "big") for h in hashes)
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, 8)


def _distance(table: NDArray[np.uint8], index: int) -> NDArray[np.int64]:
    return np.asarray(_BITS[table ^ table[index]].sum(axis=1, dtype=np.int64))
