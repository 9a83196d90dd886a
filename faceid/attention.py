"""One patched cross-attention: text attention plus attention over the identity's keys and values.

out = attn(q, k_text, v_text) + gain * attn(q, K, V): two softmaxes, one q, the layer's weight inside K and V.
Source: tencent-ailab/IP-Adapter, attention_processor_faceid.py (LoRAIPAttnProcessor2_0).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import PatchError
from .guests import Guests
from .identity_rows import Gains, IdentityRows, Layers
from .roles import rows_of

STEP_KEY = "likeness_faceid"  # in transformer_options: {name of the identity: Step}

Attention = Callable[..., Tensor]  # ComfyUI's optimized_attention
Patch = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]  # an attn2 replace patch


@dataclass(frozen=True, eq=False)
class Step:
    """What one call of the UNet needs of an identity, decided once for all layers."""

    rows: tuple[int, ...]  # per chunk of the batch 0 (cond) or 1 (uncond); () where the face does not act
    layers: Layers  # per cross-attention None (off) or (K, V), each [rows or images, T, h] on the model's device
    gains: Gains | None  # what the output is multiplied with, by the size of the layer


@dataclass(frozen=True, eq=False)
class LayerAttention:
    """The attn2 replace patch of one cross-attention. Only `guests` changes, and each clone of a model has its own."""

    number: int  # of the cross-attention, adapter order
    identities: tuple[IdentityRows, ...]  # one or more; their outputs add up
    attention: Attention  # ComfyUI's optimized_attention, so that attention overrides still apply
    previous: Patch | None  # the patch that held this place before; it computes the text attention
    guests: Guests = field(default_factory=Guests)  # what nodes of other packs have added since

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        """q, k, v [B, tokens, heads * dim_head], B = chunks * images -> [B, tokens, heads * dim_head]"""
        out = self._text(q, k, v, extra_options)
        found = (self._face(identity, q, extra_options) for identity in self.identities)
        faces = [face for face in found if face is not None]
        if faces:
            out = out + reduce(torch.add, faces)  # faces first: any order, same bits
        return self.guests(out, q, k, v, extra_options) if self.guests.entries else out

    def joined(self, identity: IdentityRows) -> LayerAttention:
        """A twin that also attends to another identity."""
        return replace(self, identities=(*self.identities, identity))

    def own(self) -> LayerAttention:
        """A twin whose guests are its own."""
        return replace(self, guests=self.guests.own())

    def add(self, callback: Callable[..., Any], **kwargs: Any) -> None:
        """Nodes of IPAdapter_plus and InstantID call this on whatever patch they find in their place."""
        self.guests.add(callback, kwargs)

    def to(self, *args: Any, **kwargs: Any) -> LayerAttention:
        """ComfyUI moves patches with the model, to a device and to a dtype; the masters need neither.

        Leaving for the CPU drops the copies on the GPU. The patch is not changed; a twin is returned when
        the patch below it was replaced.
        """
        device = _device_of(args, kwargs)
        if device is not None and device.type == "cpu":
            for identity in self.identities:
                identity.release()
        if not hasattr(self.previous, "to"):
            return self
        moved = self.previous.to(*args, **kwargs)
        return self if moved is self.previous else replace(self, previous=moved)

    def _face(self, identity: IdentityRows, q: Tensor, extra_options: dict[str, Any]) -> Tensor | None:
        step = extra_options.get(STEP_KEY, {}).get(identity.name)
        if step is None:  # a caller that went round ComfyUI's apply_model wrappers
            step = identity_step(identity, rows_of(extra_options, q.shape[0]), q, extra_options)
        if not step.rows or step.layers[self.number] is None:
            return None
        keys, values = step.layers[self.number]
        if keys.dtype != q.dtype or keys.device != q.device:
            keys, values = keys.to(q), values.to(q)
        face = face_attention(q, keys, values, extra_options["n_heads"])
        if step.gains is None:
            return face
        gain = step.gains.at(layer_size(extra_options, q.shape[1]), q)
        return (face.unflatten(0, (len(step.rows), -1)) * gain).flatten(0, 1)

    def _text(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        if self.previous is not None:
            return self.previous(q, k, v, extra_options)
        precision = extra_options.get("attn_precision")
        heads = extra_options["n_heads"]
        return self.attention(q, k, v, heads, attn_precision=precision, transformer_options=extra_options)


def identity_step(
    identity: IdentityRows, rows: tuple[int, ...], x: Tensor, options: dict[str, Any], dtype: torch.dtype | None = None
) -> Step:
    """The step of an identity that acts now. x [B, ...] is on the device of the model."""
    images = max(x.shape[0] // len(rows), 1)
    frames = identity.frames(options, images)
    if identity.idle(frames):
        return OUTSIDE
    dtype = dtype or x.dtype
    return Step(rows, identity.arranged(rows, frames, dtype, x.device), identity.gains(rows, frames, options, dtype, x))


OUTSIDE = Step((), (), None)


def layer_size(extra_options: dict[str, Any], queries: int) -> tuple[int, int]:
    """Height and width of the activations of this layer; (queries, 1) where ComfyUI does not say."""
    height, width = extra_options.get("activations_shape", (queries, 1))[-2:]
    return (height, width) if height * width == queries else (queries, 1)


def face_attention(q: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """softmax(q K / sqrt(d)) V, each part of the batch with its own row of K and V.

    q [R * n, S, h], keys and values [R, T, h] -> [R * n, S, h]. The n images of a row share it, so they are
    laid end to end as queries and no key is copied per image.
    """
    rows, width = keys.shape[0], keys.shape[-1]
    if q.shape[-1] != width or q.shape[0] % rows:
        raise PatchError(
            f"A cross-attention has queries of shape {list(q.shape)}; the identity was compiled for width "
            f"{width} and the batch has {rows} chunks. Compile the identity for this model's adapter family."
        )
    queries = q.reshape(rows, -1, heads, width // heads).transpose(1, 2)
    k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (keys, values))
    return F.scaled_dot_product_attention(queries, k, v).transpose(1, 2).reshape(q.shape)


def _device_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device | None:
    for value in (*args, kwargs.get("device")):
        if isinstance(value, torch.device | str):
            return torch.device(value)
    return None
