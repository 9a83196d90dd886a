"""A sweep as data for the editor's heat map: the same cells, marks and remarks as the picture and the table."""

from __future__ import annotations

from collections.abc import Mapping

from .plan import Render
from .report import remark
from .score import CellScore, Measured, Outcome

MOST = 400  # pictures in all; every cell has at least one

Shown = dict[str, object]


def heat_view(outcome: Outcome, measured: Mapping[str, Measured], folder: str) -> Shown:
    """Plain values for JSON. `measured`: by `Render.stem`; `folder`: of the sweep, below the output folder."""
    plan = outcome.plan
    each = max(MOST // len(plan.cells), 1)
    names = {"likeness": "likeness", "prompt": "prompt score", "variety": outcome.variety_measure}
    known = [key for key in names if any(getattr(row, key) is not None for row in outcome.rows)]
    cells = [_cell(outcome, i, row, measured, each) for i, row in enumerate(outcome.rows, 1)]
    return {
        "axes": [{"name": axis.name, "values": list(axis.values)} for axis in plan.axes],
        "measures": [{"key": key, "name": names[key]} for key in known or ["likeness"]],
        "cells": cells,
        "folder": folder,
        "rule": outcome.rule(),
        "no_winner": outcome.no_winner,
    }


def _cell(outcome: Outcome, place: int, row: CellScore, measured: Mapping[str, Measured], most: int) -> Shown:
    plan, winner = outcome.plan, outcome.winner
    where = [axis.values.index(value) for axis, (_, value) in zip(plan.axes, row.cell.values, strict=True)]
    renders = [Render(row.cell, prompt, seed) for seed in plan.seeds for prompt in plan.prompts]
    found = [(r.stem, measured[r.stem].similarity) for r in renders if r.stem in measured]
    return {
        "at": where,  # index on each axis
        "likeness": _rounded(row.likeness),
        "prompt": _rounded(row.prompt),
        "variety": _rounded(row.variety),
        "seeds": row.seeds,
        "pictures": row.pictures,
        "measurable": row.measurable,
        "copies": row.copies,
        "winner": winner is not None and winner.cell == row.cell,
        "control": outcome.control.cell == row.cell,
        "remark": remark(outcome, place, row),
        "files": [[f"{stem}.png", _rounded(similarity)] for stem, similarity in found[:most]],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
