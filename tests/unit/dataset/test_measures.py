"""What pixels and five points tell: bars, sharpness, angle, smile, framing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from likeness.dataset.measures import (
    angle_of,
    content_of,
    expression_of,
    framing_of,
    light_of,
    mouth_of,
    pixels_of,
    tilt_of,
)
from likeness.dataset.plan import Box
from likeness.faces.face import Pose

from ...fakes import make_face
from .pictures import scene


def framed(top: int, bottom: int, left: int = 0, right: int = 0, colour: int = 0) -> np.ndarray:
    pixels = np.full((200 + top + bottom, 200 + left + right, 3), colour, dtype=np.uint8)
    pixels[top : top + 200, left : left + 200] = scene(1, 200, 200)
    return pixels


def grey(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).convert("L"))


@pytest.mark.parametrize(
    ("bars", "content"),
    [
        ((30, 30), (0, 30, 200, 200)),
        ((30, 50), (0, 30, 200, 200)),
        ((0, 0, 40, 40), (40, 0, 200, 200)),
        ((20, 20, 40, 40), (40, 20, 200, 200)),
        ((0, 0), (0, 0, 200, 200)),
        ((30, 0), (0, 0, 200, 230)),  # only above: it may be a dark sky
    ],
)
@pytest.mark.parametrize("colour", [0, 255])
def test_bars_are_those_at_opposite_sides(bars: tuple[int, ...], content: tuple[int, ...], colour: int) -> None:
    left, top, width, height = content
    assert content_of(grey(framed(*bars, colour=colour))) == Box(left=left, top=top, width=width, height=height)


def test_a_figure_before_a_plain_wall_has_no_bars() -> None:
    pixels = np.full((400, 400, 3), 240, dtype=np.uint8)
    y, x = np.mgrid[:400, :400]
    figure = ((x - 200) / 60) ** 2 + ((y - 200) / 150) ** 2 < 1
    pixels[figure] = scene(1, 400, 400)[figure]
    assert content_of(grey(pixels)) == Box(left=0, top=0, width=400, height=400)


def test_a_plain_picture_has_no_bars() -> None:
    assert content_of(np.full((100, 80), 7, dtype=np.uint8)) == Box(left=0, top=0, width=80, height=100)


def test_bars_of_a_compressed_picture_are_found_to_a_line_or_two(tmp_path) -> None:  # type: ignore[no-untyped-def]
    Image.fromarray(framed(30, 30)).save(tmp_path / "x.jpg", quality=80)
    content = content_of(grey(np.asarray(Image.open(tmp_path / "x.jpg"))))
    assert 30 <= content.top <= 34 and 226 <= content.bottom <= 230


def test_blur_is_measured_at_the_sharpest_part() -> None:
    sharp = scene(3, 400, 400)
    soft = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(6)))
    half = soft.copy()
    half[100:300, 100:300] = sharp[100:300, 100:300]  # sharp before a soft background
    found = [pixels_of(p).sharpness for p in (sharp, half, soft)]
    assert found[2] < found[0] / 10 and found[1] > found[2] * 5


@pytest.mark.parametrize(
    ("yaw", "angle"),
    [(0.0, "frontal"), (0.19, "frontal"), (0.41, "three-quarter right"), (-0.41, "three-quarter left"),
     (0.57, "profile right"), (-0.9, "profile left")],
)  # fmt: skip
def test_right_is_where_the_viewer_sees_the_nose_point(yaw: float, angle: str) -> None:
    assert angle_of(Pose(yaw, 0.5, 0.0)) == angle


@pytest.mark.parametrize(
    ("pitch", "tilt"), [(0.31, "looking up"), (0.55, "level"), (0.72, "level"), (0.81, "looking down")]
)
def test_tilt_is_told_from_the_noses_height(pitch: float, tilt: str) -> None:
    assert tilt_of(Pose(0.0, pitch, 0.0)) == tilt
    assert tilt_of(Pose(0.8, pitch, 0.0)) == ""


@pytest.mark.parametrize(
    ("mouth", "yaw", "drawn", "expression"),
    [(1.03, 0.0, False, "smiling"), (0.80, 0.0, False, "neutral"), (0.92, 0.0, False, ""), (1.03, 0.4, False, ""),
     (1.03, 0.0, True, "")],
)  # fmt: skip
def test_a_smile_is_told_only_where_it_can_be(mouth: float, yaw: float, drawn: bool, expression: str) -> None:
    assert expression_of(mouth, Pose(yaw, 0.5, 0.0), drawn) == expression


@pytest.mark.parametrize(("lower", "expression"), [(None, "smiling"), (0.6, "smiling"), (0.85, "")])
def test_the_mouth_of_a_covered_face_says_nothing(lower: float | None, expression: str) -> None:
    assert expression_of(1.03, Pose(0.0, 0.5, 0.0), False, lower) == expression


def test_the_mouth_is_measured_by_the_eyes() -> None:
    assert mouth_of(make_face(1)) == pytest.approx(0.3 / 0.4)


@pytest.mark.parametrize(
    ("share", "framing"), [(0.5, "portrait"), (0.38, "upper body"), (0.2, "upper body"), (0.08, "full body")]
)
def test_framing_is_the_faces_share_of_the_height(share: float, framing: str) -> None:
    assert framing_of(share * 1000, 1000) == framing


def test_light_is_told_in_three_steps() -> None:
    assert [light_of(v) for v in (30, 120, 220)] == ["dark", "even", "bright"]
