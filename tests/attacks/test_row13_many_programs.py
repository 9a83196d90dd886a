"""Attack: several programs change one character at once. A rename alone kept 182 of 1600 updates; a lock keeps all."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from likeness.files import locked
from likeness.library import Library
from likeness.profile import Profile

from .test_row11_crash_during_write import WORKERS, killed, started


@pytest.fixture
def quick_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what is tested is the lock, not how fast a disk flushes."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def check_updates(root: Path, programs: int, times: int) -> None:
    library = Library([root])
    library.save(Profile(name="Ada", slug="ada"))
    jobs = [subprocess.Popen([sys.executable, WORKERS, "count", root, str(times)]) for _ in range(programs)]
    assert [job.wait(250) for job in jobs] == [0] * programs
    assert library.get("ada").notes == str(programs * times)


def test_8_programs_with_200_updates_each_lose_none(quick_disk: Path) -> None:
    check_updates(quick_disk, 8, 200)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_16_programs_with_500_updates_each_lose_none(tmp_path: Path) -> None:
    check_updates(tmp_path, 16, 500)


def check_holders(root: Path, times: int) -> None:
    for _ in range(times):
        killed(started("hold", root), 0.0)
        start = time.perf_counter()
        with locked(root / "ada.lock", seconds=5.0):
            assert time.perf_counter() - start < 1.0


def test_killing_the_holder_of_a_lock_leaves_nothing_stuck(tmp_path: Path) -> None:
    check_holders(tmp_path, 4)


@pytest.mark.soak
def test_killing_50_holders_of_a_lock_leaves_nothing_stuck(tmp_path: Path) -> None:
    check_holders(tmp_path, 50)
