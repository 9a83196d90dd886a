"""Masks of applied identities for a part of the picture, where that part is drawn by itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .identity_rows import IdentityRows
from .patch import APPLY_MODEL, WRAPPER_KEY, StepWrapper

Shares = tuple[float, float, float, float]  # left, top, right, bottom; 0..1 of the picture


def cut(mask: Tensor, window: Shares) -> Tensor:
    """The part of a mask [..., H, W] that lies over the window; at least one pixel."""
    (height, width), (left, top, right, bottom) = mask.shape[-2:], window
    x, y = min(round(left * width), width - 1), min(round(top * height), height - 1)
    return mask[..., y : max(round(bottom * height), y + 1), x : max(round(right * width), x + 1)]


def masked(model: Any) -> bool:
    """Whether an identity on the model acts in a part of the picture only."""
    return any(isinstance(w, StepWrapper) and w.identity.mask is not None for w in _wrappers(model))


def in_window(model: Any, window: Shares, picture: int = 0) -> Any:
    """A clone of ComfyUI's ModelPatcher whose identities act as they would in that part of the whole picture.

    `picture`: which of a batch it is, for masks that differ from picture to picture. The model itself where no
    identity has a mask.
    """
    if not masked(model):
        return model
    twin = model.clone()
    twin.wrappers[APPLY_MODEL][WRAPPER_KEY] = [_moved(w, window, picture) for w in _wrappers(model)]
    return twin


def _wrappers(model: Any) -> list[Any]:
    found: list[Any] = getattr(model, "wrappers", {}).get(APPLY_MODEL, {}).get(WRAPPER_KEY, [])
    return found


def _moved(wrapper: Any, window: Shares, picture: int) -> Any:
    """The wrapper decides each step, and a layer takes the identity from it: only the wrapper needs the new mask."""
    if not isinstance(wrapper, StepWrapper) or wrapper.identity.mask is None:
        return wrapper
    own = wrapper.identity
    frame = min(picture, own.mask.shape[0] - 1)
    mask = cut(own.mask[frame : frame + 1], window)
    return StepWrapper(IdentityRows(own.name, own.masters, mask, own._estimates), wrapper.start, wrapper.end)
