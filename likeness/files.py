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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import StorageError

log = logging.getLogger(__name__)

TEMP_PREFIX = ".likeness-"
TEMP_MAX_AGE = 3600.0  # seconds; an older temporary file belongs to a process that was killed
LOCK_SECONDS = 30.0
_LOCK_POLL = 0.01  # seconds between two looks at a lock that another program holds
_REPLACE_TRIES, _REPLACE_WAIT = 6, 0.05  # Windows: a virus scanner or reader may hold the file for a moment
_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and try again",
    errno.EDQUOT: "your disk quota is used up: free some space and try again",
    errno.EROFS: "the folder is read-only: choose another folder or make it writable",
    errno.EACCES: "no permission to write there: change the folder's permissions",
    errno.EPERM: "no permission to write there: change the folder's permissions",
    errno.ENOENT: "the folder does not exist",
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
        with open(path, "rb", opener=_open_at_once) as f:
            if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
                raise StorageError(f"Could not read {path}: it is not a plain file.")
            data = f.read(limit + 1)
    except OSError as error:
        raise _failed("read", path, error) from error
    if len(data) > limit:
        raise StorageError(f"Could not read {path}: it is larger than {limit:,} bytes, so it is not what it should be.")
    return data


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
    for path in folder.rglob(f"{TEMP_PREFIX}*"):
        try:
            if time.time() - path.lstat().st_mtime > max_age:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                removed += 1
        except OSError:
            continue  # someone else's by now, or gone
    return removed
