"""How alike a picture is to a character: one verdict per face and one per picture.

A similarity is a cosine, -1..1, never a percentage. A face that no encoder can judge (too small,
blurred, covered, turned away, drawn) is "not measurable", which is neither zero nor a rejection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal, Protocol

import numpy as np

from .calibration import Band, band_of, copy_limit
from .character import Character, with_encoder
from .errors import LikenessError, printable
from .faces.drawn import gate_for
from .faces.face import Analyser, Face, Vector, choose, cosine, normalise, place, same_face
from .faces.stream import analyse_many
from .images import RGB8
from .measurable import DRAWN, Gate, Limits, limits_for, why_not_measurable

Verdict = Literal["accepted", "rejected", "not measurable"]
SAME_PICTURE = 0.995  # cosine of one picture to itself, decoded from another file
SAME_ENCODER = 0.5  # mean cosine of one face under two encoders; of independent ones it is near 0
BACKGROUND = 0.5  # of the widest face that can be judged
VERDICTS: tuple[Verdict, ...] = ("accepted", "rejected", "not measurable")


@dataclass(frozen=True)
class Look:
    """How alike two pictures of a character look, by something that is no face encoder."""

    name: str  # "CCIP difference", or "look similarity (<model>)"; never called a similarity of identity
    value: float  # CCIP: 0.., lower is more alike; look similarity: cosine -1..1
    same: bool | None = None  # whether it shows the same character; None from a measure that cannot tell


class LookMeasure(Protocol):
    """Compares pictures of drawn characters."""

    name: str

    def compare(self, picture: RGB8, face: Face | None) -> Look | None:
        """Against the character's references; `face` tells where the head is. None where it cannot be told."""
        ...


@dataclass(frozen=True)
class FaceScore:
    """One face of a picture against one character."""

    face: Face
    similarity: float  # cosine to the centroid of the references, -1..1; says nothing where not measurable
    nearest: str  # the reference it is most like, and
    nearest_similarity: float  # the cosine to that one
    verdict: Verdict
    reason: str  # why it is not accepted; "" when it is
    drawn: bool = False  # under an encoder of photos
    copy: bool = False  # nearer to a reference than `calibration.copy_limit`
    second: float | None = None  # the independent encoder's cosine
    look: Look | None = None

    @property
    def measurable(self) -> bool:
        return self.verdict != "not measurable"

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON; no embedding."""
        pose, quality = self.face.pose, self.face.quality
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "similarity": round(self.similarity, 4),
            "nearest": self.nearest,
            "nearest_similarity": round(self.nearest_similarity, 4),
            "second_similarity": _rounded(self.second),
            "look": None if self.look is None else {**vars(self.look), "value": round(self.look.value, 4)},
            "copy": self.copy,
            "drawn": self.drawn,
            "box": [round(float(v), 1) for v in self.face.box],
            "width": round(quality.width, 1),
            "sharpness": round(quality.sharpness, 1),
            "yaw": round(pose.yaw, 3),
            "pitch": round(pose.pitch, 3),
            "roll": round(pose.roll, 1),
            "detector_score": round(self.face.score, 3),
            "found_at": self.face.rung,
        }


@dataclass(frozen=True)
class Score:
    """One picture against one character. `faces` are largest first, `chosen` is the one that counts."""

    name: str  # of the picture
    verdict: Verdict
    reason: str  # why it is not accepted; "" when it is
    faces: tuple[FaceScore, ...] = ()
    chosen: FaceScore | None = None  # the face that is most like the character
    look: Look | None = None  # of a picture without a face
    accept_from: float | None = None  # cosine, -1..1, from which this judge accepts; None of a picture nobody judged

    @property
    def similarity(self) -> float | None:
        """Cosine of the chosen face to the centroid, -1..1; None where nothing could be measured, or looks decided."""
        c = self.chosen
        return c.similarity if c is not None and c.measurable and (c.look is None or c.look.same is None) else None

    @property
    def is_reference(self) -> bool:
        """Whether it is one of the character's own references, which says nothing of how it is drawn."""
        return (
            self.similarity is not None and self.chosen is not None and self.chosen.nearest_similarity >= SAME_PICTURE
        )

    @property
    def face(self) -> Face | None:
        return None if self.chosen is None else self.chosen.face

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON; no embedding. "face" is the chosen one."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "reason": self.reason,
            "similarity": _rounded(self.similarity),
            "accept_from": _rounded(self.accept_from),
            "face": None if self.chosen is None else self.chosen.as_dict(),
            "look": None if self.look is None else {**vars(self.look), "value": round(self.look.value, 4)},
            "faces": [f.as_dict() for f in self.faces],
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def unreadable(name: str, reason: str) -> Score:
    """The score of a picture that could not be opened."""
    return Score(name, "not measurable", reason)


