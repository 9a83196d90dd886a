"""Several references of one person, before an adapter sees them: one face of all, or all of them side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .errors import FaceIDError
from .projection import EMBEDDING_DIM, HIDDEN_DIM, HIDDEN_TOKENS

COMBINE = ("identity", "weighted", "average", "norm average", "add", "subtract", "concat", "per image")
KEEPS_FACES = ("concat", "per image")  # modes that leave every face as it is
MEANS = ("identity", "weighted", "average")  # modes that give something of about a face's length
_SHORTEST = 1e-6  # of the weighted mean, as a share of the faces' length


@dataclass(frozen=True, eq=False)
class FaceInputs:
    """What a projection reads, one row per face."""

    embedding: Tensor = field(repr=False)  # float32 [N, 512]; L2 norm 1, or raw for Portrait unnorm
    hidden: Tensor | None = field(
        default=None, repr=False
    )  # float32 [N, 257, 1280], image encoder's penultimate layer, Plus only
    combined: str = ""  # one of COMBINE where this row was made of several faces, "" for faces as they are

    def checked(self, what: str = "face") -> FaceInputs:
        """The same in float32 on the CPU. FaceIDError for other shapes, no face at all, NaN or infinite numbers."""
        embedding = _checked(self.embedding, f"{what} embedding", (EMBEDDING_DIM,))
        if self.hidden is None:
            return FaceInputs(embedding, None, self.combined)
        hidden = _checked(self.hidden, f"image encoding of the {what}", (HIDDEN_TOKENS, HIDDEN_DIM))
        if len(hidden) != len(embedding):
            raise FaceIDError(
                f"There are {len(embedding)} {what} embeddings and {len(hidden)} image encodings. Give one for each."
            )
        return FaceInputs(embedding, hidden, self.combined)


def combine(faces: FaceInputs, weights: Sequence[float] | None = None, mode: str = "identity") -> FaceInputs:
    """One row of N faces, or the N faces where the mode keeps them. A single face stays as it is.

    identity      weighted mean, as long as the faces are on average: what a similarity is measured with
    weighted      weighted mean
    average       mean
    norm average  mean of e / ||e||, the norm of each coordinate over the faces; 0 where it is 0
    add           sum
    subtract      the first less the mean of the others
    concat        all N, whose tokens become one sequence
    per image     all N, face n for picture n of a batch

    weights: > 0, used by "identity" and "weighted". Image encodings are treated alike, but "identity" is their
    weighted mean. Source of all but the first two: IPAdapter_plus, combine_embeds.
    """
    if mode not in COMBINE:
        raise FaceIDError(f"References cannot be combined by {mode!r}: choose one of {', '.join(COMBINE)}.")
    faces = faces.checked()
    shares = _shares(weights, len(faces.embedding))
    if len(faces.embedding) == 1 or mode in KEEPS_FACES:
        return faces
    if mode in ("identity", "weighted"):
        return _weighted(faces, shares, mode)
    one = _MODES[mode]
    hidden = None if faces.hidden is None else one(faces.hidden)
    return FaceInputs(one(faces.embedding), hidden, mode)


def _weighted(faces: FaceInputs, shares: Tensor, mode: str) -> FaceInputs:
    embedding = torch.einsum("n,nd->d", shares, faces.embedding)[None]
    if mode == "identity":
        wanted, length = shares @ faces.embedding.norm(dim=-1), embedding.norm()
        if length <= _SHORTEST * wanted:
            raise FaceIDError("The references cancel each other out: they show different people. Remove some of them.")
        embedding = embedding * (wanted / length)
    hidden = None if faces.hidden is None else torch.einsum("n,nsd->sd", shares, faces.hidden)[None]
    return FaceInputs(embedding, hidden, mode)


def _norm_average(x: Tensor) -> Tensor:
    norm = x.norm(dim=0, keepdim=True)
    return (x / torch.where(norm == 0, 1.0, norm)).mean(dim=0, keepdim=True)


_MODES: dict[str, Callable[[Tensor], Tensor]] = {
    "average": lambda x: x.mean(dim=0, keepdim=True),
    "norm average": _norm_average,
    "add": lambda x: x.sum(dim=0, keepdim=True),
    "subtract": lambda x: x[:1] - x[1:].mean(dim=0, keepdim=True),
}


def _shares(weights: Sequence[float] | None, faces: int) -> Tensor:
    """float32 [N], sum 1"""
    weights = [1.0] * faces if weights is None else [float(w) for w in weights]
    if len(weights) != faces:
        raise FaceIDError(f"There are {faces} faces and {len(weights)} weights. Give one weight for each face.")
    if not all(math.isfinite(w) and w > 0 for w in weights):
        raise FaceIDError(f"The weights of the faces are {weights}: leave out faces of weight 0, all others are > 0.")
    shares = torch.tensor(weights, dtype=torch.float64)
    return (shares / shares.sum()).float()


def _checked(value: Tensor, what: str, shape: tuple[int, ...]) -> Tensor:
    if value.ndim != len(shape) + 1 or value.shape[0] == 0 or tuple(value.shape[1:]) != shape:
        raise FaceIDError(f"The {what} has shape {list(value.shape)}; expected [N, {', '.join(map(str, shape))}].")
    value = value.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(value).all()):
        raise FaceIDError(f"The {what} holds NaN or infinite numbers. Compute it again.")
    return value
