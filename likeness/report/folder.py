"""Which files below a folder are pictures.

Subfolders are included. A link to a file outside the folder counts as that file, once, and is named as such; one to a
file that counts already, and one to a folder, is left out and listed. So nothing is counted twice and no circle is
walked.
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
    outside: tuple[str, ...] = ()  # of the pictures those that are links to files outside the folder


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
    waiting, walked = [""], set[tuple[int, int]]()
    while waiting:
        check()
        below = waiting.pop()
        if _is_new(folder / below, walked):
            waiting += _look_into(folder, below, found, left_out)
        else:
            left_out.append(LeftOut(f"{below}/", "the same folder as another one, by a junction or a mount"))
    pictures, outside = _without_twins(folder, sorted(found, key=os.fsencode), left_out)
    return Listing(pictures, tuple(sorted(left_out, key=lambda x: os.fsencode(x.name))), outside)


def _is_new(folder: Path, walked: set[tuple[int, int]]) -> bool:
    """Whether a folder was not walked before; a junction of Windows is no link and may lead in a circle."""
    try:
        about = folder.stat()
    except OSError:
        return True  # reading it tells why
    known = (about.st_dev, about.st_ino) in walked and about.st_ino != 0
    walked.add((about.st_dev, about.st_ino))
    return not known


def _without_twins(folder: Path, names: list[str], left_out: list[LeftOut]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names without links to a file that counts already, and those of them that lead outside."""
    links = {name for name in names if os.path.islink(folder / name)}  # noqa: PTH114 - never raises
    targets = {os.path.realpath(folder / name): name for name in names if name not in links} if links else {}
    base, kept, outside = os.path.realpath(folder), [], []
    for name in names:
        target = os.path.realpath(folder / name) if name in links else ""
        if name in links and not os.path.exists(target):  # noqa: PTH110 - never raises
            left_out.append(LeftOut(name, "a link that leads to no file"))
        elif name in links and target in targets:
            left_out.append(LeftOut(name, f"a link to {shown(targets[target])}, which counts already"))
        else:
            kept.append(name)
            if name in links:
                targets[target] = name
                outside += [name] if not target.startswith(os.path.join(base, "")) else []
    return tuple(kept), tuple(outside)


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
