"""Files that a server made, as they come over the line: which are kept, and whether they came whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath

from .client import BadAnswerError

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
FILMS = (".gif", ".apng", ".avif", ".mp4", ".webm", ".mkv", ".mov", ".flac", ".mp3", ".opus", ".wav")
_BEGIN = {".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff", ".webp": b"RIFF"}
_END = {".png": b"IEND\xaeB`\x82"}


@dataclass(frozen=True)
class Media:
    """One file."""

    suffix: str  # in lower case, with its dot
    data: bytes = field(repr=False)


def kept_suffix(filename: str) -> str:
    """The suffix under which a file of that name is kept; "" for one that is none of ours to keep."""
    suffix = PurePath(filename.replace("\\", "/")).suffix.lower()
    return suffix if suffix in PICTURES + FILMS else ""


def checked_media(suffix: str, data: bytes, server: str) -> Media:
    """BadAnswerError for what is no such file, or was cut short."""
    if not data or not data.startswith(_BEGIN.get(suffix, b"")) or not data.endswith(_END.get(suffix, b"")):
        raise BadAnswerError(f"ComfyUI at {server} sent a {suffix} file that is none, or is cut short.")
    return Media(suffix, data)
