"""The only place where text becomes a path.

Every string that reaches this module may come from a workflow, an archive or a web page, so it is
checked on the final path, after links are resolved.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from .errors import BadNameError, PathError, quoted

MAX_SLUG = 64
SLUG_PATTERN = r"[a-z0-9][a-z0-9_-]{0,63}"
_SLUG = re.compile(SLUG_PATTERN)
_FILE_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ +()-]{0,127}")
_PORTS = {f"{device}{n}" for device in ("com", "lpt") for n in "0123456789¹²³"}
_RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$"} | _PORTS


def is_reserved(name: str) -> bool:
    """True for names that Windows keeps for devices, with or without an extension."""
    return name.split(".")[0].strip().lower() in _RESERVED


def check_slug(text: str) -> str:
    """Return `text` if it can be a character's folder name on every system, else raise BadNameError."""
    if not isinstance(text, str) or not _SLUG.fullmatch(text):
        raise BadNameError(
            f"{quoted(text)} cannot be a character's folder name: use 1 to {MAX_SLUG} of a-z, 0-9, '_' and '-', "
            "starting with a letter or digit."
        )
    if is_reserved(text):
        raise BadNameError(f"{quoted(text)} is a name that Windows keeps for devices: choose another name.")
    return text


def is_slug(text: str) -> bool:
    try:
        check_slug(text)
    except BadNameError:
        return False
    return True


def slug_of(name: str) -> str:
    """The folder name for a display name: "Ada Ray" -> "ada_ray".

    Raises BadNameError for a name that is no name but a path, or has nothing to make a slug from.
    """
    if not isinstance(name, str) or not name.strip():
        raise BadNameError("The character has no name: type one, for example 'Ada Ray'.")
    if any(c in name for c in "/\\\0") or ".." in name or any(unicodedata.category(c) == "Cc" for c in name):
        raise BadNameError(
            f"{quoted(name)} looks like a path, not a name: leave out '/', '\\', '..' and control characters."
        )
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9-]+", "_", plain).strip("_-")[:MAX_SLUG].rstrip("_-")
    if not slug:
        raise BadNameError(
            f"{quoted(name)} has no letter or digit from a-z, 0-9, which the folder's name is made of: add one."
        )
    return check_slug(slug)


def check_relative(text: str) -> str:
    """Return `text` if it is a plain relative path with '/' between safe parts, else raise PathError."""
    parts = text.split("/") if isinstance(text, str) else []
    bad = not parts or any(
        not _FILE_PART.fullmatch(p) or p.endswith((" ", ".")) or ".." in p or is_reserved(p) for p in parts
    )
    if bad or len(text) > 240:
        raise PathError(
            f"{quoted(text)} is not a path inside the character's folder: write it relative, with '/', "
            "without '..' and without special characters, for example 'references/001.png'."
        )
    return text


def contained(root: Path, *parts: str) -> Path:
    """`root/parts...`, proven to lie inside `root` after every link is resolved.

    Raises PathError; never touches the file itself.
    """
    if any("\0" in p for p in parts):
        raise PathError("A file name contains a NUL character: rename the file.")
    base = os.path.realpath(root)
    try:
        final = os.path.realpath(os.path.join(base, *parts))
        inside = final != base and os.path.commonpath([base, final]) == base
    except (ValueError, OSError):
        inside = False
    if not inside:
        raise PathError(f"{quoted('/'.join(parts))} leaves the folder {root}: use a name inside it.")
    return Path(final)


def inside(root: Path, relative: str) -> Path:
    """A path written in a profile or an archive, checked as text and again on disk."""
    return contained(root, *check_relative(relative).split("/"))
