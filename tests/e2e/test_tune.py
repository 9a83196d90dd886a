"""A sweep in a real ComfyUI: halving, resuming after a kill, writing the winner, ranking LoRA files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from likeness.cli.comfy import ComfyServer
from likeness.cli.commands import run
from likeness.cli.graphs import ApiGraph, Files, Overrides
from likeness.cli.graphs_tune import Sweep, tune, tune_node
from likeness.errors import ServerError
from likeness.library import Library
from likeness.remote.client import QueueClient
from likeness.sweep.plan import plan_of
from likeness.sweep.score import cost

from .conftest import CPU, ONE_THREAD, Running, make_base
from .graph_parts import add
from .test_graphs import STANDIN, graph

LORA = "mara_voss_sd15.safetensors"
VALUES = {"lora": "0.4,0.8,1.2", "faceid_weight": "0.2,0.6,1", "seeds": 4, "prompts": "in a park"}


@pytest.fixture(scope="module")
def tuned(server: Running) -> str:
    """A character with a LoRA."""
    made = {"LikenessCreateCharacter.name": "Tuned", "LikenessCreateCharacter.lora": LORA}
    server.run(graph("create_character", **made))
    return "tuned"


def sweep_graph(character: str, name: str, values: dict[str, Any] | None = None, **tuning: Any) -> ApiGraph:
    """Stand-ins draw too smoothly to be measured, so each picture is laid over a photo."""
    chosen = {"name": name, "face_model": "standin", "drawn_faces": "measure", **tuning}
    files = Files(STANDIN["sd15"], character)
    nodes = tune(files, Sweep({**VALUES, **(values or {})}, chosen), Overrides(1, 128, 128))
    given = nodes[tune_node(nodes)]["inputs"]
    photo = add(nodes, "LoadImage", image="photo_2.png")
    laid = {"image1": given["image"], "image2": photo, "blend_factor": 0.6, "blend_mode": "normal"}
    given["image"] = add(nodes, "ImageBlend", **laid)
    return nodes


def shown(server: Running, nodes: ApiGraph) -> dict[str, Any]:
    outputs = server.run(nodes).outputs
    node = tune_node(nodes)
    return next(v for k, v in outputs.items() if k.split(".")[0] == node and "likeness_sweep" in v)


def folder_of(base: Path, values: dict[str, Any]) -> Path:
    return base / "output" / values["folder"]


def pictures(folder: Path) -> dict[str, int]:
    """When each picture was written, ns."""
    return {p.stem: p.stat().st_mtime_ns for p in (folder / "pictures").glob("*.png")}


def test_a_sweep_is_drawn_by_halves_and_reported(server: Running, tuned: str) -> None:
    told = shown(server, sweep_graph(tuned, "first"))
    (values,) = told["likeness_sweep"]
    plan = plan_of({k: str(VALUES[k]) for k in ("lora", "faceid_weight")}, seed=1, seeds=4)
    assert values["pictures"] == cost(plan) == 17 and values["full_grid"] == 36
    folder = folder_of(server.base, values)
    assert len(pictures(folder)) == 17
    assert {p.name for p in folder.iterdir()} == {"pictures", "sweep.json", "table.csv", "heat_map.png", "report.json"}
    assert json.loads((folder / "report.json").read_bytes()) == values
    assert values["checkpoint"] == STANDIN["sd15"] and values["face_model"] == "standin"
    assert values["control"]["cell"] == {"lora": 0.4, "faceid_weight": 0.2} and values["control"]["seeds"] == 4
    assert told["images"], "the heat map is shown"
    assert sum(cell["seeds"] == 4 for cell in values["cells"]) == values["finalists"] == 2
    assert len({(folder / "pictures" / f"{stem}.png").read_bytes() for stem in pictures(folder)}) == 17


def test_the_same_sweep_again_draws_nothing(server: Running, tuned: str) -> None:
    before = shown(server, sweep_graph(tuned, "again"))["likeness_sweep"][0]
    there = pictures(folder_of(server.base, before))
    server.forget()
    server.opened()
    after = shown(server, sweep_graph(tuned, "again"))["likeness_sweep"][0]
    assert after == before and pictures(folder_of(server.base, after)) == there
    assert "torch.load" not in server.opened(), "not even the checkpoint is loaded"


def test_a_larger_plan_draws_what_is_new_and_another_step_count_all(server: Running, tuned: str) -> None:
    small = shown(server, sweep_graph(tuned, "grows", {"lora": "0.4,0.8", "faceid_weight": "", "seeds": 1}))
    folder = folder_of(server.base, small["likeness_sweep"][0])
    there = pictures(folder)
    assert len(there) == 2
    large = shown(server, sweep_graph(tuned, "grows", {"lora": "0.4,0.6,0.8", "faceid_weight": "", "seeds": 1}))
    after = pictures(folder_of(server.base, large["likeness_sweep"][0]))
    assert len(after) == 3 and there.items() <= after.items()
    other = sweep_graph(tuned, "grows", {"lora": "0.4,0.8", "faceid_weight": "", "seeds": 1})
    next(n for n in other.values() if n["class_type"] == "KSampler")["inputs"]["steps"] = 2
    assert folder_of(server.base, shown(server, other)["likeness_sweep"][0]) != folder


def test_the_winner_is_written_and_then_drawn_with(server: Running, tuned: str) -> None:
    write = {"write": "write the winner into the profile", "prompt_bound": 1.0, "variety_bound": 1.0}
    nodes = sweep_graph(tuned, "write", {"lora": "0.5,1", "faceid_weight": "0.3", "seeds": 2}, **write)
    (values,) = shown(server, nodes)["likeness_sweep"]
    settings = Library([server.characters]).get(tuned).settings("sd15")
    won = values["winner"]["cell"]
    assert settings.strengths.source == "swept" and settings.strengths.lora_clip == won["lora"]
    assert (settings.strengths.lora_model, settings.strengths.faceid_weight) == (won["lora"], won["faceid_weight"])
    assert settings.sweep is not None and settings.sweep.folder == values["folder"]
    assert settings.sweep.likeness == values["winner"]["likeness"] and settings.sweep.face_model == "standin"
    assert settings.sweep.conditioned, "the stand-in model is the one the character was made with"
    there = pictures(folder_of(server.base, values))
    again = shown(server, nodes)["likeness_sweep"][0]
    assert pictures(folder_of(server.base, again)) == there, "its own result does not make a sweep start anew"
    profile = (server.characters / tuned / "profile.toml").read_bytes()
    shown(server, nodes)
    assert (server.characters / tuned / "profile.toml").read_bytes() == profile
    drawn = graph("portrait", **{"LikenessLoadCharacter.character": tuned, "KSampler.steps": 1})
    drawn["99"] = {"class_type": "PreviewAny", "inputs": {"source": ["3", 2]}}
    report = server.run(drawn).outputs["99"]["text"][0]
    assert "strengths from swept" in report and f"model {won['lora']:g}" in report


def test_lora_files_are_ranked(server: Running, tuned: str) -> None:
    loras = server.base / "models" / "loras"
    for epoch in (4, 8):
        shutil.copy(loras / LORA, loras / f"run-00000{epoch}.safetensors")
    files = "run-000004.safetensors\nrun-000008.safetensors"
    values = {"lora": "0.8", "faceid_weight": "", "lora_files": files, "seeds": 2}
    (told,) = shown(server, sweep_graph(tuned, "epochs", values, mode="full"))["likeness_sweep"]
    assert [c["cell"]["lora_file"] for c in told["cells"]] == files.splitlines(), "equal files: the first one wins"
    assert told["cells"][0]["likeness"] == told["cells"][1]["likeness"]
    assert told["winner"]["cell"]["lora_file"] == "run-000004.safetensors"


def test_numbers_can_be_wired_to_any_node(server: Running, tuned: str) -> None:
    """Sliders of Apply Character's custom strengths, by links, instead of its sweep input."""
    nodes = sweep_graph(tuned, "wired", {"lora": "0.2,1.5", "faceid_weight": "0.1", "seeds": 1})
    applied = next(n for n in nodes.values() if n["class_type"] == "LikenessApplyCharacter")
    source = applied["inputs"].pop("sweep")[0]
    with pytest.raises(ServerError, match="does not depend on lora, faceid_weight of Sweep Values"):
        server.run(nodes)
    applied["inputs"] |= {
        "strengths": "custom",
        "strengths.lora_model": [source, 1],
        "strengths.lora_clip": [source, 1],
        "strengths.faceid_weight": [source, 2],
    }
    (told,) = shown(server, nodes)["likeness_sweep"]
    folder = folder_of(server.base, told)
    assert len({(folder / "pictures" / f"{stem}.png").read_bytes() for stem in pictures(folder)}) == 2


