"""Which files below a folder are pictures.

Subfolders are included. A link to a file counts as that file. A link to a folder is left out and listed, so that
nothing is counted twice and no circle is walked.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import StorageError
from ..files import TEMP_PREFIX
from ..images import SUFFIXES

FOREIGN = (".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".jp2")  # pictures, but not for us
_LINES = "\u2028\u2029"
_DIRECTION = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # would turn what follows around


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that gives no row."""

    name: str  # below the folder, with '/'; as the system gives it, so it may not be valid Unicode
    reason: str


@dataclass(frozen=True)
class Listing:
    """The pictures below a folder, sorted by the bytes of their names."""

    pictures: tuple[str, ...]  # below the folder, with '/'
    left_out: tuple[LeftOut, ...]


def shown(name: str) -> str:
    """A name that can be printed and written as UTF-8: odd bytes and control characters as \\xNN or \\uNNNN."""
    return "".join(_escaped(ord(c)) if _is_odd(c) else c for c in name)


def _is_odd(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Cs") or c in _LINES or unicodedata.bidirectional(c) in _DIRECTION


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is no UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def list_pictures(folder: Path, check: Callable[[], None] = lambda: None) -> Listing:
    """Every file that looks like a picture by its suffix. StorageError when there is no such folder.

    `check` is called for every folder, and may raise to stop.
    """
    if not folder.is_dir():
        raise StorageError(f"There is no folder {folder}: check its name.")
    found: list[str] = []
    left_out: list[LeftOut] = []
    waiting = [""]
    while waiting:
        check()
        waiting += _look_into(folder, waiting.pop(), found, left_out)
    return Listing(tuple(sorted(found, key=os.fsencode)), tuple(sorted(left_out, key=lambda x: os.fsencode(x.name))))


def _look_into(folder: Path, below: str, found: list[str], left_out: list[LeftOut]) -> list[str]:
    """Its subfolders."""
    folders = []
    try:
        with os.scandir(folder / below) as entries:
            for entry in entries:
                name = f"{below}/{entry.name}" if below else entry.name
                if entry.name.startswith(TEMP_PREFIX):
                    continue
                if _is_folder(entry):
                    folders.append(name)
                elif _is_folder(entry, follow=True):
                    left_out.append(LeftOut(name, "a link to a folder, which is not followed"))
                elif entry.name.lower().endswith((*SUFFIXES, *FOREIGN)):
                    found.append(name)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        left_out.append(LeftOut(f"{below}/" if below else "./", f"the folder cannot be read: {reason}"))
    return folders


def _is_folder(entry: os.DirEntry[str], follow: bool = False) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:  # a link to itself
        return False
