"""Consistency Report on tensors and folders, in this process."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from likeness import images

from ..conftest import ROOT, load_folder
from ..fakes import PIPELINE, FakeAnalyser, empty_picture, face_picture, group_picture, make_face
from ..unit.report_pictures import ADA, BEN, NeverDrawn, graph, save, with_text

NAMES = (
    "nodes.consistency_report",
    "nodes.host",
    "likeness.character",
    "likeness.errors",
    "likeness.identity",
    "likeness.profile",
    "likeness.scoring",
)


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_report_pack", ROOT)
    found = {n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_report_pack.{n}") for n in NAMES}
    found["host"].register_folders()
    return SimpleNamespace(**found)


@pytest.fixture
def analyser() -> FakeAnalyser:
    return FakeAnalyser()


@pytest.fixture
def output(
    pack: SimpleNamespace, analyser: FakeAnalyser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """ComfyUI's output folder; the node measures by the fakes."""
    folder = tmp_path / "output"
    folder.mkdir()
    before = pack.host.folder_paths.get_output_directory()
    pack.host.folder_paths.set_output_directory(str(folder))
    monkeypatch.setattr(pack.host, "_private_folder", lambda: tmp_path / "private")

    def judge_of(character: Any, threshold: float = 0.0, **_: Any) -> Any:
        judge = pack.scoring.judge_for(character, analyser, threshold=threshold or 0.3, gate=NeverDrawn())
        return analyser, judge

    monkeypatch.setattr(pack.consistency_report, "judge_of", judge_of)
    yield folder
    pack.host.folder_paths.set_output_directory(before)


@pytest.fixture
def ada(pack: SimpleNamespace) -> Any:
    named = [pack.identity.ReferenceFace(f"references/{i}.png", 1.0, make_face(ADA, i)) for i in range(3)]
    pipeline = replace(PIPELINE, recogniser=FakeAnalyser().pipeline.recogniser)
    return pack.character.Character(pack.profile.Profile(name="Ada", slug="ada"), None, pipeline, tuple(named), ())


def run(pack: SimpleNamespace, **inputs: Any) -> dict[str, Any]:
    """Outputs by id, and "ui"."""
    node = pack.consistency_report.ConsistencyReport
    ran = node.PREPARE_CLASS_CLONE({"hidden_inputs": {}}).execute(**inputs)
    outputs = {output.id: value for output, value in zip(node.GET_SCHEMA().outputs, ran.args, strict=True)}
    return outputs | {"ui": ran.ui}


def batch(*pictures: images.RGB8) -> torch.Tensor:
    return torch.stack([torch.from_numpy(images.to_float(p)) for p in pictures])


def told(out: dict[str, Any]) -> dict[str, Any]:
    return json.loads(Path(out["path"]).with_suffix(".json").read_text(encoding="utf-8"))


def test_a_batch_gives_rate_plot_page_and_words(pack: SimpleNamespace, ada: Any, output: Path) -> None:
    pictures = batch(face_picture(ADA, 5), face_picture(ADA, 6), face_picture(BEN, 1), empty_picture())
    out = run(pack, character=ada, images=pictures, title="First try")
    assert out["consistency_rate"] == pytest.approx(2 / 3)
    assert out["plot"].shape == (1, 540, 960, 3)
    assert out["report"].startswith("Consistency 0.67: 2 of 3 measurable pictures are accepted")
    assert Path(out["path"]) == output / "likeness" / "reports" / "ada" / "first_try_00001.html"
    assert Path(out["path"]).read_text(encoding="utf-8").count("data:image/jpeg") == 3
    assert [p["verdict"] for p in told(out)["pictures"]] == ["accepted", "accepted", "rejected", "not measurable"]
    assert out["ui"]["text"] == [out["report"]] and str(output) not in out["report"]
    assert out["report"].endswith("output folder: likeness/reports/ada/first_try_00001.html")
    assert out["ui"]["likeness_report"] == ["likeness/reports/ada/first_try_00001.html"]


def test_scores_are_not_measured_again(pack: SimpleNamespace, ada: Any, output: Path, analyser: FakeAnalyser) -> None:
    pixels = [face_picture(ADA, 5), face_picture(BEN, 1)]
    judge = pack.scoring.judge_for(ada, FakeAnalyser(), threshold=0.3, gate=NeverDrawn())
    scores = pack.scoring.score_images([(f"image {i}", p) for i, p in enumerate(pixels, 1)], FakeAnalyser(), judge)
    out = run(pack, character=ada, images=batch(*pixels), scores=tuple(scores))
    assert out["consistency_rate"] == 0.5 and analyser.calls == 0
    assert run(pack, character=ada, scores=tuple(scores))["consistency_rate"] == 0.5  # without pictures, too
    with pytest.raises(pack.errors.LikenessError, match="1 images and 2 scores"):
        run(pack, character=ada, images=batch(pixels[0]), scores=tuple(scores))


