"""Pictures of scenes on disk: `<folder>/<scene>.png`, and what a folder lacks.

Nothing is written over. The same picture again leaves the file that is there; another one of that name gets a number.
Files are written whole or not at all, so a program that was killed goes on with `missing`.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import LikenessError, StorageError
from ..files import new_file, read_limited, staged_file
from ..paths import check_slug, contained
from .metadata import GRAPH, KEY, SIGNATURE, is_whole, place_in, with_texts
from .origin import Origin
from .scene import Scene

PREFIX = "likeness/scenes"  # below ComfyUI's output folder
MAX_SAME = 10_000  # files of one name
_MAX_FILE = 1 << 30


def scene_folder(output: Path, prefix: str, character: str) -> Path:
    """Where pictures of a character lie below an output folder. PathError for a prefix that leaves it."""
    parts = [p for p in prefix.replace("\\", "/").split("/") if p.strip()] or [PREFIX]
    if character:
        check_slug(character)
    return contained(output, *parts, *([character] if character else []))


def save_scene(
    folder: Path,
    scene: Scene,
    pictures: Sequence[bytes],
    texts: Mapping[str, str] | None = None,
    origin: Origin | None = None,
) -> tuple[Path, ...]:
    """Write PNG pictures of a scene; returns where each lies now.

    `texts`: further text chunks, JSON in ASCII; None writes no metadata at all, not even the scene. `origin`: what drew
    them, None where nobody knows.
    """
    number = len(pictures)
    return tuple(
        _saved(folder, stem_of(scene, k, number), with_texts(png, _texts(scene, k, number, texts, origin)))
        for k, png in enumerate(pictures, 1)
    )


def stem_of(scene: Scene, picture: int = 1, pictures: int = 1) -> str:
    """The file name without suffix; pictures of a batch are numbered."""
    return scene.name if pictures == 1 else f"{scene.name}_{picture:03d}"


def _texts(
    scene: Scene, picture: int, pictures: int, texts: Mapping[str, str] | None, origin: Origin | None
) -> dict[str, str]:
    if texts is None:
        return {}
    about = {} if origin is None else {"more": {GRAPH: origin.graph}, "loras_act": origin.loras_act}
    others = {key: text for key, text in texts.items() if key != KEY}  # of whoever queued the graph: another scene's
    return {KEY: json.dumps(scene.metadata(picture, pictures, **about)), **others}


def _saved(folder: Path, stem: str, png: bytes) -> Path:
    """The file that holds this picture. StorageError."""
    print_of = _fingerprint(png)
    with staged_file(folder, [png]) as temp:
        for number in range(1, MAX_SAME):
            path = contained(folder, f"{stem}.png" if number == 1 else f"{stem} ({number}).png")
            if path.exists():
                if is_whole(path) and _fingerprint_of(path) == print_of:
                    return path
                continue
            try:
                with new_file(temp, path):
                    return path
            except StorageError:
                if not path.exists():  # else another program was faster
                    raise
    raise LikenessError(f"There are {MAX_SAME:,} pictures named {stem} in {folder}: move some away.")


def same_picture(a: Path, b: Path) -> bool:
    """Whether two PNG files have the same pixels and scene, whatever graph and workflow came with them."""
    return is_whole(a) and is_whole(b) and _fingerprint_of(a) == _fingerprint_of(b)


def _fingerprint_of(path: Path) -> tuple[int, int] | None:
    try:
        return _fingerprint(read_limited(path, _MAX_FILE))
    except StorageError:
        return None


def _fingerprint(png: bytes) -> tuple[int, int]:
    """Equal for files of the same pixels and the same scene, whatever graph and workflow came with them."""
    place, total, size = len(SIGNATURE), 0, 0
    while place + 12 <= len(png):
        length = int.from_bytes(png[place : place + 4], "big")
        kind, body = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        if kind != b"tEXt" or body.startswith(KEY.encode() + b"\0"):
            total, size = zlib.crc32(body, total), size + len(body)
        place += 12 + length
    return total, size


# ---- going on


def missing(scenes: Iterable[Scene], there: Mapping[str, There], graphs: Iterable[str] = ()) -> tuple[Scene, ...]:
    """The scenes, in their order, of which `drawn_in` found no whole picture, or not the whole batch.

    `graphs`: digests of all graphs that are to have drawn them; () for any graph. A picture that does not tell its own,
    of an older Likeness, counts for each.
    """
    asked = set(graphs)
    return tuple(s for s in scenes if s.digest not in there or not there[s.digest].holds(asked))


class There:
    """The whole pictures of a scene in a folder, whatever their files are called."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], set[int]] = defaultdict(set)  # (graph, pictures of the batch) -> which

    def add(self, graph: str, picture: int, pictures: int) -> None:
        self._found[graph, pictures].add(picture)

    def holds(self, graphs: set[str]) -> bool:
        whole = {graph for (graph, pictures), which in self._found.items() if len(which) >= pictures}
        return bool(whole) and ("" in whole or graphs <= whole)


def drawn_in(folder: Path) -> Mapping[str, There]:
    """By the digest of the scene. Reads every PNG file of the folder."""
    found: defaultdict[str, There] = defaultdict(There)
    for path in folder.glob("*.png") if folder.is_dir() else []:
        about = place_in(path)
        if about is not None and is_whole(path):
            scene, picture, pictures, graph = about
            found[scene].add(graph, picture, pictures)
    return found
