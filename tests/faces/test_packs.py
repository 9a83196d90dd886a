"""Finding model packs, and saying what to do where there is none."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from likeness.errors import ModelMissingError
from likeness.faces import packs
from likeness.faces.analyser import pipeline_of
from likeness.faces.onnx_graph import model_file, outline

from .onnx_bytes import ARCFACE, LANDMARKS, SCRFD, YUNET, model


def make_pack(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / f"{name}.onnx").write_bytes(data)
    return folder


BUFFALO = {"det_10g": SCRFD, "w600k_r50": ARCFACE, "1k3d68": b"x", "2d106det": b"x", "genderage": b"x"}
ANTELOPE = {"scrfd_10g_bnkps": SCRFD, "glintr100": ARCFACE, "1k3d68": b"x"}


def test_published_names_are_enough(tmp_path: Path) -> None:
    folder = make_pack(tmp_path / "models" / "buffalo_l", **BUFFALO)
    pack = packs.find_pack("buffalo_l", [tmp_path])
    assert pack == packs.FacePack("buffalo_l", folder, folder / "det_10g.onnx", folder / "w600k_r50.onnx")


def test_antelopev2_one_folder_too_deep(tmp_path: Path) -> None:
    folder = make_pack(tmp_path / "models" / "antelopev2" / "antelopev2", **ANTELOPE)
    pack = packs.find_pack("antelopev2", [tmp_path])
    assert (pack.name, pack.folder, pack.recogniser.name) == ("antelopev2", folder, "glintr100.onnx")


def test_packs_right_below_the_root_and_in_a_second_root(tmp_path: Path) -> None:
    make_pack(tmp_path / "a" / "buffalo_sc", det_500m=SCRFD, w600k_mbf=ARCFACE)
    make_pack(tmp_path / "b" / "models" / "antelopev2", **ANTELOPE)
    roots = [tmp_path / "absent", tmp_path / "a", tmp_path / "b"]
    assert [p.name for p in packs.find_packs(roots)] == ["antelopev2", "buffalo_sc"]


def test_auto_prefers_buffalo_l(tmp_path: Path) -> None:
    names = ["zebra", "AuraFace-v1", "buffalo_sc", "buffalo_s", "buffalo_m", "antelopev2", "buffalo_l"]
    for name in names:
        make_pack(tmp_path / "models" / name, **ANTELOPE)
    assert [p.name for p in packs.find_packs([tmp_path])] == [
        "buffalo_l", "antelopev2", "buffalo_m", "buffalo_s", "buffalo_sc", "AuraFace-v1", "zebra",
    ]  # fmt: skip
    assert packs.find_pack("auto", [tmp_path]).name == "buffalo_l"


def test_unknown_names_are_told_by_their_graph(tmp_path: Path) -> None:
    make_pack(tmp_path / "models" / "mine", finder=SCRFD, knower=ARCFACE, points=LANDMARKS)
    pack = packs.find_pack("mine", [tmp_path])
    assert (pack.detector.name, pack.recogniser.name) == ("finder.onnx", "knower.onnx")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"yunet_2023mar": YUNET, "w600k_r50": ARCFACE}, ["no face detector", "YuNet", "det_10g.onnx"]),
        ({"finder": YUNET, "w600k_r50": ARCFACE}, ["no face detector", "finder.onnx is a YuNet"]),
        ({"det_10g": SCRFD}, ["no face recogniser", "found: det_10g.onnx", "w600k_r50.onnx", "non-commercial"]),
        ({"det_10g": SCRFD, "det_500m": SCRFD, "w600k_r50": ARCFACE}, ["2 detectors (det_10g.onnx, det_500m.onnx)"]),
        ({"det_10g": SCRFD, "w600k_r50": ARCFACE, "other": ARCFACE}, ["2 recognisers", "keep one"]),
        ({"broken": b"not a model"}, ["no face detector"]),
    ],
)
def test_an_unusable_pack_says_why(files: dict[str, bytes], words: list[str], tmp_path: Path) -> None:
    folder = make_pack(tmp_path / "models" / "mine", **files)
    assert packs.find_packs([tmp_path]) == ()
    for name in ("mine", "auto"):
        with pytest.raises(ModelMissingError) as caught:
            packs.find_pack(name, [tmp_path])
        assert all(word in str(caught.value) for word in [str(folder), *words]), caught.value


def test_a_missing_pack_names_folders_packs_and_remedy(tmp_path: Path) -> None:
    make_pack(tmp_path / "a" / "models" / "buffalo_sc", det_500m=SCRFD, w600k_mbf=ARCFACE)
    with pytest.raises(ModelMissingError) as caught:
        packs.find_pack("buffalo_l", [tmp_path / "a", tmp_path / "b"])
    target = str(tmp_path / "a" / "models" / "buffalo_l")
    for word in (str(tmp_path / "a" / "models"), str(tmp_path / "b" / "models"), "found there: buffalo_sc", target):
        assert word in str(caught.value)
    with pytest.raises(ModelMissingError, match=r"no face model pack\. Searched: no folder at all\. No pack"):
        packs.find_pack("auto", [])


def test_the_pipeline_is_known_without_a_session(tmp_path: Path) -> None:
    make_pack(tmp_path / "models" / "small", det_x=SCRFD, arcface_x=model({"i": (1, 3, 112, 112)}, {"o": (1, 128)}))
    pipeline = pipeline_of(packs.find_pack("small", [tmp_path]), (320,), 0.4)
    assert pipeline.detector == hashlib.sha256(SCRFD).hexdigest()
    assert (pipeline.dim, pipeline.det_sizes, pipeline.det_threshold) == (128, (320,), 0.4)


def test_the_outline_leaves_weights_out_and_sees_int8() -> None:
    graph = outline(ARCFACE)
    assert [(t.name, t.shape) for t in graph.inputs] == [("data", (0, 3, 112, 112))]
    assert graph.outputs[0].shape == (0, 512) and graph.node_names == ("Conv_0",) and not graph.dynamic_int8
    assert outline(model({}, {}, [("q", "DynamicQuantizeLinear")])).dynamic_int8


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(SCRFD)
    first = model_file(path).sha256
    path.write_bytes(ARCFACE)
    os.utime(path, ns=(1, 1))
    assert model_file(path).sha256 == hashlib.sha256(ARCFACE).hexdigest() != first


@pytest.mark.parametrize("data", [b"", b"\x3a", b"\x3a\xff", b"<html>not found</html>", SCRFD[:-3], b"\xff" * 40])
def test_what_is_no_model_is_refused_in_one_sentence(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelMissingError, match=r"m\.onnx is not a whole ONNX model: download it again"):
        model_file(path)


def test_real_files_are_recognised_by_hash(model_root: Path) -> None:
    found = {p.name: packs.known_model(model_file(p.detector).sha256) for p in packs.find_packs([model_root])}
    assert {name: known and known.name for name, known in found.items()} == {
        "buffalo_sc_dq": "det_500m",
        "mbf128": "det_2.5g",
    }
    assert "non-commercial" in str(found["mbf128"])


def test_nothing_can_be_measured_with_what_made_the_samples_faces(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match=r"sample character are made up.*create a character"):
        packs.find_pack("likeness-sample", [tmp_path])
