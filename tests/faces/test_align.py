"""Alignment: the template, Umeyama's similarity, and OpenCV's pixels (numbers recorded from OpenCV 5.0)."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from likeness.faces import align


def picture(height: int, width: int) -> np.ndarray:
    y, x, c = np.mgrid[:height, :width, :3]
    return ((x * 7 + y * 13 + c * 31 + (x * y) % 17 * 9) % 256).astype(np.uint8)


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ((300, 200), (427, 640), "09de444764f83c66"),
        ((301, 457), (256, 168), "33d4d733e6028c92"),
        ((64, 64), (32, 32), "1fd227a27b396b89"),
        ((5, 3), (64, 40), "397fe41ed56061a9"),
        ((1, 1), (7, 9), "27b834487691e85c"),
    ],
)
def test_resize_gives_opencvs_bytes(source: tuple[int, int], target: tuple[int, int], expected: str) -> None:
    assert digest(align.resize(picture(*source), *target)) == expected


def test_resize_equals_opencv_where_it_is_installed() -> None:
    cv2 = pytest.importorskip("cv2", reason="opencv is not installed")
    rng = np.random.default_rng(3)
    for _ in range(40):
        height, width, new_height, new_width = (int(v) for v in rng.integers(1, 500, 4))
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        assert (align.resize(image, new_width, new_height) == cv2.resize(image, (new_width, new_height))).all()


def test_warp_equals_opencv_where_it_is_installed() -> None:
    cv2 = pytest.importorskip("cv2", minversion="5.0", reason="opencv 5 is not installed")
    rng = np.random.default_rng(4)
    for _ in range(20):
        image = rng.integers(0, 256, (*rng.integers(2, 400, 2), 3), dtype=np.uint8)
        matrix = rotation(float(rng.uniform(0.1, 3)), float(rng.uniform(-3, 3)), *rng.uniform(-60, 160, 2))
        theirs = cv2.warpAffine(image, matrix, (224, 224), borderValue=(128, 128, 128))
        apart = np.abs(align.warp(image, matrix, 224, 128).astype(int) - theirs)
        assert apart.max() <= 1 and (apart > 0).mean() < 1e-3


def rotation(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


def test_points_on_the_template_give_the_identity() -> None:
    assert np.allclose(align.similarity(align.TEMPLATE), [[1, 0, 0], [0, 1, 0]], atol=1e-9)
    assert np.allclose(align.similarity(align.TEMPLATE, 224), [[2, 0, 0], [0, 2, 0]], atol=1e-9)


def test_a_similarity_is_recovered_exactly() -> None:
    known = rotation(0.4, 2.1, 30, -12)
    points = align.move(align.TEMPLATE, align.inverse(known))
    assert np.allclose(align.similarity(points), known, atol=1e-4)


def test_mirrored_points_are_turned_not_mirrored() -> None:
    found = align.similarity(align.TEMPLATE * [-1, 1])
    assert np.linalg.det(found[:, :2]) > 0


def test_the_wide_crop_shows_more_around_the_face() -> None:
    """insightface's 128 px frame: the template 8 px to the right, none down; 256 px are not 224 px enlarged."""
    assert np.allclose(align.similarity(align.TEMPLATE, 256), [[2, 0, 16], [0, 2, 0]], atol=1e-9)
    assert np.allclose(align.similarity(align.TEMPLATE, 128), [[1, 0, 8], [0, 1, 0]], atol=1e-9)


def test_only_multiples_of_the_templates_are_aligned() -> None:
    with pytest.raises(ValueError, match="200 px has no template: use a multiple of 112 or 128"):
        align.similarity(align.TEMPLATE, 200)


def test_a_shift_moves_pixels_and_fills_the_rest() -> None:
    image = picture(10, 10)
    moved = align.warp(image, np.array([[1.0, 0, 3], [0, 1, 2]]), 10, fill=77)
    assert (moved[2:, 3:] == image[:8, :7]).all()
    assert (moved[:2] == 77).all() and (moved[:, :3] == 77).all()


def test_inverse_and_compose() -> None:
    matrix = rotation(1.7, 0.6, 5, 9)
    assert np.allclose(align.compose(matrix, align.inverse(matrix)), [[1, 0, 0], [0, 1, 0]])
    assert align.scale_of(matrix) == pytest.approx(1.7)
