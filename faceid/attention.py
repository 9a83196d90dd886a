"""One patched cross-attention: text attention plus attention over the identity's keys and values.

out = attn(q, k_text, v_text) + attn(q, K, V): two softmaxes, one q, the layer's weight inside V.
Source: tencent-ailab/IP-Adapter, attention_processor_faceid.py (LoRAIPAttnProcessor2_0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from .compiled import KeysValues
from .errors import PatchError

STEP_KEY = "likeness_faceid"  # in transformer_options: {name of the identity: Step}
_KEPT = 8  # cached combinations of rows, dtype and device

Attention = Callable[..., Tensor]  # ComfyUI's optimized_attention
Patch = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]  # an attn2 replace patch
Layers = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True, eq=False)
class Step:
    """What one call of the UNet needs of an identity, decided once for all layers."""

    rows: tuple[int, ...]  # per chunk of the batch 0 (cond) or 1 (uncond); () outside the window
    layers: Layers  # (K [rows, T, h], V [rows, T, h]) per cross-attention, on the model's device


class IdentityRows:
    """The keys and values of an identity, arranged for a batch; float32 masters stay on the CPU."""

    def __init__(self, name: str, masters: KeysValues) -> None:
        self.name = name  # unique among the identities of one model
        self.masters = masters
        self._cache: dict[tuple[Any, ...], Layers] = {}

    @property
    def tokens(self) -> int:
        return self.masters.keys.shape[1]

    def arranged(self, rows: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Layers:
        """Per cross-attention (K, V), each [len(rows), T, h]; the same tensors for the same arguments."""
        key = (rows, dtype, device)
        layers = self._cache.get(key)
        if layers is None:  # two GPUs may get here at once; both results are the same
            if len(self._cache) >= _KEPT:
                self._cache = {}
            layers = self._cache[key] = self._arrange(rows, dtype, device)
        return layers

    def release(self) -> None:
        """Forget the copies made for devices. What a running step holds stays valid."""
        self._cache = {}

    def _arrange(self, rows: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Layers:
        # Plain tensors even inside inference mode, so that training nodes can use them.
        with torch.inference_mode(False), torch.no_grad():
            index = torch.tensor(rows)
            keys, values = (x[index].to(device, dtype) for x in (self.masters.keys, self.masters.values))
            return KeysValues(keys, values, self.masters.hidden).layers()


@dataclass(frozen=True, eq=False)
class LayerAttention:
    """The attn2 replace patch of one cross-attention; never changed after it was made."""

    number: int  # of the cross-attention, adapter order
    identities: tuple[IdentityRows, ...]  # one or more; their outputs add up
    attention: Attention  # ComfyUI's optimized_attention, so that attention overrides still apply
    previous: Patch | None  # the patch that held this place before; it computes the text attention

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        """q, k, v [B, tokens, heads * dim_head], B = chunks * images -> [B, tokens, heads * dim_head]"""
        text = self._text(q, k, v, extra_options)
        found = (self._face(identity, q, extra_options) for identity in self.identities)
        faces = [face for face in found if face is not None]
        return text + reduce(torch.add, faces) if faces else text  # faces first: any order, same bits

    def joined(self, identity: IdentityRows) -> LayerAttention:
        """A twin that also attends to another identity."""
        return replace(self, identities=(*self.identities, identity))

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

    def add(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Nodes of IPAdapter_plus and InstantID call this on whatever patch they find in their place."""
        raise PatchError(
            "An IPAdapter or InstantID node comes after Apply Character on this model and cannot extend its "
            "patch. Place Apply Character after that node: connect the node's MODEL output to it."
        )

    def _face(self, identity: IdentityRows, q: Tensor, extra_options: dict[str, Any]) -> Tensor | None:
        step = extra_options.get(STEP_KEY, {}).get(identity.name)
        if step is None:  # a caller that went round ComfyUI's apply_model wrappers
            step = Step(rows_of(extra_options.get("cond_or_uncond")), ())
        if not step.rows:
            return None
        layers = step.layers
        if not layers or layers[self.number][0].dtype != q.dtype or layers[self.number][0].device != q.device:
            layers = identity.arranged(step.rows, q.dtype, q.device)
        return face_attention(q, *layers[self.number], extra_options["n_heads"])

    def _text(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        if self.previous is not None:
            return self.previous(q, k, v, extra_options)
        precision = extra_options.get("attn_precision")
        heads = extra_options["n_heads"]
        return self.attention(q, k, v, heads, attn_precision=precision, transformer_options=extra_options)


def rows_of(cond_or_uncond: Sequence[int] | None) -> tuple[int, ...]:
    """Row of the identity for each chunk of the batch: cond (0) is 0, everything else is 1.

    A guider's third cond (index 2) counts as uncond. Without the list the whole batch counts as cond.
    """
    return tuple(0 if c == 0 else 1 for c in (cond_or_uncond or [0]))


def face_attention(q: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """softmax(q K / sqrt(d)) V, each chunk of the batch with its own row of K and V.

    q [R * n, S, h], keys and values [R, T, h] -> [R * n, S, h]. The n images of a chunk share its row, so
    they are laid end to end as queries and no key is copied per image.
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
