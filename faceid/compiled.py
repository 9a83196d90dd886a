"""Compiled identity: the keys and values that the identity tokens give in every cross-attention.

The tokens of a face are constant, so K = to_k_ip(tokens) and V = to_v_ip(tokens) are constant too
(tencent-ailab/IP-Adapter, attention_processor_faceid.py) and no adapter is needed while sampling. Both are
linear in the tokens, and Plus V2's tokens are base + weight_v2 * shortcut, so the two parts are kept apart
and weight_v2 stays free: K(s) = K_base + s * K_shortcut.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .adapter import Adapter
from .controls import Controls
from .errors import CompiledIdentityError, PatchError
from .tokens import IdentityTokens
from .weights import LayerFactor, layer_factors

MAX_TEXT = 512  # characters of any text in the provenance
_MAX_NUMBERS = 1 << 29  # of the keys of all pictures, 2 GiB
_PENALTY = 1280  # width of the widest layers, for which "C penalty" changes nothing


@dataclass(frozen=True)
class Provenance:
    """What a compiled identity was made from; equal provenance means equal numbers."""

    family: str  # "sd15" | "sdxl"
    variant: str  # as Adapter.variant
    plus_v2_from: str  # as Adapter.plus_v2_from
    adapter_name: str  # file name of the adapter, without folders
    adapter_size: int  # bytes
    adapter_sha256: str  # 64 hex digits, or "" when the adapter was no file
    identity: str  # the caller's digest of the references, up to 512 characters
    negative: str  # the caller's digest of a negative identity, "" for nobody
    image_encoder: str  # the caller's name or hash of the image encoder, "" when none was needed
    crop: str  # edge of the face crop for the image encoder, "224" | "256"
    empty_image: str  # what the encoder saw for nobody, "zero" (grey) | "black"
    combine: str  # how several references became one, one of COMBINE
    faces: int  # side by side in one picture, 1 unless combine is "concat"


@dataclass(frozen=True, eq=False)
class KeysValues:
    """Keys and values of all layers at fixed strengths, side by side along the last axis."""

    # float32 [2, F, T, H], row 0 cond, row 1 uncond; picture f, the last one repeats; H = sum(hidden)
    keys: Tensor = field(repr=False)
    values: Tensor = field(repr=False)  # float32 [2, F, T, H]
    hidden: tuple[int, ...]  # width of each cross-attention, adapter order
    active: tuple[bool, ...]  # of each cross-attention; the numbers of others mean nothing
    gains: tuple[float, ...]  # factor of the attention's output for each picture, the last one repeats; () for none


@dataclass(frozen=True, eq=False)
class CompiledIdentity:
    """Keys and values of one identity for one adapter, apart by part, and where they come from."""

    provenance: Provenance
    hidden: tuple[int, ...]  # width of each cross-attention, adapter order, 16 or 70 of them
    # float32 [P, 2, F, T, H]: part (base, shortcut), cond/uncond, picture, token, layers side by side
    keys: Tensor = field(repr=False)
    values: Tensor = field(repr=False)  # float32 [P, 2, F, T, H]
    storage: str = "float32"  # what the numbers have been rounded to: "float32" | "float24" | "float16"

    @property
    def parts(self) -> int:
        """2 when weight_v2 has a shortcut to scale (Plus V2), else 1."""
        return self.keys.shape[0]

    @property
    def frames(self) -> int:
        """F, pictures with a face of their own; 1 where all have the same."""
        return self.keys.shape[2]

    @property
    def tokens(self) -> int:
        """T, identity tokens of all faces of a picture together."""
        return self.keys.shape[3]

    @property
    def faces(self) -> int:
        """Faces side by side in one picture."""
        return self.provenance.faces

    @torch.no_grad()
    def at(self, controls: Controls) -> KeysValues:
        """Keys and values at these strengths; w is the weight of the layer, of the picture, or of both.

        "V only": V w, which is the attention's output times w. "K+V": K w, V w. "w/ C penalty": w C / 1280 in the
        place of w, C the width of the layer. "K+mean(V)": K w, and V - m + m w, m the mean over the tokens of a face.
        Source: IPAdapter_plus, whose names these are. PatchError when a weight per picture needs more than 2 GiB.
        """
        layers = layer_factors(controls, self.provenance.family)
        keys, values = (self._swap(_mix(parts, controls.weight_v2), layers) for parts in (self.keys, self.values))
        active = tuple(layer.factor != 0 for layer in layers)
        weight = self._columns([layer.factor for layer in layers])
        if controls.embeds_scaling == "V only":  # linear in the weight, so that pictures can share the numbers
            values = values * weight.float()
            return KeysValues(keys, values, self.hidden, active, controls.frame_weights)
        if "C penalty" in controls.embeds_scaling:
            weight = weight * self._columns([width / _PENALTY for width in self.hidden])
        pictures = torch.tensor(controls.frame_weights or (1.0,), dtype=torch.float64)
        count = max(self.frames, len(pictures))
        if keys[0, 0].numel() * 2 * count > _MAX_NUMBERS:
            raise PatchError(
                f"{controls.embeds_scaling!r} with {count} weights of pictures needs keys of more than 2 GiB. Use "
                "'V only', or fewer weights."
            )
        keys, values, pictures = _repeated(keys, count, 1), _repeated(values, count, 1), _repeated(pictures, count, 0)
        weight = (pictures[:, None, None] * weight).float()  # [F, 1, H]
        if controls.embeds_scaling.startswith("K+mean(V)"):
            each = values.unflatten(2, (self.faces, -1))
            mean = each.mean(dim=3, keepdim=True)
            values = (each - mean + mean * weight[:, None]).flatten(2, 3)
        else:
            values = values * weight
        return KeysValues(keys * weight, values, self.hidden, active, ())

    def _columns(self, per_layer: list[float]) -> Tensor:
        """float64 [H]"""
        return torch.tensor(per_layer, dtype=torch.float64).repeat_interleave(torch.tensor(self.hidden))

    def _swap(self, x: Tensor, layers: tuple[LayerFactor, ...]) -> Tensor:
        if not any(layer.swapped for layer in layers):
            return x
        swapped = self._columns([layer.swapped for layer in layers]) > 0
        return torch.where(swapped, torch.stack([torch.zeros_like(x[0]), x[0]]), x)


@torch.no_grad()
def compile_identity(
    adapter: Adapter,
    tokens: IdentityTokens,
    *,
    identity: str,  # this and what follows is kept as provenance
    image_encoder: str = "",
    combine: str = "identity",
    negative: str = "",
    crop: str = "224",
    empty_image: str = "zero",
) -> CompiledIdentity:
    """Run to_k_ip and to_v_ip of every cross-attention on the tokens, once, in float32 on the CPU."""
    for text in (adapter.source.name, identity, image_encoder, combine, negative, crop, empty_image):
        if len(text) > MAX_TEXT:
            raise CompiledIdentityError(
                f"The text {text[:40]!r}... has {len(text)} characters; up to {MAX_TEXT} are kept."
            )
    x = torch.stack(tokens.parts)  # [P, 2, F, T, ctx]
    keys = torch.cat([x @ w.float().T for w in adapter.key_weights], dim=-1)
    values = torch.cat([x @ w.float().T for w in adapter.value_weights], dim=-1)
    if not (bool(torch.isfinite(keys).all()) and bool(torch.isfinite(values).all())):
        raise CompiledIdentityError(
            f"{adapter.source.name} makes keys that are too large for float32. Use another file."
        )
    source = adapter.source
    provenance = Provenance(
        family=adapter.family,
        variant=adapter.variant,
        plus_v2_from=adapter.plus_v2_from,
        adapter_name=source.name,
        adapter_size=source.size,
        adapter_sha256=source.sha256,
        identity=identity,
        negative=negative,
        image_encoder=image_encoder,
        crop=crop,
        empty_image=empty_image,
        combine=combine,
        faces=tokens.faces,
    )
    return CompiledIdentity(provenance, adapter.hidden, keys, values)


def _mix(parts: Tensor, weight_v2: float) -> Tensor:
    return parts[0] + weight_v2 * parts[1] if parts.shape[0] == 2 else parts[0]


def _repeated(x: Tensor, count: int, dim: int) -> Tensor:
    """x with `count` entries along this axis, the last one repeated."""
    index = torch.arange(count).clamp(max=x.shape[dim] - 1)
    return x if x.shape[dim] == count else x.index_select(dim, index)