@pytest.mark.parametrize(("scored_at", "reported_at"), [(0.95, 0.3), (0.05, 0.95)])
def test_scores_of_another_threshold_are_refused(
    pack: SimpleNamespace, ada: Any, output: Path, scored_at: float, reported_at: float
) -> None:
    pixels = [empty_picture(), face_picture(ADA, 5)]
    judge = pack.scoring.judge_for(ada, FakeAnalyser(), threshold=scored_at, gate=NeverDrawn())
    scores = pack.scoring.score_images([(f"image {i}", p) for i, p in enumerate(pixels)], FakeAnalyser(), judge)
    with pytest.raises(pack.errors.LikenessError, match="same threshold") as refused:
        run(pack, character=ada, scores=tuple(scores), threshold=reported_at)
    text = str(refused.value)
    assert text.startswith("Image 2 (index 1) came as") and f"from {reported_at:.3f} on" in text
    assert f"{scored_at:.3f} (set by hand)" in text or f"similarity {scores[1].similarity:.3f}" in text
    assert "connect the images alone" in text and not list(output.rglob("*.json"))
    assert run(pack, character=ada, scores=tuple(scores), threshold=scored_at)["report"]


def test_a_look_that_decided_is_no_contradiction(pack: SimpleNamespace, ada: Any, output: Path) -> None:
    look = pack.scoring.Look("CCIP difference", 0.1, same=True)
    face = pack.scoring.FaceScore(make_face(ADA), 0.01, "1.png", 0.01, "accepted", "", drawn=True, look=look)
    scores = (pack.scoring.Score("x", "accepted", "", (face,), face),)
    assert run(pack, character=ada, scores=scores, threshold=0.9)["consistency_rate"] == 1.0


def test_a_style_without_pictures_is_refused(pack: SimpleNamespace, ada: Any, output: Path) -> None:
    with pytest.raises(pack.errors.LikenessError, match="connect the images of these scores"):
        run(pack, character=ada, scores=(pack.scoring.unreadable("x", "broken"),), style_model=object())


def test_the_output_folder_itself_can_be_measured(pack: SimpleNamespace, ada: Any, output: Path) -> None:
    save(output / "a.png", ADA, 9)
    save(output / "run" / "b.png", ADA, 8)
    values = told(run(pack, character=ada, folder=" . "))
    assert [p["name"] for p in values["pictures"]] == ["a.png", "run/b.png"]
    assert values["about"]["source"] == "output"


def test_the_pictures_of_a_batch_are_counted_from_one(pack: SimpleNamespace, ada: Any, output: Path) -> None:
    values = told(run(pack, character=ada, images=batch(face_picture(ADA, 5), face_picture(ADA, 6))))
    assert [p["name"] for p in values["pictures"]] == ["image 1 (index 0)", "image 2 (index 1)"]


def test_a_folder_below_output_is_grouped_by_what_comfyui_wrote(
    pack: SimpleNamespace, ada: Any, output: Path, analyser: FakeAnalyser
) -> None:
    for i in range(12):
        png = images.encode_png(face_picture(ADA if i % 4 else BEN, i + 10))
        (output / "run").mkdir(exist_ok=True)
        (output / "run" / f"{i}.png").write_bytes(with_text(png, graph(f"ada-{i % 2}.safetensors")))
    (output / "run" / "broken.png").write_bytes(b"x")
    out = run(pack, character=ada, folder="run", groups="lora\n\nfolder\n")
    assert "Best lora: ada-1.safetensors" in out["report"]
    values = told(out)
    assert set(values["groups"]) == {"lora", "folder"} and values["about"]["source"] == "run"
    assert [x["name"] for x in values["not_readable"]] == ["broken.png"]
    assert analyser.calls == 12
    again = run(pack, character=ada, folder="run")
    assert Path(again["path"]).name == "report_00002.html"


