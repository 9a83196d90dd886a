"""Identity tokens: what an adapter's projection makes of a face, for the cond and the uncond rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .adapter import Adapter
from .combine import MEANS, FaceInputs
from .errors import FaceIDError
from .projection import EMBEDDING_DIM

_LONGEST = 1.01  # L2 norm; the mean of unit vectors is shorter than 1, a raw embedding is about 20


@dataclass(frozen=True, eq=False)
class IdentityTokens:
    """Tokens of one identity: tokens = base + weight_v2 * shortcut.

    Row 0 is for cond, row 1 for uncond: the projection of the zero embedding or of a negative identity, not zero
    tokens.
    """

    # float32 [2, F, N * T, ctx]; F pictures of one face each, or F = 1 for any picture
    base: Tensor = field(repr=False)
    shortcut: Tensor | None = field(repr=False)  # float32 [2, F, N * T, ctx], Plus V2 only
    faces: int  # N, faces in one picture

    @property
    def parts(self) -> tuple[Tensor, ...]:
        return (self.base,) if self.shortcut is None else (self.base, self.shortcut)


@torch.no_grad()
def identity_tokens(
    adapter: Adapter, faces: FaceInputs, uncond: FaceInputs | None = None, *, frames: bool = False
) -> IdentityTokens:
    """Project the faces: N of them become one sequence of N * T tokens, or with frames one sequence of T for each.

    uncond is what the negative prompt gets, one row or one for each face: nobody (the zero embedding, which is also
    the default; Plus needs the encoding of an empty image with it), or the faces of a negative identity.
    Source: tencent-ailab/IP-Adapter, ip_adapter_faceid.py (get_image_embeds; ProjPlusModel.forward with
    shortcut=True is Plus V2: the MLP's tokens plus the scaled output of the resampler).
    """
    faces, uncond = faces.checked(), _nobody(uncond).checked("negative face")
    count = len(faces.embedding)
    _check_length(adapter, faces, "face", nobody=False)
    _check_length(adapter, uncond, "negative face", nobody=True)
    if adapter.needs_image_encoder and (faces.hidden is None or uncond.hidden is None):
        raise FaceIDError(
            f"{adapter.source.name} also reads the face through an image encoder: give the hidden states of "
            "the face crop and of the empty image (ViT-H, penultimate layer), or use a plain FaceID adapter."
        )
    if len(uncond.embedding) not in (1, count):
        raise FaceIDError(f"There are {count} faces and {len(uncond.embedding)} negative ones; expected 1 or {count}.")
    rows = []
    for positive, negative in zip(_parts(adapter, faces), _parts(adapter, uncond), strict=True):
        both = torch.stack([positive, negative.expand_as(positive)])  # [2, N, T, ctx]
        rows.append(both if frames else both.flatten(1, 2).unsqueeze(1))
    shortcut = rows[1] if adapter.plus_v2 else None
    return IdentityTokens(rows[0] if adapter.plus_v2 else rows[-1], shortcut, 1 if frames else count)


def _parts(adapter: Adapter, faces: FaceInputs) -> tuple[Tensor, ...]:
    return adapter.projection.parts(adapter.state, faces.embedding, faces.hidden)


def _nobody(uncond: FaceInputs | None) -> FaceInputs:
    return FaceInputs(torch.zeros(1, EMBEDDING_DIM)) if uncond is None else uncond


def _check_length(adapter: Adapter, faces: FaceInputs, what: str, *, nobody: bool) -> None:
    """A normed embedding where a raw one belongs, or the reverse, renders another person without a word."""
    if faces.combined and faces.combined not in MEANS:
        return  # sums and differences have any length
    norms = faces.embedding.norm(dim=-1)
    if nobody:
        norms = norms[norms > 0]
    elif faces.combined and bool((norms == 0).any()):
        raise FaceIDError("The references cancel each other out: they show different people. Remove some of them.")
    if adapter.raw_embedding and bool((norms <= _LONGEST).any()):
        raise FaceIDError(
            f"A {what} embedding has L2 norm {norms.min().item():.3g}; {adapter.source.name} takes it as the "
            "recogniser gives it, with a norm of about 20. Give the raw embedding."
        )
    if not adapter.raw_embedding and not bool(((norms > 0) & (norms <= _LONGEST)).all()):
        raise FaceIDError(
            f"A {what} embedding has L2 norm {norms.max().item():.3g}; FaceID takes normed ones (norm 1, or "
            "the mean of such). Divide the raw embedding by its norm."
        )