def test_an_image_encoder_measures_variety_and_a_clip_that_is_no_half_of_it_is_told(
    server: Running, tuned: str
) -> None:
    nodes = sweep_graph(tuned, "seen", {"lora": "0.5", "faceid_weight": "", "seeds": 2})
    encoder = sorted(p.name for p in (server.base / "models" / "clip_vision").glob("CLIP*"))[0]
    given = nodes[tune_node(nodes)]["inputs"]
    checkpoint = next(i for i, n in nodes.items() if n["class_type"] == "CheckpointLoaderSimple")
    given["clip"], given["clip_vision"] = [checkpoint, 1], add(nodes, "CLIPVisionLoader", clip_name=encoder)
    (told,) = shown(server, nodes)["likeness_sweep"]
    assert told["variety_measure"].startswith("variety by clip") and told["control"]["variety"] is not None
    assert told["conditions_not_asked"] == ["prompt score"]
    assert any(note.startswith("No prompt score. The image encoder projects to") for note in told["notes"])


def test_sweep_values_alone_draws_the_picture_of_its_index(server: Running, tuned: str) -> None:
    nodes = sweep_graph(tuned, "alone")
    del nodes[tune_node(nodes)]
    decode = next(i for i, n in nodes.items() if n["class_type"] == "VAEDecode")
    nodes["50"] = {"class_type": "PreviewImage", "inputs": {"images": [decode, 0]}}
    first = server.picture(server.run(nodes), "50")
    next(n for n in nodes.values() if n["class_type"] == "LikenessSweepValues")["inputs"]["index"] = 8
    assert (server.picture(server.run(nodes), "50") != first).any()


