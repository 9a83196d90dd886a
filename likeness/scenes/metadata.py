"""Scenes in PNG files: text chunks are put in and read without decoding the picture.

PNG (ISO/IEC 15948) is a signature and chunks: length, four letters, data, CRC-32 of letters and data. A text chunk
`tEXt` holds a keyword, a zero byte and Latin-1 text; ComfyUI writes its JSON so, in ASCII.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ImageError, LikenessError
from ..files import open_plain
from .scene import scene_of

KEY = "likeness"  # of our text chunk
GRAPH = "graph"  # in "more": digest of the graph that drew it
SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNK = 64 << 20  # bytes of a text chunk that is read
_PIECE = 1 << 20


def with_texts(png: bytes, texts: Mapping[str, str]) -> bytes:
    """The picture with these text chunks behind its header, in their order; texts are ASCII, as JSON can be.

    ImageError when it is no PNG.
    """
    end = len(SIGNATURE) + 25  # of the header chunk, which is always the first and 13 bytes long
    if not png.startswith(SIGNATURE) or png[12:16] != b"IHDR" or len(png) < end:
        raise ImageError("The picture to write into is no PNG.")
    return png[:end] + b"".join(_text_chunk(k, v) for k, v in texts.items()) + png[end:]


def _text_chunk(key: str, text: str) -> bytes:
    body = b"tEXt" + key.encode("latin-1") + b"\0" + text.encode("ascii")
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def scene_in(path: Path) -> dict[str, Any] | None:
    """What `Scene.metadata` wrote into this file; None for any other file, and for one that is not there.

    `scene_of(scene_in(path))` is the scene again.
    """
    try:
        with open_plain(path) as file:
            text = next((t for key, t in texts_of(file) if key == KEY), None)
    except OSError:
        return None
    try:
        found = json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def digest_in(path: Path) -> tuple[str, int, int] | None:
    """(digest, picture, pictures) of a file that holds a picture of a scene; None for any other."""
    found = place_in(path)
    return found and found[:3]


def place_in(path: Path) -> tuple[str, int, int, str] | None:
    """The same, and the digest of the graph that drew it; "" where an older Likeness has not written one."""
    found = scene_in(path)
    if found is None:
        return None
    try:
        scene = scene_of(found, path.name)
    except LikenessError:
        return None
    picture, pictures = found.get("picture"), found.get("pictures")
    whole = isinstance(picture, int) and isinstance(pictures, int) and 1 <= picture <= pictures
    more = found.get("more")
    graph = more.get(GRAPH) if isinstance(more, dict) else None
    if not whole:
        return None
    return scene.digest, picture, pictures, graph if isinstance(graph, str) else ""  # type: ignore[return-value]


def is_whole(path: Path) -> bool:
    """Whether every chunk of a PNG is there and has the sum that it was written with."""
    try:
        with open_plain(path) as file:
            if file.read(len(SIGNATURE)) != SIGNATURE:
                return False
            while head := file.read(8):
                length, kind = _head(head)
                if not _sum_is_right(file, kind, length):
                    return False
                if kind == b"IEND":
                    return True
    except (OSError, ValueError):
        return False
    return False


def _sum_is_right(file: BinaryIO, kind: bytes, length: int) -> bool:
    found = zlib.crc32(kind)
    while length > 0:
        piece = file.read(min(length, _PIECE))
        if not piece:
            return False
        found, length = zlib.crc32(piece, found), length - len(piece)
    return file.read(4) == struct.pack(">I", found)


def texts_of(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """Keyword and text of the chunks before the pixels."""
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return
    while head := file.read(8):
        try:
            length, kind = _head(head)
        except ValueError:
            return
        if kind in (b"IDAT", b"IEND"):
            return
        if kind == b"tEXt" and length <= MAX_CHUNK:
            key, _, text = file.read(length).partition(b"\0")
            yield key.decode("latin-1"), text.decode("latin-1")
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)


def _head(head: bytes) -> tuple[int, bytes]:
    """Length and letters of a chunk. ValueError for what is none."""
    if len(head) != 8 or not head[4:].isalpha():
        raise ValueError("no chunk")
    length, kind = struct.unpack(">I4s", head)
    return int(length), bytes(kind)
