"""A character put into API-format workflows that other people published.

Their files are not in this repository. LIKENESS_PUBLIC_WORKFLOWS is a folder with copies of them, at
<owner>+<repository>/<path>; the table beside this file says which, with their sha256.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from likeness.errors import LikenessError
from likeness.inject import Injected, Insert, inject, read_workflow
from likeness.inject.remove import remove
from likeness.profile import BaseSettings, LoraVersion, Profile, Reference

FOLDER = "LIKENESS_PUBLIC_WORKFLOWS"
TABLE: list[dict[str, Any]] = json.loads((Path(__file__).parent / "public_workflows.json").read_text(encoding="utf-8"))
FAMILIES = ("flux", "wan", "qwen_image", "sd3", "sdxl")


def with_lora(family: str) -> BaseSettings:
    return BaseSettings(loras=(LoraVersion(file=f"ada/ada_{family}_v1.safetensors", version=1),))


ADA = Profile(
    name="Ada",
    slug="ada",
    trigger="adaray",
    references=(Reference(file="references/001.png"),),
    base={f: with_lora(f) for f in FAMILIES},  # type: ignore[misc]
)


def insert_of(row: dict[str, Any]) -> Insert:
    """`lora`: a family that the character has one for, too."""
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in row.get("insert", {}).items()}
    more = {row["lora"]: with_lora(row["lora"])} if "lora" in row else {}
    return replace(Insert("ada", ADA.model_copy(update={"base": {**ADA.base, **more}})), **given)


def names(row: dict[str, Any]) -> str:
    return "+".join([Path(row["path"]).stem, *row.get("insert", {}), *(["lora"] if "lora" in row else [])])


@pytest.fixture(params=TABLE, ids=names)
def row(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def data(row: dict[str, Any]) -> bytes:
    folder = os.environ.get(FOLDER)
    if not folder:
        pytest.skip(f"no public workflows: set {FOLDER} to a folder of them")
    path = Path(folder) / row["repo"].replace("/", "+") / row["path"]
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    found = path.read_bytes()
    if hashlib.sha256(found).hexdigest() != row["sha256"]:
        pytest.skip(f"{path} is another version than the one that was looked at")
    return found


def placed(made: Injected) -> dict[str, Any]:
    """What was put where, as the table says it."""
    graph = made.graph
    told: dict[str, Any] = {"how": made.how}
    for node_id in made.added:
        node = graph[node_id]
        if node["class_type"] in ("LikenessApplyCharacter", "LoraLoader", "LoraLoaderModelOnly"):
            readers = [f"{i}.{name}" for i, n in graph.items() for name, v in n["inputs"].items() if v == [node_id, 0]]
            told.setdefault("models", []).append({"after": node["inputs"]["model"], "before": sorted(readers)})
            clips = [f"{i}.{name}" for i, n in graph.items() for name, v in n["inputs"].items() if v == [node_id, 1]]
            if clips:
                told.setdefault("clips", []).append({"after": node["inputs"]["clip"], "before": sorted(clips)})
        if node["class_type"] == "LikenessCharacterPrompt":
            for output, role in enumerate(("prompts", "negatives")):
                told.setdefault(role, []).extend(
                    f"{i}.{name}" for i, n in graph.items() for name, v in n["inputs"].items() if v == [node_id, output]
                )
    return {key: sorted(value) if key in ("prompts", "negatives") else value for key, value in told.items() if value}


def test_the_table_is_of_a_dozen_files_and_more_that_no_one_here_wrote() -> None:
    assert len({row["sha256"] for row in TABLE}) >= 24 and len({row["repo"] for row in TABLE}) >= 5
    assert sum("refused" in row for row in TABLE) >= 6


def test_the_character_is_put_where_it_belongs_or_refused_for_that_reason(row: dict[str, Any], data: bytes) -> None:
    if "refused" in row:
        with pytest.raises(LikenessError) as error:
            inject(data, insert_of(row))
        assert row["refused"] in str(error.value)
        return
    made = inject(data, insert_of(row))
    assert placed(made) == row["placed"]
    assert all(any(words in note for note in made.notes) for words in row.get("notes", []))


def test_all_else_stays_and_it_can_be_done_again_and_undone(row: dict[str, Any], data: bytes) -> None:
    if "refused" in row:
        pytest.skip("nothing is placed in it")
    before, insert = read_workflow(data).graph, insert_of(row)
    made = inject(data, insert)
    for node_id, node in before.items():
        after = made.graph[node_id]
        assert after.get("_meta") == node.get("_meta") and after["class_type"] == node["class_type"]
        assert set(after["inputs"]) == set(node["inputs"])
    again = inject(made.graph, insert)
    assert again.graph == made.graph and again.changes == ()
    if made.how == "nodes" and insert.prompt is None:
        assert remove(made.graph) == before
