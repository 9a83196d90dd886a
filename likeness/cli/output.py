"""What the commands share: which pictures are meant, which character, and how the answer is printed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import images
from ..paths import is_slug, slug_of


def say(arguments: argparse.Namespace, text: str, values: Any) -> None:
    """Print `text`, or `values` as JSON where --json was given."""
    print(json.dumps(values, indent=2, ensure_ascii=False) if arguments.json else text)


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
