"""Attack: registering a LoRA while the disk fails at its n-th operation, and while the program is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from likeness import files
from likeness.errors import LikenessError, StorageError
from likeness.files import TEMP_PREFIX
from likeness.library import Library
from likeness.lora_versions import Shelf, from_file, register

from ..conftest import ROOT
from ..lora_files import lora_file, notes
from .test_row12_failing_calls import Disk, failing


def shelf_in(folder: Path) -> Shelf:
    return Shelf(folder, lambda name: path if (path := folder / name).is_file() else None)


def state(library: Library, shelf: Shelf) -> tuple[object, ...]:
    """What the library and the folder mean, whatever the version's date is."""
    loras = [v.model_copy(update={"date": ""}) for v in library.get("ada").settings("sd15").loras]
    lying = {p.name: p.read_bytes() for p in shelf.folder.rglob("*.safetensors")}
    return loras, lying


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_every_failing_call_leaves_the_old_state_or_the_new(
    ada: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    path, real_link = lora_file(tmp_path / "out" / "a.safetensors", told=notes("adaray woman")), os.link
    profile, after, kinds = ada.get("ada"), None, set()
    for n in [10**9, *range(1, 60)]:
        ada.save(profile)
        shelf, raised = shelf_in(tmp_path / f"loras{n}"), False
        before = state(ada, shelf)
        with failing(monkeypatch, n, errno.ENOSPC) as disk, monkeypatch.context() as patch:
            patch.setattr(files.os, "link", lambda a, b, disk=disk: linked(disk, links, real_link, a, b))
            try:
                register(ada, "ada", from_file(path), shelf)
            except LikenessError as error:
                raised = True
                assert isinstance(error, StorageError) and str(error).count("\n") == 0
        now = state(ada, shelf)
        after = now if after is None else after
        assert now == (before if raised else after), f"call {n}, {disk.failed}"
        assert [p.name for p in shelf.folder.rglob(f"{TEMP_PREFIX}*")] == []
        assert not raised or not (shelf.folder / "ada").exists()
        kinds.add(disk.failed)
        if disk.count < n < 10**9:
            break
    else:
        pytest.fail("it never ended")
    assert {"open", "write", "fsync", "replace"} <= kinds


def linked(disk: Disk, links: bool, real: object, source: Path, target: Path) -> None:
    if not links:
        raise OSError(errno.EPERM, "no links here")
    disk.step("link")
    real(source, target)  # type: ignore[operator]


SLOW = """
import sys, time
from pathlib import Path
from likeness.library import Library
from likeness.lora_versions import Incoming, Shelf, register
data = Path(sys.argv[2]).read_bytes()
def pieces():
    yield data[:1000]
    print("copying", flush=True)
    time.sleep(60)
shelf = Shelf(Path(sys.argv[3]), lambda name: None)
register(Library([Path(sys.argv[1])]), "ada", Incoming("a.safetensors", pieces), shelf)
"""


@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX does")
def test_a_kill_while_copying_changes_nothing_and_is_cleared_away(ada: Library, tmp_path: Path) -> None:
    path, shelf = lora_file(tmp_path / "a.safetensors", told=notes("adaray woman")), shelf_in(tmp_path / "loras")
    words = [sys.executable, "-c", textwrap.dedent(SLOW), str(ada.roots[0]), str(path), str(shelf.folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT.parent) as process:
        assert process.stdout is not None and process.stdout.readline().strip() == b"copying"
        process.send_signal(signal.SIGKILL)
    assert ada.get("ada").base == {} and not (shelf.folder / "ada").exists()
    (left,) = shelf.folder.rglob(f"{TEMP_PREFIX}*")
    os.utime(left, (time.time() - 7200,) * 2)
    made = register(ada, "ada", from_file(path), shelf)
    assert made.version.version == 1 and not left.exists()
