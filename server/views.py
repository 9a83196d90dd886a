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
from ..likeness.cards import Cards, details, main_reference, matching, picture_tag, reference_path
from ..likeness.character import open_character
from ..likeness.doctor import Check, examine
from ..likeness.graph_needs import needs_of
from ..likeness.settings import read_settings
from .asked import Answer, Asked, Body, Picture
from .backend import Backend
from .guard import Refused

MOST = 1000  # cards in one answer
SIZES = (32, 1024)  # px of a thumbnail
_KEPT = 2000  # thumbnails in memory, about 5 KB each

_cards = Cards()
_lock = Lock()  # of what is remembered here
_thumbs: OrderedDict[tuple[Path, int, int, bool, str], bytes] = OrderedDict()


def characters(backend: Backend, asked: Asked) -> Answer:
    """A part of the list: those that `search` finds, from `first`, at most `most`."""
    first, most = asked.number("first", 0, 0, 10**6), asked.number("most", 200, 1, MOST)
    with _lock:
        found = matching(_cards.of(backend.library()), asked.query.get("search", "")[:200])
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
    tag = picture_tag(folder, profile, index)
    if not tag:
        raise Refused(404, f"{profile.name} has no such picture.")
    if asked.tag.strip('"') == tag:
        return Picture(b"", tag)
    key = (folder, index, size, framed, tag)
    with _lock:
        data = _thumbs.get(key)
    if data is None:
        pixels = images.read(reference_path(folder, profile, index))
        data = images.encode_jpeg(_framed(backend, asked.slug, index, pixels) if framed else pixels, size)
        _remember(key, data)
    return Picture(data, tag)


def _remember(key: tuple[Path, int, int, bool, str], data: bytes) -> None:
    with _lock:
        _thumbs[key] = data
        while len(_thumbs) > _KEPT:
            _thumbs.popitem(last=False)


def _framed(backend: Backend, slug: str, index: int, pixels: images.RGB8) -> images.RGB8:
    """The picture with its face framed, and the five points."""
    opened = open_character(backend.library(), slug)
    file = opened.profile.references[index].file
    face = next((f.face for f in opened.faces if f.file == file), None)
    if face is None:
        return pixels
    image = Image.fromarray(pixels)
    draw, width = ImageDraw.Draw(image), max(2, max(pixels.shape) // 200)
    box = [float(v) for v in face.box]
    if box[2] > box[0] and box[3] > box[1]:
        draw.rectangle(box, outline=(255, 255, 255), width=2 * width)
        draw.rectangle(box, outline=(38, 112, 140), width=width)
    for x, y in face.keypoints:
        draw.ellipse([float(x) - width, float(y) - width, float(x) + width, float(y) + width], fill=(255, 255, 255))
    return np.asarray(image).copy()


class Graph(Body):
    graph: dict[str, Any]  # as ComfyUI's /prompt takes it


def doctor(backend: Backend, asked: Asked) -> Answer:
    """What is installed, what is missing, and a text to send with a report of a fault."""
    return _report(backend, examine(backend.folders()))


def doctor_of_graph(backend: Backend, asked: Asked) -> Answer:
    """Also what the graph that is open asks for. A POST, because a graph is long; it changes nothing."""
    graph = asked.read(Graph).graph
    report, needs = _report(backend, examine(backend.folders())), needs_of(graph, backend.listed)
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
