"""A face analyser that reads what a test has drawn into a picture's first row, and pictures for it.

Pixel 0 of row 0 holds a mark and the number of faces; each face takes two pixels after it: (person,
shot, pose) and (left, top, size). A picture without the mark shows nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from likeness.faces.face import CROP_SIZE, EMBEDDING_DIM, Face, Pipeline, Pose, Quality, Vector, normalise, ordered
from likeness.images import RGB8

SIZE = 64  # px
MARK = 77
NOISE = 0.8  # length of a shot's own part of the embedding; 0.8 puts two shots of a person at a cosine near .61
Spot = tuple[int, int, int, int, int]  # person, shot, left, top, size; px

PIPELINE = Pipeline(pack="buffalo_l", detector="d" * 64, recogniser="a" * 64)


def face_picture(person: int, shot: int) -> RGB8:
    """One face of 32 px, in the middle."""
    return group_picture([(person, shot, 16, 16, 32)])


def empty_picture(shot: int = 0) -> RGB8:
    """Nobody; every `shot` has pixels of its own."""
    pixels = np.random.default_rng(1000 + shot).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    pixels[0, 0] = (0, 0, 0)
    return pixels


def group_picture(spots: Sequence[Spot]) -> RGB8:
    pixels = empty_picture(sum(1000 * s[0] + s[1] for s in spots))
    pixels[0, 0] = (MARK, len(spots), MARK)
    for i, (person, shot, left, top, size) in enumerate(spots):
        pixels[0, 1 + 2 * i] = (person, shot, 0)
        pixels[0, 2 + 2 * i] = (left, top, size)
        pixels[top : top + size, left : left + size] = (40 * person % 256, 60, 90)
    return pixels


def direction(*seed: int) -> Vector:
    """float32 [512], L2 norm 1; another one for every seed."""
    return normalise(np.random.default_rng(list(seed)).standard_normal(EMBEDDING_DIM))


def embedding(person: int, shot: int, noise: float = NOISE, dialect: int = 0) -> Vector:
    """Raw, float32 [512]: the person's direction and the shot's, at a length that is not 1.

    `dialect` is the recogniser: two of them give vectors that cannot be compared.
    """
    return (20 * (direction(dialect, person) + noise * direction(dialect, person, shot, 9))).astype(np.float32)


def make_face(person: int, shot: int = 0, spot: tuple[int, int, int] = (16, 16, 32), dialect: int = 0) -> Face:
    left, top, size = spot
    points = [[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]]
    return Face(
        box=np.array([left, top, left + size, top + size], dtype=np.float32),
        keypoints=(np.array(points) * size + [left, top]).astype(np.float32),
        score=0.875,
        embedding=embedding(person, shot, dialect=dialect),
        crop=np.full((CROP_SIZE, CROP_SIZE, 3), (person * 7 + shot) % 256, dtype=np.uint8),
        pose=Pose(0.0, 0.5, 0.0),
        quality=Quality(float(size), 200.0, 120.0, 0.0),
        rung="640",
    )


class FakeAnalyser:
    """`likeness.faces.face.Analyser` on drawn pictures. `calls` counts the pictures it was shown."""

    def __init__(self, pack: str = PIPELINE.pack, dialect: int = 0) -> None:
        self._dialect = dialect
        self._pipeline = replace(PIPELINE, pack=pack, recogniser=f"{dialect:064x}")
        self.calls = 0

    @property
    def pipeline(self) -> Pipeline:
        return self._pipeline

    @property
    def providers(self) -> tuple[str, ...]:
        return ("FakeProvider",) if self.calls else ()

    def analyse(self, image: RGB8) -> tuple[Face, ...]:
        self.calls += 1
        mark, count, again = (int(v) for v in image[0, 0])
        if (mark, again) != (MARK, MARK):
            return ()
        return ordered(self._read(image, i) for i in range(count))

    def _read(self, image: RGB8, i: int) -> Face:
        person, shot, _ = (int(v) for v in image[0, 1 + 2 * i])
        left, top, size = (int(v) for v in image[0, 2 + 2 * i])
        return make_face(person, shot, (left, top, size), self._dialect)
