"""Lists and a mode -> scenes."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.errors import LikenessError
from likeness.paths import is_reserved
from likeness.profile import BaseSettings, LoraVersion, Outfit, Profile
from likeness.scenes.lists import DEFAULTS, FACETS, Entry, Lists, parse_lines
from likeness.scenes.scene import MAX_SEED, Scene, scene_of
from likeness.scenes.variations import MAX_SCENES, MODES, chosen, scenes_of

ADA = Profile(
    name="Ada",
    slug="ada",
    trigger="adaray",
    class_word="woman",
    description="red hair",
    negative="blurry",
    outfits={"silk": Outfit(text="a silk robe", trigger="slkrb", loras="silk:0.7")},
    base={"sdxl": BaseSettings(loras=(LoraVersion(file="ada/ada_v3.safetensors", version=3),))},
)
BOB = Profile(name="Bob", slug="bob")
WORD = st.text(min_size=1, max_size=12).filter(lambda t: t.isprintable() and t.strip())


def names(scenes: tuple[Scene, ...]) -> list[str]:
    return [s.name for s in scenes]


def coats(*texts: str) -> Lists:
    return Lists(outfit=tuple(Entry(name=t[:190], text=t) for t in texts))


def test_an_outfit_comes_before_a_white_background_and_the_whole_figure() -> None:
    scene = scenes_of(BOB, DEFAULTS, "outfit")[0]
    assert scene.prompt == "wearing a white t-shirt and blue jeans, white background, full body"


@pytest.mark.parametrize(
    "text",
    [
        "In a sunny park",
        "photo, soft light, standing at a window",
        "by the sea, 85 mm",
        "grey background",
        "she is walking on a beach at sunset, 35 mm",
        "against a brick wall",
    ],
)
def test_a_place_that_the_user_names_takes_the_white_backgrounds(text: str) -> None:
    assert "full body" in scenes_of(BOB, DEFAULTS, "outfit", text=text)[0].prompt
    assert not any("white background" in s.prompt for s in scenes_of(BOB, DEFAULTS, "outfit", text=text))
    asked = scenes_of(BOB, DEFAULTS, "outfit", text=text, keep="white background")[0].prompt
    assert "white background" in asked and "full body" not in asked


@pytest.mark.parametrize(
    "text",
    ["", "at noon", "photo, soft light, 85 mm", "in the style of Monet", "in black and white", "in profile",
     "by golden light", "a portrait in a park", "in 4k", "at golden hour"],
)  # fmt: skip
def test_a_time_a_light_a_style_and_what_is_no_part_of_its_own_leave_it(text: str) -> None:
    assert "white background, full body" in scenes_of(BOB, DEFAULTS, "outfit", text=text)[0].prompt


def test_an_outfit_that_brings_its_background_keeps_it() -> None:
    plain, placed = scenes_of(BOB, coats("a coat", "a coat, dark background"), "outfit")
    assert "white background" in plain.prompt and "white" not in placed.prompt


def test_a_background_and_a_pose_keep_the_outfit() -> None:
    assert scenes_of(BOB, DEFAULTS, "background")[0].prompt == "standing in a sunny park, same outfit"
    beach = next(s for s in scenes_of(BOB, DEFAULTS, "background") if s.name == "beach")
    assert beach.prompt == "standing on a sandy beach, same outfit"
    assert scenes_of(BOB, DEFAULTS, "pose")[1].prompt == (
        "sitting on a chair, legs crossed, same outfit, same appearance"
    )


def test_what_stays_can_be_said_or_left_out() -> None:
    assert scenes_of(BOB, DEFAULTS, "outfit", keep="in a studio")[0].prompt.endswith("jeans, in a studio")
    assert scenes_of(BOB, DEFAULTS, "outfit", keep="-")[0].prompt.endswith("jeans")


def test_the_characters_words_and_the_users_are_joined_and_every_trigger_is_there_once() -> None:
    scene = scenes_of(ADA, DEFAULTS, "outfit", text="photo of adaray, film grain", negative="text")[0]
    assert scene.prompt == (
        "red hair, wearing a silk robe, slkrb, white background, full body, photo of adaray, film grain"
    )
    assert scene.negative == "blurry, text"
    assert scene.triggers == ("adaray", "slkrb")
    assert scene.loras == "silk:0.7"
    assert scene.lora_versions == {"sdxl": 3}
    said = scenes_of(ADA, DEFAULTS, "outfit", text="SLKRB style")[0].prompt
    assert said.casefold().count("slkrb") == 1 and said.count("adaray") == 1


def test_every_mode_of_one_list_gives_every_entry_of_it() -> None:
    for facet in FACETS:
        scenes = scenes_of(BOB, DEFAULTS, facet)
        assert [s.values for s in scenes] == [{facet: entry.name} for entry in DEFAULTS.of(facet)]


def test_a_grid_of_five_by_five_by_five_has_125_scenes_of_different_names_words_and_seeds() -> None:
    scenes = scenes_of(BOB, DEFAULTS, "grid", seed=9)
    assert len(scenes) == 125
    assert len(set(names(scenes))) == len({s.prompt for s in scenes}) == len({s.seed for s in scenes}) == 125
    assert scenes[0].prompt == (
        "wearing a white t-shirt and blue jeans, standing upright, arms at the sides, in a sunny park"
    )


def test_a_grid_combines_the_lists_that_are_named_and_leaves_out_empty_ones() -> None:
    assert len(scenes_of(BOB, DEFAULTS, "grid", vary="outfit, light")) == 5 * len(DEFAULTS.light)
    assert len(scenes_of(BOB, DEFAULTS.model_copy(update={"pose": ()}), "grid")) == 25
    assert names(scenes_of(BOB, coats("a coat", "a hat"), "grid", vary="all")) == ["a_coat", "a_hat"]


def test_a_grid_that_is_too_large_is_refused_before_it_is_made() -> None:
    many = Lists(**{f: tuple(Entry(name=f"{f} {n}", text=f"{f} {n}") for n in range(2000)) for f in FACETS})
    with pytest.raises(LikenessError, match=f"{MAX_SCENES:,}"):
        scenes_of(BOB, many, "grid", vary="all")
    with pytest.raises(LikenessError, match=f"{MAX_SCENES:,}"):
        scenes_of(BOB, DEFAULTS, "outfit", per_scene=MAX_SCENES)
    assert len(set(names(scenes_of(BOB, many, "random", vary="all", count=50)))) == 50


@pytest.mark.parametrize("count", [1, 7, 125, 500])
def test_a_random_sample_has_no_repeats_and_is_the_same_again(count: int) -> None:
    first = scenes_of(BOB, DEFAULTS, "random", count=count, seed=4)
    assert len(set(names(first))) == len(first) == min(count, 125)
    assert scenes_of(BOB, DEFAULTS, "random", count=count, seed=4) == first
    if count < 100:
        assert set(names(scenes_of(BOB, DEFAULTS, "random", count=count, seed=5))) != set(names(first))


def test_one_more_entry_moves_few_scenes_of_a_random_sample() -> None:
    more = DEFAULTS.model_copy(update={"pose": (*DEFAULTS.pose, Entry(name="kneeling", text="kneeling"))})
    before = scenes_of(BOB, DEFAULTS, "random", count=20, seed=4)
    after = scenes_of(BOB, more, "random", count=20, seed=4)
    kept = {s.digest for s in before} & {s.digest for s in after}
    assert len(kept) == 20 - sum(s.values["pose"] == "kneeling" for s in after)


@pytest.mark.parametrize("mode", MODES)
def test_a_scene_does_not_change_when_entries_come_or_go(mode: str) -> None:
    less = Lists(**{f: DEFAULTS.of(f)[1:4] for f in FACETS})
    whole = {s.name: s for s in scenes_of(BOB, DEFAULTS, mode, count=10_000 if mode == "random" else None, seed=1)}
    part = scenes_of(BOB, less, mode, count=10_000 if mode == "random" else None, seed=1)
    assert part and all(whole[s.name] == s for s in part)


def test_seeds_are_one_for_all_or_one_for_each() -> None:
    same = scenes_of(BOB, DEFAULTS, "outfit", seed=MAX_SEED, seeds="same", per_scene=2)
    assert [s.seed for s in same] == [MAX_SEED, 0] * 5
    each = scenes_of(BOB, DEFAULTS, "outfit", seed=MAX_SEED)
    assert len({s.seed for s in each}) == 5
    assert all(s.seed < 2**53 for s in each), "a browser would round it"
    assert {s.seed for s in each}.isdisjoint(s.seed for s in scenes_of(BOB, DEFAULTS, "outfit", seed=1))


def test_more_pictures_of_a_scene_leave_the_first_as_it_is() -> None:
    one, three = scenes_of(BOB, DEFAULTS, "pose"), scenes_of(BOB, DEFAULTS, "pose", per_scene=3)
    assert three[::3] == one
    assert names(three[:3]) == ["standing", "standing-2", "standing-3"]


def test_any_scene_can_be_made_again_by_its_name_a_pattern_or_its_file() -> None:
    grid = scenes_of(BOB, DEFAULTS, "grid", seed=2)
    for wanted in (grid[77].name, f"{grid[77].name}.png", f"ada/{grid[77].name} (2).png", f"{grid[77].name}_001.png"):
        assert scenes_of(BOB, DEFAULTS, "grid", seed=2, only=wanted) == (grid[77],)
    assert len(scenes_of(BOB, DEFAULTS, "grid", only="*-park-*")) == 25
    assert len(scenes_of(BOB, DEFAULTS, "grid", only="looking back, cafe")) == 25 + 25 - 5


def test_a_name_that_no_scene_has_is_answered_with_the_nearest() -> None:
    with pytest.raises(LikenessError, match="nearest are casual"):
        scenes_of(BOB, DEFAULTS, "outfit", only="causal")


def test_names_are_file_names_on_every_system_and_differ_in_more_than_case() -> None:
    texts = [
        "Red Dress!",
        "red-dress",
        "a/b\\c",
        "..",
        "con",
        "赤いドレス",
        "платье",
        "ผ้าไหม",
        "👗",
        "👒",
        "x" * 5000,
        "a\u202eb",
    ]
    scenes = scenes_of(BOB, coats(*texts), "outfit")
    found = names(scenes)
    assert len({n.casefold() for n in found}) == len(texts)
    assert all(len(n.encode()) < 200 and not is_reserved(n) and n.isprintable() for n in found)
    assert not any(set(n) & set('/\\:*?"<>|. ,') for n in found)
    assert "赤いドレス" in found and "ผ้าไหม" in found and "red_dress" in found


@given(st.dictionaries(WORD, WORD, min_size=1, max_size=6), st.dictionaries(WORD, WORD, min_size=1, max_size=6))
def test_names_of_a_grid_never_meet(outfits: dict[str, str], poses: dict[str, str]) -> None:
    made = [
        tuple({e.name.casefold(): e for e in (Entry(name=k.strip(), text=v) for k, v in given_.items())}.values())
        for given_ in (outfits, poses)
    ]
    scenes = scenes_of(BOB, Lists(outfit=made[0], pose=made[1]), "grid", per_scene=2)
    assert len({s.name.casefold() for s in scenes}) == len(scenes)


@pytest.mark.parametrize(
    ("lists", "mode", "inputs", "said"),
    [
        (Lists(), "outfit", {}, "outfit list is empty"),
        (Lists(), "grid", {}, "are all empty"),
        (DEFAULTS, "dance", {}, "mode.*dance"),
        (DEFAULTS, "grid", {"vary": "outfit, hats"}, "vary.*hats"),
        (DEFAULTS, "grid", {"vary": " , "}, "vary"),
        (DEFAULTS, "outfit", {"seed": -1}, "seed"),
        (DEFAULTS, "outfit", {"seed": MAX_SEED + 1}, "seed"),
        (DEFAULTS, "outfit", {"seeds": "some"}, "seeds"),
        (DEFAULTS, "outfit", {"count": 0}, "count"),
        (DEFAULTS, "outfit", {"per_scene": 0}, "per_scene"),
        (DEFAULTS, "outfit", {"text": "a\x00b"}, "text.*control"),
        (DEFAULTS, "outfit", {"negative": "\ud800"}, "negative.*control"),
        (DEFAULTS, "outfit", {"keep": "\x1b[0m"}, "keep.*control"),
        (DEFAULTS, "outfit", {"text": "a" * 2_100_000}, "text.*longer"),
    ],
)
def test_what_cannot_be_done_is_told_with_its_field(lists: Lists, mode: str, inputs: dict, said: str) -> None:
    with pytest.raises(LikenessError, match=said):
        scenes_of(BOB, lists, mode, **inputs)


def test_a_prompt_of_ten_thousand_words_stays_whole() -> None:
    text = " ".join(f"word{n}" for n in range(10_000))
    scenes = scenes_of(ADA, DEFAULTS, "grid", text=text)
    assert len(scenes) == 150 and all(s.prompt.endswith(text) for s in scenes)
    with pytest.raises(LikenessError, match="too much to hold"):
        scenes_of(ADA, DEFAULTS, "outfit", text=text * 10, per_scene=1000)


def test_line_breaks_of_every_system_are_one() -> None:
    scene = scenes_of(BOB, DEFAULTS, "outfit", text="a\r\nb\rc\nd")[0]
    assert scene.prompt.endswith("a\nb\nc\nd")


def test_the_metadata_of_a_scene_is_the_scene_again_and_holds_no_face() -> None:
    for scene in scenes_of(ADA, DEFAULTS, "grid", seed=MAX_SEED, seeds="same")[:3]:
        about = scene.metadata(more={"checkpoint": "x.safetensors"})
        assert scene_of(about) == scene and scene_of(about).digest == scene.digest
        assert set(about) == {
            *("format", "tool", "digest", "picture", "pictures", "more"),
            *("name", "seed", "prompt", "negative", "values", "loras", "triggers", "character", "lora_versions"),
        }
    assert pickle.loads(pickle.dumps(scene)) == scene


@pytest.mark.parametrize("change", [{"format": 2}, {"seed": -1}, {"seed": "1"}, {"prompt": 3}, {"values": []}])
def test_metadata_that_somebody_changed_is_refused(change: dict) -> None:
    about = scenes_of(BOB, DEFAULTS, "outfit")[0].metadata() | change
    with pytest.raises(LikenessError):
        scene_of(about)


def test_every_part_of_a_scene_is_in_its_digest() -> None:
    scene = scenes_of(ADA, DEFAULTS, "outfit")[0]
    others = {"name": "b", "seed": 1, "prompt": "b", "negative": "b", "values": {"outfit": "b"}, "loras": "b:1"}
    others |= {"triggers": ("b",), "character": "b", "lora_versions": {"sdxl": 4}}
    digests = {Scene(**{**scene.model_dump(), key: value}).digest for key, value in others.items()}
    assert len(digests | {scene.digest}) == 10


def test_two_outfits_of_one_file_name_keep_their_own() -> None:
    lists = Lists(outfit=parse_lines("Red dress: a red dress\nred_dress: a crimson dress"))
    first, second = scenes_of(BOB, lists, "outfit")
    assert first.name == "red_dress" and second.name.startswith("red_dress_")


def test_an_odd_pattern_is_told_as_it_was_written() -> None:
    with pytest.raises(LikenessError, match=r"no scene is named '\[x'"):
        chosen(scenes_of(BOB, DEFAULTS, "outfit"), "[x")
