"""Identity tokens: what an adapter's projection makes of a face, for the cond and the uncond rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .adapter import Adapter
from .errors import FaceIDError
from .projection import EMBEDDING_DIM, HIDDEN_DIM, HIDDEN_TOKENS

_LONGEST = 1.01  # L2 norm; the mean of unit vectors is shorter than 1, a raw embedding is about 20


@dataclass(frozen=True, eq=False)
class IdentityTokens:
    """Tokens of one identity: tokens = base + weight_v2 * shortcut.

    Row 0 is for cond, row 1 for uncond: the projection of the zero embedding, not zero tokens.
    """

    base: Tensor  # float32 [2, N * T, ctx]
    shortcut: Tensor | None  # float32 [2, N * T, ctx], Plus V2 only

    @property
    def parts(self) -> tuple[Tensor, ...]:
        return (self.base,) if self.shortcut is None else (self.base, self.shortcut)


@torch.no_grad()
def identity_tokens(
    adapter: Adapter,
    embedding: Tensor,  # float32 [N, 512], L2 norm 1, or [1, 512] the mean of such
    hidden: Tensor | None = None,  # float [N, 257, 1280], image encoder's penultimate layer, Plus only
    uncond_hidden: Tensor | None = None,  # float [1, 257, 1280], the same of an empty image, Plus only
) -> IdentityTokens:
    """Project a face. N faces become one sequence of N * T tokens; averaging is up to the caller.

    Source: tencent-ailab/IP-Adapter, ip_adapter_faceid.py (get_image_embeds; ProjPlusModel.forward with
    shortcut=True is Plus V2: the MLP's tokens plus the scaled output of the resampler).
    """
    embedding = _checked(embedding, "face embedding", (EMBEDDING_DIM,))
    norms = embedding.norm(dim=-1)
    if not bool(((norms > 0) & (norms <= _LONGEST)).all()):
        raise FaceIDError(
            f"A face embedding has L2 norm {norms.max().item():.3g}; FaceID takes normed ones (norm 1, or "
            "the mean of such). Divide the raw embedding by its norm."
        )
    cond, uncond = None, None
    if adapter.needs_image_encoder:
        cond, uncond = _hidden_states(adapter, embedding.shape[0], hidden, uncond_hidden)
    parts = zip(
        adapter.projection.parts(adapter.state, embedding, cond),
        adapter.projection.parts(adapter.state, torch.zeros_like(embedding), uncond),
        strict=True,
    )
    rows = [torch.stack([c.flatten(0, 1), u.flatten(0, 1)]) for c, u in parts]
    if adapter.plus_v2:
        return IdentityTokens(rows[0], rows[1])
    return IdentityTokens(rows[-1], None)


def _hidden_states(adapter: Adapter, faces: int, hidden: Tensor | None, uncond: Tensor | None) -> tuple[Tensor, Tensor]:
    if hidden is None or uncond is None:
        raise FaceIDError(
            f"{adapter.source.name} also reads the face through an image encoder: give the hidden states of "
            "the face crop and of the empty image (ViT-H, penultimate layer), or use a plain FaceID adapter."
        )
    hidden = _checked(hidden, "hidden states of the face crop", (HIDDEN_TOKENS, HIDDEN_DIM))
    uncond = _checked(uncond, "hidden states of the empty image", (HIDDEN_TOKENS, HIDDEN_DIM))
    if hidden.shape[0] != faces or uncond.shape[0] != 1:
        raise FaceIDError(
            f"There are {faces} face embeddings, {hidden.shape[0]} image encodings and {uncond.shape[0]} "
            f"encodings of the empty image; expected {faces}, {faces} and 1."
        )
    return hidden, uncond.expand(faces, -1, -1)


def _checked(value: Tensor, what: str, shape: tuple[int, ...]) -> Tensor:
    if value.ndim != len(shape) + 1 or value.shape[0] == 0 or tuple(value.shape[1:]) != shape:
        raise FaceIDError(f"The {what} has shape {list(value.shape)}; expected [N, {', '.join(map(str, shape))}].")
    value = value.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(value).all()):
        raise FaceIDError(f"The {what} holds NaN or infinite numbers. Compute it again.")
    return value
