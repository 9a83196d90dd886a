"""Which of several scored pictures to take: split by verdict, ranked, the best ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import LikenessError
from .scoring import VERDICTS, Look, Score, Verdict

Cosine = float


@dataclass(frozen=True)
class Split:
    """Indices of pictures by verdict, 0.., each list in the order of the pictures."""

    accepted: tuple[int, ...]
    rejected: tuple[int, ...]
    not_measurable: tuple[int, ...]

    def by_verdict(self) -> Mapping[Verdict, tuple[int, ...]]:
        return dict(zip(VERDICTS, (self.accepted, self.rejected, self.not_measurable), strict=True))


def numbered(index: int) -> str:
    """A picture of a batch for people, who count from 1, with the index that outputs give: "image 3 (index 2)"."""
    return f"image {index + 1} (index {index})"


def check_lengths(pictures: int, scores: Sequence[Score], **others: int | None) -> None:
    """LikenessError unless there is one score, and one of each of the others, per picture."""
    for what, count in {"scores": len(scores), **others}.items():
        if count is not None and count != pictures:
            raise LikenessError(
                f"There are {pictures} pictures but {count} {what}: connect the {what} of these same pictures."
            )


def identity_cosine(score: Score) -> Cosine | None:
    """The cosine that decides, -1..1; None where nothing was measured, and where the look of a drawn face decided."""
    decided = score.chosen is not None and score.chosen.drawn and _decides(score.chosen.look)
    return None if decided else score.similarity


def _decides(look: Look | None) -> bool:
    return look is not None and look.same is not None


def verdict_at(score: Score, threshold: Cosine | None = None) -> Verdict:
    """The verdict with another threshold, -1..1; None: as scored. Only a cosine that was measured is decided anew."""
    cosine = identity_cosine(score)
    if threshold is None or cosine is None:
        return score.verdict
    return "accepted" if cosine >= threshold else "rejected"


def split(scores: Sequence[Score], threshold: Cosine | None = None) -> Split:
    """Every index of `scores` in exactly one of the three lists."""
    verdicts = [verdict_at(s, threshold) for s in scores]
    return Split(*(tuple(i for i, v in enumerate(verdicts) if v == wanted) for wanted in VERDICTS))


def ranking(scores: Sequence[Score], *, avoid_copies: bool = False, threshold: Cosine | None = None) -> list[int]:
    """All indices, best first: the accepted, then the rejected, then what could not be measured; each group by
    similarity, and by order where that is equal.

    `avoid_copies` puts pictures that may be copies of a reference last among the accepted. Drawn faces that their look
    decided come after the others of their group, by its difference (lower is more alike).
    """
    return sorted(range(len(scores)), key=lambda i: _rank(scores[i], avoid_copies, threshold))


def _rank(score: Score, avoid_copies: bool, threshold: Cosine | None) -> tuple[int, bool, bool, float]:
    group = VERDICTS.index(verdict_at(score, threshold))
    copy = avoid_copies and group == 0 and is_copy(score)
    cosine = identity_cosine(score)
    if cosine is not None:
        return group, copy, False, -cosine
    look = score.look if score.chosen is None else score.chosen.look
    return group, copy, True, look.value if look is not None and _decides(look) else 0.0


def is_copy(score: Score) -> bool:
    return score.chosen is not None and score.chosen.copy


def best(
    scores: Sequence[Score],
    count: int,
    among: Sequence[Verdict] = VERDICTS,
    *,
    avoid_copies: bool = False,
    threshold: Cosine | None = None,
) -> list[int]:
    """At most `count` indices with one of those verdicts, best first."""
    order = ranking(scores, avoid_copies=avoid_copies, threshold=threshold)
    return [i for i in order if verdict_at(scores[i], threshold) in among][:count]


def highest(scores: Sequence[Score]) -> Cosine | None:
    """The highest cosine; None when nothing was measured."""
    return max((c for s in scores if (c := identity_cosine(s)) is not None), default=None)


def as_text(indices: Sequence[int]) -> str:
    """ "0,2,5"."""
    return ",".join(map(str, indices))
