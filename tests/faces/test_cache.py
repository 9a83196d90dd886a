"""The embedding cache gives back what it was given, or nothing at all."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from likeness.faces import cache as cache_module
from likeness.faces.cache import CachedAnalyser, EmbeddingCache, cache_key
from likeness.faces.codec import encode_faces
from likeness.faces.face import Face, Pipeline, ordered

from ..fakes import PIPELINE, FakeAnalyser, face_picture, make_face

IMAGE = face_picture(3, 1)
FACES = ordered([make_face(3, 1), make_face(4, 2, (0, 0, 20))])


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    made = EmbeddingCache(tmp_path / "faces")
    made.put(IMAGE, PIPELINE, FACES)
    return made


@pytest.fixture
def entry(cache: EmbeddingCache) -> Path:
    return cache.path(cache_key(IMAGE, PIPELINE))


def same(a: tuple[Face, ...], b: tuple[Face, ...]) -> bool:
    return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))


def _equal(x: Face, y: Face) -> bool:
    arrays = all(np.array_equal(getattr(x, n), getattr(y, n)) for n in ("box", "keypoints", "embedding", "crop"))
    return arrays and (x.score, x.pose, x.quality, x.rung) == (y.score, y.pose, y.quality, y.rung)


def test_faces_come_back_bit_for_bit(cache: EmbeddingCache) -> None:
    stored = tuple(replace(f, score=float(np.float32(f.score))) for f in FACES)
    kept = cache.get(IMAGE, PIPELINE)
    assert kept is not None
    assert [f.embedding.tobytes() for f in kept] == [f.embedding.tobytes() for f in stored]
    assert [f.crop.tobytes() for f in kept] == [f.crop.tobytes() for f in stored]
    assert [f.rung for f in kept] == [f.rung for f in stored]


def test_a_picture_without_a_face_is_known_too(cache: EmbeddingCache) -> None:
    empty = np.zeros((5, 5, 3), np.uint8)
    assert cache.get(empty, PIPELINE) is None
    cache.put(empty, PIPELINE, ())
    assert cache.get(empty, PIPELINE) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"recogniser": "f" * 64},
        {"detector": "f" * 64},
        {"det_sizes": (320,)},
        {"det_threshold": 0.4},
        {"backend": "insightface"},
        {"ladder": 2},
        {"pack": "other"},
        {"dim": 128},
    ],
)
def test_another_pipeline_does_not_see_them(cache: EmbeddingCache, change: dict[str, object]) -> None:
    assert cache.get(IMAGE, replace(PIPELINE, **change)) is None  # type: ignore[arg-type]


def test_another_shape_of_the_same_bytes_is_another_picture() -> None:
    assert cache_key(IMAGE, PIPELINE) != cache_key(IMAGE.reshape(32, 128, 3), PIPELINE)


def test_an_entry_under_a_foreign_name_is_thrown_away(cache: EmbeddingCache, entry: Path) -> None:
    other = face_picture(9, 9)
    target = cache.path(cache_key(other, PIPELINE))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(entry.read_bytes())
    assert cache.get(other, PIPELINE) is None
    assert not target.exists()


def _tensor_swapped(data: bytes) -> bytes:
    return data.replace(b'"boxes"', b'"bOxes"')


def _no_metadata(data: bytes) -> bytes:
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    del header["__metadata__"]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + struct.unpack("<Q", data[:8])[0] :]


def _forged(change: Callable[[Face], Face], **pipeline: object) -> Callable[[bytes], bytes]:
    """Wrong contents with a right checksum."""

    def make(data: bytes) -> bytes:
        made_by = replace(PIPELINE, **pipeline)  # type: ignore[arg-type]
        extra = {"key": cache_key(IMAGE, PIPELINE)}
        return encode_faces([("0", change(FACES[0]))], made_by, extra)

    return make


def _filled(value: float) -> Callable[[Face], Face]:
    return lambda face: replace(face, embedding=np.full(512, value, np.float32))


ATTACKS = {
    "empty": lambda data: b"",
    "cut short": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "header length": lambda data: struct.pack("<Q", 2**62) + data[8:],
    "header missing": lambda data: data[:8],
    "not json": lambda data: data[:8] + b"[" * (len(data) - 8),
    "other tensors": _tensor_swapped,
    "no metadata": _no_metadata,
    "pickle": lambda data: b"\x80\x04\x95" + data,
    "NaN embedding": _forged(_filled(np.nan)),
    "infinite embedding": _forged(_filled(np.inf)),
    "zero embedding": _forged(_filled(0.0)),
    "foreign recogniser": _forged(lambda f: f, recogniser="f" * 64),
    "wrong dim": _forged(lambda f: replace(f, embedding=f.embedding[:128]), dim=128),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_wrong_entry_is_missing_and_deleted(attack: str, cache: EmbeddingCache, entry: Path) -> None:
    entry.write_bytes(ATTACKS[attack](entry.read_bytes()))
    assert cache.get(IMAGE, PIPELINE) is None
    assert not entry.exists()
    cache.put(IMAGE, PIPELINE, FACES)
    assert len(cache.get(IMAGE, PIPELINE) or ()) == 2


def test_a_huge_entry_is_deleted_unread(cache: EmbeddingCache, entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.truncate(entry, 1 << 40)  # sparse
    monkeypatch.setattr(cache_module, "read_limited", lambda *a: pytest.fail("read"))
    assert cache.get(IMAGE, PIPELINE) is None
    assert not entry.exists()


def test_a_folder_in_the_place_of_an_entry_does_no_harm(cache: EmbeddingCache, entry: Path) -> None:
    entry.unlink()
    entry.mkdir()
    assert cache.get(IMAGE, PIPELINE) is None
    cache.put(IMAGE, PIPELINE, FACES)


def test_20000_mutations_give_the_truth_or_nothing(tmp_path: Path) -> None:
    """Row 4 of the threat model. A mutation may cancel itself out; then the entry is served, and right."""
    made = EmbeddingCache(tmp_path)
    made.put(IMAGE, PIPELINE, FACES[:1])
    path = made.path(cache_key(IMAGE, PIPELINE))
    good, truth = path.read_bytes(), made.get(IMAGE, PIPELINE)
    assert truth is not None
    rng = np.random.default_rng(5)
    served: dict[str, bytes] = {}
    made._read = lambda path: served["data"]  # type: ignore[method-assign]  # the disk is not what is tested
    deleted = []
    made._delete = deleted.append  # type: ignore[method-assign]
    for number in range(20_000):
        served["data"] = mutate(good, number, rng)
        found = made.get(IMAGE, PIPELINE)
        assert found is None or same(found, truth)
    assert len(deleted) > 19_900


def mutate(good: bytes, number: int, rng: np.random.Generator) -> bytes:
    data = bytearray(good)
    header = 8 + struct.unpack("<Q", good[:8])[0]
    reach = header if number % 2 else len(good)
    at = int(rng.integers(reach))
    kind = number % 5
    if kind == 0:
        del data[at:]
    elif kind == 1:
        data[at:at] = rng.bytes(int(rng.integers(1, 16)))
    elif kind == 2:
        data[at : at + 8] = rng.bytes(8)
    else:
        for place in (at, int(rng.integers(reach)))[: kind - 2]:
            data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_named_once(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "replace", refuse)
    analyser = CachedAnalyser(FakeAnalyser(), EmbeddingCache(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert all(len(analyser.analyse(face_picture(1, shot))) == 1 for shot in range(3))
    assert len(caplog.records) == 1
    assert "Could not write" in caplog.text
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_second_time_nothing_is_analysed(tmp_path: Path) -> None:
    inner = FakeAnalyser()
    analyser = CachedAnalyser(inner, EmbeddingCache(tmp_path))
    first = analyser.analyse(IMAGE)
    again = CachedAnalyser(Refusing(inner.pipeline), EmbeddingCache(tmp_path)).analyse(IMAGE)
    assert [f.embedding.tobytes() for f in first] == [f.embedding.tobytes() for f in again]
    assert analyser.analyse(IMAGE) and (analyser.hits, analyser.misses) == (1, 1)
    assert analyser.pipeline == inner.pipeline


class Refusing:
    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def analyse(self, image: np.ndarray) -> tuple[Face, ...]:
        raise AssertionError("analysed again")


def get_or_put(root: Path, seed: int) -> int:
    """300 times: a picture of 40; returns how many of the faces read were wrong."""
    made, rng, bad = EmbeddingCache(root), np.random.default_rng(seed), 0
    for number in rng.integers(0, 40, 300):
        image = face_picture(int(number), 0)
        found = made.get(image, PIPELINE)
        if found is None:
            made.put(image, PIPELINE, (make_face(int(number)),))
        elif found[0].embedding.tobytes() != make_face(int(number)).embedding.tobytes():
            bad += 1
    return bad


def test_eight_processes_share_a_cache_without_a_bad_read(tmp_path: Path) -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    with multiprocessing.get_context("fork").Pool(8) as pool:
        bad = pool.starmap(get_or_put, [(tmp_path, seed) for seed in range(8)])
    assert bad == [0] * 8
    assert len(list(tmp_path.rglob("*.safetensors"))) == 40
    assert not list(tmp_path.rglob("*.tmp"))
