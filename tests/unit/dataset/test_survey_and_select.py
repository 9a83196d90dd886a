"""What is seen of a picture, which ones are taken, and that every reason is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from likeness.character import Character
from likeness.dataset.buckets import Shape
from likeness.dataset.groups import even_repeats, looks
from likeness.dataset.plan import Box, Choice, Facts, Rules, SetPlan
from likeness.dataset.planning import About, about, plan_set
from likeness.dataset.sources import Sources, batch_sources, folder_sources
from likeness.dataset.survey import survey
from likeness.errors import LikenessError, StorageError
from likeness.images import RGB8
from likeness.scoring import judge_for

from ...fakes import FakeAnalyser
from .pictures import ADA, caption, portrait, save, scene

SHAPE = Shape.of(256)
RULES = Rules(smallest=64, face_width=30.0, darkest=0.0, brightest=255.0)
CLOSE = (100, 80, 120)  # left, top, size of a face in a picture of 320 px


def plan(
    pictures: list[RGB8],
    analyser: FakeAnalyser | None = None,
    character: Character | None = None,
    rules: Rules = RULES,
    **options: object,
) -> SetPlan:
    analyser = analyser or FakeAnalyser()
    judge = (
        None if character is None else judge_for(character, analyser, measure_drawn=True)
    )  # plain squares look drawn
    seen = survey(batch_sources(pictures), analyser, judge)
    return plan_set(seen, ADA, caption, name="x", shape=SHAPE, rules=rules, **options).plan  # type: ignore[arg-type]


def codes(made: SetPlan) -> dict[str, str]:
    return {r.source.removeprefix("batch/000"): r.code for r in made.rejected}


def test_another_person_and_nobody_are_left_out(character: Character) -> None:
    pictures = [
        portrait(1, [(1, 11, *CLOSE)]),
        portrait(2, [(2, 12, *CLOSE)]),
        scene(3, 320, 320),
        portrait(4, [(1, 14, *CLOSE)]),
    ]
    made = plan(pictures, character=character)
    assert codes(made) == {"2": "not the person", "3": "no face"}
    assert [i.source for i in made.items] == ["batch/0001", "batch/0004"]
    assert all(i.verdict == "accepted" and i.similarity is not None for i in made.items)
    assert all(len(r.reason) > 8 and r.reason[0].isupper() and r.reason.endswith(".") for r in made.rejected)


def test_the_gate_can_be_turned_into_a_note(character: Character) -> None:
    pictures = [portrait(2, [(2, 12, *CLOSE)])]
    noted = plan(pictures, character=character, rules=RULES.model_copy(update={"identity": "note"}))
    assert [i.verdict for i in noted.items] == ["rejected"]


def test_another_face_in_the_crop_is_told_and_one_far_away_is_not() -> None:
    together = portrait(1, [(1, 1, 20, 60, 100), (2, 2, 180, 60, 90)])
    far = portrait(2, [(1, 1, 100, 60, 100), (2, 2, 20, 20, 24)])
    assert codes(plan([together, far])) == {"1": "several faces"}
    assert codes(plan([together], rules=RULES.model_copy(update={"several_faces": "keep"}))) == {}


def test_where_it_is_wanted_the_crop_leaves_the_other_person_out() -> None:
    together = portrait(1, [(1, 1, 20, 60, 100), (2, 2, 225, 60, 60)])
    made = plan([together], rules=RULES.model_copy(update={"several_faces": "crop"}))
    assert made.items[0].box.right <= 220 and made.items[0].bucket_height > made.items[0].bucket_width
    close = portrait(1, [(1, 1, 20, 60, 100), (2, 2, 90, 60, 100)])
    assert codes(plan([close], rules=RULES.model_copy(update={"several_faces": "crop"}))) == {"1": "several faces"}


def test_a_face_that_would_be_too_small_in_the_file_is_told() -> None:
    rules = RULES.model_copy(update={"face_width": 100.0})
    assert codes(plan([portrait(1, [(1, 1, 140, 100, 60)], 700, 700)], rules=rules)) == {"1": "too small"}


def test_choices_outrank_every_rule(character: Character) -> None:
    pictures = [portrait(1, [(1, 11, *CLOSE)]), portrait(2, [(2, 12, *CLOSE)])]
    choices = [
        Choice(source="batch/0001", take=False),
        Choice(source="batch/0002", take=True, caption="ohwx, by hand", repeats=3, group="mine",
               box=Box(left=0, top=0, width=256, height=256)),
    ]  # fmt: skip
    made = plan(pictures, character=character, choices=choices)
    assert codes(made) == {"1": "by hand"}
    (item,) = made.items
    assert (item.caption, item.repeats, item.group) == ("ohwx, by hand", 3, "mine")
    assert (item.box, item.bucket_width) == (Box(left=0, top=0, width=256, height=256), 256)
    assert made.choices == tuple(choices)


def test_a_box_outside_the_picture_is_refused() -> None:
    box = Box(left=200, top=0, width=256, height=256)
    with pytest.raises(LikenessError, match="leaves the picture"):
        plan([portrait(1, [(1, 1, *CLOSE)])], choices=[Choice(source="batch/0001", box=box)])


def test_a_choice_about_a_picture_that_is_gone_is_kept_and_told() -> None:
    made = plan([portrait(1, [(1, 1, *CLOSE)])], choices=[Choice(source="gone.png", take=True)])
    assert made.choices and any("gone.png" in note for note in made.notes)


def test_of_copies_the_sharpest_is_kept() -> None:
    sharp = portrait(1, [(1, 1, *CLOSE)])
    soft = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(1.2))).copy()
    soft[0] = sharp[0]
    made = plan([soft, sharp, sharp.copy()], rules=RULES.model_copy(update={"need_face": False, "sharpness": 0.0}))
    assert len(made.items) == 1 and len(made.clusters) == 1 and len(made.clusters[0]) == 3
    assert {r.code for r in made.rejected} <= {"duplicate", "near duplicate"}
    assert {r.of for r in made.rejected} == {made.items[0].source}


def test_two_people_before_one_background_are_no_copies() -> None:
    first, second = portrait(1, [(1, 1, *CLOSE)]), portrait(1, [(2, 2, *CLOSE)])
    assert codes(plan([first, second])) == {}


def test_a_chain_of_near_pictures_keeps_its_far_ends() -> None:
    """Each rejected picture is near to one that was kept, not only to another one that went."""
    end = scene(9, 256, 256).astype(np.float64)
    start = scene(8, 256, 256).astype(np.float64)
    steps = [(start + (end - start) * i / 11).astype(np.uint8) for i in range(12)]
    made = plan(steps, rules=RULES.model_copy(update={"need_face": False, "identity": "off"}))
    kept = {i.source for i in made.items}
    assert len(kept) >= 2 and {r.of for r in made.rejected} <= kept


def test_the_same_survey_gives_the_same_plan() -> None:
    pictures = [portrait(i, [(1, i, *CLOSE)]) for i in range(6)]
    assert plan(pictures) == plan(pictures)


def test_a_set_without_faces_needs_no_face_model(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f"background forest/{i}.png", scene(i, 300, 300))
    seen = survey(folder_sources(tmp_path))
    rules = Rules(need_face=False, smallest=64, group_by="background")
    made = plan_set(seen, ADA, caption, name="x", shape=SHAPE, rules=rules).plan
    assert [i.facts.background for i in made.items] == ["forest"] * 3 and {i.group for i in made.items} == {"forest"}


def test_folder_names_tell_outfit_and_background(tmp_path: Path) -> None:
    save(tmp_path / "outfit-red_dress" / "background beach" / "a.png", scene(1, 300, 300))
    seen = survey(folder_sources(tmp_path))
    made = plan_set(seen, ADA, caption, name="x", shape=SHAPE, rules=Rules(need_face=False, smallest=64)).plan
    facts = made.items[0].facts
    assert (facts.outfit, facts.background) == ("red dress", "beach")


class Colours:
    """An image encoder that looks at the mean colour."""

    name = "colours"

    def embed(self, pictures: list[RGB8]) -> np.ndarray:
        return np.stack([p.reshape(-1, 3).mean(axis=0) - 128.0 for p in pictures]).astype(np.float32)


def test_pictures_that_look_alike_form_a_group() -> None:
    def plain(colour: tuple[int, int, int], seed: int) -> RGB8:
        grain = np.random.default_rng(seed).integers(-30, 31, (300, 300, 3))
        return (np.array(colour) + grain).clip(0, 255).astype(np.uint8)

    pictures = [plain((220, 40, 40), i) for i in range(3)] + [plain((30, 40, 220), 9)]
    seen = survey(batch_sources(pictures), embedder=Colours())
    rules = Rules(need_face=False, smallest=64, group_by="background", even_groups=True, duplicates="keep")
    made = plan_set(seen, ADA, caption, name="x", shape=SHAPE, rules=rules, repeats=5).plan
    assert [i.group for i in made.items] == ["background 1"] * 3 + ["background 2"]
    assert [i.repeats for i in made.items] == [5, 5, 5, 15]
    assert [name for _, name in made.folder_names] == ["5_ohwx woman", "15_ohwx woman"]


def test_groups_are_numbered_by_size_and_need_an_embedding() -> None:
    a, b = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert looks([b, a, a, None]) == ["background 2", "background 1", "background 1", ""]


def test_small_groups_are_shown_more_often_within_bounds() -> None:
    assert even_repeats(["a"] * 12 + ["b"] * 4 + ["c"], 10) == [10] * 12 + [30] * 4 + [40]


def test_a_survey_can_be_stopped() -> None:
    pictures = [scene(i, 300, 300) for i in range(20)]

    def stop(done: int, of: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey(batch_sources(pictures), progress=stop)


@pytest.mark.parametrize("given", [2, 4])
def test_masks_and_captions_come_one_for_all_or_one_each(given: int) -> None:
    pictures = [scene(i) for i in range(3)]
    with pytest.raises(StorageError, match="one for all"):
        batch_sources(pictures, captions=["ohwx"] * given)
    with pytest.raises(StorageError, match="one for all"):
        batch_sources(pictures, masks=[np.zeros((160, 160), dtype=np.uint8)] * given)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(LikenessError, match="mask of picture 1"):
        batch_sources([scene(1)], [np.zeros((10, 10), dtype=np.uint8)])


def test_a_character_without_a_trigger_gets_one_and_is_told(character: Character) -> None:
    profile = character.profile.model_copy(update={"trigger": "", "slug": "ada_ray"})
    who = about(profile)
    assert who.trigger == "adaray" and "adaray" in who.notes[0]
    assert about(profile, " zz9 ") == About(profile.name, "ada_ray", "zz9", profile.class_word)


def test_facts_say_nothing_that_was_not_measured() -> None:
    seen = survey(Sources("", batch_sources([scene(1, 300, 300)]).pictures))
    made = plan_set(seen, ADA, caption, name="x", shape=SHAPE, rules=Rules(need_face=False, smallest=64)).plan
    assert made.items[0].facts == Facts(light="even")


def test_of_two_equal_pictures_the_one_that_a_person_has_described_stays(tmp_path: Path) -> None:
    save(tmp_path / "a.png", scene(1, 300, 300))
    save(tmp_path / "b.png", scene(1, 300, 300))
    save(tmp_path / "outfit_red dress" / "c.png", scene(2, 300, 300))
    save(tmp_path / "0.png", scene(2, 300, 300))
    (tmp_path / "b.txt").write_text("ohwx woman, by hand")
    rules = RULES.model_copy(update={"need_face": False, "identity": "off"})
    made = plan_set(survey(folder_sources(tmp_path)), ADA, caption, name="x", shape=SHAPE, rules=rules).plan
    assert [i.source for i in made.items] == ["b.png", "outfit_red dress/c.png"]
    assert {r.source: r.code for r in made.rejected} == {"0.png": "duplicate", "a.png": "duplicate"}


def test_a_face_that_the_edge_cuts_is_left_out() -> None:
    whole, cut = portrait(1, [(7, 0, 190, 80, 120)]), portrait(2, [(7, 0, 230, 80, 120)])
    made = plan([whole, cut], FakeAnalyser())
    assert codes(made) == {"2": "cut"} and "25% of it" in made.rejected[0].reason
    assert codes(plan([whole, cut], FakeAnalyser(), rules=RULES.model_copy(update={"cut": 0.3}))) == {}
