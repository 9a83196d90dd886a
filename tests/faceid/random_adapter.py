"""FaceID adapters with random numbers in the published layout, the same on every machine.

The numbers come from splitmix64 in numpy, so they do not depend on any library's random generator. Big
tensors are strided views into one pool, so a whole SDXL adapter costs a few megabytes.
"""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np
import torch
from torch import Tensor

CONTEXT = {"sd15": 768, "sdxl": 2048}
NARROW = {  # widths of the cross-attentions of a UNet with 32 channels: down, up, middle
    "sd15": (32, 32, 64, 64, 128, 128) + (128,) * 3 + (64,) * 3 + (32,) * 3 + (128,),
    "sdxl": (64,) * 4 + (128,) * 20 + (128,) * 30 + (64,) * 6 + (128,) * 10,
}
_POOL = 1 << 20


def uniform(seed: int, count: int) -> np.ndarray:
    """float64 [count] in -1..1: splitmix64 of seed, seed + 1, ..."""
    with np.errstate(over="ignore"):
        z = np.arange(count, dtype=np.uint64) + np.uint64(seed)
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0


@cache
def numbers(key: str, shape: tuple[int, ...], std: float = 1.0, mean: float = 0.0) -> Tensor:
    """Random float16 of this shape that depend on the key alone; shared, so never changed in place."""
    seed = zlib.crc32(key.encode())
    count = int(np.prod(shape))
    if count <= _POOL:
        flat = uniform(seed << 20, count) * (std * 3**0.5) + mean
        return torch.from_numpy(flat.astype(np.float16)).reshape(shape)
    pool = _pool(std, mean)
    step = ((_POOL - shape[1] - 4096) // shape[0] - 1) | 1
    return pool.as_strided(shape, (step, 1), seed % 4096)


def _pool(std: float, mean: float) -> Tensor:
    return numbers(f"pool {std} {mean}", (_POOL,), std, mean)


def embedding(seed: int = 0) -> Tensor:
    """float32 [1, 512], L2 norm 1; times 20 it is like a raw one"""
    x = uniform(seed + 1_000_003, 512)
    return torch.from_numpy((x / np.linalg.norm(x)).astype(np.float32))[None]


def hidden_states(seed: int = 0) -> Tensor:
    """float32 [1, 257, 1280]"""
    return torch.from_numpy(uniform(seed + 5_000_011, 257 * 1280).astype(np.float32)).reshape(1, 257, 1280)


def state_dict(
    family: str,
    kind: str = "mlp",
    *,
    tokens: int = 4,
    hidden: tuple[int, ...] | None = None,
    rank: int = 0,
    salt: str = "",
) -> dict[str, Tensor]:
    """A flat adapter. kind "mlp" is FaceID, "plus" is FaceID Plus or Plus V2, "resampler" is Portrait unnorm; rank 0
    is without LoRA."""
    ctx, hidden = CONTEXT[family], hidden or NARROW[family]
    made: dict[str, Tensor] = {}

    def linear(name: str, out: int, source: int, bias: bool = False, std: float | None = None) -> None:
        key = f"{salt}{family}/{kind}/{name}"
        made[name + ".weight"] = numbers(key + ".weight", (out, source), std or source**-0.5)
        if bias:
            made[name + ".bias"] = numbers(key + ".bias", (out,), 0.1)

    def norm(name: str, width: int) -> None:
        made[name + ".weight"] = numbers(f"{salt}{name}.weight", (width,), 0.1, 1.0)
        made[name + ".bias"] = numbers(f"{salt}{name}.bias", (width,), 0.1)

    if kind == "resampler":
        made["image_proj.latents"] = numbers(f"{salt}latents", (1, tokens, 1280))
        _resampler(linear, norm, "image_proj.", 1280, 512, ctx)
    else:
        linear("image_proj.proj.0", 1024, 512, bias=True, std=1.0)
        linear("image_proj.proj.2", ctx * tokens, 1024, bias=True)
        norm("image_proj.norm", ctx)
    if kind == "plus":
        _resampler(linear, norm, "image_proj.perceiver_resampler.", ctx, 1280, ctx)
    for i, width in enumerate(hidden):
        for n, source in ((2 * i, width), (2 * i + 1, ctx)):
            for part in ("to_q", "to_k", "to_v", "to_out") if rank else ():
                down = source if part in ("to_k", "to_v") else width
                linear(f"ip_adapter.{n}.{part}_lora.down", rank, down)
                linear(f"ip_adapter.{n}.{part}_lora.up", width, rank)
        linear(f"ip_adapter.{2 * i + 1}.to_k_ip", width, ctx)
        linear(f"ip_adapter.{2 * i + 1}.to_v_ip", width, ctx)
    return made


def _resampler(linear, norm, at: str, dim: int, source: int, out: int) -> None:
    linear(at + "proj_in", dim, source, bias=True)
    linear(at + "proj_out", out, dim, bias=True)
    norm(at + "norm_out", out)
    for i in range(4):
        layer = f"{at}layers.{i}."
        for name in ("0.norm1", "0.norm2", "1.0"):
            norm(layer + name, dim)
        linear(layer + "0.to_q", dim, dim)
        linear(layer + "0.to_kv", 2 * dim, dim)
        linear(layer + "0.to_out", dim, dim)
        linear(layer + "1.1", 4 * dim, dim)
        linear(layer + "1.3", dim, 4 * dim)


def nested(flat: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The layout of the published .bin files."""
    made: dict[str, dict[str, Tensor]] = {}
    for key, value in flat.items():
        section, _, rest = key.partition(".")
        made.setdefault(section, {})[rest] = value
    return made
