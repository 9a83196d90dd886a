"""Folders change places whole, what is linked is in both, and of two files the newer one stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from likeness import files
from likeness.atomic_exchange import exchange
from likeness.errors import StorageError
from likeness.files import (
    aside_of,
    delete_folder,
    finish_swap,
    flush_folder,
    link_files,
    move_entry,
    swap_folders,
    write_new,
)


def folder(path: Path, **contents: str) -> Path:
    path.mkdir(parents=True)
    for name, text in contents.items():
        (path / name).write_text(text)
    return path


def names(path: Path) -> set[str]:
    return {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}


@pytest.fixture(params=["exchange", "renames"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "renames":
        monkeypatch.setattr(files, "exchange", lambda first, second: False)
    return str(request.param)


def test_folders_change_places(how: str, tmp_path: Path) -> None:
    new, old = folder(tmp_path / "new", a="1"), folder(tmp_path / "old", b="2")
    swap_folders(new, old)
    assert (names(old), names(new)) == ({"a"}, {"b"}) and not aside_of(old).exists()


def test_a_folder_takes_a_name_that_is_free(how: str, tmp_path: Path) -> None:
    swap_folders(folder(tmp_path / "new", a="1"), tmp_path / "old")
    assert names(tmp_path / "old") == {"a"} and not (tmp_path / "new").exists()


def test_what_cannot_be_exchanged_is_left_as_it_was(how: str, tmp_path: Path) -> None:
    old = folder(tmp_path / "old", b="2")
    with pytest.raises(StorageError, match="replace"):
        swap_folders(tmp_path / "gone", old)
    assert names(old) == {"b"}


def test_a_swap_that_was_killed_is_taken_back_or_finished(tmp_path: Path) -> None:
    new, old = folder(tmp_path / "new", a="1"), folder(aside_of(tmp_path / "old"), b="2")
    finish_swap(new, tmp_path / "old")  # killed after the first of three renames
    assert names(tmp_path / "old") == {"b"} and names(new) == {"a"}
    os.replace(tmp_path / "old", old)
    os.replace(new, tmp_path / "old")
    finish_swap(new, tmp_path / "old")  # and after the second
    assert names(tmp_path / "old") == {"a"} and names(new) == {"b"}


def test_the_system_says_whether_it_can_exchange(tmp_path: Path) -> None:
    a, b = folder(tmp_path / "a", x="1"), folder(tmp_path / "b", y="2")
    done = exchange(a, b)
    assert (names(a), names(b)) == (({"y"}, {"x"}) if done else ({"x"}, {"y"}))
    if done:
        with pytest.raises(FileNotFoundError):
            exchange(a, tmp_path / "gone")


def test_linked_files_survive_the_folder_they_came_from(tmp_path: Path) -> None:
    folder(tmp_path / "old" / "output" / "deep", lora="trained")
    link_files(tmp_path / "old" / "output", tmp_path / "new" / "output")
    delete_folder(tmp_path / "old")
    assert (tmp_path / "new" / "output" / "deep" / "lora").read_text() == "trained"


def test_moving_into_a_folder_keeps_the_newer_of_two(tmp_path: Path) -> None:
    source, target = folder(tmp_path / "s", a="new a", b="old b", c="c"), folder(tmp_path / "t", a="old a", b="new b")
    for path, when in ((source / "a", 2), (source / "b", 1), (target / "a", 1), (target / "b", 2)):
        os.utime(path, (when, when))
    move_entry(source, target)
    assert {p.name: p.read_text() for p in target.iterdir()} == {"a": "new a", "b": "new b", "c": "c"}


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    write_new(tmp_path / "deep" / "a", b"1")
    with pytest.raises(StorageError):
        write_new(tmp_path / "deep" / "a", b"2")
    flush_folder(tmp_path)
    assert (tmp_path / "deep" / "a").read_bytes() == b"1"


def test_flushing_can_be_stopped(tmp_path: Path) -> None:
    for i in range(20):
        write_new(tmp_path / str(i), b"x")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flush_folder(tmp_path, stop)
