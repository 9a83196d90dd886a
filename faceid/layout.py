"""Where the cross-attentions of SD 1.5 and SDXL are, in the order FaceID adapters number them.

An adapter stores the state dict of diffusers' `unet.attn_processors`: down blocks, up blocks, middle
block, self-attention before cross-attention. So the cross-attention with number i has the adapter key
2 * i + 1. ComfyUI names the same layer (block, id, depth).
Source: tencent-ailab/IP-Adapter, ip_adapter_faceid.py (set_ip_adapter); ComfyUI, UNetModel.forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from .errors import AdapterFamilyError

CONTEXT_DIM = {"sd15": 768, "sdxl": 2048}  # width of the text context, and so of the identity tokens

# (block, id, number of transformers in it), in adapter order
_BLOCKS = {
    "sd15": [
        *(("input", i, 1) for i in (1, 2, 4, 5, 7, 8)),
        *(("output", i, 1) for i in range(3, 12)),
        ("middle", 0, 1),
    ],
    "sdxl": [
        *(("input", i, n) for i, n in ((4, 2), (5, 2), (7, 10), (8, 10))),
        *(("output", i, n) for i, n in ((0, 10), (1, 10), (2, 10), (3, 2), (4, 2), (5, 2))),
        ("middle", 0, 10),
    ],
}


@dataclass(frozen=True)
class CrossAttention:
    """One cross-attention of the UNet."""

    number: int  # 0..15 (sd15) or 0..69 (sdxl), adapter order
    block: str  # "input" | "output" | "middle", ComfyUI's names
    id: int  # ComfyUI's number of the block
    depth: int  # transformer inside the block, 0..9
    alone: bool  # the block holds no other transformer, so (block, id) names it too
    transformer: int  # 0..15 (sd15) or 0..10 (sdxl): ComfyUI's transformer_index of its block, order of execution

    @property
    def adapter_key(self) -> int:
        """Number of the attention processor in the adapter's state dict, odd."""
        return 2 * self.number + 1

    @property
    def key(self) -> tuple[str, int, int]:
        """The key ComfyUI looks up first; (block, id) is the second."""
        return (self.block, self.id, self.depth)

    @property
    def diffusers_name(self) -> str:
        """Path of the transformer block in diffusers' UNet, as companion LoRAs spell it."""
        if self.block == "middle":
            return f"mid_block.attentions.0.transformer_blocks.{self.depth}"
        level, attention = divmod(self.id - 1, 3) if self.block == "input" else divmod(self.id, 3)
        side = "down" if self.block == "input" else "up"
        return f"{side}_blocks.{level}.attentions.{attention}.transformer_blocks.{self.depth}"


@cache
def cross_attentions(family: str) -> tuple[CrossAttention, ...]:
    """All cross-attentions of a base family: 16 for "sd15", 70 for "sdxl", in adapter order."""
    blocks = _BLOCKS[family]
    before_middle = sum(block == "input" for block, _, _ in blocks)
    places = []
    for n, (block, i, depths) in enumerate(blocks):
        executed = before_middle if block == "middle" else n + (block == "output")
        places += [(block, i, depth, depths == 1, executed) for depth in range(depths)]
    return tuple(CrossAttention(number, *place) for number, place in enumerate(places))


def family_of_context(context_dim: Any) -> str:
    """The base family whose text context has this width: 768 is SD 1.5, 2048 is SDXL."""
    for family, width in CONTEXT_DIM.items():
        if context_dim == width:
            return family
    raise AdapterFamilyError(
        f"The cross-attention context is {context_dim} wide. FaceID adapters exist for SD 1.5 (768) and "
        "SDXL (2048); use a model and an adapter of one of these two families."
    )
