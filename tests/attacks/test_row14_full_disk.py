"""Attack: the disk is full, read-only or forbidden. The old file stays, and one sentence says what to do."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from likeness import files
from likeness.character import open_character
from likeness.create import NamedImage, add_references
from likeness.errors import StorageError
from likeness.files import TEMP_PREFIX, atomic_write
from likeness.hashes import FileHashes
from likeness.library import Library
from likeness.profile import Profile

from ..fakes import FakeAnalyser, face_picture

SENTENCES = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "your disk quota is used up",
    errno.EROFS: "the folder is read-only: choose another",
    errno.EACCES: "no permission to write there: change the folder's permissions",
    errno.EPERM: "no permission to write there",
    errno.ENAMETOOLONG: "the name is too long: shorten it",
    errno.EIO: "Input/output error",
}


@pytest.mark.parametrize("error", SENTENCES, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_the_old_file_stays_and_one_sentence_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, call: str
) -> None:
    path = tmp_path / "profile.toml"
    atomic_write(path, b"old")

    def fail(*arguments: object, **more: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(files, "_REPLACE_WAIT", 0.0)
    monkeypatch.setattr(*((files, "open") if call == "open" else (files.os, call)), fail, raising=False)
    with pytest.raises(StorageError) as caught:
        atomic_write(path, b"new" * 1000)
    text = str(caught.value)
    assert text.startswith(f"Could not write {path}: ") and SENTENCES[error] in text and text.endswith(".")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["profile.toml"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("this system does not let a test mount a tmpfs")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "state.bin"
    atomic_write(path, b"old" * 1000)
    with pytest.raises(StorageError, match="the disk is full: free some space"):
        atomic_write(path, b"new" * 700_000)
    assert path.read_bytes() == b"old" * 1000
    assert [p.name for p in small_disk.iterdir()] == ["state.bin"]
    atomic_write(path, b"small")
    assert path.read_bytes() == b"small"


def test_a_character_on_a_full_disk_stays_usable(small_disk: Path) -> None:
    library = Library([small_disk / "characters"])
    library.save(Profile(name="Ada", slug="ada", trigger="adaray"))
    (small_disk / "filler").write_bytes(b"x" * 900_000)
    with pytest.raises(StorageError, match="the disk is full"):
        add_references(library, "ada", [NamedImage(str(i), face_picture(1, i)) for i in range(3)], FakeAnalyser())
    assert library.get("ada") == Profile(name="Ada", slug="ada", trigger="adaray")
    assert [p for p in library.folder("ada").rglob("*") if p.is_file()] == [library.folder("ada") / "profile.toml"]
    assert not list(small_disk.rglob(f"{TEMP_PREFIX}*"))
    fill(small_disk)
    with pytest.raises(StorageError, match="the disk is full"):
        library.rename("ada", "Eve")
    assert library.slugs() == ["ada"] and library.get("ada").trigger == "adaray"


def fill(place: Path) -> None:
    with (place / "rest").open("wb", buffering=0) as f, pytest.raises(OSError, match="No space"):
        while f.write(b"x" * 512):
            pass


def test_faces_and_hashes_are_had_where_nothing_can_be_written(
    ada: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (ada.folder("ada") / "faces" / "buffalo_l.safetensors").unlink()

    def read_only(path: Path, mode: str = "r", **more: object) -> object:
        if "r" not in mode:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return open(path, mode, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(files, "open", read_only, raising=False)
    character = open_character(ada, "ada", lambda pack: FakeAnalyser())
    assert character.identity.count == 3 and "read-only" in character.problems[0]
    (tmp_path / "model").write_bytes(b"m")
    assert len(FileHashes(tmp_path / "none.json").sha256(tmp_path / "model")) == 64
