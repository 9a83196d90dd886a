"""`likeness embed`, and --ray of the commands that look at many pictures: by threads in place of Ray, and by Ray."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from likeness import images
from likeness.cli import embedding, spreading
from likeness.cli.commands import _judge_options
from likeness.cli.datasets import add_dataset
from likeness.cli.embedding import add_embed
from likeness.cli.places import Places
from likeness.cli.reporting import add_report_options, report_folder
from likeness.cli.spreading import ray_of
from likeness.create import NamedImage, create_character, draft
from likeness.doctor import model_folders
from likeness.errors import LikenessError
from likeness.faces.cache import CachedAnalyser, EmbeddingCache
from likeness.faces.face import Analyser
from likeness.faces.packs import FacePack
from likeness.remote import faces as faces_module
from likeness.remote.faces import fill_cache
from likeness.remote.spread import Local, OnRay

from .. import fakes
from ..fakes import FakeAnalyser, empty_picture, face_picture
from ..unit.remote.colours import save_in_other_colours
from ..unit.report_pictures import ADA, BEN, NeverDrawn

PICTURES = 24
Call = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class FakeModel:
    dialect: int = 0

    def open(self) -> Analyser:
        return analyser_of(self.dialect)


@lru_cache
def analyser_of(dialect: int) -> FakeAnalyser:
    return FakeAnalyser(dialect=dialect)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(None, model_folders(tmp_path / "models"), tmp_path / "cache")
    pictures = [NamedImage(f"photo {i}", face_picture(ADA, i)) for i in range(3)]
    create_character(found.library(), draft("Ada", trigger="adaray", class_word="woman"), pictures, FakeAnalyser())
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "in"
    (inside / "street").mkdir(parents=True)
    for i in range(PICTURES):
        person = BEN if i % 6 == 0 else ADA
        picture = empty_picture(i) if i == 9 else face_picture(person, i + 10)
        (inside / ("street" if i % 2 else ".") / f"{i:03d}.png").write_bytes(images.encode_png(picture))
    (inside / "broken.png").write_bytes(b"broken")
    return inside


@pytest.fixture(autouse=True)
def faked(monkeypatch: pytest.MonkeyPatch) -> None:
    analyser_of.cache_clear()
    faces_module._opened.cache_clear()
    monkeypatch.setattr(embedding, "find_pack", lambda name, roots: FacePack(name, Path(), Path(), Path()))
    monkeypatch.setattr(embedding, "PackModel", lambda pack, provider, backend: FakeModel())
    monkeypatch.setattr(spreading, "model_of", lambda engine, places, provider: FakeModel())


@pytest.fixture(params=["threads", "ray"])
def spread_out(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What --ray does, by threads where Ray is missing, and by Ray where it is there."""
    if request.param == "threads":
        threads = lambda *args, on, **rest: fill_cache(*args, on=on and Local(2), **rest)  # noqa: E731
        monkeypatch.setattr(spreading, "fill_cache", threads)
        monkeypatch.setattr("likeness.remote.on_ray.connected", lambda on: nullcontext())
        yield
        return
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'likeness[ray]'")
    for module in (sys.modules[__name__], fakes):  # workers cannot import a test
        ray.cloudpickle.register_pickle_by_value(module)
    yield
    for module in (sys.modules[__name__], fakes):
        ray.cloudpickle.unregister_pickle_by_value(module)


def embed(places: Places, *words: object) -> int:
    parser = argparse.ArgumentParser()

    def command(name: str, function: Any, help_text: str) -> argparse.ArgumentParser:
        parser.set_defaults(command=function)
        return parser

    _judge_options(add_embed(command))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args([str(word) for word in words])
    return int(arguments.command(arguments, places))


def entries(places: Places) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in places.cache.rglob("*") if p.is_file()}


