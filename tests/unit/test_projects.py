"""Projects: files, and which setting counts."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.errors import BadNameError, LibraryError, LikenessError, ProfileError
from likeness.library import Library
from likeness.profile import FAMILIES, BaseSettings, Profile, Sampling
from likeness.profile_toml import check_as
from likeness.projects import (
    QUALITIES,
    QUALITY,
    GenerationProfile,
    Project,
    assigned,
    changed_fields,
    emit_project,
    load_project,
    new_project,
    parse_project,
    project_slugs,
    settings_for,
    trash_project,
    update_project,
)
from likeness.shared_files import PROJECTS, shared_path, shared_write

ADA = Profile(name="Ada", slug="ada", base={"sdxl": BaseSettings(sampling=Sampling(steps=31, cfg=5.5))})


def project(**values: Any) -> Project:
    return check_as(Project, {"name": "Night City", "slug": "night_city", **values}, "test")


FULL = {
    "checkpoint": "sdxl/jug.safetensors",
    "family": "sdxl",
    "vae": "sdxl.safetensors",
    "loras": "neon:0.6",
    "negative": "blurry",
    "style": "neon light",
    "quality": "high",
    "sampling": {"steps": 28, "width": 832},
    "profiles": {"portrait": {"sampling": {"width": 768, "height": 1152}, "loras": "skin:0.3"}, "empty": {}},
    "characters": {"ada": "portrait"},
    "routes": {"grim": {"file": "grim.safetensors", "family": "sdxl", "rating": "mature"}},
}

# ---- files


def test_what_is_written_is_read_back(library: Library) -> None:
    made = new_project(library, "Night City", **FULL)
    assert made.slug == "night_city" and load_project(library, "Night City") == made == load_project(library, made.slug)
    assert parse_project(emit_project(made)) == made and project_slugs(library) == ["night_city"]


TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60)
SAMPLINGS = st.builds(
    Sampling,
    steps=st.none() | st.integers(1, 1000),
    cfg=st.none() | st.floats(0, 100),
    width=st.none() | st.integers(16, 16384),
    sampler=st.none() | st.sampled_from(["euler", 'a"b', "ü"]),
)
GENERATIONS = st.builds(
    GenerationProfile, loras=TEXTS, style=TEXTS, sampling=SAMPLINGS, quality=st.none() | st.sampled_from(QUALITIES)
)


@given(top=GENERATIONS, special=GENERATIONS)
def test_every_project_is_read_back_as_it_was_written(top: GenerationProfile, special: GenerationProfile) -> None:
    values = top.model_dump(exclude_none=True)
    made = project(**values, profiles={"a-b": special.model_dump(exclude_none=True)}, characters={"ada": "a-b"})
    assert parse_project(emit_project(made)) == made


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("chekpoint = 'x'", "chekpoint: no such field; did you mean `checkpoint`?"),
        ("[profiles.x.sampling]\nstep = 3", "profiles.x.sampling.step: no such field; did you mean `steps`?"),
        ("[routes.x]\nfile = 'a'\nfamily = 'sdxl'\nrating = 'Explicit'", "routes.x.rating"),
        ("adult = true", "adult: no such field"),
        ("quality = 'best'", "quality: should be 'draft'"),
        ("checkpoint = '../../secret'", "checkpoint: write the name as ComfyUI lists it"),
        ("[sampling]\nsteps = 0", "sampling.steps"),
        ("[sampling]\ncfg = inf", "sampling.cfg"),
        ("[characters]\nada = 'gone'", "characters.ada uses profile 'gone', which is not in profiles; there: none"),
        ("[characters]\n'../ada' = 'x'", "characters"),
        ("[profiles.Portrait]", "profiles"),
        ('style = "a\\u0000b"', "style: contains a control character"),
        ("style = '" + "x" * 9000 + "'", "style"),
        ("notes = '" + "x" * 140_000 + "'", "larger than 128 KB"),
        ("a." * 40 + "b = 1", "dots"),
        ("x = " + "[" * 5000 + "]" * 5000, "not valid TOML"),
    ],
)
def test_a_wrong_project_is_told_by_file_and_field(text: str, told: str) -> None:
    head = "" if text.startswith(("[", "a.")) else text
    data = f"name = 'A'\nslug = 'a'\n{head}\n{text if not head else ''}".encode()
    with pytest.raises(ProfileError) as caught:
        parse_project(data, "a.toml")
    assert told in str(caught.value) and str(caught.value).startswith("a.toml: ")
    assert len(str(caught.value)) < 2000


def test_a_project_that_is_there_is_not_written_over(library: Library) -> None:
    new_project(library, "A", style="first")
    with pytest.raises(LibraryError, match="'a' exists already"):
        new_project(library, "a", style="second")
    assert load_project(library, "a").style == "first"


def test_a_missing_project_is_told_with_those_there_are(library: Library) -> None:
    new_project(library, "A")
    for call in (load_project, trash_project):
        with pytest.raises(LibraryError, match="There is no project 'b'; there are a"):
            call(library, "b")
    with pytest.raises(LibraryError, match="no project 'b'"):
        update_project(library, "b", lambda p: p)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "日本", "a\0b", "con"])
def test_a_name_that_is_a_path_makes_no_project(library: Library, name: str) -> None:
    for call in (new_project, load_project, trash_project):
        with pytest.raises(BadNameError):
            call(library, name)


def test_a_file_under_another_name_is_told(library: Library) -> None:
    new_project(library, "A")
    shared_write(library, PROJECTS, "b", shared_path(library, PROJECTS, "a").read_bytes())
    with pytest.raises(LibraryError, match="slug is 'a' but the file is named 'b'"):
        load_project(library, "b")


def test_a_change_that_fails_leaves_the_project_as_it_was(library: Library) -> None:
    new_project(library, "A", style="first")
    for bad in ({"quality": "best"}, {"checkpoint": "../x"}, {"slug": "b"}, {"adult": True}, {"sampling": {"cfg": -1}}):
        with pytest.raises(LikenessError):
            update_project(library, "a", lambda p, bad=bad: changed_fields(p, bad))
    with pytest.raises(ProfileError):  # model_copy checks nothing
        update_project(library, "a", lambda p: p.model_copy(update={"quality": "best"}))
    assert load_project(library, "a").style == "first" and project_slugs(library) == ["a"]


def test_fields_are_set_emptied_and_merged() -> None:
    made = changed_fields(project(**FULL), {"vae": None, "style": "rain", "sampling": {"steps": None, "cfg": 4.0}})
    assert made.vae is None and made.style == "rain"
    assert made.sampling == Sampling(width=832, cfg=4.0)
    made = changed_fields(made, {"sampling": {"height": None}, "quality": "draft"}, "portrait")
    assert made.profiles["portrait"] == GenerationProfile(
        sampling=Sampling(width=768), loras="skin:0.3", quality="draft"
    )
    assert changed_fields(made, {}, "new").profiles["new"] == GenerationProfile()
    assert changed_fields(made, {"quality": None}).quality == "standard"
    assert changed_fields(made, {"sampling": None}).sampling == Sampling()


def test_a_character_is_given_a_generation_profile_and_taken_from_it() -> None:
    made = project(**FULL)
    assert assigned(made, "bob", "empty").characters == {"ada": "portrait", "bob": "empty"}
    assert assigned(made, "ada", None).characters == {}
    with pytest.raises(LibraryError, match="no generation profile 'x'; there: portrait, empty"):
        assigned(made, "ada", "x")


# ---- which setting counts

LEVELS = ("quality", "project", "character", "profile")


@pytest.mark.parametrize("who", [set(c) for n in range(4) for c in itertools.combinations(LEVELS[1:], n)])
def test_the_most_specific_setting_counts(who: set[str]) -> None:
    """Every combination of who has set the steps; the last in the documented order wins."""
    steps = {"quality": QUALITY["high"].steps, "project": 11, "character": 12, "profile": 13}
    sampling = {level: {"steps": steps[level]} if level in who else {} for level in LEVELS[1:]}
    made = project(
        quality="high",
        sampling=sampling["project"],
        profiles={"p": {"sampling": sampling["profile"]}},
        characters={"ada": "p"},
    )
    ada = Profile(
        name="Ada", slug="ada", base={"sdxl": BaseSettings(sampling=Sampling.model_validate(sampling["character"]))}
    )
    winner = [level for level in LEVELS if level in {"quality", *who}][-1]
    found = settings_for(made, ada, "sdxl")
    assert found.steps == steps[winner]
    origins = {
        "quality": "quality high",
        "project": "project night_city",
        "character": "character ada",
        "profile": "profile p of project night_city",
    }
    assert found.origin("steps") == origins[winner]


def test_every_number_says_who_set_it() -> None:
    found = settings_for(project(**FULL), ADA, "sdxl")
    assert (found.steps, found.cfg, found.width, found.height) == (31, 5.5, 768, 1152)
    assert found.origins == {
        "steps": "character ada",
        "cfg": "character ada",
        "sampler": "usual for sdxl",
        "scheduler": "usual for sdxl",
        "denoise": "usual for sdxl",
        "width": "profile portrait of project night_city",
        "height": "profile portrait of project night_city",
        "upscale": "quality high",
        "quality": "project night_city",
        "checkpoint": "project night_city",
        "vae": "project night_city",
    }


def test_a_character_without_a_place_in_the_project_gets_the_projects_own() -> None:
    bob = Profile(name="Bob", slug="bob")
    found = settings_for(project(**FULL), bob, "sdxl")
    assert found == settings_for(project(**FULL), None, "sdxl")
    assert (found.steps, found.width, found.height) == (28, 832, 1024) and found.loras == ("neon:0.6",)


def test_settings_of_another_family_do_not_count() -> None:
    assert settings_for(project(), ADA, "sd15").steps == QUALITY["standard"].steps


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("quality", QUALITIES)
def test_every_quality_is_complete_on_every_family(quality: str, family: str) -> None:
    found = settings_for(project(quality=quality), None, family)
    assert all(getattr(found, k) is not None for k in ("steps", "cfg", "sampler", "scheduler", "denoise"))
    assert found.width % 64 == found.height % 64 == 0 and 512 <= found.width <= 1024
    assert set(found.origins) >= {"steps", "cfg", "sampler", "scheduler", "width", "height", "denoise", "upscale"}


def test_a_better_quality_never_takes_less() -> None:
    cost = [settings_for(project(quality=q), None, "sdxl") for q in QUALITIES]
    for worse, better in itertools.pairwise(cost):
        assert (worse.steps, worse.width, worse.upscale) <= (better.steps, better.width, better.upscale)
        assert worse.steps < better.steps


def test_a_generation_profile_can_have_a_quality_of_its_own() -> None:
    made = changed_fields(project(**FULL), {"quality": "draft"}, "portrait")
    found = settings_for(made, Profile(name="Ada", slug="ada"), "sdxl")
    assert found.quality == "draft" and found.origin("quality") == "profile portrait of project night_city"
    assert found.upscale == 1.0 and found.steps == 28, "what the project has set stays"


def test_words_and_stacks_add_up_and_a_vae_stays_with_its_checkpoint() -> None:
    found = settings_for(
        changed_fields(project(**FULL), {"style": "portrait", "negative": "hat"}, "portrait"), ADA, "sdxl"
    )
    assert (found.style, found.negative) == ("neon light, portrait", "blurry, hat")
    assert found.loras == ("neon:0.6", "skin:0.3") and found.vae == "sdxl.safetensors"
    other = settings_for(changed_fields(project(**FULL), {"checkpoint": "b.safetensors"}, "portrait"), ADA, "sdxl")
    assert (other.checkpoint, other.vae) == ("b.safetensors", None)
    assert other.origin("checkpoint") == "profile portrait of project night_city"
    vae = settings_for(changed_fields(project(**FULL), {"vae": "c.safetensors"}, "portrait"), ADA, "sdxl")
    assert (vae.checkpoint, vae.vae) == ("sdxl/jug.safetensors", "c.safetensors")


def test_settings_travel_to_another_process() -> None:
    found = settings_for(project(**FULL), ADA, "sdxl")
    assert pickle.loads(pickle.dumps(found)) == found and found.as_dict()["loras"] == ["neon:0.6", "skin:0.3"]
