"""A character's own accept band: what its references score against one another, and strangers against it.

Genuine: each reference against the centroid of the others (leave-one-out). Impostors: the references of the
library's other characters, and synthetic strangers, all against this centroid. Both are taken as normal
distributions, as they are on photos; the threshold is where their error rates are equal.

Three references tell little about their spread, so it is drawn towards what thirteen people's photos have
(`SPREAD`), as if `SPREAD_COUNT` more of them had been seen.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from statistics import NormalDist, fmean

import numpy as np

from . import __version__
from .character import Character, open_character, with_encoder
from .errors import FaceError, LikenessError
from .faces.drawn import gate_for
from .faces.face import Analyser, Vector, cosine, normalise
from .identity import ReferenceFace, identity_of, weighted_mean
from .library import Library
from .profile import Calibration

MIN_REFERENCES = 3
STRANGERS = 1000
# Cosines of different people, 5469 pairs of photos: mean .015; spread .067 to .074 in 512 numbers, .099 in 128.
STRANGER_MEAN = 0.015
STRANGER_SPREAD = {512: 0.072, 128: 0.100}
SPREAD, SPREAD_COUNT = 0.10, 4  # leave-one-out cosines of 60 photos of 13 people: spread .083 and .101 (two encoders)
FALSE_ACCEPT = 1e-3  # the threshold never lets more strangers pass than this
UNCALIBRATED = 0.35  # between strangers (p99.9 .24 to .29) and the lowest leave-one-out score (.45), two encoders
COPY_MARGIN = 0.02
COPY_FLOOR = 0.90  # with one reference there is no pair to go by
COPY_CEILING = 0.94  # saved again, scaled or mirrored a picture keeps .96 to .99
SAME_SHOT = 0.97  # two references from here on are one picture in two files; two of one moment have .94 to .97
PAIR_SPREAD = 0.12  # standard deviation of the cosines of two photos of one person (mean .59)
# Another character's centroid from which it is this one under another name: strangers' photos reach .30 to .34,
# one more photo of the person .45 and more.
SAME_PERSON = 0.45
NEAR_TWIN = 0.30  # another character's centroid as near as that is worth a sentence


@dataclass(frozen=True)
class Band:
    """From which similarity on a picture is accepted."""

    low: float  # cosine, -1..1
    source: str  # "calibrated", "not calibrated", "set by hand"
    calibration: Calibration | None = None
    stale: str = ""  # why a stored calibration does not count

    def describe(self) -> str:
        if self.calibration is None:
            return f"Accepted from {self.low:.3f} on ({self.source}). {self.stale}".strip()
        c = self.calibration
        return f"Accepted from {self.low:.3f} on ({self.source}; {_expected(c)})."


def band_of(character: Character, threshold: float | None = None) -> Band:
    """The band for an opened character, whose faces are by the encoder that measures.

    `threshold` (a cosine) replaces it. A calibration counts as long as recogniser and references are the same.
    """
    if threshold is not None:
        return Band(threshold, "set by hand")
    stored = stored_calibration(character)
    if stored is None:
        return Band(UNCALIBRATED, "not calibrated", stale="Calibrate the character for a band of its own.")
    if why := stale_for(stored, character):
        return Band(UNCALIBRATED, "not calibrated", stale=why)
    return Band(stored.threshold, "calibrated", stored)


def stale_for(stored: Calibration, character: Character) -> str:
    """Why a calibration by the encoder of the character's faces does not count; "" where it does or cannot be told."""
    same = character.pipeline is not None and character.pipeline.recogniser == stored.recogniser
    if not same or not character.has_identity or stored.references == reference_digest(character):
        return ""
    return f"The calibration of {stored.date} is for other references: calibrate again."


def stored_calibration(character: Character) -> Calibration | None:
    """The profile's calibration for the encoder of the character's faces."""
    recogniser = "" if character.pipeline is None else character.pipeline.recogniser
    return next((c for c in character.profile.calibrations if c.recogniser == recogniser), None)


