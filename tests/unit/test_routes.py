"""Routes, and attempts to get around the rule for content ratings."""

from __future__ import annotations

from typing import Any

import pytest

from likeness.blend import blend
from likeness.character import Character, open_character
from likeness.create import NamedImage, create_character, draft
from likeness.errors import LikenessError
from likeness.library import Library
from likeness.profile import RATINGS, NamedCheckpoint, Profile
from likeness.profile_toml import check_as
from likeness.projects import Project
from likeness.routes import check_rating, profiles_behind, route_of

from ..fakes import FakeAnalyser, face_picture

OTHERS = RATINGS[1:]


def named(file: str, purpose: str = "", rating: str = "general") -> NamedCheckpoint:
    return NamedCheckpoint(file=file, family="sdxl", purpose=purpose, rating=rating)  # type: ignore[arg-type]


def person(name: str = "Ada", adult: bool = False, **checkpoints: NamedCheckpoint) -> Profile:
    return Profile(name=name, slug=name.lower(), adult=adult, checkpoints=checkpoints)


def project(**values: Any) -> Project:
    return check_as(Project, {"name": "City", "slug": "city", **values}, "test")


def row(file: str, purpose: str = "", rating: str = "general") -> dict[str, str]:
    return {"file": file, "family": "sdxl", "purpose": purpose, "rating": rating}


