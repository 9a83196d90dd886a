"""Many faces against many characters at once: one matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .calibration import band_of
from .character import Character
from .errors import FaceError
from .faces.face import Face, Vector
from .measurable import DRAWN, Gate, limits_for, why_not_measurable

BLOCK = 16 * 1024 * 1024  # similarities held at a time; 64 MB in float32
MARGIN = 0.05  # cosine; insightface's own person search asks for as much to the second identity


@dataclass(frozen=True)
class Matches:
    """For each of N faces the most similar of M characters."""

    best: NDArray[np.intp]  # [N], 0..M-1
    similarity: Vector  # float32 [N], cosine to that one, -1..1
    margin: Vector  # float32 [N], how much less the second most similar has; inf where M is 1


def normed_rows(vectors: Vector) -> Vector:
    """float32 [N, D] with every row of L2 norm 1; a zero row stays zero."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return rows / np.where(lengths > 0, lengths, np.float32(1))


def match(faces: Vector, characters: Vector) -> Matches:
    """Embeddings [N, D] against centroids [M, D], raw or normed; N may be 0, M not. FaceError for unequal D."""
    if characters.ndim != 2 or not len(characters):
        raise FaceError("There is no character to compare with: create one first.")
    if faces.ndim != 2 or faces.shape[1] != characters.shape[1]:
        raise FaceError(
            f"Faces of {faces.shape[-1]} numbers cannot be compared with characters of {characters.shape[1]}: "
            "they are by different face models."
        )
    count, others = len(faces), normed_rows(characters).T.copy()
    best, first, second = np.empty(count, np.intp), np.empty(count, np.float32), np.full(count, -np.inf, np.float32)
    rows = max(1, BLOCK // len(characters))
    for start in range(0, count, rows):
        part = slice(start, min(start + rows, count))
        found = normed_rows(faces[part]) @ others
        here = np.arange(len(found))
        best[part] = winners = found.argmax(axis=1)
        first[part] = found[here, winners]
        if len(characters) > 1:
            found[here, winners] = -np.inf
            second[part] = found.max(axis=1)
    return Matches(best, first, first - second)


@dataclass(frozen=True)
class Found:
    """Whom one face shows."""

    slug: str  # "" for nobody in the library
    nearest: str  # the most similar character all the same
    similarity: float  # cosine to its centroid, -1..1
    margin: float  # how much less the second has; inf where there is no second
    reason: str  # why `slug` is empty

    def as_dict(self) -> dict[str, object]:
        margin = None if np.isinf(self.margin) else round(self.margin, 4)
        return {
            "character": self.slug or None,
            "nearest": self.nearest,
            "similarity": round(self.similarity, 4),
            "margin": margin,
            "reason": self.reason,
        }

    def __str__(self) -> str:
        near = f"{self.similarity:.3f} to {self.nearest}"
        return f"{self.slug} ({near})" if self.slug else f"nobody known: {self.reason} ({near})"


def identify(faces: Sequence[Face], characters: Sequence[Character], gate: Gate | None = None) -> list[Found]:
    """Whom each face shows; characters' faces are by the encoder that gave `faces`.

    A face is somebody's when it is measurable, not drawn by `gate` (None: drawn faces count), within that character's
    accept band, and nearer to it than to the second by `MARGIN`.
    """
    if not faces:
        return []
    if not characters:
        raise FaceError("There is no character to compare with: create one first.")
    found = match(np.stack([f.embedding for f in faces]), np.stack([c.identity.vector for c in characters]))
    return [
        _found(face, characters[best], float(similarity), float(margin), gate)
        for face, best, similarity, margin in zip(faces, found.best, found.similarity, found.margin, strict=True)
    ]


def _found(face: Face, nearest: Character, similarity: float, margin: float, gate: Gate | None) -> Found:
    band = band_of(nearest)
    reason = why_not_measurable(face, limits_for(nearest))
    if not reason and gate is not None and gate.for_references([r.face for r in nearest.used]).drawn(face):
        reason = DRAWN
    if not reason and similarity < band.low:
        reason = f"similarity below {band.low:.3f} ({band.source})"
    if not reason and margin < MARGIN:
        reason = f"only {margin:.3f} nearer than to the second"
    return Found("" if reason else nearest.slug, nearest.slug, similarity, margin, reason)
