"""Compiled identity: the keys and values that the identity tokens give in every cross-attention.

The tokens of a face are constant, so K = to_k_ip(tokens) and V = to_v_ip(tokens) are constant too
(tencent-ailab/IP-Adapter, attention_processor_faceid.py) and no adapter is needed while sampling. Both are
linear in the tokens, and Plus V2's tokens are base + weight_v2 * shortcut, so the two parts are kept apart
and weight_v2 stays free: K(s) = K_base + s * K_shortcut.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .adapter import Adapter
from .errors import CompiledIdentityError
from .tokens import IdentityTokens

FORMAT = 1
MAX_TEXT = 512  # characters of any text in the provenance


@dataclass(frozen=True)
class Provenance:
    """What a compiled identity was made from; equal provenance means equal numbers."""

    family: str  # "sd15" | "sdxl"
    variant: str  # as Adapter.variant
    adapter_name: str  # file name of the adapter, without folders
    adapter_size: int  # bytes
    adapter_sha256: str  # 64 hex digits, or "" when the adapter was no file
    identity: str  # the caller's digest of the references, up to 512 characters
    image_encoder: str  # the caller's name or hash of the image encoder, "" when none was needed
    combine: str  # how several references became one: "average", ...


@dataclass(frozen=True, eq=False)
class KeysValues:
    """Keys and values of all layers at fixed strengths, side by side along the last axis."""

    keys: Tensor  # float32 [2, T, H], row 0 cond, row 1 uncond, H = sum(hidden)
    values: Tensor  # float32 [2, T, H], the layer's weight folded in
    hidden: tuple[int, ...]  # width of each cross-attention, adapter order

    def layers(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """(K [2, T, h], V [2, T, h]) of each cross-attention in adapter order; views, not copies."""
        split = (torch.split(x, list(self.hidden), dim=-1) for x in (self.keys, self.values))
        return tuple(zip(*split, strict=True))


@dataclass(frozen=True, eq=False)
class CompiledIdentity:
    """Keys and values of one identity for one adapter, apart by part, and where they come from."""

    provenance: Provenance
    hidden: tuple[int, ...]  # width of each cross-attention, adapter order, 16 or 70 of them
    keys: Tensor  # float32 [P, 2, T, H]: part (base, shortcut), cond/uncond, token, layers side by side
    values: Tensor  # float32 [P, 2, T, H]
    storage: str = "float32"  # what the numbers have been rounded to: "float32" | "float16"

    @property
    def tokens(self) -> int:
        """T, identity tokens of all faces together."""
        return self.keys.shape[2]

    @property
    def parts(self) -> int:
        """2 when weight_v2 has a shortcut to scale (Plus V2), else 1."""
        return self.keys.shape[0]

    @torch.no_grad()
    def at(self, weight: float, weight_v2: float = 1.0) -> KeysValues:
        """Keys and values at these strengths: K = K_base + s * K_shortcut, V = weight * (the same of V).

        Scaling V only equals scaling the attention's output, since softmax(q K) (w V) = w softmax(q K) V.
        """
        return KeysValues(_mix(self.keys, weight_v2), _mix(self.values, weight_v2) * weight, self.hidden)

    def to_bytes(self, dtype: torch.dtype = torch.float32) -> bytes:
        """A safetensors file of this identity, the same bytes each time; dtype float32 or float16."""
        from .compiled_file import write

        return write(self, dtype)

    @staticmethod
    def from_bytes(data: bytes) -> CompiledIdentity:
        """The identity in a file of `to_bytes`; anything else raises CompiledIdentityError."""
        from .compiled_file import read

        return read(data)


@torch.no_grad()
def compile_identity(
    adapter: Adapter,
    tokens: IdentityTokens,
    *,
    identity: str,  # digest of the references, kept as provenance
    image_encoder: str = "",
    combine: str = "average",
) -> CompiledIdentity:
    """Run to_k_ip and to_v_ip of every cross-attention on the tokens, once, in float32 on the CPU."""
    for text in (adapter.source.name, identity, image_encoder, combine):
        if len(text) > MAX_TEXT:
            raise CompiledIdentityError(
                f"The text {text[:40]!r}... has {len(text)} characters; up to {MAX_TEXT} are kept."
            )
    x = torch.stack(tokens.parts)  # [P, 2, T, ctx]
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
        adapter_name=source.name,
        adapter_size=source.size,
        adapter_sha256=source.sha256,
        identity=identity,
        image_encoder=image_encoder,
        combine=combine,
    )
    return CompiledIdentity(provenance, adapter.hidden, keys, values)


def _mix(parts: Tensor, weight_v2: float) -> Tensor:
    return parts[0] + weight_v2 * parts[1] if parts.shape[0] == 2 else parts[0]
