"""Character sheets and base proposals."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from likeness.dataset.balance import Target, Wanted, balance
from likeness.errors import LikenessError
from likeness.profile import Profile
from likeness.scenes.proposals import MOST, proposals_of, unsaid
from likeness.scenes.sheet import Look, apportion, sheet_from, sheet_of

ADA = Profile(name="Ada", slug="ada", trigger="adaray", class_word="woman")
BARE = Look(outfits=(), backgrounds=(), expressions=(), lights=())


@pytest.mark.parametrize(
    ("size", "framing"), [(7, (5, 1, 1)), (8, (6, 1, 1)), (9, (6, 2, 1)), (10, (7, 2, 1)), (30, (21, 6, 3))]
)
def test_a_sheet_has_70_20_10_framing_and_every_angle(size: int, framing: tuple[int, int, int]) -> None:
    sheet = sheet_of(ADA, size)
    found = Counter(s.values["framing"] for s in sheet)
    assert tuple(found[f] for f in ("upper body", "portrait", "full body")) == framing
    angles = Counter(s.values["angle"] for s in sheet)
    assert set(angles) >= {
        "frontal",
        "three-quarter left",
        "three-quarter right",
        "profile left",
        "profile right",
        "back",
    }
    assert angles["frontal"] == max(angles.values())


@pytest.mark.parametrize("size", [7, 10, 30, 60])
def test_no_two_pictures_of_a_sheet_are_the_same(size: int) -> None:
    sheet = sheet_of(ADA, size)
    assert len({s.prompt for s in sheet}) == len({s.name for s in sheet}) == len({s.seed for s in sheet}) == size
    assert len({tuple(s.values.items()) for s in sheet}) == size


def test_a_sheet_varies_expression_light_outfit_and_background_evenly() -> None:
    for facet in ("expression", "light", "outfit", "background"):
        counts = Counter(s.values[facet] for s in sheet_of(ADA, 30) if facet in s.values)
        assert len(counts) >= 5 and max(counts.values()) - min(counts.values()) <= 1


def test_no_portrait_shows_a_back_and_no_back_has_an_expression() -> None:
    backs = [s for size in (7, 10, 30, 60) for s in sheet_of(ADA, size) if s.values["angle"] == "back"]
    assert backs
    assert all(s.values["framing"] != "portrait" and "expression" not in s.values for s in backs)


def test_a_sheet_follows_another_target() -> None:
    target = Target(framing={"portrait": 0.5, "upper body": 0.5}, angle={"frontal": 0.5, "profile left": 0.5})
    counts = Counter(s.values["framing"] for s in sheet_of(ADA, 10, target))
    assert counts == {"portrait": 5, "upper body": 5}


@pytest.mark.parametrize("size", [0, 6, 61, True, "10"])
def test_another_size_is_refused(size: object) -> None:
    with pytest.raises(LikenessError, match="size"):
        sheet_of(ADA, size)  # type: ignore[arg-type]


def test_a_sheet_that_would_repeat_a_picture_is_refused() -> None:
    assert len(sheet_of(ADA, 7, look=BARE)) == 7
    with pytest.raises(LikenessError, match="same twice"):
        sheet_of(ADA, 60, look=BARE)


def test_a_sheet_joins_the_characters_and_the_users_words_once() -> None:
    scene = sheet_of(ADA, text="photo, 85 mm", negative="text")[0]
    assert scene.prompt.startswith("adaray woman, upper body") and scene.prompt.endswith("photo, 85 mm")
    assert scene.prompt.count("adaray") == 1 and scene.negative == "text" and scene.character == "ada"


def test_what_a_balance_misses_becomes_scenes_no_two_the_same() -> None:
    wanted = (Wanted("full body, bright", "adaray woman, full body, bright light", 7), *balance([], [], ADA).wanted)
    scenes = sheet_from(ADA, wanted)
    assert len(scenes) == sum(w.count for w in wanted)
    assert len({s.prompt for s in scenes}) == len({s.name for s in scenes}) == len(scenes)
    assert all(s.prompt.count("adaray") == 1 for s in scenes)
    assert all("dim light" not in s.prompt for s in scenes[:7]), "the light is said already"


def test_a_balance_that_misses_nothing_is_told() -> None:
    with pytest.raises(LikenessError, match="nothing"):
        sheet_from(ADA, ())


@pytest.mark.parametrize("size", range(1, 40))
def test_shares_add_up_and_none_is_left_out(size: int) -> None:
    counts = apportion({"a": 0.7, "b": 0.2, "c": 0.1, "d": 0.0}, size)
    assert sum(counts.values()) == size
    assert size < 3 or min(counts.values()) >= 1


# ---- proposals


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "description", ["a sailor", "a woman with long red hair", "an old bearded man in a suit, grey eyes"]
)
def test_any_two_proposals_differ_in_everything_that_is_not_said(description: str, seed: int) -> None:
    scenes = proposals_of(description, MOST, seed)
    for one, other in itertools.combinations(scenes, 2):
        assert one.values and set(one.values) == set(unsaid(description))
        assert all(one.values[trait] != other.values[trait] for trait in one.values)
    assert len({s.seed for s in scenes}) == len({s.name for s in scenes}) == MOST


@pytest.mark.parametrize(
    ("description", "trait"),
    [
        ("a woman with short black hair", "hair"),
        ("a blonde sailor", "hair"),
        ("a bald man", "hair"),
        ("a 30 year old man", "age"),
        ("a woman in her 40s", "age"),
        ("a young woman", "age"),
        ("a schoolgirl", "age"),
        ("green eyes", "eyes"),
        ("a brown-eyed man", "eyes"),
        ("a man wearing a hat", "clothes"),
        ("a woman in a red dress", "clothes"),
        ("a freckled man, strong jaw", "face"),
    ],
)
def test_what_the_description_says_is_not_said_again(description: str, trait: str) -> None:
    assert trait not in unsaid(description)
    assert all(trait not in s.values for s in proposals_of(description))


def test_a_robot_gets_no_hair_and_a_full_description_still_gives_different_looks() -> None:
    assert set(unsaid("a rusty robot")) == {"eyes", "clothes"}
    full = "a 30 year old woman, red hair, green eyes, round face, wearing a coat"
    assert len({s.prompt for s in proposals_of(full)}) == 3


def test_proposals_keep_the_description_first_and_do_not_speak_against_it() -> None:
    scene = proposals_of("a sailor with a hat", text="oil painting", negative="text")[0]
    assert scene.prompt.startswith("a sailor with a hat, ") and scene.prompt.endswith("oil painting")
    assert "hat" not in scene.negative.split(", ") and scene.negative.endswith("text")
    assert scene.character == ""


@pytest.mark.parametrize(("description", "count"), [("", 3), ("  \n", 3), ("a\x00", 3), ("a", 0), ("a", MOST + 1)])
def test_proposals_without_a_description_or_of_another_count_are_refused(description: str, count: int) -> None:
    with pytest.raises(LikenessError):
        proposals_of(description, count)


def test_the_same_seed_proposes_the_same() -> None:
    assert proposals_of("ein Seemann 水夫") == proposals_of("ein Seemann 水夫")
    assert proposals_of("a sailor", seed=1) != proposals_of("a sailor", seed=2)
