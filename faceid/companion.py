"""The companion LoRA: the LoRA that a FaceID adapter was trained with.

Published beside the adapters as `ip-adapter-faceid[-plus|-plusv2]_{sd15,sdxl}_lora.safetensors`, with the
numbers that the adapter itself carries (tencent-ailab/IP-Adapter, issue 326), so a missing file can be made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from .adapter import Adapter
from .adapter_checks import LORA_PARTS
from .errors import AdapterFormatError
from .layout import cross_attentions

_MARK = {"faceid": "", "faceid_plus": "plus", "faceid_plus_v2": "plusv2"}  # in the published file names


def companion_lora(adapter: Adapter) -> dict[str, Tensor]:
    """State dict of the adapter's LoRA with kohya's suffixes on diffusers' names; no alpha, so scale 1."""
    if not adapter.has_lora:
        raise AdapterFormatError(
            f"{adapter.source.name} carries no LoRA. Put its published companion LoRA into models/loras; "
            "FaceID Portrait has none and needs none."
        )
    made = {}
    for place in cross_attentions(adapter.family):
        for attn, number in (("attn1", place.adapter_key - 1), ("attn2", place.adapter_key)):
            for part in LORA_PARTS:
                tail = "to_out_0" if part == "to_out" else part
                name = "lora_unet_" + f"{place.diffusers_name}.{attn}.{tail}".replace(".", "_")
                for side in ("down", "up"):
                    weight = adapter.lora[f"{number}.{part}_lora.{side}.weight"]
                    made[f"{name}.lora_{side}.weight"] = weight.contiguous()
    if not all(bool(torch.isfinite(weight).all()) for weight in made.values()):
        raise AdapterFormatError(
            f"The LoRA inside {adapter.source.name} holds NaN or infinite numbers. Get the file again."
        )
    return made


def companion_name(variant: str, family: str, names: Iterable[str]) -> str | None:
    """The companion LoRA among file names (folders are ignored), or None: the shortest, then the first.

    Portrait variants have no companion.
    """
    if variant not in _MARK:
        return None
    gap = r"[-_. ]?"
    kind = gap + r"plus[-_. ]?v2" if _MARK[variant] == "plusv2" else gap + _MARK[variant] if _MARK[variant] else ""
    rule = re.compile(rf"faceid{kind}{gap}{family}{gap}lora\.safetensors$", re.IGNORECASE)
    found = [name for name in names if rule.search(re.split(r"[\\/]", name)[-1])]
    return min(found, key=lambda name: (len(name), name), default=None)
