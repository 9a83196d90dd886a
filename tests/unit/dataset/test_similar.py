"""Fingerprints: near pictures are near, others are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from likeness.dataset.similar import Neighbours, alike, fingerprint
from likeness.images import RGB8

from .pictures import scene


def distance(a: int, b: int) -> int:
    return bin(a ^ b).count("1")


def jpeg(pixels: RGB8, quality: int) -> RGB8:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(out))


CHANGES = {
    "compressed": lambda p: jpeg(p, 40),
    "half the size": lambda p: np.asarray(Image.fromarray(p).resize((p.shape[1] // 2, p.shape[0] // 2))),
    "lighter": lambda p: (p.astype(np.int16) + 15).clip(0, 255).astype(np.uint8),
    "grey": lambda p: np.asarray(Image.fromarray(p).convert("L").convert("RGB")),
    "a little less at the edge": lambda p: p[2:-2, 2:-2],
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_changed_copy_is_near(change: str) -> None:
    for seed in range(20):
        first = fingerprint(scene(seed))
        second = fingerprint(CHANGES[change](scene(seed)))
        assert distance(first.dhash, second.dhash) <= 10 and distance(first.phash, second.phash) <= 10
        assert alike(first.thumb, second.thumb) >= 0.95


def test_other_pictures_are_not_near() -> None:
    prints = [fingerprint(scene(seed)) for seed in range(150)]
    near = Neighbours(prints)
    assert all(near.of(i, 10) == () for i in range(150))


def test_neighbours_are_those_whose_both_hashes_are_near() -> None:
    prints = [fingerprint(p) for p in (scene(1), scene(2), scene(1), jpeg(scene(1), 60))]
    assert Neighbours(prints).of(0, 8) == (2, 3)
    assert Neighbours(prints).of(1, 8) == ()


def test_plain_pictures_are_alike_where_their_grey_is() -> None:
    plain = np.full((32, 32), 90, dtype=np.uint8)
    assert alike(plain, plain + 1) == 1.0
    assert alike(plain, plain + 60) == 0.0
    assert alike(plain, fingerprint(scene(3)).thumb) == 0.0


def test_a_mirror_image_is_near() -> None:
    pictures = [scene(i, 300, 300) for i in range(4)]
    found = Neighbours([fingerprint(p) for p in (*pictures, np.ascontiguousarray(pictures[1][:, ::-1]))])
    assert found.of(1, 10) == (4,) and found.of(4, 10) == (1,) and found.of(0, 10) == ()
    likeness, mirrored = found.correlation(1, 4)
    assert likeness > 0.99 and mirrored
