"""What a run leaves in its folder, and how it goes on there after it was stopped or killed.

    DIR/pictures/<scene>_<seed>.png     what was wanted
    DIR/others/                         with --best-of: what was drawn and not chosen
    DIR/manifest.json                   every picture with all that it takes to make it again; written as it goes
    DIR/requests.jsonl                  the journal: what was asked for, where it was sent, what came back

The journal is what counts. It is only ever added to, a line at a time: a line that was cut short by a kill is skipped,
and what it told of is found on the server, or drawn again under the same name.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from .. import __version__
from ..errors import LikenessError, StorageError
from ..files import (
    TEMP_PREFIX,
    append_line,
    atomic_write,
    flush_folder,
    locked,
    move_entry,
    read_limited,
    sweep_temp,
    write_new,
)
from ..inject.insert import ApiGraph
from ..paths import contained
from ..scenes.metadata import KEY, texts_of
from ..scenes.names import file_name
from ..scenes.scene import Scene, scene_of
from ..sweep.graph_key import digest
from .board import Job
from .manifest import File, Manifest
from .media import Media
from .sent import answers

PICTURES, OTHERS = "pictures", "others"
EARLIER = "earlier"  # of the manifest: rows of pictures that other calls have drawn into the folder
MANIFEST, JOURNAL, LOCK = "manifest.json", "requests.jsonl", ".likeness-generate.lock"
_FORM = 1
_MAX_JOURNAL = 1 << 32  # bytes
_LOCK_SECONDS = 2.0
_SHARE = 20  # the manifest is written when it costs less than 1 / _SHARE of the time


@dataclass(frozen=True)
class Request:
    """A picture to be drawn: a scene with one of its seeds."""

    scene: Scene
    graph: ApiGraph = field(repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)  # text chunks of the files
    sent: ApiGraph = field(default_factory=dict, repr=False)  # as the server gets it; {} is `graph` itself

    @cached_property
    def key(self) -> str:
        """16 hex digits. Not of the metadata: a newer Likeness writes others, and draws the same."""
        return digest(self.scene.digest, self.graph)[:16]

    def job(self) -> Job:
        return Job(self.key, self.scene.name, self.sent or self.graph, self.metadata)

    def as_dict(self) -> dict[str, Any]:
        scene = self.scene.model_dump(mode="json")
        return {"job": self.key, "scene": scene, "graph": self.graph, "metadata": dict(self.metadata)}


@dataclass(frozen=True)
class Done:
    """A request that was drawn."""

    key: str
    server: str
    prompt_id: str
    files: tuple[File, ...]
    version: str = ""  # of Likeness
    date: str = ""  # ISO 8601, UTC
    told: Mapping[str, str] = field(default_factory=dict)  # of `sent.answers`


class Folder:
    """One run's folder; it is a pool's desk. Use it in `with folder.opened(...)`."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._done: dict[str, Done] = {}
        self._sent: dict[str, dict[str, str]] = {}
        self._asked: set[str] = set()
        self._requests: dict[str, Request] = {}
        self._names: dict[str, str] = {}  # file name without suffix, in small letters -> key
        self._written, self._cost = 0.0, 0.0
        self._earlier: list[dict[str, Any]] = []

    @property
    def path(self) -> Path:
        return self._path

    @contextmanager
    def opened(self, graph: str, character: str) -> Iterator[None]:
        """Hold the folder against other programs. LikenessError when another one writes to it, or when it holds
        pictures of another graph, given as a digest, or of another character."""
        with locked(self._path / LOCK, _LOCK_SECONDS):
            header = {"likeness_generate": _FORM, "graph": graph, "character": character}
            lines = self._lines()
            if lines is None:
                append_line(self._path / JOURNAL, _line(header))
            elif _parsed(lines[0]) != header:
                if any(b'"drawn"' in line for line in lines[1:]):
                    self._refuse(_parsed(lines[0]), header)
                lines = None  # a call that was refused before anything was drawn holds no folder
                atomic_write(self._path / JOURNAL, _line(header) + b"\n")
            for values in filter(None, map(_parsed, (lines or [])[1:])):
                self._recall(values)
            self._earlier = self._rows()
            sweep_temp(self._path)
            sweep_temp(self._path / PICTURES, 0.0)  # nobody else writes there now
            try:
                yield
            finally:
                flush_folder(self._path)

    def _lines(self) -> list[bytes] | None:
        """None for a folder without a journal."""
        path = self._path / JOURNAL
        if not path.exists():
            return None
        lines = read_limited(path, _MAX_JOURNAL).split(b"\n")
        if len(lines) == 1:  # killed while it wrote the first line
            atomic_write(path, b"")
            return None
        if lines[-1]:  # half a line: the next one must not be joined to it
            append_line(path, b"")
        return lines

    def _rows(self) -> list[dict[str, Any]]:
        """Of the manifest that is there; [] for none, or one that cannot be read."""
        path = self._path / MANIFEST
        try:
            values = json.loads(read_limited(path, _MAX_JOURNAL)) if path.is_file() else {}
            found = [*values.get("pictures", ()), *values.get(EARLIER, ())]
        except (ValueError, AttributeError, TypeError, RecursionError):
            return []
        return [row for row in found if isinstance(row, dict) and isinstance(row.get("key"), str)]

    def _of_earlier_calls(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of the last manifest that this call does not draw, while their files are there."""
        own = {row["key"] for row in rows} | set(self._requests)
        return [r for r in self._earlier if r["key"] not in own and (self._path / str(r.get("file"))).is_file()]

    def _refuse(self, found: dict[str, Any], header: dict[str, Any]) -> None:
        known = found.get("likeness_generate") == _FORM
        what = "character" if known and found.get("character") != header["character"] else "graph"
        told = f"holds pictures of another {what}" if known else "has a journal of another program or version"
        raise LikenessError(f"{self._path} {told}: choose another folder with --out.")

    def _recall(self, values: dict[str, Any]) -> None:
        try:
            if "job" in values:
                self._asked.add(values["job"])
            elif "sent" in values:
                self._sent[values["sent"]] = {values["server"]: values["prompt_id"]}  # the last place counts
            elif "drawn" in values:
                done = _done(values)
                for file in done.files:
                    self._names[_stem(file.file).casefold()] = done.key
                if all(self._is_there(file) for file in done.files):
                    self._done[done.key] = done
                self._sent.pop(done.key, None)
        except (KeyError, TypeError, ValueError):
            return  # a line of a newer version, or a damaged one: it is as if not there

    def _is_there(self, file: File) -> bool:
        try:
            return self.place(file.file).stat().st_size == file.bytes
        except (OSError, LikenessError):
            return False

    # ---- what is known

    def ask(self, request: Request) -> None:
        """Before its job goes to a pool."""
        with self._lock:
            self._requests[request.key] = request

    def done(self, request: Request) -> Done | None:
        """What came of it, in this run or in an earlier one, while its files are there."""
        with self._lock:
            return self._done.get(request.key)

    def sent_to(self, request: Request) -> dict[str, str]:
        """Server -> prompt id under which it may be known there from an earlier run."""
        with self._lock:
            return dict(self._sent.get(request.key, {}))

    def place(self, name: str) -> Path:
        """Where a file of that name lies now, or would be written to."""
        places = [contained(self._path, folder, name) for folder in (PICTURES, OTHERS)]
        return next((path for path in places if path.is_file()), places[0])

    # ---- the pool's desk

    def sent(self, job: Job, server: str, prompt_id: str) -> None:
        with self._lock:
            if job.key not in self._asked:
                append_line(self._path / JOURNAL, _line(self._requests[job.key].as_dict()))
                self._asked.add(job.key)
            append_line(self._path / JOURNAL, _line({"sent": job.key, "server": server, "prompt_id": prompt_id}))

    def keep(
        self, job: Job, server: str, prompt_id: str, made: tuple[Media, ...], shown: Mapping[str, str] = {}
    ) -> list[str]:
        """Names of its files; they are on their way to the disk."""
        made = _of_scene(made, self._requests[job.key].scene)
        stem = self._name(self._requests[job.key], len(made))
        files = []
        for number, media in enumerate(made, 1):
            name = f"{stem}{'' if number == 1 else f'_{number}'}{media.suffix}"
            _write_whole(contained(self._path, PICTURES, name), media.data)
            files.append(File(name, len(media.data), hashlib.sha256(media.data).hexdigest()))
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        done = Done(job.key, server, prompt_id, tuple(files), __version__, date, answers(job.graph, shown))
        with self._lock:
            append_line(self._path / JOURNAL, _line(_as_line(done)))
            self._done[job.key] = done
        return [file.file for file in files]

    def _name(self, request: Request, files: int) -> str:
        """A file name without suffix and number; with a digest where another request's picture has one of its names."""
        name = f"{file_name(request.scene.name)}_{request.scene.seed}"
        with self._lock:
            if any(self._names.get(each, request.key) != request.key for each in _numbered(name, files)):
                name = f"{name}_{request.key[:8]}"
            self._names |= dict.fromkeys(_numbered(name, files), request.key)
        return name

    # ---- what people see

    def choose(self, chosen: Mapping[str, bool]) -> None:
        """Files by name: those that were not chosen go to their own folder, the others come back."""
        for name, is_chosen in chosen.items():
            place, home = self.place(name), contained(self._path, PICTURES if is_chosen else OTHERS, name)
            if place != home and place.is_file():
                move_entry(place, home)

    def write(self, manifest: Callable[[], Manifest], last: bool = False) -> None:
        """The manifest, unless that would take more than a small part of the time; the `last` one always."""
        now = time.monotonic()
        if last or now - self._written >= _SHARE * self._cost:
            values = manifest().as_dict()
            if earlier := self._of_earlier_calls(values["pictures"]):
                values[EARLIER] = earlier
            data = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False).encode()
            atomic_write(self._path / MANIFEST, data)
            self._written = time.monotonic()
            self._cost = self._written - now


