"""Which folders are sources, and what many near duplicates cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from likeness.dataset import similar
from likeness.dataset.build import build
from likeness.dataset.lint import lint_plan
from likeness.dataset.plan import Choice
from likeness.dataset.planning import about, plan_regular
from likeness.dataset.sources import folder_sources
from likeness.dataset.survey import Survey, survey
from likeness.errors import LikenessError
from likeness.profile import Profile

from .pictures import ADA, ANYTHING, folder_of, no_configs, plan_of, planned, save, scene


def test_a_set_among_the_pictures_is_passed_over_and_named(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 2)
    plan, sources = plan_of(photos)
    build(plan, sources, photos / "sets" / "first", no_configs)
    save(photos / "sets" / "first" / "mine.png", scene(50))
    found = folder_sources(photos)
    assert [p.name for p in found.pictures] == ["00.png", "01.png", "sets/first/mine.png"]
    assert [x.name for x in found.left_out] == ["sets/first/"] and "was built" in found.left_out[0].reason


def test_a_set_json_of_another_program_hides_no_picture(tmp_path: Path) -> None:
    folder_of(tmp_path / "cards", 2)
    (tmp_path / "cards" / "set.json").write_text("{}")
    assert len(folder_sources(tmp_path).pictures) == 2


def test_planning_from_a_built_set_takes_its_pictures_and_nothing_else(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 2), tmp_path / "first"
    plan, sources = plan_of(photos)
    build(plan, sources, out, no_configs)
    (out / "masks").mkdir()
    save(out / "masks" / "0001-masklabel.png", scene(9))
    assert [p.name for p in folder_sources(out).pictures] == [f"img/10_ohwx woman/000{n}.png" for n in (1, 2)]


def test_a_trigger_is_one_line_however_it_is_written() -> None:
    ada = Profile(name="Ada", slug="ada")
    assert about(ada, "zoe\u0308").trigger == "zo\u00eb"
    for trigger, word in (("a\nb", None), ("a" * 201, None), ("ohwx", "wo\x00man")):
        with pytest.raises(LikenessError, match=r"^(trigger|class_word): write it on one line"):
            about(ada, trigger, word)


def test_captions_of_regularisation_pictures_are_what_they_should_be(tmp_path: Path) -> None:
    plan, _ = plan_of(folder_of(tmp_path / "photos", 2))
    looked = survey(folder_sources(folder_of(tmp_path / "women", 6, first=30)))
    made = plan_regular(looked, plan, ADA).plan
    assert made.regular and {i.caption for i in made.items} == {"woman"} and lint_plan(made) == ()
    assert {f.code for f in lint_plan(made.model_copy(update={"regular": False}))} >= {"no trigger"}
    with pytest.raises(LikenessError, match="class word"):
        plan_regular(looked, plan, replace(ADA, class_word=""))


@pytest.mark.parametrize("how", ["keep", "take"])
def test_thousands_of_pictures_that_are_nearly_one_are_compared_once_each(how: str, tmp_path: Path) -> None:
    count = 600
    one = survey(folder_sources(folder_of(tmp_path, 1))).seen[0]
    seen = tuple(replace(one, source=f"{i:04d}.png", exact=f"{i}") for i in range(count))
    looked = Survey(str(tmp_path), seen)
    rules = ANYTHING.model_copy(update={"duplicates": "keep" if how == "keep" else "reject"})
    choices = [Choice(source=s.source, take=True) for s in seen] if how == "take" else []
    calls = 0

    def counted(a: object, b: object) -> float:
        nonlocal calls
        calls += 1
        return 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similar, "alike", counted)
        made = planned(looked, rules, choices=choices)
    assert len(made.plan.items) == count and [len(c) for c in made.plan.clusters] == [count]
    assert calls < 2 * count


def test_looking_for_duplicates_can_be_stopped(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    looked = survey(folder_sources(folder_of(tmp_path, 3)))
    with pytest.raises(KeyboardInterrupt):
        planned(looked, check=stop)
