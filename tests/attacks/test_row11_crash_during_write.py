"""Attack: the program is killed in the middle of a write. With `path.write_text`, 263 of 300 kills left a torn file."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from likeness.errors import LikenessError
from likeness.files import TEMP_PREFIX, sweep_temp
from likeness.library import Library

WORKERS = Path(__file__).with_name("workers.py")


def started(job: str, root: Path, *arguments: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, WORKERS, job, root, *arguments], stdout=subprocess.PIPE, text=True)
    wait_for(process)
    return process


def wait_for(process: subprocess.Popen) -> None:
    assert process.stdout is not None and process.stdout.readline() == "ready\n"


def killed(process: subprocess.Popen, after: float) -> None:
    time.sleep(after)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def kill_writers(root: Path, times: int, seed: int) -> tuple[int, int]:
    """(torn files, temporary files left) over so many kills.

    Four writers run at once, on a file each: starting one takes longest.
    """
    rng, torn = random.Random(seed), 0
    for _ in range(0, times, 4):
        folders = [root / str(i) for i in range(4)]
        command = [sys.executable, WORKERS, "write"]
        processes = [subprocess.Popen([*command, folder], stdout=subprocess.PIPE, text=True) for folder in folders]
        for process, folder in zip(processes, folders, strict=True):
            wait_for(process)
            killed(process, rng.uniform(0.0, 0.03))
            if (folder / "state.bin").exists():
                data = (folder / "state.bin").read_bytes()
                torn += len(data) != 60_016 or data[:8] != data[-8:]
    return torn, len(list(root.rglob(f"{TEMP_PREFIX}*")))


def check_kills(root: Path, times: int) -> None:
    torn, strays = kill_writers(root, times, seed=11)
    assert torn == 0
    assert strays > 0  # or the kills came at no bad moment, and the test shows nothing
    assert sweep_temp(root) == 0  # another program may still be writing them
    for path in root.rglob(f"{TEMP_PREFIX}*"):
        os.utime(path, (time.time() - 7200,) * 2)
    assert sweep_temp(root) == strays
    assert not list(root.rglob(f"{TEMP_PREFIX}*"))


def test_60_kills_leave_no_torn_file_and_the_sweep_removes_the_strays(tmp_path: Path) -> None:
    check_kills(tmp_path, 60)


@pytest.mark.soak
def test_1000_kills_leave_no_torn_file(tmp_path: Path) -> None:
    check_kills(tmp_path, 1000)


def check_libraries(root: Path, times: int) -> None:
    """Killed in a save or a rename, a character is there whole, or says how to mend it; nothing is lost."""
    rng = random.Random(12)
    for i in range(times):
        process = started("save", root / str(i))
        killed(process, rng.uniform(0.005, 0.08))
        library = Library([root / str(i)])
        for entry in library.list():
            if entry.error is not None:
                assert "make them equal" in str(entry.error)
            else:
                assert entry.profile is not None and len(entry.profile.references) == int(entry.profile.notes)
        assert len(library.slugs()) == 1
        for path in (root / str(i)).rglob(f"{TEMP_PREFIX}*"):
            os.utime(path, (0, 0))
        library.sweep()
        assert len(library.slugs()) == 1
        try:
            library.rename(library.slugs()[0], "Mia")  # nothing holds a lock any more
        except LikenessError as error:
            assert "make them equal" in str(error)


def test_12_kills_of_a_program_that_saves_and_renames_lose_no_character(tmp_path: Path) -> None:
    check_libraries(tmp_path, 12)


@pytest.mark.soak
def test_300_kills_of_a_program_that_saves_and_renames_lose_no_character(tmp_path: Path) -> None:
    check_libraries(tmp_path, 300)
