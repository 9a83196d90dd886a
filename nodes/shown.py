"""What a node gives the editor beside its outputs: rows of scores, and small copies of the pictures they are about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.utils
import torch
from comfy_api.latest import ui

from ..likeness.score_view import MOST, Shown
from . import host

SIDE = 512  # px, of the longer side of a copy


def with_scores(shown: dict[str, Any], rows: Sequence[Shown], pictures: Sequence[Any] = ()) -> dict[str, Any]:
    """`shown` with rows for the score view. `pictures`: one per row, None where there is none."""
    return {**shown, "likeness_scores": list(rows), "likeness_pictures": list(pictures)}


def small_copies(images: Sequence[torch.Tensor] | torch.Tensor, node_id: str | None) -> list[dict[str, str]]:
    """Where ComfyUI serves a copy of each [H, W, C]; in its temporary folder, without metadata. [] without a server."""
    if not node_id or host.prompt_server() is None:
        return []
    found: list[dict[str, str]] = []
    for image in list(images)[:MOST]:
        host.stop_if_interrupted()
        found += ui.PreviewImage(_small(image[..., :3])[None]).as_dict()["images"]
    return found


def _small(image: torch.Tensor) -> torch.Tensor:
    """[H, W, 3], no side longer than `SIDE`."""
    height, width = image.shape[:2]
    scale = min(SIDE / max(height, width, 1), 1.0)
    if scale == 1.0:
        return image
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return comfy.utils.common_upscale(image[None].movedim(-1, 1), *size, "area", "disabled").movedim(1, -1)[0]
