"""The ladder's logic, with a detector that knows where the face is instead of looking for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from likeness.errors import ImageError
from likeness.faces import align, ladder
from likeness.faces.analyser import LadderAnalyser
from likeness.faces.scrfd import NOTHING, Detections

from ..fakes import PIPELINE

POINTS = np.array([[-15, -10], [15, -10], [0, 5], [-12, 20], [12, 20]], np.float64)  # around the box's middle


def face_at(x: float, y: float, width: float, score: float, roll: float = 0.0) -> Detections:
    angle = math.radians(roll)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = POINTS * width / 60 @ turn.T + [x, y]
    box = [x - width / 2, y - width / 2, x + width / 2, y + width / 2]
    return Detections(np.array([box], np.float32), points[None].astype(np.float32), np.array([score], np.float32))


@dataclass
class Scripted:
    """Answers by how often it was asked; counts the frames that it was shown."""

    answer: Callable[[int, np.ndarray, int], Detections]
    shown: list[tuple[tuple[int, ...], int]] = field(default_factory=list)

    def __call__(self, image: np.ndarray, size: int) -> Detections:
        self.shown.append((image.shape[:2], size))
        return self.answer(len(self.shown) - 1, image, size)


def test_a_sure_upright_face_needs_one_look() -> None:
    look = Scripted(lambda n, image, size: face_at(100, 80, 60, 0.8))
    (found,) = ladder.find(np.zeros((200, 300, 3), np.uint8), (640, 256), look)
    assert look.shown == [((200, 300), 640)]
    assert found.rung == "640" and found.width == pytest.approx(60)
    assert found.box.tolist() == [70, 50, 130, 110]


def test_nothing_anywhere_ends_with_nothing() -> None:
    look = Scripted(lambda n, image, size: NOTHING)
    assert ladder.find(np.zeros((200, 300, 3), np.uint8), (640, 256), look) == ()
    assert [size for _, size in look.shown[:8]] == [640, 256] * 4  # plain, three pads
    assert len(look.shown) == 8 + 6  # then three turns of each size


def test_a_padded_face_comes_back_in_picture_pixels() -> None:
    """The detector sees a 100 px picture with 50 px of grey around it in 256 px: 1.28 px per px."""

    def answer(n: int, image: np.ndarray, size: int) -> Detections:
        centre = (50 + 50) * 1.28
        return face_at(centre, centre, 64, 0.8) if n == 5 else NOTHING

    (found,) = ladder.find(np.zeros((100, 100, 3), np.uint8), (640, 256), Scripted(answer))
    assert found.rung == "256+pad50"
    assert found.box == pytest.approx([25, 25, 75, 75], abs=0.01)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turns_map_back_exactly(quarters: int) -> None:
    """A mark in the picture is found by its colour in each turned frame."""
    picture = np.zeros((60, 90, 3), np.uint8)
    picture[12, 70] = 255

    def answer(n: int, image: np.ndarray, size: int) -> Detections:
        if image.shape[:2] == (64, 64) or n == 0:  # the levelled frame, and the first look
            return NOTHING if n else face_at(70, 12, 8, 0.6)
        y, x = np.argwhere(image[..., 0] == 255)[0]
        return face_at(x, y, 8, 0.95 if n == quarters else 0.55)

    found = ladder.find(picture, (64,), Scripted(answer))
    assert found[0].centre == pytest.approx([70, 12], abs=1e-3)
    assert found[0].rung == f"64+turn{90 * quarters}"
    assert abs(found[0].roll) == pytest.approx({1: 90, 2: 180, 3: 90}[quarters])


def test_a_low_upright_score_beats_a_turn_that_does_not_hold() -> None:
    """The turned frame scores higher at first, but its face loses once it is turned upright."""

    def answer(n: int, image: np.ndarray, size: int) -> Detections:
        plain = image.shape[:2] != (size, size)
        if plain:
            return face_at(50, 40, 30, 0.62 if n == 0 else 0.66 if n == 2 else 0.51)
        levelled_first = n == 4
        return face_at((size - 1) / 2, (size - 1) / 2, 30, 0.69 if levelled_first else 0.6)

    (found,) = ladder.find(np.zeros((80, 100, 3), np.uint8), (64,), Scripted(answer))
    assert found.rung == "64+level"


def test_levelling_keeps_the_face_when_it_is_not_seen_again() -> None:
    def answer(n: int, image: np.ndarray, size: int) -> Detections:
        return face_at(50, 40, 30, 0.8, roll=40) if n == 0 else NOTHING

    (found,) = ladder.find(np.zeros((80, 100, 3), np.uint8), (64,), Scripted(answer))
    assert found.rung == "64" and found.roll == pytest.approx(40, abs=0.1)


def test_the_box_around_a_turned_face_is_the_ellipses() -> None:
    quarter = np.array([[0.0, 1, 0], [-1, 0, 99]])
    assert ladder._moved_box(np.array([10, 20, 30, 60], np.float32), quarter) == pytest.approx([20, 69, 60, 89])
    eighth = math.sqrt(0.5) * np.array([[1.0, -1, 0], [1, 1, 0]])
    round_box = ladder._moved_box(np.array([-10, -10, 10, 10], np.float32), eighth)
    assert round_box == pytest.approx([-10, -10, 10, 10], abs=1e-5)


class FakeEngine:
    providers = ()
    batchable = False

    def __init__(self, found: Detections, embeddings: np.ndarray) -> None:
        self.found, self.embeddings = found, embeddings

    def detect(self, image: np.ndarray, size: int) -> Detections:
        return self.found

    def side(self) -> int:
        return 112

    def embed(self, crops: np.ndarray) -> np.ndarray:
        return np.resize(self.embeddings, (len(crops), *self.embeddings.shape[1:]))


def test_the_analyser_fills_every_field() -> None:
    found = face_at(100, 80, 60, 0.8)
    analyser = LadderAnalyser(replace(PIPELINE, dim=3), FakeEngine(found, np.array([[1, 2, 3]], np.float32)))
    picture = np.full((200, 300, 3), 90, np.uint8)
    (face,) = analyser.analyse(picture)
    assert face.embedding.tolist() == [1, 2, 3] and face.crop.shape == (224, 224, 3)
    assert face.pose.roll == 0 and face.pose.yaw == 0 and face.pose.pitch == pytest.approx(0.5)
    assert face.quality.brightness == 90 and face.quality.sharpness == 0 and face.quality.clipped == 0
    (same,) = analyser.analyse_at(picture, 320)
    assert same.rung == "320" and (same.box == face.box).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_face_without_a_direction_is_left_out(value: float) -> None:
    engine = FakeEngine(face_at(100, 80, 60, 0.8), np.full((1, 3), value, np.float32))
    assert LadderAnalyser(replace(PIPELINE, dim=3), engine).analyse(np.zeros((200, 300, 3), np.uint8)) == ()


@pytest.mark.parametrize(
    "image",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)],
)
def test_only_rgb8_is_analysed(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="is not 8-bit RGB"):
        LadderAnalyser(PIPELINE, FakeEngine(NOTHING, np.zeros((0, 512)))).analyse(image)


def test_align_of_the_five_points_is_upright() -> None:
    found = face_at(100, 80, 60, 0.8, roll=70)
    matrix = align.similarity(found.keypoints[0])
    eyes = align.move(found.keypoints[0][:2], matrix)
    assert abs(eyes[0, 1] - eyes[1, 1]) < 2 and eyes[0, 0] < eyes[1, 0]
