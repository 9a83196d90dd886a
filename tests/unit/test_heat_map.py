"""The heat map shows every cell with its number, and can be read without colour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.images import RGB8
from likeness.sweep.heat_map import colour_of, heat_map, luminance
from likeness.sweep.plan import Plan, plan_of
from likeness.sweep.score import Bounds, Findings, Measured, judge_sweep

PLANS = {
    "one axis": plan_of({"lora": "0:1:4"}, seeds=1),
    "two axes": plan_of({"lora": "0:1:4", "faceid_weight": "0:1:5"}, seeds=2),
    "three axes": plan_of({"lora": "0,1", "faceid_weight": "0,1,2", "start": "0,0.5"}, seeds=1),
    "five axes": plan_of(
        {"lora": "0,1", "faceid_weight": "0,1", "faceid_weight_v2": "0,1", "start": "0,0.5"}, "runs/a\nruns/b", seeds=1
    ),
    "files": plan_of({}, "runs/ada_v1-000004.safetensors\nruns/ada_v1-000008.safetensors", seeds=1),
    "one cell": plan_of({"lora": "1"}, seeds=1),
}


def drawn(plan: Plan, value: float | None = None, prompt: float | None = None, winner: int = 0) -> RGB8:
    """A map where cell `winner` is best, or where every cell has the same `value`."""
    found = {}
    for r in plan.renders:
        own = 0.9 if r.cell == plan.cells[winner] else 0.3 + 0.01 * plan.cells.index(r.cell)
        found[r.stem] = Measured(own if value is None else value, prompt=prompt)
    return heat_map(judge_sweep(plan, Findings(found), Bounds(), full=True))


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_higher_value_is_never_darker(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert luminance(colour_of(low)) <= luminance(colour_of(high)) + 1e-9


def test_lightness_spans_most_of_the_scale() -> None:
    assert luminance(colour_of(0)) < 0.03 and luminance(colour_of(1)) > 0.75


@pytest.mark.parametrize("share", [-1.0, 2.0])
def test_a_value_beyond_the_scale_has_its_end(share: float) -> None:
    assert colour_of(share) == colour_of(min(max(share, 0), 1))


@pytest.mark.parametrize("name", PLANS)
def test_every_number_of_axes_can_be_drawn(name: str) -> None:
    picture = drawn(PLANS[name])
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert picture.std() > 10


def test_more_axes_and_measures_take_more_tables() -> None:
    two, three, five = (drawn(PLANS[f"{n} axes"]).shape for n in ("two", "three", "five"))
    assert three[0] > two[0] and five[0] > three[0]
    plan = PLANS["two axes"]
    assert drawn(plan, prompt=0.3).shape[1] > drawn(plan).shape[1]


def test_the_winner_is_marked_where_it_is() -> None:
    plan = PLANS["two axes"]
    first, last = (drawn(plan, value=0.5), drawn(plan, winner=len(plan.cells) - 1))
    assert first.shape[0] == last.shape[0]
    dark = (last[:, : last.shape[1] // 2].sum(axis=2) < 100).sum()
    assert dark > 0 and not np.array_equal(drawn(plan, winner=7), drawn(plan, winner=8))


@pytest.mark.parametrize("value", [0.0, -1.0, 1.0])
def test_cells_of_one_value_are_drawn(value: float) -> None:
    assert drawn(PLANS["two axes"], value).std() > 10


def test_a_sweep_without_any_measurement_is_drawn() -> None:
    plan = PLANS["two axes"]
    found = {r.stem: Measured(None) for r in plan.renders}
    picture = heat_map(judge_sweep(plan, Findings(found), Bounds(), full=True))
    assert picture.shape[1] > 200


def test_four_hundred_combinations_are_cut_to_the_best_forty() -> None:
    plan = plan_of({"lora": "0", "faceid_weight": "0", "faceid_weight_v2": "0:1:20", "start": "0:1:20"}, seeds=1)
    picture = drawn(plan, winner=399)
    assert picture.shape[0] < 8000
    assert not np.array_equal(picture, drawn(plan, winner=398)), "the winner's table is among them"
