"""Choosing the intended face, its order, pose and quality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from likeness.faces.align import align, seen_by
from likeness.faces.face import Face, choose, ordered
from likeness.faces.measure import grey_of, laplacian_variance, pose_of, quality_of

from ..fakes import PIPELINE, make_face

POINTS = np.array([[-15, -10], [15, -10], [0, 5], [-12, 20], [12, 20]], np.float32)


def boxed(person: int, left: float, top: float, right: float, bottom: float) -> Face:
    return replace(make_face(person), box=np.array([left, top, right, bottom], np.float32))


def test_equal_areas_are_ordered_by_left_then_top() -> None:
    big = boxed(1, 50, 50, 90, 90)
    left, upper, lower = boxed(2, 0, 9, 20, 29), boxed(3, 30, 0, 50, 20), boxed(4, 30, 5, 50, 25)
    for order in ([lower, upper, left, big], [big, left, upper, lower], [upper, big, lower, left]):
        assert ordered(order) == (big, left, upper, lower)
        assert choose(order) is big


def test_a_known_identity_beats_size() -> None:
    big, small = boxed(1, 0, 0, 90, 90), boxed(2, 0, 0, 20, 20)
    assert choose([big, small], make_face(2, 5).embedding) is small
    assert choose([big, small], make_face(1, 5).embedding) is big


def test_equal_similarity_goes_to_the_larger() -> None:
    big, small = boxed(1, 0, 0, 90, 90), boxed(1, 0, 0, 20, 20)
    assert choose([small, big], big.embedding) is big
    assert choose([]) is None


def test_an_empty_box_has_no_area() -> None:
    assert boxed(1, 20, 20, 10, 90).area == 0


@pytest.mark.parametrize("roll", [-170, -90, -20, 0, 35, 90, 179])
def test_roll_is_measured_and_does_not_touch_yaw_and_pitch(roll: float) -> None:
    angle = np.radians(roll)
    turned = POINTS @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    pose = pose_of(turned.astype(np.float32))
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx((0, 0.5, roll), abs=1e-3)


def test_yaw_and_pitch_follow_the_nose() -> None:
    right, low = POINTS.copy(), POINTS.copy()
    right[2, 0], low[2, 1] = 12, 14
    assert pose_of(right).yaw == pytest.approx(0.4)
    assert pose_of(low).pitch == pytest.approx(0.8)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), 7.0), POINTS * [1, 0]])
def test_points_that_fall_together_give_finite_numbers(points: np.ndarray) -> None:
    pose = pose_of(points.astype(np.float32))
    assert np.isfinite([pose.yaw, pose.pitch, pose.roll]).all()


def test_sharpness_equals_opencvs_laplacian() -> None:
    """Recorded from cv2.cvtColor + cv2.Laplacian(grey, cv2.CV_64F).var(), OpenCV 5.0."""
    y, x, c = np.mgrid[:112, :112, :3]
    crop = ((x * 7 + y * 13 + c * 31 + (x * y) % 17 * 9) % 256).astype(np.uint8)
    assert laplacian_variance(grey_of(crop)) == pytest.approx(55121.408, rel=1e-3)
    assert laplacian_variance(grey_of(np.full((112, 112, 3), 90, np.uint8))) == 0


@pytest.mark.parametrize(
    ("box", "share"),
    [((0, 0, 50, 100), 0), ((-50, 0, 50, 100), 0.5), ((90, 90, 110, 110), 0.75), ((300, 0, 310, 9), 1)],
)
def test_the_share_outside_the_picture(box: tuple[float, ...], share: float) -> None:
    quality = quality_of(np.full((112, 112, 3), 128, np.uint8), np.array(box, np.float32), 33.0, (100, 100, 3))
    assert quality.clipped == pytest.approx(share)
    assert (quality.width, quality.brightness) == (33.0, 128.0)


def test_the_pipelines_key_depends_on_every_field() -> None:
    changed = {
        "pack": "x", "detector": "x", "recogniser": "x", "dim": 1, "backend": "insightface",
        "det_sizes": (640,), "det_threshold": 0.3, "ladder": 9, "align": "x",
    }  # fmt: skip
    assert set(changed) == set(PIPELINE.__dataclass_fields__)
    keys = {replace(PIPELINE, **{name: value}).key() for name, value in changed.items()}  # type: ignore[arg-type]
    assert len(keys | {PIPELINE.key()}) == len(changed) + 1


def test_the_edge_of_the_picture_is_no_sharpness_of_the_face() -> None:
    """A crop that is flat inside and black beyond the picture: all its edges are the picture's own."""
    points = np.array([[20, 40], [60, 40], [40, 60], [25, 80], [55, 80]], np.float32)
    picture = np.full((90, 100, 3), 180, np.uint8)
    crop, seen = align(picture, points), seen_by(points, picture.shape)
    assert 0.3 < seen.mean() < 0.95
    box = np.array([0, 10, 80, 95], np.float32)
    assert quality_of(crop, box, 80.0, picture.shape).sharpness > 100
    assert quality_of(crop, box, 80.0, picture.shape, seen=seen).sharpness < 1
    assert quality_of(crop, box, 80.0, picture.shape, seen=np.zeros_like(seen)).sharpness == 0


def test_inside_the_picture_the_measure_stays_what_it_was() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (112, 112)).astype(np.float64)
    assert laplacian_variance(grey, np.ones((112, 112), bool)) == laplacian_variance(grey)
