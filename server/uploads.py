"""Files that the panel puts into ComfyUI's input folder, each lot for one request and in a folder of its own.

Nothing of the user's lies there, so what was taken from it is deleted when the request has been answered: pictures of
people and archives with embeddings do not stay where ComfyUI serves them. A file elsewhere in the input folder stays.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..likeness.errors import LikenessError
from ..likeness.files import delete_folder
from ..likeness.paths import contained

log = logging.getLogger(__name__)
FOLDER = ("likeness", "uploads")  # below ComfyUI's input folder, and in it a folder of 32 hex digits for each request
LOST = 3600.0  # seconds; nobody asks for an older one any more
_LOT = re.compile(r"[0-9a-f]{32}")


def input_file(root: Path, name: str) -> Path:
    """A file below ComfyUI's input folder. PathError for anything else."""
    return contained(root, *_parts(name))


@contextmanager
def taken(root: Path, names: Iterable[str]) -> Iterator[None]:
    """Delete the lots that the named files belong to when the block ends, however it ends, and lots that were lost."""
    lots = {parts[2] for parts in map(_parts, names) if len(parts) == 4 and parts[:2] == FOLDER}
    try:
        yield
    finally:
        _forget(root, lots)


def _parts(name: str) -> tuple[str, ...]:
    return tuple(name.replace("\\", "/").split("/"))


def _forget(root: Path, lots: set[str]) -> None:
    try:
        folder = contained(root, *FOLDER)
        old = {p.name for p in folder.glob("*") if time.time() - p.lstat().st_mtime > LOST}
        for lot in filter(_LOT.fullmatch, lots | old):
            delete_folder(contained(folder, lot))
    except (LikenessError, OSError) as error:  # what was asked for has happened
        log.warning("Uploaded files stay in ComfyUI's input folder: %s", error)
