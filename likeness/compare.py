"""Pictures of a character on the same seeds, as it is drawn now and with a LoRA version: which are better?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from statistics import fmean

import numpy as np

from . import __version__
from .errors import LibraryError, LikenessError
from .images import RGB8
from .library import Library
from .lora_versions import OTHER_METHODS, chosen, family_with, find_version, with_loras, with_settings
from .lora_words import line_of
from .method import method_for
from .profile import BaseSettings, Comparison, Profile
from .report.statistics import NOISE
from .scoring import Score

RULE = (
    "Rule: a version takes over when its consistency rate (accepted / measurable) is higher, and more of its "
    "pictures are accepted without being a copy of a reference; a tie changes nothing."
)


@dataclass(frozen=True)
class Side:
    """The pictures of one way to draw."""

    scores: tuple[Score, ...]

    @property
    def measurable(self) -> int:
        return sum(s.verdict != "not measurable" for s in self.scores)

    @property
    def accepted(self) -> int:
        return sum(s.verdict == "accepted" for s in self.scores)

    @property
    def copies(self) -> int:
        """Pictures that are nearer to a reference than `calibration.copy_limit`."""
        return sum(_copy(s) for s in self.scores)

    @property
    def good(self) -> int:
        """Accepted, and no copy; what could not be measured is not among them."""
        return sum(s.verdict == "accepted" and not _copy(s) for s in self.scores)

    @property
    def rate(self) -> float | None:
        """Consistency rate, accepted / measurable, 0..1; None where nothing could be measured."""
        return self.accepted / self.measurable if self.measurable else None

    @property
    def similarity(self) -> float | None:
        """Mean cosine of the measurable pictures, -1..1; None where there is none."""
        known = [s.similarity for s in self.scores if s.similarity is not None and math.isfinite(s.similarity)]
        return min(max(fmean(known), -1.0), 1.0) if known else None

    def __str__(self) -> str:
        if self.rate is None:
            return f"none of {len(self.scores)} pictures could be measured"
        mean = "" if self.similarity is None else f", mean similarity {self.similarity:.3f}"
        copies = f", {self.copies} copies of references" if self.copies else ""
        missing = len(self.scores) - self.measurable
        unseen = f", {missing} not measurable" if missing else ""
        return f"{self.rate:.2f} ({self.accepted} of {self.measurable} accepted{unseen}{copies}){mean}"


def _copy(score: Score) -> bool:
    return score.chosen is not None and score.chosen.copy


@dataclass(frozen=True)
class Outcome:
    """What the pictures say."""

    present: Side
    candidate: Side

    @property
    def better(self) -> int:
        """Pairs of which only the candidate's picture is accepted, of those that could both be measured."""
        return self._pairs("rejected", "accepted")

    @property
    def worse(self) -> int:
        return self._pairs("accepted", "rejected")

    def _pairs(self, present: str, candidate: str) -> int:
        both = zip(self.present.scores, self.candidate.scores, strict=True)
        return sum((a.verdict, b.verdict) == (present, candidate) for a, b in both)

    @property
    def p(self) -> float | None:
        return mcnemar(self.better, self.worse)

    @property
    def wins(self) -> bool:
        return not self.obstacle

    @property
    def obstacle(self) -> str:
        """Why the candidate does not take over, "" where it does."""
        ours, theirs = self.candidate, self.present
        if ours.rate is None:
            return "none of its pictures could be measured"
        if theirs.rate is None:
            return "none of the present pictures could be measured, so there is no rate that its own could be above"
        if ours.rate <= theirs.rate:
            return f"its consistency rate is {'the same' if ours.rate == theirs.rate else 'lower'}"
        if ours.good <= theirs.good:
            return (
                f"its rate is higher, but {ours.good} of its pictures are accepted and no copy, against {theirs.good}: "
                "there must be more, and pictures that cannot be measured and copies of references are none"
            )
        return ""

    def chance(self) -> str:
        if self.p is None:
            return "In no pair is only one of the two accepted."
        often = "more than chance explains" if self.p < NOISE else "which may be chance; more seeds would tell"
        return (
            f"Only its picture is accepted in {self.better} pairs, only the other in {self.worse}: "
            f"p = {self.p:.3f} (exact McNemar test), {often}."
        )


def compare(present: Sequence[Score], candidate: Sequence[Score]) -> Outcome:
    """The scores of pairs, in order."""
    return Outcome(Side(tuple(present)), Side(tuple(candidate)))


