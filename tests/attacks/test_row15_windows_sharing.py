"""Attack: on Windows a virus scanner or a reader holds the file, and the replacement is refused for a moment."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from likeness import files
from likeness.errors import StorageError
from likeness.files import atomic_write, move_folder


class Sharing:
    """`os.replace` that is refused the first `times` times."""

    def __init__(self, times: int) -> None:
        self.left, self.waits = times, []  # type: ignore[var-annotated]
        self._replace = os.replace

    def replace(self, source: Path, target: Path) -> None:
        if self.left:
            self.left -= 1
            raise PermissionError(errno.EACCES, "Permission denied")
        self._replace(source, target)


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Sharing:
    held = Sharing(request.param)
    monkeypatch.setattr(files.os, "replace", held.replace)
    monkeypatch.setattr(files.time, "sleep", held.waits.append)
    return held


@pytest.mark.parametrize(("sharing", "times"), [(k, k) for k in range(7)], indirect=["sharing"])
def test_a_file_that_is_held_for_a_moment_is_replaced_in_the_end(tmp_path: Path, sharing: Sharing, times: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    if times < 6:
        atomic_write(path, b"new")
    else:
        with pytest.raises(StorageError, match="no permission"):
            atomic_write(path, b"new")
    assert path.read_bytes() == (b"new" if times < 6 else b"old")
    assert sharing.waits == [0.05] * min(times, 5)
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize(("sharing", "times"), [(5, 5), (6, 6)], indirect=["sharing"])
def test_a_folder_that_is_held_moves_in_the_end_or_stays(tmp_path: Path, sharing: Sharing, times: int) -> None:
    (tmp_path / "a").mkdir()
    if times < 6:
        move_folder(tmp_path / "a", tmp_path / "b")
    else:
        with pytest.raises(StorageError, match="Could not move"):
            move_folder(tmp_path / "a", tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["b" if times < 6 else "a"]
