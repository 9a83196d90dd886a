from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from safetensors.numpy import load, save

from likeness.faces import codec
from likeness.faces.codec import decode_faces, encode_faces
from likeness.faces.face import Face

from ..fakes import PIPELINE, make_face

NAMED = [("references/001.png", make_face(1, 0)), ("references/002.png", make_face(1, 1))]


def same(a: Face, b: Face) -> bool:
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("box", "keypoints", "embedding", "crop")) and (
        (a.score, a.pose, a.quality, a.rung) == (b.score, b.pose, b.quality, b.rung)
    )


@pytest.mark.parametrize("count", [0, 1, 2])
def test_faces_come_back_bit_for_bit(count: int) -> None:
    packed = decode_faces(encode_faces(NAMED[:count], PIPELINE, {"sizes": "{}"}))
    assert packed is not None
    assert [n for n, _ in packed.named] == [n for n, _ in NAMED[:count]]
    assert all(same(a, b) for (_, a), (_, b) in zip(packed.named, NAMED[:count], strict=True))
    assert (packed.pipeline, packed.extra) == (PIPELINE, {"sizes": "{}"})


def test_equal_faces_give_equal_bytes() -> None:
    assert encode_faces(NAMED, PIPELINE) == encode_faces(NAMED, PIPELINE)


def test_what_is_known_of_a_covered_face_comes_back_and_the_unknown_stays_unknown() -> None:
    (name, first), second = NAMED[0], NAMED[1]
    covered = replace(first, quality=replace(first.quality, lower=0.9375))
    packed = decode_faces(encode_faces([(name, covered), second], PIPELINE))
    assert packed is not None
    assert [f.quality.lower for _, f in packed.named] == [0.9375, None]
    assert b'"lower"' not in encode_faces(NAMED, PIPELINE), "files of faces nobody looked at stay as they were"


@pytest.mark.parametrize("lower", [[0.5], [0.5, np.inf], [0.5, 3.0], [[0.5], [0.5]], np.zeros(2, np.float64)])
def test_a_wrong_figure_for_covered_faces_makes_the_file_damaged(lower: object) -> None:
    values = lower if isinstance(lower, np.ndarray) else np.array(lower, np.float32)
    assert decode_faces(forged(arrays={"lower": values})) is None
    assert decode_faces(forged(arrays={"lower": np.array([0.5, np.nan], np.float32)})) is not None


def forged(about: dict[str, object] | None = None, arrays: dict[str, object] | None = None) -> bytes:
    """A file with a right checksum over other contents."""
    data = encode_faces(NAMED, PIPELINE)
    texts = codec._metadata(data) | {k: v if isinstance(v, str) else json.dumps(v) for k, v in (about or {}).items()}
    texts.pop("sha256")
    tensors = load(data) | (arrays or {})
    tensors = {k: np.ascontiguousarray(v) for k, v in tensors.items() if v is not None}
    return save(tensors, {codec.KEY: json.dumps({**texts, "sha256": codec.checksum_of(tensors, texts)})})


def test_the_forger_of_these_tests_can_make_a_good_file() -> None:
    assert decode_faces(forged()) is not None


EMBEDDINGS = np.stack([f.embedding for _, f in NAMED])


@pytest.mark.parametrize(
    ("about", "arrays"),
    [
        ({"format": "likeness-faces-0"}, None),
        ({"names": ["a"]}, None),
        ({"names": [["a"], ["b"]]}, None),
        ({"names": {"a": 1, "b": 2}}, None),
        ({"names": [1, 2]}, None),
        ({"rungs": ["640"]}, None),
        ({"rungs": [1, 2]}, None),
        ({"extra": []}, None),
        ({"extra": {"sizes": {"a": 1}}}, None),
        ({"extra": "not json"}, None),
        ({"pipeline": {**asdict(PIPELINE), "pack": 7}}, None),
        ({"pipeline": {**asdict(PIPELINE), "dim": "512"}}, None),
        ({"pipeline": {**asdict(PIPELINE), "dim": 513}}, None),
        ({"pipeline": {**asdict(PIPELINE), "more": 1}}, None),
        ({"pipeline": {"pack": "buffalo_l"}}, None),
        ({"pipeline": []}, None),
        (None, {"embeddings": EMBEDDINGS * np.nan}),
        (None, {"embeddings": np.full_like(EMBEDDINGS, np.inf)}),
        (None, {"embeddings": EMBEDDINGS * 0}),
        (None, {"embeddings": EMBEDDINGS.astype(np.float16)}),
        (None, {"embeddings": EMBEDDINGS[:1]}),
        (None, {"boxes": np.full((2, 4), np.nan, dtype=np.float32)}),
        (None, {"crops": np.zeros((2, 112, 112, 3), dtype=np.uint8)}),
        (None, {"pose": None}),
        (None, {"extra_tensor": np.zeros(1, dtype=np.float32)}),
    ],
)
def test_a_made_up_file_is_nothing_even_with_a_right_checksum(about: dict | None, arrays: dict | None) -> None:
    assert decode_faces(forged(about, arrays)) is None


def test_a_changed_recogniser_is_kept_apart() -> None:
    packed = decode_faces(encode_faces(NAMED, replace(PIPELINE, recogniser="b" * 64)))
    assert packed is not None and packed.pipeline.key() != PIPELINE.key()


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"\0" * 9, b"\xff" * 64, b"PK\x03\x04" * 20, b"\x02\0\0\0\0\0\0\0{}"])
def test_what_is_no_safetensors_file_is_nothing(data: bytes) -> None:
    assert decode_faces(data) is None