def reference_digest(character: Character) -> str:
    """16 hex digits of a sha256; changes with the files, weights or embeddings that the band rests on.

    Not with their order, nor with all weights alike. Of an embedding the signs count: they stay where another runtime
    gives the last digits otherwise.
    """
    h, total = hashlib.sha256(), sum(r.weight for r in character.used)
    for r in sorted(character.used, key=lambda r: r.file):
        h.update(f"{r.file}\0{r.weight / total:.6f}\0".encode() + np.packbits(r.face.embedding > 0).tobytes())
    return h.hexdigest()[:16]


def leave_one_out(references: Sequence[ReferenceFace]) -> list[float]:
    """Cosine of each used reference to the centroid of the other used ones, in order; [] below two."""
    used = [r for r in references if r.weight > 0]
    if len(used) < 2:
        return []
    scores, normed, weights = [], [r.face.normed for r in used], [r.weight for r in used]
    for i, r in enumerate(used):
        centroid = weighted_mean([*normed[:i], *normed[i + 1 :]], [*weights[:i], *weights[i + 1 :]])
        scores.append(cosine(r.face.embedding, centroid))
    return scores


def copy_limit(character: Character) -> float:
    """Cosine to a reference above which a picture counts as its copy.

    Nearer than their nearest pair, and than their mean by three times the spread that pairs of a person's photos have:
    of three references and one more photo, the nearest pair includes that photo every second time.
    """
    vectors = np.stack([r.face.normed for r in character.used])
    pairs = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    different = pairs[pairs < SAME_SHOT]  # one picture in two files says nothing
    if not len(different):
        return COPY_FLOOR
    usual = min(float(different.mean()) + 3 * PAIR_SPREAD, COPY_CEILING)
    return min(max(float(different.max()) + COPY_MARGIN, usual), SAME_SHOT)


def distinct(references: Sequence[ReferenceFace]) -> list[ReferenceFace]:
    """The used references without those that are copies of one before them."""
    kept: list[ReferenceFace] = []
    for r in references:
        if r.weight > 0 and all(cosine(r.face.embedding, k.face.embedding) < SAME_SHOT for k in kept):
            kept.append(r)
    return kept


def strangers(vector: Vector, count: int = STRANGERS) -> Vector:
    """float32 [count, D], L2 norm 1: made-up people, as far from `vector` [D] as real strangers are.

    Deterministic. Their cosines to `vector` are the quantiles of the normal distribution measured on photos; the
    rest of each is a random direction at a right angle to it (`RandomState`, whose numbers are frozen for good).
    """
    centre, dim = normalise(vector).astype(np.float64), len(vector)
    spread = STRANGER_SPREAD.get(dim, max(STRANGER_SPREAD.values()))
    normal = NormalDist(STRANGER_MEAN, spread)
    cosines = np.array([normal.inv_cdf((k + 0.5) / count) for k in range(count)])[:, None]
    rest = np.random.RandomState(20261121).standard_normal((count, dim))
    rest -= (rest @ centre)[:, None] * centre
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    return (cosines * centre + np.sqrt(1 - cosines**2) * rest).astype(np.float32)


@dataclass(frozen=True)
class Rival:
    """Another character, as the same encoder sees it."""

    slug: str
    centroid: Vector  # float32 [D], L2 norm 1
    faces: tuple[Vector, ...]  # of its references, raw or normed


def rivals_of(
    library: Library, slug: str, engine: Analyser, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[Rival], list[str]]:
    """The library's other characters under `engine`, and a sentence for each that it cannot see."""
    found, problems = [], []
    names = [name for name in library.slugs() if name != slug]
    for done, name in enumerate(names, 1):
        try:
            other = with_encoder(open_character(library, name, lambda pack: engine), engine)
            faces = tuple(r.face.embedding for r in other.used)
            found.append(Rival(name, other.identity.vector, faces))
        except LikenessError as error:
            problems.append(f"{name} was left out: {error}")
        progress(done, len(names))
    return found, problems