def check_pairs(present: Sequence[RGB8], candidate: Sequence[RGB8]) -> None:
    """LikenessError when the pictures are no pairs, or when all are the same: then there is nothing to compare."""
    if len(present) != len(candidate) or not present:
        raise LikenessError(
            f"There are {len(present)} pictures of the present method and {len(candidate)} of the version: draw both "
            "with the same seeds, one picture each."
        )
    if all(np.array_equal(a, b) for a, b in zip(present, candidate, strict=True)):
        raise LikenessError(
            "Both batches hold the same pictures, so there is nothing to compare: draw one with the character as it "
            "is, the other with the version (Load Character's lora_version, or Register LoRA's candidate). A LoRA "
            "that was never trained changes nothing, too."
        )


def pairs(present: Sequence[RGB8], candidate: Sequence[RGB8]) -> list[RGB8]:
    """Each pair side by side, all of one size, with grey where a picture is smaller."""
    both = [*present, *candidate]
    height, width = (max(picture.shape[axis] for picture in both) for axis in (0, 1))

    def padded(picture: RGB8) -> RGB8:
        frame = np.full((height, width, 3), 128, np.uint8)
        frame[: picture.shape[0], : picture.shape[1]] = picture
        return frame

    return [np.hstack([padded(a), padded(b)]) for a, b in zip(present, candidate, strict=True)]


def mcnemar(better: int, worse: int) -> float | None:
    """Exact two-sided p value of McNemar's test; None without a pair that differs.

    McNemar 1947 (Psychometrika 12, 153) in its exact form: the pairs that differ are a binomial sample of p = 1/2
    (Agresti, Categorical Data Analysis, 10.1.4).
    """
    count = better + worse
    if count == 0:
        return None
    tail = sum(math.comb(count, k) for k in range(min(better, worse) + 1))
    return min(1.0, 2 * tail / 2**count)


# ---- the profile


@dataclass(frozen=True)
class Circumstances:
    """How the pictures were made and measured."""

    seen: Profile  # the present pictures were drawn with this
    has_faceid: bool  # whether the face could steer on that family
    face_model: str
    conditioned: bool
    seeds: str = ""


@dataclass(frozen=True)
class Settled:
    """What became of a comparison."""

    profile: Profile
    family: str
    comparison: Comparison

    @property
    def switched(self) -> bool:
        return self.comparison.switched


def drawn_by(settings: BaseSettings, has_faceid: bool) -> str:
    """How a character is drawn: "faceid_only", "lora_faceid v2"."""
    lora = settings.lora
    method = settings.method if settings.method != "auto" else method_for(lora is not None, has_faceid)
    return f"{method} v{lora.version}" if lora is not None and method.startswith("lora") else method


def candidate_of(profile: Profile, number: int = 0, family: str | None = None) -> tuple[int, str]:
    """(version, family) of pictures that are there: the version of that number, or for 0 the only one that does not
    draw.

    LibraryError when there is none, when several wait, or when it draws the character anyway.
    """
    if number == 0:
        found, numbers = _waiting(profile, family)
        if len(numbers) > 1:
            raise LibraryError(
                f"{profile.name} has several LoRA versions that do not draw on {found} ({_listed(numbers)}), and the "
                "pictures do not tell which of them drew: give its number as version, for example Register LoRA's."
            )
        return numbers[0], found
    found = family_with(profile, number, family)
    active = profile.settings(found).lora
    if active is not None and active.version == number and profile.settings(found).method not in OTHER_METHODS:
        raise LibraryError(
            f"Version {number} draws {profile.name} on {found} already: compare another one, and give the character "
            "as it is saved."
        )
    return number, found


def newest_waiting(profile: Profile, family: str | None = None) -> tuple[int, str]:
    """(version, family) to draw and compare. LibraryError when none waits, or some on several families do."""
    found, numbers = _waiting(profile, family)
    return numbers[-1], found


def _waiting(profile: Profile, family: str | None) -> tuple[str, list[int]]:
    """(family, versions that do not draw, the newest last)."""
    bases = {f: s for f, s in profile.base.items() if family in (None, f)}
    waiting = {str(f): sorted(v.version for v in s.loras if not v.active) for f, s in bases.items()}
    waiting = {f: numbers for f, numbers in waiting.items() if numbers}
    if len(waiting) != 1:
        told = f"has such on {', '.join(waiting)}: say the family" if waiting else "has none: register one"
        raise LibraryError(f"A LoRA version that does not draw yet was to be compared, and {profile.name} {told}.")
    return next(iter(waiting.items()))


