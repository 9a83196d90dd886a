"""Figures over pictures, and how sure they are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from .rows import Row

Z95 = 1.959964  # standard deviations of a normal distribution that hold 95 %
NOISE = 0.05  # p value from which a difference counts as chance
BIN = 0.05  # cosine
FRONTAL, THREE_QUARTER = 0.15, 0.45  # |yaw index| below which a face is one
POSES = ("frontal", "three-quarter", "profile")


@dataclass(frozen=True)
class Spread:
    """How a figure is distributed."""

    count: int
    mean: float
    sd: float  # of a sample; 0 for one value
    low: float
    quartile1: float
    median: float
    quartile3: float
    high: float


def spread_of(values: Iterable[float | None]) -> Spread | None:
    """None for no value."""
    known = [v for v in values if v is not None]
    if not known:
        return None
    low, q1, median, q3, high = (float(q) for q in np.quantile(known, [0, 0.25, 0.5, 0.75, 1]))
    return Spread(len(known), fmean(known), stdev(known) if len(known) > 1 else 0.0, low, q1, median, q3, high)


def wilson(successes: int, count: int) -> tuple[float, float] | None:
    """95 % interval of a share, 0..1 (Wilson 1927, score interval without correction); None for a count of 0."""
    if count == 0:
        return None
    share, z2 = successes / count, Z95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == count else middle + half)


@dataclass(frozen=True)
class Welch:
    """Welch's t test of two means."""

    t: float
    df: float  # degrees of freedom, Welch-Satterthwaite
    p: float  # two-sided, 0..1

    @property
    def beyond_noise(self) -> bool:
        return self.p < NOISE


def welch(a: Spread, b: Spread) -> Welch | None:
    """None where one has fewer than two values, or neither spreads at all."""
    if min(a.count, b.count) < 2:
        return None
    va, vb = a.sd**2 / a.count, b.sd**2 / b.count
    if va + vb < 1e-18:
        return None
    df = (va + vb) ** 2 / (va**2 / (a.count - 1) + vb**2 / (b.count - 1))
    t = (a.mean - b.mean) / math.sqrt(va + vb)
    return Welch(t, df, _beta_share(df / (df + t * t), df / 2, 0.5))


def _beta_share(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b), 0..1 (DLMF 8.17.22, continued fraction by Lentz)."""
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _beta_share(1.0 - x, b, a)
    front = a * math.log(x) + b * math.log1p(-x) - math.log(a)
    front += math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return min(math.exp(front) / _fraction(x, a, b), 1.0)


def _fraction(x: float, a: float, b: float) -> float:
    """1 + d1/(1 + d2/(1 + ...)) of DLMF 8.17.22."""
    tiny = 1e-300
    value, c, d = 1.0, 1.0, 0.0
    for step in range(1, 500):
        m = step // 2
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        term = odd if step % 2 else m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / (1.0 + term * d or tiny)
        c = 1.0 + term / c or tiny
        value *= c * d
        if abs(c * d - 1.0) < 1e-12:
            break
    return value


@dataclass(frozen=True)
class Tally:
    """Some pictures together, without those that are references themselves. A rate is a share, 0..1, and None where
    there is nothing to divide by."""

    pictures: int
    accepted: int
    rejected: int
    references: int  # pictures that are references themselves; nothing below counts them
    copies: int  # accepted or rejected, but nearer to a reference than `calibration.copy_limit`
    drawn: int
    reasons: tuple[tuple[str, int], ...]  # kind of reason, most frequent first; of all that are not accepted
    similarity: Spread | None  # cosine, over the measurable ones
    second: Spread | None  # the independent encoder's
    second_accepted: int  # of those
    style: Spread | None
    style_kept: int  # of those, at or above the limit

    @property
    def measurable(self) -> int:
        return self.accepted + self.rejected

    @property
    def not_measurable(self) -> int:
        return self.pictures - self.measurable - self.references

    @property
    def rate(self) -> float | None:
        """Consistency rate: accepted / measurable."""
        return self.accepted / self.measurable if self.measurable else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %, of the rate."""
        return wilson(self.accepted, self.measurable)


def tally(rows: Sequence[Row], second_low: float | None, style_good: float) -> Tally:
    """`second_low`: from which the second encoder accepts; None without one."""
    pictures, rows = len(rows), [r for r in rows if not r.is_reference]
    reasons = Counter(kind_of(r.reason) for r in rows if not r.accepted)
    second = [r.second for r in rows if r.second is not None]
    style = [r.style for r in rows if r.style is not None]
    return Tally(
        pictures,
        sum(r.accepted for r in rows),
        sum(r.measurable and not r.accepted for r in rows),
        pictures - len(rows),
        sum(r.copy for r in rows),
        sum(r.drawn for r in rows),
        tuple(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        spread_of(r.similarity for r in rows),
        spread_of(second),
        0 if second_low is None else sum(s >= second_low for s in second),
        spread_of(style),
        sum(s >= style_good for s in style),
    )


def kind_of(reason: str) -> str:
    """A reason without this picture's figures: "the face is too small"."""
    if reason.startswith("similarity "):
        return "less alike than the band asks for"
    if reason.endswith("says another character"):
        return f"{reason.split(' difference')[0]} says another character"
    return reason.split(" (")[0]


def pose_of(row: Row) -> str | None:
    """Of POSES, by the measured yaw; None without a face."""
    if row.yaw is None:
        return None
    return POSES[(abs(row.yaw) >= FRONTAL) + (abs(row.yaw) >= THREE_QUARTER)]


def histogram(values: Iterable[float | None]) -> list[tuple[float, int]]:
    """(left edge, count) of bins of `BIN` from the lowest to the highest value, without gaps; [] for no value."""
    counts = Counter(min(math.floor(v / BIN + 1e-9), round(1 / BIN) - 1) for v in values if v is not None)
    if not counts:
        return []
    return [(round(i * BIN, 2), counts[i]) for i in range(min(counts), max(counts) + 1)]