def test_embed_prints_counts_and_what_cannot_be_read(
    places: Places, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(places, folder, folder / "002.png", folder / "gone.png") == 0
    out = capsys.readouterr().out
    assert "Pictures: 26; analysed 24, known already 0, not readable 2.\nFaces: 23; pictures without one: 1." in out
    assert "Face model: buffalo_l on FakeProvider" in out.replace("auto", "buffalo_l")
    assert f"{folder / 'broken.png'}: broken.png: not a PNG" in out and "gone.png: Could not read" in out
    assert len(entries(places)) == 24


def test_json_holds_counts_and_no_numbers_of_a_face(
    places: Places, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(places, folder, "--json", "--name", "Ada") == 0
    values = json.loads(capsys.readouterr().out)
    reason = values["not_readable"][0].pop("reason")
    assert reason.startswith("broken.png: not a PNG, JPEG or WebP picture")
    assert values == {
        "pictures": 25, "analysed": 24, "known": 0, "not_readable": [{"picture": str(folder / "broken.png")}],
        "faces": 23, "without_face": 1, "face_model": "buffalo_l", "ran_on": ["FakeProvider"],
        "cache": str(places.cache),
    }  # fmt: skip


def test_a_file_that_is_named_in_several_ways_counts_once(
    places: Places, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "link.png").symlink_to(folder / "002.png")
    relative = os.path.relpath(folder / "002.png")
    assert embed(places, folder / "002.png", relative, folder / "street" / ".." / "002.png", folder / "link.png") == 0
    assert "Pictures: 1; analysed 1" in capsys.readouterr().out


def test_without_a_picture_that_can_be_read_the_exit_code_is_1(places: Places, folder: Path, tmp_path: Path) -> None:
    assert embed(places, folder / "broken.png") == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(LikenessError, match=r"There is no PNG, JPEG or WebP picture in .*empty"):
        embed(places, tmp_path / "empty")
    with pytest.raises(LikenessError, match=r"^No character 'nobody'"):
        embed(places, folder, "--name", "Nobody")


def test_embed_on_ray_answers_and_writes_the_same(
    spread_out: None, places: Places, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(places, folder, "--json") == 0
    here, written = capsys.readouterr().out, entries(places)
    for path in places.cache.rglob("*.safetensors"):
        path.unlink()
    analyser_of.cache_clear()
    assert embed(places, folder, "--json", "--ray", "local") == 0
    assert capsys.readouterr().out == here and entries(places) == written
    assert embed(places, folder) == 0
    assert "Pictures: 25; analysed 0, known already 24, not readable 1." in capsys.readouterr().out


@pytest.fixture
def report(places: Places, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`likeness report`; gives the JSON, and how many pictures its own process has analysed."""
    monkeypatch.setattr(Places, "drawn_gate", lambda self, engine: NeverDrawn())

    def report(name: str, *words: object) -> tuple[dict[str, Any], int]:
        engine = FakeAnalyser()
        cached = CachedAnalyser(engine, EmbeddingCache(tmp_path / name))
        monkeypatch.setattr(Places, "analyser", lambda self, *args: cached)
        parser = argparse.ArgumentParser()
        add_report_options(parser)
        _judge_options(parser)
        parser.add_argument("--json", action="store_true")
        out = tmp_path / "out" / f"{name}.json"
        always = (folder, "--character", "Ada", "--out", out, "--threshold", "0.3", "--group", "folder", *words)
        arguments = parser.parse_args([str(word) for word in always])
        report_folder(arguments, Places(None, places.folders, tmp_path / name))
        values = json.loads(out.read_text())
        values["about"].pop("made")
        return values, engine.calls

    return report


def test_a_report_on_ray_says_what_the_local_one_says(spread_out: None, report: Callable[..., Any]) -> None:
    here, calls = report("here")
    assert calls == PICTURES
    spread, calls = report("spread", "--ray", "local")
    assert calls == 0  # all came from the cache, so the report's own code is the same
    assert spread == report("here")[0]  # as of a second local run, which finds all in its cache
    assert here["about"].pop("face_model") == "buffalo_l on FakeProvider"
    assert spread["about"].pop("face_model") == "buffalo_l from cache"
    assert spread == here and here["summary"]["pictures"] == PICTURES


def test_a_report_that_was_stopped_asks_ray_only_for_the_rest(
    report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[Path]] = []

    def stopped(arguments: Any, places: Any, engines: Any, pictures: list[Path], *rest: Any) -> None:
        asked.append(pictures)

    monkeypatch.setattr("likeness.cli.reporting.go_ahead", stopped)
    monkeypatch.setattr("likeness.report.journal.Journal.remove", lambda self: None)  # as if it had been killed before
    report("here", "--ray", "local")
    report("here", "--ray", "local")
    assert [len(pictures) for pictures in asked] == [PICTURES + 1, 1]  # the broken one is tried again


def test_a_plan_on_ray_is_the_local_plan(
    spread_out: None, places: Places, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Places, "drawn_gate", lambda self, engine: NeverDrawn())
    save_in_other_colours(folder / "phone.png", face_picture(ADA, 90))

    def plan(name: str, *words: object) -> tuple[bytes, int]:
        engine = FakeAnalyser()
        cached = CachedAnalyser(engine, EmbeddingCache(tmp_path / name))
        monkeypatch.setattr(Places, "analyser", lambda self, *args: cached)
        parser, shared = argparse.ArgumentParser(), argparse.ArgumentParser(add_help=False)
        shared.add_argument("--json", action="store_true")
        add_dataset(parser.add_subparsers(), shared, _judge_options)
        out = tmp_path / f"{name}.json"
        always = ("dataset", "plan", folder, "--character", "Ada", "--out", out, "--side", 64, "--threshold", 0.3)
        arguments = parser.parse_args([str(word) for word in (*always, *words)])
        arguments.command(arguments, Places(None, places.folders, tmp_path / name))
        return out.read_bytes(), engine.calls

    here, calls = plan("here")
    assert calls == PICTURES + 1
    assert plan("spread", "--ray", "local") == (here, 0)


def options(*words: str) -> OnRay | None:
    parser = argparse.ArgumentParser()
    spreading.add_ray_options(parser)
    parser.add_argument("--provider", default="cpu")
    return ray_of(parser.parse_args(list(words)))


def test_the_options_say_where() -> None:
    assert options() is None
    assert options("--ray", "local") == OnRay("", 1, 0)
    assert options("--ray", "auto", "--ray-cpus", "4") == OnRay("auto", 4, 0)
    assert options("--ray", "10.0.0.1:6379", "--provider", "cuda") == OnRay("10.0.0.1:6379", 1, 1)
    assert options("--ray", "auto", "--provider", "cuda", "--ray-gpus", "0.25") == OnRay("auto", 1, 0.25)
    for bad in ("-1", "nan", "inf", "many"):
        with pytest.raises(SystemExit):
            options("--ray", "auto", "--ray-cpus", bad)


def test_without_ray_the_command_says_how_to_install_it(
    places: Places, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LikenessError, match="is not installed: run: "):
        embed(places, folder, "--ray", "local")
