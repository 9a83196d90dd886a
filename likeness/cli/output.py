"""What the commands share: which pictures are meant, which character, and how the answer is printed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .. import images
from ..errors import LikenessError
from ..paths import is_slug, slug_of


def say(arguments: argparse.Namespace, text: str, values: Any) -> None:
    """Print `text`, or `values` as JSON where --json was given."""
    print(json.dumps(values, indent=2, ensure_ascii=False) if arguments.json else text)


def list_all(
    names: Iterable[str], look: Callable[[str], tuple[str, dict[str, Any]]], key: str = "slug"
) -> tuple[str, list[dict[str, Any]]]:
    """(a line each, values each) of what lies in a library by name; one that is broken says why and hides no other.

    `look` gives what stands behind a name and its values; `key` is what the values call the name.
    """
    lines, rows = list[str](), list[dict[str, Any]]()
    for name in names:
        try:
            told, values = look(name)
        except LikenessError as error:
            told, values = f"broken: {error}", {"error": str(error)}
        lines.append(f"{name:24} {told}")
        rows.append({key: name, **values})
    return "\n".join(lines), rows


def slug_named(name: str) -> str:
    """A character by its folder name, or by the name it is shown under."""
    return name if is_slug(name) else slug_of(name)


def picture_files(paths: Sequence[Path]) -> list[Path]:
    """Files as given, folders by the pictures in them, sorted by name."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in images.SUFFIXES) if path.is_dir() else [path]
        found += inside
    return found
