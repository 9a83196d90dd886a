"""Plots as SVG inside a page: no script, no fonts of their own; colours are classes of the page's style."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from .document import Group, Report
from .statistics import BIN, FRONTAL, THREE_QUARTER, histogram

_WIDTH = 912  # units of the view box
_LEFT, _RIGHT = 44, 14
MAX_DOTS = 1200  # in one plot
MAX_STRIPS, _STRIP_DOTS = 16, 60


class _Axis:
    """Maps values to units, with a round step between ticks."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self._start, self._end = low, high, start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self) -> list[float]:
        span = self.high - self.low
        step = next((s for s in (0.05, 0.1, 0.2, 0.5) if span / s <= 9), 1.0)
        first = -int(-self.low / step + 1e-9) if self.low < 0 else int(self.low / step + 1 - 1e-9)
        count = int((self.high - first * step) / step + 1e-9) + 1
        return [round((first + i) * step, 2) for i in range(count)]


def similarity_axis(report: Report) -> tuple[float, float]:
    """What all plots of similarity show: all values and the band, at most -1..1."""
    bins = histogram([*(r.similarity for r in report.counted), report.about.band])
    return max(bins[0][0] - BIN, -1.0), min(bins[-1][0] + 2 * BIN, 1.0)


def histogram_plot(report: Report) -> str:
    """How many pictures have which similarity, and where the band begins."""
    low, high = similarity_axis(report)
    bins = histogram(r.similarity for r in report.counted)
    height, base, x = 240, 204, _Axis(low, high, _LEFT, _WIDTH - _RIGHT)
    most = max((n for _, n in bins), default=1)
    parts = [*_frame(x, 18, base, "similarity (cosine)"), _band(x, report.about.band, 18, base)]
    for edge, count in bins:
        if count:
            top = base - (base - 48) * count / most
            width = x(edge + BIN) - x(edge) - 2
            kind = "bar" if edge + BIN / 2 >= report.about.band else "bar low"
            title = f"<title>{edge:.2f} to {edge + BIN:.2f}: {count}</title>"
            parts.append(
                f'<rect class="{kind}" x="{x(edge) + 1:.1f}" y="{top:.1f}" width="{width:.1f}" '
                f'height="{base - top:.1f}" rx="2">{title}</rect>'
            )
            parts.append(_text(x(edge + BIN / 2), top - 5, f"{count:,}", "count"))
    return _svg(height, "Histogram of the similarity of all measurable pictures", parts)


def strip_plot(groups: Sequence[Group], limits: tuple[float, float], band: float) -> str:
    """A line a group: its pictures as dots, quartiles as a box, median as a bar."""
    rows = [g for g in groups if g.tally.similarity is not None][:MAX_STRIPS]
    label, step = 214, 34
    height, x = 34 + step * len(rows) + 40, _Axis(*limits, label, _WIDTH - _RIGHT)
    parts = [*_frame(x, 18, height - 36, "similarity (cosine)"), _band(x, band, 18, height - 36)]
    for i, group in enumerate(rows):
        parts += _strip(group, x, 34 + step * i + step / 2, label)
    return _svg(height, "Similarity of each group", parts)


def _strip(group: Group, x: _Axis, y: float, label: int) -> Iterator[str]:
    s = group.tally.similarity
    assert s is not None
    yield _text(label - 10, y + 4, _short(group.value), "name")
    every = max(len(group.similarities) // _STRIP_DOTS, 1)
    for i, value in enumerate(sorted(group.similarities)[::every]):
        yield f'<circle class="dot" cx="{x(value)}" cy="{y + (i * 7 % 5 - 2) * 2.4:.1f}" r="2.2"/>'
    yield f'<line class="whisker" x1="{x(s.low)}" x2="{x(s.high)}" y1="{y}" y2="{y}"/>'
    yield (
        f'<rect class="box" x="{x(s.quartile1)}" y="{y - 8}" width="{max(x(s.quartile3) - x(s.quartile1), 1):.1f}" '
        f'height="16" rx="2"><title>{escape(group.value)}: median {s.median:.3f}, quartiles {s.quartile1:.3f} and '
        f"{s.quartile3:.3f}</title></rect>"
    )
    yield f'<line class="median" x1="{x(s.median)}" x2="{x(s.median)}" y1="{y - 9}" y2="{y + 9}"/>'


def yaw_plot(report: Report) -> str:
    """Similarity against how far the head is turned."""
    dots = [(r.yaw, r.similarity, r.accepted) for r in report.counted if r.yaw is not None and r.similarity is not None]
    dots = dots[:: -(-len(dots) // MAX_DOTS) or 1]
    reach = min(max([0.6, *(abs(yaw) for yaw, _, _ in dots)]), 1.5)
    low, high = similarity_axis(report)
    height, base = 260, 220
    x, y = _Axis(-reach, reach, _LEFT, _WIDTH - _RIGHT), _Axis(low, high, base, 18)
    parts = [*_frame(x, 18, base, "yaw (0 frontal, ± profile)")]
    parts += [_text(_LEFT - 8, y(t) + 4, f"{t:g}", "name") for t in y.ticks()]
    parts.append(f'<line class="band" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(report.about.band)}" '
                 f'y2="{y(report.about.band)}"/>')  # fmt: skip
    for edge in (-THREE_QUARTER, -FRONTAL, FRONTAL, THREE_QUARTER):
        parts.append(f'<line class="edge" x1="{x(edge)}" x2="{x(edge)}" y1="18" y2="{base}"/>')
    for yaw, similarity, accepted in dots:
        kind = "dot" if accepted else "dot low"
        parts.append(f'<circle class="{kind}" cx="{x(min(max(yaw, -reach), reach))}" cy="{y(similarity)}" r="2.6"/>')
    return _svg(height, "Similarity against the yaw of the head", parts)


def _frame(x: _Axis, top: float, base: float, title: str) -> Iterator[str]:
    for tick in x.ticks():
        yield f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="{top}" y2="{base}"/>'
        yield _text(x(tick), base + 15, f"{tick:g}", "tick")
    yield f'<line class="axis" x1="{x(x.low)}" x2="{x(x.high)}" y1="{base}" y2="{base}"/>'
    yield _text(x(x.high), base + 30, title, "title")


def _band(x: _Axis, band: float, top: float, base: float) -> str:
    line = f'<line class="band" x1="{x(band)}" x2="{x(band)}" y1="{top - 4}" y2="{base}"/>'
    left = x(band) > _WIDTH * 0.75
    return line + _text(x(band) + (-6 if left else 6), top + 5, f"accepted from {band:.3f}", "mark left" if left else
                        "mark")  # fmt: skip


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _short(text: str, most: int = 28) -> str:
    """The end of a long value: file names differ there."""
    return text if len(text) <= most else f"…{text[1 - most :]}"


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
