"""`likeness embed`: the faces of many pictures into the embedding cache."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import LikenessError, printable
from ..faces.packs import find_pack
from ..remote.faces import Filled, PackModel
from .datasets import Shows
from .output import picture_files, say, slug_named
from .places import Places
from .spreading import add_ray_options, fill

MAX_NAMED = 20  # pictures in the text; the JSON has all


def add_embed(command: Callable[[str, Any, str], argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """The command, without the options of the face model, which others share."""
    parser = command("embed", embed, "analyse the faces of many pictures once, for all commands that look at them")
    parser.add_argument("pictures", nargs="+", type=Path, help="pictures, or folders of pictures")
    parser.add_argument("--name", metavar="CHARACTER", help="by the face model of this character")
    add_ray_options(parser)
    return parser


def embed(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when no picture could be read."""
    pictures = _once(picture_files(arguments.pictures))
    if not pictures:
        given = ", ".join(map(str, arguments.pictures))
        raise LikenessError(f"There is no PNG, JPEG or WebP picture in {given}.")
    own = places.library().get(slug_named(arguments.name)).face_model if arguments.name else ""
    pack = find_pack(arguments.face_model or own or "auto", places.folders.insightface)
    shows = Shows("pictures analysed")
    try:
        model = PackModel(pack, arguments.provider, arguments.backend)
        filled = fill(arguments, places, pictures, model, shows)
    finally:
        shows.finish()
    say(arguments, _text(filled, pack.name), _values(filled, pack.name, places.cache))
    return int(len(filled.unreadable) == filled.pictures)


def _once(pictures: Sequence[Path]) -> list[Path]:
    """Without files that were named twice, by whatever way."""
    found: dict[str, Path] = {}
    for path in pictures:
        found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _values(filled: Filled, pack: str, cache: Path) -> dict[str, Any]:
    return {
        "pictures": filled.pictures,
        "analysed": filled.analysed,
        "known": filled.known,
        "not_readable": [{"picture": str(path), "reason": reason} for path, reason in filled.unreadable],
        "faces": filled.faces,
        "without_face": filled.without_face,
        "face_model": pack,
        "ran_on": list(filled.providers),
        "cache": str(cache),
    }


def _text(filled: Filled, pack: str) -> str:
    where = f" on {', '.join(filled.providers)}" if filled.providers else ""
    lines = [
        f"Pictures: {filled.pictures:,}; analysed {filled.analysed:,}, known already {filled.known:,}, "
        f"not readable {len(filled.unreadable):,}.",
        f"Faces: {filled.faces:,}; pictures without one: {filled.without_face:,}.",
        f"Face model: {pack}{where}",
    ]
    lines += [f"{printable(str(path))}: {printable(reason)}" for path, reason in filled.unreadable[:MAX_NAMED]]
    if len(filled.unreadable) > MAX_NAMED:
        lines.append(f"and {len(filled.unreadable) - MAX_NAMED:,} more that cannot be read")
    return "\n".join(lines)
