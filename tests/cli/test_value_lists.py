"""`likeness lists` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from likeness.library import Library
from likeness.scenes.lists import DEFAULTS, load_lists

from .test_commands import Call, call, face_folder  # noqa: F401  fixtures


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library([tmp_path / "library"])


def test_a_list_is_saved_shown_listed_and_removed(call: Call, library: Library) -> None:  # noqa: F811
    assert "No value list is saved" in call("lists", "list")[1]
    code, out, _ = call(
        "lists",
        "set",
        "Summer Looks",
        "--outfit",
        "red: a red summer dress | loras=red_dress:0.7",
        "--outfit",
        "linen suit",
    )
    assert code == 0 and "Saved summer_looks: 2 outfit" in out
    made = load_lists(library, "summer_looks")
    assert [(e.name, e.loras) for e in made.outfit] == [("red", "red_dress:0.7"), ("linen suit", "")]
    assert made.pose == DEFAULTS.pose, "a new list begins as the built-in one"
    assert "red: a red summer dress | loras=red_dress:0.7" in call("lists", "show", "Summer Looks")[1]
    assert "summer_looks             2 outfit, 5 background" in call("lists", "list")[1]
    assert ".trash" in call("lists", "remove", "summer_looks")[1]
    assert call("lists", "show", "summer_looks")[0] == 1


def test_entries_come_from_a_file_and_beside_those_that_are_there(
    call: Call,  # noqa: F811
    library: Library,
    tmp_path: Path,
) -> None:
    file = tmp_path / "poses.txt"
    file.write_text("# of the second day\nkneeling: kneeling on one knee\njumping\n", encoding="utf-8")
    assert "2 pose" in call("lists", "set", "days", "--pose", f"@{file}")[1]
    call("lists", "set", "days", "--add", "--pose", "lying on the back")
    assert [e.name for e in load_lists(library, "days").pose] == ["kneeling", "jumping", "lying on the back"]
    assert load_lists(library, "days").outfit == DEFAULTS.outfit


def test_the_built_in_lists_are_shown_and_for_programs(call: Call) -> None:  # noqa: F811
    assert "  casual: a white t-shirt and blue jeans" in call("lists", "show")[1]
    told = json.loads(call("lists", "show", "--json")[1])
    assert [entry["name"] for entry in told["light"]][:2] == ["soft", "sun"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("set", "x"), "Nothing to save"),
        (("set", "../x", "--pose", "a"), "cannot name a value list"),
        (("set", "x", "--pose", "a: b", "--pose", "a: c"), "pose list: lines 1 and 2 are both named 'a'"),
        (("set", "x", "--pose", "@gone.txt"), "gone.txt"),
        (("show", "gone"), "gone"),
        (("remove", "gone"), "gone"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(call: Call, library: Library, words: Any, told: str) -> None:  # noqa: F811
    code, _, err = call("lists", *words)
    assert code == 1 and told in err
    assert not list(library.roots[0].glob("_shared/lists/*"))


def test_a_broken_list_is_listed_with_its_mistake(call: Call, library: Library) -> None:  # noqa: F811
    folder = library.roots[0] / "_shared" / "lists"
    folder.mkdir(parents=True)
    (folder / "bad.toml").write_text("schema_version = 1\n[[outfit]]\ntext = 3\n")
    assert "bad                      broken:" in call("lists", "list")[1]
