"""The shipped graphs that close the loop, one after the other: photos, training set, LoRA, version, comparison."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.library import Library

from .conftest import Running
from .graph_parts import create
from .test_graphs import graph

JUDGING = {"face_model": "standin", "drawn_faces": "measure"}  # the sample is drawn


@pytest.fixture(scope="module")
def slug(server: Running) -> str:
    """A character, and its photos in a folder of their own."""
    made = create(server, "Loop")
    folder = server.base / "input" / "loop_photos"
    folder.mkdir()
    for n in (1, 2, 3):
        picture = Image.open(server.base / "input" / f"photo_{n}.png").convert("RGB")
        picture.resize((320, 320 + 32 * n)).save(folder / f"{n}.png")
    shutil.copy(folder / "1.png", folder / "copy.png")
    return made


def of(kind: str, **inputs: Any) -> dict[str, Any]:
    return {f"Likeness{kind}.{name}": value for name, value in inputs.items()}


def test_the_shipped_graphs_close_the_loop(server: Running, slug: str) -> None:
    options = of(
        "BuildTrainingSet", folder="loop_photos", side=256, dry_run=False, rules="face_width=24\nsmallest=64", **JUDGING
    )
    built = graph("training_set", **of("LoadCharacter", character=slug), **options)
    shown = next(o for o in server.run(built).outputs.values() if "text" in o)
    assert "3 of 4 pictures are taken" in shown["text"][0], shown["text"][0]
    folder = server.base / "output" / "likeness" / "training" / slug / "set"
    plan = json.loads((folder / "set.json").read_text(encoding="utf-8"))["plan"]
    assert [r["source"] for r in plan["rejected"]] == ["copy.png"] or len(plan["items"]) == 3

    quick = {"steps": 2, "rank": 4, "training_dtype": "fp32", "lora_dtype": "fp32", "gradient_checkpointing": False}
    trained = graph(
        "train_lora",
        **of("LoadCharacter", character=slug),
        **of("LoadTrainingSet", training_set=f"{slug}/set"),
        **{f"TrainLoraNode.{name}": value for name, value in quick.items()},
    )
    result = server.run(trained)
    told = next(o["text"][0] for o in result.outputs.values() if "became version" in str(o.get("text")))
    assert "became version 1" in told and "inactive" in told
    version = Library([server.characters]).get(slug).settings("sd15").loras[0]
    assert version.steps == 2 and version.rank == 4
    assert (server.base / "models" / "loras" / version.file).is_file()
    saved = next(node_id for node_id, node in trained.items() if node["class_type"] == "SaveImage")
    assert np.ptp(server.picture(result, saved)) > 0

    compared = graph(
        "compare_versions",
        **of("CompareVersions", **JUDGING),
        **{"EmptyLatentImage.batch_size": 2},
    )
    for node in compared.values():
        if node["class_type"] == "LikenessLoadCharacter":
            node["inputs"]["character"] = slug
    report = next(o for o in server.run(compared).outputs.values() if "likeness_comparison" in o)
    assert report["likeness_comparison"][0]["pictures"] == 2 and not report["likeness_comparison"][0]["switched"]
