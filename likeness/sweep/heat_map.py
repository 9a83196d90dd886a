"""A sweep as a picture: one table of coloured cells per measure, and per combination of the axes beyond two.

Colours run from dark to light with the value, so that the picture reads the same in grey and to colour-blind people;
every cell also carries its number. Winner and control are told by letters and frames, not by colour.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..images import RGB8
from .plan import Axis, Cell, Value, number
from .score import CellScore, Outcome

# Stops of a map whose lightness rises evenly from dark blue over green to yellow (as matplotlib's viridis does).
_STOPS = ((68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 209, 81), (253, 231, 37))
_PAPER, _INK, _FAINT, _EMPTY = (255, 255, 255), (20, 20, 20), (110, 110, 110), (236, 236, 236)
_CELL_W, _CELL_H = 88, 60  # px
_TEXT, _SMALL, _TITLE, _LEGEND = 17, 12, 19, 15  # px
_GAP, _MARGIN = 28, 20  # px
_HEAD = 66  # px above a table: measure, other axes, column axis
_MAX_LABEL = 11  # characters
MAX_TABLES = 40  # below one another; all are in the table of texts

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class _Table:
    """One table of the picture."""

    measure: str
    rest: tuple[tuple[str, Value], ...]  # the values of the axes beyond two


def heat_map(outcome: Outcome) -> RGB8:
    """uint8 [H, W, 3]. Measures stand side by side; with more than two axes every combination has a row
    of its own, `MAX_TABLES` at most."""
    axes = outcome.plan.axes
    rows, columns = axes[0], axes[1] if len(axes) > 1 else None
    legend = _legend(outcome)
    rests = _rests(outcome)
    measures = [m for m in _measures(outcome) if any(_value(m, row) is not None for row in outcome.rows)]
    width, height = _table_size(rows, columns)
    size = (
        2 * _MARGIN + max(len(measures) * (width + _GAP), *(_length(line) for line in legend)),
        2 * _MARGIN + len(rests) * (height + _GAP) + len(legend) * (_TEXT + 6),
    )
    image = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(image)
    for r, rest in enumerate(rests):
        for m, measure in enumerate(measures):
            corner = (_MARGIN + m * (width + _GAP), _MARGIN + r * (height + _GAP))
            _draw_table(draw, corner, outcome, _Table(measure, tuple(rest)), rows, columns)
    for i, line in enumerate(legend):
        at = (_MARGIN, size[1] - _MARGIN - (len(legend) - i) * (_TEXT + 6))
        draw.text(at, line, fill=_INK, font=ImageFont.load_default(_LEGEND))
    return np.asarray(image).copy()


def _rests(outcome: Outcome) -> list[tuple[tuple[str, Value], ...]]:
    """The combinations of the axes beyond two, those of the best cells where there are too many for a picture."""
    best = dict.fromkeys(row.cell.values[2:] for row in outcome.rows)
    shown = set(itertools.islice(best, MAX_TABLES))
    return [rest for rest in dict.fromkeys(cell.values[2:] for cell in outcome.plan.cells) if rest in shown]


def _length(line: str, size: int = _LEGEND) -> int:
    return int(ImageFont.load_default(size).getlength(line)) + 1


def _measures(outcome: Outcome) -> list[str]:
    return ["likeness", "prompt score", outcome.variety_measure]


def _value(measure: str, row: CellScore) -> float | None:
    return {"likeness": row.likeness, "prompt score": row.prompt}.get(measure, row.variety)


def _legend(outcome: Outcome) -> list[str]:
    plan, winner = outcome.plan, outcome.winner
    told = f"no winner: {outcome.no_winner}"
    if winner is not None and winner.likeness is not None:
        told = f"W = winner: {_named(winner.cell)}; likeness {winner.likeness:.3f}"
    combinations = len({cell.values[2:] for cell in plan.cells})
    left = f"; the best {MAX_TABLES} of {combinations} combinations" if combinations > MAX_TABLES else ""
    prompts = f"; mean of {len(plan.prompts)} prompts" if len(plan.prompts) > 1 else ""
    return [
        told,
        f"C = control: {_named(outcome.control.cell)}",
        f"n = seeds drawn; n/m = not measurable{prompts}{left}",
    ]


def _named(cell: Cell) -> str:
    return ", ".join(f"{name} {_short(value, 40)}" for name, value in cell.values)


def _table_size(rows: Axis, columns: Axis | None) -> tuple[int, int]:
    count = 1 if columns is None else len(columns.values)
    return _label_width(rows) + count * _CELL_W, _HEAD + len(rows.values) * _CELL_H


def _label_width(rows: Axis) -> int:
    """Of the row's names, px."""
    return 16 + max(_length(_short(value), _SMALL) for value in rows.values)


