"""Attack: a face file from somebody else is damaged, made up or huge.

Only files of ours have a checksum. Of the others every number that could be a face's is taken, so what must hold for
them is that the numbers are plausible, that nothing but FaceError comes out, and that a file asks for little memory.
"""

from __future__ import annotations

import json
import os
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from likeness.errors import FaceError, StorageError
from likeness.exchange import character_of
from likeness.face_file import MAX_BYTES, RAW_LENGTH, decode_face_file, read_face_file, write_face, write_reactor
from likeness.faces.codec import KEY, checksum_of

from ..fakes import PIPELINE, embedding, make_face

MUTATIONS = 3_000
FACE = make_face(1)
OURS = write_face(FACE.embedding, False, PIPELINE)
REACTOR = write_reactor(FACE.embedding, FACE.box, FACE.keypoints, FACE.score, PIPELINE)
PLAIN = save({"embedding": FACE.embedding})
MEMORY = 24 * 1024 * 1024


def mutated(data: bytes, rng: random.Random, header_only: bool) -> bytes:
    changed = bytearray(data)
    header = 8 + int.from_bytes(data[:8], "little")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(min(header, len(changed)) if header_only else len(changed))
        change = rng.randrange(4)
        if change == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif change == 1:
            changed[at : at + rng.randint(1, 9)] = b""
        elif change == 2:
            changed[at:at] = bytes([rng.randrange(256)])
        else:
            del changed[at + 1 :]
        changed = changed or bytearray(b"\0")
    return bytes(changed)


@pytest.mark.parametrize("data", [OURS, REACTOR], ids=["likeness", "reactor"])
def test_3000_mutations_of_our_files_give_the_same_face_or_none(data: bytes) -> None:
    rng, kept = random.Random(4), 0
    for i in range(MUTATIONS):
        try:
            file = decode_face_file(mutated(data, rng, header_only=bool(i % 2)))
        except FaceError:
            continue
        kept += 1
        if file.recogniser == PIPELINE.recogniser:
            assert (file.vectors[0] == FACE.embedding).all() and file.pack == PIPELINE.pack
        else:  # our own entry was lost with the header's text: somebody's file now, and it says so
            assert file.notes
    assert kept < MUTATIONS // 20


def test_3000_mutations_of_a_plain_file_give_plausible_numbers_or_none() -> None:
    rng = random.Random(5)
    for i in range(MUTATIONS):
        try:
            file = decode_face_file(mutated(PLAIN, rng, header_only=bool(i % 2)))
        except FaceError:
            continue
        lengths = np.linalg.norm(file.vectors.astype(np.float64), axis=1)
        assert file.vectors.shape[1] == 512 and np.isfinite(file.vectors).all() and file.recogniser == ""
        assert ((lengths >= RAW_LENGTH[0]) & (lengths <= RAW_LENGTH[1])).all()
        assert character_of(file, "x").identity.vector.shape == (512,)


@pytest.mark.parametrize("data", [OURS, REACTOR, PLAIN], ids=["likeness", "reactor", "plain"])
def test_every_cut_is_noticed(data: bytes) -> None:
    for length in range(0, len(data), 3):
        with pytest.raises(FaceError):
            decode_face_file(data[:length])


