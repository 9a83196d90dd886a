"""The settings that a picture was drawn with, from what ComfyUI writes into its PNG files, or a sweep beside them.

ComfyUI puts the graph in API form as JSON into a text chunk "prompt" before the pixels. A sweep keeps <stem>.json
beside <stem>.png (`likeness/sweep/store.py`). Anybody can write anything there: sizes are bounded, nothing is followed
but links between the graph's own nodes, and what does not fit is no setting.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

SETTINGS = ("lora", "lora_strength", "faceid_weight", "checkpoint", "seed", "prompt")
LABELS = {name: name.replace("_", " ") for name in SETTINGS} | {  # for people
    "lora": "LoRA",
    "lora_strength": "LoRA strength",
    "faceid_weight": "FaceID weight",
}
MAX_GRAPH = 1 << 20  # bytes
MAX_BESIDE = 64 << 10  # bytes of the JSON beside a picture
_MAX_CHUNKS, _MAX_NODES, _MAX_LINKS, _MAX_VALUE, _MAX_VALUES = 64, 2000, 32, 120, 4
_MAX_SAMPLERS = 8
_PLAIN = ("value", "seed", "noise_seed")  # what a node that only gives a value calls it
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LORA = ("LoraLoader", "LoraLoaderModelOnly")
_FROM: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # setting -> node classes, their inputs
    "lora": (_LORA, ("lora_name",)),
    "lora_strength": ((*_LORA, "LikenessApplyCharacter"), ("strength_model", "strengths.lora")),
    "faceid_weight": (("LikenessApplyCharacter",), ("strengths.faceid_weight", "strengths")),
    "checkpoint": (("CheckpointLoaderSimple", "CheckpointLoader", "UNETLoader"), ("ckpt_name", "unet_name")),
    "seed": (("KSampler", "KSamplerAdvanced", "SamplerCustom", "RandomNoise"), ("seed", "noise_seed")),
}
_CELL = {"lora": "lora_strength", "faceid_weight": "faceid_weight", "lora_file": "lora"}  # axis of a sweep -> setting

Graph = dict[str, Any]


def read_settings(path: Path) -> dict[str, str]:
    """Those of SETTINGS that the file tells, and for the others the JSON beside it; {} where there are none. Never
    raises."""
    return settings_beside(path) | settings_of(_read(path, _graph_text))


def settings_beside(path: Path) -> dict[str, str]:
    """What a sweep has written beside its picture; {} for any other JSON."""
    values = _parsed(_read(path.parent / f"{path.stem}.json", lambda file: file.read(MAX_BESIDE)))
    cell = values.get("cell") if isinstance(values, dict) else None
    if not isinstance(cell, dict):
        return {}
    found = {setting: _told({}, cell.get(axis)) for axis, setting in _CELL.items()}
    found |= {name: _told({}, values.get(name)) for name in ("seed", "prompt")}
    return {name: value for name, value in found.items() if value}


def _read(path: Path, read: Callable[[BinaryIO], bytes]) -> bytes:
    """b"" where there is no plain file, or it cannot be read."""
    try:
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            return read(file) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except (OSError, ValueError):
        return b""


def settings_of(text: bytes) -> dict[str, str]:
    """The same of the JSON."""
    graph = _drawn(_graph(text))
    if not graph:
        return {}
    found = {name: _values(graph, *_FROM[name]) for name in _FROM} | {"prompt": _prompt(graph)}
    return {name: value for name, value in found.items() if value}


def _graph_text(file: BinaryIO) -> bytes:
    """The chunk "prompt" of a PNG file, without reading its pixels; b"" where there is none."""
    if file.read(8) != _SIGNATURE:
        return b""
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
            return b""
        (length,) = struct.unpack(">I", head[:4])
        if head[4:] not in (b"tEXt", b"iTXt") or length > MAX_GRAPH:
            file.seek(length + 4, os.SEEK_CUR)
            continue
        data, checksum = file.read(length), file.read(4)
        key, _, rest = data.partition(b"\0")
        if key == b"prompt" and checksum == struct.pack(">I", zlib.crc32(head[4:] + data)):
            return rest if head[4:] == b"tEXt" else _international(rest)
    return b""


def _international(rest: bytes) -> bytes:
    """The text of an iTXt chunk after its keyword, b"" for a compressed one, which ComfyUI does not write."""
    return rest[2:].split(b"\0", 2)[-1] if rest[:1] == b"\0" and rest[2:].count(b"\0") >= 2 else b""


def _parsed(text: bytes) -> object:
    try:
        return json.loads(text, parse_int=_whole) if text else None  # a number of a million digits takes minutes
    except (ValueError, RecursionError):
        return None


def _graph(text: bytes) -> Graph:
    values = _parsed(text)
    if not isinstance(values, dict) or len(values) > _MAX_NODES:
        return {}
    nodes = {key: node for key, node in values.items() if isinstance(node, dict)}
    return {key: node for key, node in nodes.items() if isinstance(node.get("inputs"), dict)}


def _drawn(graph: Graph) -> Graph:
    """The nodes that a saving node depends on: what lies beside them drew nothing. All of them where none saves."""
    waiting = [key for key, node in graph.items() if "save" in _class_of(node).lower()]
    needed: set[str] = set()
    while waiting:
        key = waiting.pop()
        if key not in needed:
            needed.add(key)
            links = (v[0] for v in graph[key]["inputs"].values() if _linked(graph, v) is not None)
            waiting += [other for other in links if other not in needed]
    return {key: node for key, node in graph.items() if key in needed} if needed else graph


def _class_of(node: Graph) -> str:
    value = node.get("class_type")
    return value[:100] if isinstance(value, str) else ""


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) < 25 else digits


def _values(graph: Graph, classes: tuple[str, ...], names: tuple[str, ...]) -> str:
    """What the nodes of these classes have in the first of these inputs that they have; joined where they differ."""
    found = []
    for node in graph.values():
        if node.get("class_type") in classes:
            told = (_told(graph, node["inputs"].get(name)) for name in names)
            found.append(next(filter(None, told), ""))
    return " + ".join(sorted({value for value in found if value})[:_MAX_VALUES])


def _told(graph: Graph, value: object) -> str:
    """A text or number as text; of a link, what a node with one plain value gives, as Primitive nodes do."""
    node = _linked(graph, value)
    if node is not None:
        value = next((node["inputs"][name] for name in _PLAIN if name in node["inputs"]), None)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return " ".join((f"{value:g}" if isinstance(value, float) else str(value)[:1000]).split())[:_MAX_VALUE]


def _linked(graph: Graph, value: object) -> Graph | None:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return graph.get(value[0])
    return None


def _prompt(graph: Graph) -> str:
    """The positive prompt: the first text upstream of a sampler's "positive"."""
    for inputs in islice((n["inputs"] for n in graph.values() if _samples(n["inputs"])), _MAX_SAMPLERS):
        guider = _linked(graph, inputs.get("guider"))
        source = inputs if guider is None else guider["inputs"]
        text = next(_texts(graph, source.get("positive", source.get("conditioning"))), "")
        if text:
            return text
    return ""


def _samples(inputs: dict[str, Any]) -> bool:
    return ("positive" in inputs or "guider" in inputs) and any(k in inputs for k in ("seed", "noise_seed", "noise"))


def _texts(graph: Graph, link: object) -> Iterator[str]:
    waiting, seen = [link], 0  # breadth first; a circle ends by the count
    while waiting and seen < _MAX_LINKS:
        node, seen = _linked(graph, waiting.pop(0)), seen + 1
        if node is None:
            continue
        inputs = node["inputs"]
        text = inputs.get("text", inputs.get("prompt"))
        if isinstance(text, str) and text.strip():
            yield " ".join(text[:1000].split())[:_MAX_VALUE]
        waiting += [value for value in islice(inputs.values(), _MAX_LINKS) if isinstance(value, list)]


Reader = Callable[[str], dict[str, str]]  # name of a picture -> its settings