def calibrate(character: Character, rivals: Sequence[Rival]) -> Calibration:
    """The accept band of a character whose faces are by the encoder that will measure.

    A rival that is as near as the references are to one another counts as the same person under another name: its
    faces are no impostors. FaceError below three references, when their recogniser is unknown, and when they do not
    agree well enough to be told from strangers.
    """
    used, own = character.used, distinct(character.used)
    if len(own) < MIN_REFERENCES:
        copies = f", {len(used) - len(own)} of them nearly the same picture as another" if len(own) < len(used) else ""
        raise FaceError(
            f"{character.profile.name} has {len(used)} usable reference(s) under this face model{copies}; calibrating "
            f"needs {MIN_REFERENCES} different ones, better 5: add photos that show the face."
        )
    if character.pipeline is None or not character.pipeline.recogniser:
        raise FaceError(f"It is unknown which face model made the faces of {character.profile.name}: create it anew.")
    if len(groups := _people(own)) > 1:
        told = " and ".join(", ".join(r.file for r in group) for group in groups[:3])
        raise FaceError(
            f"The references of {character.profile.name} look like {len(groups)} people ({told}): keep those of one."
        )
    centroid, genuine = identity_of(used).vector, leave_one_out(own)
    mean, spread = fmean(genuine), _spread(genuine)
    others = [r for r in rivals if not _is_same(r, centroid, mean - spread)]
    theirs = np.array([cosine(face, centroid) for rival in others for face in rival.faces])
    impostors = np.concatenate([strangers(centroid).astype(np.float64) @ centroid, theirs])
    other, other_spread = float(impostors.mean()), float(impostors.std())
    threshold = _threshold(NormalDist(mean, spread), NormalDist(other, other_spread), theirs)
    if threshold >= mean:
        raise FaceError(
            f"The references of {character.profile.name} score {mean:.2f} against one another, and strangers come as "
            "near: no threshold can tell them apart. Leave out references that show somebody else, or not the face."
        )
    near = max(others, key=lambda r: cosine(r.centroid, centroid), default=None)
    nearest = None if near is None else cosine(near.centroid, centroid)
    return Calibration(
        face_model=character.pipeline.pack,
        recogniser=character.pipeline.recogniser,
        references=reference_digest(character),
        threshold=_short(threshold),
        genuine_mean=_short(mean),
        genuine_spread=_short(spread),
        genuine_min=_short(min(genuine)),
        impostor_mean=_short(other),
        impostor_spread=_short(other_spread),
        impostor_max=_short(float(impostors.max())),
        others_max=_short(float(theirs.max())) if len(theirs) else None,
        false_reject=_rate(NormalDist(mean, spread).cdf(threshold)),
        false_accept=_rate(1 - NormalDist(other, other_spread).cdf(threshold)),
        nearest_character="" if near is None else near.slug,
        nearest_similarity=None if nearest is None else _short(nearest),
        margin=None if nearest is None else _short(min(genuine) - nearest),
        reference_count=len(used),
        impostor_count=len(theirs),
        same_person=", ".join(r.slug for r in rivals if all(r is not o for o in others))[:200],
        date=datetime.now(timezone.utc).date().isoformat(),
        tool=f"likeness {__version__}",
    )


def _people(references: Sequence[ReferenceFace]) -> list[list[ReferenceFace]]:
    """Groups of two and more references that no pair above strangers' range joins; one alone is an outlier."""
    groups: list[list[ReferenceFace]] = []
    for r in references:
        near = [g for g in groups if any(cosine(r.face.embedding, o.face.embedding) > NEAR_TWIN for o in g)]
        groups = [g for g in groups if all(g is not n for n in near)]
        groups.append([r, *(o for g in near for o in g)])
    return [g for g in groups if len(g) > 1]


