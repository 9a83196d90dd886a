"""Compare Versions on pictures whose faces a fake reads, in this process."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from likeness import images
from likeness.create import NamedImage, create_character, draft
from likeness.library import Library
from likeness.profile import BaseSettings, LoraVersion

from ..conftest import ROOT, load_folder
from ..fakes import FakeAnalyser, empty_picture, face_picture
from ..unit.report_pictures import NeverDrawn

NAMES = ("nodes.compare_versions", "nodes.host", "likeness.character", "likeness.scoring", "likeness.library")
NAMES += ("likeness.errors",)
ADA, BEN = 1, 2
YES, NO = [face_picture(ADA, shot) for shot in range(10, 14)], [face_picture(BEN, shot) for shot in range(4)]


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_compare_pack", ROOT)
    found = {n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_compare_pack.{n}") for n in NAMES}
    found["host"].register_folders()
    return SimpleNamespace(**found)


@pytest.fixture
def library(pack: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """With Ada, who has one version that waits."""
    made, analyser = Library([tmp_path]), FakeAnalyser()
    pictures = [NamedImage(f"photo {i}", face_picture(ADA, i)) for i in range(3)]
    create_character(made, draft("Ada", trigger="adaray"), pictures, analyser)
    settings = BaseSettings(loras=(LoraVersion(file="ada/1.safetensors", version=1, active=False),))
    made.update("ada", lambda p: p.model_copy(update={"base": {"sd15": settings}}))

    def judge_of(character: Any, threshold: float = 0.0, **_: Any) -> Any:
        return analyser, pack.scoring.judge_for(character, analyser, threshold=threshold or 0.3, gate=NeverDrawn())

    monkeypatch.setattr(pack.compare_versions, "judge_of", judge_of)
    monkeypatch.setattr(pack.host, "library", lambda: pack.library.Library([tmp_path]))
    monkeypatch.setattr(pack.compare_versions.faceid_files, "find", lambda *a, **k: SimpleNamespace(usable=True))
    return made


def ada(pack: SimpleNamespace) -> Any:
    return pack.character.open_character(pack.host.library(), "ada")


def batch(pictures: list[images.RGB8]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(images.to_float(p)) for p in pictures])


def run(pack: SimpleNamespace, before: list[Any], after: list[Any], **inputs: Any) -> dict[str, Any]:
    """Outputs by id, and "ui"."""
    node = pack.compare_versions.CompareVersions
    given = {"present": batch(before), "candidate": batch(after), "character": ada(pack), **inputs}
    ran = node.PREPARE_CLASS_CLONE({"hidden_inputs": {}}).execute(**given)
    return {o.id: v for o, v in zip(node.GET_SCHEMA().outputs, ran.args, strict=True)} | {"ui": ran.ui}


def test_a_better_version_draws_from_now_on(pack: SimpleNamespace, library: Library) -> None:
    out = run(pack, NO, [*YES[:3], NO[0]], seeds="1 to 4")
    assert out["switched"] and (out["rate"], out["present_rate"]) == (0.75, 0.0)
    stored = library.get("ada").settings("sd15").lora
    assert stored is not None and stored.comparison is not None and stored.comparison.seeds == "1 to 4"
    assert out["CHARACTER"].profile.settings("sd15").lora.version == 1, "what follows draws with it"
    assert out["report"].startswith("Version 1 takes over from faceid_only.")
    assert "present 1: rejected" in out["report"] and "version 1: accepted" in out["report"]
    (told,) = out["ui"]["likeness_comparison"]
    assert (told["version"], told["family"], told["switched"], told["p"]) == (1, "sd15", True, 0.25)


def test_a_worse_version_stays_waiting_with_its_reason(pack: SimpleNamespace, library: Library) -> None:
    out = run(pack, YES, [*YES[1:], NO[0]])
    assert not out["switched"] and library.get("ada").settings("sd15").lora is None
    assert "faceid_only stays" in out["report"] and "is lower" in out["report"]
    assert library.get("ada").settings("sd15").loras[0].comparison is not None


def test_only_reporting_does_not_switch(pack: SimpleNamespace, library: Library) -> None:
    out = run(pack, NO, YES, write="only report", version=1, family="sd15")
    assert not out["switched"] and library.get("ada").settings("sd15").lora is None
    assert "would take over" in out["report"]


def test_nothing_measurable_is_nan_and_no_switch(pack: SimpleNamespace, library: Library) -> None:
    nobody = [empty_picture(i) for i in range(2)]
    out = run(pack, NO[:2], nobody)
    assert math.isnan(out["rate"]) and out["present_rate"] == 0.0 and not out["switched"]
    out = run(pack, nobody, YES[:2])
    assert math.isnan(out["present_rate"]) and out["rate"] == 1.0 and not out["switched"]
    (told,) = out["ui"]["likeness_comparison"]
    assert told["against_rate"] is None and told["p"] is None


def test_pixels_that_are_no_numbers_show_nobody(pack: SimpleNamespace, library: Library) -> None:
    broken = torch.full((2, 64, 64, 3), math.nan)
    out = run(pack, NO[:2], YES[:2], candidate=broken)
    assert not out["switched"] and "none of its pictures could be measured" in out["report"]


def test_batches_that_are_no_pairs_or_the_same_are_refused(pack: SimpleNamespace, library: Library) -> None:
    before = library.get("ada")
    with pytest.raises(pack.errors.LikenessError, match="4 pictures of the present method and 3"):
        run(pack, YES, YES[:3])
    with pytest.raises(pack.errors.LikenessError, match="the same pictures"):
        run(pack, YES, YES)
    assert library.get("ada") == before


def test_pictures_of_other_sizes_can_be_compared(pack: SimpleNamespace, library: Library) -> None:
    wide = np.pad(YES[0], ((0, 0), (0, 32), (0, 0)))
    out = run(pack, NO[:1], [wide])
    assert out["switched"] and out["preview"].shape[0] == 1 and out["preview"].shape[2] >= 2 * 96


def test_a_version_that_draws_already_or_is_gone_is_an_error(pack: SimpleNamespace, library: Library) -> None:
    with pytest.raises(pack.errors.LibraryError, match="no LoRA version 5"):
        run(pack, NO, YES, version=5)
    run(pack, NO, YES)
    with pytest.raises(pack.errors.LibraryError, match="draws Ada on sd15 already"):
        run(pack, NO, YES, version=1)


def test_pictures_of_one_of_several_versions_switch_to_no_other(pack: SimpleNamespace, library: Library) -> None:
    loras = [LoraVersion(file=f"ada/{n}.safetensors", version=n, active=n == 1) for n in (1, 2, 3)]
    library.update("ada", lambda p: p.model_copy(update={"base": {"sd15": BaseSettings(loras=tuple(loras))}}))
    before = library.get("ada")
    with pytest.raises(pack.errors.LibraryError, match=r"several LoRA versions .*\(2, 3\)"):
        run(pack, NO, YES)
    assert library.get("ada") == before
    assert run(pack, NO, YES, version=2)["switched"] and library.get("ada").settings("sd15").lora.version == 2


def test_a_profile_that_was_changed_since_stays(pack: SimpleNamespace, library: Library) -> None:
    seen = ada(pack)
    library.update("ada", lambda p: p.model_copy(update={"trigger": "other"}))
    out = run(pack, NO, YES, character=seen)
    assert not out["switched"] and "was changed after the pictures were drawn" in out["report"]
    assert library.get("ada").settings("sd15").loras[0].comparison is not None
