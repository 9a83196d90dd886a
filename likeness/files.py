"""The only place that writes files: whole or not at all, and by one writer at a time.

A write goes to a temporary file in the same folder, is flushed to the disk, and then replaces the
old file, so a reader sees the old bytes or the new bytes and a full disk leaves the old ones.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from .atomic_exchange import exchange
from .errors import StorageError

log = logging.getLogger(__name__)

TEMP_PREFIX = ".likeness-"
TEMP_MAX_AGE = 3600.0  # seconds; an older temporary file belongs to a process that was killed
_ASIDE = ".old"  # of a folder that is no temporary one, but half way through `swap_folders`
LOCK_SECONDS = 30.0
_FLUSHERS = 8
_LOCK_POLL = 0.01  # seconds between two looks at a lock that another program holds
_REPLACE_TRIES, _REPLACE_WAIT = 6, 0.05  # Windows: a virus scanner or reader may hold the file for a moment
_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and try again",
    errno.EDQUOT: "your disk quota is used up: free some space and try again",
    errno.EROFS: "the folder is read-only: choose another folder or make it writable",
    errno.EACCES: "no permission to write there: change the folder's permissions",
    errno.EPERM: "no permission to write there: change the folder's permissions",
    errno.ENOENT: "the folder does not exist",
    errno.EEXIST: "that file exists already",
    errno.ENAMETOOLONG: "the name is too long: shorten it",
}


def _failed(action: str, path: Path, error: OSError) -> StorageError:
    advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
    if action == "read" and error.errno == errno.ENOENT:
        advice = "there is no such file"
    return StorageError(f"Could not {action} {path}: {advice}.")


def read_limited(path: Path, limit: int) -> bytes:
    """The file's bytes, or StorageError when it is missing, unreadable, no plain file, or over `limit` bytes."""
    try:
        with open_plain(path) as f:
            data = f.read(limit + 1)
    except OSError as error:
        raise _failed("read", path, error) from error
    if len(data) > limit:
        raise StorageError(f"Could not read {path}: it is larger than {limit:,} bytes, so it is not what it should be.")
    return data


@contextmanager
def open_plain(path: Path) -> Iterator[BinaryIO]:
    """A file to read from. OSError when it is missing, unreadable or no plain file."""
    with open(path, "rb", opener=_open_at_once) as f:
        if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        yield f


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a named pipe would wait for a writer for ever


def make_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _failed("make the folder", path, error) from error
    return path


