"""Buckets are those of sd-scripts, number for number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.dataset.buckets import Bucket, Shape, buckets_of, nearest_bucket
from likeness.errors import LikenessError

# Printed by sd-scripts' model_util.make_bucket_resolutions.
KNOWN = {
    512: [(256, 832), (256, 896), (256, 960), (256, 1024), (320, 704), (320, 768), (384, 640), (448, 576), (512, 512)],
    1024: [
        (512, 1856), (512, 1920), (512, 1984), (512, 2048), (576, 1664), (576, 1728), (576, 1792), (640, 1536),
        (640, 1600), (704, 1408), (704, 1472), (768, 1280), (768, 1344), (832, 1216), (896, 1152), (960, 1088),
        (1024, 1024),
    ],
}  # fmt: skip


@pytest.mark.parametrize("side", sorted(KNOWN))
def test_buckets_are_those_of_sd_scripts(side: int) -> None:
    upright = KNOWN[side]
    expected = sorted({*upright, *((h, w) for w, h in upright)})
    assert [(b.width, b.height) for b in buckets_of(Shape.of(side))] == expected


@pytest.mark.parametrize(("side", "count"), [(512, 17), (768, 25), (1024, 33)])
def test_there_are_as_many_as_sd_scripts_prints(side: int, count: int) -> None:
    assert len(buckets_of(Shape.of(side))) == count


sides = st.sampled_from([256, 512, 640, 768, 1024, 1280])
steps = st.sampled_from([16, 32, 64])


@given(sides, steps)
def test_no_bucket_is_larger_than_the_area_and_every_side_is_a_multiple(side: int, step: int) -> None:
    for bucket in buckets_of(Shape.of(side, step)):
        assert bucket.width * bucket.height <= side * side
        assert bucket.width % step == 0 and bucket.height % step == 0
        assert Bucket(bucket.height, bucket.width) in buckets_of(Shape.of(side, step))


@given(sides)
def test_a_picture_of_a_buckets_size_goes_there(side: int) -> None:
    buckets = buckets_of(Shape.of(side))
    assert all(nearest_bucket(b.width, b.height, buckets) == b for b in buckets)


def test_any_other_picture_goes_where_the_ratios_differ_least() -> None:
    """Not their logarithms: a ratio of 0.6 lies nearer to 0.7 than to 0.49."""
    assert nearest_bucket(600, 1000, (Bucket(49, 100), Bucket(70, 100))) == Bucket(70, 100)


@pytest.mark.parametrize(
    "numbers", [(768, 63, 384, 1536), (768, 64, 800, 1536), (768, 64, 384, 700), (768, 64, 300, 1536), (32, 64, 64, 64)]
)
def test_numbers_that_sd_scripts_would_stop_at_are_refused(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(LikenessError, match="shape"):
        Shape(*numbers)
