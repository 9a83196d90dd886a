"""`likeness generate` against a server that only pretends to draw."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the pretended server needs it")

from likeness.cli.generating import SOME_MISSING, STOPPED, add_generate
from likeness.cli.graphs import Overrides
from likeness.cli.graphs_scene import Drawing, scene_graph
from likeness.cli.places import places_of
from likeness.errors import LikenessError, LoraError, ModelMissingError
from likeness.inject import Insert, read_workflow
from likeness.inject.saved import load_workflow, save_workflow
from likeness.library import Library
from likeness.lora_registry import RegistryEntry, update_registry
from likeness.lora_stack import StackEntry
from likeness.profile import BaseSettings, NamedCheckpoint
from likeness.projects import new_project
from likeness.remote import UnfitError
from likeness.remote.folder import requests_in
from likeness.scenes.metadata import with_texts
from likeness.scenes.scene import Scene

from ..conftest import ROOT
from ..unit.inject.graphs import plain
from ..unit.remote.pretended_comfy import Graph, PretendedComfy, png
from .test_commands import PICTURES, SMILE, Call, call, face_folder  # noqa: F401  fixtures

STRANGER = ROOT / "sample" / "pictures" / "tomas_reed.png"
BETWEEN = "0.52"  # the stand-in face model gives .530 to her own picture and .513 to somebody else's
LORAS = ["town.safetensors", "smile.safetensors"]


def info() -> dict[str, Any]:
    """What a server with all that a scene needs tells of its nodes."""
    numbers = Overrides(steps=1, cfg=1.0, sampler="s", scheduler="s", width=64, height=64)
    whole = Drawing("mara", "a", vae="v", numbers=numbers)
    nodes = scene_graph(whole, Scene(name="a", seed=1, prompt=""), [StackEntry("x", 1.0, 1.0)])
    told: dict[str, Any] = {
        n["class_type"]: {
            "input": {"required": {name: ["*"] for name in n["inputs"]}},
            "output": ["*"] * 7,
            "output_node": n["class_type"] == "SaveImage",
        }
        for n in nodes.values()
    }
    told["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [["a.safetensors", "b.safetensors"]]
    told["LoraLoader"]["input"]["required"]["lora_name"] = [LORAS]
    told["KSampler"]["input"]["required"] |= {
        "sampler_name": [["euler", "dpmpp_2m"]],
        "steps": ["INT", {"min": 1, "max": 100}],
        "seed": ["INT", {"min": 0, "max": 2**64 - 1}],
    }
    return told


def sampler(graph: Graph) -> dict[str, Any]:
    return next(n["inputs"] for n in graph.values() if n["class_type"] == "KSampler")


class Generate:
    """Runs the command on pretended servers and reads what it left."""

    def __init__(self, server: PretendedComfy, where: argparse.Namespace, tmp_path: Path) -> None:
        self.server, self.out, self.library = server, tmp_path / "out", Library((Path(where.library),))
        self._places = places_of(where)

    def __call__(self, *words: Any, name: str | None = "mara") -> int:
        commands = argparse.ArgumentParser().add_subparsers()
        parser = add_generate(lambda name, function, text: commands.add_parser(name))
        judging = {"threshold": None, "second": None, "face_model": "", "provider": "cpu", "backend": "likeness"}
        parser.set_defaults(**judging, measure_drawn=True, json=False, verbose=False)
        parser.add_argument("--json", action="store_true")
        parser.add_argument("--threshold", type=float)
        servers = [] if "--server" in words else ["--server", self.server.url]
        out = [] if "--out" in words else ["--out", str(self.out)]
        from likeness.cli.generating import generate_pictures

        called = parser.parse_args([*([name] if name else []), *map(str, words), *servers, *out])
        return generate_pictures(called, self._places)

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.out / "manifest.json").read_text(encoding="utf-8"))

    @property
    def graphs(self) -> list[Graph]:
        return [request["graph"] for request in requests_in(self.out)]


@pytest.fixture
def server() -> Iterator[PretendedComfy]:
    running = PretendedComfy().start()
    running.info = info()
    yield running
    running.stop()


@pytest.fixture
def generate(server: PretendedComfy, call: Call, face_folder: Path, tmp_path: Path) -> Generate:  # noqa: F811
    code, _, problem = call("create", "Mara", *PICTURES, "--trigger", "mara")
    assert code == 0, problem
    where = argparse.Namespace(library=str(tmp_path / "library"), face_models=str(face_folder))
    return Generate(server, where, tmp_path)


DRAW = ("--checkpoint", "a.safetensors")


def test_a_prompt_becomes_pictures_a_table_and_a_manifest(
    generate: Generate, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate("--prompt", "in a sunny park", "--n", 3, *DRAW) == 0
    out, err = capsys.readouterr()
    told = generate.manifest
    assert told["drawn"] == 3 and [r["prompt"] for r in told["pictures"]] == ["mara, in a sunny park"] * 3
    assert len({r["seed"] for r in told["pictures"]}) == 3
    assert out.splitlines()[0].split() == ["scene", "seed", "likeness", "file"] and "3 of 3 scenes drawn" in out
    assert all(r["score"]["verdict"] == "not measurable" for r in told["pictures"])
    assert len([line for line in err.splitlines() if line.startswith("in_a_sunny_park")]) == 3


def test_what_scores_need_is_asked_for_before_anything_is_drawn(
    generate: Generate, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert generate("--prompt", "x", *DRAW) == 0
    assert "Nothing is scored: onnxruntime cannot be loaded" in capsys.readouterr().err
    assert generate.manifest["pictures"][0]["score"] is None
    with pytest.raises(ModelMissingError, match="pip install onnxruntime"):
        generate("--prompt", "y", "--best-of", 2, *DRAW)


def test_json_is_all_that_a_program_reads(generate: Generate, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--prompt", "x", "--json", "--no-score", *DRAW) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.pop("folder") == str(generate.out) and told == generate.manifest
    assert told["pictures"][0]["score"] is None


def test_more_pictures_keep_those_that_are_there(generate: Generate) -> None:
    generate("--prompt", "x", "--n", 2, "--no-score", *DRAW)
    before = generate.manifest["pictures"]
    generate("--prompt", "x", "--n", 4, "--no-score", *DRAW)
    assert generate.manifest["pictures"][:2] == before and sum(generate.server.drawn.values()) == 4


@pytest.mark.parametrize(("mode", "scenes"), [("outfit", 5), ("pose", 5), ("sheet", 10), ("random", 5)])
def test_variations_are_drawn(generate: Generate, mode: str, scenes: int) -> None:
    assert generate("--variation", mode, "--no-score", *DRAW) == 0
    rows = generate.manifest["pictures"]
    assert len(rows) >= scenes and len({r["scene"] for r in rows}) == len(rows) == len({r["prompt"] for r in rows})
    assert all(r["values"] for r in rows)


def test_best_of_keeps_the_one_that_is_accepted(generate: Generate, capsys: pytest.CaptureFixture[str]) -> None:
    tries: list[int] = []

    def picture(graph: Graph, about: str) -> bytes:
        tries.append(sampler(graph)["seed"])
        return (SMILE if len(tries) == 3 else STRANGER).read_bytes()

    generate.server.picture = picture
    assert generate("--prompt", "x", "--best-of", 5, "--threshold", BETWEEN, "--json", *DRAW) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(tries) == 3 and [r["chosen"] for r in told["pictures"]] == [False, False, True]
    assert told["pictures"][2]["score"]["verdict"] == "accepted" and told["accepted"] == 1
    assert (generate.out / told["pictures"][2]["file"]).read_bytes() == SMILE.read_bytes()
    assert [p.name for p in (generate.out / "pictures").iterdir()] == [Path(told["pictures"][2]["file"]).name]


def test_a_picture_is_made_again_with_the_same_bytes(
    generate: Generate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate("--prompt", "x", "--no-score", *DRAW)
    row = generate.manifest["pictures"][0]
    capsys.readouterr()
    source = f"{generate.out}/manifest.json#{row['scene']}"
    assert generate("--again", source, "--out", tmp_path / "a", "--json", "--no-score", name=None) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["same_bytes"] is True and told["pictures"][0]["sha256"] == row["sha256"]
    generate.server.picture = lambda graph, about: SMILE.read_bytes()
    assert generate("--again", source, "--out", tmp_path / "b", "--no-score", name=None) == 0
    assert "Not the same bytes" in capsys.readouterr().out


def test_a_picture_with_the_same_pixels_is_told_apart_from_another_one(
    generate: Generate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate.server.picture = lambda graph, about: with_texts(png("one"), {"prompt": "as a server told it"})
    generate("--prompt", "x", "--no-score", *DRAW)
    generate.server.picture = lambda graph, about: with_texts(png("one"), {"prompt": "after the profile has changed"})
    picture = next((generate.out / "pictures").iterdir())
    row = f"{generate.out}/manifest.json#{generate.manifest['pictures'][0]['scene']}"
    capsys.readouterr()
    assert generate("--again", row, "--out", tmp_path / "a", "--no-score", name=None) == 0
    assert f"The same picture as {picture.name}, not the same bytes" in capsys.readouterr().out


def test_exit_code_3_says_that_some_are_missing(generate: Generate, capsys: pytest.CaptureFixture[str]) -> None:
    generate.server.fails = lambda graph: "sizes do not match" if sampler(graph)["seed"] % 2 else ""
    assert generate("--prompt", "x", "--n", 8, "--no-score", *DRAW) == SOME_MISSING
    missing = generate.manifest["missing"]
    assert missing and all("sizes do not match" in row["reason"] for row in missing)
    assert f"not drawn: {missing[0]['reason']}" in capsys.readouterr().out


def test_exit_code_130_says_how_to_go_on(generate: Generate, capsys: pytest.CaptureFixture[str]) -> None:
    generate.server.seconds = 30.0

    def stop() -> None:
        import _thread

        while not generate.server.running:
            pass
        _thread.interrupt_main()

    threading.Thread(target=stop).start()
    assert generate("--prompt", "x", "--n", 3, "--no-score", *DRAW) == STOPPED
    assert "the same command goes on from there" in capsys.readouterr().err
    assert not generate.server.pending and len(generate.server.interrupted) == 1
    generate.server.seconds = 0.0
    assert generate("--prompt", "x", "--n", 3, "--no-score", *DRAW) == 0


# ---- checked before anything is queued


def test_everything_that_the_server_lacks_is_told_at_once(generate: Generate) -> None:
    with pytest.raises(UnfitError) as error:
        generate("--prompt", "x", "--checkpoint", "c.safetensors", "--sampler", "eulr", "--steps", 0)
    text = str(error.value)
    assert "ckpt_name is 'c.safetensors'" in text and "sampler_name is 'eulr'" in text and "euler" in text
    assert "steps is 0" in text and generate.server.asked["prompt"] == 0


def test_without_a_checkpoint_it_names_those_there_are(generate: Generate) -> None:
    with pytest.raises(
        LikenessError, match=r"No checkpoint is named: give --checkpoint.*a\.safetensors, b\.safetensors"
    ):
        generate("--prompt", "x")
    generate.server.info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [["only.safetensors"]]
    assert generate("--prompt", "x", "--no-score") == 0


def test_an_unknown_lora_is_answered_with_the_nearest_names(generate: Generate) -> None:
    with pytest.raises(LoraError, match=r"twon.*town"):
        generate("--prompt", "x", "--loras", "twon:0.7", *DRAW)
    assert generate.server.asked["prompt"] == 0


def test_an_unknown_character_variation_or_address_is_an_error(generate: Generate) -> None:
    with pytest.raises(LikenessError, match="ben"):
        generate("--prompt", "x", *DRAW, name="ben")
    with pytest.raises(SystemExit):
        generate("--variation", "hats", *DRAW)
    with pytest.raises(LikenessError, match="is no address of a server"):
        generate("--prompt", "x", "--server", "http://", "--no-score", *DRAW)
    with pytest.raises(LikenessError, match="Leave user name and password out"):
        generate("--prompt", "x", "--server", "http://me:secret@localhost", "--no-score", *DRAW)


def test_another_prompt_of_another_graph_does_not_mix(generate: Generate) -> None:
    generate("--prompt", "x", "--no-score", *DRAW)
    with pytest.raises(LikenessError, match="another graph: choose another folder with --out"):
        generate("--prompt", "x", "--no-score", "--checkpoint", "b.safetensors")


# ---- what it is drawn with


def test_loras_come_by_name_with_their_triggers_once(generate: Generate) -> None:
    entry = RegistryEntry(name="portorosso", file=LORAS[0], trigger="portorosso town", strength=0.7)
    update_registry(generate.library, lambda registry: registry.with_entry(entry))
    assert (
        generate("--prompt", "portorosso town at night", "--loras", "portorosso, smile:0.4", "--no-score", *DRAW) == 0
    )
    (graph,) = generate.graphs
    loras = [n["inputs"] for n in graph.values() if n["class_type"] == "LoraLoader"]
    assert [(x["lora_name"], x["strength_model"]) for x in loras] == [(LORAS[0], 0.7), (LORAS[1], 0.4)]
    texts = [n["inputs"]["text"] for n in graph.values() if n["class_type"] == "CLIPTextEncode"]
    assert texts[0].count("portorosso town") == 1


def test_a_project_decides_what_nobody_has_said(generate: Generate) -> None:
    new_project(
        generate.library,
        "Night City",
        checkpoint="b.safetensors",
        family="sd15",
        loras="town:0.5",
        style="neon light",
        negative="daylight",
        sampling={"steps": 7, "sampler": "dpmpp_2m", "width": 640},
    )
    assert generate("--prompt", "at a bar", "--project", "night_city", "--steps", 9, "--no-score") == 0
    (graph,) = generate.graphs
    (row,) = generate.manifest["pictures"]
    assert graph["1"]["inputs"]["ckpt_name"] == "b.safetensors"
    assert (sampler(graph)["steps"], sampler(graph)["sampler_name"]) == (9, "dpmpp_2m")
    assert "neon light, at a bar" in row["prompt"] and "daylight" in row["negative"]
    assert any(n["class_type"] == "LoraLoader" for n in graph.values())


def test_a_rating_needs_an_adult_however_the_checkpoint_is_named(generate: Generate) -> None:
    rated = NamedCheckpoint(file="b.safetensors", family="sd15", purpose="night", rating="mature")
    generate.library.update("mara", lambda p: p.model_copy(update={"checkpoints": {"night": rated}}))
    for asked in (("--route", "night", "--rating", "mature"), ("--checkpoint", "b.safetensors")):
        with pytest.raises(LikenessError, match="adult = true"):
            generate("--prompt", "x", "--no-score", *asked)
    generate.library.update("mara", lambda p: p.model_copy(update={"adult": True}))
    assert generate("--prompt", "x", "--no-score", "--route", "night", "--rating", "mature") == 0
    assert generate.graphs[0]["1"]["inputs"]["ckpt_name"] == "b.safetensors"


def test_a_workflow_keeps_its_own_settings(generate: Generate, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text("{}")
    with pytest.raises(LikenessError, match="--steps goes with our own graph"):
        generate("--workflow", path, "--steps", 3, "--no-score")
    with pytest.raises(LikenessError, match="There is no workflow"):
        generate("--workflow", tmp_path / "none.json", "--no-score")


def test_a_prompt_may_come_from_a_file(generate: Generate, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(" ".join(f"word{i}" for i in range(10_000)))
    assert generate("--prompt", f"@{tmp_path / 'long.txt'}", "--no-score", *DRAW) == 0
    assert generate.manifest["pictures"][0]["prompt"].endswith("word9999")


# ---- elsewhere, and what it leaves


def rows(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Of a manifest, apart from when and where each picture was drawn."""
    return [{k: v for k, v in row.items() if k not in ("server", "prompt_id", "date")} for row in manifest["pictures"]]