def _spread(genuine: Sequence[float]) -> float:
    """Standard deviation, shrunk towards `SPREAD`."""
    mean = fmean(genuine)
    squares = sum((g - mean) ** 2 for g in genuine)
    return math.sqrt((squares + SPREAD_COUNT * SPREAD**2) / (len(genuine) - 1 + SPREAD_COUNT))


def _threshold(genuine: NormalDist, impostor: NormalDist, theirs: Vector) -> float:
    """Where equally large shares of both are on the wrong side, but above what strangers and others reach."""
    equal = (genuine.mean * impostor.stdev + impostor.mean * genuine.stdev) / (genuine.stdev + impostor.stdev)
    highest = float(theirs.max()) + COPY_MARGIN if len(theirs) else -1.0
    # A look-alike does not shut the character's own pictures out: two in a hundred at most.
    bearable = min(highest, genuine.mean - 2 * genuine.stdev)
    return max(equal, impostor.inv_cdf(1 - FALSE_ACCEPT), bearable)


def _is_same(rival: Rival, centroid: Vector, low: float) -> bool:
    return cosine(rival.centroid, centroid) >= min(low, SAME_PERSON)


def _short(value: float) -> float:
    return round(float(value), 4)


def _rate(value: float) -> float:
    return round(min(max(float(value), 0.0), 1.0), 6)


def save_calibration(library: Library, slug: str, made: Calibration) -> None:
    """Put it into the profile in place of the same recogniser's."""
    library.update(
        slug,
        lambda p: p.model_copy(
            update={"calibrations": (*(c for c in p.calibrations if c.recogniser != made.recogniser), made)}
        ),
    )


def drawn_note(character: Character, engine: Analyser) -> list[str]:
    """What to know of a band of drawn references; [] for photos."""
    drawn = gate_for(engine).for_references([f.face for f in character.used]).references_drawn
    return ["The references look drawn: the expected errors are those of photos, and do not hold."] if drawn else []


def _expected(made: Calibration) -> str:
    """What the assumed distributions say of errors; not a measurement, so the digits are few."""
    rejected, accepted = (_share(rate) for rate in (made.false_reject, made.false_accept))
    return f"expected, not measured: {rejected} of its own pictures rejected, {accepted} of strangers' accepted"


def _share(rate: float) -> str:
    return "under 0.1 %" if rate < 0.001 else f"{rate:.1%}".replace("%", " %")


def report(made: Calibration, name: str) -> str:
    """For people: what was measured, what is assumed, and what follows."""
    lines = [
        f"{name} under {made.face_model}: accepted from {made.threshold:.3f} on.",
        f"Each of {made.reference_count} references against the mean of the others: {made.genuine_mean:.3f} on "
        f"average, the lowest {made.genuine_min:.3f}. Assumed spread {made.genuine_spread:.3f}: so few tell little "
        "about it, and it is drawn towards that of other people's photos.",
        f"Strangers are assumed at {STRANGER_MEAN:.3f} on average, as pairs of other people's photos were."
        + ("" if made.others_max is None else f" {_others(made)}"),
        f"{_expected(made).capitalize()}.",
    ]
    if made.same_person:
        lines.append(
            f"Taken for the same person under another name, and not counted: {made.same_person}. Pictures "
            "of one are accepted for the other."
        )
    if made.nearest_similarity is not None and made.margin is not None:
        close = " They are close: look at pictures near the threshold." if made.nearest_similarity > NEAR_TWIN else ""
        lines.append(
            f"The nearest other character is {made.nearest_character} at {made.nearest_similarity:.3f}, "
            f"{made.margin:.3f} below the lowest reference.{close}"
        )
    else:
        lines.append("The library has no other character to compare with.")
    return "\n".join(lines)


def _others(made: Calibration) -> str:
    return f"{made.impostor_count} faces of the library's other characters score {made.others_max:.3f} at most."
