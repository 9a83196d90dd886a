from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from likeness import hashes
from likeness.errors import StorageError
from likeness.hashes import FileHashes


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights" * 1000)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_read_once_in_several_programs(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FileHashes(tmp_path / "t.json").sha256(model) == digest(model)
    monkeypatch.setattr(hashes, "_hash", lambda file: pytest.fail("the file was read again"))
    assert FileHashes(tmp_path / "t.json").sha256(model) == digest(model)


def test_a_changed_file_is_hashed_again(tmp_path: Path, model: Path) -> None:
    table = FileHashes(tmp_path / "t.json")
    first = table.sha256(model)
    model.write_bytes(b"others!" * 1000)
    os.utime(model, ns=(1, 1))
    assert table.sha256(model) == digest(model) != first


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"7", b'{"a": 5}', b'{"a": "short"}', b"\xff\xfe", b"[" * 100_000, b" " * 5_000_000]
)
def test_a_damaged_table_is_begun_again(tmp_path: Path, model: Path, damage: bytes) -> None:
    (tmp_path / "t.json").write_bytes(damage)
    assert FileHashes(tmp_path / "t.json").sha256(model) == digest(model)
    assert FileHashes(tmp_path / "t.json")._rows.popitem()[1] == digest(model)


def test_a_table_that_cannot_be_written_still_answers(tmp_path: Path, model: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert FileHashes(tmp_path / "file" / "t.json").sha256(model) == digest(model)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Could not read"):
        FileHashes(tmp_path / "t.json").sha256(tmp_path / "none")


def test_the_table_keeps_the_newest_rows_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "_MAX_ENTRIES", 3)
    table = FileHashes(tmp_path / "t.json")
    for i in range(5):
        (tmp_path / f"m{i}").write_bytes(bytes([i]))
        table.sha256(tmp_path / f"m{i}")
    kept = FileHashes(tmp_path / "t.json")._rows
    assert sorted(Path(k.split("|")[0]).name for k in kept) == ["m2", "m3", "m4"]
