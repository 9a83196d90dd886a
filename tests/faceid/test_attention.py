"""One patched layer: rows, dtypes, previous patches, and what ComfyUI and other packs do to a patch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import faceid
from faceid.attention import OUTSIDE, STEP_KEY, LayerAttention, Step, face_attention
from faceid.identity_rows import IdentityRows

HIDDEN = (8, 16)
HEADS = 2


def text_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, **kwargs: Any) -> Tensor:
    assert kwargs["attn_precision"] == torch.float32
    assert kwargs["transformer_options"]["n_heads"] == heads == HEADS
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def identity(seed: int = 0, name: str = "0") -> IdentityRows:
    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, 2, 1, 4, sum(HIDDEN), generator=generator)
    return IdentityRows(name, faceid.KeysValues(keys, values, HIDDEN, (True, True), ()))


def layer(number: int = 1, previous: Any = None, name: str = "0", seed: int = 0) -> LayerAttention:
    return LayerAttention(number, (identity(seed, name),), text_attention, previous)


def inputs(batch: int, width: int = 16, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(batch, n, width, generator=generator).to(dtype) for n in (6, 7, 7)]


def options(cond_or_uncond: list[int] | None, **more: Any) -> dict[str, Any]:
    made = {"n_heads": HEADS, "attn_precision": torch.float32, **more}
    return made if cond_or_uncond is None else {**made, "cond_or_uncond": cond_or_uncond}


def face_by_hand(patch: LayerAttention, q: Tensor, row: int) -> Tensor:
    masters = patch.identities[0].masters
    cut = slice(sum(HIDDEN[: patch.number]), sum(HIDDEN[: patch.number + 1]))
    keys, values = masters.keys[row, 0, :, cut], masters.values[row, 0, :, cut]
    heads = [x.unflatten(-1, (HEADS, -1)).movedim(1, 0) for x in (q, keys, values)]
    weights = torch.softmax(heads[0] @ heads[1].mT / heads[0].shape[-1] ** 0.5, dim=-1)
    return (weights @ heads[2]).movedim(0, 1).flatten(1)


@pytest.mark.parametrize(
    ("cond_or_uncond", "rows"),
    [
        ([1, 0], [1, 0]),
        ([0, 1], [0, 1]),
        ([0], [0]),
        ([1], [1]),
        ([2], [1]),
        ([1, 0, 0], [1, 0, 0]),
        ([2, 1, 0], [1, 1, 0]),
        (None, [0]),
    ],
)
@pytest.mark.parametrize("images", [1, 3])
def test_each_chunk_of_the_batch_gets_the_row_of_its_cond(
    cond_or_uncond: list[int] | None, rows: list[int], images: int
) -> None:
    patch = layer()
    q, k, v = inputs(len(rows) * images)
    opts = options(cond_or_uncond)
    out = patch(q, k, v, opts)
    text = text_attention(q, k, v, HEADS, attn_precision=torch.float32, transformer_options=opts)
    for i in range(len(q)):
        assert torch.allclose(out[i], text[i] + face_by_hand(patch, q[i], rows[i // images]), atol=1e-5)


def test_the_step_decides_when_there_is_one() -> None:
    patch = layer()
    q, k, v = inputs(2)
    text = text_attention(q, k, v, HEADS, attn_precision=torch.float32, transformer_options=options(None))
    off = options([1, 0], **{STEP_KEY: {"0": OUTSIDE}})
    assert torch.equal(patch(q, k, v, off), text)
    rows = patch.identities[0].arranged((0, 1), (), q.dtype, q.device)
    swapped = options([1, 0], **{STEP_KEY: {"0": Step((0, 1), rows, None)}})
    assert torch.equal(patch(q, k, v, swapped), patch(q, k, v, options([0, 1])))
    other = options([1, 0], **{STEP_KEY: {"1": OUTSIDE}})
    assert torch.equal(patch(q, k, v, other), patch(q, k, v, options([1, 0])))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_queries_of_another_dtype_work(dtype: torch.dtype) -> None:
    patch = layer()
    q, k, v = inputs(2, dtype=dtype)
    step = Step((1, 0), patch.identities[0].arranged((1, 0), (), torch.float32, q.device), None)
    out = patch(q, k, v, options([1, 0], **{STEP_KEY: {"0": step}}))
    exact = patch(*inputs(2), options([1, 0]))
    assert out.dtype == dtype
    assert (out.float() - exact).norm() / exact.norm() < 0.01


def test_keys_are_arranged_once_per_rows_and_dtype() -> None:
    rows = identity()
    cpu = torch.device("cpu")
    first = rows.arranged((1, 0), (), torch.float16, cpu)
    assert rows.arranged((1, 0), (), torch.float16, cpu) is first
    assert rows.arranged((0, 1), (), torch.float16, cpu) is not first
    for count in range(1, 40):
        rows.arranged((0,) * count, (), torch.float16, cpu)
    assert len(rows._layers) <= 12
    assert torch.equal(rows.arranged((1, 0), (), torch.float16, cpu)[1][0], first[1][0])


def test_an_identity_prepared_in_inference_mode_can_be_trained_through() -> None:
    with torch.inference_mode():
        patch = layer()
    q, k, v = (x.requires_grad_() for x in inputs(2))
    patch(q, k, v, options([1, 0])).sum().backward()
    assert q.grad.abs().sum() > 0


def test_a_previous_patch_computes_the_text_attention() -> None:
    first = layer(seed=1, name="0")
    second = layer(seed=2, name="1", previous=first)
    q, k, v = inputs(2)
    opts = options([1, 0])
    text = text_attention(q, k, v, HEADS, attn_precision=torch.float32, transformer_options=opts)
    faces = [patch(q, k, v, opts) - text for patch in (first, layer(seed=2))]
    assert torch.allclose(second(q, k, v, opts), text + faces[0] + faces[1], atol=1e-5)


def test_two_identities_give_the_same_bits_in_either_order() -> None:
    a, b = identity(1, "0"), identity(2, "1")
    q, k, v = inputs(2)
    results = [
        LayerAttention(1, (one,), text_attention, None).joined(other)(q, k, v, options([1, 0]))
        for one, other in ((a, b), (b, a))
    ]
    assert torch.equal(*results)


def test_moving_to_a_dtype_or_device_returns_the_same_patch() -> None:
    patch = layer()
    before = patch.identities[0].masters.keys.clone()
    for target in (torch.float16, torch.float8_e4m3fn, torch.device("cpu"), "cpu"):
        assert patch.to(target) is patch
    assert patch.to(dtype=torch.bfloat16, device="cpu") is patch
    assert torch.equal(patch.identities[0].masters.keys, before)
    assert patch.identities[0].masters.keys.dtype == torch.float32


def test_a_previous_patch_is_moved_along_without_changing_ours() -> None:
    class Movable:
        def __init__(self, where: str = "start"):
            self.where = where

        def to(self, where: str) -> Movable:
            return Movable(where)

    old = Movable()
    patch = layer(previous=old)
    moved = patch.to("meta")
    assert (moved.previous.where, patch.previous) == ("meta", old)
    assert moved.identities == patch.identities


@pytest.mark.parametrize(("batch", "width", "cond"), [(2, 24, [1, 0]), (3, 16, [1, 0])])
def test_a_layer_that_does_not_fit_is_named(batch: int, width: int, cond: list[int]) -> None:
    with pytest.raises(faceid.PatchError, match=r"compiled for width 16 and the batch has 2 chunks"):
        layer()(*inputs(batch, width), options(cond))


def test_no_key_is_copied_per_image() -> None:
    """Sixteen images of a chunk see one row: the keys given are not expanded first."""
    q = torch.randn(32, 6, 16)
    keys, values = torch.randn(2, 2, 4, 16)
    apart = torch.cat([face_attention(x, keys[r : r + 1], values[r : r + 1], 2)
                       for r, x in enumerate(q.chunk(2))])  # fmt: skip
    assert torch.allclose(face_attention(q, keys, values, 2), apart, atol=1e-6)
