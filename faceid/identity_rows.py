"""An identity arranged for the batches of one model: rows, pictures, masks, on the device that samples.

The float32 masters stay on the CPU; what a device needs is made once and kept until the model leaves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from . import masks
from .compiled import KeysValues
from .masks import Area, Size
from .roles import areas_of, frames_of

Layers = tuple[tuple[Tensor, Tensor] | None, ...]
_KEPT = 12  # arrangements of rows, pictures, dtype and device
_KEPT_BYTES = 64 << 20  # a video with a face for every picture needs several MB for each
_LEVELS = 4  # the UNets halve their input up to three times


class IdentityRows:
    """The keys, values and mask of an identity on one model."""

    def __init__(
        self, name: str, masters: KeysValues, mask: Tensor | None = None, match_ipadapter_plus: bool = False
    ) -> None:
        self.name = name  # unique among the identities of one model
        self.masters = masters
        self.mask = mask  # float32 [F, H, W] in 0..1, or None: everywhere
        self._estimates = match_ipadapter_plus  # sizes of masks as IPAdapter_plus estimates them
        self._empty = () if mask is None else tuple(not bool(frame.any()) for frame in mask)
        self._layers: dict[tuple[Any, ...], Layers] = {}
        self._gains: dict[tuple[Any, ...], Gains] = {}

    @property
    def tokens(self) -> int:
        return self.masters.keys.shape[2]

    @property
    def shared(self) -> bool:
        """True when every picture of a batch gets the same keys."""
        return self.masters.keys.shape[1] == 1

    def frames(self, options: Mapping[str, Any], images: int) -> tuple[int, ...]:
        """Which picture of the whole is each of the batch; () where all are treated alike."""
        alike = self.shared and len(self.masters.gains) < 2 and (self.mask is None or self.mask.shape[0] == 1)
        return () if alike else frames_of(options, images)

    def idle(self, frames: tuple[int, ...]) -> bool:
        """True when no picture of the batch is touched."""
        if self.mask is not None and all(self._empty[min(f, len(self._empty) - 1)] for f in frames or (0,)):
            return True
        gains = self.masters.gains
        return bool(gains) and not any(gains[min(f, len(gains) - 1)] for f in frames or (0,))

    def arranged(
        self, rows: tuple[int, ...], frames: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> Layers:
        """Per cross-attention None or (K, V), each [len(rows), T, h], or [len(rows) * len(frames), T, h] where
        every picture has keys of its own; the same tensors for the same arguments."""
        key = (rows, () if self.shared else frames, dtype, device)
        layers = self._layers.get(key)
        if layers is None:  # two GPUs may get here at once; both results are the same
            layers = self._arrange(*key)
            room = _KEPT if self.shared else max(_KEPT_BYTES // max(_bytes(layers), 1), 1)
            self._layers = {**dict(list(self._layers.items())[-room + 1 :] if room > 1 else ()), key: layers}
        return layers

    def gains(
        self,
        rows: tuple[int, ...],
        frames: tuple[int, ...],
        options: Mapping[str, Any],
        dtype: torch.dtype,
        x: Tensor,
    ) -> Gains | None:
        """What multiplies the output; None for nothing. x is this call's latent [B, C, H, W], or a layer's queries."""
        if self.mask is None and not self.masters.gains:
            return None
        shape = x.shape if x.ndim == 4 else options["original_shape"]
        size = (int(shape[-2]), int(shape[-1]))
        areas, latent = areas_of(options, size, len(rows))
        key = (frames, size, areas, latent, dtype, x.device)
        made = self._gains.get(key)
        if made is None:  # as in arranged()
            like = (dtype, x.device)
            made = Gains(self._factors(frames), self._masked(frames), areas, latent, self._estimates, like)
            made.prepare(size)
            self._gains = {**dict(list(self._gains.items())[-_KEPT + 1 :]), key: made}
        return made

    def release(self) -> None:
        """Forget the copies made for devices. What a running step holds stays valid."""
        self._layers, self._gains = {}, {}

    def _factors(self, frames: tuple[int, ...]) -> Tensor | None:
        gains = self.masters.gains
        return torch.tensor([gains[min(f, len(gains) - 1)] for f in frames or (0,)]) if gains else None

    def _masked(self, frames: tuple[int, ...]) -> Tensor | None:
        if self.mask is None or self.mask.shape[0] == 1:
            return self.mask
        return self.mask[[min(f, self.mask.shape[0] - 1) for f in frames]]

    def _arrange(
        self, rows: tuple[int, ...], frames: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> Layers:
        # Plain tensors even inside inference mode, so that training nodes can use them.
        with torch.inference_mode(False), torch.no_grad():
            last = self.masters.keys.shape[1] - 1
            row = torch.tensor(rows)[:, None]
            picture = torch.tensor([min(f, last) for f in frames] or [0])[None]
            both = (self.masters.keys, self.masters.values)
            keys, values = (x[row, picture].flatten(0, 1).to(device, dtype) for x in both)
            split = [torch.split(x, list(self.masters.hidden), dim=-1) for x in (keys, values)]
            pairs = zip(*split, self.masters.active, strict=True)
            return tuple((k, v) if active else None for k, v, active in pairs)


class Gains:
    """What the output of the face attention is multiplied with: a mask, a factor for each picture, or both."""

    def __init__(
        self,
        factors: Tensor | None,  # float32 [n]
        mask: Tensor | None,  # float32 [n or 1, H, W]
        areas: tuple[Area | None, ...],  # of each chunk of the batch; () for none
        latent: Size,  # the whole latent, which the mask covers
        estimates: bool,
        like: tuple[torch.dtype, torch.device],
    ) -> None:
        self._factors, self._mask, self._areas, self._latent = factors, mask, areas, latent
        self._estimates, (self._dtype, self._device) = estimates, like
        self._made: dict[Size, Tensor] = {}

    @property
    def structure(self) -> str:
        """Equal where the gains have equal shapes."""
        mask = 0 if self._mask is None else self._mask.shape[0]
        return f"{len(self._areas)}_{mask}_{0 if self._factors is None else len(self._factors)}"

    def at(self, size: Size, q: Tensor) -> Tensor:
        """[chunks or 1, images or 1, S or 1, 1] for a layer of this height and width, like q."""
        gain = self._made.get(size)
        if gain is None:  # a size that no plain UNet has: not kept, so that torch.compile sees no change
            gain = self._make(size)
        return gain.to(q)

    def prepare(self, size: Size) -> None:
        """Make the gains of every layer of a UNet that gets a latent of this size."""
        for _ in range(_LEVELS):
            self._made[size] = self._make(size)
            size = (-(-size[0] // 2), -(-size[1] // 2))

    def _make(self, size: Size) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            gain = torch.ones(1, 1, 1)
            if self._mask is not None and self._estimates:
                gain = masks.like_ipadapter_plus(self._mask, self._latent, size[0] * size[1])
            elif self._mask is not None:
                gain = masks.rows(self._mask, size, self._areas, self._latent)
            if self._factors is not None:
                gain = gain * self._factors[None, :, None]
            return gain.unsqueeze(-1).to(self._device, self._dtype)


def _bytes(layers: Layers) -> int:
    return sum(2 * pair[0].numel() * pair[0].element_size() for pair in layers if pair is not None)
