"""What nodes that select pictures share: parts of batches, and what to give when nothing is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..likeness.errors import LikenessError
from ..likeness.placeholder import placeholder
from ..likeness.scoring import Score, describe
from . import host

BLOCK, PASS, PLACEHOLDER = "block downstream", "pass the best", "placeholder"
_BY_INDEX = ("batch_index", "noise_mask")  # of a LATENT, one entry per picture where they are there at all


def when_empty_input(more: str = "") -> io.Combo.Input:
    return io.Combo.Input(
        "when_empty",
        options=[BLOCK, PASS, PLACEHOLDER],
        default=BLOCK,
        optional=True,
        tooltip="What to give when there is no picture to give. block downstream: nodes after it do not run, and the "
        f"prompt succeeds. pass the best: the best of those that were refused. placeholder: a grey picture.{more}",
    )


def blocked() -> ExecutionBlocker:
    """Nodes that this value reaches do not run; the prompt goes on and succeeds."""
    return ExecutionBlocker(None)


def unconnected(node: str, what: str) -> ExecutionBlocker:
    """The value of an output whose input is not connected: only a node that uses it is told."""
    return ExecutionBlocker(f"{node} has no {what}: connect its {what} input, or leave this output unused.")


def take(batch: torch.Tensor, indices: Sequence[int]) -> torch.Tensor:
    """[B, ...] -> [len(indices), ...]."""
    return batch[list(indices)]


def take_latents(latents: dict[str, Any], indices: Sequence[int]) -> dict[str, Any]:
    """A LATENT with those entries of its batch."""
    count = latent_count(latents)
    part = {**latents, "samples": take(latents["samples"], indices)}
    for key in _BY_INDEX:
        value = latents.get(key)
        if isinstance(value, torch.Tensor) and len(value) == count:
            part[key] = take(value, indices)
        elif isinstance(value, (list, tuple)) and len(value) == count:
            part[key] = [value[i] for i in indices]
    return part


def latent_count(latents: dict[str, Any] | None) -> int | None:
    """Entries of a LATENT's batch; None where there is no LATENT."""
    if latents is None:
        return None
    if getattr(latents["samples"], "is_nested", False):
        raise LikenessError("These latents hold picture and sound together: separate them before they are split.")
    return len(latents["samples"])


def mask_count(masks: torch.Tensor | None) -> int | None:
    return None if masks is None else len(masks)


def grey(images: torch.Tensor, text: str) -> torch.Tensor:
    """IMAGE float32 [1, H, W, 3]: a grey picture of the size of `images` [B, H, W, C] with the text on it."""
    height, width = images.shape[1:3]
    return host.to_image([placeholder(int(width), int(height), text)])


def empty_latents(latents: dict[str, Any]) -> dict[str, Any]:
    """Zeros, one entry, where a LATENT goes with a placeholder."""
    first = take_latents(latents, [0])
    return {**first, "samples": torch.zeros_like(first["samples"])}


def listing(scores: Sequence[Score], indices: Sequence[int], marks: Sequence[str] = ()) -> list[str]:
    """One line for each of those pictures."""
    marks = marks or [""] * len(indices)
    return [f"{i}: {describe(scores[i])}{mark}" for i, mark in zip(indices, marks, strict=True)]
