"""Names of scenes. They become file names, on any system, so a name keeps letters and digits of every script only."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

from ..paths import is_reserved

MAX_PART, MAX_NAME = 60, 160  # bytes in UTF-8; file systems stop at 255, and a number and a suffix follow
MAX_FILE = 200  # bytes of a scene's name in the name of a file
JOINT = "-"  # between the parts of a name; never inside of one
_KEPT = "LMN"  # Unicode: letters, the marks that belong to them, digits


def part_of(text: str, most: int = MAX_PART) -> str:
    """ "A red dress!" -> "a_red_dress". What is longer, or has no letter and no digit, gets a digest of itself."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(c if unicodedata.category(c)[0] in _KEPT else " " for c in plain).split()
    part = unicodedata.normalize("NFC", "_".join(words))
    if not part:
        return f"x{digest_of(text)}"
    return part if _size(part) <= most else f"{_cut(part, most - 9)}_{digest_of(text)}"


def parts_of(texts: Sequence[tuple[str, str]]) -> list[str]:
    """A part for each (name, what else tells it apart), no two the same; the first keeps its own."""
    taken: dict[str, None] = {}
    for name, more in texts:
        part, tries = part_of(name), 0
        while part in taken:
            part, tries = f"{part_of(name, MAX_PART - 9)}_{digest_of(more + chr(10) * tries)}", tries + 1
        taken[part] = None
    return list(taken)


def name_of(parts: Iterable[str]) -> str:
    """Parts -> the name of a scene."""
    whole = JOINT.join(parts)
    name = whole if _size(whole) <= MAX_NAME else f"{_cut(whole, MAX_NAME - 9)}{JOINT}{digest_of(whole)}"
    return f"{name}_" if is_reserved(name) else name


def numbered(name: str, number: int) -> str:
    """The name of a scene's first, second, ... picture: "park", "park-2"."""
    return name if number == 1 else f"{name}{JOINT}{number}"


def file_name(name: str) -> str:
    """A scene's name as a file's: itself, unless somebody else's program, or a picture, called a scene a path."""
    plain = all(unicodedata.category(c)[0] in _KEPT or c in "-_ .()+" for c in name) and name[:1] not in (".", " ", "")
    return name if plain and _size(name) <= MAX_FILE and not is_reserved(name) else part_of(name, MAX_NAME)


def digest_of(text: str) -> str:
    """8 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _cut(text: str, most: int) -> str:
    """At most so many bytes, between two characters."""
    return text.encode("utf-8", "surrogatepass")[:most].decode("utf-8", "ignore").rstrip("_-")
