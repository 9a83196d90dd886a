"""From a face embedding to identity tokens: the image projections that FaceID adapters carry.

A projection returns its *parts*; `tokens.py` puts them together. Another kind of projection is one more
entry in PROJECTIONS. Everything is computed in float32 on the CPU, whatever the file's dtype is.
Source of the formulas: tencent-ailab/IP-Adapter (Apache-2.0), ip_adapter_faceid.py (MLPProjModel,
ProjPlusModel, FacePerceiverResampler) and resampler.py (Resampler, PerceiverAttention, FeedForward).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import FaceIDError

State = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

EMBEDDING_DIM = 512  # ArcFace
HIDDEN_DIM = 1280  # ViT-H, penultimate layer
HIDDEN_TOKENS = 257
HEAD_DIM = 64
RESAMPLER_LAYERS = 4
RESAMPLER_DIM = 1280  # width of Portrait unnorm's latents
_RESAMPLER = "perceiver_resampler."


@dataclass(frozen=True)
class Projection:
    """One kind of image projection: which tensors it needs and how it is computed."""

    name: str
    needs_image: bool  # also reads the image encoder's hidden states
    raw: bool  # reads the embedding as the recogniser gives it, not normed
    shapes: Callable[[int, int], Shapes]  # (context_dim, tokens) -> every key with its shape
    parts: Callable[[State, Tensor, Tensor | None], tuple[Tensor, ...]]
    # (state, embedding float32 [N, 512], hidden float32 [N, 257, 1280] | None) -> parts float32 [N, T, ctx]


def mlp(state: State, embedding: Tensor) -> Tensor:
    """LN(reshape(W2 gelu(W0 e + b0) + b2)), gelu exact, eps 1e-5 (MLPProjModel).

    embedding float32 [N, 512] -> float32 [N, T, ctx]
    """
    x = F.gelu(_linear(state, "proj.0", embedding))
    x = _linear(state, "proj.2", x)
    width = state["norm.weight"].shape[0]
    return _norm(state, "norm", x.reshape(embedding.shape[0], -1, width))


def perceiver(state: State, prefix: str, latents: Tensor, image: Tensor) -> Tensor:
    """Latents read the features through attention and feed-forward layers (FacePerceiverResampler, Resampler).

    latents float32 [N, T, D], image float32 [N, S, I] -> float32 [N, T, out]
    """
    image = _linear(state, prefix + "proj_in", image)
    for layer in range(RESAMPLER_LAYERS):
        at = f"{prefix}layers.{layer}."
        latents = latents + _perceiver_attention(state, at + "0.", image, latents)
        x = _linear(state, at + "1.1", _norm(state, at + "1.0", latents))
        latents = latents + _linear(state, at + "1.3", F.gelu(x))
    return _norm(state, prefix + "norm_out", _linear(state, prefix + "proj_out", latents))


def _perceiver_attention(state: State, at: str, image: Tensor, latents: Tensor) -> Tensor:
    latents = _norm(state, at + "norm2", latents)
    source = torch.cat([_norm(state, at + "norm1", image), latents], dim=1)  # image first, then latents
    q = _heads(_linear(state, at + "to_q", latents))
    k, v = (_heads(x) for x in _linear(state, at + "to_kv", source).chunk(2, dim=-1))
    out = F.scaled_dot_product_attention(q, k, v)  # scale 1 / sqrt(64)
    return _linear(state, at + "to_out", out.transpose(1, 2).flatten(2))


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2)


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    bias = state.get(name + ".bias")
    return F.linear(x, state[name + ".weight"].float(), None if bias is None else bias.float())


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[name + ".weight"].float(), state[name + ".bias"].float())


def _mlp_shapes(ctx: int, tokens: int) -> Shapes:
    return {
        "proj.0.weight": (2 * EMBEDDING_DIM, EMBEDDING_DIM),
        "proj.0.bias": (2 * EMBEDDING_DIM,),
        "proj.2.weight": (ctx * tokens, 2 * EMBEDDING_DIM),
        "proj.2.bias": (ctx * tokens,),
        "norm.weight": (ctx,),
        "norm.bias": (ctx,),
    }


def perceiver_shapes(prefix: str, dim: int, inner: int, source: int, out: int) -> Shapes:
    """Keys and shapes of a perceiver resampler: dim latents, inner = heads * 64, source features, out."""
    shapes: Shapes = {
        prefix + "proj_in.weight": (dim, source),
        prefix + "proj_in.bias": (dim,),
        prefix + "proj_out.weight": (out, dim),
        prefix + "proj_out.bias": (out,),
        prefix + "norm_out.weight": (out,),
        prefix + "norm_out.bias": (out,),
    }
    for layer in range(RESAMPLER_LAYERS):
        at = f"{prefix}layers.{layer}."
        for norm in ("0.norm1", "0.norm2", "1.0"):
            shapes |= {f"{at}{norm}.weight": (dim,), f"{at}{norm}.bias": (dim,)}
        shapes |= {at + "0.to_q.weight": (inner, dim), at + "0.to_kv.weight": (2 * inner, dim)}
        shapes |= {at + "0.to_out.weight": (dim, inner)}
        shapes |= {at + "1.1.weight": (4 * dim, dim), at + "1.3.weight": (dim, 4 * dim)}
    return shapes


def _plus_shapes(ctx: int, tokens: int) -> Shapes:
    return _mlp_shapes(ctx, tokens) | perceiver_shapes(_RESAMPLER, ctx, ctx, HIDDEN_DIM, ctx)


def _mlp_parts(state: State, embedding: Tensor, hidden: Tensor | None) -> tuple[Tensor, ...]:
    return (mlp(state, embedding),)


def _plus_parts(state: State, embedding: Tensor, hidden: Tensor | None) -> tuple[Tensor, ...]:
    if hidden is None:
        raise FaceIDError("FaceID Plus needs the image encoder's hidden states of the face crop; give them.")
    x = mlp(state, embedding)
    return (x, perceiver(state, _RESAMPLER, x, hidden))


def _resampler_shapes(ctx: int, tokens: int) -> Shapes:
    latents = {"latents": (1, tokens, RESAMPLER_DIM)}
    return latents | perceiver_shapes("", RESAMPLER_DIM, RESAMPLER_DIM, EMBEDDING_DIM, ctx)


def _resampler_parts(state: State, embedding: Tensor, hidden: Tensor | None) -> tuple[Tensor, ...]:
    latents = state["latents"].float().expand(embedding.shape[0], -1, -1)
    return (perceiver(state, "", latents, embedding[:, None]),)  # a sequence of one


PROJECTIONS = {
    kind.name: kind
    for kind in (
        Projection("mlp", False, False, _mlp_shapes, _mlp_parts),
        Projection("plus", True, False, _plus_shapes, _plus_parts),
        Projection("resampler", False, True, _resampler_shapes, _resampler_parts),
    )
}
