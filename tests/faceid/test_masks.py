"""Masks: what is accepted, and what a layer or a conditioning area sees of one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from faceid import PatchError, masks


def bilinear(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Literal half-pixel bilinear sampling with clamped edges, float64."""
    made = np.empty(size)
    for y in range(size[0]):
        for x in range(size[1]):
            at = [
                min(max((p + 0.5) * whole / part - 0.5, 0), whole - 1)
                for p, whole, part in zip((y, x), picture.shape, size, strict=True)
            ]
            (top, left), (b, r) = (int(at[0]), int(at[1])), (at[0] % 1, at[1] % 1)
            bottom, right = min(top + 1, picture.shape[0] - 1), min(left + 1, picture.shape[1] - 1)
            upper = picture[top, left] * (1 - r) + picture[top, right] * r
            lower = picture[bottom, left] * (1 - r) + picture[bottom, right] * r
            made[y, x] = upper * (1 - b) + lower * b
    return made


@pytest.mark.parametrize("size", [(64, 64), (8, 8), (5, 9), (96, 40)])
def test_a_mask_is_stretched_bilinearly(size: tuple[int, int]) -> None:
    mask = torch.rand(2, 64, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = masks.resize(mask, size)
    for frame, got in zip(mask, ours, strict=True):
        assert np.abs(bilinear(frame.numpy(), size) - got.numpy()).max() < 1e-12


@pytest.mark.parametrize("shape", [(6, 5), (1, 6, 5), (3, 6, 5), (3, 1, 6, 5)])
def test_every_shape_of_comfyuis_masks_is_accepted(shape: tuple[int, ...]) -> None:
    mask = masks.check_mask(torch.full(shape, 2.0, dtype=torch.float16))
    assert mask.shape == (3 if 3 in shape else 1, 6, 5)
    assert mask.dtype == torch.float32
    assert bool((mask == 1).all())  # clamped


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(64, 64), "is empty"),
        (torch.zeros(3, 8, 8), "is empty"),
        (torch.full((8, 8), math.nan), "NaN or infinite"),
        (torch.zeros(8), r"has shape \[8\]"),
        (torch.zeros(1, 3, 8, 8), r"has shape \[1, 3, 8, 8\]"),
        (torch.zeros(0, 8, 8), r"0 pixels"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_mask_is_refused_with_the_reason(mask: torch.Tensor, message: str) -> None:
    with pytest.raises(PatchError, match=message):
        masks.check_mask(mask)


def test_an_area_sees_its_part_of_the_mask() -> None:
    mask = torch.arange(64 * 32.0).reshape(1, 64, 32)  # over a latent of 8 x 4
    assert torch.equal(masks.crop(mask, (4, 2, 2, 1), (8, 4)), mask[:, 16:48, 8:24])
    assert torch.equal(masks.crop(mask, (8, 4, 0, 0), (8, 4)), mask)
    small = torch.ones(1, 2, 2)
    assert masks.crop(small, (1, 1, 7, 3), (8, 4)).shape == (1, 1, 1)


def test_chunks_with_areas_get_a_row_each() -> None:
    mask = torch.zeros(1, 8, 8)
    mask[:, :, :4] = 1
    rows = masks.rows(mask, (2, 2), [(8, 4, 0, 0), (8, 4, 0, 4), None], (8, 8))
    assert rows.tolist() == [[[1, 1, 1, 1]], [[0, 0, 0, 0]], [[1, 0, 1, 0]]]
    assert masks.rows(mask, (2, 2), [], (8, 8)).shape == (1, 1, 4)


@pytest.mark.parametrize(
    "latent", [(8, 8), (64, 48), (33, 47), (9, 130), (17, 5), (7, 64), (2, 3), (33, 1), (1, 130), (1, 1)]
)
def test_ipadapter_plus_size_always_covers_the_queries(latent: tuple[int, int]) -> None:
    mask = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(1))
    size = latent
    for _ in range(4):
        row = masks.like_ipadapter_plus(mask, latent, size[0] * size[1])
        assert row.shape == (1, 2, size[0] * size[1])
        if all(n % 8 == 0 for n in latent):
            assert torch.equal(row[0], masks.resize(mask, size).flatten(1))
        size = (-(-size[0] // 2), -(-size[1] // 2))
