"""What became of pictures whose faces were drawn anew, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .detail import ANY_DROP, Drawing, chosen_after
from .errors import printable
from .faces.face import Face, place
from .scoring import FaceScore, Score, mean_similarity


@dataclass(frozen=True)
class Part:
    """One face of a picture."""

    face: Face
    drawing: Drawing | None  # how it was drawn; None where it was not
    reason: str = ""  # why it was not

    @property
    def drawn(self) -> bool:
        return self.drawing is not None


@dataclass(frozen=True)
class Outcome:
    """One picture. Refined where `reason` is empty."""

    before: Score
    parts: tuple[Part, ...]
    reason: str = ""  # why it stays as it was
    after: Score | None = None  # of the refined picture, also where it was not taken

    @property
    def refined(self) -> bool:
        return self.after is not None and not self.reason

    @property
    def score(self) -> Score:
        """Of the picture that goes on."""
        return self.after if self.after is not None and not self.reason else self.before

    def describe(self) -> str:
        name = printable(self.before.name)
        if not self.refined:
            return f"{name}: left as it was: {self.reason}"
        skipped = [f"the face at {place(p.face)} was left as it was: {p.reason}" for p in self.parts if not p.drawn]
        return "; ".join([f"{name}: refined, {self._likeness()}, {self._drawn()}", *skipped])

    def _likeness(self) -> str:
        was = self.before.chosen
        now = None if self.after is None else chosen_after(self.before, self.after)
        if was is None or now is None or not (was.measurable and now.measurable):
            return "likeness not measured"
        return ", ".join(_pairs(was, now))

    def _drawn(self) -> str:
        sizes = [
            f"{p.face.quality.width:.0f} px wide drawn at {p.drawing.width} x {p.drawing.height}"
            + (f" ({p.drawing.scale:.1f} times)" if p.drawing.scale > 1.0 else "")
            for p in self.parts
            if p.drawing is not None
        ]
        return ("face " if len(sizes) == 1 else f"{len(sizes)} faces: ") + ", ".join(sizes)


def _pairs(was: FaceScore, now: FaceScore) -> list[str]:
    pairs = [f"similarity {was.similarity:.3f} to {now.similarity:.3f}"]
    if was.look is not None and now.look is not None and was.look.same is not None:
        pairs = [f"{was.look.name} {was.look.value:.3f} to {now.look.value:.3f}"]
    if was.second is not None and now.second is not None:
        pairs.append(f"second encoder {was.second:.3f} to {now.second:.3f}")
    return pairs


def report_on(outcomes: Sequence[Outcome], notes: Sequence[str], tolerance: float) -> str:
    """How many, one line a picture, and what to know."""
    done = [o for o in outcomes if o.refined]
    was, now = (mean_similarity(getattr(o, name) for o in done) for name in ("before", "score"))
    mean = "" if was is None or now is None else f"; mean similarity of these {was:.3f} before, {now:.3f} after"
    lines = [f"{len(done)} of {len(outcomes)} refined{mean}", *(o.describe() for o in outcomes)]
    if tolerance >= ANY_DROP:
        lines.append("Nothing was checked: with this tolerance a face may become somebody else's.")
    if any(sum(p.drawn for p in o.parts) > 1 for o in outcomes):
        lines.append("Several faces were drawn with one model: strangers may have become like the character.")
    return "\n".join([*lines, *notes])
