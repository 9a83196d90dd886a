"""`likeness inject` as a user calls it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likeness.cli.injecting import add_inject
from likeness.cli.places import places_of
from likeness.errors import LikenessError
from likeness.library import Library
from likeness.shared_files import WORKFLOWS, shared_path

from ..lora_files import checkpoint_file
from ..unit.inject.graphs import of_class, plain, profile, wan

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    found = Library([tmp_path / "characters"])
    found.create(profile("wan"))
    found.create(profile("wan", name="Ben", slug="ben", trigger="benray"))
    return found


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps({"prompt": plain(), "client_id": "me"}))
    return path


@pytest.fixture
def call(library: Library, capsys: pytest.CaptureFixture[str]) -> Call:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()

    def command(name: str, function: Any, help_text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_text)
        sub.set_defaults(command=function, library=str(library.roots[0]), face_models=None)
        sub.add_argument("--json", action="store_true")
        return sub

    add_inject(command)

    def called(*arguments: object) -> tuple[int, str]:
        parsed = parser.parse_args(["inject", *map(str, arguments)])
        code = parsed.command(parsed, places_of(parsed))
        return code, capsys.readouterr().out

    return called


def test_a_workflow_is_written_in_its_wrapping_and_what_was_changed_is_told(
    call: Call, workflow: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    code, told = call("Ada", workflow, "-o", out, "--prompt", "at sea", "--seed", 7, "--score")
    made = json.loads(out.read_text())
    assert code == 0 and made["client_id"] == "me" and made["prompt"]["3"]["inputs"]["seed"] == 7
    assert "Added Apply Character" in told and f"Wrote {out}" in told
    assert of_class(made["prompt"], "LikenessScoreLikeness")


def test_without_a_place_to_write_to_nothing_is_written(call: Call, workflow: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert "Nothing was written" in call("ada", workflow)[1]
    assert sorted(tmp_path.rglob("*")) == before


def test_programs_get_json_with_the_graph(call: Call, workflow: Path) -> None:
    told = json.loads(call("ada", workflow, "--json")[1])
    assert told["how"] == "nodes" and set(told["added"]) <= set(told["prompt"]) and told["changes"]


def test_the_workflow_itself_is_not_written_over(call: Call, workflow: Path) -> None:
    with pytest.raises(LikenessError, match="another name"):
        call("ada", workflow, "-o", workflow)
    assert json.loads(workflow.read_text())["prompt"] == plain()


def test_a_saved_workflow_takes_the_next_character_with_the_same_settings(
    call: Call, tmp_path: Path, library: Library
) -> None:
    path, out = tmp_path / "wan.json", tmp_path / "out.json"
    path.write_text(json.dumps(wan()))
    call("ada", path, "--replace-lora", 3, "--replace-lora", 4, "--save", "My Wan")
    assert "my_wan" in call("--list")[1]
    code, _ = call("ben", "my_wan", "-o", out)
    made = json.loads(out.read_text())["prompt"]
    assert code == 0 and made["6"]["inputs"]["text"].startswith("benray") and made["3"] != wan()["3"]


def test_a_broken_saved_workflow_hides_no_other_one(call: Call, workflow: Path, library: Library) -> None:
    call("ada", workflow, "--save", "Good")
    shared_path(library, WORKFLOWS, "half").write_text("{")
    code, told = call("--list")
    assert code == 0 and "half" in told and "broken: " in told and "good" in told


def test_what_cannot_be_placed_is_neither_written_nor_saved(call: Call, tmp_path: Path) -> None:
    path, out = tmp_path / "upscale.json", tmp_path / "out.json"
    path.write_text(json.dumps({"1": {"class_type": "LoadImage", "inputs": {}}}))
    with pytest.raises(LikenessError, match="nothing that could draw"):
        call("ada", path, "-o", out, "--save", "upscale")
    assert not out.exists() and "No workflow is saved" in call("--list")[1]


def test_looking_says_the_ids_that_the_options_take(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "wan.json"
    path.write_text(json.dumps(wan()))
    told = call("ada", path, "--look")[1]
    for line in (
        "UNETLoader 1",
        "3:lora_name: light_high.safetensors",
        "KSamplerAdvanced 13",
        "positive: CLIPTextEncode 6",
    ):
        assert line in told


def test_object_info_from_a_file_tells_what_the_server_lacks(call: Call, workflow: Path, tmp_path: Path) -> None:
    info = tmp_path / "info.json"
    info.write_text(json.dumps({"KSampler": {"input": {"required": {"model": ["MODEL"]}}, "output": ["LATENT"]}}))
    with pytest.raises(LikenessError, match="install this pack there"):
        call("ada", workflow, "--object-info", info)
    info.write_text("[]")
    with pytest.raises(LikenessError, match="/object_info"):
        call("ada", workflow, "--object-info", info)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "which character, and which workflow"),
        (("ada",), "which character, and which workflow"),
        (("ada", "nowhere.json"), "no file nowhere.json"),
        (("ada", "nowhere"), "no saved workflow of that name"),
        (("nobody", "{workflow}"), "nobody"),
        (("../ada", "{workflow}"), "looks like a path"),
    ],
)
def test_a_wrong_call_is_answered_with_what_to_give(
    call: Call, workflow: Path, arguments: tuple[str, ...], told: str
) -> None:
    with pytest.raises(LikenessError, match=told):
        call(*(a.format(workflow=workflow) for a in arguments))


def info_of(**listed: list[str]) -> dict[str, Any]:
    """What a ComfyUI answers that has the nodes of the plain workflow, and ours."""
    ours = ("LoadCharacter", "ApplyCharacter", "CharacterPrompt")
    nodes = {n["class_type"] for n in plain().values()} | {f"Likeness{name}" for name in ours}
    info: dict[str, Any] = {name: {"input": {"required": {}}, "output": []} for name in nodes}
    info["CheckpointLoaderSimple"] = {
        "input": {"required": {"ckpt_name": ["COMBO", {"options": listed["checkpoints"]}]}},
        "output": ["MODEL", "CLIP", "VAE"],
    }
    info["LikenessApplyCharacter"]["output"] = ["MODEL", "CLIP"]
    return info


def test_files_and_nodes_that_the_server_does_not_have_are_named(call: Call, workflow: Path, tmp_path: Path) -> None:
    info = tmp_path / "info.json"
    info.write_text(json.dumps(info_of(checkpoints=["v1-5.safetensors"])))
    assert "That ComfyUI" not in call("ada", workflow, "--object-info", info)[1]
    info.write_text(json.dumps(info_of(checkpoints=["other.safetensors"])))
    told = call("ada", workflow, "--object-info", info)[1]
    assert "does not list 'v1-5.safetensors', ckpt_name of CheckpointLoaderSimple 4" in told
    workflow.write_text(json.dumps(plain() | {"20": {"class_type": "OddSaver", "inputs": {"images": ["8", 0]}}}))
    assert "does not have the nodes OddSaver" in call("ada", workflow, "--object-info", info)[1]


def test_the_family_is_read_from_a_file_that_is_here_and_told_by_looking(
    call: Call, workflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "comfy" / "models").mkdir(parents=True)
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "comfy"))
    graph = plain()
    graph["4"]["inputs"]["ckpt_name"] = "sub\\mine.safetensors"
    workflow.write_text(json.dumps(graph))
    assert "is not told by the workflow" in call("ada", workflow)[1]
    checkpoint_file(tmp_path / "comfy" / "models" / "checkpoints" / "sub" / "mine.safetensors", "sdxl")
    assert "is not told" not in call("ada", workflow)[1]
    assert "base family:\n  sdxl\n" in call("ada", workflow, "--look")[1]
    with pytest.raises(LikenessError, match="are for sdxl, not for sd15"):
        call("ada", workflow, "--family", "sd15")
    graph["4"]["inputs"]["ckpt_name"] = "../../../../etc/passwd.safetensors"
    workflow.write_text(json.dumps(graph))
    assert "is not told by the workflow" in call("ada", workflow)[1]
