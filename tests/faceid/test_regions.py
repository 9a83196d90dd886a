"""Boxes as masks, and how regions share a picture."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faceid.errors import PatchError
from faceid.regions import BOX_SIZE, Box, box_mask, merged, overlaps, share_out

SHARES = st.integers(0, 99).map(lambda n: n / 100)
LENGTHS = st.integers(1, 100).map(lambda n: n / 100)
FEATHERS = st.sampled_from([0.0, 0.01, 0.1, 0.5])
BOXES = st.builds(Box, SHARES, SHARES, LENGTHS, LENGTHS, FEATHERS)


@given(BOXES)
def test_a_box_is_a_mask_that_is_never_empty(box: Box) -> None:
    mask = box_mask(box)
    assert mask.shape == (BOX_SIZE, BOX_SIZE) and mask.dtype == torch.float32
    assert float(mask.min()) >= 0 and 0 < float(mask.max()) <= 1


@given(st.lists(SHARES, min_size=4, max_size=4, unique=True), FEATHERS)
def test_boxes_side_by_side_share_no_pixel_and_feathered_ones_add_up(edges: list[float], feather: float) -> None:
    first, last, *_ = sorted(edges)
    left = Box(0, 0, first or 0.01, 1, feather)
    right = Box(first or 0.01, 0, 1, 1, feather)
    both = box_mask(left) + box_mask(right)
    if feather == 0:
        assert float(torch.minimum(box_mask(left), box_mask(right)).max()) == 0
    torch.testing.assert_close(both[:, BOX_SIZE - 1].max(), torch.tensor(1.0))
    if feather <= min(first or 0.01, 1 - (first or 0.01)):
        torch.testing.assert_close(both, torch.ones_like(both))
    apart = Box(last, 0, 1, 1), Box(0, 0, max(first, 0.01), 1)
    if first < last:
        assert float(torch.minimum(*map(box_mask, apart)).max()) == 0


def test_a_box_covers_its_share_of_the_picture() -> None:
    assert float(box_mask(Box(0.25, 0.5, 0.5, 0.25)).mean()) == 0.125
    mask = box_mask(Box(0.25, 0.0, 0.5, 1.0, 0.1))
    row = mask[BOX_SIZE // 2]
    assert row[BOX_SIZE // 2] == 1 and row[0] == 0
    assert float(row[BOX_SIZE // 4]) == pytest.approx(0.5, abs=0.02), "the edge is in the middle of the fade"
    assert bool((mask[0] == row).all()), "no fade at the edge of the picture"


def test_a_tenth_and_two_tenths_end_where_three_tenths_begin() -> None:
    first, second = box_mask(Box(0.1, 0, 0.2, 1)), box_mask(Box(0.3, 0, 0.2, 1))
    assert float(torch.minimum(first, second).max()) == 0
    assert float((first + second).mean()) == pytest.approx(0.4, abs=2 / BOX_SIZE)


@pytest.mark.parametrize(
    "box", [(1.0, 0, 0.5, 1), (0, 0, 0, 1), (0, -0.1, 1, 1), (0, 0, 1, float("nan")), (0, 0, 1, 1, 0.6)]
)
def test_a_box_outside_of_the_picture_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(PatchError, match="box"):
        Box(*box)


@given(st.lists(st.none() | BOXES.map(lambda b: box_mask(b, 32)[None]), max_size=3), st.sampled_from([0, 0.3, 1.0]))
def test_whole_and_regions_add_up_to_one_everywhere(masks: list[torch.Tensor | None], share: float) -> None:
    whole, regions = share_out(masks, share)
    assert len(regions) == len(masks)
    torch.testing.assert_close(sum(regions, whole), torch.ones_like(whole))
    assert all(float(x.min()) >= 0 for x in (whole, *regions))


def test_regions_get_their_share_where_they_lie_and_divide_what_they_share() -> None:
    left, both = box_mask(Box(0, 0, 0.5, 1), 8)[None], None
    whole, (first, second) = share_out([left, both], 0.6)
    torch.testing.assert_close(whole, torch.full((1, 8, 8), 0.4))
    assert float(first[0, 0, 0]) == pytest.approx(0.3) and float(second[0, 0, 0]) == pytest.approx(0.3)
    assert float(first[0, 0, 7]) == 0 and float(second[0, 0, 7]) == pytest.approx(0.6)


def test_masks_of_other_sizes_and_of_several_frames_meet() -> None:
    moving = torch.stack([torch.ones(4, 6), torch.zeros(4, 6)])
    whole, (first, second) = share_out([moving, torch.ones(1, 8, 2)], 1.0)
    assert whole.shape == first.shape == (2, 8, 6)
    assert float(first[0].min()) == 0.5 and float(first[1].max()) == 0 and float(second[1].min()) == 1


def test_equal_keys_share_one_weight_and_one_alone_has_the_whole_picture() -> None:
    half = torch.full((1, 2, 2), 0.5)
    assert merged([("a", half), ("a", half)]) == [("a", None)]
    assert merged([("a", half * 0), ("b", half * 2)]) == [("b", None)]
    (a, weight), (b, _) = merged([("a", half), ("b", half / 2), ("a", half / 2)])
    assert (a, b) == ("a", "b") and weight is not None and float(weight.max()) == 0.75


def test_overlaps_say_what_each_covers_and_shares() -> None:
    boxes = [Box(0, 0, 0.5, 1), Box(0.25, 0, 0.5, 1), Box(0.75, 0, 0.25, 1)]
    found = overlaps([box_mask(b)[None] for b in boxes])
    assert found == [(0.5, 0.25), (0.5, 0.25), (0.25, 0.0)]
    assert overlaps([None]) == [(1.0, 0.0)]
    assert overlaps([]) == []


def test_boxes_of_a_grid_are_pairwise_disjoint() -> None:
    grid = [Box(x / 3, y / 3, 1 / 3, 1 / 3) for x, y in itertools.product(range(3), repeat=2)]
    masks = [box_mask(b) for b in grid]
    torch.testing.assert_close(sum(masks), torch.ones(BOX_SIZE, BOX_SIZE))
