"""The settings that a sweep has written beside its pictures."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from likeness import images
from likeness.report.finish import settings_below
from likeness.report.measure import measure_folder
from likeness.report.settings import MAX_BESIDE, SETTINGS, read_settings
from likeness.sweep.plan import plan_of
from likeness.sweep.score import Measured
from likeness.sweep.store import SweepStore

from ..fakes import face_picture
from .report_pictures import ADA, graph, measures, report_of, save, with_text

ABOUT = {"cell": {"lora": 0.8, "faceid_weight": 0.5, "lora_file": "ada.safetensors"}, "prompt": "in a  park", "seed": 7}


def beside(folder: Path, values: Any = ABOUT, name: str = "a") -> Path:
    """A picture with that JSON beside it."""
    text = values if isinstance(values, bytes) else json.dumps(values).encode()
    (folder / f"{name}.json").write_bytes(text)
    return save(folder / f"{name}.png", ADA)


def test_the_settings_beside_a_picture_are_read(tmp_path: Path) -> None:
    assert read_settings(beside(tmp_path)) == {
        "lora": "ada.safetensors",
        "lora_strength": "0.8",
        "faceid_weight": "0.5",
        "seed": "7",
        "prompt": "in a park",
    }


def test_the_pictures_of_a_real_sweep_are_grouped_by_its_strengths(tmp_path: Path) -> None:
    plan = plan_of({"lora": "0.4:0.8:2"}, seeds=2)
    store = SweepStore(tmp_path, "ada", "strengths", "k" * 64, "judge")
    store.begin(plan, {})
    for shot, render in enumerate(plan.renders, 5):
        store.save(render, face_picture(ADA, shot), Measured(0.5))
    report = report_of(measure_folder(store.folder, measures()), "lora_strength", read=settings_below(store.folder))
    assert sorted(g.value for g in report.tables[0].groups) == ["0.4", "0.8"] and report.tables[0].unknown is None


def test_what_the_picture_itself_tells_comes_first(tmp_path: Path) -> None:
    path = beside(tmp_path)
    path.write_bytes(with_text(images.encode_png(face_picture(ADA, 1)), graph("own.safetensors", seed=3)))
    told = read_settings(path)
    assert (told["lora"], told["seed"], told["checkpoint"]) == ("own.safetensors", "3", "sdxl.safetensors")


NOTHING = [
    b"",
    b"null",
    b"[1]",
    b"{",
    b"[" * 60_000,
    b"\xff\xfe",
    {"prompt": "x", "seed": 1},
    {"cell": [["lora", 0.8]]},
]
ODD = [
    {"cell": {"lora": True, "faceid_weight": [1], "lora_file": {"a": "b"}}, "seed": None, "prompt": 5 * [1]},
    b'{"cell": {"lora": ' + b"9" * 60_000 + b'}, "seed": NaN}',
    {"cell": {"lora_file": "x" * 60_000}, "prompt": "y" * 5_000},
    json.dumps(ABOUT).encode().ljust(MAX_BESIDE) + b"}",
]


@pytest.mark.parametrize("values", NOTHING, ids=range(len(NOTHING)))
def test_json_of_something_else_is_no_settings(tmp_path: Path, values: Any) -> None:
    assert read_settings(beside(tmp_path, values)) == {}


@pytest.mark.parametrize("values", ODD, ids=range(len(ODD)))
def test_what_lies_beside_a_picture_gives_bounded_settings(tmp_path: Path, values: Any) -> None:
    told = read_settings(beside(tmp_path, values))
    assert set(told) <= set(SETTINGS) and all(isinstance(v, str) and len(v) <= 120 for v in told.values())


def test_no_more_is_read_than_a_sweep_writes(tmp_path: Path) -> None:
    long = {**ABOUT, "more": "x" * MAX_BESIDE}
    assert read_settings(beside(tmp_path, long)) == {}


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes on Windows")
def test_a_pipe_or_a_folder_beside_a_picture_is_no_settings(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "b.json").mkdir()
    assert read_settings(save(tmp_path / "a.png", ADA)) == read_settings(save(tmp_path / "b.png", ADA)) == {}
