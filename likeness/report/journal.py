"""Rows kept while a report is made, so that a run that was stopped goes on where it was.

One JSON line a row, appended; the first line holds a key of everything that decides a row, and of the folder. A run
that is killed may leave half a line, which is skipped. A row counts only while its file has the same size and time.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import LikenessError
from ..files import append_line, delete_file, read_limited
from .rows import Row, row_from

MAX_BYTES = 1 << 30
_FORM = 1


@dataclass(frozen=True)
class Stamp:
    """A file as it was when it was read."""

    size: int  # bytes
    mtime_ns: int


class Journal:
    """The rows of one report. Only one program writes it at a time."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self._begun = False

    def of(self, folder: Path) -> Journal:
        """The same for one folder, wherever its links lead: another one may hold files of the same names, sizes and
        times. Its place is not written, only a digest."""
        place = os.fsencode(os.path.realpath(folder))
        return Journal(self._path, hashlib.sha256(self._key.encode() + b"\0" + place).hexdigest())

    def resume(self) -> dict[str, tuple[Stamp, Row]]:
        """The rows of an earlier run with the same key, by name; {} where there is none."""
        lines = self._lines()
        if not lines or _parsed(lines[0]) != self._header():
            delete_file(self._path)
            return {}
        if lines[-1]:  # half a line: the next one must not be joined to it
            append_line(self._path, b"")
        self._begun = True
        return dict(filter(None, map(_entry, lines[1:])))

    def add(self, row: Row, stamp: Stamp) -> None:
        """StorageError when it cannot be written."""
        if not self._begun:
            append_line(self._path, _line(self._header()))
            self._begun = True
        append_line(self._path, _line({"size": stamp.size, "mtime_ns": stamp.mtime_ns, "row": row.as_dict()}))

    def remove(self) -> None:
        delete_file(self._path)
        self._begun = False

    def _header(self) -> dict[str, object]:
        return {"likeness_report": _FORM, "key": self._key}

    def _lines(self) -> list[bytes]:
        """The last one is empty where the file ends with a whole line."""
        if not os.path.exists(self._path):  # noqa: PTH110 - Path.exists raises where a folder may not be entered
            return []
        try:
            return read_limited(self._path, MAX_BYTES).split(b"\n")
        except LikenessError:
            return []  # it cannot be read, so it is made anew or cannot be written either


def _line(values: object) -> bytes:
    """ASCII, so that a name that is no valid Unicode comes back as it was."""
    return json.dumps(values, allow_nan=False, separators=(",", ":")).encode("ascii")


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _entry(line: bytes) -> tuple[str, tuple[Stamp, Row]] | None:
    values = _parsed(line) if line else None
    if not isinstance(values, dict):
        return None
    row, size, time = row_from(values.get("row")), values.get("size"), values.get("mtime_ns")
    if row is None or not isinstance(size, int) or not isinstance(time, int):
        return None
    return row.name, (Stamp(size, time), row)