def test_an_interrupted_folder_goes_on_under_its_own_number(
    pack: SimpleNamespace, ada: Any, output: Path, analyser: FakeAnalyser, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management

    for i in range(40):
        save(output / "run" / f"{i:02d}.png", ADA, i)
    journal, rows = pack.consistency_report.Journal, []
    real = journal.add

    def interrupting(self: Any, row: Any, stamp: Any) -> None:
        real(self, row, stamp)
        rows.append(row)
        if len(rows) == 5:
            comfy.model_management.interrupt_current_processing(True)

    monkeypatch.setattr(journal, "add", interrupting)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(pack, character=ada, folder="run")
    assert len(rows) == 5
    monkeypatch.setattr(journal, "add", real)
    reports = output / "likeness" / "reports" / "ada"
    assert [p.name for p in reports.iterdir()] == ["report_00001.json.part"]
    analyser.calls = 0
    out = run(pack, character=ada, folder="run")
    assert Path(out["path"]).name == "report_00001.html" and analyser.calls == 35
    assert told(out)["summary"]["pictures"] == 40
    assert sorted(p.name for p in reports.iterdir()) == ["report_00001.html", "report_00001.json"]


@pytest.mark.parametrize("folder", ["../elsewhere", "/etc", "run/../..", "..", "/", "a\0b"])
def test_a_folder_outside_of_output_is_refused(pack: SimpleNamespace, ada: Any, output: Path, folder: str) -> None:
    with pytest.raises(pack.errors.PathError):
        run(pack, character=ada, folder=folder)


def test_a_link_out_of_output_is_refused(pack: SimpleNamespace, ada: Any, output: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (output / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(pack.errors.PathError):
        run(pack, character=ada, folder="link")


@pytest.mark.parametrize(
    ("inputs", "part"),
    [
        ({}, "no pictures"),
        ({"folder": "gone"}, "no folder"),
        ({"folder": "run", "images": torch.zeros(1, 64, 64, 3)}, "clear one of the two"),
        ({"images": torch.zeros(1, 64, 64, 3), "groups": "nonsense"}, "no grouping"),
        ({"images": torch.zeros(1, 64, 64, 3), "groups": "x=(a+)+$"}, "cannot be used"),
        ({"images": torch.zeros(1, 64, 64, 3), "title": "../../up"}, "looks like a path"),
    ],
)
def test_a_wrong_call_is_refused_with_a_sentence(
    pack: SimpleNamespace, ada: Any, output: Path, inputs: dict[str, Any], part: str
) -> None:
    with pytest.raises(pack.errors.LikenessError, match=part):
        run(pack, character=ada, **inputs)
    assert not list(output.rglob("*.json"))


def test_nothing_measurable_is_nan_and_a_full_report(pack: SimpleNamespace, ada: Any, output: Path) -> None:
    out = run(pack, character=ada, images=batch(empty_picture()))
    assert math.isnan(out["consistency_rate"]) and "could be measured" in out["report"]
    (output / "empty").mkdir()
    out = run(pack, character=ada, folder="empty")
    assert math.isnan(out["consistency_rate"]) and "no picture that could be read" in out["report"]


def test_the_style_of_the_references_is_compared(
    pack: SimpleNamespace, ada: Any, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Brightness:
        name = "brightness"

        def __init__(self, model: object) -> None: ...

        def embed(self, pictures: Any) -> Any:
            import numpy as np

            return np.array([[p.mean(), 255 - p.mean()] for p in pictures], dtype=np.float32)

    monkeypatch.setattr(pack.consistency_report, "PictureEncoder", Brightness)
    references = tuple(pack.profile.Reference(file=f"references/{i}.png") for i in range(3))
    small = (24, 24, 12)  # left, top, size: a close-up would show no background
    for i in range(3):
        path = save(tmp_path / "ada" / "references" / f"{i}.png", ADA, i)
        path.write_bytes(images.encode_png(group_picture([(ADA, i, *small)])))
    faces = tuple(pack.identity.ReferenceFace(f"references/{i}.png", 1.0, make_face(ADA, i, small)) for i in range(3))
    profile = ada.profile.model_copy(update={"references": references})
    character = replace(ada, folder=tmp_path / "ada", profile=profile, faces=faces)
    pictures = batch(group_picture([(ADA, 5, 20, 20, 16)]), group_picture([(ADA, 6, 2, 2, 60)]))
    out = run(pack, character=character, images=pictures, style_model=object())
    assert [p.get("style") is None for p in told(out)["pictures"]] == [False, True], "the close-up has no match"
    assert "1 picture has no background to compare" in out["report"]
    assert told(out)["summary"]["style"]["mean"] > 0.9 and "Background and style keep to Ada" in out["report"]