def test_ray_gives_the_same_manifest(
    generate: Generate, server: PretendedComfy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'likeness[ray]'")
    server.picture = lambda graph, about: (SMILE if sampler(graph)["seed"] % 2 else STRANGER).read_bytes()
    asked = ("--prompt", "x", "--n", 3, "--best-of", 2, "--threshold", BETWEEN, *DRAW)
    here = generate(*asked)
    told = generate.manifest
    monkeypatch.setattr(generate, "out", tmp_path / "far")
    monkeypatch.setattr(generate, "_places", replace(generate._places, cache=tmp_path / "far cache"))
    assert generate(*asked, "--ray", "local") == here
    assert rows(generate.manifest) == rows(told) and told["accepted"]
    assert list((tmp_path / "far cache").rglob("*.*"))


def test_pictures_of_a_saved_workflow_are_counted_there_once(generate: Generate) -> None:
    server, library = generate.server, generate.library
    server.info = {}
    save_workflow(library, "Castle", read_workflow(plain()), Insert("mara"))
    assert load_workflow(library, "castle").runs == 0
    asked = ("--workflow", "Castle", "--prompt", "x", "--n", 3, "--no-score", "--no-check")
    assert generate(*asked) == 0
    after = load_workflow(library, "castle")
    assert after.runs == 3 and after.last_run.endswith("+00:00")
    assert generate(*asked) == 0  # nothing new is drawn
    assert load_workflow(library, "castle").runs == 3
    server.fails = lambda graph: "no"
    assert generate("--workflow", "Castle", "--prompt", "y", "--no-score", "--no-check") == SOME_MISSING
    assert load_workflow(library, "castle") == after


@pytest.mark.parametrize("asked", [DRAW, ()], ids=["named", "the only one"])
def test_the_family_is_that_of_the_checkpoints_header_where_nobody_says_it(
    generate: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...]
) -> None:
    generate.library.update("mara", lambda p: p.model_copy(update={"base": {"sd15": BaseSettings()}}))
    generate.server.info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [["a.safetensors"]]
    monkeypatch.setattr(type(generate._places), "family_of", lambda places, model: {"a.safetensors": "sdxl"}.get(model))
    assert generate("--prompt", "x", "--no-score", *asked) == 0
    told = generate.manifest
    assert told["settings"]["family"] == told["settings"]["route"]["family"] == "sdxl"
    assert told["pictures"][0]["drawn_with"]["family"] == "sdxl"


def test_the_manifest_tells_what_each_picture_was_drawn_with(generate: Generate) -> None:
    generate.library.update("mara", lambda p: p.model_copy(update={"base": {"sd15": BaseSettings()}}))
    said = ("--steps", 9, "--cfg", 6.5, "--sampler", "euler", "--scheduler", "simple", "--size", "512x640")
    assert generate("--prompt", "x", "--loras", "smile:0.4", "--method", "faceid_only", "--no-score", *said, *DRAW) == 0
    (row,) = generate.manifest["pictures"]
    assert row["drawn_with"] == {
        "checkpoint": "a.safetensors", "family": "sd15", "method": "faceid_only", "adapter": "auto",
        "strengths": {"source": "profile"}, "loras": [{"file": LORAS[1], "model": 0.4, "clip": 0.4}],
        "steps": 9, "cfg": 6.5, "sampler": "euler", "scheduler": "simple", "width": 512, "height": 640,
    }  # fmt: skip
    assert generate.manifest["settings"]["family"] == "sd15" and row["date"]
