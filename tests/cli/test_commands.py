"""The command line, run in this process on the stand-in face model and the sample's drawings."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness import images
from likeness.cli.commands import run

from ..conftest import ROOT
from ..lora_files import lora_file

PICTURES = sorted((ROOT / "sample" / "characters" / "mara_voss" / "references").glob("*.png"))
SMILE = ROOT / "sample" / "pictures" / "mara_voss_4_smile.png"

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def face_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `insightface` folder with the stand-in pack."""
    spec = importlib.util.spec_from_file_location("make_standin_faces", ROOT / "tools" / "make_standin_faces.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    models = tmp_path_factory.mktemp("models")
    module.make(models)
    return models / "insightface"


@pytest.fixture
def call(
    face_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Run a command in a library of its own; gives (exit code, stdout, stderr)."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.setattr("likeness.cli.places.OWN", tmp_path / "own")
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "no-comfyui"))

    def call(*words: Any) -> tuple[int, str, str]:
        shared = ["--library", str(tmp_path / "library"), "--face-models", str(face_folder)]
        code = run([*map(str, words), *shared])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def test_create_list_show_and_score(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("create", "Mara Voss", *PICTURES, "--trigger", "mara", "--class-word", "woman")
    assert code == 0 and "4 picture(s) added, 4 in all" in out
    assert "Mara Voss: 4 reference(s)" in call("list")[1]
    assert "trigger mara, class word woman, face model standin" in call("show", "mara_voss")[1]
    code, out, _ = call("score", "mara_voss", SMILE, PICTURES[0], "--json", "--measure-drawn")
    told = json.loads(out)
    assert [s["name"] for s in told["scores"]] == [SMILE.name, PICTURES[0].name]
    assert all(-1 <= s["similarity"] <= 1 for s in told["scores"])
    assert told["scores"][1]["face"]["nearest_similarity"] == pytest.approx(1.0, abs=1e-4)


def test_a_drawing_is_not_measurable_unless_asked_for(call: Call) -> None:
    call("create", "Mara", *PICTURES)
    code, out, _ = call("score", "mara", SMILE)
    assert code == 1 and "not measurable: a drawn face" in out


def test_calibrating_saves_the_band_that_score_uses(call: Call) -> None:
    call("create", "Mara", *PICTURES)
    assert "0.350 on (not calibrated)" in call("score", "mara", SMILE)[1]
    code, out, _ = call("calibrate", "mara", "--dry-run")
    assert code == 0 and "Expected, not measured: " in out
    assert "not calibrated" in call("score", "mara", SMILE)[1], "a dry run leaves the profile alone"
    told = json.loads(call("calibrate", "mara", "--json")[1])
    assert f"{told['threshold']:.3f} on (calibrated" in call("score", "mara", SMILE)[1]
    assert f"accepted from {told['threshold']:.3f} on, calibrated {told['date']}" in call("show", "mara")[1]
    told = json.loads(call("score", "mara", SMILE, "--threshold", "0.99", "--json", "--measure-drawn")[1])
    assert told["scores"][0]["verdict"] == "rejected" and told["threshold"] == 0.99


def test_calibrating_with_two_references_is_refused(call: Call) -> None:
    call("create", "Mara", *PICTURES[:2])
    code, _, err = call("calibrate", "mara")
    assert code == 1 and "2 usable reference(s)" in err and "needs 3" in err


def test_identify_names_the_character_of_a_picture(call: Call, tmp_path: Path) -> None:
    assert call("identify", SMILE)[0] == 1, "an empty library"
    call("create", "Mara", *PICTURES)
    assert "nobody known: a drawn face" in call("identify", SMILE)[1]
    code, out, _ = call("identify", SMILE, "--json", "--measure-drawn")
    (row,) = json.loads(out)["faces"]
    assert (code, row["character"], row["picture"]) == (0, "mara", SMILE.name)
    assert "no such file" in call("identify", tmp_path / "gone.png")[1]


def test_adding_and_moving_a_character(call: Call, tmp_path: Path) -> None:
    call("create", "Mara", *PICTURES[:2])
    assert "1 picture(s) added, 3 in all" in call("create", "Mara", "--add", PICTURES[2], PICTURES[0])[1]
    archive = tmp_path / "mara.zip"
    assert call("export", "mara", archive)[0] == 0
    assert call("rename", "mara", "Mara Two")[0] == 0
    assert call("import", archive)[0] == 0
    assert json.loads(call("list", "--json")[1]) == [
        {"slug": "mara", "name": "Mara", "references": 3},
        {"slug": "mara_two", "name": "Mara Two", "references": 3},
    ]
    assert ".trash" in call("trash", "mara")[1]
    assert [row["slug"] for row in json.loads(call("list", "--json")[1])] == ["mara_two"]


BAD: dict[str, tuple[list[str], str]] = {
    "no such character": (["show", "nobody"], "No character 'nobody'"),
    "name that is a path": (["create", "../x", str(SMILE)], "looks like a path"),
    "slug that is a path": (["show", "../library"], "looks like a path"),
    "reserved word": (["create", "CON", str(SMILE)], "Windows keeps for devices"),
    "no such face model": (["create", "A", str(SMILE), "--face-model", "buffalo_l"], "buffalo_l"),
    "no such zip": (["import", "missing.zip"], "missing.zip"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_are_one_line_on_stderr(call: Call, case: str) -> None:
    words, expected = BAD[case]
    code, out, err = call(*words)
    assert code == 1 and out == ""
    assert expected in err and err.count("\n") == 1


def test_broken_pictures_are_named_and_the_good_ones_used(call: Call, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(PICTURES[0].read_bytes()[:5000])
    (tmp_path / "text.jpg").write_bytes(b"no picture")
    code, out, _ = call("create", "Mara", tmp_path / "cut.png", tmp_path / "text.jpg", PICTURES[1])
    assert code == 0
    assert "cut.png: the picture is damaged" in out and "text.jpg: not a PNG" in out and "1 picture(s) added" in out


def test_nothing_is_made_without_a_usable_picture(call: Call, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(PICTURES[0].read_bytes()[:5000])
    code, _, err = call("create", "Mara", tmp_path / "cut.png")
    assert code == 1 and "cut.png: the picture is damaged" in err
    assert json.loads(call("list", "--json")[1]) == []


def test_doctor_names_the_folder_searched_and_what_lies_there(call: Call, tmp_path: Path) -> None:
    comfy = tmp_path / "no-comfyui"  # by now there is one
    adapters = comfy / "models" / "ipadapter"
    adapters.mkdir(parents=True)
    for name in ("main.py", "folder_paths.py"):
        (comfy / name).touch()
    (adapters / "ip-adapter-plus_sd15.safetensors").write_bytes(b"")
    code, out, _ = call("doctor")
    assert code == 1
    line = next(row for row in out.splitlines() if row.startswith("missing FaceID sd15"))
    assert (
        str(adapters) in line
        and "ip-adapter-plus_sd15.safetensors" in line
        and "ip-adapter-faceid-plusv2_sd15.bin" in line
    )


def test_a_base_directory_is_where_models_are_looked_for(call: Call, tmp_path: Path, monkeypatch: Any) -> None:
    """What ComfyUI's --base-directory takes has models, and no program."""
    base = tmp_path / "base"
    (base / "models" / "loras").mkdir(parents=True)
    monkeypatch.setenv("COMFYUI_PATH", str(base))
    _, out, err = call("doctor")
    assert f"Base directory of a ComfyUI at {base}" in out and "COMFYUI_PATH" not in err
    lora_file(base / "models" / "loras" / "neon.safetensors")
    assert "1 added" in call("registry", "scan")[1]


def test_a_comfyui_path_that_is_none_is_told(call: Call, tmp_path: Path, caplog: Any) -> None:
    call("doctor")
    assert f"COMFYUI_PATH={tmp_path / 'no-comfyui'} is neither a ComfyUI" in caplog.text


def test_demo_without_comfyui_says_what_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("likeness.cli.places.OWN", tmp_path / "own")
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "no-comfyui"))
    assert run(["demo", "--out", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    assert "No ComfyUI was found" in out and "Left out: the picture" in out
    told = json.loads((tmp_path / "demo" / "report.json").read_text())
    her, other = told["scores"]
    assert her["similarity"] > 0.6 and abs(other["similarity"]) < 0.2
    assert (tmp_path / "demo" / "report.md").is_file()
    assert images.read(tmp_path / "demo" / "scored_smile.png").shape[1:] == (512, 3)


def test_the_sample_is_what_its_script_builds(tmp_path: Path) -> None:
    """The committed pictures and faces belong together: every cached face was cut from its picture."""
    from likeness.character import open_character
    from likeness.faces.align import align
    from likeness.faces.face import CROP_SIZE
    from likeness.library import Library

    opened = open_character(Library([ROOT / "sample" / "characters"]), "mara_voss")
    assert opened.problems == () and opened.identity.outliers == ()
    for face in opened.faces:
        picture = images.read(opened.folder / face.file)
        np.testing.assert_array_equal(align(picture, face.face.keypoints, CROP_SIZE), face.face.crop)


def test_the_insightface_package_can_be_chosen(call: Call) -> None:
    pytest.importorskip("insightface", reason="the insightface package is not installed")
    code, out, err = call("create", "Mara", *PICTURES[:2], "--backend", "insightface")
    assert code == 0, err
    assert "Face model: standin on CPUExecutionProvider" in out


def test_extra_model_paths_follow_the_standard_folders_unless_default(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    from likeness.cli.places import with_extra_paths
    from likeness.doctor import model_folders

    config = tmp_path / "extra_model_paths.yaml"
    config.write_text(
        "a:\n  base_path: /x\n  loras: l1\nb:\n  base_path: /y\n  is_default: true\n  loras: |\n    l2\n    l3\n"
    )
    found = with_extra_paths(model_folders(tmp_path), config).loras
    assert [str(p) for p in found] == ["/y/l2", "/y/l3", str(tmp_path / "loras"), "/x/l1"]


def test_a_face_goes_out_and_is_looked_at(call: Call, tmp_path: Path) -> None:
    call("create", "Mara Voss", *PICTURES)
    file = tmp_path / "mara.safetensors"
    code, out, _ = call("export-face", "Mara Voss", file)
    assert code == 0 and "It identifies a person" in out
    code, out, _ = call("inspect-face", file, "--like", "mara_voss", "--json")
    told = json.loads(out)
    assert code == 0 and told["embeddings"] == 1 and told["face_model"] == "standin" and told["notes"] == []
    assert told["similarity"] == pytest.approx(1.0, abs=1e-4)
    assert "1 embedding(s), face model standin" in call("inspect-face", file)[1]


def test_a_face_file_that_is_none_or_does_not_fit_is_an_error(call: Call, tmp_path: Path) -> None:
    call("create", "Mara Voss", *PICTURES)
    (tmp_path / "x.safetensors").write_bytes(b"garbage" * 50)
    assert "x.safetensors is not a usable face file" in call("inspect-face", tmp_path / "x.safetensors")[2]
    code, _, error = call("export-face", "mara_voss", tmp_path / "m.safetensors", "--format", "reactor")
    assert code == 1 and "ReActor needs embeddings of buffalo_l" in error and not (tmp_path / "m.safetensors").exists()