def _of_scene(made: tuple[Media, ...], scene: Scene) -> tuple[Media, ...]:
    """Of a graph that draws a whole list and names the scene in each file, those of this scene; else all."""
    if len(made) == 1:
        return made
    own = tuple(media for media in made if _scene_digest(media.data) == scene.digest)
    return own or made


def _scene_digest(data: bytes) -> str:
    text = next((text for key, text in texts_of(io.BytesIO(data)) if key == KEY), "")
    try:
        about = json.loads(text) if text else None
        return scene_of(about).digest if isinstance(about, dict) else ""
    except (ValueError, RecursionError, LikenessError):
        return ""


def _write_whole(path: Path, data: bytes) -> None:
    """Whole or not at all, without waiting for the disk: after a power cut a file that is too short is drawn again."""
    temp = path.parent / f"{TEMP_PREFIX}{uuid.uuid4().hex}.tmp"
    write_new(temp, data)
    move_entry(temp, path)


def _numbered(name: str, files: int) -> list[str]:
    return [name.casefold(), *(f"{name}_{number}".casefold() for number in range(2, files + 1))]


def _stem(name: str) -> str:
    return PurePath(name).stem


def _as_line(done: Done) -> dict[str, Any]:
    about = {"drawn": done.key, "server": done.server, "prompt_id": done.prompt_id, "version": done.version}
    about |= {"date": done.date, "told": dict(done.told)}
    return {**about, "files": [vars(file) for file in done.files]}


def _done(values: Mapping[str, Any]) -> Done:
    files = tuple(File(str(f["file"]), int(f["bytes"]), str(f["sha256"])) for f in values["files"])
    about = (str(values.get(name, "")) for name in ("version", "date"))
    told = {str(question): str(answer) for question, answer in dict(values.get("told") or {}).items()}
    return Done(values["drawn"], str(values["server"]), str(values["prompt_id"]), files, *about, told)


def requests_in(folder: Path) -> Iterator[dict[str, Any]]:
    """The `Request.as_dict` of every request in a folder's journal. StorageError when it cannot be read."""
    path = folder / JOURNAL
    if not path.is_file():
        raise StorageError(f"{folder} has no {JOURNAL}: it is no folder that `likeness generate` has written.")
    for values in map(_parsed, read_limited(path, _MAX_JOURNAL).split(b"\n")):
        if "job" in values:
            yield values


def _line(values: object) -> bytes:
    return json.dumps(values, allow_nan=False, separators=(",", ":")).encode("ascii")


def _parsed(line: bytes) -> dict[str, Any]:
    """{} for anything but an object."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
