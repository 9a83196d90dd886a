"""`likeness lora`: register, list, activate, and the graph that compare queues. No ComfyUI is started."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from likeness.cli import loras
from likeness.cli.graphs import ApiGraph, Files, Overrides
from likeness.cli.graphs_compare import Trial, compare_node, compare_versions
from likeness.cli.places import Places
from likeness.create import NamedImage, create_character, draft
from likeness.doctor import Folders
from likeness.errors import LibraryError, LikenessError, LoraError, ModelMissingError, ServerError
from likeness.library import Library
from likeness.profile import Comparison

from ..fakes import FakeAnalyser, face_picture
from ..lora_files import lora_file, notes

ADA = notes("adaray woman, red coat", "adaray woman")
BETTER = {"switched": True, "verdict": "Version 1 takes over from faceid_only."}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """With Ada, and an adapter that can draw her on SD 1.5."""
    folders = Folders(
        characters=(tmp_path / "characters",), loras=(tmp_path / "loras",), ipadapter=(tmp_path / "ipadapter",)
    )
    pictures = [NamedImage(f"photo {i}", face_picture(1, i)) for i in range(3)]
    create_character(Library(folders.characters), draft("Ada Ray", trigger="adaray"), pictures, FakeAnalyser())
    (tmp_path / "ipadapter").mkdir()
    (tmp_path / "ipadapter" / "ip-adapter-faceid-plusv2_sd15.bin").write_bytes(b"by its name alone")
    return Places(None, folders, tmp_path / "cache")


@pytest.fixture
def call(places: Places) -> Callable[..., int]:
    """Runs `likeness lora` with these words."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)

    def command(name: str, function: Callable[..., Any], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text)
        sub.add_argument("--json", action="store_true")
        sub.set_defaults(command=function)
        return sub

    loras.add_lora(command)

    def run(*words: str) -> int:
        arguments = parser.parse_args(words)
        return int(arguments.command(arguments, places) or 0)

    return run


Call = Callable[..., int]


