"""What the editor is shown of scores, sweeps and plans: plain values that say the same as the reports, and no face."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from likeness.dataset.plan_view import MOST as MOST_ROWS
from likeness.dataset.plan_view import plan_view
from likeness.dataset.preview import THUMB, places, sheet, sheet_size, shown_in, thumbs_of
from likeness.report.rows import Row
from likeness.score_view import MOST, report_rows, score_row, score_rows
from likeness.scoring import FaceScore, Score, unreadable
from likeness.sweep.heat_view import heat_view
from likeness.sweep.plan import Plan, plan_of
from likeness.sweep.score import Bounds, Findings, Measured, judge_sweep

from ..fakes import make_face
from .dataset.pictures import folder_of
from .dataset.pictures import plan_of as set_plan_of


def scored(similarity: float, low: float = 0.5, name: str = "picture") -> Score:
    verdict = "accepted" if similarity >= low else "rejected"
    face = FaceScore(make_face(1), similarity, "1.png", similarity, verdict, "")
    return Score(name, verdict, "" if similarity >= low else "too far", (face,), face, accept_from=low)


def test_a_row_holds_no_face() -> None:
    row = score_row(scored(0.7))
    assert json.loads(json.dumps(row)) == row and set(row) == {
        "name", "verdict", "reason", "similarity", "accept_from", "was", "second", "copy"
    }  # fmt: skip


def test_another_threshold_gives_its_own_verdict_and_reason() -> None:
    strict = score_row(scored(0.7), threshold=0.8)
    assert strict["verdict"] == "rejected" and "0.700 is below 0.800" in str(strict["reason"])
    loose = score_row(scored(0.4), threshold=0.3)
    assert (loose["verdict"], loose["reason"], loose["accept_from"]) == ("accepted", "", 0.3)


def test_what_could_not_be_measured_has_no_similarity() -> None:
    row = score_row(unreadable("a.png", "no face"), threshold=0.1)
    assert (row["verdict"], row["similarity"], row["accept_from"]) == ("not measurable", None, 0.1)


def test_no_number_that_a_browser_cannot_read() -> None:
    assert score_row(scored(math.nan))["similarity"] is None


def test_the_similarity_before_stands_beside_the_one_after() -> None:
    rows = score_rows([scored(0.7), scored(0.6)], before=[scored(0.5), unreadable("b", "no face")])
    assert [row["was"] for row in rows] == [0.5, None]


def test_rows_end_somewhere() -> None:
    assert len(score_rows([scored(0.7)] * (MOST + 5))) == MOST


def test_a_report_begins_with_the_least_alike_and_ends_with_what_nobody_can_tell() -> None:
    rows = [
        Row("a", "not measurable", "no face", 0),
        Row("b", "accepted", "", 1, 0.8),
        Row("c", "rejected", "far", 1, 0.1),
    ]
    assert [row["name"] for row in report_rows(rows, 0.5)] == ["c", "b", "a"]


PLANS = {
    "one axis": plan_of({"lora": "0:1:4"}, seeds=2),
    "three axes": plan_of({"lora": "0,1", "faceid_weight": "0,1,2", "start": "0,0.5"}, prompts="red\nblue", seeds=2),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_heat_map_has_every_cell_once_with_its_pictures(name: str) -> None:
    plan: Plan = PLANS[name]
    found = {r.stem: Measured(0.3 + 0.01 * plan.cells.index(r.cell)) for r in plan.renders}
    outcome = judge_sweep(plan, Findings(found), Bounds(1, 1), full=True)
    shown = heat_view(outcome, found, "likeness/sweeps/ada/x")
    assert json.loads(json.dumps(shown)) == shown
    places_ = [tuple(cell["at"]) for cell in shown["cells"]]  # type: ignore[index, attr-defined]
    assert len(set(places_)) == len(plan.cells) == len(places_)
    for cell in shown["cells"]:  # type: ignore[attr-defined]
        assert len(cell["files"]) == len(plan.seeds) * len(plan.prompts)
        assert all(file.removesuffix(".png") in found and value == cell["likeness"] for file, value in cell["files"])
    winners = [cell for cell in shown["cells"] if cell["winner"]]  # type: ignore[attr-defined]
    assert len(winners) == 1 and "winner" in winners[0]["remark"]


def test_a_sweep_of_many_pictures_names_some_of_each_cell() -> None:
    plan = plan_of({"lora": "0:1:20", "faceid_weight": "0:1:20"}, seeds=4)
    found = {r.stem: Measured(0.5) for r in plan.renders}
    outcome = judge_sweep(plan, Findings(found), Bounds(1, 1), full=True)
    assert {len(c["files"]) for c in heat_view(outcome, found, "")["cells"]} == {1}  # type: ignore[attr-defined]


def test_a_plan_names_every_picture_and_where_the_sheet_shows_it(tmp_path: Path) -> None:
    plan, sources = set_plan_of(folder_of(tmp_path, 5))[:2]
    shown = plan_view(plan)
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["taken"], shown["left_out"]) == (len(plan.items), len(plan.rejected))
    assert len(shown["rows"]) == len(plan.items) + len(plan.rejected) <= MOST_ROWS  # type: ignore[arg-type]
    picture = sheet(plan, thumbs_of(sources, [c.source for c in shown_in(plan)]))
    assert shown["sheet"]["size"] == [picture.shape[1], picture.shape[0]] == list(sheet_size(len(shown_in(plan))))  # type: ignore[index]
    paper = picture[2, 2]
    for left, top in places(plan).values():
        square = picture[top : top + THUMB, left : left + THUMB]
        assert square.shape[:2] == (THUMB, THUMB) and (square != paper).any()
