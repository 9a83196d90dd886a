"""Who a character is: the mean of its references' normed embeddings.

A mean of unit vectors separates people better than one photo (gap between the worst true and the
best false match .10 with 1 reference, .24 with 3, .29 with 4) and better than the best of several
references. One wrong picture poisons it, so every reference is held against the mean of the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .errors import FaceError
from .faces.face import Face, Vector, normalise

OUTLIER = 0.30  # cosine to the mean of the other references; flagged every intruder in sets of 4 to 8
GOOD_COUNT = (3, 5)  # references to ask for
NORMED = 1e-3  # an embedding whose length is that near to 1 is a normed one: raw ones are 4 and longer


@dataclass(frozen=True)
class ReferenceFace:
    """The character's face in one reference."""

    file: str  # as in the profile, e.g. "references/001.png"
    weight: float  # share in the mean; 0 leaves it out
    face: Face
    source: str = ""  # what the user called the picture


@dataclass(frozen=True)
class Outlier:
    """A reference that does not look like the others."""

    number: int  # 1-based, in the profile's order
    file: str
    similarity: float  # cosine to the mean of the others, -1..1
    source: str = ""  # what the user called the picture

    def __str__(self) -> str:
        name = f"{self.file}, from {self.source}" if self.source else self.file
        return (
            f"Reference {self.number} ({name}) does not look like the others: similarity {self.similarity:.2f} to "
            f"their mean, below {OUTLIER:.2f}. If it shows somebody else, set its weight to 0 in profile.toml, or "
            "take it out."
        )


@dataclass(frozen=True)
class Identity:
    """A character's face as one vector."""

    vector: Vector = field(repr=False)  # float32 [D], L2 norm 1
    count: int  # references it was made from
    outliers: tuple[Outlier, ...]
    digest: str  # sha256, hex; changes with any embedding, weight or crop

    def advice(self) -> list[str]:
        """What would make it better, one sentence each."""
        lines = [str(o) for o in self.outliers]
        if self.count < GOOD_COUNT[0]:
            low, high = GOOD_COUNT
            lines.append(
                f"The identity rests on {self.count} reference(s): {low} to {high} different photos make it safer."
            )
        return lines


def identity_of(references: Sequence[ReferenceFace]) -> Identity:
    """Weighted mean of the normed embeddings, normed again. FaceError without any reference."""
    used = [r for r in references if r.weight > 0]
    if not used:
        raise FaceError("The character has no face to go by: add a reference picture that shows its face.")
    vector = weighted_mean([r.face.normed for r in used], [r.weight for r in used])
    return Identity(vector, len(used), tuple(find_outliers(references)), _digest(used))


def weighted_mean(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """float32 [D], L2 norm 1."""
    stacked = np.asarray(vectors, dtype=np.float64)
    return normalise(np.average(stacked, axis=0, weights=np.asarray(weights, dtype=np.float64)))


def raw_length(references: Sequence[ReferenceFace]) -> float:
    """Weighted mean length of the used raw embeddings; 1 where none is raw.

    A normed embedding has lost its length and does not count.
    """
    lengths = [(float(np.linalg.norm(r.face.embedding.astype(np.float64))), r.weight) for r in references]
    raw = [(length, weight) for length, weight in lengths if weight > 0 and abs(length - 1) > NORMED]
    return float(np.average([n for n, _ in raw], weights=[w for _, w in raw])) if raw else 1.0


def blend_faces(people: Sequence[tuple[float, Sequence[ReferenceFace]]]) -> tuple[ReferenceFace, ...]:
    """The used references of several people as those of one, in order; `people` are (share > 0, references).

    Reference r of person p, with share a_p, weights w_pr and identity u_p (unit length), becomes

        weight  a_p w_pr / sum_r w_pr        embedding  L u_p        crop  its own

    with one length L, the people's mean raw length by share. Every weighted mean over the result then follows the
    shares: of embeddings, sum_p a_p u_p; of what an image encoder sees in the crops, sum_p a_p h_p, where h_p is p's
    own mean. With the references' own embeddings it would not: the mean of several is shorter the less they agree
    (.88 for four photos, 1 for one), so whoever has one photo would count more. One person alone stays as they are.
    """
    used = [(share, [r for r in references if r.weight > 0]) for share, references in people]
    if len(used) == 1:
        return tuple(used[0][1])
    lengths = [(share, raw_length(references)) for share, references in used]
    known = [(share, length) for share, length in lengths if length != 1.0]
    length = float(np.average([n for _, n in known], weights=[a for a, _ in known])) if known else 1.0
    blended = []
    for share, references in used:
        vector, total = identity_of(references).vector, sum(r.weight for r in references)
        embedding = (vector.astype(np.float64) * length).astype(np.float32)
        blended += [
            replace(r, weight=share * r.weight / total, face=replace(r.face, embedding=embedding)) for r in references
        ]
    return tuple(blended)


def find_outliers(references: Sequence[ReferenceFace]) -> list[Outlier]:
    """References unlike the rest: the worst goes first, then the others are judged without it.

    Needs three: of two that differ, nothing tells which one is wrong.
    """
    left = [(number, r) for number, r in enumerate(references, 1) if r.weight > 0]
    if not left:
        return []
    vectors = np.array([r.face.normed for _, r in left], dtype=np.float64)
    weighted = vectors * np.array([[r.weight] for _, r in left])
    inside, total, found = np.full(len(left), True), weighted.sum(axis=0), []
    while inside.sum() >= 3:
        others = total - weighted  # sum of all but one, row by row
        alike = (vectors * others).sum(axis=1) / np.maximum(np.linalg.norm(others, axis=1), 1e-12)
        worst = int(np.argmin(np.where(inside, alike, np.inf)))
        if alike[worst] >= OUTLIER:
            break
        number, reference = left[worst]
        found.append(Outlier(number, reference.file, float(alike[worst]), reference.source))
        inside[worst], total = False, total - weighted[worst]
    return sorted(found, key=lambda o: o.number)


def _digest(references: Sequence[ReferenceFace]) -> str:
    h = hashlib.sha256()
    for r in references:
        crop = b"no crop" if r.face.crop is None else r.face.crop.tobytes()
        h.update(np.float64(r.weight).tobytes() + r.face.embedding.tobytes() + crop)
    return h.hexdigest()
