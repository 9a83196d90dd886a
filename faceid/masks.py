"""Where an identity acts: masks of the picture, brought to the size that each cross-attention works at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import PatchError

MAX_PIXELS = 1 << 28  # of all frames together
Size = tuple[int, int]  # height, width
Area = tuple[int, int, int, int]  # height, width, top, left of a conditioning area, in latent pixels


def check_mask(mask: Tensor) -> Tensor:
    """float32 [F, H, W] in 0..1 on the CPU, from [H, W], [F, H, W] or [F, 1, H, W]. PatchError when nothing is left."""
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3, 4) or (mask.ndim == 4 and mask.shape[1] != 1):
        shape = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise PatchError(f"The attention mask has shape {shape}; expected [height, width] or [frames, height, width].")
    if not 0 < mask.numel() <= MAX_PIXELS:
        raise PatchError(f"The attention mask has shape {list(mask.shape)}: {mask.numel()} pixels, which is no mask.")
    mask = mask.detach().to("cpu", torch.float32).reshape(-1, *mask.shape[-2:])
    if not bool(torch.isfinite(mask).all()):
        raise PatchError("The attention mask holds NaN or infinite numbers. Draw it again.")
    if not bool((mask > 0).any()):
        raise PatchError(
            "The attention mask is empty, so the face would act nowhere. Paint where it belongs, or connect no mask. "
            "(Load Image gives an empty mask for a picture without transparency.)"
        )
    return mask.clamp(0.0, 1.0)


def resize(mask: Tensor, size: Size) -> Tensor:
    """[F, H, W] -> [F, h, w], bilinear and stretched to the frame, as ComfyUI treats its masks."""
    return F.interpolate(mask.unsqueeze(1), size=size, mode="bilinear").squeeze(1)


def crop(mask: Tensor, area: Area, latent: Size) -> Tensor:
    """The part of the mask that lies over a conditioning area of a latent of this size; at least one pixel."""
    cut = []
    for pixels, whole, length, first in zip(mask.shape[1:], latent, area[:2], area[2:], strict=True):
        start = min(round(first * pixels / whole), pixels - 1)
        cut.append(slice(start, max(round((first + length) * pixels / whole), start + 1)))
    return mask[:, cut[0], cut[1]]


def rows(mask: Tensor, size: Size, areas: Sequence[Area | None], latent: Size) -> Tensor:
    """[F, H, W] -> float32 [A, F, h * w]: one row for all chunks of a batch, or one each where they have areas."""
    if not any(areas):
        return resize(mask, size).flatten(1)[None]
    cuts = [mask if area is None else crop(mask, area, latent) for area in areas]
    return torch.stack([resize(cut, size).flatten(1) for cut in cuts])


def like_ipadapter_plus(mask: Tensor, latent: Size, queries: int) -> Tensor:
    """[F, H, W] -> float32 [1, F, queries] at the size that IPAdapter_plus estimates from the number of queries.

    Where the latent is no multiple of 8 the estimate misses; the row is then padded or cut around its middle.
    """
    height = max(int(latent[0] / math.sqrt(latent[0] * latent[1] / queries)), 1)
    height += queries % height != 0
    flat = resize(mask, (height, max(queries // height, 1))).flatten(1)
    missing = queries - flat.shape[1]
    if missing < 0:
        return flat[None, :, -missing // 2 :][..., :queries]
    return F.pad(flat, (missing // 2, missing - missing // 2))[None]
