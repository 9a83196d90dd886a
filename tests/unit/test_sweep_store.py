"""A sweep on disk: killed anywhere it goes on, and draws again only what is not there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness import files, images
from likeness.errors import LikenessError
from likeness.images import RGB8
from likeness.scoring import Score
from likeness.sweep import store as store_module
from likeness.sweep.plan import plan_of
from likeness.sweep.report import measured_of
from likeness.sweep.run import SweepRun
from likeness.sweep.score import Measured
from likeness.sweep.store import SweepStore

from ..fakes import FakeAnalyser
from .sweep_runs import ABOUT, KEY, PLAN, Artist, Killed, go_on

# ---- resuming


def test_a_finished_sweep_draws_nothing_again(make: Callable[..., SweepRun], analyser: FakeAnalyser) -> None:
    first, again = Artist(), Artist()
    outcome = go_on(make(), first).outcome()
    analysed = analyser.calls
    assert go_on(make(), again).outcome() == outcome
    assert again.drawn == [] and analyser.calls == analysed
    assert len(first.drawn) == outcome.pictures == 36


@pytest.mark.parametrize("at", [0, 1, 2, 3, 17, 40, 68])
def test_killed_at_any_write_it_goes_on_and_draws_only_what_is_not_there(
    make: Callable[..., SweepRun], at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = go_on(make(key="a" * 64), Artist()).outcome()
    writes = 0

    def dies(path: Path, data: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes > at:
            raise Killed
        files.atomic_write(path, data)

    first, second = Artist(), Artist()
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "atomic_write", dies)
        with pytest.raises(Killed):
            go_on(make(), first)
    there = {p.stem for p in (make().store.folder / "pictures").glob("*.png")}
    assert go_on(make(), second).outcome() == whole
    assert len(there) + len(second.drawn) == whole.pictures
    assert not there & set(second.drawn)


def test_measurements_cut_short_at_any_byte_are_made_again_and_the_picture_is_not(
    make: Callable[..., SweepRun],
) -> None:
    run = go_on(make(), Artist())
    result = sorted((run.store.folder / "pictures").glob("*.json"))[3]
    whole = result.read_bytes()
    expected = make().store.results(PLAN.renders)
    for size in range(0, len(whole) - 1, 7):
        result.write_bytes(whole[:size])
        assert len(make().store.results(PLAN.renders)) == len(expected) - 1
    again = Artist()
    go_on(make(), again)
    assert again.drawn == [] and make().store.results(PLAN.renders) == expected


@given(st.binary(max_size=300))
def test_no_bytes_are_taken_for_measurements(data: bytes) -> None:
    store = SweepStore(Path("nowhere"), "ada", "s", KEY, "j")
    assert store.results([PLAN.renders[0]]) == {}
    try:
        values = json.loads(data)
    except ValueError:
        return
    with pytest.raises((TypeError, ValueError, KeyError)):
        store_module._measured(values)


@pytest.mark.parametrize(
    "change",
    [{"similarity": float("nan")}, {"similarity": 7.0}, {"similarity": True}, {"copy": 1}, {"reason": None}, {"x": 1}],
)
def test_measurements_that_nobody_wrote_are_refused(change: dict[str, object]) -> None:
    good: dict[str, object] = {"similarity": 0.5, "verdict": "", "reason": "", "copy": False, "prompt": None}
    assert store_module._measured(dict(good)) == Measured(0.5)
    with pytest.raises(ValueError):
        store_module._measured({**good, **change})


@pytest.mark.parametrize("harm", ["cut", "gone", "other"])
def test_a_picture_that_is_damaged_or_gone_is_drawn_again(make: Callable[..., SweepRun], harm: str) -> None:
    run = go_on(make(), Artist())
    picture = sorted((run.store.folder / "pictures").glob("*.png"))[5]
    data = picture.read_bytes()
    if harm == "gone":
        picture.unlink()
    else:  # half of it, or as many bytes that are no picture
        picture.write_bytes(data[: len(data) // 2] if harm == "cut" else b"\0" * len(data))
    again = Artist()
    go_on(make(), again)
    assert again.drawn == [picture.stem] and picture.read_bytes() == data


def test_pictures_that_go_while_the_sweep_runs_are_drawn_again(make: Callable[..., SweepRun]) -> None:
    run, artist = make(), Artist()
    for render in run.stage().missing:
        run.keep(render, artist.draw(render))
    gone = sorted((run.store.folder / "pictures").glob("*.png"))[:3]
    for picture in gone:
        picture.unlink()
    assert {r.stem for r in run.stage().missing} == {p.stem for p in gone}


def test_a_model_that_gives_no_number_leaves_the_figure_unknown(make: Callable[..., SweepRun]) -> None:
    class Overflown:
        name = "overflown"

        def score(self, picture: RGB8, prompt: str) -> float:
            return float("nan")

        def embed(self, pictures: Sequence[RGB8]) -> np.ndarray:
            return np.full((len(pictures), 4), np.nan, dtype=np.float32)

    run = make()
    run = SweepRun(PLAN, run.store, replace(run.measures, prompt=Overflown(), look=Overflown()), run.settings)
    outcome = go_on(run, Artist()).outcome()
    assert outcome.control.prompt is None and outcome.control.variety is None
    assert run.finish(outcome, ABOUT).values["conditions_not_asked"] == ["prompt score", "variety"]
    strange = replace(Score("x", "rejected", ""), chosen=None)
    assert measured_of(strange, float("inf")).prompt is None


def test_a_changed_plan_takes_what_is_there(make: Callable[..., SweepRun]) -> None:
    go_on(make(), Artist())
    larger = plan_of(
        {"lora": "0.4,0.7,1,1.3", "faceid_weight": "0.2,0.6,1"}, prompts="red\nblue\ngreen", seed=1, seeds=4
    )
    there, again = make().store.results(PLAN.renders), Artist()
    run = go_on(make(larger), again)
    assert not set(there) & set(again.drawn)
    assert there.items() <= run.store.results([*PLAN.renders, *larger.renders]).items()


def test_another_graph_has_a_folder_of_its_own(make: Callable[..., SweepRun]) -> None:
    first, other = make(), make(key="e" * 64)
    go_on(first, Artist())
    artist = Artist()
    go_on(other, artist)
    assert first.store.folder != other.store.folder and len(artist.drawn) == 36


def test_another_judge_measures_the_pictures_again_and_draws_none(
    make: Callable[..., SweepRun], analyser: FakeAnalyser
) -> None:
    go_on(make(), Artist())
    before, again = analyser.calls, Artist()
    go_on(make(threshold=0.9), again)
    assert again.drawn == [] and analyser.calls == before + 36


def test_an_interrupt_while_catching_up_keeps_what_is_measured(make: Callable[..., SweepRun]) -> None:
    go_on(make(), Artist())

    def stop(done: int) -> None:
        if done == 10:
            raise Killed

    with pytest.raises(Killed):
        make(threshold=0.9).catch_up(stop)
    assert make(threshold=0.9).catch_up() == 36 - 10


# ---- what is kept


def test_every_picture_is_kept_with_its_cell_and_nothing_of_a_face(make: Callable[..., SweepRun]) -> None:
    run = go_on(make(), Artist())
    finished = run.finish(run.outcome(), ABOUT)
    folder = run.store.folder
    assert {p.name for p in folder.iterdir()} == {"pictures", "sweep.json", "table.csv", "heat_map.png", "report.json"}
    for picture in (folder / "pictures").glob("*.png"):
        about = json.loads(picture.with_suffix(".json").read_bytes())
        assert f"lora{about['cell']['lora']:g}_" in picture.stem and picture.stem.endswith(f"_s{about['seed']}")
        assert about["prompt"] in ("red", "blue")
    told = json.loads((folder / "report.json").read_bytes())
    assert told == json.loads(json.dumps(finished.values))
    assert told["pictures"] == 36 and told["full_grid"] == 72 and len(told["cells"]) == 9
    rows = list(csv.DictReader(io.StringIO((folder / "table.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 9 and "winner" in rows[0]["remark"]
    assert images.read(folder / "heat_map.png").shape == finished.heat_map.shape
    text = "".join(p.read_text(encoding="utf-8") for p in folder.rglob("*.json"))
    assert "embedding" not in text and "[[" not in text


def test_how_far_it_is_can_be_read_while_it_runs(make: Callable[..., SweepRun], tmp_path: Path) -> None:
    run, artist = make(), Artist()
    for render in run.stage().missing[:5]:
        run.keep(render, artist.draw(render))
    told = json.loads((tmp_path / "output" / "likeness" / "sweeps" / "ada" / "strengths.json").read_bytes())
    assert (told["done"], told["of"], told["folder"]) == (5, 34, run.store.relative)


def test_pictures_without_a_face_are_told_and_rank_last(make: Callable[..., SweepRun]) -> None:
    run = go_on(make(), Artist())
    outcome = run.outcome()
    strongest = next(row for row in outcome.rows if row.cell == PLAN.cells[-1])
    assert (strongest.measurable, strongest.likeness, strongest.seeds) == (0, None, 2)
    finished = run.finish(outcome, ABOUT)
    assert "Not measurable: 4 times no face was found in the picture." in finished.report
    assert "Second of the finalists" in finished.report and "standard deviation" in finished.report
    assert "could not be measured" in finished.report and "nothing measurable" in finished.table


def test_the_best_pictures_are_the_winners(make: Callable[..., SweepRun]) -> None:
    run = go_on(make(), Artist())
    outcome = run.outcome()
    assert outcome.winner is not None
    expected = [run.store.picture(r) for r in PLAN.renders if r.cell == outcome.winner.cell]
    assert [p.tobytes() for p in run.best_pictures(outcome)] == [p.tobytes() for p in expected if p is not None]


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "..", "\0"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LikenessError):
        SweepStore(tmp_path, "ada", name, KEY, "j").begin(PLAN, [])
    assert list(tmp_path.iterdir()) == []
