"""FaceID as published, written from its formulas in float64: what the pack's output is measured against.

Shares no code with the package: every projection is computed inside the loop, from the adapter's own tensors,
nothing is folded, cached or reordered. Sources: tencent-ailab/IP-Adapter, ip_adapter_faceid.py (MLPProjModel,
ProjPlusModel, FacePerceiverResampler), resampler.py, attention_processor_faceid.py. Weight types, embeds
scalings and ways to combine are not in the paper; their formulas are those that IPAdapter_plus documents by
its behaviour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LAYERS = {"sd15": 16, "sdxl": 11}  # spatial transformers, in order of execution
COMPOSITION = {"sd15": (4, 5), "sdxl": (3,)}
_STYLE = {"sd15": (0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 15), "sdxl": (6,)}


# ---- tokens


def linear(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    y = x @ state[name + ".weight"].double().T
    return y + state[name + ".bias"].double() if name + ".bias" in state else y


def norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    unit = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return unit * state[name + ".weight"].double() + state[name + ".bias"].double()


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """[S, h], [T, h], [T, h] -> [S, h] in float64, scale 1 / sqrt(width of a head)"""
    q, k, v = (x.double().reshape(len(x), heads, -1).transpose(0, 1) for x in (q, k, v))
    scores = (q @ k.transpose(1, 2)) / math.sqrt(q.shape[-1])
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def resampler(state: Mapping[str, Tensor], at: str, latents: Tensor, source: Tensor) -> Tensor:
    """[T, D], [S, I] -> [T, out]; four layers, heads of width 64"""
    source = linear(state, at + "proj_in", source)
    for layer in (f"{at}layers.{i}." for i in range(4)):
        normed = norm(state, layer + "0.norm2", latents)
        both = torch.cat([norm(state, layer + "0.norm1", source), normed])
        k, v = linear(state, layer + "0.to_kv", both).chunk(2, dim=-1)
        q = linear(state, layer + "0.to_q", normed)
        latents = latents + linear(state, layer + "0.to_out", attention(q, k, v, q.shape[-1] // 64))
        inner = gelu(linear(state, layer + "1.1", norm(state, layer + "1.0", latents)))
        latents = latents + linear(state, layer + "1.3", inner)
    return norm(state, at + "norm_out", linear(state, at + "proj_out", latents))


class Tokens:
    """What one adapter makes of a face: float64 [T, ctx]."""

    def __init__(self, flat: Mapping[str, Tensor], shortcut: bool):
        self.state = {k.removeprefix("image_proj."): v for k, v in flat.items() if k.startswith("image_proj.")}
        self.shortcut = shortcut  # Plus V2
        self._known: dict[tuple[bytes, ...], tuple[Tensor, Tensor]] = {}

    def of(self, embedding: Tensor, hidden: Tensor | None, weight_v2: float) -> Tensor:
        """embedding [512], hidden [257, 1280] or None"""
        key = (embedding.numpy().tobytes(), b"" if hidden is None else hidden.numpy().tobytes())
        if key not in self._known:
            self._known[key] = self._parts(embedding.double(), None if hidden is None else hidden.double())
        base, out = self._known[key]
        return base + weight_v2 * out if self.shortcut else out

    def _parts(self, embedding: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        if "latents" in self.state:  # Portrait unnorm
            out = resampler(self.state, "", self.state["latents"][0].double(), embedding[None])
            return out, out
        x = linear(self.state, "proj.2", gelu(linear(self.state, "proj.0", embedding)))
        x = norm(self.state, "norm", x.reshape(-1, self.state["norm.weight"].shape[0]))
        return x, x if hidden is None else resampler(self.state, "perceiver_resampler.", x, hidden)


# ---- several faces


def combined(x: Tensor, mode: str, weights: Sequence[float] | None = None) -> Tensor:
    """[N, ...] -> [M, ...] in float64; M = N for "concat" and "per image", else 1"""
    x = x.double()
    w = torch.tensor(weights or [1.0] * len(x), dtype=torch.float64).reshape(-1, *[1] * (x.ndim - 1))
    if mode in ("concat", "per image"):
        return x
    if mode == "add":
        return x.sum(0, keepdim=True)
    if mode == "subtract":
        return x[:1] - x[1:].mean(0, keepdim=True) if len(x) > 1 else x
    if mode == "average":
        return x.mean(0, keepdim=True)
    if mode == "norm average":
        if len(x) == 1:
            return x
        length = x.square().sum(0, keepdim=True).sqrt()
        return torch.where(length == 0, 0.0, x / length).mean(0, keepdim=True)
    mean = (w * x).sum(0, keepdim=True) / w.sum()
    if mode == "identity" and x.ndim == 2:  # of the embeddings alone: as long as the faces are on average
        length = (w * x.norm(dim=-1, keepdim=True)).sum() / w.sum()
        return mean * length / mean.norm()
    return mean


# ---- strengths


def layer_weight(case: Any, family: str, block: str, t: int) -> float | None:
    """The weight of the spatial transformer t, None where the identity is off."""
    c, n = case.controls, LAYERS[family]
    w, kind = c.get("weight", 1.0), c.get("weight_type", "linear")
    composition = dict(zip(COMPOSITION[family], (0.25, 1.0) if family == "sd15" else (1.0,), strict=True))
    if layers := c.get("layer_weights"):
        return dict(layers)[t] * w if t in dict(layers) else None
    if kind in ("ease in", "ease out", "ease in-out", "reverse in-out"):
        away = abs(t - n / 2) / (n / 2)
        share = {"ease in": 1 - t / n, "ease out": t / n, "ease in-out": 1 - away, "reverse in-out": away}[kind]
        return w * (0.05 + 0.95 * share)
    if kind.startswith("weak"):
        return w * 0.2 if kind == "weak " + block else w
    if kind == "strong middle":
        return w if block == "middle" else w * 0.2
    if kind == "style transfer":
        return w if t in _STYLE[family] else None
    if kind == "composition":
        return w * composition[t] if t in composition else None
    if kind == "strong style transfer":
        return None if t in composition else w
    if kind == "composition precise":
        return w * composition.get(t, 1.0 if t in _STYLE[family] else 0.1)
    if kind in ("style and composition", "style transfer precise"):
        other = c.get("weight_composition", 1.0) if kind == "style and composition" else w
        return other * composition[t] if t in composition else w if t in _STYLE[family] else None
    return w


def swapped(case: Any, family: str, t: int) -> bool:
    """In the layers that a "precise" type keeps free, nothing is the face and the face is the negative."""
    kind, on_composition = case.controls.get("weight_type", "linear"), t in COMPOSITION[family]
    return on_composition if kind == "style transfer precise" else kind == "composition precise" and not on_composition


def scaled(k: Tensor, v: Tensor, weight: float, how: str, faces: int) -> tuple[Tensor, Tensor, float]:
    """K, V [T, h] and the factor of the output; the mean of V is over the tokens of each face."""
    if how == "V only":
        return k, v, weight
    if how != "K+V":
        weight = weight * k.shape[-1] / 1280
    if how.startswith("K+mean(V)"):
        mean = v.unflatten(0, (faces, -1)).mean(1, keepdim=True).expand(-1, len(v) // faces, -1).flatten(0, 1)
        return k * weight, (v - mean) + mean * weight, 1.0
    return k * weight, v * weight, 1.0


# ---- the UNet


@dataclass(frozen=True, eq=False)
class Face:
    """Tokens of one identity for each picture; the last picture's repeat."""

    cond: list[Tensor]  # float64 [N * T, ctx] each
    uncond: list[Tensor]
    faces: int  # N, faces of one picture


