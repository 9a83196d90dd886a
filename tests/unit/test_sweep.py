"""Which pictures a sweep draws, which cells go on, and which one wins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.errors import LikenessError
from likeness.paths import check_relative
from likeness.sweep.plan import RANGES, Axis, Cell, Plan, Render, SweepPoint, number, parse_files, parse_values, plan_of
from likeness.sweep.score import (
    PENALTY,
    Bounds,
    Findings,
    Measured,
    broken_bounds,
    cost,
    judge_sweep,
    kept,
    score_cell,
    stage,
    thumbnail,
    variety,
)

OPEN, USUAL = Bounds(1.0, 1.0), Bounds()


def grid(rows: int, columns: int = 1, seeds: int = 4, prompts: int = 1) -> Plan:
    axes = [Axis("lora", tuple(i / 10 for i in range(rows)))]
    if columns > 1:
        axes.append(Axis("faceid_weight", tuple(i / 10 for i in range(columns))))
    return Plan(tuple(axes), tuple(range(seeds)), tuple(f"prompt {i}" for i in range(prompts)))


def draw(
    plan: Plan, measure: Callable[[Render], Measured], full: bool = False, bounds: Bounds = OPEN
) -> dict[str, Measured]:
    """All the pictures that the sweep asks for."""
    found: dict[str, Measured] = {}
    while missing := stage(plan, Findings(found), bounds, full).missing:
        for render in missing:
            assert render.stem not in found, "a picture was asked for twice"
            found[render.stem] = measure(render)
    return found


def steady(render: Render) -> Measured:
    """Stronger is more alike, whatever the seed."""
    return Measured(round(sum(float(v) for _, v in render.cell.values) / 10, 4))


# ---- texts


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.4, 0.6, 0.8", (0.4, 0.6, 0.8)),
        ("0.4:1.0:4", (0.4, 0.6, 0.8, 1.0)),
        ("0.4:1.0:5", (0.4, 0.55, 0.7, 0.85, 1.0)),
        ("1.0:0.4:4", (0.4, 0.6, 0.8, 1.0)),
        ("0.5, 0:0.4:3; 0.5", (0.0, 0.2, 0.4, 0.5)),
        ("0.7", (0.7,)),
        ("-1", (-1.0,)),
        ("  ", ()),
    ],
)
def test_values_are_read_in_both_forms(text: str, values: tuple[float, ...]) -> None:
    assert parse_values(text, "lora") == values


@pytest.mark.parametrize(
    ("text", "axis", "words"),
    [
        ("strong", "lora", "'strong' is no strength"),
        ("0.4:1.0", "lora", "from:to:count"),
        ("0.4:1.0:4:2", "lora", "from:to:count"),
        ("0.4:1.0:1", "lora", "take 2 to 20"),
        ("0.4:1.0:10000", "lora", "take 2 to 20"),
        ("0:1:20, 2:3:5", "lora", "too many"),
        ("1e999", "lora", "no strength"),
        ("nan", "start", "no strength"),
        ("1.2", "start", "outside 0 to 1"),
        ("-2", "faceid_weight", "outside -1 to 5"),
        ("11", "lora", "outside -10 to 10"),
        ("0,4; 0,6", "lora", "decimal commas"),
        ("1_0", "lora", "no strength"),
    ],
)
def test_a_text_that_is_no_list_of_strengths_is_refused_by_name(text: str, axis: str, words: str) -> None:
    with pytest.raises(LikenessError, match=words) as caught:
        parse_values(text, axis)
    assert str(caught.value).startswith(f"{axis}: ")


@given(st.text(max_size=40), st.sampled_from(sorted(RANGES)))
def test_any_text_gives_values_in_range_or_a_clear_error(text: str, axis: str) -> None:
    try:
        values = parse_values(text, axis)
    except LikenessError:
        return
    assert list(values) == sorted(set(values))
    assert all(RANGES[axis][0] <= v <= RANGES[axis][1] for v in values)


@given(st.lists(st.floats(-1, 5).map(lambda v: round(v, 4)), min_size=1, max_size=20, unique=True))
def test_values_written_out_are_read_back(values: list[float]) -> None:
    assert parse_values(", ".join(number(v) for v in values), "faceid_weight") == tuple(sorted(v + 0.0 for v in values))


def test_files_keep_their_order_and_stand_once() -> None:
    assert parse_files("b.safetensors\n\n a.safetensors \nb.safetensors\n") == ("b.safetensors", "a.safetensors")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"numbers": {}}, "varies nothing"),
        ({"numbers": {"lora": "0:1:20", "faceid_weight": "0:1:20", "start": "0,0.1"}}, "800 cells"),
        ({"numbers": {"lora": "1"}, "seeds": 65}, "65 seeds"),
        ({"numbers": {"lora": "1"}, "seeds": 0}, "0 seeds"),
        ({"numbers": {"lora": "1"}, "prompts": "\n".join(map(str, range(17)))}, "17 prompts"),
        ({"numbers": {"lora": "0:1:20", "faceid_weight": "0:1:20"}, "seeds": 11}, "4400 pictures"),
        ({"numbers": {"lora": "1"}, "seed": -1}, "seeds go from -1"),
        ({"numbers": {"lora": "1"}, "seed": 2**64 - 2}, "seeds go from"),
    ],
)
def test_a_sweep_out_of_bounds_is_refused_with_its_size(texts: dict[str, object], words: str) -> None:
    with pytest.raises(LikenessError, match=words):
        plan_of(**texts)  # type: ignore[arg-type]


def test_lora_strength_acts_on_model_and_text_encoder() -> None:
    plan = plan_of({"lora": "0.5", "start": "0.2"}, files="a.safetensors")
    (cell,) = plan.cells
    assert cell.strengths == {"lora_model": 0.5, "lora_clip": 0.5, "start": 0.2}
    assert cell.lora_file == "a.safetensors"


def test_the_control_is_the_weakest_cell_and_a_late_start_is_weak() -> None:
    plan = plan_of({"lora": "0.4,0.8", "faceid_weight": "0.2,0.9", "start": "0,0.3"}, files="b\na")
    assert dict(plan.control.values) == {"lora": 0.4, "faceid_weight": 0.2, "start": 0.3, "lora_file": "b"}


# ---- names of pictures


def test_every_picture_has_a_file_name_of_its_own() -> None:
    plan = plan_of(
        {"lora": "0,0.1,1,-1", "faceid_weight": "0.1,0.11,1.1", "start": "0,1"}, "x/a\ny/a", "red\nblue", 1, 3
    )
    stems = [r.stem for r in plan.renders]
    assert len(set(stems)) == len(plan.renders) == 4 * 3 * 2 * 2 * 2 * 3
    for stem in stems:
        check_relative(f"pictures/{stem}.png")


def test_a_picture_has_the_same_name_in_a_changed_plan() -> None:
    small = plan_of({"lora": "0.4,0.8"}, prompts="red", seed=1, seeds=2)
    large = plan_of({"lora": "0.2:1.0:5"}, prompts="blue\nred", seed=1, seeds=5)
    assert {r.stem for r in small.renders} < {r.stem for r in large.renders}


def test_a_lora_file_with_new_contents_gives_new_names() -> None:
    before, after = (plan_of({}, "a", stamp=lambda file, s=s: s) for s in ("1", "2"))
    assert not {r.stem for r in before.renders} & {r.stem for r in after.renders}


def test_an_index_outside_the_sweep_is_refused() -> None:
    plan = grid(2, seeds=1)
    assert SweepPoint.at(plan, 1).render == plan.renders[1]
    for index in (-1, 2):
        with pytest.raises(LikenessError, match="pictures 0 to 1"):
            SweepPoint.at(plan, index)


# ---- halving


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 12), st.integers(3, 12), st.integers(4, 8), st.integers(1, 3), st.randoms(use_true_random=False))
def test_halving_costs_under_half_of_the_grid_and_finalists_have_every_seed(
    rows: int, columns: int, seeds: int, prompts: int, random: object
) -> None:
    plan = grid(rows, columns, seeds, prompts)
    found = draw(plan, lambda render: Measured(random.uniform(-1, 1)))  # type: ignore[attr-defined]
    assert len(found) == cost(plan) < len(plan.renders) / 2
    outcome = judge_sweep(plan, Findings(found), Bounds(1, 1))
    assert outcome.pictures == len(found)
    finalists = outcome.rows[: outcome.finalists]
    assert all(row.seeds == seeds and row.pictures == seeds * prompts for row in finalists)
    assert plan.control in [row.cell for row in finalists]
    assert all(row.seeds < seeds for row in outcome.rows[outcome.finalists :])


def test_five_by_five_by_four_seeds_takes_46_pictures_of_100() -> None:
    assert (cost(grid(5, 5)), len(grid(5, 5).renders)) == (46, 100)


def test_a_full_sweep_draws_all() -> None:
    plan = grid(3, 3, 4, 2)
    found = draw(plan, steady, full=True)
    assert set(found) == {r.stem for r in plan.renders} and cost(plan, full=True) == len(found)
    assert judge_sweep(plan, Findings(found), Bounds(), full=True).finalists == 9


@given(st.integers(1, 400))
def test_half_go_on_but_never_fewer_than_two(count: int) -> None:
    assert kept(count) == min(count, max(2, count // 2))


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 6), st.integers(3, 6), st.integers(1, 6))
def test_where_seeds_agree_halving_finds_what_the_full_grid_finds(rows: int, columns: int, seeds: int) -> None:
    plan, bounds = grid(rows, columns, seeds), Bounds(1, 1)
    halved = judge_sweep(plan, Findings(draw(plan, steady)), bounds)
    full = judge_sweep(plan, Findings(draw(plan, steady, full=True)), bounds, full=True)
    assert halved.winner is not None and full.winner is not None
    assert halved.winner.cell == full.winner.cell == plan.cells[-1]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(2, 5), st.data())
def test_a_sweep_that_was_cut_off_asks_for_what_is_missing_and_ends_the_same(
    rows: int, columns: int, data: st.DataObject
) -> None:
    plan = grid(rows, columns, 3)
    whole = draw(plan, steady)
    lost = data.draw(st.sets(st.sampled_from(sorted(whole))))
    found = {stem: m for stem, m in whole.items() if stem not in lost}
    again = set()
    while missing := stage(plan, Findings(found), Bounds(1, 1)).missing:
        for render in missing:
            again.add(render.stem)
            found[render.stem] = steady(render)
    assert again == lost and found == whole


# ---- what a cell is worth


def row_of(*measured: Measured) -> object:
    plan = grid(1, seeds=len(measured))
    cell = plan.cells[0]
    found = {Render(cell, "prompt 0", seed).stem: m for seed, m in enumerate(measured)}
    return score_cell(plan, cell, plan.seeds, Findings(found))


def test_likeness_is_the_mean_of_the_measurable_pictures() -> None:
    row = row_of(Measured(0.6), Measured(None, "not measurable"), Measured(0.4), Measured(None))
    assert row.likeness == pytest.approx(0.5) and (row.measurable, row.pictures) == (2, 4)  # type: ignore[attr-defined]
    assert row.worth == pytest.approx(0.5 - PENALTY / 2)  # type: ignore[attr-defined]


def test_copies_count_against_a_cell() -> None:
    row = row_of(Measured(0.6), Measured(0.9, copy=True))
    assert row.copies == 1 and row.worth == pytest.approx(0.75 - PENALTY / 2)  # type: ignore[attr-defined]


@given(st.lists(st.one_of(st.none(), st.floats(-1, 1)), min_size=1, max_size=8))
def test_a_picture_that_could_not_be_measured_never_helps(similarities: list[float | None]) -> None:
    before = row_of(*map(Measured, similarities)).worth  # type: ignore[attr-defined]
    after = row_of(*map(Measured, [*similarities, None])).worth  # type: ignore[attr-defined]
    assert (before is None and after is None) or after < before


def winner_of(plan: Plan, found: dict[str, Measured], bounds: Bounds = USUAL, **looks: np.ndarray) -> Cell | None:
    outcome = judge_sweep(plan, Findings(found, looks), bounds, full=True)
    return None if outcome.winner is None else outcome.winner.cell


def by_cell(plan: Plan, *measured: Measured) -> dict[str, Measured]:
    """One measurement for each cell, at every prompt and seed."""
    values = dict(zip(plan.cells, measured, strict=True))
    return {r.stem: values[r.cell] for r in plan.renders}


def test_a_cell_with_nothing_measurable_ranks_last_and_is_not_zero() -> None:
    plan = grid(3, seeds=1)
    found = by_cell(plan, Measured(-0.3), Measured(None), Measured(-0.2))
    outcome = judge_sweep(plan, Findings(found), Bounds(), full=True)
    assert [row.cell for row in outcome.rows] == [plan.cells[i] for i in (2, 0, 1)]
    assert outcome.rows[-1].likeness is None and outcome.rows[-1].worth is None


def test_without_a_measurable_picture_nobody_wins() -> None:
    plan = grid(3, seeds=2)
    assert winner_of(plan, by_cell(plan, *[Measured(None)] * 3)) is None


def test_of_equal_cells_the_weaker_one_wins() -> None:
    plan = grid(3, 3, seeds=1)
    assert winner_of(plan, by_cell(plan, *[Measured(0.5)] * 9)) == plan.control


def test_the_most_alike_cell_does_not_win_when_it_has_lost_the_prompt() -> None:
    plan = grid(3, seeds=1)
    found = by_cell(plan, Measured(0.3, prompt=0.30), Measured(0.5, prompt=0.29), Measured(0.9, prompt=0.20))
    assert winner_of(plan, found) == plan.cells[1]
    assert winner_of(plan, found, Bounds(prompt=1.0)) == plan.cells[2]


def test_the_most_alike_cell_does_not_win_when_all_its_pictures_are_one() -> None:
    plan = grid(2, seeds=2)
    found = by_cell(plan, Measured(0.3), Measured(0.9))
    eye = np.eye(4, dtype=np.float32)
    looks = {r.stem: eye[r.seed] if r.cell == plan.control else eye[3] for r in plan.renders}
    assert winner_of(plan, found, **looks) == plan.control
    assert winner_of(plan, found, Bounds(variety=1.0), **looks) == plan.cells[1]


def test_a_condition_that_is_not_known_is_dropped_and_told() -> None:
    plan = grid(2, seeds=1)
    outcome = judge_sweep(plan, Findings(by_cell(plan, Measured(0.3), Measured(0.9))), Bounds(), full=True)
    assert outcome.dropped == ["prompt score", "variety"]
    assert "prompt score and variety not known and not asked" in outcome.rule()
    assert outcome.winner is not None and outcome.winner.cell == plan.cells[1]


def test_a_bound_holds_for_prompt_scores_below_zero() -> None:
    plan = grid(2, seeds=1)
    found = by_cell(plan, Measured(0.3, prompt=-0.10), Measured(0.9, prompt=-0.12))
    rows = judge_sweep(plan, Findings(found), Bounds(prompt=0.1), full=True)
    assert broken_bounds(rows.rows[1], rows.control, rows.bounds) == ["prompt score -0.120 is below -0.110"]


@pytest.mark.parametrize("bounds", [{"prompt": -0.1}, {"variety": 1.1}, {"prompt": float("nan")}])
def test_a_bound_is_a_share(bounds: dict[str, float]) -> None:
    with pytest.raises(LikenessError, match="share from 0 to 1"):
        Bounds(**bounds)


# ---- variety


def test_equal_pictures_have_no_variety_and_blank_ones_neither() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (3, 64, 48, 3)).astype(np.uint8)
    assert variety([thumbnail(noise[0])] * 3) == pytest.approx(0, abs=1e-6)
    assert variety([thumbnail(np.full_like(noise[0], v)) for v in (0, 0, 90)]) == 0
    assert variety([thumbnail(p) for p in noise]) > 0.8  # type: ignore[operator]


def test_brightness_alone_is_no_variety() -> None:
    noise = np.random.default_rng(1).integers(0, 120, (64, 64, 3)).astype(np.uint8)
    assert variety([thumbnail(noise), thumbnail(noise + 100)]) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("looks", [[], [None, None], [np.ones(1, np.float32), None]])
def test_variety_needs_two_pictures_and_a_look_at_each(looks: list[np.ndarray | None]) -> None:
    assert variety(looks) is None


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=2, max_size=6))
def test_variety_lies_between_0_and_2(rows: list[list[float]]) -> None:
    vectors = [np.array(row, dtype=np.float32) for row in rows]
    units = [v / np.linalg.norm(v) if np.linalg.norm(v) > 1e-3 else np.zeros_like(v) for v in vectors]
    assert -1e-6 <= variety(units) <= 2 + 1e-6  # type: ignore[operator]