@dataclass(frozen=True, repr=False)
class Judge:
    """A character as one encoder sees it, and the rules that turn a face into a verdict."""

    character: Character  # its faces are by this judge's encoder
    encoder: str  # face-model pack that measures
    conditions: bool  # the same encoder steers FaceID, so its score flatters
    band: Band
    limits: Limits
    copy_limit: float  # cosine to a reference above which a picture counts as its copy
    gate: Gate | None = None
    measure_drawn: bool = False  # give drawn faces a verdict all the same, with a warning
    second: Analyser | None = None  # an independent encoder, and
    second_vector: Vector | None = field(default=None, repr=False)  # the character's centroid under it
    second_band: Band | None = None
    second_conditions: bool = False  # as `conditions`, of the second encoder
    look: LookMeasure | None = None

    def score(self, name: str, faces: Sequence[Face], picture: RGB8 | None = None) -> Score:
        """The verdict on one picture. `picture` is needed for the second encoder and the look; never raises
        for what a picture shows."""
        return replace(self._score(name, faces, picture), accept_from=self.band.low)

    def _score(self, name: str, faces: Sequence[Face], picture: RGB8 | None) -> Score:
        if not faces:
            drawn = self.gate is not None and self.gate.references_drawn
            look = self._look(picture, None) if drawn else None
            if look is not None and look.same is not None:
                return Score(name, "accepted" if look.same else "rejected", _look_reason(look), look=look)
            return Score(name, "not measurable", "no face was found in the picture", look=look)
        best = self._intended(faces)
        scored = tuple(self._face(face, picture if face is best else None) for face in faces)
        chosen = next(s for s in scored if s.face is best)
        return Score(name, chosen.verdict, chosen.reason, scored, chosen)

    def _intended(self, faces: Sequence[Face]) -> Face | None:
        """The most similar face. One in the background that cannot be judged does not count beside one that can:
        the embedding of a face of 15 px is noise, and may be nearer than a stranger in front."""
        judged = [f for f in faces if not why_not_measurable(f, self.limits)]
        if judged:
            enough = max(f.quality.width for f in judged) * BACKGROUND
            faces = [f for f in faces if any(f is j for j in judged) or f.quality.width >= enough]
        return choose(faces, self.character.identity.vector)

    def _face(self, face: Face, picture: RGB8 | None) -> FaceScore:
        identity, references = self.character.identity.vector, self.character.used
        similarity = cosine(face.embedding, identity)
        near = int(np.argmax(_stack([r.face.normed for r in references]) @ face.normed))
        nearest = cosine(face.embedding, references[near].face.embedding)
        drawn = self.gate is not None and self.gate.drawn(face)
        verdict, reason = self._verdict(face, similarity, drawn)
        scored = FaceScore(
            face,
            similarity,
            references[near].file,
            nearest,
            verdict,
            reason,
            drawn=drawn,
            copy=verdict != "not measurable" and nearest > self.copy_limit,
        )
        return scored if picture is None else self._with_others(scored, picture)

    def _verdict(self, face: Face, similarity: float, drawn: bool) -> tuple[Verdict, str]:
        reason = why_not_measurable(face, self.limits)
        if not reason and drawn and not self.measure_drawn:
            reason = DRAWN
        if reason:
            return "not measurable", reason
        if similarity >= self.band.low:
            return "accepted", ""
        return "rejected", f"similarity {similarity:.3f} is below {self.band.low:.3f} ({self.band.source})"

    def _with_others(self, scored: FaceScore, picture: RGB8) -> FaceScore:
        """Also by the second encoder, and by the look where the face is drawn."""
        if self.second is not None and self.second_vector is not None:
            twin = same_face(scored.face, self.second.analyse(picture))
            scored = replace(scored, second=None if twin is None else cosine(twin.embedding, self.second_vector))
        if not scored.drawn:
            return scored
        look = self._look(picture, scored.face)
        if look is None or look.same is None or not self._looks_decide(scored):
            return replace(scored, look=None if look is None else replace(look, same=None))
        return replace(scored, look=look, verdict="accepted" if look.same else "rejected", reason=_look_reason(look))

    def _looks_decide(self, scored: FaceScore) -> bool:
        """A look speaks for drawn characters, of faces that only their being drawn keeps from being measured."""
        drawn = self.gate is not None and self.gate.references_drawn
        return drawn and (scored.reason == DRAWN or self.measure_drawn)

    def _look(self, picture: RGB8 | None, face: Face | None) -> Look | None:
        return None if self.look is None or picture is None else self.look.compare(picture, face)

    def _steering(self) -> list[tuple[str, bool]]:
        """Each pack that measures, and whether FaceID is steered by it."""
        own = [(self.encoder, self.conditions)]
        return own if self.second is None else [*own, (self.second.pipeline.pack, self.second_conditions)]

    def notes(self) -> list[str]:
        """What to know before believing the numbers, one sentence each."""
        lines = [self.band.describe()]
        steering = [pack for pack, steers in self._steering() if steers]
        if steering:
            other = [pack for pack, steers in self._steering() if not steers]
            lines.append(
                f"{steering[0]} also steers FaceID towards this face, so pictures drawn with FaceID flatter its figure."
                + "".join(f" {pack} does not." for pack in other)
            )
        if self.limits.covered:
            lines.append("References show a covered face, so covered faces are measured: a mask hides who wears it.")
        lines += [str(odd) for odd in self.character.identity.outliers]
        if self.second is not None and self.second_band is not None:
            lines.append(f"Second face model {self.second.pipeline.pack}: {self.second_band.describe()}")
        return [*lines, *self.character.problems]