def _listed(numbers: Sequence[int], most: int = 10) -> str:
    return ", ".join(map(str, numbers[-most:])) + (" and older ones" if len(numbers) > most else "")


def settle(
    library: Library, number: int, family: str, outcome: Outcome, about: Circumstances, switch: bool = True
) -> Settled:
    """Write the evidence into the profile, and draw with the version from now on where it has won and `switch` is on.

    LibraryError when the version was removed or replaced meanwhile. A profile that draws otherwise than it did when
    the pictures were made stays as it is, with the evidence.
    """
    made: list[Comparison] = []

    def change(profile: Profile) -> Profile:
        version = find_version(profile, family, number)
        seen = next((v for v in about.seen.settings(family).loras if v.version == number), version)
        if (seen.file, seen.sha256) != (version.file, version.sha256):
            raise LibraryError(f"Version {number} of {profile.name} was replaced meanwhile: compare it again.")
        made.append(_evidence(outcome, about, number, family, profile, switch))
        changed = _with_evidence(profile, family, number, made[-1])
        return chosen(changed, family, number) if made[-1].switched else changed

    return Settled(library.update(about.seen.slug, change), family, made[-1])


def _way(profile: Profile, family: str) -> tuple[object, ...]:
    """All of a profile that shapes the pictures of a family."""
    s = profile.settings(family)
    lora = None if s.lora is None else (s.lora.file, s.lora.sha256)
    words = (profile.trigger, profile.class_word, profile.description, profile.negative)
    face = (profile.references, profile.face_model)
    return (s.method, s.preset, lora, s.faceid, s.strengths, s.sampling, *words, *face)


def _with_evidence(profile: Profile, family: str, number: int, evidence: Comparison) -> Profile:
    settings = profile.settings(family)
    rows = [v.model_copy(update={"comparison": evidence}) if v.version == number else v for v in settings.loras]
    return with_settings(profile, family, with_loras(settings, rows, None))


def _evidence(
    outcome: Outcome, about: Circumstances, number: int, family: str, profile: Profile, switch: bool
) -> Comparison:
    """`profile` is the saved one, which may have been changed since the pictures were drawn."""
    ours, theirs = outcome.candidate, outcome.present
    settings = about.seen.settings(family)
    against, now = (drawn_by(p.settings(family), about.has_faceid) for p in (about.seen, profile))
    same = _way(profile, family) == _way(about.seen, family)
    switched = outcome.wins and same and switch
    lines = [_headline(outcome, number, against, now, switched, switch)]
    lines += [f"Version {number}: {ours}.", f"{against}: {theirs}.", outcome.chance(), RULE]
    if switched and settings.strengths.source == "swept":
        lines.append("The strengths were swept without this version: tune them again.")
    return Comparison(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool=f"likeness {__version__}",
        pictures=len(ours.scores),
        seeds=line_of(about.seeds),
        rate=_rounded(ours.rate),
        similarity=_rounded(ours.similarity),
        measurable=ours.measurable,
        copies=ours.copies,
        against=against,
        against_rate=_rounded(theirs.rate),
        against_similarity=_rounded(theirs.similarity),
        against_measurable=theirs.measurable,
        against_copies=theirs.copies,
        better=outcome.better,
        worse=outcome.worse,
        p=_rounded(outcome.p),
        face_model=line_of(about.face_model),
        conditioned=about.conditioned,
        switched=switched,
        verdict="\n".join(lines),
    )


def _headline(outcome: Outcome, number: int, against: str, now: str, switched: bool, switch: bool) -> str:
    """`against` drew the present pictures, `now` is what draws the character where it is not switched."""
    stays = f"{against} stays: version {number}" if now == against else f"Version {number}"
    since = "" if now == against else f", and draws with {now} by now"
    if switched:
        return f"Version {number} takes over from {against}."
    if not outcome.wins and not since:
        return f"{stays} does not take over, because {outcome.obstacle}."
    if not outcome.wins:
        return f"{stays} does not take over from {against}, because {outcome.obstacle}; the profile was changed{since}."
    if not switch:
        return (
            f"Version {number} would take over from {against}; the profile stays, because it was only to be reported."
        )
    return f"{stays} has won, but the profile was changed after the pictures were drawn{since}. Compare again."


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
