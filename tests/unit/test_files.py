from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from likeness.errors import StorageError
from likeness.files import (
    TEMP_PREFIX,
    aside_of,
    atomic_write,
    delete_file,
    locked,
    make_folder,
    move_folder,
    new_file,
    read_limited,
    read_pieces,
    staging_folder,
    sweep_temp,
)


def test_a_write_makes_its_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file.bin"
    atomic_write(target, b"one")
    atomic_write(target, b"two")
    assert target.read_bytes() == b"two"
    assert [p.name for p in target.parent.iterdir()] == ["file.bin"]


def test_a_write_to_a_link_replaces_the_link_and_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"keep")
    (tmp_path / "file").symlink_to(tmp_path / "outside")
    atomic_write(tmp_path / "file", b"new")
    assert (tmp_path / "outside").read_bytes() == b"keep"
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize(("size", "limit", "fits"), [(0, 0, True), (10, 10, True), (11, 10, False)])
def test_reading_stops_at_the_limit(tmp_path: Path, size: int, limit: int, fits: bool) -> None:
    (tmp_path / "f").write_bytes(b"x" * size)
    if fits:
        assert len(read_limited(tmp_path / "f", limit)) == size
    else:
        with pytest.raises(StorageError, match="larger than"):
            read_limited(tmp_path / "f", limit)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    place = tmp_path if kind == "folder" else tmp_path / "missing"
    with pytest.raises(StorageError, match="Could not read"):
        read_limited(place, 10)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.timeout(10)
def test_a_named_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="not a plain file"):
        read_limited(tmp_path / "pipe", 10)


def test_a_folder_is_not_made_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(StorageError, match="make the folder"):
        make_folder(tmp_path / "x")


def test_a_folder_moves_whole_and_never_onto_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_bytes(b"1")
    move_folder(tmp_path / "a", tmp_path / "deep" / "b")
    assert (tmp_path / "deep" / "b" / "f").read_bytes() == b"1"
    (tmp_path / "c").mkdir()
    with pytest.raises(StorageError, match="exists already"):
        move_folder(tmp_path / "deep" / "b", tmp_path / "c")
    assert (tmp_path / "deep" / "b" / "f").exists()


def test_deleting_twice_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    delete_file(tmp_path / "f")
    delete_file(tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_a_staging_folder_goes_with_its_block(tmp_path: Path) -> None:
    with pytest.raises(KeyError), staging_folder(tmp_path) as stage:
        (stage / "sub").mkdir()
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_lock_keeps_other_threads_out_and_lets_its_own_in(tmp_path: Path) -> None:
    path, order = tmp_path / ".locks" / "ada.lock", []

    def other() -> None:
        with locked(path):
            order.append("other")

    with locked(path), locked(path):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.15)
        order.append("mine")
    thread.join(10)
    assert order == ["mine", "other"]


def test_waiting_for_a_lock_ends_with_a_sentence(tmp_path: Path) -> None:
    path, taken, done = tmp_path / "ada.lock", threading.Event(), threading.Event()

    def holder() -> None:
        with locked(path):
            taken.set()
            done.wait(10)

    thread = threading.Thread(target=holder)
    thread.start()
    taken.wait(10)
    try:
        with pytest.raises(StorageError, match="still using 'ada'"), locked(path, seconds=0.1):
            pass
    finally:
        done.set()
        thread.join(10)


def test_the_sweep_takes_only_old_things_of_ours(tmp_path: Path) -> None:
    old, young, others = tmp_path / f"{TEMP_PREFIX}1.tmp", tmp_path / f"{TEMP_PREFIX}2.tmp", tmp_path / "mine.tmp"
    folder = tmp_path / "ada" / f"{TEMP_PREFIX}3.d"
    for f in (old, young, others):
        f.write_bytes(b"x")
    (folder / "sub").mkdir(parents=True)
    for p in (old, others, folder):
        os.utime(p, (time.time() - 7200,) * 2)
    assert sweep_temp(tmp_path) == 2
    assert young.exists() and others.exists() and not old.exists() and not folder.exists()


def test_a_folder_that_somebody_takes_away_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ada", "bea", "cleo"):
        (tmp_path / name / "faces").mkdir(parents=True)
    old = tmp_path / "cleo" / f"{TEMP_PREFIX}1.tmp"
    old.touch()
    os.utime(old, (1, 1))
    real = os.scandir

    def look(path: Any) -> Any:
        if Path(path).name == "bea" and Path(path).exists():
            (Path(path) / "faces").rmdir()
            Path(path).rmdir()
        return real(path)

    monkeypatch.setattr(os, "scandir", look)
    assert sweep_temp(tmp_path) == 1 and not old.exists()


def test_a_file_that_is_written_to_while_it_is_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 3000)
    assert b"".join(read_pieces(tmp_path / "f", 1000)) == b"x" * 3000
    for change in (b"y" * 3000, b"x" * 4000):
        pieces = read_pieces(tmp_path / "f", 1000)
        next(pieces)
        (tmp_path / "f").write_bytes(change)
        os.utime(tmp_path / "f", (1, 1))
        with pytest.raises(StorageError, match="something is writing to it"):
            list(pieces)


def test_a_new_file_that_is_needed_stays_after_an_error(tmp_path: Path) -> None:
    for needed in (False, True):
        (tmp_path / "temp").write_bytes(b"new")
        with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "temp", tmp_path / "f", lambda: needed):  # noqa: B023
            raise KeyboardInterrupt
        assert (tmp_path / "f").exists() == needed


def test_a_folder_that_waits_to_be_swapped_is_not_swept_away(tmp_path: Path) -> None:
    aside = aside_of(tmp_path / "set")
    aside.mkdir()
    os.utime(aside, (1, 1))
    assert sweep_temp(tmp_path) == 0 and aside.exists()
