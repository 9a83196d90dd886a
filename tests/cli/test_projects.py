"""`likeness project`, `likeness route`, `likeness registry` and `likeness lora-stack`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from likeness.cli import projects, registry
from likeness.cli.places import Places
from likeness.doctor import Folders
from likeness.errors import BadNameError, LibraryError, LikenessError, LoraError, PathError, ProfileError
from likeness.library import Library
from likeness.lora_registry import load_registry
from likeness.profile import BaseSettings, LoraVersion, NamedCheckpoint, Profile
from likeness.projects import load_project, project_slugs

from ..lora_files import checkpoint_file, lora_file, notes


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """With Ada, an adult, and Bob."""
    folders = Folders(
        characters=(tmp_path / "characters",), loras=(tmp_path / "loras",), checkpoints=(tmp_path / "checkpoints",)
    )
    own = {"sd15": BaseSettings(loras=(LoraVersion(file="ada/ada_v1.safetensors", version=1),))}
    grim = NamedCheckpoint(file="grim.safetensors", family="sdxl", purpose="action", rating="mature")
    library = Library(folders.characters)
    library.create(Profile(name="Ada Ray", slug="ada_ray", adult=True, base=own, checkpoints={"grim": grim}))
    library.create(Profile(name="Bob", slug="bob"))
    return Places(None, folders, tmp_path / "cache")


@pytest.fixture
def call(places: Places, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `likeness` with these words; what it prints."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)

    def command(name: str, function: Any, text: str, among: Any = commands) -> argparse.ArgumentParser:
        sub = among.add_parser(name, help=text)
        sub.add_argument("--json", action="store_true")
        sub.set_defaults(command=function)
        return sub

    for name, adding in (("project", projects.add_project), ("registry", registry.add_registry)):
        adding(partial(command, among=commands.add_parser(name).add_subparsers(required=True)))
    projects.add_route(command)
    registry.add_lora_stack(command)

    def run(*words: str) -> str:
        arguments = parser.parse_args(words)
        assert not arguments.command(arguments, places)
        return capsys.readouterr().out

    return run


Call = Callable[..., str]

# ---- projects


def test_a_project_is_made_listed_changed_assigned_and_removed(call: Call, places: Places) -> None:
    assert "No projects" in call("project", "list")
    assert "Made project night_city" in call("project", "new", "Night City", "--quality", "high", "--steps", "28")
    assert "night_city               Night City: high, no checkpoint, 0 character(s)" in call("project", "list")
    call("project", "set", "Night City", "--checkpoint", "a.safetensors", "--family", "sdxl", "--cfg", "4.5")
    call("project", "set", "Night City", "--steps", "none")
    call("project", "set", "night_city", "--profile", "Portrait", "--width", "832", "--style", "close")
    assert "Ada Ray uses generation profile portrait" in call("project", "assign", "night_city", "Ada Ray", "portrait")
    made = load_project(places.library(), "night_city")
    assert (made.checkpoint, made.sampling.steps, made.sampling.cfg) == ("a.safetensors", None, 4.5)
    assert made.profiles["portrait"].sampling.width == 832 and made.characters == {"ada_ray": "portrait"}
    with pytest.raises(LibraryError, match="'portrait' is used by ada_ray: assign another one first"):
        call("project", "remove", "night_city", "--profile", "portrait")
    call("project", "assign", "night_city", "ada_ray", "none")
    call("project", "remove", "night_city", "--profile", "portrait")
    assert load_project(places.library(), "night_city").profiles == {}
    assert ".trash" in call("project", "remove", "night_city") and "No projects" in call("project", "list")


def test_show_says_who_set_each_number(call: Call, tmp_path: Path) -> None:
    lora_file(tmp_path / "loras" / "neon.safetensors", "sdxl")
    call(
        "project",
        "new",
        "City",
        "--checkpoint",
        "a.safetensors",
        "--family",
        "sdxl",
        "--steps",
        "28",
        "--loras",
        "neon:0.6",
    )
    call("project", "set", "city", "--profile", "p", "--width", "832", "--loras", "neon:0.2")
    call("project", "assign", "city", "ada_ray", "p")
    shown = call("project", "show", "city", "--character", "Ada Ray")
    assert "draws with a.safetensors as the checkpoint of project city" in shown
    assert "steps 28 (project city)" in shown and "width 832 (profile p of project city)" in shown
    assert "height 1024 (quality standard)" in shown and "profile p (used by ada_ray)" in shown
    assert "LoRA neon.safetensors: model 0.2, clip 0.2" in shown
    told = json.loads(call("project", "show", "city", "--character", "ada_ray", "--json"))
    assert told["settings"]["origins"]["steps"] == "project city" and told["settings"]["loras"] == [
        "neon:0.6",
        "neon:0.2",
    ]
    assert told["route"]["checkpoint"] == "a.safetensors" and told["characters"] == {"ada_ray": "p"}


def test_show_tells_a_stack_that_does_not_work_and_the_rest(call: Call) -> None:
    call("project", "new", "City", "--loras", "gone:0.6")
    shown = call("project", "show", "city")
    assert "problem: There is no LoRA 'gone'" in shown and "steps 25 (quality standard)" in shown


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("new", "../x"), BadNameError),
        (("new", "City", "--checkpoint", "../../x"), PathError),
        (("new", "City", "--steps", "many"), LikenessError),
        (("new", "City", "--steps", "0"), ProfileError),
        (("new", "City", "--cfg", "nan"), ProfileError),
        (("new", "x" * 300), ProfileError),
        (("show", "gone"), LibraryError),
        (("set", "gone", "--steps", "3"), LibraryError),
        (("set", "gone"), LikenessError),
        (("assign", "gone", "nobody", "p"), LibraryError),
        (("remove", "gone"), LibraryError),
    ],
)
def test_what_is_wrong_is_an_error_and_writes_nothing(
    call: Call, places: Places, words: tuple[str, ...], error: type[LikenessError]
) -> None:
    with pytest.raises(error) as caught:
        call("project", *words)
    assert "\n" not in str(caught.value)
    assert not list(places.folders.characters[0].glob("_shared/*/*"))


def test_a_broken_project_is_listed_as_broken(call: Call, places: Places) -> None:
    folder = places.folders.characters[0] / "_shared" / "projects"
    folder.mkdir(parents=True)
    (folder / "odd.toml").write_text("name = 3")
    assert "odd" in call("project", "list") and "broken" in call("project", "list")
    assert "name" in json.loads(call("project", "list", "--json"))[0]["error"]


# ---- routes


def test_a_route_is_named_and_asked_for(call: Call) -> None:
    call("project", "new", "City")
    call(
        "project",
        "route",
        "city",
        "Close ups",
        "--checkpoint",
        "p.safetensors",
        "--family",
        "sdxl",
        "--purpose",
        "face",
    )
    assert call("route", "bob", "--project", "city", "--purpose", "face").startswith("p.safetensors as 'close_ups'")
    told = json.loads(call("route", "Ada Ray", "--purpose", "action", "--rating", "mature", "--json"))
    assert (told["checkpoint"], told["family"], told["rating"]) == ("grim.safetensors", "sdxl", "mature")
    call("project", "remove", "city", "--route", "close_ups")
    with pytest.raises(LikenessError, match="there are none"):
        call("route", "bob", "--project", "city", "--purpose", "face")
    with pytest.raises(LibraryError, match="has no route 'x'"):
        call("project", "remove", "city", "--route", "x")


def test_a_rating_is_refused_for_anybody_who_is_no_adult(call: Call) -> None:
    call("project", "new", "City")
    call(
        *("project", "route", "city", "grim", "--checkpoint", "x.safetensors", "--family", "sdxl"),
        *("--rating", "explicit", "--purpose", "night"),
    )
    asked = ("--project", "city", "--purpose", "night", "--rating", "explicit")
    assert "x.safetensors" in call("route", "ada_ray", *asked)
    for who in (("bob",), ("ada_ray", "--with", "bob")):
        with pytest.raises(LikenessError, match="the profile of 'Bob' does not say"):
            call("route", *who, *asked)
    for rating in ("Explicit", "EXPLICIT", "adult", ""):
        with pytest.raises(LikenessError, match="is no content rating"):
            call("route", "ada_ray", "--project", "city", "--purpose", "night", "--rating", rating)
    with pytest.raises(LikenessError, match="no character is given"):
        call("project", "show", "city", "--purpose", "night", "--rating", "explicit")


def test_the_family_of_a_route_is_read_from_a_file_inside_the_checkpoints_folder(call: Call, tmp_path: Path) -> None:
    call("project", "new", "City")
    with pytest.raises(PathError):
        call("project", "route", "city", "x", "--checkpoint", "../../secret.safetensors")
    with pytest.raises(LikenessError, match="does not tell its base family: say it by --family"):
        call("project", "route", "city", "x", "--checkpoint", "gone.safetensors")


def test_a_projects_checkpoint_has_a_family_by_its_file_or_by_a_word(
    call: Call, places: Places, tmp_path: Path
) -> None:
    checkpoint_file(tmp_path / "checkpoints" / "here.safetensors", "sdxl")
    for words in (
        ("new", "City", "--checkpoint", "gone.safetensors"),
        ("set", "Old", "--checkpoint", "gone.safetensors"),
    ):
        call("project", "new", "Old") if words[0] == "set" else None
        with pytest.raises(LikenessError, match=r"gone\.safetensors does not tell its base family: say it by --family"):
            call("project", *words)
    assert project_slugs(places.library()) == ["old"]
    call("project", "new", "City", "--checkpoint", "here.safetensors")
    call("project", "set", "Old", "--profile", "p", "--checkpoint", "gone.safetensors", "--family", "flux")
    assert load_project(places.library(), "city").family == "sdxl"
    assert load_project(places.library(), "old").profiles["p"].family == "flux"
    with pytest.raises(LikenessError, match=r"here\.safetensors is a checkpoint for sdxl, not for sd15"):
        call("project", "set", "City", "--checkpoint", "here.safetensors", "--family", "sd15")


# ---- the registry


def test_loras_are_scanned_listed_set_and_removed(call: Call, places: Places, tmp_path: Path) -> None:
    lora_file(tmp_path / "loras" / "styles" / "neon.safetensors", "sdxl", told=notes("neon glow", "neon glow, rain"))
    lora_file(tmp_path / "loras" / "ada" / "ada_v1.safetensors")
    assert "2 added, 2 in all (nothing was written)" in call("registry", "scan", "--dry-run")
    assert load_registry(places.library()).loras == ()
    told = json.loads(call("registry", "scan", "--json"))
    assert [(e["name"], e["kind"]) for e in told["added"]] == [("ada_v1", "character"), ("neon", "style")]
    assert "neon: styles/neon.safetensors (style, sdxl, strength 1, trigger 'neon glow')" in call("registry", "list")
    assert "neon" not in call("registry", "list", "--family", "sd15")
    assert "ada" not in call("registry", "list", "--kind", "style")
    call("registry", "set", "neon", "--strength", "0.6", "--rename", "neon lights", "--family", "unknown")
    assert "0 added, 2 in all" in call("registry", "scan")
    entry = load_registry(places.library()).named("Neon Lights")
    assert entry is not None and (entry.strength, entry.family, entry.trigger) == (0.6, None, "neon glow")
    call("registry", "remove", "neon lights")
    assert "1 added, 2 in all" in call("registry", "scan")
    (tmp_path / "loras" / "ada" / "ada_v1.safetensors").unlink()
    assert "not there: ada_v1" in call("registry", "scan")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("set", "x"), LoraError),
        (("set", "x", "--file", "../x"), ProfileError),
        (("set", "a:b", "--file", "x"), ProfileError),
        (("set", "x", "--file", "x", "--strength", "11"), ProfileError),
        (("remove", "x"), LoraError),
    ],
)
def test_what_is_wrong_with_an_entry_is_told(call: Call, words: tuple[str, ...], error: type[LikenessError]) -> None:
    with pytest.raises(error):
        call("registry", *words)
    assert "No such LoRA" in call("registry", "list")


def test_a_stack_is_explained(call: Call, tmp_path: Path) -> None:
    lora_file(tmp_path / "loras" / "neon.safetensors", told=notes("neon glow", "neon glow"))
    call("registry", "scan")
    shown = call("lora-stack", "neon:0.7:0.5", "--prompt", "a street")
    assert "neon.safetensors: model 0.7, clip 0.5" in shown and "prompt: a street, neon glow" in shown
    told = json.loads(call("lora-stack", "<lora:neon:0.7>", "--json"))
    assert told["loras"][0]["strength"] == 0.7 and told["loras"][0]["triggers"] == ["neon glow"]
    assert "empty" in call("lora-stack", "")
    with pytest.raises(LoraError, match="the nearest name is 'neon'"):
        call("lora-stack", "neom:1")
    with pytest.raises(LoraError, match="is a LoRA for sd15, but the model is sdxl"):
        call("lora-stack", "neon", "--family", "sdxl")


def test_a_stack_is_checked_by_its_files_where_the_registry_does_not_know_the_family(
    call: Call, tmp_path: Path
) -> None:
    lora_file(tmp_path / "loras" / "neon.safetensors", "sdxl")
    call("registry", "set", "neon", "--file", "neon.safetensors", "--family", "unknown")
    assert '"sdxl"' in call("lora-stack", "neon:0.5", "--family", "sdxl", "--json"), "the file's family is told"
    with pytest.raises(LoraError, match=r"neon\.safetensors is a LoRA for sdxl, but the model is sd15"):
        call("lora-stack", "neon:0.5", "--family", "sd15")


def test_a_scan_leaves_the_companion_loras_of_faceid_out(call: Call, tmp_path: Path) -> None:
    for name in ("ip-adapter-faceid-plusv2_sd15_lora", "ip-adapter-faceid_sdxl_lora", "my_faceid_style"):
        lora_file(tmp_path / "loras" / f"{name}.safetensors")
    told = call("registry", "scan")
    assert "1 added" in told and "left out: ip-adapter-faceid_sdxl_lora.safetensors is the companion LoRA" in told
