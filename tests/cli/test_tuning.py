"""`likeness tune`: the graph that its options make, and what it does with the answer. No ComfyUI is started."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from likeness.cli import tuning
from likeness.cli.graphs import ApiGraph, Files, Overrides
from likeness.cli.graphs_tune import TUNE, VALUES, Sweep, filled, tune
from likeness.errors import LikenessError, ServerError
from likeness.library import Library

WON = {"text": ["Winner: lora 0.8", "table"], "likeness_sweep": [{"winner": {"cell": {"lora": 0.8}}, "cells": []}]}
Call = Callable[..., int]


class FakeServer:
    """A QueueClient that answers at once."""

    graphs: list[ApiGraph]

    def __init__(self, shown: dict[str, Any] = WON, checkpoints: tuple[str, ...] = ("model.ckpt",)) -> None:
        self.graphs, self._shown, self._checkpoints, self.urls = [], shown, list(checkpoints), []

    def __call__(self, url: str) -> FakeServer:
        self.urls.append(url)
        return self

    def object_info(self) -> dict[str, Any]:
        combo = ["COMBO", {"options": self._checkpoints}]
        return {"CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": combo}}}}

    def fetch(self, image: dict[str, str]) -> bytes:
        raise ServerError("404")

    def run(self, graph: ApiGraph, seconds: float, waiting: Callable[[float], None]) -> Any:
        waiting(0.1)
        self.graphs.append(graph)
        node = next(i for i, n in graph.items() if n["class_type"] == TUNE)
        return SimpleNamespace(outputs={"1": {"text": ["other"]}, f"{node}.0.0.33": self._shown})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer()
    monkeypatch.setattr(tuning, "QueueClient", fake)
    return fake


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    tuning.add_tune_options(parser)
    return parser.parse_args(words)


@pytest.fixture
def places(tmp_path: Path) -> Any:
    """With an empty library."""
    return SimpleNamespace(library=lambda: Library([tmp_path / "library"]))


@pytest.fixture
def call(server: FakeServer, places: Any) -> Call:
    return lambda *words: tuning.tune_character(parsed(*words, "--server", "http://x"), places)


def inputs(graph: ApiGraph, kind: str) -> dict[str, Any]:
    return next(node["inputs"] for node in graph.values() if node["class_type"] == kind)


def test_options_reach_the_nodes(call: Call, server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--lora", "0.4:1.0:4", "--faceid-v2", "1,2", "--seeds", "3", "--seed", "7", "--prompt", "red\nhat")
    more = ("--prompt", "blue", "--write", "--full", "--variety-bound", "0.5", "--measure-drawn", "--steps", "2")
    assert call("Ada Ray", *words, *more, "--size", "64") == 0
    (graph,) = server.graphs
    values, chosen = inputs(graph, VALUES), inputs(graph, TUNE)
    assert values == {"lora": "0.4:1.0:4", "faceid_weight": "", "faceid_weight_v2": "1,2", "start": "", "seed": 7,
                      "seeds": 3, "prompts": "red hat\nblue"}  # fmt: skip
    assert (chosen["mode"], chosen["write"]) == ("full", "write the winner into the profile")
    assert (chosen["variety_bound"], chosen["drawn_faces"], chosen["name"]) == (0.5, "measure", "strengths")
    assert inputs(graph, "LikenessLoadCharacter") == {"character": "ada_ray", "lora_version": 0}
    assert inputs(graph, "KSampler")["steps"] == 2 and inputs(graph, "EmptyLatentImage")["width"] == 64
    assert capsys.readouterr().out == "Winner: lora 0.8\n\ntable\n"


def test_without_strengths_the_nodes_own_are_swept(call: Call, server: FakeServer) -> None:
    call("ada")
    assert inputs(server.graphs[0], VALUES) == {}


def test_lora_files_alone_are_ranked_without_other_axes(call: Call, server: FakeServer) -> None:
    call("ada", "--lora-file", "a.safetensors", "b.safetensors")
    values = inputs(server.graphs[0], VALUES)
    assert values["lora_files"] == "a.safetensors\nb.safetensors" and values["lora"] == values["faceid_weight"] == ""


def test_the_prompt_score_has_encoders_of_its_own(call: Call, server: FakeServer) -> None:
    call("ada", "--clip", "clip_l.safetensors", "--clip-vision", "vit.safetensors")
    graph = server.graphs[0]
    chosen = inputs(graph, TUNE)
    assert graph[chosen["clip"][0]]["inputs"]["clip_name"] == "clip_l.safetensors"
    assert graph[chosen["clip_vision"][0]]["inputs"]["clip_name"] == "vit.safetensors"


def test_every_link_of_the_graph_leads_to_a_node() -> None:
    graph = tune(Files("model.ckpt", "ada"), Sweep(clip="a", clip_vision="b"), Overrides())
    links = [v for node in graph.values() for v in node["inputs"].values() if isinstance(v, list)]
    assert links and all(link[0] in graph for link in links)


def test_json_is_the_report_and_no_winner_is_exit_code_1(
    places: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = FakeServer({"text": ["No winner"], "likeness_sweep": [{"winner": None}]})
    monkeypatch.setattr(tuning, "QueueClient", nobody)
    words = parsed("ada", "--server", "http://x", "--json")
    assert tuning.tune_character(words, places) == 1
    assert json.loads(capsys.readouterr().out) == {"winner": None}


def test_of_several_checkpoints_one_must_be_named(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "QueueClient", FakeServer(checkpoints=("a.ckpt", "b.ckpt")))
    with pytest.raises(LikenessError, match="by --checkpoint; there are: a"):
        call("ada")
    assert call("ada", "--checkpoint", "b.ckpt") == 0


def test_a_server_without_the_node_is_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "QueueClient", FakeServer({"text": []}))
    with pytest.raises(ServerError, match="Tune Strengths showed nothing"):
        call("ada")


# ---- a graph of the user's own


def test_a_graph_of_ones_own_keeps_what_is_not_said(call: Call, server: FakeServer, tmp_path: Path) -> None:
    own = tune(Files("own.ckpt", "somebody"), Sweep({"lora": "0.1,0.2", "seeds": 2}, {"name": "mine"}), Overrides())
    file = tmp_path / "own.json"
    file.write_text(json.dumps(own), encoding="utf-8")
    call("ada", "--graph", str(file), "--seeds", "5")
    (graph,) = server.graphs
    assert inputs(graph, VALUES) == {"lora": "0.1,0.2", "seeds": 5} and inputs(graph, TUNE)["name"] == "mine"
    assert inputs(graph, "LikenessLoadCharacter") == {"character": "ada", "lora_version": 0}
    assert inputs(graph, "CheckpointLoaderSimple") == {"ckpt_name": "own.ckpt"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "is no workflow"),
        ('{"nodes": [], "links": []}', "Export \\(API\\)"),
        ('{"1": {"class_type": "KSampler", "inputs": {}}}', "holds 0 nodes LikenessSweepValues"),
    ],
)
def test_a_file_that_is_no_such_graph_is_refused(call: Call, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "graph.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(LikenessError, match=words):
        call("ada", "--graph", str(file))


def test_a_graph_with_two_sweeps_is_refused() -> None:
    graph = tune(Files("m", "ada"), Sweep(), Overrides())
    twice = {**graph, "99": next(n for n in graph.values() if n["class_type"] == VALUES)}
    with pytest.raises(LikenessError, match="holds 2 nodes"):
        filled(twice, "ada", Sweep())


# ---- progress


def test_progress_of_an_earlier_sweep_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [{"done": 9, "of": 9, "now": "done"}]
    client = SimpleNamespace(fetch=lambda file: json.dumps(told[0]).encode())
    monkeypatch.setattr(tuning.sys.stderr, "isatty", lambda: True, raising=False)
    progress = tuning._Progress(client, "ada", "strengths")  # type: ignore[arg-type]
    progress(1.0)
    assert "9 of 9" not in capsys.readouterr().err
    told[0] = {"done": 1, "of": 46, "now": "lora 0.4"}
    progress._next = 0.0
    progress(2.0)
    assert "1 of 46 pictures, lora 0.4" in capsys.readouterr().err


def test_without_a_comfyui_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(get=lambda slug: None)
    places = SimpleNamespace(comfy=None, library=lambda: library)
    with pytest.raises(LikenessError, match="give its address with --server"):
        tuning.tune_character(parsed("ada"), places)  # type: ignore[arg-type]
