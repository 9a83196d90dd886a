"""What the editor shows of scores: one small row of plain values per picture. No embedding, no path."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .picking import is_copy, verdict_at
from .report.rows import Row
from .scoring import Score

MOST = 200  # rows

Shown = dict[str, object]  # name, verdict, reason, similarity, accept_from, was, second, copy; cosines or None


def score_row(score: Score, threshold: float | None = None, was: float | None = None) -> Shown:
    """`threshold`: a cosine that decides anew, as the gate does; `was`: the similarity before something was done."""
    verdict, reason = verdict_at(score, threshold), score.reason
    if verdict != score.verdict:
        below = f"similarity {score.similarity:.3f} is below {threshold:.3f} (set by hand)"
        reason = "" if verdict == "accepted" else below
    second = None if score.chosen is None else score.chosen.second
    return {
        "name": score.name,
        "verdict": verdict,
        "reason": reason,
        "similarity": _rounded(score.similarity),
        "accept_from": _rounded(score.accept_from if threshold is None else threshold),
        "was": _rounded(was),
        "second": _rounded(second),
        "copy": is_copy(score),
    }


def score_rows(scores: Sequence[Score], threshold: float | None = None, before: Sequence[Score] = ()) -> list[Shown]:
    """In order, `MOST` at most. `before`: the scores of the same pictures before something was done."""
    was = [score.similarity for score in before] or [None] * len(scores)
    return [score_row(s, threshold, w) for s, w in zip(scores[:MOST], was, strict=False)]


def report_rows(rows: Sequence[Row], accept_from: float) -> list[Shown]:
    """Of a report, least alike first and what could not be measured last, `MOST` at most."""
    order = sorted(rows, key=lambda r: (r.similarity is None, r.similarity or 0.0, r.name))
    return [
        {
            "name": row.name,
            "verdict": row.verdict,
            "reason": row.reason,
            "similarity": _rounded(row.similarity),
            "accept_from": _rounded(accept_from),
            "was": None,
            "second": _rounded(row.second),
            "copy": row.copy,
        }
        for row in order[:MOST]
    ]


def _rounded(value: float | None) -> float | None:
    """None for what is no number, too: browsers read no NaN. Shown with three digits; rounded to four before, one in
    twenty would differ from the report."""
    return None if value is None or not math.isfinite(value) else round(value, 6)
