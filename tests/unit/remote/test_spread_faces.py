"""Faces that others have analysed are in the cache as if they had been analysed here, and are counted once."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness import images
from likeness.dataset.sources import folder_sources
from likeness.errors import LikenessError, ModelMissingError, StorageError
from likeness.faces.cache import CachedAnalyser, EmbeddingCache, cache_key, encode_entry
from likeness.faces.face import Analyser
from likeness.faces.packs import FacePack
from likeness.faces.stream import analyse_many
from likeness.remote import faces as faces_module
from likeness.remote.entries import faces_in, known_keys, number_of, store_entry
from likeness.remote.faces import Analysis, Answer, Filled, PackModel, Picture, fill_cache, pixels_of
from likeness.remote.spread import Local, OnRay

from ...fakes import PIPELINE, FakeAnalyser, empty_picture, face_picture, group_picture, make_face
from .colours import save_in_other_colours

PICTURES = 40


@dataclass(frozen=True)
class FakeModel:
    dialect: int = 0

    def open(self) -> Analyser:
        return analyser_of(self.dialect)


@lru_cache
def analyser_of(dialect: int) -> FakeAnalyser:
    return FakeAnalyser(dialect=dialect)


PIPE = FakeAnalyser().pipeline
WAYS = {"here": None, "spread": Local(2)}


@pytest.fixture(autouse=True)
def opened_anew() -> None:
    analyser_of.cache_clear()
    faces_module._opened.cache_clear()


def write(path: Path, picture: images.RGB8) -> Path:
    path.write_bytes(images.encode_png(picture))
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """40 pictures of one face, and: nobody, a crowd, one picture twice, a broken file, one that is not there."""
    folder = tmp_path / "in"
    folder.mkdir()
    found = [write(folder / f"{i:03d}.png", face_picture(1 + i % 3, i)) for i in range(PICTURES)]
    found.append(write(folder / "nobody.png", empty_picture()))
    found.append(write(folder / "crowd.png", group_picture([(1, 0, 2, 2, 20), (2, 0, 30, 2, 25), (3, 0, 2, 30, 30)])))
    found.append(Path(shutil.copy(found[3], folder / "twin.png")))
    (folder / "broken.png").write_bytes(found[0].read_bytes()[:-30])
    return [*found[:10], folder / "broken.png", folder / "gone.png", *found[10:]]


EXPECTED = (PICTURES + 5, PICTURES + 2, PICTURES + 1 + 3, 1)  # pictures, analysed, faces, without_face


def counts(filled: Filled) -> tuple[int, int, int, int]:
    return filled.pictures, filled.analysed, filled.faces, filled.without_face


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("way", WAYS)
def test_the_cache_holds_the_bytes_that_the_local_commands_write(
    pictures: list[Path], tmp_path: Path, way: str
) -> None:
    filled = fill_cache(pictures, FakeModel(), tmp_path / "filled", on=WAYS[way])
    cached = CachedAnalyser(FakeAnalyser(), EmbeddingCache(tmp_path / "usual"))
    for _ in analyse_many(((p, lambda p=p: images.read(p)) for p in pictures), cached):
        pass
    assert tree(tmp_path / "filled") == tree(tmp_path / "usual")
    assert counts(filled) == EXPECTED and filled.known == 1  # the twin
    assert filled.providers == ("FakeProvider",)


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_read_is_named_in_order_with_the_usual_reason(
    pictures: list[Path], tmp_path: Path, way: str
) -> None:
    filled = fill_cache(pictures, FakeModel(), tmp_path / "cache", on=WAYS[way])
    reasons = []
    for path in pictures[10:12]:
        with pytest.raises(LikenessError) as told:
            images.read(path)
        reasons.append((path, str(told.value)))
    assert list(filled.unreadable) == reasons


@pytest.mark.parametrize("way", WAYS)
def test_a_second_run_analyses_nothing_and_counts_the_same_faces(
    pictures: list[Path], tmp_path: Path, way: str
) -> None:
    first = fill_cache(pictures, FakeModel(), tmp_path, on=WAYS[way])
    calls = analyser_of(0).calls
    second = fill_cache(pictures, FakeModel(), tmp_path, on=WAYS[way])
    assert analyser_of(0).calls == calls
    assert (second.analysed, second.known, second.faces) == (0, PICTURES + 3, first.faces)
    assert second.unreadable == first.unreadable and second.without_face == first.without_face
    assert second.providers == ()


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_entry_is_made_again_and_counted_once(pictures: list[Path], tmp_path: Path, way: str) -> None:
    root = tmp_path / "cache"
    fill_cache(pictures, FakeModel(), root, on=WAYS[way])
    before = tree(root)
    entry = EmbeddingCache(root).path(cache_key(images.read(pictures[5]), PIPE))
    entry.write_bytes(entry.read_bytes()[:-1] + b"x")
    filled = fill_cache(pictures, FakeModel(), root, on=WAYS[way])
    assert filled.analysed == 1 and counts(filled)[2:] == EXPECTED[2:]
    assert tree(root) == before


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_was_stopped_goes_on_where_it_was(pictures: list[Path], tmp_path: Path, way: str) -> None:
    class Stop(Exception):
        pass

    def progress(done: int, of: int) -> None:
        assert of == len(pictures)
        if done == 20:
            raise Stop

    with pytest.raises(Stop):
        fill_cache(pictures, FakeModel(), tmp_path / "cache", on=WAYS[way], progress=progress)
    kept = len(tree(tmp_path / "cache"))
    assert kept >= 18
    done: list[int] = []
    filled = fill_cache(
        pictures, FakeModel(), tmp_path / "cache", on=WAYS[way], progress=lambda now, of: done.append(now)
    )
    assert filled.analysed == EXPECTED[1] - kept and filled.faces == EXPECTED[2]
    assert done == list(range(1, len(pictures) + 1))  # each picture once


def test_workers_may_read_the_files_themselves(pictures: list[Path], tmp_path: Path) -> None:
    sent = fill_cache(pictures, FakeModel(), tmp_path / "sent", on=Local(2))
    assert fill_cache(pictures, FakeModel(), tmp_path / "read", on=Local(2), shared=True) == sent
    assert tree(tmp_path / "sent") == tree(tmp_path / "read")


def test_a_worker_without_the_folder_is_told_from_a_file_that_is_gone(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = faces_module.pixels_of

    def elsewhere(picture: Picture, layers: bool = False) -> images.RGB8:
        if picture.number == 7:
            raise StorageError("Could not read it: there is no such file.")
        return real(picture, layers)

    monkeypatch.setattr(faces_module, "pixels_of", elsewhere)
    with pytest.raises(LikenessError, match="can be read here, but not on another machine"):
        fill_cache(pictures, FakeModel(), tmp_path / "cache", on=Local(1), shared=True)


def test_a_worker_with_another_face_model_is_refused(tmp_path: Path) -> None:
    work = Analysis(FakeModel(1), PIPE, known_keys(tmp_path))
    with pytest.raises(ModelMissingError, match="is another one than here"):
        work([])
    pack = FacePack("buffalo_x", tmp_path, tmp_path / "det.onnx", tmp_path / "rec.onnx")
    with pytest.raises(ModelMissingError, match=r"det\.onnx is not on .* same path on every machine"):
        PackModel(pack).open()


@pytest.mark.parametrize(
    "entry",
    {
        "damaged": encode_entry("a" * 64, PIPE, [make_face(1)])[:-1],
        "of another picture": encode_entry("b" * 64, PIPE, [make_face(1)]),
        "of another model": encode_entry("a" * 64, replace(PIPE, recogniser="c" * 64), [make_face(1)]),
        "no entry": b"",
    }.items(),
    ids=lambda item: item[0],
)
def test_an_entry_that_is_not_what_it_should_be_is_not_written(entry: tuple[str, bytes], tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    with pytest.raises(ModelMissingError, match="A worker sent faces that are damaged"):
        store_entry(cache, "a" * 64, PIPE, entry[1])
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("key", ["../../../" + "a" * 55, "A" * 64, "", "a" * 63])
def test_a_key_that_a_worker_made_up_leads_nowhere(key: str, tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError):
        store_entry(EmbeddingCache(tmp_path / "cache"), key, PIPE, encode_entry(key, PIPE, []))
    assert tree(tmp_path) == {} and faces_in(EmbeddingCache(tmp_path), key, PIPE) is None


@pytest.mark.parametrize("way", WAYS)
def test_a_cache_that_cannot_be_written_ends_the_run(pictures: list[Path], tmp_path: Path, way: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file"):
        fill_cache(pictures, FakeModel(), tmp_path / "file", on=WAYS[way])


def test_known_keys_are_those_of_the_entries(pictures: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "cache"
    assert len(known_keys(root)) == 0
    fill_cache(pictures, FakeModel(), root)
    (root / "stray.txt").write_bytes(b"")
    (next(p for p in root.iterdir() if p.is_dir()) / ".likeness-1.tmp").write_bytes(b"")
    keys = {path.rsplit("/", 1)[1].removesuffix(".safetensors") for path in tree(root) if path.endswith(".safetensors")}
    assert known_keys(root).tolist() == sorted(int(number_of(key)) for key in keys)


def test_pixels_are_those_of_the_command_that_will_ask(tmp_path: Path) -> None:
    """A training set takes colour profiles into account; the rest do not."""
    path = tmp_path / "phone.png"
    save_in_other_colours(path, face_picture(1, 2))
    (source,) = folder_sources(tmp_path).pictures
    for_sets, plain = pixels_of(Picture(0, path), layers=True), pixels_of(Picture(0, path))
    assert np.array_equal(for_sets, source.load().layers.over()) and np.array_equal(plain, images.read(path))
    assert not np.array_equal(for_sets, plain)
    data = path.read_bytes()
    path.unlink()
    assert np.array_equal(pixels_of(Picture(0, path, data), layers=True), for_sets)


def test_a_task_holds_a_bounded_number_of_pictures_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces_module, "CHUNK_BYTES", 100)
    files = [Picture(i, Path(f"{i}.png"), b"x" * size) for i, size in enumerate([40, 40, 40, 500, 1, *[1] * 20])]
    chunks = list(faces_module._chunks(files))
    assert [len(chunk) for chunk in chunks] == [2, 1, 1, 16, 5]
    assert [p for chunk in chunks for p in chunk] == files


def test_nothing_that_identifies_a_person_is_shown(tmp_path: Path) -> None:
    answer: Any = Answer(0, "k", encode_entry("a" * 64, PIPELINE, [make_face(1)]))
    assert "entry" not in repr(answer) and "data" not in repr(Picture(0, tmp_path, b"secret"))


def test_a_stop_while_workers_are_busy_takes_less_than_a_second(pictures: list[Path], tmp_path: Path) -> None:
    class Slow(FakeAnalyser):
        def analyse(self, image: images.RGB8) -> Any:
            time.sleep(0.1)
            return super().analyse(image)

    @dataclass(frozen=True)
    class SlowModel:
        def open(self) -> Analyser:
            return Slow()

    begun = time.monotonic()

    def check() -> None:
        if time.monotonic() - begun > 0.5:
            raise KeyboardInterrupt

    for on in WAYS.values():
        with pytest.raises(KeyboardInterrupt):
            fill_cache(pictures, SlowModel(), tmp_path / "cache", on=on, check=check)
        assert time.monotonic() - begun < 1.5
        begun = time.monotonic()


def test_ray_asks_for_its_cores_and_threads() -> None:
    assert faces_module._threads(OnRay(cpus=4)) == 4 and faces_module._threads(OnRay(cpus=0.5)) == 1