def atomic_write(path: Path, data: bytes) -> None:
    """Replace `path` by `data`. StorageError means that the old file is untouched; no temporary file stays."""
    make_folder(path.parent)
    temp = path.parent / f"{TEMP_PREFIX}{uuid.uuid4().hex}.tmp"
    try:
        with open(temp, "xb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        _replace(temp, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _failed("write", path, error) from error
    finally:
        with suppress(OSError):  # gone after the replacement; else `sweep_temp` finds it
            temp.unlink()


def append_line(path: Path, line: bytes) -> None:
    """Add `line` and a line end to a file, or begin it. A program that is killed may leave half a line; what was there
    before stays whole. `line` holds no line end."""
    make_folder(path.parent)
    try:
        with open(path, "ab", buffering=0) as f:
            if f.write(line + b"\n") != len(line) + 1:
                raise OSError(errno.ENOSPC, "only a part was written")
    except OSError as error:
        raise _failed("write", path, error) from error


def _replace(source: Path, target: Path) -> None:
    for attempt in range(_REPLACE_TRIES):
        try:
            return os.replace(source, target)
        except PermissionError:
            if attempt == _REPLACE_TRIES - 1:
                raise
            time.sleep(_REPLACE_WAIT)


def _sync_folder(folder: Path) -> None:
    """Make a replacement last through a power cut. It has happened already, so a failure is only logged."""
    if os.name == "nt":  # a folder cannot be opened there
        return
    try:
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            log.warning("%s could not be flushed to the disk: %s", folder, error.strerror)


def move_folder(source: Path, target: Path) -> None:
    """Rename a folder in one step; `target` must not exist. StorageError means that nothing moved."""
    make_folder(target.parent)
    try:
        if target.exists():
            raise StorageError(f"Could not move {source} to {target}: that folder exists already.")
        _replace(source, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _failed("move", source, error) from error


def write_new(path: Path, data: bytes) -> None:
    """A file that is not there yet, with its folders. It is safe from a power cut only after `flush_folder`."""
    make_folder(path.parent)
    try:
        with open(path, "xb") as f:
            f.write(data)
    except OSError as error:
        raise _failed("write", path, error) from error


def flush_folder(folder: Path, check: Callable[[], None] = lambda: None) -> None:
    """Make everything below a folder last through a power cut. `check` may raise to stop."""
    places = list(os.walk(folder, topdown=False))
    pool = ThreadPoolExecutor(_FLUSHERS)  # a disk takes many at once, and each waits for it
    try:
        for _ in pool.map(_flush_file, [Path(place, name) for place, _, names in places for name in names]):
            check()
    finally:
        pool.shutdown(cancel_futures=True)
    for place, _, _ in places:
        _sync_folder(Path(place))


def _flush_file(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise _failed("write", path, error) from error


def link_files(source: Path, target: Path) -> None:
    """What lies below `source`, a file or a folder, also under `target`, without copying. Nothing where the file system
    has no links."""
    walked = [] if source.is_symlink() else os.walk(source)
    for path in [Path(place, name) for place, folders, names in walked for name in (*names, *folders)] or [source]:
        with suppress(OSError):
            copy, link = target / path.relative_to(source), path.is_symlink()
            if link or not path.is_dir():  # of a link itself, so that what it leads to stays where it is
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.symlink_to(path.readlink()) if link else os.link(path, copy, follow_symlinks=False)


def swap_folders(new: Path, target: Path) -> None:
    """`new` gets the name `target`, and what had that name, if anything, gets the name `new`.

    In one step where the system can, so that a killed program leaves the one or the other; else in three, which
    `finish_swap` completes or takes back. StorageError means that `target` is as it was.
    """
    try:
        if not target.exists():
            _replace(new, target)
        elif not exchange(new, target):
            _replace(target, aside_of(target))
            try:
                _replace(new, target)
            except BaseException:
                _replace(aside_of(target), target)
                raise
            with suppress(OSError):  # `finish_swap` does it later
                _replace(aside_of(target), new)
        _sync_folder(target.parent)
    except OSError as error:
        raise _failed("replace", target, error) from error


def aside_of(target: Path) -> Path:
    """Where `swap_folders` puts a folder for a moment, where the system has no exchange."""
    return target.parent / f"{TEMP_PREFIX}{target.name}{_ASIDE}"


def finish_swap(new: Path, target: Path) -> None:
    """After a program was killed in `swap_folders(new, target)`: the state before it, or after it."""
    aside = aside_of(target)
    try:
        if aside.exists() and not target.exists():
            _replace(aside, target)
        elif aside.exists() and not new.exists():
            _replace(aside, new)
    except OSError as error:
        raise _failed("restore", target, error) from error


def move_entry(source: Path, target: Path) -> None:
    """Rename a file or a folder; into a folder of that name its entries one by one, of two files the newer one."""
    try:
        if source.is_dir() and not source.is_symlink() and target.is_dir():
            for entry in sorted(source.iterdir()):
                move_entry(entry, target / entry.name)
        elif not os.path.lexists(target) or _is_newer(source, target):
            make_folder(target.parent)
            _replace(source, target)
    except OSError as error:
        raise _failed("move", source, error) from error


def _is_newer(source: Path, target: Path) -> bool:
    one, other = source.lstat(), target.lstat()
    both_files = stat.S_ISREG(one.st_mode) and stat.S_ISREG(other.st_mode)
    return both_files and not os.path.samestat(one, other) and one.st_mtime_ns > other.st_mtime_ns


def delete_folder(folder: Path) -> None:
    """With all that lies below it; no error where there is none."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed("delete", folder, error) from error


def read_pieces(path: Path, size: int = 1 << 20) -> Iterator[bytes]:
    """A file of any size, `size` bytes at a time. StorageError when it cannot be read or is written to meanwhile."""
    try:
        with open_plain(path) as f:
            before = os.fstat(f.fileno())
            while piece := f.read(size):
                yield piece
            after = os.fstat(f.fileno())
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise StorageError(f"Could not read {path}: something is writing to it, so try again later.")
    except OSError as error:
        raise _failed("read", path, error) from error


@contextmanager
def staged_file(folder: Path, pieces: Iterable[bytes]) -> Iterator[Path]:
    """A temporary file in `folder` with these bytes, flushed to the disk, for `new_file`; else it is removed."""
    make_folder(folder)
    temp = folder / f"{TEMP_PREFIX}{uuid.uuid4().hex}.tmp"
    try:
        try:
            with open(temp, "xb") as f:
                for piece in pieces:
                    f.write(piece)
                f.flush()
                os.fsync(f.fileno())
        except OSError as error:
            raise _failed("write", temp, error) from error
        yield temp
    finally:
        with suppress(OSError):
            temp.unlink()


@contextmanager
def new_file(temp: Path, target: Path, needed: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """`temp` becomes `target`, never over another file; for good only when the block ends without an error, or when
    `needed` says so after one: a program that is stopped may have told others of the file already.

    StorageError when `target` exists, or cannot be made. A folder that was made for it goes with it.
    """
    made = not target.parent.exists()
    make_folder(target.parent)
    try:
        try:
            _place(temp, target)
            _sync_folder(target.parent)
        except OSError as error:
            raise _failed("write", target, error) from error
        try:
            yield
        except BaseException:
            if not needed():
                with suppress(OSError):
                    target.unlink()
            raise
    except BaseException:
        with suppress(OSError):
            if made:
                target.parent.rmdir()  # stays where somebody has put something
        raise


def _place(temp: Path, target: Path) -> None:
    """Rename in one step, and fail where `target` exists."""
    if os.name == "nt":
        return os.rename(temp, target)  # noqa: PTH104 - this call fails where the target exists
    try:
        os.link(temp, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: take the name first
        with open(target, "xb"):
            pass
        try:
            os.replace(temp, target)
        except BaseException:
            target.unlink()
            raise


def delete_file(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _failed("delete", path, error) from error


@contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """An empty folder in `parent` to build something in; what is left of it is removed afterwards."""
    folder = make_folder(parent / f"{TEMP_PREFIX}{uuid.uuid4().hex}.d")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock file `path` against other threads and processes; the system frees it if we are killed.

    The thread that holds it may take it again.
    """
    make_folder(path.parent)
    lock = FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=seconds, poll_interval=_LOCK_POLL)
    except Timeout as error:
        raise StorageError(
            f"Another program is still using {path.stem!r} after {seconds:.0f} s: close it, or try again later."
        ) from error
    except OSError as error:
        raise _failed("lock", path, error) from error
    try:
        yield
    finally:
        lock.release()


def sweep_temp(folder: Path, max_age: float = TEMP_MAX_AGE) -> int:
    """Remove our own temporary files and folders that a killed process left behind; returns how many."""
    removed = 0
    for place, folders, names in os.walk(folder):  # passes over folders that others take away meanwhile
        for path in (Path(place, name) for name in (*folders, *names) if name.startswith(TEMP_PREFIX)):
            with suppress(OSError):  # someone else's by now, or gone
                if path.suffix != _ASIDE and time.time() - path.lstat().st_mtime > max_age:
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                    removed += 1
    return removed
