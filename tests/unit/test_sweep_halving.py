"""What halving may not do: put a cell out for nothing, or let the weakest strengths win for want of a rival."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from likeness.errors import LikenessError
from likeness.profile import BaseSettings, Profile, Strengths
from likeness.sweep.plan import Axis, Cell, Plan, Render, plan_of
from likeness.sweep.report import swept_strengths
from likeness.sweep.score import RECALLS, Bounds, Findings, Measured, Outcome, judge_sweep, stage

OPEN = Bounds(1.0, 1.0)
NOTHING = Measured(None, "not measurable", "no face")
PLAN = plan_of({"lora": "0.4:1.0:4", "faceid_weight": "0.4:1.0:4"}, seed=1, seeds=4)
STRONG, SPARE = PLAN.cells[-1], PLAN.cells[6]


def likeness_of(cell: Cell) -> float:
    return round(0.1 + 0.3 * sum(float(value) for _, value in cell.values), 4)


def sweep(
    measure: Callable[[Render], Measured], bounds: Bounds = OPEN, plan: Plan = PLAN, full: bool = False
) -> tuple[Outcome, dict[str, Measured]]:
    """The sweep to its end, and the pictures that it asked for."""
    found: dict[str, Measured] = {}
    while missing := stage(plan, Findings(found), bounds, full).missing:
        assert not {r.stem for r in missing} & set(found)
        found |= {render.stem: measure(render) for render in missing}
    return judge_sweep(plan, Findings(found), bounds, full), found


def winner(outcome: Outcome) -> Cell | None:
    return None if outcome.winner is None else outcome.winner.cell


def test_a_round_that_told_nothing_puts_no_cell_out() -> None:
    outcome, _ = sweep(lambda r: NOTHING if r.seed == 1 else Measured(likeness_of(r.cell)))
    assert winner(outcome) == STRONG
    assert all(row.seeds >= 2 for row in outcome.rows)


def test_one_picture_that_could_not_be_measured_does_not_put_its_cell_out() -> None:
    outcome, _ = sweep(lambda r: NOTHING if (r.seed, r.cell) == (1, STRONG) else Measured(likeness_of(r.cell)))
    row = next(row for row in outcome.rows if row.cell == STRONG)
    assert row.seeds >= 3, "until its share of lost pictures, which counts, puts it behind another"


def test_a_cell_without_a_measurable_picture_in_two_seeds_is_out() -> None:
    outcome, found = sweep(lambda r: NOTHING if r.cell == STRONG else Measured(likeness_of(r.cell)))
    assert next(row for row in outcome.rows if row.cell == STRONG).seeds == 2
    assert len(found) < len(PLAN.renders) / 2


def test_a_sweep_of_which_nothing_can_be_measured_ends_after_two_seeds() -> None:
    outcome, found = sweep(lambda r: NOTHING)
    assert len(found) == 2 * len(PLAN.cells)
    assert outcome.winner is None and outcome.no_winner == "nothing could be measured"
    _, all_of_it = sweep(lambda r: NOTHING, full=True)
    assert len(all_of_it) == len(PLAN.renders)


def test_where_the_last_rival_breaks_a_bound_a_cell_that_was_out_comes_back() -> None:
    """From the second seed on all break the bound but the control and the best of those that were put out."""
    kept = {PLAN.control, SPARE}

    def measure(render: Render) -> Measured:
        follows = 0.3 if render.seed == 1 or render.cell in kept else 0.1
        return Measured(likeness_of(render.cell), prompt=follows)

    outcome, _ = sweep(measure, Bounds(0.05, 1.0))
    row = next(row for row in outcome.rows if row.cell == SPARE)
    assert row.seeds == 4, "it was drawn with the seeds it had missed"
    assert winner(outcome) == SPARE


def test_at_most_so_many_cells_come_back_and_then_nobody_wins() -> None:
    def measure(render: Render) -> Measured:
        follows = 0.3 if render.seed == 1 or render.cell == PLAN.control else 0.1
        return Measured(likeness_of(render.cell), prompt=follows)

    outcome, found = sweep(measure, Bounds(0.05, 1.0))
    plain, drawn = sweep(measure, OPEN)
    assert outcome.finalists == plain.finalists + RECALLS
    assert len(found) <= len(drawn) + RECALLS * 3
    assert outcome.winner is None and "every finalist but the control" in outcome.no_winner


def test_in_a_full_sweep_the_control_may_win_alone() -> None:
    outcome, _ = sweep(
        lambda r: Measured(likeness_of(r.cell), prompt=0.3 if r.cell == PLAN.control else 0.1), Bounds(), full=True
    )
    assert winner(outcome) == PLAN.control


def test_a_single_cell_wins_over_nobody() -> None:
    alone = plan_of({"lora": "0.5"}, seeds=2)
    for full in (False, True):
        outcome, _ = sweep(lambda r: Measured(0.5), plan=alone, full=full)
        assert outcome.winner is None and outcome.no_winner == "one cell alone, nothing to compare it with"


@pytest.mark.parametrize(("noise", "lost"), [(0.05, 0.0), (0.05, 0.15), (0.08, 0.0)])
def test_over_noisy_worlds_the_control_seldom_wins_and_half_the_grid_is_enough(noise: float, lost: float) -> None:
    """Likeness rises by .4 over the grid; the prompt score falls by up to a tenth from the middle on."""
    random, controls, costs = np.random.default_rng(1), 0, []
    for _ in range(40):

        def measure(render: Render) -> Measured:
            x, y = ((float(value) - 0.4) / 0.6 for _, value in render.cell.values)
            like = 0.3 + 0.2 * (x + y) + random.normal(0, noise)
            prompt = 0.3 * (1 - 0.1 * max(x + y - 0.8, 0)) + random.normal(0, 0.01)
            return Measured(None if random.random() < lost else float(like), prompt=float(prompt))

        outcome, found = sweep(measure, Bounds())
        controls += winner(outcome) in (None, PLAN.control)
        costs.append(len(found) / len(PLAN.renders))
    assert controls <= 1
    assert np.mean(costs) < 0.5


def test_a_resumed_sweep_with_a_recall_ends_the_same() -> None:
    kept = {PLAN.control, SPARE}

    def measure(render: Render) -> Measured:
        return Measured(likeness_of(render.cell), prompt=0.3 if render.seed == 1 or render.cell in kept else 0.1)

    outcome, found = sweep(measure, Bounds(0.05, 1.0))
    for seed in range(5):
        left = {s: m for s, m in found.items() if np.random.default_rng([seed, len(s)]).random() < 0.5}
        while missing := stage(PLAN, Findings(left), Bounds(0.05, 1.0)).missing:
            left |= {render.stem: measure(render) for render in missing}
        assert left == found and judge_sweep(PLAN, Findings(left), Bounds(0.05, 1.0)) == outcome


# ---- figures that are missing


def test_a_cell_whose_prompt_score_is_not_known_does_not_win_untested() -> None:
    plan = Plan((Axis("lora", (0.1, 0.9)),), (1,), ("red",))
    by_cell = {plan.cells[0]: Measured(0.3, prompt=0.3), plan.cells[1]: Measured(0.9)}
    outcome, _ = sweep(lambda r: by_cell[r.cell], Bounds(), plan, full=True)
    assert winner(outcome) == plan.control
    assert outcome.dropped == ["variety"]


def test_a_cell_whose_variety_is_not_known_does_not_win_untested() -> None:
    plan = Plan((Axis("lora", (0.1, 0.9)),), (1, 2), ("red",))
    found = {r.stem: Measured(0.3 if r.cell == plan.control else 0.9) for r in plan.renders}
    eye = np.eye(2, dtype=np.float32)
    looks = {r.stem: eye[r.seed - 1] if r.cell == plan.control else None for r in plan.renders}
    outcome = judge_sweep(plan, Findings(found, looks), Bounds(), full=True)
    assert winner(outcome) == plan.control


def test_the_weakest_of_strengths_on_both_sides_of_zero_is_the_one_nearest_to_it() -> None:
    plan = plan_of({"faceid_weight": "-1:1:5", "lora": "-2,-0.5"})
    assert dict(plan.control.values) == {"faceid_weight": 0.0, "lora": -0.5}
    ordered = sorted(plan.cells, key=plan.strength)
    assert ordered[0] == plan.control


# ---- what cannot be written


def test_a_start_behind_the_profiles_end_is_refused_in_one_sentence() -> None:
    profile = Profile(name="Ada", slug="ada", base={"sd15": BaseSettings(strengths=Strengths(end=0.5))})
    with pytest.raises(LikenessError, match=r"cannot take start 0.7: start \(0.7\) comes after end \(0.5\)"):
        swept_strengths(profile, "sd15", plan_of({"start": "0.7"}).cells[0])
    assert swept_strengths(profile, "sdxl", plan_of({"start": "0.7"}).cells[0]).start == 0.7
