"""The rating gate for graphs and files that nobody asked a route for.

A checkpoint that somebody in the library has rated asks for what its rating asks for: however it is named, in whatever
loader it stands, and whoever else is in the picture.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..assets import base_name
from ..errors import LikenessError
from ..library import Library
from ..profile import NamedCheckpoint, Profile
from ..projects import load_project, project_slugs
from ..routes import GENERAL, check_rating

_LOAD = "LikenessLoadCharacter"
_NAMELESS = ("LikenessLoadFaceEmbedding", "LikenessCreateCharacter")  # of faces without a profile in the library


def check_file(library: Library, listed: str, people: Iterable[Profile]) -> None:
    """LikenessError for a checkpoint that is rated anywhere in the library, unless everybody is an adult."""
    _check([listed], list(people), _ratings(library))


def check_graph(library: Library, graph: Mapping[str, Any], people: Iterable[Profile] = ()) -> None:
    """The same for every file that a graph names; the characters that it loads are in the picture, too."""
    ratings = _ratings(library)
    inputs = [(node.get("class_type"), node.get("inputs") or {}) for node in graph.values()]
    rated = [text for _, given in inputs for text in _strings(given) if _key(text) in ratings]
    if not rated:
        return
    loaded = [_profile(library, given.get("character")) for kind, given in inputs if kind == _LOAD]
    nameless = None in loaded or any(kind in _NAMELESS for kind, _ in inputs)
    _check(rated, [] if nameless else [*people, *filter(None, loaded)], ratings)


def _profile(library: Library, name: object) -> Profile | None:
    """None for a character that this library cannot speak for."""
    try:
        return library.get(name) if isinstance(name, str) else None
    except LikenessError:
        return None


def _check(values: Iterable[str], people: list[Profile], ratings: Mapping[str, set[str]]) -> None:
    for value in values:
        for rating in sorted(ratings.get(_key(value), ())):
            check_rating(people, rating)


def _ratings(library: Library) -> dict[str, set[str]]:
    """A file's own name -> the ratings other than "general" that somebody gave it."""
    found: dict[str, set[str]] = {}
    for checkpoint in _named(library):
        if checkpoint.rating != GENERAL:
            found.setdefault(_key(checkpoint.file), set()).add(checkpoint.rating)
    return found


def _named(library: Library) -> Iterator[NamedCheckpoint]:
    for entry in library.list():
        yield from entry.profile.checkpoints.values() if entry.profile else ()
    for slug in project_slugs(library):
        try:
            yield from load_project(library, slug).routes.values()
        except LikenessError:
            continue  # a broken file rates nothing; whoever uses that project is told


def _key(listed: str) -> str:
    """Files count by their own name, in any case and either way to write an accent."""
    return unicodedata.normalize("NFC", base_name(listed)).casefold()


def _strings(value: object) -> Iterator[str]:
    """Every text in a value: some packs write {"content": file}."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(inner)
