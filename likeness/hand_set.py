"""A threshold that was set by hand: what the calibrated one would decide, and whether strangers reach it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from .calibration import FALSE_ACCEPT, STRANGER_MEAN, STRANGER_SPREAD, Band, band_of
from .picking import identity_cosine
from .scoring import Judge, Score

Decided = tuple[float | None, bool]  # a measurable picture: its cosine, None where its look decided; accepted or not


@dataclass(frozen=True)
class HandSet:
    """A threshold set by hand, beside what else is known. All are cosines."""

    low: float
    calibrated: float | None  # None without a calibration that counts
    strangers: float  # one stranger in a thousand reaches it, or a face of another character

    def sentences(self, decided: Sequence[Decided]) -> list[str]:
        """What to know about it; [] where there is nothing."""
        said = []
        if self.calibrated is not None and decided and abs(self.calibrated - self.low) >= 5e-4:
            would = sum(ok if cosine is None else cosine >= self.calibrated for cosine, ok in decided)
            now = sum(ok for _, ok in decided)
            said.append(
                f"The threshold {self.low:.3f} is set by hand; calibrated is {self.calibrated:.3f}: {would} of "
                f"{len(decided)} accepted instead of {now}."
            )
        if self.low < self.strangers:
            said.append(
                f"The threshold {self.low:.3f} set by hand is below {self.strangers:.3f}, which strangers reach: "
                "pictures of somebody else may be accepted."
            )
        return said


def hand_set(judge: Judge) -> HandSet | None:
    """None where the threshold was not set by hand."""
    if judge.band.source != "set by hand":
        return None
    known = band_of(judge.character)
    usual = None if known.calibration is None else round(known.low, 4)
    return HandSet(round(judge.band.low, 4), usual, round(_strangers(judge, known), 4))


def _strangers(judge: Judge, known: Band) -> float:
    """As the calibration has measured it, else as it assumes."""
    made, dim = known.calibration, len(judge.character.identity.vector)
    if made is None:
        usual = NormalDist(STRANGER_MEAN, STRANGER_SPREAD.get(dim, max(STRANGER_SPREAD.values())))
        return usual.inv_cdf(1 - FALSE_ACCEPT)
    one_in_a_thousand = NormalDist(made.impostor_mean, max(made.impostor_spread, 1e-6)).inv_cdf(1 - FALSE_ACCEPT)
    return max(one_in_a_thousand, made.others_max if made.others_max is not None else -1.0)


def notes_on(judge: Judge, scores: Sequence[Score]) -> list[str]:
    """The sentences about the threshold of scored pictures; [] where it was not set by hand."""
    about = hand_set(judge)
    decided = [(identity_cosine(s), s.verdict == "accepted") for s in scores if s.verdict != "not measurable"]
    return [] if about is None else about.sentences(decided)