def _look_reason(look: Look) -> str:
    return "" if look.same else f"{look.name} {look.value:.3f} says another character"


def _stack(vectors: Sequence[Vector]) -> Vector:
    return np.stack(vectors)


def judge_for(
    character: Character,
    engine: Analyser,
    *,
    threshold: float | None = None,
    second: Analyser | None = None,
    gate: Gate | None = None,
    measure_drawn: bool = False,
    look: LookMeasure | None = None,
) -> Judge:
    """The judge of `character` by `engine`. FaceError when it cannot see any reference.

    `threshold`: a cosine that replaces the calibrated one, -1..1. `gate`: the recogniser's own where none is given.
    """
    if threshold is not None and not -1.0 <= threshold <= 1.0:
        raise LikenessError(f"The threshold {threshold} is no cosine: give a number from -1 to 1.")
    if second is not None and second.pipeline.recogniser == engine.pipeline.recogniser:
        raise LikenessError(
            f"The second face model {second.pipeline.pack} has the recogniser of {engine.pipeline.pack}, so it is no "
            "independent figure: choose another one, or none."
        )
    measured = with_encoder(character, engine)
    _ = measured.identity  # says which references gave no face
    gate = (gate or gate_for(engine)).for_references([r.face for r in measured.used])
    seen = None if second is None else with_encoder(character, second)
    if seen is not None and second is not None:
        _check_independent(measured, seen, engine, second)
    return Judge(
        measured,
        engine.pipeline.pack,
        _steers(character, engine),
        band_of(measured, threshold),
        limits_for(measured),
        copy_limit(measured),
        gate,
        measure_drawn,
        second,
        None if seen is None else normalise(seen.identity.vector),
        None if seen is None else band_of(seen),
        second is not None and _steers(character, second),
        look,
    )


