"""Drawing a crop of a picture anew with ComfyUI's own encoder, sampler and decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.sample
import comfy.utils
import numpy as np
import torch
import torch.nn.functional as F

from ..likeness.detail import Drawing, Mask, Pixels
from . import host
from .close_up import CloseUp

Callback = Callable[[int, Any, Any, int], None]


@dataclass(frozen=True, repr=False)
class Painter:
    """What one face after another is drawn with. All faces get the same noise, so none depends on the others."""

    model: Any
    vae: Any
    positive: Any
    negative: Any
    seed: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    denoise: float
    notes: dict[str, None] = field(default_factory=dict)  # what was done to the conditioning, once each

    @property
    def multiple(self) -> int:
        """px; sides that the VAE takes are multiples of it."""
        folds = getattr(self.vae, "spacial_compression_encode", lambda: 8)()
        return max(8, int(folds)) if isinstance(folds, int | float) else 8

    def draw(self, crop: Pixels, mask: Mask, drawing: Drawing, close_up: CloseUp, shown: Callback) -> Pixels:
        """`crop` float32 [h, w, 3], drawn anew where `mask` [h, w] is above 0. Same shape, in 0..1, or NaN."""
        large = _resized(crop, drawing.height, drawing.width)
        latent = self.vae.encode(large.clamp(0.0, 1.0))
        host.stop_if_interrupted()
        model = close_up.model(self.model)
        latent = comfy.sample.fix_empty_latent_channels(model, latent)
        drawn = comfy.sample.sample(
            model,
            comfy.sample.prepare_noise(latent, self.seed),
            self.steps,
            self.cfg,
            self.sampler,
            self.scheduler,
            close_up.conditioning(self.positive),
            close_up.conditioning(self.negative),
            latent,
            denoise=self.denoise,
            noise_mask=_noise_mask(mask, latent),
            callback=shown,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=self.seed,
        )
        self.notes.update(close_up.notes)
        host.stop_if_interrupted()
        return self._decoded(drawn, crop.shape[0], crop.shape[1])

    def _decoded(self, latent: Any, height: int, width: int) -> Pixels:
        pixels = self.vae.decode(latent)
        pixels = pixels.reshape(-1, *pixels.shape[-3:])[:1]  # a video VAE gives frames
        small = _resized(pixels[0, :, :, :3].detach().float().cpu().numpy(), height, width)[0]
        return np.asarray(small.clamp(0.0, 1.0).numpy(), dtype=np.float32)


def _resized(pixels: Pixels, height: int, width: int) -> torch.Tensor:
    """[h, w, C] -> float32 [1, height, width, C]; bicubic, without aliases where it shrinks."""
    batch = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)).movedim(-1, 0)[None]
    if batch.shape[-2:] != (height, width):
        batch = F.interpolate(batch, size=(height, width), mode="bicubic", antialias=True)
    return batch.movedim(1, -1)


def _noise_mask(mask: Mask, latent: torch.Tensor) -> torch.Tensor:
    """[1, 1, h, w] at the latent's size, 1 wherever a part of the mask lies: what is blended in is drawn whole."""
    height, width = latent.shape[-2:]
    touched = torch.from_numpy(np.ascontiguousarray(mask > 0, dtype=np.float32))[None, None]
    if mask.shape[0] < height or mask.shape[1] < width:
        touched = F.interpolate(touched, size=(max(mask.shape[0], height), max(mask.shape[1], width)), mode="nearest")
    return F.adaptive_max_pool2d(touched, (height, width))


def shows(bar: Any, done: int, model: Any) -> Callback:
    """A callback for the sampler that goes on counting from `done` and shows ComfyUI's preview."""
    import latent_preview  # ComfyUI's; not at start-up, since it loads its decoders

    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)

    def step(number: int, x0: Any, x: Any, total: int) -> None:
        preview = previewer.decode_latent_to_preview_image("JPEG", x0) if previewer else None
        bar.update_absolute(done + number + 1, None, preview)

    return step
