"""The published FaceID formulas in plain numpy, float64; shares no code with the package.

Written from the text of the formulas (tencent-ailab/IP-Adapter: MLPProjModel, FacePerceiverResampler,
ProjPlusModel, LoRAIPAttnProcessor). Slow and literal on purpose: one head at a time, one row at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

Array = np.ndarray
_erf = np.frompyfunc(math.erf, 1, 1)


def array(x) -> Array:
    return np.asarray(x.double().numpy() if hasattr(x, "double") else x, dtype=np.float64)


def gelu(x: Array) -> Array:
    return 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0)).astype(np.float64))


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q: Array, k: Array, v: Array, heads: int) -> Array:
    """[S, h], [T, h], [T, h] -> [S, h], scale 1 / sqrt(head width)"""
    d = q.shape[1] // heads
    out = np.empty_like(q)
    for i in range(heads):
        cut = slice(i * d, (i + 1) * d)
        out[:, cut] = softmax(q[:, cut] @ k[:, cut].T / math.sqrt(d)) @ v[:, cut]
    return out


class Reference:
    """An adapter's state dict and the maths on it, one face at a time."""

    def __init__(self, flat: Mapping[str, object]):
        self.flat = flat

    def get(self, key: str) -> Array:
        return array(self.flat[key])

    def linear(self, name: str, x: Array) -> Array:
        y = x @ self.get(name + ".weight").T
        return y + self.get(name + ".bias") if name + ".bias" in self.flat else y

    def norm(self, name: str, x: Array) -> Array:
        return layer_norm(x, self.get(name + ".weight"), self.get(name + ".bias"))

    def mlp(self, embedding: Array) -> Array:
        """[512] -> [T, ctx]"""
        x = self.linear("image_proj.proj.2", gelu(self.linear("image_proj.proj.0", embedding)))
        return self.norm("image_proj.norm", x.reshape(-1, self.get("image_proj.norm.weight").shape[0]))

    def resampler(self, latents: Array, image: Array) -> Array:
        """[T, ctx], [257, 1280] -> [T, ctx]"""
        at = "image_proj.perceiver_resampler."
        image = self.linear(at + "proj_in", image)
        for i in range(4):
            layer = f"{at}layers.{i}."
            normed = self.norm(layer + "0.norm2", latents)
            both = np.concatenate([self.norm(layer + "0.norm1", image), normed])
            kv = self.linear(layer + "0.to_kv", both)
            width = kv.shape[1] // 2
            q = self.linear(layer + "0.to_q", normed)
            mixed = attention(q, kv[:, :width], kv[:, width:], q.shape[1] // 64)
            latents = latents + self.linear(layer + "0.to_out", mixed)
            inner = gelu(self.linear(layer + "1.1", self.norm(layer + "1.0", latents)))
            latents = latents + self.linear(layer + "1.3", inner)
        return self.norm(at + "norm_out", self.linear(at + "proj_out", latents))

    def tokens(self, embedding: Array, image: Array | None = None, weight_v2: float | None = None) -> Array:
        """FaceID without an image, FaceID Plus with one, Plus V2 with one and weight_v2."""
        x = self.mlp(embedding)
        if image is None:
            return x
        out = self.resampler(x, image)
        return out if weight_v2 is None else x + weight_v2 * out

    def keys_values(self, number: int, tokens: Array) -> tuple[Array, Array]:
        """K and V [..., T, hidden] of the cross-attention with this adapter number (odd)."""
        return (
            self.linear(f"ip_adapter.{number}.to_k_ip", tokens),
            self.linear(f"ip_adapter.{number}.to_v_ip", tokens),
        )


def relative(a, b) -> float:
    """||a - b|| / ||b||"""
    a, b = array(a), array(b)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
