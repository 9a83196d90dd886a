"""Attack: the n-th operation on the disk fails, for every n. After SQLite's I/O error tests.

Whatever fails, the old state is intact or the new one is whole, no temporary file stays, and the
error is a StorageError in one sentence.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from likeness import files
from likeness.archive import export_zip, import_zip
from likeness.character import open_character
from likeness.create import NamedImage, add_references, create_character, draft
from likeness.errors import LikenessError, StorageError
from likeness.files import TEMP_PREFIX
from likeness.library import Library
from likeness.profile import Profile

from ..fakes import FakeAnalyser, face_picture

MAX_CALLS = 400


class Disk:
    """Counts the operations that change the disk, and lets the n-th one fail."""

    def __init__(self, fail_at: int, error: int) -> None:
        self.fail_at, self.error, self.count = fail_at, error, 0
        self.failed = ""

    def step(self, what: str) -> None:
        self.count += 1
        if self.count == self.fail_at:
            self.failed = what
            raise OSError(self.error, os.strerror(self.error))


class FailingFile:
    """A file whose writes count."""

    def __init__(self, file: object, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def write(self, data: bytes) -> int:
        try:
            self._disk.step("write")
        except OSError:
            self._file.write(data[: len(data) // 2])  # type: ignore[attr-defined]
            raise
        return self._file.write(data)  # type: ignore[attr-defined,no-any-return]

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> FailingFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()  # type: ignore[attr-defined]


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, fail_at: int, error: int) -> Iterator[Disk]:
    disk = Disk(fail_at, error)
    real_open, real_fsync, real_replace, real_mkdir = open, os.fsync, os.replace, Path.mkdir

    def opened(path: object, mode: str = "r", *rest: object, **more: object) -> object:
        if "x" not in mode and "w" not in mode:
            return real_open(path, mode, *rest, **more)  # type: ignore[call-overload]
        disk.step("open")
        return FailingFile(real_open(path, mode, *rest, **more), disk)  # type: ignore[call-overload]

    def fsync(fd: int) -> None:
        disk.step("fsync")
        real_fsync(fd)

    def replace(source: Path, target: Path) -> None:
        disk.step("replace")
        real_replace(source, target)

    def mkdir(path: Path, *rest: object, **more: object) -> None:
        if not path.is_dir():
            disk.step("mkdir")
        real_mkdir(path, *rest, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(files, "open", opened, raising=False)
        patch.setattr(files.os, "fsync", fsync)
        patch.setattr(files.os, "replace", replace)
        patch.setattr(Path, "mkdir", mkdir)
        patch.setattr(files, "_REPLACE_WAIT", 0.0)
        patch.setattr(files, "_REPLACE_TRIES", 1)
        yield disk


def new_profile(trigger: str) -> Profile:
    return Profile(name="Ada", slug="ada", trigger=trigger)


def save(library: Library, home: Path) -> None:
    library.save(library.get("ada").model_copy(update={"trigger": "changed"}))


def make(library: Library, home: Path) -> None:
    create_character(
        library,
        draft("Eve"),
        [NamedImage("a", face_picture(2, 0)), NamedImage("b", face_picture(2, 1))],
        FakeAnalyser(),
    )


def make_empty(library: Library, home: Path) -> None:
    library.create(Profile(name="Eve", slug="eve"))


def add(library: Library, home: Path) -> None:
    add_references(library, "ada", [NamedImage("a", face_picture(1, 7))], FakeAnalyser())


def rename(library: Library, home: Path) -> None:
    library.rename("ada", "Zoe")


def trash(library: Library, home: Path) -> None:
    library.trash("ada")


def bring_in(library: Library, home: Path) -> None:
    import_zip(library, home / "mia.zip")


OPERATIONS: dict[str, Callable[[Library, Path], None]] = {
    "save": save, "create": make, "create empty": make_empty, "add": add, "rename": rename, "trash": trash,
    "import": bring_in,
}  # fmt: skip


def state(library: Library) -> dict[str, object]:
    """What the library means: for each character its profile, its pictures, and the faces it opens with."""
    found: dict[str, object] = {}
    for entry in library.list():
        assert entry.error is None, entry.error
        character = open_character(library, entry.slug)
        pictures = {p.name: p.read_bytes() for p in (entry.folder / "references").glob("*")}
        faces = [(f.file, f.face.embedding.tobytes()) for f in character.faces]
        found[entry.slug] = (entry.profile, pictures, faces, character.problems)
    trash = library.roots[0] / ".trash"
    found[".trash"] = sorted(p.relative_to(trash).as_posix().partition("-2")[0] for p in trash.rglob("*"))
    return found


@pytest.fixture
def start(ada: Library, tmp_path: Path) -> Path:
    """A home with a library, and an archive of another character."""
    other = Library([tmp_path / "other"])
    create_character(other, draft("Mia"), [NamedImage("a", face_picture(3, 0))], FakeAnalyser())
    (tmp_path / "mia.zip").write_bytes(export_zip(other, "mia"))
    (tmp_path / "characters" / ".trash" / "ada-references").mkdir(parents=True)
    (tmp_path / "characters" / ".trash" / "ada-references" / "007.png").write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_failing_call_leaves_the_old_state_or_the_new(
    start: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, name: str, error: int
) -> None:
    operation, kinds = OPERATIONS[name], set()
    before = state(Library([start / "characters"]))
    after: dict[str, object] | None = None
    for n in [10**9, *range(1, MAX_CALLS)]:  # the first run fails nowhere and shows what the new state is
        home = tmp_path_factory.mktemp("home")
        shutil.copytree(start / "characters", home / "characters")
        shutil.copy(start / "mia.zip", home)
        library, raised = Library([home / "characters"]), False
        with failing(monkeypatch, n, error) as disk:
            try:
                operation(library, home)
            except LikenessError as e:
                raised = True
                assert isinstance(e, StorageError) and str(e).startswith("Could not ") and str(e).count("\n") == 0
        now = state(library)
        if after is None:
            after = now
            assert after != before and disk.count >= 2
            continue
        assert now in (before, after), f"call {n}, {disk.failed}"
        if raised:
            assert now == before, f"call {n}, {disk.failed}: an error, but the new state is there"
        assert list(library.roots[0].rglob(f"{TEMP_PREFIX}*")) == []
        kinds.add(disk.failed)
        if disk.count < n:
            break
        assert raised or disk.failed == "fsync"  # only the folder's own flush may fail unseen
    else:
        pytest.fail("the operation never ended")
    assert {"replace", "fsync"} <= kinds


def test_an_operation_tried_again_after_a_failure_works(
    ada: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for n in range(1, 12):
        with failing(monkeypatch, n, errno.ENOSPC):
            try:
                make(ada, tmp_path)
                break
            except StorageError:
                continue
    if not ada.exists("eve"):
        make(ada, tmp_path)
    assert open_character(ada, "eve").identity.count == 2
