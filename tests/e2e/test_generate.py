"""`likeness generate` against a real ComfyUI, which is killed on the way."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from likeness.cli import comfy as comfy_module
from likeness.cli.comfy import ComfyServer
from likeness.cli.generating import add_generate
from likeness.cli.places import places_of
from likeness.remote import QueueClient
from likeness.remote.checks import NodeClasses
from likeness.remote.folder import requests_in
from likeness.remote.progress import Listener, Told

from .conftest import CPU, ONE_THREAD, ROOT, make_base
from .test_graphs import API_GRAPHS, STANDIN, graph

SMALL = ["--checkpoint", STANDIN["sd15"], "--steps", "1", "--size", "64x64", "--sampler", "euler", "--cfg", "2"]


class Mortal:
    """A server of our own that can be killed, and started again at the same address."""

    def __init__(self, comfy: Path, base: Path, patch: pytest.MonkeyPatch) -> None:
        self._make = lambda: ComfyServer(comfy, Path(sys.executable), base, CPU, ONE_THREAD)
        self._patch, self.base = patch, base
        self._server = self._make().__enter__()
        self.url = self._server.url

    def kill(self) -> None:
        process = self._server._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def start(self) -> None:
        self._patch.setattr(comfy_module, "_free_port", lambda: int(self.url.rsplit(":", 1)[1]))
        self._server = self._make().__enter__()

    def stop(self) -> None:
        self._server.__exit__(None, None, None)


@pytest.fixture(scope="module")
def mortal(comfy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    pytest.importorskip("av", reason="ComfyUI's requirements are not installed for this Python")
    base = make_base(tmp_path_factory.mktemp("mortal"))
    shutil.copytree(ROOT / "sample" / "characters" / "mara_voss", base / "models" / "characters" / "mara_voss")
    with pytest.MonkeyPatch.context() as patch:
        running = Mortal(comfy_path, base, patch)
        yield running
        running.stop()


def generate(mortal: Mortal, *options: str, capture: Any = None) -> tuple[int, dict[str, Any]]:
    """Exit code and the manifest of `likeness generate mara_voss`."""
    shared = argparse.ArgumentParser(add_help=False)
    for option in ("--library", "--face-models"):
        shared.add_argument(option)
    for flag in ("--verbose", "--json"):
        shared.add_argument(flag, action="store_true")
    commands = argparse.ArgumentParser().add_subparsers()

    def command(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, parents=[shared])
        parser.set_defaults(command=function, provider="cpu")
        return parser

    parser = add_generate(command)
    places = ["--library", str(mortal.base / "models" / "characters"), "--server", mortal.url, "--json"]
    arguments = parser.parse_args([*options, *places, "--no-score"])
    code = arguments.command(arguments, places_of(arguments))
    return code, json.loads(capture.readouterr().out) if capture else {}


def test_no_graph_that_ships_is_refused_for_what_the_server_would_take(mortal: Mortal) -> None:
    """The models it names are another matter."""
    classes = NodeClasses(QueueClient(mortal.url).object_info())
    for path in sorted(API_GRAPHS.glob("*.json")):
        found = classes.problems(json.loads(path.read_text(encoding="utf-8")))
        assert [p for p in found if "which is not among" not in p and "has no file or value" not in p] == [], path.name
    assert classes.problems(graph("portrait", **{"LikenessLoadCharacter.character": "mara_voss"})) == []


def test_what_a_server_tells_of_its_work_is_heard(mortal: Mortal) -> None:
    heard: list[Told] = []
    listener = Listener([mortal.url], "a" * 32, heard.append)
    listener.start()
    end = time.monotonic() + 120
    while not heard and time.monotonic() < end:
        time.sleep(0.01)
    nodes = graph("portrait", **{"LikenessLoadCharacter.character": "mara_voss", "KSampler.steps": 3})
    prompt_id = QueueClient(mortal.url).queue(nodes, client_id="a" * 32)
    while heard[-1].kind != "ended" and time.monotonic() < end:
        time.sleep(0.01)
    listener.stop()
    assert heard[0].kind == "connected" and {t.prompt_id for t in heard[1:]} == {prompt_id}
    assert heard[1].kind == "started" and heard[-1].kind == "ended"
    assert [(t.value, t.most) for t in heard if t.kind == "progress" and t.most == 3.0][-1] == (3.0, 3.0)
    assert QueueClient(mortal.url).outcome(prompt_id) is not None, "the history is there when it is told"


def test_pictures_survive_a_server_that_is_killed_and_are_the_same_bytes_again(
    mortal: Mortal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = ["mara_voss", "--prompt", "in a park", "--variation", "outfit", "--per-scene", "2", *SMALL]

    def kill() -> None:
        while len(list((out / "pictures").glob("*.png"))) < 3:
            time.sleep(0.02)
        mortal.kill()
        time.sleep(0.5)
        mortal.start()

    killer = threading.Thread(target=kill)
    killer.start()
    code, manifest = generate(mortal, *asked, "--out", str(out), capture=capsys)
    killer.join()
    assert code == 0 and manifest["drawn"] == manifest["scenes"] == len(manifest["pictures"]) >= 10
    assert len({row["sha256"] for row in manifest["pictures"]}) == manifest["scenes"]
    assert len(list((out / "pictures").iterdir())) == manifest["scenes"]
    row = manifest["pictures"][-1]
    for about in (r["drawn_with"] for r in manifest["pictures"]):  # what nobody has said, the nodes have told
        assert (about["family"], about["steps"], about["width"], about["sampler"]) == ("sd15", 1, 64, "euler")
        assert about["scheduler"] == "karras" and about["method"] in ("faceid_only", "lora_faceid", "lora_only")
        assert about["strengths"]["source"] in ("preset", "hand", "sweep") and about["checkpoint"] == STANDIN["sd15"]
        assert about["adapter"] not in ("", "auto") and "faceid_weight" in about["strengths"]
    assert manifest["settings"]["family"] == "sd15" and row["date"].startswith("20")
    code, made = generate(mortal, "--again", str(out / row["file"]), "--out", str(tmp_path / "again"), capture=capsys)
    assert code == 0 and made["same_bytes"] is True
    about = next(r for r in requests_in(out) if r["job"] == row["key"])
    assert "mara_voss" in json.dumps(about["graph"])


def test_ray_draws_the_same_bytes(mortal: Mortal, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'likeness[ray]'")
    asked = ["mara_voss", "--prompt", "by the sea", "--n", "3", *SMALL]
    told = []
    for name, more in (("here", []), ("far", ["--ray", "local"])):
        code, manifest = generate(mortal, *asked, *more, "--out", str(tmp_path / name), capture=capsys)
        assert code == 0
        rows = manifest["pictures"]
        told.append([{k: v for k, v in r.items() if k not in ("server", "prompt_id", "date")} for r in rows])
    assert told[0] == told[1] and len(told[0]) == 3


def test_what_the_server_does_not_have_is_told_before_anything_is_queued(mortal: Mortal, tmp_path: Path) -> None:
    from likeness.remote import UnfitError

    asked = ["mara_voss", "--prompt", "x", "--checkpoint", "standin.ckpt", "--sampler", "eulr", "--steps", "0"]
    with pytest.raises(UnfitError) as error:
        generate(mortal, *asked, "--out", str(tmp_path / "out"))
    text = str(error.value)
    assert len(error.value.problems) == 3 and "the nearest" in text and STANDIN["sd15"] in text and "euler" in text
    assert "less than 1" in text


def test_a_workflow_of_ones_own_gets_the_character(
    mortal: Mortal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": STANDIN["sd15"]}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a castle", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 1, "steps": 1, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
                "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
            },
        },
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "mine"}},
    }  # fmt: skip
    (tmp_path / "mine.json").write_text(json.dumps(nodes))
    out = tmp_path / "out"
    asked = ["mara_voss", "--workflow", str(tmp_path / "mine.json"), "--prompt", "on a beach", "--n", "2"]
    code, manifest = generate(mortal, *asked, "--out", str(out), capture=capsys)
    assert code == 0 and manifest["drawn"] == 2
    for about in (row["drawn_with"] for row in manifest["pictures"]):
        assert (about["checkpoint"], about["family"], about["steps"]) == (STANDIN["sd15"], "sd15", 1)
        assert (about["sampler"], about["scheduler"], about["width"], about["cfg"]) == ("euler", "normal", 64, 2.0)
        assert about["method"] != "auto"
    text = json.dumps(next(requests_in(out))["graph"])
    assert "LikenessApplyCharacter" in text and "on a beach" in text and "a castle" not in text