def _draw_table(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    outcome: Outcome,
    table: _Table,
    rows: Axis,
    columns: Axis | None,
) -> None:
    x, y = corner
    small, rest = ImageFont.load_default(_SMALL), ", ".join(f"{n} {_short(v)}" for n, v in table.rest)
    draw.text((x, y), table.measure, fill=_INK, font=ImageFont.load_default(_TITLE))
    draw.text((x, y + 24), rest, fill=_FAINT, font=small)
    across = "" if columns is None else f"{columns.name} across"
    draw.text((x, y + 38), "; ".join(filter(None, (f"{rows.name} down", across))), fill=_FAINT, font=small)
    span = _span([v for row in outcome.rows if (v := _value(table.measure, row)) is not None])
    by_cell = {row.cell.values: row for row in outcome.rows}
    label = _label_width(rows)
    x, y = x + label, y + _HEAD
    for c, value in enumerate(columns.values if columns else ()):
        _centred(draw, (x + c * _CELL_W, y - 14, _CELL_W, 14), _short(value), _SMALL, _INK)
    for r, down in enumerate(rows.values):
        _centred(draw, (x - label, y + r * _CELL_H, label, _CELL_H), _short(down), _SMALL, _INK)
        for c, across_value in enumerate(columns.values if columns else (None,)):
            over = ((columns.name, across_value),) if columns is not None and across_value is not None else ()
            row = by_cell[((rows.name, down), *over, *table.rest)]
            box = (x + c * _CELL_W, y + r * _CELL_H, _CELL_W, _CELL_H)
            none = "-" if table.measure == outcome.variety_measure or not row.seeds else "n/m"
            _draw_cell(draw, box, _value(table.measure, row), span, none, row.seeds, _mark(outcome, row.cell))


def _mark(outcome: Outcome, cell: Cell) -> str:
    winner = outcome.winner is not None and outcome.winner.cell == cell
    return "".join(letter for letter, is_it in (("W", winner), ("C", outcome.control.cell == cell)) if is_it)


def _draw_cell(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    value: float | None,
    span: tuple[float, float],
    text: str,
    seeds: int,
    mark: str,
) -> None:
    """`text` stands where there is no value."""
    x, y, width, height = box
    fill = _EMPTY if value is None else colour_of((value - span[0]) / (span[1] - span[0]))
    ink = _INK if value is None or luminance(fill) > 0.35 else _PAPER
    edge = [x + 1, y + 1, x + width - 2, y + height - 2]
    draw.rectangle(edge, fill=fill)
    if value is None:
        draw.line([edge[0], edge[3], edge[2], edge[1]], fill=(200, 200, 200), width=1)
    _centred(draw, (x, y + 14, width, height - 28), text if value is None else f"{value:.3f}", _TEXT, ink)
    _centred(draw, (x, y + height - 19, width, 14), f"n {seeds}", _SMALL, ink)
    if mark:
        draw.rectangle(edge, outline=_PAPER, width=5)
        draw.rectangle(edge, outline=_INK, width=3)
        tag = (x + 1, y + 1, 6 + 12 * len(mark), 17)
        draw.rectangle([tag[0], tag[1], tag[0] + tag[2], tag[1] + tag[3]], fill=_INK)
        _centred(draw, tag, mark, _SMALL + 2, _PAPER)


def _centred(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], text: str, size: int, ink: Colour) -> None:
    x, y, width, height = box
    draw.text((x + width / 2, y + height / 2), text, fill=ink, font=ImageFont.load_default(size), anchor="mm")


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest, never equal."""
    low, high = min(values), max(values)
    return (low, high) if high - low > 1e-9 else (low - 0.5, high + 0.5)


def _short(value: Value, most: int = _MAX_LABEL) -> str:
    """A number, or the end of a file's name, which is where epochs are told."""
    text = number(value)
    if isinstance(value, str):
        text = text.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return text if len(text) <= most else f"…{text[1 - most :]}"


def colour_of(share: float) -> Colour:
    """0 dark blue .. 1 yellow; lightness rises all the way."""
    place = min(max(share, 0.0), 1.0) * (len(_STOPS) - 1)
    low = min(int(place), len(_STOPS) - 2)
    mixed = [a + (b - a) * (place - low) for a, b in zip(_STOPS[low], _STOPS[low + 1], strict=True)]
    return (round(mixed[0]), round(mixed[1]), round(mixed[2]))


def luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour, 0..1 (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