def raw(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


TENSOR = {"dtype": "F32", "shape": [512], "data_offsets": [0, 2048]}
BODY = FACE.embedding.tobytes()
HOSTILE = {
    "empty": b"",
    "short": b"\0" * 7,
    "zeros": b"\0" * 64,
    "ones": b"\xff" * 64,
    "zip": b"PK\x03\x04" * 20,
    "pickle": b"\x80\x04cos\nsystem\n(S'x'\ntR.",
    "no header": raw(b"", BODY),
    "header of 2^63": raw({"embedding": TENSOR}, BODY, 1 << 63),
    "header past the end": raw({"embedding": TENSOR}, BODY, 9000),
    "list": raw([], BODY),
    "text": raw("likeness", BODY),
    "number": raw(7, BODY),
    "null": raw(None, BODY),
    "not json": raw(b"{" * 64, BODY),
    "deep": raw(b"[" * 30_000, BODY),
    "deeper in metadata": raw({"__metadata__": {KEY: "[" * 30_000}, "embedding": TENSOR}, BODY),
    "long number": raw(b'{"a":' + b"9" * 20_000 + b"}", BODY),
    "not utf-8": raw(b'{"\xff\xfe":1}', BODY),
    "utf-16": raw(json.dumps({"embedding": TENSOR}).encode("utf-16"), BODY),
    "the same key twice": raw(
        b'{"embedding":%b,"embedding":%b}' % (json.dumps(TENSOR).encode(), json.dumps(TENSOR).encode()), BODY
    ),
    "huge shape": raw({"embedding": {**TENSOR, "shape": [1 << 40, 512]}}, BODY),
    "overflowing shape": raw({"embedding": {**TENSOR, "shape": [1 << 62, 1 << 62, 512]}}, BODY),
    "negative shape": raw({"embedding": {**TENSOR, "shape": [-1, 512]}}, BODY),
    "shape of floats": raw({"embedding": {**TENSOR, "shape": [512.0]}}, BODY),
    "no shape": raw({"embedding": {"dtype": "F32", "data_offsets": [0, 2048]}}, BODY),
    "offsets backwards": raw({"embedding": {**TENSOR, "data_offsets": [2048, 0]}}, BODY),
    "offsets past the end": raw({"embedding": {**TENSOR, "data_offsets": [1 << 40, (1 << 40) + 2048]}}, BODY),
    "overlap": raw({"embedding": TENSOR, "embeddings": TENSOR}, BODY),
    "rest behind": raw({"embedding": TENSOR}, BODY + b"\0" * 8),
    "gap": raw({"embedding": {**TENSOR, "data_offsets": [8, 2056]}}, b"\0" * 8 + BODY),
    "dtype list": raw({"embedding": {**TENSOR, "dtype": ["F32"]}}, BODY),
    "dtype unknown": raw({"embedding": {**TENSOR, "dtype": "OBJECT" * 99}}, BODY),
    "tensor null": raw({"embedding": None}, BODY),
    "metadata text": raw({"__metadata__": KEY, "embedding": TENSOR}, BODY),
    "metadata null": raw({"__metadata__": None, "embedding": TENSOR}, BODY),
    "our entry null": raw({"__metadata__": {KEY: "null"}, "embedding": TENSOR}, BODY),
    "our entry list": raw({"__metadata__": {KEY: "[1]"}, "embedding": TENSOR}, BODY),
    "our entry empty": raw({"__metadata__": {KEY: "{}"}, "embedding": TENSOR}, BODY),
    "our entry numbers": raw({"__metadata__": {KEY: '{"sha256": 1}'}, "embedding": TENSOR}, BODY),
    "thousands of tensors": raw({f"t{i}": {**TENSOR, "shape": [0], "data_offsets": [0, 0]} for i in range(900)}),
    "megabytes of header": raw(b" " * (3 * 1024 * 1024) + json.dumps({"embedding": TENSOR}).encode(), BODY),
    "too large": PLAIN + b"\0" * MAX_BYTES,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_made_up_is_refused_with_little_memory(kind: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FaceError, match=r"^evil\.safetensors is not a usable face file: ") as caught:
            decode_face_file(HOSTILE[kind], "evil.safetensors")
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 400


def forged(about: dict[str, Any], arrays: dict[str, Any] | None = None) -> bytes:
    """A file with a right checksum over other contents."""
    tensors = {"embedding": FACE.embedding} if arrays is None else arrays
    told = {"format": "likeness-embedding-1", "written_by": "x", "pack": "buffalo_l", "recogniser": "a" * 64}
    told |= {"detector": "d" * 64, **about}
    return save(tensors, {KEY: json.dumps({**told, "sha256": checksum_of(tensors, told)})})


def test_the_forger_of_these_tests_can_make_a_good_file() -> None:
    assert decode_face_file(forged({})).recogniser == "a" * 64


@pytest.mark.parametrize(
    ("about", "arrays"),
    [
        ({"format": "likeness-embedding-2"}, None),
        ({"format": "x" * 5000}, None),
        ({"recogniser": "../../models"}, None),
        ({"recogniser": "A" * 64}, None),
        ({"detector": "d" * 65}, None),
        ({"pack": "x" * 81}, None),
        ({"pack": "a\nb"}, None),
        ({}, {"embedding": FACE.embedding, "more": FACE.embedding}),
        ({}, {"crop": FACE.embedding}),
        ({}, {"embedding": FACE.embedding * np.float32(np.nan)}),
        ({}, {"embedding": FACE.embedding * 90}),
        ({}, {"normed_embedding": FACE.embedding}),
        ({}, {"embedding": embedding(1, 0)[:100]}),
    ],
)
def test_a_right_checksum_makes_nothing_true(about: dict[str, Any], arrays: dict[str, Any] | None) -> None:
    with pytest.raises(FaceError) as caught:
        decode_face_file(forged(about, arrays))
    assert len(str(caught.value)) < 400


def test_a_pack_name_is_never_a_path() -> None:
    """It is shown, and asked for among the installed packs; nothing is opened by it."""
    made = character_of(decode_face_file(forged({"pack": "../../etc"})), "x")
    assert made.folder is None and made.profile.face_model == "../../etc"


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    with open(path, "wb") as file:
        file.write(PLAIN)
        file.truncate(1 << 40)  # takes no room on the disk
    tracemalloc.start()
    try:
        with pytest.raises(StorageError, match="larger than 4,194,304 bytes"):
            read_face_file(path)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_a_pipe_or_a_folder_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    for name in ("pipe.safetensors", ".", "missing.safetensors"):
        with pytest.raises(StorageError):
            read_face_file(tmp_path / name)
