"""The published FaceID formulas in plain numpy, float64; shares no code with the package.

Written from the text of the formulas (tencent-ailab/IP-Adapter: MLPProjModel, FacePerceiverResampler,
ProjPlusModel, Resampler, LoRAIPAttnProcessor; what IPAdapter_plus does for combine_embeds, weight types and
embeds_scaling). Slow and literal on purpose: one head, one row, one face, one layer at a time.
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

    def resampler(self, latents: Array, image: Array, at: str = "image_proj.perceiver_resampler.") -> Array:
        """[T, D], [S, I] -> [T, out]"""
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
        """Portrait unnorm by its latents, FaceID without an image, Plus with one, Plus V2 with one and weight_v2."""
        if "image_proj.latents" in self.flat:
            return self.resampler(self.get("image_proj.latents")[0], embedding[None], "image_proj.")
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


def combined(faces: Array, mode: str, weights: list[float] | None = None) -> Array:
    """[N, ...] -> [N or 1, ...]; mode "identity" is for embeddings, images get "weighted" in its place."""
    n = len(faces)
    if mode in ("concat", "per image") or n == 1:
        return faces
    made = np.zeros_like(faces[0])
    if mode in ("identity", "weighted"):
        w = np.asarray(weights if weights is not None else [1.0] * n, dtype=np.float64)
        for i in range(n):
            made += w[i] * faces[i] / w.sum()
        if mode == "identity":
            length = sum(w[i] * np.linalg.norm(faces[i]) for i in range(n)) / w.sum()
            made *= length / np.linalg.norm(made)
    elif mode == "average":
        made = sum(faces) / n
    elif mode == "add":
        made = sum(faces)
    elif mode == "subtract":
        made = faces[0] - sum(faces[1:]) / (n - 1)
    elif mode == "norm average":
        length = np.sqrt(sum(face**2 for face in faces))
        for face in faces:
            made += np.divide(face, length, out=np.zeros_like(face), where=length != 0) / n
    return np.asarray(made)[None]


def blocks(family: str) -> list[str]:
    """Where each spatial transformer is, in the order of execution."""
    down, up = (6, 9) if family == "sd15" else (4, 6)
    return ["input"] * down + ["middle"] + ["output"] * up


def layer_weights(family: str, kind: str, w: float, composition: float = 1.0) -> list[tuple[float, bool]]:
    """(weight, swapped) of each spatial transformer in the order of execution, written out."""
    where = blocks(family)
    length, sd15 = len(where), family == "sd15"
    half = length / 2

    def table(**parts: float) -> list[float]:
        layout = "sssscCooosssssss" if sd15 else "oooCoosoooo"
        return [parts[letter] for letter in layout]

    weak = {"weak input": "input", "weak middle": "middle", "weak output": "output"}
    if kind == "linear":
        found = [w] * length
    elif kind == "ease in":
        found = [w * (0.05 + 0.95 * (1 - t / length)) for t in range(length)]
    elif kind == "ease out":
        found = [w * (0.05 + 0.95 * (t / length)) for t in range(length)]
    elif kind == "ease in-out":
        found = [w * (0.05 + 0.95 * (1 - abs(t - half) / half)) for t in range(length)]
    elif kind == "reverse in-out":
        found = [w * (0.05 + 0.95 * (abs(t - half) / half)) for t in range(length)]
    elif kind in weak:
        found = [w / 5 if block == weak[kind] else w for block in where]
    elif kind == "strong middle":
        found = [w if block == "middle" else w / 5 for block in where]
    elif kind == "style transfer":
        found = table(s=w, c=0, C=0, o=0)
    elif kind == "composition":
        found = table(s=0, c=w / 4, C=w, o=0)
    elif kind == "strong style transfer":
        found = table(s=w, c=0, C=0, o=w)
    elif kind == "style and composition":
        found = table(s=w, c=composition / 4, C=composition, o=0)
    elif kind == "style transfer precise":
        found = table(s=w, c=w / 4, C=w, o=0)
    elif kind == "composition precise":
        found = table(s=w, c=w / 4, C=w, o=w / 10)
    else:
        raise ValueError(kind)
    drawing = {4, 5} if sd15 else {3}
    swapped = {"style transfer precise": drawing, "composition precise": set(range(length)) - drawing}.get(kind, set())
    return [(weight, t in swapped) for t, weight in enumerate(found)]


def face_output(q: Array, k: Array, v: Array, weight: float, scaling: str, faces: int, heads: int) -> Array:
    """What the face adds to one row: q [S, h], K and V [T, h] of that row's tokens, unscaled -> [S, h]"""
    if weight == 0:
        return np.zeros_like(q)
    if scaling == "V only":
        return attention(q, k, v, heads) * weight
    if scaling != "K+V":
        weight = weight * q.shape[1] / 1280
    if scaling != "K+mean(V) w/ C penalty":
        return attention(q, k * weight, v * weight, heads)
    parts = []
    for face in np.split(v, faces):
        mean = face.mean(0)
        parts.append(face - mean + mean * weight)
    return attention(q, k * weight, np.concatenate(parts), heads)


def relative(a, b) -> float:
    """||a - b|| / ||b||"""
    a, b = array(a), array(b)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
