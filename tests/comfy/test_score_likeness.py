"""Score Likeness on tensors, in this process."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from likeness import images

from ..conftest import ROOT, load_folder
from ..fakes import PIPELINE, FakeAnalyser, empty_picture, face_picture, make_face
from ..unit.report_pictures import ADA, BEN, NeverDrawn

NAMES = (
    "nodes.score_likeness",
    "nodes.host",
    "likeness.character",
    "likeness.identity",
    "likeness.profile",
    "likeness.scoring",
)


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_score_pack", ROOT)
    found = {n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_score_pack.{n}") for n in NAMES}
    found["host"].register_folders()
    return SimpleNamespace(**found)


def run(
    pack: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, threshold: float | None, batch: Any = None
) -> dict[str, Any]:
    """Outputs by id, for two pictures of her, one of somebody else and one of nobody."""
    named = [pack.identity.ReferenceFace(f"references/{i}.png", 1.0, make_face(ADA, i)) for i in range(3)]
    pipeline, analyser = replace(PIPELINE, recogniser=FakeAnalyser().pipeline.recogniser), FakeAnalyser()
    ada = pack.character.Character(pack.profile.Profile(name="Ada", slug="ada"), None, pipeline, tuple(named), ())
    judge = pack.scoring.judge_for(ada, analyser, threshold=threshold, gate=NeverDrawn())
    monkeypatch.setattr(pack.score_likeness, "judge_of", lambda character, **_: (analyser, judge))
    pictures = [face_picture(ADA, 5), face_picture(ADA, 6), face_picture(BEN, 1), empty_picture()]
    if batch is None:
        batch = torch.stack([torch.from_numpy(images.to_float(p)) for p in pictures])
    monkeypatch.setattr(pack.score_likeness.ui, "PreviewImage", lambda *_, **__: SimpleNamespace(as_dict=dict))
    node = pack.score_likeness.ScoreLikeness
    ran = node.PREPARE_CLASS_CLONE({"hidden_inputs": {}}).execute(images=batch, character=ada)
    named_out = {output.id: value for output, value in zip(node.GET_SCHEMA().outputs, ran.args, strict=True)}
    return named_out | {"ui": ran.ui}


def test_pictures_are_counted_from_one_with_their_index(pack: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    out = run(pack, monkeypatch, None)
    starts = [line.split(":")[0] for line in out["report"].splitlines()[:4]]
    assert starts == [f"image {i + 1} (index {i})" for i in range(4)]
    assert out["ui"]["text"] == [out["report"]]


def test_the_previews_are_of_one_size_with_a_strip_below(
    pack: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    preview = run(pack, monkeypatch, None)["preview"]
    assert preview.shape[0] == 4 and preview.shape[1] > 64 and preview.shape[2] == 64


def test_a_threshold_that_strangers_reach_is_said(pack: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "which strangers reach" in run(pack, monkeypatch, 0.05)["report"]
    assert "strangers" not in run(pack, monkeypatch, 0.5)["report"]
    assert "strangers" not in run(pack, monkeypatch, None)["report"]


def test_a_large_picture_is_converted_in_strips_between_which_the_user_may_stop(pack: SimpleNamespace) -> None:
    import comfy.model_management as management

    batch = torch.rand(1, 1201, 1700, 3)
    (whole,) = [images.from_float(picture.numpy()) for picture in batch]
    (pixels,) = pack.host.to_pixels(batch)
    assert (pixels == whole).all()
    management.interrupt_current_processing(True)
    try:
        with pytest.raises(management.InterruptProcessingException):
            pack.host.to_pixels(batch)
    finally:
        management.interrupt_current_processing(False)


def test_an_empty_batch_has_no_scores_and_no_crash(pack: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    out = run(pack, monkeypatch, None, torch.zeros(0, 64, 64, 3))
    assert () in out.values() and out["preview"].shape[0] == 0