def refused(*asked: Any, **more: Any) -> str:
    with pytest.raises(LikenessError) as caught:
        route_of(*asked, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- deciding


def test_a_checkpoint_is_found_by_purpose_or_by_its_name() -> None:
    ada = person(close=named("a.safetensors", "portrait"), action=named("b.safetensors"))
    found = route_of(ada, None, "portrait")
    assert (found.checkpoint, found.family, found.name) == ("a.safetensors", "sdxl", "close")
    assert found.why == "a.safetensors as 'close' of character ada, 'portrait' rated general"
    assert route_of(ada, None, "  Portrait ").checkpoint == "a.safetensors"
    assert route_of(ada, None, "action").checkpoint == "b.safetensors"
    assert "No checkpoint is named for 'close'" in refused(ada, None, "close"), "its purpose is another word"


def test_what_there_is_to_ask_for_is_told_without_empty_names() -> None:
    city = project(checkpoint="all.safetensors", family="sdxl", routes={"p": row("p.safetensors", "portrait")})
    told = refused(person(), city, "action")
    assert "'portrait' (general, project city), the checkpoint of project city (general, no purpose)" in told
    assert "''" not in told


def test_the_characters_own_come_before_the_projects() -> None:
    city = project(routes={"p": row("project.safetensors", "portrait"), "q": row("q.safetensors", "action")})
    ada = person(p=named("own.safetensors", "portrait"))
    assert route_of(ada, city, "portrait").checkpoint == "own.safetensors"
    assert route_of(person(), city, "portrait").checkpoint == "project.safetensors"
    assert route_of(ada, city, "action").checkpoint == route_of(None, city, "action").checkpoint == "q.safetensors"


def test_without_a_purpose_it_is_what_the_project_draws_with() -> None:
    city = project(
        checkpoint="all.safetensors",
        family="sdxl",
        profiles={"p": {"checkpoint": "ada.safetensors"}},
        characters={"ada": "p"},
    )
    assert route_of(None, city).checkpoint == route_of(person("Bob"), city).checkpoint == "all.safetensors"
    found = route_of(person(), city)
    assert found.checkpoint == "ada.safetensors" and found.default and found.family == ""
    assert route_of(None, city).family == "sdxl"


def test_a_missing_purpose_names_those_there_are() -> None:
    ada = person(close=named("a.safetensors", "portrait"))
    city = project(routes={"grim": row("g.safetensors", "action", "mature")})
    told = refused(ada, city, "landscape")
    assert "'landscape' rated general" in told
    assert "'portrait' (general, character ada), 'action' (mature, project city)" in told
    assert "there are none" in refused(None, None, "x") and "set the project's checkpoint" in refused(None, project())
    many = person(**{f"c{i}": named("a.safetensors") for i in range(60)})
    assert "and 50 more" in refused(many, None, "x") and len(refused(many, None, "x")) < 1000


def test_two_for_one_purpose_are_not_chosen_between() -> None:
    ada = person(a=named("a.safetensors", "portrait"), b=named("b.safetensors", "PORTRAIT "))
    assert "a and b of character ada are both for 'portrait'" in refused(ada, None, "portrait")


# ---- the rule for ratings


def test_the_prompt_and_the_purpose_decide_no_rating() -> None:
    ada = person(adult=True, x=named("x.safetensors", "explicit"), y=named("y.safetensors", "nude", "explicit"))
    assert route_of(ada, None, "explicit").checkpoint == "x.safetensors"
    assert "rated general" in refused(ada, None, "nude")
    assert route_of(ada, None, "nude", "explicit").checkpoint == "y.safetensors"


@pytest.mark.parametrize("rating", OTHERS)
def test_another_rating_needs_an_adult(rating: str) -> None:
    child = person(x=named("x.safetensors", "portrait", rating))
    assert refused(child, None, "portrait", rating) == (
        f"The rating {rating!r} is refused: the profile of 'Ada' does not say `adult = true`."
    )
    adult = child.model_copy(update={"adult": True})
    assert route_of(adult, None, "portrait", rating).checkpoint == "x.safetensors"


@pytest.mark.parametrize("rating", OTHERS)
@pytest.mark.parametrize("holder", ["project", "default", "profile"])
def test_no_project_allows_what_the_profile_does_not(rating: str, holder: str) -> None:
    city = {
        "project": project(routes={"x": row("x.safetensors", "portrait", rating)}),
        "default": project(checkpoint="x.safetensors"),
        "profile": project(profiles={"p": {"checkpoint": "x.safetensors"}}, characters={"ada": "p"}),
    }[holder]
    for purpose in ("portrait", ""):
        assert "is refused: the profile of 'Ada'" in refused(person(), city, purpose, rating)


@pytest.mark.parametrize("asked", RATINGS)
@pytest.mark.parametrize("there", RATINGS)
@pytest.mark.parametrize("purpose", ["portrait", ""])
def test_no_rating_stands_in_for_another(asked: str, there: str, purpose: str) -> None:
    """Neither downwards nor upwards, for somebody who may have all of them."""
    ada = person(adult=True, x=named("x.safetensors", purpose or "x", there))
    if asked == there and purpose:
        assert route_of(ada, None, purpose, asked).checkpoint == "x.safetensors"
    else:
        assert f"rated {asked}" in refused(ada, None, purpose, asked)


def test_what_the_project_draws_with_is_general_only() -> None:
    for rating in OTHERS:
        assert f"rated {rating}" in refused(person(adult=True), project(checkpoint="x.safetensors"), "", rating)


@pytest.mark.parametrize(
    "rating", ["General", "EXPLICIT", "explicit ", "", "nsfw", "general\0", "еxplicit", None, 1, True, ["explicit"]]
)
def test_a_rating_is_written_exactly(rating: Any) -> None:
    ada = person(adult=True, x=named("x.safetensors", "portrait", "explicit"))
    assert "is no content rating: choose one of general, mature, explicit" in refused(ada, None, "portrait", rating)


@pytest.mark.parametrize("adult", [1, "true", "yes", None, [True]])
def test_only_true_is_true(adult: Any) -> None:
    """`model_copy` checks nothing."""
    odd = person(x=named("x.safetensors", "p", "mature")).model_copy(update={"adult": adult})
    assert "is refused" in refused(odd, None, "p", "mature")


def test_everybody_in_the_picture_must_be_an_adult() -> None:
    ada, bob = person(adult=True, x=named("x.safetensors", "p", "mature")), person("Bob")
    assert route_of(ada, None, "p", "mature", [ada]).checkpoint == "x.safetensors"
    assert "the profile of 'Bob'" in refused(ada, None, "p", "mature", [ada, bob])
    assert "the profile of 'Bob'" in refused(ada, None, "p", "mature", people=(bob, ada))
    assert "no character is given" in refused(ada, None, "p", "mature", people=[])


def test_nobody_is_no_adult() -> None:
    city = project(routes={"x": row("x.safetensors", "p", "explicit")})
    assert "no character is given" in refused(None, city, "p", "explicit")
    assert "does not say" in refused(Profile(name="Empty", slug="empty"), city, "p", "explicit")


@pytest.mark.parametrize(
    ("own", "city"),
    [
        ({"x": named("x.safetensors", "p", "explicit")}, {"routes": {"y": row("x.safetensors", "q")}}),
        ({"x": named("sub\\X.safetensors", "p", "explicit")}, {"routes": {"y": row("x.safetensors", "q")}}),
        ({}, {"routes": {"y": row("x.safetensors", "q"), "x": row("a/x.safetensors", "p", "mature")}}),
        ({"x": named("x.safetensors", "p", "explicit"), "y": named("x.safetensors", "q")}, {}),
        ({"x": named("x.safetensors", "p", "explicit")}, {"checkpoint": "X.safetensors"}),
    ],
)
def test_calling_a_checkpoint_general_elsewhere_does_not_help(own: dict[str, Any], city: dict[str, Any]) -> None:
    purpose = "" if "checkpoint" in city else "q"
    told = refused(person(**own), project(**city), purpose)
    assert "is refused for 'Ada'" in told and "does not say `adult = true`" in told
    assert route_of(person(adult=True, **own), project(**city), purpose).checkpoint.lower() == "x.safetensors"


def test_without_a_character_the_sentence_names_nobody() -> None:
    city = project(routes={"y": row("x.safetensors", "q"), "x": row("a/x.safetensors", "p", "mature")})
    assert "is refused without a character" in refused(None, city, "q", people=[])


def test_the_rating_that_another_character_gives_a_file_counts() -> None:
    ada, bob = person(adult=True), person("Bob", x=named("x.safetensors", "p", "explicit"))
    assert "is refused for 'Bob'" in refused(ada, project(checkpoint="x.safetensors"), people=[ada, bob])


def test_a_blend_is_as_old_as_its_youngest(library: Library) -> None:
    made: list[Character] = []
    for number, (name, adult) in enumerate((("Ada", True), ("Bob", False), ("Cy", True))):
        create_character(library, draft(name), [NamedImage("1", face_picture(number, 0))], FakeAnalyser())
        library.update(name.lower(), lambda p, adult=adult: p.model_copy(update={"adult": adult}))
        made.append(open_character(library, name.lower()))
    ada, bob, cy = made
    grown, mixed = blend([(ada, 1.0), (cy, 1.0)]), blend([(ada, 1.0), (bob, 0.01)])
    check_rating(profiles_behind([grown]), "mature")
    check_rating(profiles_behind([ada, blend([(grown, 1.0), (cy, 2.0)])]), "mature")
    for cast in ([mixed], [grown, bob], [blend([(grown, 1.0), (mixed, 1.0)])]):
        with pytest.raises(LikenessError, match="the profile of 'Bob'"):
            check_rating(profiles_behind(cast), "mature")
    city = project(routes={"x": row("x.safetensors", "p", "mature")})
    assert route_of(grown.profile, city, "p", "mature", profiles_behind([grown])).checkpoint == "x.safetensors"
    assert "is refused" in refused(grown.profile, city, "p", "mature"), "a blend's own profile says nothing"


def test_a_profile_file_says_adult_with_true_alone() -> None:
    from likeness.errors import ProfileError
    from likeness.profile_toml import parse

    assert parse(b"name='A'\nslug='a'\nadult=true").adult
    for text in (
        b"adult='true'",
        b"adult=1",
        b"Adult=true",
        b"[checkpoints.x]\nfile='a'\nfamily='sdxl'\nrating='NSFW'",
    ):
        with pytest.raises(ProfileError):
            parse(b"name='A'\nslug='a'\n" + text)
