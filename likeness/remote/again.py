"""A picture made again: its graph and metadata, from the picture itself or from the folder of its run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LikenessError, quoted
from ..files import open_plain, read_limited, read_pieces
from ..inject.insert import ApiGraph
from ..scenes.metadata import texts_of
from ..scenes.names import part_of
from ..scenes.scene import Scene, made, scene_of
from ..sweep.graph_key import digest
from .folder import EARLIER, MANIFEST, OTHERS, PICTURES, Request, requests_in
from .sent import as_it_was

_MAX_MANIFEST = 1 << 30  # bytes


@dataclass(frozen=True)
class Again:
    """What it takes to make a picture again."""

    scene: Scene
    graph: ApiGraph = field(repr=False)
    metadata: Mapping[str, Any] = field(repr=False)  # text chunks
    sha256: str = ""  # of the picture as it was, hex; "" where it is not known
    file: str = ""  # its name then
    path: Path | None = None  # where it lies, if it is still there
    own_names: bool = True  # of `generate`: False for a graph that somebody else has sent

    @property
    def graph_of(self) -> Callable[[Scene], ApiGraph]:
        return lambda scene: self.graph


def again(source: str) -> Again:
    """`source`: a PNG that ComfyUI saved; or "DIR/manifest.json#park", the picture of a scene, by its name, its file,
    its number from 1 or its key. LikenessError when neither the picture nor its folder holds the graph."""
    place, mark, row = source.rpartition("#")
    path = Path(place if mark else source)
    if path.is_dir():
        path = path / MANIFEST
    if path.name == MANIFEST:
        return _of_row(path, row if mark else "")
    path = Path(source)
    if not path.is_file():
        raise LikenessError(f"{source} is no picture, and no row of a manifest: give a PNG, or DIR/{MANIFEST}#NAME.")
    return _of_picture(path)


def _of_picture(path: Path) -> Again:
    with open_plain(path) as file:
        found = {key: _parsed(text) for key, text in texts_of(file)}
    graph, manifest = found.pop("prompt", None), path.parent.parent / MANIFEST
    if isinstance(graph, dict) and graph:
        about = found.get("likeness")
        scene = scene_of(about, path.name) if isinstance(about, dict) else _bare(path.stem, graph)
        texts = {k: v for k, v in found.items() if v is not None}
        plain = as_it_was(graph, lambda was: Request(scene, was).key)
        return Again(scene, plain or graph, texts, _sha256(path), path.name, path, plain is not None)
    if path.parent.name in (PICTURES, OTHERS) and manifest.is_file():
        return _of_row(manifest, path.name)
    raise LikenessError(
        f"{path} does not hold the graph it was drawn by: its server leaves metadata out, or another program has "
        f"saved it again. Give the row of its manifest, DIR/{MANIFEST}#NAME."
    )


def _sha256(path: Path) -> str:
    digester = hashlib.sha256()
    for piece in read_pieces(path):
        digester.update(piece)
    return digester.hexdigest()


def _bare(name: str, graph: ApiGraph) -> Scene:
    return made({"name": f"{part_of(name)}-{digest(graph)[:8]}", "seed": 0, "prompt": ""})


def _of_row(manifest: Path, wanted: str) -> Again:
    rows = _parsed_rows(manifest)
    hits = [r for number, r in enumerate(rows, 1) if wanted in _names(r, number)]
    chosen = [r for r in hits if r.get("chosen")] or hits
    if not chosen:
        known = ", ".join(str(r.get("scene")) for r in rows[:8])
        raise LikenessError(f"{manifest} has no picture {quoted(wanted)}: add #NAME, for example of {known or 'none'}.")
    row = chosen[0]
    for request in requests_in(manifest.parent):
        if request["job"] == row.get("key"):
            scene, path = made(request["scene"]), manifest.parent / str(row.get("file"))
            known = request.get("metadata") or {}, str(row.get("sha256", "")), path.name
            return Again(scene, request["graph"], *known, path if path.is_file() else None)
    raise LikenessError(
        f"The graph of {quoted(wanted)} is not in the journal beside {manifest}: use the picture itself."
    )


def _names(row: Mapping[str, Any], number: int) -> tuple[str, ...]:
    file = str(row.get("file"))
    return (str(row.get("scene")), file, Path(file).name, str(row.get("key")), str(number))


def _parsed_rows(manifest: Path) -> list[dict[str, Any]]:
    values = _parsed(read_limited(manifest, _MAX_MANIFEST).decode(errors="replace"))
    rows = values.get("pictures") if isinstance(values, dict) else None
    if not isinstance(values, dict) or not isinstance(rows, list):
        raise LikenessError(f"{manifest} is no manifest that `likeness generate` has written.")
    earlier = values.get(EARLIER)
    return [row for row in (*rows, *(earlier if isinstance(earlier, list) else ())) if isinstance(row, dict)]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
