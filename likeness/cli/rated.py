"""The rating gate for graphs and files that nobody asked a route for.

A checkpoint that somebody in the library has rated asks for what its rating asks for: however it is named, in whatever
loader it stands, and whoever else is in the picture.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..assets import base_name
from ..errors import LikenessError
from ..files import read_limited
from ..library import PROFILE, Library
from ..profile import NamedCheckpoint, Profile
from ..projects import load_project, project_slugs
from ..routes import GENERAL, check_rating
from ..shared_files import PROJECTS, shared_path

_LOAD = "LikenessLoadCharacter"
_MODEL_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
_LOOKED_THROUGH = 16 << 20  # bytes of a broken file
_NAMELESS = ("LikenessLoadFaceEmbedding", "LikenessCreateCharacter")  # of faces without a profile in the library


def check_file(library: Library, listed: str, people: Iterable[Profile]) -> None:
    """LikenessError for a checkpoint that is rated anywhere in the library, unless everybody is an adult."""
    in_it = list(people)
    for rating in _Ratings(library).of(listed):
        check_rating(in_it, rating)


def check_graph(library: Library, graph: Mapping[str, Any], people: Iterable[Profile] = ()) -> None:
    """The same for every file that a graph names; the characters that it loads are in the picture, too."""
    ratings = _Ratings(library)
    inputs = [(node.get("class_type"), node.get("inputs") or {}) for node in graph.values()]
    asked = [rating for _, given in inputs for text in _strings(given) for rating in ratings.of(text)]
    if not asked:
        return
    loaded = [_profile(library, given.get("character")) for kind, given in inputs if kind == _LOAD]
    nameless = None in loaded or any(kind in _NAMELESS for kind, _ in inputs)
    in_it = [] if nameless else [*people, *filter(None, loaded)]
    for rating in asked:
        check_rating(in_it, rating)


def _profile(library: Library, name: object) -> Profile | None:
    """None for a character that this library cannot speak for."""
    try:
        return library.get(name) if isinstance(name, str) else None
    except LikenessError:
        return None


class _Ratings:
    """The ratings other than "general" that profiles and projects of a library give to files.

    What a broken one says of a file cannot be known: a file that is named in it is not drawn with until it is mended.
    """

    def __init__(self, library: Library) -> None:
        self._found: dict[str, set[str]] = {}
        self._broken: list[tuple[LikenessError, str]] = []  # why, and its text
        for entry in library.list():
            if entry.profile:
                self._add(entry.profile.checkpoints.values())
            elif entry.error:
                self._broken.append((entry.error, _text(entry.folder / PROFILE)))
        for slug in project_slugs(library):
            try:
                self._add(load_project(library, slug).routes.values())
            except LikenessError as error:
                path = shared_path(library, PROJECTS, slug)
                self._broken.append((error, _text(path)))

    def _add(self, checkpoints: Iterable[NamedCheckpoint]) -> None:
        for checkpoint in checkpoints:
            if checkpoint.rating != GENERAL:
                self._found.setdefault(_key(checkpoint.file), set()).add(checkpoint.rating)

    def of(self, value: str) -> list[str]:
        """Sorted. LikenessError for a file that stands in a profile or project that cannot be read."""
        key = _key(value)
        for error, text in self._broken:
            if key.endswith(_MODEL_FILES) and key in text:
                raise LikenessError(f"{base_name(value)} may be rated, in a file that cannot be used: {error}")
        return sorted(self._found.get(key, ()))


def _text(path: Path) -> str:
    """What stands in a broken file, to look for names in; "" where nothing can be read."""
    try:
        data = read_limited(path, _LOOKED_THROUGH)
    except LikenessError:
        return ""
    return unicodedata.normalize("NFC", data.decode("utf-8", "replace")).casefold()


def _key(listed: str) -> str:
    """Files count by their own name, in any case and either way to write an accent."""
    return unicodedata.normalize("NFC", base_name(listed)).casefold()


def _strings(value: object) -> Iterator[str]:
    """Every text in a value: some packs write {"content": file}."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(inner)
