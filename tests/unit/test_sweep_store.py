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
from likeness.character import Character, open_character
from likeness.errors import LikenessError
from likeness.images import RGB8
from likeness.library import Library
from likeness.profile import BaseSettings, LoraVersion, Strengths
from likeness.scoring import FaceScore, Score, judge_for
from likeness.sweep import store as store_module
from likeness.sweep.plan import LORA_FILE, Plan, Render, plan_of
from likeness.sweep.report import Provenance, evidence, measured_of, with_winner
from likeness.sweep.run import Measures, Settings, SweepRun, drawing_key
from likeness.sweep.score import Bounds, Measured
from likeness.sweep.store import SweepStore

from ..fakes import FakeAnalyser, empty_picture, face_picture, make_face

PLAN = plan_of({"lora": "0.4,0.7,1", "faceid_weight": "0.2,0.6,1"}, prompts="red\nblue", seed=1, seeds=4)
KEY = "f" * 64
ABOUT = Provenance("buffalo_l", True, "model.safetensors", "likeness/sweeps/ada/strengths-ffffffff")


class Killed(BaseException):
    """What no handler of errors catches."""


class Artist:
    """Draws the pictures that a sweep asks for, and counts them."""

    def __init__(self) -> None:
        self.drawn: list[str] = []

    def draw(self, render: Render) -> RGB8:
        """Nobody where both strengths are at their highest; else the character, a shot for each render."""
        self.drawn.append(render.stem)
        shot = PLAN.renders.index(render) % 250 if render in PLAN.renders else 251
        strong = render.cell.strengths.get("lora_model") == render.cell.strengths.get("faceid_weight") == 1.0
        return empty_picture(shot) if strong else face_picture(1, shot)


@pytest.fixture
def character(ada: Library) -> Character:
    return open_character(ada, "ada")


@pytest.fixture
def make(tmp_path: Path, character: Character, analyser: FakeAnalyser) -> Callable[..., SweepRun]:
    def make(plan: Plan = PLAN, key: str = KEY, full: bool = False, threshold: float | None = None) -> SweepRun:
        judge = judge_for(character, analyser, threshold=threshold, measure_drawn=True)  # plain squares look drawn
        measures = Measures(analyser, judge)
        store = SweepStore(tmp_path / "output", "ada", "strengths", key, measures.key)
        return SweepRun(plan, store, measures, Settings(Bounds(1, 1), full))

    return make


def go_on(run: SweepRun, artist: Artist) -> SweepRun:
    """What a graph does."""
    run.store.begin(run.plan, ["graph"])
    run.catch_up()
    while missing := run.stage().missing:
        for render in missing:
            run.keep(render, artist.draw(render))
    return run


# ---- resuming


def test_a_finished_sweep_draws_nothing_again(make: Callable[..., SweepRun], analyser: FakeAnalyser) -> None:
    first, again = Artist(), Artist()
    outcome = go_on(make(), first).outcome()
    analysed = analyser.calls
    assert go_on(make(), again).outcome() == outcome
    assert again.drawn == [] and analyser.calls == analysed
    assert len(first.drawn) == outcome.pictures == 34


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
    assert first.store.folder != other.store.folder and len(artist.drawn) == 34


def test_another_judge_measures_the_pictures_again_and_draws_none(
    make: Callable[..., SweepRun], analyser: FakeAnalyser
) -> None:
    go_on(make(), Artist())
    before, again = analyser.calls, Artist()
    go_on(make(threshold=0.9), again)
    assert again.drawn == [] and analyser.calls == before + 34


def test_an_interrupt_while_catching_up_keeps_what_is_measured(make: Callable[..., SweepRun]) -> None:
    go_on(make(), Artist())

    def stop(done: int) -> None:
        if done == 10:
            raise Killed

    with pytest.raises(Killed):
        make(threshold=0.9).catch_up(stop)
    assert make(threshold=0.9).catch_up() == 34 - 10


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
    assert told["pictures"] == 34 and told["full_grid"] == 72 and len(told["cells"]) == 9
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
    assert (strongest.measurable, strongest.likeness, strongest.seeds) == (0, None, 1)
    finished = run.finish(outcome, ABOUT)
    assert "Not measurable: 2 times no face was found in the picture." in finished.report
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


# ---- what decides a picture


def changed(character: Character, **changes: object) -> Character:
    return replace(character, profile=character.profile.model_copy(update=changes))


def sd15(**fields: object) -> dict[str, object]:
    return {"base": {"sd15": BaseSettings(**fields)}}  # type: ignore[arg-type]


def test_what_shapes_a_picture_changes_the_key(character: Character) -> None:
    graph = [{"class_type": "KSampler", "inputs": {"steps": 20}}]
    keys = [
        drawing_key(character, PLAN, graph),
        drawing_key(character, PLAN, [{"class_type": "KSampler", "inputs": {"steps": 21}}]),
        drawing_key(character, PLAN, graph, [("model.ckpt", 1, 2)]),
        drawing_key(changed(character, description="blue hair"), PLAN, graph),
        drawing_key(replace(character, faces=character.faces[:1]), PLAN, graph),
        drawing_key(changed(character, **sd15(strengths=Strengths(companion_lora=0.2))), PLAN, graph),
        drawing_key(changed(character, **sd15(loras=(LoraVersion(file="a", version=1),))), PLAN, graph),
        drawing_key(changed(character, **sd15(preset="double_shortcut")), PLAN, graph),
    ]
    assert len(set(keys)) == len(keys)


