"""A part of a picture drawn by itself: the face acts there as it does in the whole picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy_unet
import pytest
import torch
from comfy_unet import Call
from torch import Tensor
from unet_reference import identity

import faceid
from faceid.window import cut, in_window, masked

RIGHT = (0.5, 0.0, 1.0, 1.0)
LEFT = (0.0, 0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def model(comfy_attention: Callable[..., Any]) -> Any:
    return comfy_unet.small_model("sd15")


@pytest.fixture(scope="module")
def applied(model: Any, comfy_attention: Callable[..., Any]) -> Callable[..., Any]:
    compiled = identity("sd15", "plus")

    def run(*masks: Tensor | None) -> Any:
        made = model
        for mask in masks:
            made = faceid.apply_identity(made, compiled, faceid.Controls(), mask=mask, attention=comfy_attention)
        return made

    return run


def on_the_right(width: int = 64) -> Tensor:
    mask = torch.zeros(64, width)
    mask[:, width // 2 :] = 1.0
    return mask


def test_a_mask_is_cut_to_the_window_and_never_to_nothing() -> None:
    mask = torch.arange(16.0).reshape(1, 4, 4)
    assert cut(mask, (0.5, 0.25, 1.0, 0.75)).tolist() == [[[6, 7], [10, 11]]]
    assert cut(mask, (0.99, 0.99, 1.0, 1.0)).shape == (1, 1, 1)
    assert torch.equal(cut(mask, (0.0, 0.0, 1.0, 1.0)), mask)


def test_a_window_is_drawn_as_with_the_part_of_the_mask_that_lies_over_it(
    model: Any, applied: Callable[..., Any]
) -> None:
    call, whole = Call("sd15"), applied(on_the_right())
    inside, outside = (call.run(in_window(whole, window), [0, 1]) for window in (RIGHT, LEFT))
    assert torch.equal(inside, call.run(applied(torch.ones(8, 8)), [0, 1]))
    assert torch.equal(outside, call.run(model, [0, 1])), "no face where the mask is empty"
    halved = call.run(whole, [0, 1])
    assert not torch.equal(halved, inside) and not torch.equal(halved, outside)


def test_the_model_that_came_in_stays(applied: Callable[..., Any]) -> None:
    call, whole = Call("sd15"), applied(on_the_right())
    before = call.run(whole, [0, 1])
    in_window(whole, LEFT)
    assert torch.equal(call.run(whole, [0, 1]), before)


def test_of_several_faces_each_keeps_its_place(applied: Callable[..., Any]) -> None:
    call = Call("sd15")
    both = applied(on_the_right(), None, on_the_right().flip(1))
    expected = applied(torch.ones(8, 8), None)
    assert torch.equal(call.run(in_window(both, RIGHT), [0, 1]), call.run(expected, [0, 1]))


def test_a_model_whose_face_acts_everywhere_needs_no_clone(model: Any, applied: Callable[..., Any]) -> None:
    for one in (model, applied(None)):
        assert not masked(one) and in_window(one, LEFT) is one
    assert masked(applied(on_the_right()))


def test_masks_of_a_batch_give_the_pictures_own(applied: Callable[..., Any]) -> None:
    call = Call("sd15")
    masks = torch.stack([torch.zeros(64, 64), on_the_right()])
    second, beyond = (call.run(in_window(applied(masks), RIGHT, n), [0, 1]) for n in (1, 7))
    assert torch.equal(second, call.run(applied(torch.ones(8, 8)), [0, 1])) and torch.equal(second, beyond)
    first = call.run(in_window(applied(masks), RIGHT, 0), [0, 1])
    assert not torch.equal(first, second)
