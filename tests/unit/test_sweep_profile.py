"""What a sweep leaves in a profile, and what of a character makes it another sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from likeness.character import Character
from likeness.errors import LikenessError
from likeness.images import RGB8
from likeness.library import Library
from likeness.profile import BaseSettings, LoraVersion, Strengths
from likeness.scoring import FaceScore, Score
from likeness.sweep.plan import LORA_FILE, plan_of
from likeness.sweep.report import evidence, measured_of, with_winner
from likeness.sweep.run import SweepRun, drawing_key

from ..fakes import empty_picture, face_picture, make_face
from .sweep_runs import ABOUT, PLAN, Artist, go_on

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
    assert (found.renders, found.cells, found.seeds, found.prompts, found.mode) == (36, 9, 4, 2, "halving")
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
