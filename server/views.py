"""Handlers that only look."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..likeness import images
from ..likeness.cards import Cards, details, faces_tag, main_reference, matching, picture_tag, reference_path
from ..likeness.character import open_character
from ..likeness.doctor import Check, examine
from ..likeness.graph_needs import needs_of
from ..likeness.library import Library
from ..likeness.settings import read_settings
from .asked import Answer, Asked, Body, Picture
from .backend import Backend
from .guard import Refused

MOST = 1000  # cards in one answer
SIZES = (32, 1024)  # px of a thumbnail
_LOOKED = 100  # characters whose faces the doctor reads; a thousand take 6 s of a core
_KEPT = 32 << 20  # bytes of thumbnails in memory; one is 5 KB, a large one 200 KB
_KEPT_MARKS = 8  # characters

Key = tuple[Path, int, int, bool, str]
Marks = dict[str, tuple[str, list[float], list[list[float]]]]  # reference -> (picture's tag, box, five points), in px

_cards = Cards()
_listing = Lock()  # of the cards
_lock = Lock()  # of what is remembered below; held for a moment only
_opening = Lock()  # one character is opened at a time: the tiles of a page all ask for the same one
_thumbs: OrderedDict[Key, bytes] = OrderedDict()
_marks: OrderedDict[tuple[Path, str], Marks] = OrderedDict()


def characters(backend: Backend, asked: Asked) -> Answer:
    """A part of the list: those that `search` finds, from `first`, at most `most`."""
    first, most = asked.number("first", 0, 0, 10**6), asked.number("most", 200, 1, MOST)
    with _listing:
        cards = _cards.of(backend.library())
    found = matching(cards, asked.query.get("search", "")[:200])
    return {"total": len(found), "characters": [card.as_dict() for card in found[first : first + most]]}


def character(backend: Backend, asked: Asked) -> Answer:
    """Everything about one."""
    return details(backend.library(), asked.slug, backend.output_folder() / "likeness" / "training" / asked.slug)


def thumbnail(backend: Backend, asked: Asked) -> Answer:
    """A reference as JPEG that we encode; `box=1` frames its face. Without `reference` the main one."""
    library = backend.library()
    profile, folder = library.get(asked.slug), library.folder(asked.slug)
    index = asked.number("reference", max(main_reference(profile), 0), 0, 10**6)
    size, framed = asked.number("size", 128, *SIZES), asked.number("box", 0, 0, 1) == 1
    picture = picture_tag(folder, profile, index)
    if not picture:
        raise Refused(404, f"{profile.name} has no such picture.")
    tag = f"{picture}{faces_tag(folder)}" if framed else picture
    if asked.tag.strip('"') == tag:
        return Picture(b"", tag)
    key = (folder, index, size, framed, tag)
    with _lock:
        data = _thumbs.get(key)
    if data is None:
        pixels = images.read(reference_path(folder, profile, index))
        if framed:
            pixels = _framed(_marks_of(library, asked.slug, profile.references[index].file, picture), pixels)
        data = images.encode_jpeg(pixels, size)
        _remember(key, data)
    return Picture(data, tag)


def _remember(key: Key, data: bytes) -> None:
    with _lock:
        _thumbs.pop(key, None)
        _thumbs[key] = data
        total = sum(map(len, _thumbs.values()))
        while total > _KEPT:
            total -= len(_thumbs.popitem(last=False)[1])


def _marks_of(library: Library, slug: str, file: str, picture: str) -> tuple[list[float], list[list[float]]] | None:
    """Box and points of the face in a reference; None where no face is stored for that picture."""
    folder = library.folder(slug)
    with _opening:
        key = (folder, faces_tag(folder))
        known = _marks.get(key, {}).get(file)
        if known is None or known[0] != picture:
            opened = open_character(library, slug)
            faces, profile = {f.file: f.face for f in opened.faces}, opened.profile
            tags = {r.file: picture_tag(folder, profile, i) for i, r in enumerate(profile.references)}
            _marks[key] = {f: (tags[f], face.box.tolist(), face.keypoints.tolist()) for f, face in faces.items()}
            while len(_marks) > _KEPT_MARKS:
                _marks.popitem(last=False)
            known = _marks[key].get(file)
    return known[1:] if known and known[0] == picture else None


def _framed(marks: tuple[list[float], list[list[float]]] | None, pixels: images.RGB8) -> images.RGB8:
    """The picture with its face framed, and the five points."""
    if marks is None:
        return pixels
    box, points = marks
    image = Image.fromarray(pixels)
    draw, width = ImageDraw.Draw(image), max(2, max(pixels.shape) // 200)
    if box[2] > box[0] and box[3] > box[1]:
        draw.rectangle(box, outline=(255, 255, 255), width=2 * width)
        draw.rectangle(box, outline=(38, 112, 140), width=width)
    for x, y in points:
        draw.ellipse([x - width, y - width, x + width, y + width], fill=(255, 255, 255))
    return np.asarray(image).copy()


class Graph(Body):
    graph: dict[str, Any]  # as ComfyUI's /prompt takes it


def doctor(backend: Backend, asked: Asked) -> Answer:
    """What is installed, what is missing, and a text to send with a report of a fault."""
    return _report(backend, examine(backend.folders(), most=_LOOKED))


def doctor_of_graph(backend: Backend, asked: Asked) -> Answer:
    """Also what the graph that is open asks for. A POST, because a graph is long; it changes nothing."""
    graph = asked.read(Graph).graph
    report, needs = _report(backend, examine(backend.folders(), most=_LOOKED)), needs_of(graph, backend.listed)
    lines = [f"missing {n.folder}/{n.file}, for {n.title} ({n.input})" for n in needs if not n.there]
    return {**report, "needs": [asdict(need) for need in needs], "text": "\n".join([str(report["text"]), *lines])}


def _report(backend: Backend, checks: list[Check]) -> dict[str, object]:
    versions = dict(backend.versions())
    head = ", ".join(f"{name} {version}" for name, version in versions.items())
    rows = [{"status": c.status, "subject": c.subject, "found": c.found, "remedy": c.remedy} for c in checks]
    return {"versions": versions, "checks": rows, "text": "\n".join([head, *map(str, checks)])}


def settings(backend: Backend, asked: Asked) -> Answer:
    """What the user has set, and where characters are."""
    found = read_settings(backend.settings_file()).model_dump()
    return {**found, "library": [str(root) for root in backend.library().roots]}