def test_a_file_is_registered_listed_and_activated(
    call: Call, places: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lora_file(tmp_path / "out" / "ada.safetensors", told=ADA)
    assert call("register", str(path), "--character", "Ada Ray", "--training-set", "first") == 0
    out = capsys.readouterr().out
    assert "ada_ray/ada_ray_sd15_v1.safetensors became version 1 of Ada Ray on sd15, inactive" in out
    call("list", "ada_ray")
    out = capsys.readouterr().out
    assert "trigger adaray" in out and "sd15     v1    -        ada_ray/ada_ray_sd15_v1.safetensors" in out
    assert "rank 4, alpha 2; 900 steps; on v1-5.safetensors; set first" in out
    call("activate", "ada_ray", "v1")
    assert "is drawn with version 1" in capsys.readouterr().out
    lora = places.library().get("ada_ray").settings("sd15").lora
    assert lora is not None and lora.version == 1
    call("activate", "ada_ray", "none")
    assert "without a LoRA on sd15" in capsys.readouterr().out
    with pytest.raises(LikenessError, match="is no version"):
        call("activate", "ada_ray", "newest")
    with pytest.raises(LibraryError, match="no LoRA version 4"):
        call("activate", "ada_ray", "4")


def test_without_an_adapter_the_first_version_draws(call: Call, places: Places, tmp_path: Path) -> None:
    next((tmp_path / "ipadapter").iterdir()).unlink()
    call("register", str(lora_file(tmp_path / "a.safetensors", told=ADA)), "--character", "ada_ray")
    assert places.library().get("ada_ray").settings("sd15").lora is not None


def test_a_name_of_models_loras_is_a_file_too(call: Call, places: Places, tmp_path: Path) -> None:
    lora_file(tmp_path / "loras" / "kohya" / "a.safetensors", told=ADA)
    call("register", "kohya/a.safetensors", "--character", "ada_ray", "--activate")
    assert places.library().get("ada_ray").settings("sd15").lora is not None
    with pytest.raises(ModelMissingError, match=r"'none\.safetensors' is not in models/loras"):
        call("register", "none.safetensors", "--character", "ada_ray")


def test_a_wrong_trigger_is_refused_until_any_is_allowed(call: Call, tmp_path: Path) -> None:
    path = str(lora_file(tmp_path / "a.safetensors", told=notes("bobby man")))
    with pytest.raises(LoraError, match="without the profile's trigger"):
        call("register", path, "--character", "ada_ray")
    assert call("register", path, "--character", "ada_ray", "--any-trigger") == 0


def test_evidence_and_a_lost_file_are_listed(
    call: Call, places: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("register", str(lora_file(tmp_path / "a.safetensors", told=ADA)), "--character", "ada_ray")
    told = Comparison(date="2026-01-02T03:04", pictures=8, rate=0.875, against="faceid_only", against_rate=0.5,
                      p=0.25, face_model="buffalo_l", switched=True)  # fmt: skip

    def change(profile: Any) -> Any:
        settings = profile.settings("sd15")
        rows = (settings.loras[0].model_copy(update={"comparison": told}),)
        return profile.model_copy(update={"base": {"sd15": settings.model_copy(update={"loras": rows})}})

    places.library().update("ada_ray", change)
    (tmp_path / "loras" / "ada_ray" / "ada_ray_sd15_v1.safetensors").unlink()
    capsys.readouterr()
    call("list", "ada_ray")
    out = capsys.readouterr().out
    assert "(the file is not there)" in out
    assert "compared 2026-01-02: consistency 0.88 against 0.50 of faceid_only, 8 pictures each, p = 0.250" in out
    call("list", "ada_ray", "--json")
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["family"], row["version"], row["there"], row["comparison"]["rate"]) == ("sd15", 1, False, 0.875)


def test_a_version_whose_file_is_gone_is_not_activated(call: Call, places: Places, tmp_path: Path) -> None:
    call("register", str(lora_file(tmp_path / "a.safetensors", told=ADA)), "--character", "ada_ray")
    (tmp_path / "loras" / "ada_ray" / "ada_ray_sd15_v1.safetensors").unlink()
    with pytest.raises(ModelMissingError, match=r"ada_ray_sd15_v1\.safetensors' is not in models/loras"):
        call("activate", "ada_ray", "1")
    assert places.library().get("ada_ray").settings("sd15").lora is None


def test_a_character_without_versions_is_told_how_to_get_one(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    call("list", "ada_ray")
    assert "no LoRA version. Add one with `likeness lora register FILE" in capsys.readouterr().out


# ---- comparing


class FakeServer:
    """A QueueClient that answers at once."""

    def __init__(self, told: dict[str, Any] | None) -> None:
        self.graphs: list[ApiGraph] = []
        self._told = told

    def __call__(self, url: str) -> FakeServer:
        return self

    def object_info(self) -> dict[str, Any]:
        combo = ["COMBO", {"options": ["model.ckpt"]}]
        return {"CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": combo}}}}

    def run(self, graph: ApiGraph, seconds: float, waiting: Callable[[float], None]) -> Any:
        self.graphs.append(graph)
        shown = {"text": ["verdict"], "likeness_comparison": [self._told]} if self._told else {}
        return SimpleNamespace(outputs={compare_node(graph): shown})


def serve(monkeypatch: pytest.MonkeyPatch, told: dict[str, Any] | None) -> FakeServer:
    fake = FakeServer(told)
    monkeypatch.setattr(loras, "QueueClient", fake)
    return fake


def of_kind(graph: ApiGraph, kind: str) -> list[dict[str, Any]]:
    return [node["inputs"] for node in graph.values() if node["class_type"] == kind]