@dataclass(frozen=True, eq=False)
class Act:
    """One identity on the model."""

    face: Face
    case: Any  # cases.Case
    window: tuple[float, float]  # sigmas between which it acts, first and last


class PublishedPatch:
    """The attn2 replace patch of one cross-attention, one picture at a time."""

    def __init__(self, flat: Mapping[str, Tensor], number: int, acts: Sequence[Act], family: str):
        self.k = flat[f"ip_adapter.{2 * number + 1}.to_k_ip.weight"].double()
        self.v = flat[f"ip_adapter.{2 * number + 1}.to_v_ip.weight"].double()
        self.acts, self.family = acts, family

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        images = len(q) // len(options["cond_or_uncond"])
        rows = []
        for b in range(len(q)):
            row = attention(q[b], k[b], v[b], options["n_heads"])
            uncond = options["cond_or_uncond"][b // images] != 0
            for act in self.acts:
                picture = (act.case.window or range(images))[b % images]
                row = row + self._face(act, q[b], uncond, picture, options)
            rows.append(row)
        return torch.stack(rows).to(q)

    def _face(self, act: Act, q: Tensor, uncond: bool, picture: int, options: dict[str, Any]) -> Tensor | float:
        block, t, case = options["block"][0], options["transformer_index"], act.case
        weight = layer_weight(case, self.family, block, t)
        if weight is None or not act.window[1] <= float(options["sigmas"][0]) <= act.window[0]:
            return 0.0
        cond = act.face.cond[min(picture, len(act.face.cond) - 1)]
        tokens = act.face.uncond[min(picture, len(act.face.uncond) - 1)] if uncond else cond
        if swapped(case, self.family, t):
            tokens = cond if uncond else torch.zeros_like(cond)
        if frames := case.controls.get("frame_weights"):
            weight = weight * frames[min(picture, len(frames) - 1)]
        how = case.controls.get("embeds_scaling", "V only")
        keys, values, factor = scaled(tokens @ self.k.T, tokens @ self.v.T, weight, how, act.face.faces)
        return attention(q, keys, values, options["n_heads"]) * factor * masked(case, picture, options)


def masked(case: Any, picture: int, options: dict[str, Any]) -> Tensor | float:
    """float64 [S, 1], the mask of this picture stretched over the layer's activations"""
    mask = case.mask_tensor()
    if mask is None:
        return 1.0
    mask = mask[min(picture, len(mask) - 1)].double()
    return bilinear(mask, *options["activations_shape"][2:]).reshape(-1, 1)


def bilinear(x: Tensor, height: int, width: int) -> Tensor:
    """[H, W] -> [height, width]: pixel centres, no smoothing, the border repeated"""
    rows, columns = _weights(x.shape[0], height), _weights(x.shape[1], width)
    return rows @ x @ columns.T


def _weights(source: int, target: int) -> Tensor:
    """float64 [target, source], each row two neighbours"""
    made = torch.zeros(target, source, dtype=torch.float64)
    for i in range(target):
        at = max((i + 0.5) * source / target - 0.5, 0.0)
        low = min(int(at), source - 1)
        high = min(low + 1, source - 1)
        made[i, low] += 1 - (at - low)
        made[i, high] += at - low
    return made


def window(model: Any, case: Any) -> tuple[float, float]:
    """Sigmas of the case's start and end, both of which it acts at."""
    limits = case.controls.get("start", 0.0), case.controls.get("end", 1.0)
    if limits == (0.0, 1.0):
        return math.inf, -math.inf
    sampling = model.get_model_object("model_sampling")
    first, last = (float(sampling.percent_to_sigma(p)) for p in limits)
    return first, last


def patched(model: Any, flat: Mapping[str, Tensor], acts: Sequence[Act], family: str) -> Any:
    """A clone with every cross-attention of the UNet replaced, in the order that adapters number them."""
    clone, unet, number = model.clone(), model.model.diffusion_model, 0
    blocks = [("input", i, b) for i, b in enumerate(unet.input_blocks)]
    blocks += [("output", i, b) for i, b in enumerate(unet.output_blocks)]
    blocks += [("middle", 0, unet.middle_block)]
    for name, i, block in blocks:
        for module in block:
            for depth in range(len(getattr(module, "transformer_blocks", ()))):
                clone.set_model_attn2_replace(PublishedPatch(flat, number, acts, family), name, i, depth)
                number += 1
    assert number == sum(key.endswith(".to_k_ip.weight") for key in flat)
    return clone