def _steers(character: Character, engine: Analyser) -> bool:
    """Whether FaceID gets its embedding from this encoder: the profile says so, else whatever made the faces."""
    if character.profile.face_model:
        return character.profile.face_model == engine.pipeline.pack
    return character.pipeline is not None and character.pipeline.recogniser == engine.pipeline.recogniser


def _check_independent(one: Character, two: Character, engine: Analyser, second: Analyser) -> None:
    """LikenessError where two encoders put the same face at the same place: one file in two wrappings."""
    if one.faces is two.faces:  # an embedding of an unknown model, which is taken as it is
        return
    theirs = {r.file: r.face for r in two.used}
    pairs = [(r.face, theirs[r.file]) for r in one.used if r.file in theirs]
    near = [cosine(a.embedding, b.embedding) for a, b in pairs if a.embedding.shape == b.embedding.shape]
    if near and fmean(near) > SAME_ENCODER:
        raise LikenessError(
            f"The second face model {second.pipeline.pack} gives the same embeddings as {engine.pipeline.pack} (cosine "
            f"{fmean(near):.2f}), so it is no independent figure: choose another one, or none."
        )


def score_images(
    pictures: Iterable[tuple[str, RGB8]],
    analyser: Analyser,
    judge: Judge,
    progress: Callable[[int], None] = lambda done: None,
    check: Callable[[], None] = lambda: None,
) -> list[Score]:
    """One Score per picture, in order; LikenessError for pixels that are no picture.

    `progress` is called with the number done; `check` many times a second. Both may raise to stop.
    """
    items = ((name, lambda pixels=pixels: pixels) for name, pixels in pictures)
    scores: list[Score] = []
    for seen in analyse_many(items, analyser, check=check):
        if seen.error is not None:
            raise seen.error
        scores.append(judge.score(seen.key, seen.faces, seen.picture))
        progress(len(scores))
    return scores


def mean_similarity(scores: Iterable[Score]) -> float | None:
    """Mean over the measurable pictures; None when there is none."""
    measured = [s.similarity for s in scores if s.similarity is not None]
    return fmean(measured) if measured else None


def consistency_rate(scores: Sequence[Score]) -> float | None:
    """Accepted / measurable, 0..1; None when nothing could be measured."""
    measurable = [s for s in scores if s.verdict != "not measurable"]
    return sum(s.verdict == "accepted" for s in measurable) / len(measurable) if measurable else None


def summary(scores: Sequence[Score]) -> str:
    """One line a picture and closing lines, for people."""
    lines = [f"{printable(s.name)}: {describe(s)}" for s in scores]
    mean = mean_similarity(scores)
    count = sum(s.similarity is not None for s in scores)
    total = "no picture could be measured" if mean is None else f"mean {mean:.3f} over {count} of {len(scores)}"
    own = sum(s.is_reference for s in scores)
    total += f", {own} of them references themselves" if own else ""
    verdicts = ", ".join(f"{sum(s.verdict == v for s in scores)} {v}" for v in VERDICTS)
    return "\n".join([*lines, f"{total}; {verdicts}"])


def describe(score: Score) -> str:
    """One line without the picture's name."""
    if score.chosen is None:
        return f"{score.verdict}{': ' if score.reason else ''}{score.reason}"
    c, parts = score.chosen, []
    if c.measurable and (c.look is None or c.look.same is None):
        parts.append(f"{c.similarity:.3f} (nearest {c.nearest} {c.nearest_similarity:.3f})")
        parts += [f"careful: {DRAWN}"] if c.drawn else []
    if c.second is not None:
        parts.append(f"second encoder {c.second:.3f}")
    if c.look is not None:
        parts.append(f"{c.look.name} {c.look.value:.3f}")
    if c.copy:
        parts.append(f"{c.nearest} itself" if c.nearest_similarity >= SAME_PICTURE else f"a copy of {c.nearest}?")
    if len(score.faces) > 1:
        parts.append(f"the face at {place(c.face)}, of {len(score.faces)}")
    verdict = f"{score.verdict}{': ' if score.reason else ''}{score.reason}"
    return ", ".join([verdict, *parts])