MISTAKES = {
    "no strength": ({"lora": "strong"}, {}, "'strong' is no strength"),
    "too many": ({"lora": "0:1:20", "faceid_weight": "0:1:20", "seeds": 20}, {}, "8000 pictures"),
    "missing LoRA": ({"lora_files": "gone.safetensors"}, {}, "gone.safetensors' is not in models/loras"),
    "name is a path": ({}, {"name": "../evil"}, "looks like a path"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_before_anything_is_drawn(server: Running, tuned: str, case: str) -> None:
    values, tuning, words = MISTAKES[case]
    with pytest.raises(ServerError, match=words):
        server.run(sweep_graph(tuned, "mistake", values) if not tuning else sweep_graph(tuned, **tuning))
    assert not list(server.base.rglob("evil*"))


def test_a_strength_that_the_method_does_not_use_is_refused(server: Running) -> None:
    server.run(graph("create_character", **{"LikenessCreateCharacter.name": "Plain Face"}))
    with pytest.raises(ServerError, match="The sweep varies lora, which method faceid_only does not use"):
        server.run(sweep_graph("plain_face", "idle"))


def test_several_pictures_at_once_are_refused(server: Running, tuned: str) -> None:
    nodes = sweep_graph(tuned, "batch")
    next(n for n in nodes.values() if n["class_type"] == "EmptyLatentImage")["inputs"]["batch_size"] = 2
    with pytest.raises(ServerError, match="set the batch size to 1"):
        server.run(nodes)


def test_the_command_tunes_through_a_running_server(
    server: Running, tuned: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tune", tuned, "--server", server.url, "--lora", "0.3,0.9", "--seeds", "1", "--prompt", "in a park"]
    words += ["--checkpoint", STANDIN["sd15"], "--steps", "1", "--size", "128", "--face-model", "standin", "--json"]
    run([*words, "--sweep-name", "by command", "--library", str(server.characters)])
    told = json.loads(capsys.readouterr().out)
    assert told["pictures"] == 2 and told["folder"].startswith("likeness/sweeps/tuned/by_command-")
    assert len(pictures(folder_of(server.base, told))) == 2


# ---- killed half-way


@pytest.fixture
def own_base(tmp_path: Path, comfy_path: Path) -> Path:
    pytest.importorskip("av", reason="ComfyUI's requirements are not installed for this Python")
    return make_base(tmp_path / "comfyui")


class Started:
    """A server of a test's own, which it may kill."""

    def __init__(self, comfy: Path, base: Path) -> None:
        self._server = ComfyServer(comfy, Path(sys.executable), base, CPU, ONE_THREAD)

    def __enter__(self) -> Started:
        self._server.__enter__()
        self.client = QueueClient(self._server.url)
        return self

    def kill(self) -> None:
        assert self._server._process is not None
        os.kill(self._server._process.pid, signal.SIGKILL)
        self._server._process.wait()

    def __exit__(self, *error: Any) -> None:
        self._server.__exit__(None, None, None)


@pytest.fixture
def started(comfy_path: Path, own_base: Path) -> Iterator[Started]:
    with Started(comfy_path, own_base) as first:
        yield first


@pytest.mark.skipif(os.name == "nt", reason="kills by signal")
def test_a_killed_server_is_started_again_and_draws_only_what_is_missing(
    started: Started, comfy_path: Path, own_base: Path
) -> None:
    made = {"LikenessCreateCharacter.name": "Tuned", "LikenessCreateCharacter.lora": LORA}
    started.client.run(graph("create_character", **made))
    nodes = sweep_graph("tuned", "killed")
    started.client.queue(nodes)
    begun = time.monotonic()
    while len(found := list(own_base.glob("output/likeness/sweeps/tuned/killed-*/pictures/*.png"))) < 7:
        assert time.monotonic() - begun < 120, "nothing was drawn"
        time.sleep(0.05)
    started.kill()
    folder = found[0].parents[1]
    there = pictures(folder)
    assert 7 <= len(there) < 17
    with Started(comfy_path, own_base) as second:
        outputs = second.client.run(nodes, 280).outputs
        (values,) = next(v for v in outputs.values() if "likeness_sweep" in v)["likeness_sweep"]
    assert folder_of(own_base, values) == folder and values["pictures"] == 17
    after = pictures(folder)
    assert len(after) == 17 and there.items() <= after.items(), "a picture was drawn twice"
