"""How alike a picture is to a character.

The score is a cosine, -1..1, never a percentage. A picture in which nothing can be measured has no
score: it is not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from .faces.face import Analyser, Face, choose, cosine
from .identity import Identity, ReferenceFace
from .images import RGB8


@dataclass(frozen=True)
class Score:
    """One picture against one character."""

    name: str  # of the picture
    similarity: float | None  # cosine to the identity, -1..1; None where nothing could be measured
    nearest: str | None  # the reference it is most like, and
    nearest_similarity: float | None  # the cosine to that one
    faces: int  # found in the picture
    face: Face | None  # the one that was measured
    reason: str  # why there is no similarity; "" when there is one

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON; no embedding."""
        box = None if self.face is None else [round(float(v), 1) for v in self.face.box]
        return {
            "name": self.name,
            "similarity": _rounded(self.similarity),
            "nearest": self.nearest,
            "nearest_similarity": _rounded(self.nearest_similarity),
            "faces": self.faces,
            "box": box,
            "found_at": None if self.face is None else self.face.rung,
            "reason": self.reason,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def score_faces(name: str, faces: Sequence[Face], identity: Identity, references: Iterable[ReferenceFace]) -> Score:
    """Score the face of the picture that is most like the character."""
    face = choose(faces, identity.vector)
    if face is None:
        return Score(name, None, None, None, 0, None, "no face was found in the picture")
    similarities = [(cosine(face.embedding, r.face.embedding), r.file) for r in references if r.weight > 0]
    best, file = max(similarities, key=lambda s: s[0])
    return Score(name, cosine(face.embedding, identity.vector), file, best, len(faces), face, "")


def score_images(
    images: Iterable[tuple[str, RGB8]],
    analyser: Analyser,
    identity: Identity,
    references: Sequence[ReferenceFace],
    progress: Callable[[int], None] = lambda done: None,
) -> list[Score]:
    """One Score per picture, in order. `progress` is called with the number done, and may raise to stop."""
    scores = []
    for done, (name, pixels) in enumerate(images, 1):
        scores.append(score_faces(name, analyser.analyse(pixels), identity, references))
        progress(done)
    return scores


def mean_similarity(scores: Iterable[Score]) -> float | None:
    """Mean over the measurable pictures; None when there is none."""
    measured = [s.similarity for s in scores if s.similarity is not None]
    return fmean(measured) if measured else None


def summary(scores: Sequence[Score]) -> str:
    """One line a picture and a closing line, for people."""
    lines = [f"{s.name}: {_text(s)}" for s in scores]
    mean = mean_similarity(scores)
    count = sum(s.similarity is not None for s in scores)
    total = "no picture could be measured" if mean is None else f"mean {mean:.3f} over {count} of {len(scores)}"
    return "\n".join([*lines, total])


def _text(score: Score) -> str:
    if score.similarity is None:
        return f"not measurable, {score.reason}"
    return f"{score.similarity:.3f} (nearest {score.nearest} {score.nearest_similarity:.3f})"
