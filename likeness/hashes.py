"""sha256 of large model files, remembered while the file stays the same.

A file is taken as unchanged while its path, size and modification time are; so a FaceID adapter of
1.5 GB is read once, not at every start.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from .errors import LikenessError, StorageError
from .files import atomic_write, read_limited

log = logging.getLogger(__name__)

_MAX_TABLE = 4 * 1024 * 1024
_MAX_ENTRIES = 2_000
_CHUNK = 1024 * 1024


class FileHashes:
    """A table of hashes in one JSON file.

    A damaged table is begun again; one that cannot be written is kept in memory.
    """

    def __init__(self, table: Path) -> None:
        self._path = table
        self._rows = self._read()

    def sha256(self, file: Path) -> str:
        """Hex digest of the file's bytes. StorageError when it cannot be read."""
        key = self._key(file)
        if key not in self._rows:
            self._rows[key] = _hash(file)
            self._write()
        return self._rows[key]

    def _key(self, file: Path) -> str:
        try:
            stat = file.stat()
        except OSError as error:
            raise StorageError(f"Could not read {file}: {error.strerror}.") from error
        return f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"

    def _read(self) -> dict[str, str]:
        try:
            rows = json.loads(read_limited(self._path, _MAX_TABLE))
        except (LikenessError, ValueError, RecursionError):
            return {}
        sound = isinstance(rows, dict) and all(isinstance(v, str) and len(v) == 64 for v in rows.values())
        return rows if sound else {}

    def _write(self) -> None:
        recent = dict(list(self._rows.items())[-_MAX_ENTRIES:])
        try:
            atomic_write(self._path, json.dumps(recent, indent=1).encode())
        except LikenessError as error:
            log.warning("%s The file will be hashed again at the next start.", error)


def _hash(file: Path) -> str:
    h = hashlib.sha256()
    try:
        with open(file, "rb") as f:
            while chunk := f.read(_CHUNK):
                h.update(chunk)
    except OSError as error:
        raise StorageError(f"Could not read {file}: {error.strerror}.") from error
    return h.hexdigest()
