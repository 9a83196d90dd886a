"""Drawing again with other seeds until enough pictures are accepted, and keeping the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from .picking import best, ranking
from .score_view import Shown, score_row
from .scoring import VERDICTS, Score, describe

P = TypeVar("P")
MAX_SEED = 2**64 - 1


def next_seed(seed: int, steps: int = 1) -> int:
    """The seed so many attempts later; after the highest comes 0."""
    return (seed + steps) % (MAX_SEED + 1)


@dataclass(frozen=True, repr=False)
class Kept(Generic[P]):
    """A picture that may be among the best."""

    seed: int
    score: Score
    picture: P


@dataclass(frozen=True, repr=False)
class BestOf(Generic[P]):
    """The attempts so far. Holds at most `wanted` pictures, however many attempts there were."""

    wanted: int
    limit: int  # attempts
    avoid_copies: bool = False
    attempts: int = 0
    accepted: int = 0  # pictures so far, also those that are no longer kept
    kept: tuple[Kept[P], ...] = ()  # best first
    lines: tuple[str, ...] = ()  # one per picture so far
    rows: tuple[Shown, ...] = ()  # the same for the editor

    def add(self, seed: int, scored: Sequence[tuple[Score, P]]) -> BestOf[P]:
        """With one more attempt, which may have drawn several pictures."""
        found = [*self.kept, *(Kept(seed, score, picture) for score, picture in scored)]
        order = ranking([k.score for k in found], avoid_copies=self.avoid_copies)
        return replace(
            self,
            attempts=self.attempts + 1,
            accepted=self.accepted + sum(s.verdict == "accepted" for s, _ in scored),
            kept=tuple(found[i] for i in order[: self.wanted]),
            lines=(*self.lines, *(f"seed {seed}: {describe(score)}" for score, _ in scored)),
            rows=(*self.rows, *(score_row(score) for score, _ in scored)),
        )

    @property
    def done(self) -> bool:
        return self.accepted >= self.wanted or self.attempts >= self.limit

    def chosen(self, only_accepted: bool) -> tuple[Kept[P], ...]:
        """The best `wanted` pictures, or as many of them as were accepted."""
        among = ("accepted",) if only_accepted else VERDICTS
        return tuple(
            self.kept[i] for i in best([k.score for k in self.kept], self.wanted, among, avoid_copies=self.avoid_copies)
        )

    def outcome(self) -> str:
        """One sentence."""
        attempts = f"{self.attempts} attempt{'' if self.attempts == 1 else 's'}"
        if self.accepted >= self.wanted:
            return f"{self.accepted} accepted after {attempts}; {self.wanted} wanted."
        return f"Only {self.accepted} of {self.wanted} wanted were accepted in {attempts}, which is the limit."

    def report(self) -> str:
        return "\n".join([self.outcome(), *self.lines])
