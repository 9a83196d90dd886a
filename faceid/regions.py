"""Regions of a picture: boxes as masks, and how several regions and the whole share one picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from .errors import PatchError
from .masks import resize

BOX_SIZE = 512  # px, square; masks are stretched over the picture, whatever its shape
Key = TypeVar("Key")


@dataclass(frozen=True)
class Box:
    """A rectangle, in shares of the picture's width and height. PatchError when it lies outside of the picture."""

    left: float  # 0..1, below 1
    top: float
    width: float  # above 0; what reaches over the edge is cut off
    height: float
    feather: float = 0.0  # 0..0.5 of the picture: the edge fades over this length, half of it inside

    def __post_init__(self) -> None:
        for name, first, length in (("left", self.left, self.width), ("top", self.top, self.height)):
            if not (0 <= first < 1 and length > 0):
                raise PatchError(
                    f"The box begins at {name} {first:g} and is {length:g} long; expected a begin of 0 to below 1 and "
                    "a length above 0, as shares of the picture."
                )
        if not 0 <= self.feather <= 0.5:
            raise PatchError(f"The feather of the box is {self.feather:g}; expected 0 to 0.5.")


def box_mask(box: Box, size: int = BOX_SIZE) -> Tensor:
    """float32 [size, size] in 0..1, nowhere empty.

    Boxes that share no point have masks that share no pixel when their feather is 0 and they are a pixel wide. Two
    that touch with equal feather add up to 1 along their common edge. An edge of the picture does not fade.
    """
    across = _span(box.left, box.width, box.feather, size)
    down = _span(box.top, box.height, box.feather, size)
    return torch.minimum(down[:, None], across[None])


def _span(first: float, length: float, feather: float, size: int) -> Tensor:
    """float32 [size]: how much of the box is at the middle of each pixel of one axis."""
    last = min(round(first + length, 9), 1.0)  # .1 + .2 ends where .3 begins
    at = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    if feather > 0:
        rise = torch.ones_like(at) if first <= 0 else 0.5 + (at - first) / feather
        fall = torch.ones_like(at) if last >= 1 else 0.5 + (last - at) / feather
        span = torch.minimum(rise, fall).clamp(0, 1)
    else:
        span = ((at >= first) & (at < last)).double()
    if not bool((span > 0).any()):  # thinner than a pixel
        span[min(int((first + last) / 2 * size), size - 1)] = 1.0
    return span.float()


def share_out(masks: Sequence[Tensor | None], share: float) -> tuple[Tensor, list[Tensor]]:
    """How much the prompt of the whole picture, and that of each region, counts: float32 [F, H, W] each, sum 1.

    masks: [F, H, W] in 0..1, None is everywhere; `share` 0..1 is what regions get where they lie. Where several
    overlap they divide it among themselves by their masks.
    """
    if not 0 <= share <= 1:
        raise PatchError(f"The share of the regions is {share:g}; expected 0 to 1.")
    given = [torch.ones(1, 1, 1) if mask is None else mask for mask in masks]
    frames, height, width = (max((mask.shape[i] for mask in given), default=1) for i in range(3))
    layers = torch.stack([_frames(resize(mask, (height, width)), frames) for mask in given or [torch.zeros(1, 1, 1)]])
    total, union = layers.sum(dim=0), layers.amax(dim=0)
    regions = share * union * layers / torch.where(total == 0, 1.0, total)
    return 1 - share * union, list(regions[: len(given)])


def _frames(mask: Tensor, frames: int) -> Tensor:
    """[F, H, W] with F = frames, the last one repeated."""
    return mask[torch.arange(frames).clamp(max=mask.shape[0] - 1)]


def merged(weights: Iterable[tuple[Key, Tensor]]) -> list[tuple[Key, Tensor | None]]:
    """Weights of equal keys added up, in the order of their first; those of weight 0 are left out.

    A key that is left alone has the whole picture: None.
    """
    sums: dict[Key, Tensor] = {}
    for key, weight in weights:
        sums[key] = sums[key] + weight if key in sums else weight
    kept = [(key, weight) for key, weight in sums.items() if bool((weight > 0).any())]
    return [(key, None) for key, _ in kept] if len(kept) == 1 else list(kept)


def overlaps(masks: Sequence[Tensor | None]) -> list[tuple[float, float]]:
    """For each mask: the share of the picture that it covers, and the share that another one covers as well, 0..1."""
    given = [torch.ones(1, 1, 1) if mask is None else mask for mask in masks]
    size = tuple(max((mask.shape[i] for mask in given), default=1) for i in (1, 2))
    flat = [resize(mask, (size[0], size[1])).amax(dim=0) for mask in given]
    found = []
    for i, mask in enumerate(flat):
        others = [m for j, m in enumerate(flat) if j != i]
        shared = torch.minimum(mask, torch.stack(others).amax(dim=0)).mean() if others else 0.0
        found.append((float(mask.mean()), float(shared)))
    return found