def test_both_ways_are_drawn_with_the_same_prompts_and_seeds(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(monkeypatch, BETTER)
    words = (
        "--version",
        "2",
        "--seeds",
        "3",
        "--seed",
        "7",
        "--prompt",
        "red\nhat",
        "--prompt",
        "blue",
        "--steps",
        "2",
    )
    assert call("compare", "Ada Ray", *words, "--size", "64", "--server", "x", "--face-model", "auraface") == 0
    (graph,) = server.graphs
    assert [c["lora_version"] for c in of_kind(graph, "LikenessLoadCharacter")] == [0, 2]
    samplers = of_kind(graph, "KSampler")
    assert [s["seed"] for s in samplers] == [7, 8, 9] * 4 and {s["steps"] for s in samplers} == {2}
    texts = [p["text"] for p in of_kind(graph, "LikenessCharacterPrompt")]
    assert texts == ["red hat", "blue"] * 2
    (compared,) = of_kind(graph, "LikenessCompareVersions")
    assert (compared["version"], compared["seeds"], compared["face_model"]) == (2, "7, 8, 9", "auraface")
    assert "write" not in compared and graph[compared["character"][0]]["inputs"]["lora_version"] == 0


def test_each_batch_holds_pictures_of_its_own_way_in_the_same_order() -> None:
    graph = compare_versions(Files(), Trial(5, (1, 2), ("a", "b")), Overrides(width=64, height=64))

    def way(link: list[Any]) -> list[tuple[int, int]]:
        node = graph[link[0]]
        if node["class_type"] == "ImageBatch":
            return [*way(node["inputs"]["image1"]), *way(node["inputs"]["image2"])]
        sampler = graph[node["inputs"]["samples"][0]]["inputs"]
        applied = graph[sampler["model"][0]]["inputs"]
        words = graph[graph[sampler["positive"][0]]["inputs"]["text"][0]]["inputs"]
        steps = graph[sampler["steps"][0]]["inputs"]
        versions = {graph[n["character"][0]]["inputs"]["lora_version"] for n in (applied, words, steps)}
        assert len(versions) == 1, "model, prompt and sampling are of one way"
        return [(versions.pop(), sampler["seed"])]

    node = graph[compare_node(graph)]["inputs"]
    assert way(node["present"]) == [(0, 1), (0, 2)] * 2 and way(node["candidate"]) == [(5, 1), (5, 2)] * 2


def test_exit_status_says_whether_it_is_better(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("compare", "ada_ray", "--version", "1", "--server", "x")
    serve(monkeypatch, {"switched": False, "verdict": "faceid_only stays: version 1 does not take over"})
    assert call(*words) == 1
    server = serve(monkeypatch, {"switched": False, "verdict": "Version 1 would take over from faceid_only"})
    assert call(*words, "--report-only") == 0
    assert of_kind(server.graphs[0], "LikenessCompareVersions")[0]["write"] == "only report"


def test_what_cannot_be_compared_is_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, None)
    with pytest.raises(ServerError, match="showed nothing"):
        call("compare", "ada_ray", "--version", "1", "--server", "x")
    with pytest.raises(LikenessError, match="Say which version"):
        call("compare", "ada_ray", "--server", "x")
    with pytest.raises(LikenessError, match="take 1 to 64 seeds"):
        call("compare", "ada_ray", "--version", "1", "--server", "x", "--seeds", "0")
    with pytest.raises(LibraryError, match="has none: register one"):
        call("compare", "ada_ray")


def test_the_newest_of_several_that_wait_is_drawn_and_compared(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for seed in (1, 2, 3):
        call(
            "register", str(lora_file(tmp_path / f"{seed}.safetensors", seed=seed, told=ADA)), "--character", "ada_ray"
        )
    drawn: list[int] = []

    def on_own_server(arguments: Any, slug: str, number: int, places: Places) -> dict[str, Any]:
        drawn.append(number)
        return {"text": [""], "likeness_comparison": [BETTER]}

    monkeypatch.setattr(loras, "_on_own_server", on_own_server)
    assert call("compare", "ada_ray") == call("compare", "ada_ray", "--version", "2") == 0
    assert drawn == [3, 2]


def test_a_name_of_300_letters_is_no_file(call: Call) -> None:
    with pytest.raises(ModelMissingError, match="is not in models/loras"):
        call("register", "a" * 300, "--character", "ada_ray")


def test_without_a_comfyui_it_says_so(call: Call, tmp_path: Path) -> None:
    call("register", str(lora_file(tmp_path / "a.safetensors", told=ADA)), "--character", "ada_ray")
    with pytest.raises(LikenessError, match="Comparing needs a ComfyUI"):
        call("compare", "ada_ray")