def test_writing_the_winner_does_not_change_the_key(make: Callable[..., SweepRun], character: Character) -> None:
    run = go_on(make(), Artist())
    outcome = run.outcome()
    assert outcome.winner is not None
    won = with_winner(character.profile, "sd15", outcome.winner.cell, evidence(outcome, ABOUT))
    assert drawing_key(replace(character, profile=won), PLAN, []) == drawing_key(character, PLAN, [])
    noted = changed(character, notes="for people")
    assert drawing_key(noted, PLAN, []) == drawing_key(character, PLAN, [])


# ---- the profile


def test_the_winner_is_in_the_profile_as_swept_with_its_evidence(make: Callable[..., SweepRun], ada: Library) -> None:
    run = go_on(make(), Artist())
    outcome = run.outcome()
    assert outcome.winner is not None
    cell, found = outcome.winner.cell, evidence(outcome, ABOUT)
    ada.update("ada", lambda profile: with_winner(profile, "sd15", cell, found))
    settings = ada.get("ada").settings("sd15")
    values = settings.strengths.model_dump(exclude_none=True)
    assert values == {**cell.strengths, "source": "swept"}
    assert settings.sweep == found
    assert (found.renders, found.cells, found.seeds, found.prompts, found.mode) == (34, 9, 4, 2, "halving")
    assert found.conditioned and found.folder == ABOUT.folder and "highest likeness" in found.rule


def test_other_strengths_and_families_stay(character: Character, make: Callable[..., SweepRun]) -> None:
    outcome = go_on(make(), Artist()).outcome()
    assert outcome.winner is not None
    before = {
        "sd15": BaseSettings(strengths=Strengths(end=0.8, start=0.1)),
        "sdxl": BaseSettings(preset="face_forward"),
    }
    profile = character.profile.model_copy(update={"base": before})
    after = with_winner(profile, "sd15", outcome.winner.cell, evidence(outcome, ABOUT))
    assert (after.base["sd15"].strengths.end, after.base["sd15"].strengths.start) == (0.8, 0.1)
    assert after.base["sdxl"] == before["sdxl"]


@pytest.mark.parametrize(("file", "count"), [("run-000004.safetensors", 2), ("run-000008.safetensors", 3)])
def test_a_lora_file_that_won_is_the_active_version(
    character: Character, make: Callable[..., SweepRun], file: str, count: int
) -> None:
    outcome = go_on(make(), Artist()).outcome()
    versions = (LoraVersion(file="old", version=7), LoraVersion(file="run-000004.safetensors", version=3, active=False))
    profile = character.profile.model_copy(update={"base": {"sd15": BaseSettings(loras=versions)}})
    (cell,) = plan_of({"lora": "0.8"}, file).cells
    assert cell.get(LORA_FILE) == file
    settings = with_winner(profile, "sd15", cell, evidence(outcome, ABOUT)).base["sd15"]
    assert settings.lora is not None and settings.lora.file == file and len(settings.loras) == count
    assert BaseSettings.model_validate(settings.model_dump()) == settings


def test_a_sweep_without_a_winner_gives_no_evidence(make: Callable[..., SweepRun]) -> None:
    run = make(plan_of({"lora": "1"}, seeds=1))
    (render,) = run.plan.renders
    run.keep(render, empty_picture())
    assert run.outcome().winner is None
    with pytest.raises(LikenessError, match="no winner"):
        evidence(run.outcome(), ABOUT)
    assert "No winner" in run.finish(run.outcome(), ABOUT).report


def test_a_file_name_of_any_kind_fits_into_the_evidence(make: Callable[..., SweepRun], ada: Library) -> None:
    outcome = go_on(make(), Artist()).outcome()
    found = evidence(outcome, replace(ABOUT, checkpoint="a\nb\0" + "c" * 300))
    assert found.checkpoint.startswith("a?b?c") and len(found.checkpoint) == 200
    assert outcome.winner is not None
    cell = outcome.winner.cell
    assert ada.update("ada", lambda p: with_winner(p, "sd15", cell, found)).settings("sd15").sweep == found


# ---- from a score


def test_a_drawn_face_has_no_similarity() -> None:
    face = FaceScore(make_face(1), 0.9, "001.png", 0.9, "accepted", "", drawn=True, copy=True)
    measured = measured_of(Score("a", "accepted", "", (face,), face), 0.3)
    assert (measured.similarity, measured.verdict, measured.copy) == (None, "not measurable", False)
    assert measured.prompt == 0.3
    asked_for = measured_of(Score("a", "accepted", "", (face,), face), drawn_too=True)
    assert (asked_for.similarity, asked_for.copy) == (0.9, True)


def test_a_prompt_score_is_asked_where_there_is_a_text(make: Callable[..., SweepRun]) -> None:
    class Told:
        name = "told"

        def score(self, picture: RGB8, prompt: str) -> float:
            return {"red": 0.25, "blue": 0.35}[prompt]

    class Mean:
        name = "mean colour"

        def embed(self, pictures: Sequence[RGB8]) -> np.ndarray:
            return np.stack([p.reshape(-1, 3).mean(axis=0) for p in pictures]).astype(np.float32)

    run = make()
    run.measures = replace(run.measures, prompt=Told(), look=Mean())
    outcome = go_on(run, Artist()).outcome()
    assert outcome.control.prompt == pytest.approx(0.3) and outcome.dropped == []
    assert outcome.variety_measure == "variety by mean colour" and outcome.control.variety is not None
    silent = make(plan_of({"lora": "1"}, prompts="", seeds=1))
    silent.measures = replace(silent.measures, prompt=Told())
    assert silent.keep(silent.plan.renders[0], face_picture(1, 3)).prompt is None
