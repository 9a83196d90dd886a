"""The crop has a bucket's shape, holds the head, and loses as little as it can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.dataset.buckets import Bucket, Shape, buckets_of
from likeness.dataset.crop import by_hand, crop_around, crop_for, head_of
from likeness.dataset.plan import Box

BUCKETS = buckets_of(Shape.of(512))
widths = st.integers(64, 5000)
shares = st.floats(0.0, 1.0)


def area(width: int, height: int, left: int = 0, top: int = 0) -> Box:
    return Box(left=left, top=top, width=width, height=height)


@given(widths, widths, st.integers(0, 50), st.integers(0, 50))
def test_a_crop_lies_inside_and_has_its_buckets_shape_to_the_pixel(
    width: int, height: int, left: int, top: int
) -> None:
    crop = crop_for(area(width, height, left, top), None, BUCKETS)
    assert crop.box.left >= left and crop.box.top >= top
    assert crop.box.right <= left + width and crop.box.bottom <= top + height
    assert abs(crop.box.width * crop.bucket.height / crop.bucket.width - crop.box.height) <= 1 + crop.bucket.ratio**-1


@given(widths, widths, shares, shares, st.floats(0.05, 1.0))
def test_a_head_that_fits_some_bucket_is_never_cut(width: int, height: int, x: float, y: float, size: float) -> None:
    side = size * min(width, height) * 0.9
    left, top = x * (width - side), y * (height - side)
    head = (left, top, left + side, top + side)
    crop = crop_for(area(width, height), head, BUCKETS, upscale=100.0)
    assert crop.whole_head
    assert crop.box.left <= left + 1 and crop.box.top <= top + 1
    assert crop.box.right >= left + side - 1 and crop.box.bottom >= top + side - 1


@given(widths, widths)
def test_no_other_bucket_would_lose_less(width: int, height: int) -> None:
    crop = crop_for(area(width, height), None, BUCKETS, upscale=1000.0)
    for bucket in BUCKETS:
        w = min(width, height * bucket.ratio)
        kept = w * (w / bucket.ratio) / (width * height)
        assert crop.lost <= 1 - kept + 2 / min(width, height)


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_picture_of_a_buckets_size_is_taken_as_it_is(bucket: Bucket) -> None:
    crop = crop_for(area(bucket.width, bucket.height), None, BUCKETS)
    assert (crop.box, crop.bucket, crop.lost) == (area(bucket.width, bucket.height), bucket, 0.0)
    assert crop.scale == 1.0


def test_a_bucket_that_needs_no_enlarging_is_preferred() -> None:
    """512 x 560 fits 448 x 576 best by its shape, but that bucket is higher than the picture."""
    crop = crop_for(area(520, 560), None, BUCKETS, upscale=1.0)
    assert crop.bucket == Bucket(512, 512) and crop.scale <= 1.0
    assert crop_for(area(520, 560), None, BUCKETS, upscale=2.0).bucket == Bucket(512, 512)
    assert crop_for(area(470, 570), None, BUCKETS, upscale=2.0).bucket == Bucket(448, 576)


def test_the_crop_follows_a_face_at_the_edge() -> None:
    left, right = head_of((100, 100, 300, 350), 4000, 1000), head_of((3700, 100, 3900, 350), 4000, 1000)
    assert crop_for(area(4000, 1000), left, BUCKETS).box.left == 0
    assert crop_for(area(4000, 1000), right, BUCKETS).box.right == 4000


def test_a_crop_of_a_tall_picture_begins_above_the_head() -> None:
    head = head_of((400, 200, 600, 450), 1000, 6000)
    crop = crop_for(area(1000, 6000), head, BUCKETS)
    assert crop.box.top <= head[1] and crop.box.top < 6000 * 0.1


def test_a_head_is_larger_than_its_face() -> None:
    assert head_of((100, 100, 200, 200), 1000, 1000) == pytest.approx((65, 40, 235, 215))
    assert head_of((100, 100, 200, 200), 210, 205) == pytest.approx((65, 40, 210, 205))


def test_a_close_up_of_no_buckets_shape_loses_hair_and_never_the_face() -> None:
    """The head fills the whole picture, whose shape lies between two buckets."""
    face = (150.0, 250.0, 650.0, 870.0)
    crop = crop_around(area(800, 900), face, (800, 900), BUCKETS)
    assert crop.whole_head and crop.lost > 0
    assert crop.box.left <= 150 and crop.box.top <= 250 and crop.box.right >= 650 and crop.box.bottom >= 870


def test_a_turned_head_may_have_its_crown_at_any_side() -> None:
    assert head_of((100, 100, 200, 200), 1000, 1000, roll=90.0) == pytest.approx((40, 40, 260, 260))


def test_a_box_drawn_by_hand_is_only_made_smaller() -> None:
    drawn = Box(left=10, top=20, width=600, height=500)
    crop = by_hand(drawn, BUCKETS)
    assert crop.box.left >= 10 and crop.box.top >= 20 and crop.box.right <= 610 and crop.box.bottom <= 520
    assert crop.bucket == Bucket(576, 448)
