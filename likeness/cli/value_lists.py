"""`likeness lists`: value lists, what outfit, background, pose, expression, camera and light can be."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import LikenessError
from ..files import read_limited
from ..scenes.lists import DEFAULTS, FACETS, Entry, Lists, list_names, load_lists, parse_lines, save_lists
from ..shared_files import LISTS, shared_path, shared_slug, shared_trash
from .output import list_all, say
from .places import Places

_MAX_FILE = 1 << 20  # bytes of a file of entries


def add_lists(command: Any) -> None:
    """`likeness lists list|show|set|remove`; `command` adds one of them."""
    command("list", list_lists, "list the saved value lists")
    showing = command("show", show_lists, "show a saved value list, or the built-in one")
    showing.add_argument("name", nargs="?", default="", help="default: the built-in lists")
    setting = command("set", set_lists, "save a value list; a new one begins as the built-in one")
    setting.add_argument("name", help="what it is called, for --lists and the node's saved_lists")
    setting.add_argument("--add", action="store_true", help="beside the entries that are there, not in their place")
    for facet in FACETS:
        setting.add_argument(
            f"--{facet}",
            action="append",
            metavar="ENTRY",
            help='"name: text", then " | loras=..." and " | trigger=..." where it has them; @FILE: one a line',
        )
    command("remove", remove_lists, "move a value list to the library's .trash folder").add_argument("name")


def list_lists(arguments: argparse.Namespace, places: Places) -> None:
    library = places.library()

    def look(name: str) -> tuple[str, dict[str, Any]]:
        lists = load_lists(library, name)
        counts = {facet: len(lists.of(facet)) for facet in FACETS}
        return ", ".join(f"{count} {facet}" for facet, count in counts.items()), counts

    text, rows = list_all(list_names(library), look, "name")
    say(arguments, text or "No value list is saved: likeness lists set NAME --outfit ENTRY", rows)


def show_lists(arguments: argparse.Namespace, places: Places) -> None:
    library = places.library()
    lists = load_lists(library, arguments.name) if arguments.name else DEFAULTS
    path = str(shared_path(library, LISTS, shared_slug(LISTS, arguments.name))) if arguments.name else ""
    parts = [f"{facet}:\n" + "\n".join(f"  {e.line()}" for e in lists.of(facet)) for facet in FACETS if lists.of(facet)]
    say(arguments, "\n".join([*([path] if path else []), *parts]), {"file": path, **lists.model_dump(mode="json")})


def set_lists(arguments: argparse.Namespace, places: Places) -> None:
    given = {facet: entries for facet in FACETS if (entries := getattr(arguments, facet)) is not None}
    if not given:
        raise LikenessError('Nothing to save: give entries, for example --outfit "red: a red summer dress".')
    library = places.library()
    there = arguments.name and shared_slug(LISTS, arguments.name) in list_names(library)
    before = load_lists(library, arguments.name) if there else DEFAULTS
    made = {facet: _entries(texts, facet, before if arguments.add else Lists()) for facet, texts in given.items()}
    path = save_lists(library, arguments.name, before.model_copy(update=made))
    counts = {facet: len(entries) for facet, entries in made.items()}
    told = ", ".join(f"{count} {facet}" for facet, count in counts.items())
    say(arguments, f"Saved {path.stem}: {told} ({path}).", {"name": path.stem, "file": str(path), **counts})


def _entries(texts: list[str], facet: str, before: Lists) -> tuple[Entry, ...]:
    lines = [_file(text[1:]) if text.startswith("@") else text for text in texts]
    return parse_lines("\n".join([*filter(None, [before.text(facet)]), *lines]), f"{facet} list")


def _file(name: str) -> str:
    try:
        return read_limited(Path(name), _MAX_FILE).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise LikenessError(f"{name} is no text in UTF-8: write one entry a line.") from None


def remove_lists(arguments: argparse.Namespace, places: Places) -> None:
    target = shared_trash(places.library(), LISTS, shared_slug(LISTS, arguments.name))
    say(arguments, f"Moved {arguments.name} to {target}.", {"file": str(target)})
