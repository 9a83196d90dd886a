"""What nodes that select pictures share: parts of batches, and what to give when nothing is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..likeness.errors import LikenessError
from ..likeness.picking import numbered
from ..likeness.placeholder import placeholder
from ..likeness.scoring import Score, describe
from . import host

BLOCK, PASS, PLACEHOLDER = "block downstream", "pass the best", "placeholder"


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
    """A LATENT with those entries of its batch, as ComfyUI's LatentFromBatch takes them: each keeps its place in the
    noise (`batch_index`), and a noise mask that is shorter than the batch is repeated."""
    samples, mask = latents["samples"], latents.get("noise_mask")
    places = latents.get("batch_index")
    if places is None or len(places) != len(samples):
        places = range(len(samples))
    part = {**latents, "samples": take(samples, indices), "batch_index": [int(places[i]) for i in indices]}
    if isinstance(mask, torch.Tensor) and _is_per_picture(mask, samples) and len(mask) > 1:
        part["noise_mask"] = take(mask, [i % len(mask) for i in indices])
    return part


def _is_per_picture(mask: torch.Tensor, samples: torch.Tensor) -> bool:
    """Whether a noise mask begins with the batch, as ComfyUI reads it (`comfy.utils.reshape_mask`): one of fewer
    dimensions than the latents of a video holds its frames."""
    return mask.ndim == samples.ndim or (mask.ndim, samples.ndim) == (3, 4)


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
    """Zeros, one entry, where a LATENT goes with a placeholder, which has no place in the noise and no mask."""
    others = {key: value for key, value in latents.items() if key not in ("batch_index", "noise_mask")}
    return {**others, "samples": zeros(latents["samples"])}


def zeros(batch: torch.Tensor) -> torch.Tensor:
    """[B, ...] -> zeros [1, ...]; B may be 0."""
    return batch.new_zeros((1, *batch.shape[1:]))


def listing(scores: Sequence[Score], indices: Sequence[int], marks: Sequence[str] = ()) -> list[str]:
    """One line for each of those pictures."""
    marks = marks or [""] * len(indices)
    return [f"{numbered(i)}: {describe(scores[i])}{mark}" for i, mark in zip(indices, marks, strict=True)]
