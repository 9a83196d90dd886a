"""The library of workflows that worked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from likeness.errors import LikenessError
from likeness.inject import inject, read_workflow
from likeness.inject.saved import is_saved, load_workflow, note_run, save_workflow, saved_workflows
from likeness.library import Library

from .graphs import ADA, plain, wan


def test_a_workflow_is_saved_as_it_was_with_what_places_a_character_in_it(library: Library) -> None:
    insert = replace(ADA, family="wan", skip=("13",), prompt="at sea", seed=3)
    saved = save_workflow(library, "My Wan", read_workflow(wan()), insert)
    again = load_workflow(library, "my wan")
    assert replace(again, workflow=saved.workflow) == saved
    assert again.workflow.graph == wan() and saved_workflows(library) == ["my_wan"]
    other = again.settings.over(replace(ADA, character="ben", prompt="in a park"))
    assert (other.family, other.skip, other.prompt, other.seed, other.character) == (
        "wan",
        ("13",),
        "in a park",
        None,
        "ben",
    )


def test_what_the_caller_says_counts_before_what_was_saved(library: Library) -> None:
    saved = save_workflow(library, "a", read_workflow(plain()), replace(ADA, family="sdxl", how="nodes"))
    assert saved.settings.over(replace(ADA, family="sd15")).family == "sd15"


def test_the_file_is_one_that_comfyuis_queue_takes(library: Library) -> None:
    save_workflow(library, "a", read_workflow({"input": {"workflow": plain()}}), ADA)
    document = json.loads((library.roots[0] / "_shared" / "workflows" / "a.json").read_bytes())
    assert document["prompt"] == plain() and set(document) == {"prompt", "extra_data"}


def test_runs_are_counted(library: Library) -> None:
    save_workflow(library, "a", read_workflow(plain()), ADA)
    note_run(library, "a", 3)
    note_run(library, "a")
    assert load_workflow(library, "a").runs == 4
    with pytest.raises(LikenessError, match="there are a"):
        note_run(library, "b")


def test_a_name_that_is_none_finds_nothing(library: Library) -> None:
    save_workflow(library, "a", read_workflow(plain()), ADA)
    assert is_saved(library, "A") and not is_saved(library, "../a") and not is_saved(library, "b")
    with pytest.raises(LikenessError, match="there are a"):
        load_workflow(library, "b")


@pytest.mark.parametrize(
    "settings", [7, {"skip": "3"}, {"how": "magic"}, {"words": 1}, {"replace": [3]}, {"seed": 4}], ids=str
)
def test_settings_that_somebody_broke_are_not_guessed(library: Library, settings: object) -> None:
    save_workflow(library, "a", read_workflow(plain()), ADA)
    path = library.roots[0] / "_shared" / "workflows" / "a.json"
    document = json.loads(path.read_bytes())
    document["extra_data"]["likeness_workflow"]["settings"] = settings
    path.write_text(json.dumps(document))
    with pytest.raises(LikenessError, match="save it again"):
        load_workflow(library, "a")


def test_a_plain_graph_that_somebody_put_there_is_a_saved_workflow(library: Library) -> None:
    path = library.roots[0] / "_shared" / "workflows" / "b.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(plain()))
    found = load_workflow(library, "b")
    assert inject(found.workflow, found.settings.over(ADA)).added
