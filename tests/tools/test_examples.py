"""What every example graph has: a title, both forms, a note about its files, a thumbnail, and something saved."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
EDITOR = (ROOT / "tools" / "editor.mjs").read_text(encoding="utf-8")
TITLES = dict(re.findall(r"(\w+): '(\d+ [^']+)'", EDITOR))
SAVING = {
    *("SaveImage", "SaveVideo", "LikenessSaveScene"),
    *("LikenessCreateCharacter", "LikenessTuneStrengths", "LikenessBuildTrainingSet", "LikenessCompareVersions"),
}
FIXED = ("11", "12", "18", "19", "20", "21", "23", "24")  # a second run must not make other scenes


def nodes_of(name: str) -> dict[str, dict[str, object]]:
    return json.loads((ROOT / "api_graphs" / f"{name}.json").read_text(encoding="utf-8"))


def test_every_graph_has_both_forms_and_a_thumbnail() -> None:
    assert len(TITLES) == 27 and len(set(TITLES.values())) == 27
    assert {p.stem for p in (ROOT / "api_graphs").glob("*.json")} == set(TITLES)
    for suffix in (".json", ".jpg"):
        assert {p.stem for p in (ROOT / "example_workflows").glob(f"*{suffix}")} == set(TITLES.values())


def test_every_thumbnail_is_a_small_square() -> None:
    for path in (ROOT / "example_workflows").glob("*.jpg"):
        with Image.open(path) as picture:
            assert picture.size == (400, 400) and path.stat().st_size < 80_000


@pytest.mark.parametrize("name", TITLES)
def test_every_graph_says_what_it_wants_and_ends_in_something_kept(name: str) -> None:
    notes = json.loads((ROOT / "tools" / "notes.json").read_text(encoding="utf-8"))
    assert notes[name].startswith("## ") and "**Wants**" in notes[name]
    workflow = json.loads((ROOT / "example_workflows" / f"{TITLES[name]}.json").read_text(encoding="utf-8"))
    (note,) = (n for n in workflow["nodes"] if n["type"] == "MarkdownNote")
    assert note["widgets_values"] == [notes[name]], "run tools/check_editor.py build"
    assert SAVING & {node["class_type"] for node in nodes_of(name).values()}


@pytest.mark.parametrize("name", TITLES)
def test_every_model_file_is_named_in_the_note(name: str) -> None:
    """Checkpoints apart, which are chosen by whoever draws."""
    notes = json.loads((ROOT / "tools" / "notes.json").read_text(encoding="utf-8"))
    wanted = re.compile(r"\.(safetensors|pth|ckpt|bin)$")
    for node in nodes_of(name).values():
        if node["class_type"] == "CheckpointLoaderSimple":
            continue
        for value in node["inputs"].values():  # type: ignore[attr-defined]
            if isinstance(value, str) and wanted.search(value):
                assert f"`{value}`" in notes[name]


@pytest.mark.parametrize("number", FIXED)
def test_a_graph_of_scenes_keeps_its_seeds(number: str) -> None:
    (path,) = (ROOT / "example_workflows").glob(f"{number} *.json")
    text = path.read_text(encoding="utf-8")
    assert '"fixed"' in text and not re.search('"(randomize|increment|decrement)"', text)


@pytest.mark.parametrize("name", TITLES)
def test_nodes_are_likeness_or_comfyui_core(name: str) -> None:
    """No other pack is wanted; tools/check_editor.py shows that ComfyUI knows the rest."""
    workflow = json.loads((ROOT / "example_workflows" / f"{TITLES[name]}.json").read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        made_by = node.get("properties", {}).get("cnr_id", "comfy-core")
        assert made_by in ("comfy-core", "likeness"), node["type"]
