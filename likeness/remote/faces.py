"""The faces of many pictures into the embedding cache, analysed here or by the workers of `spread`.

A worker decodes its pictures, looks for faces and gives back entries of the cache as bytes; whoever asked checks each
entry and writes it. Here and there run the same lines, so the entries are the same to the byte, and so is whatever is
computed afterwards from the cache: that needs no change to be spread.

What a machine needs: Likeness of the same version, onnxruntime, and the face model's files at the same paths.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .. import images
from ..dataset.workers import in_order
from ..errors import ImageError, LikenessError, ModelMissingError, StorageError
from ..faces.analyser import OnnxAnalyser
from ..faces.cache import EmbeddingCache, cache_key, encode_entry
from ..faces.codec import MAX_BYTES
from ..faces.face import Analyser, Face, Pipeline
from ..faces.packs import FacePack
from ..faces.stream import WORKERS, analyse_many
from ..files import read_limited
from ..images import RGB8
from .entries import faces_in, known_keys, number_of, store_entry
from .spread import Local, OnRay, spread

CHUNK, CHUNK_BYTES = 16, 32 * 1024 * 1024  # pictures, and bytes of their files, in one task
WRITERS = 4  # threads; most of a write is waiting for the disk


class FaceModel(Protocol):
    """What opens an analyser on any machine. Hashable, and small enough to be sent."""

    def open(self) -> Analyser: ...


@dataclass(frozen=True)
class PackModel:
    """A face-model pack by the paths of its files."""

    pack: FacePack
    provider: str = "cpu"
    backend: str = "likeness"  # or "insightface"

    def open(self) -> Analyser:
        for path in (self.pack.detector, self.pack.recogniser):
            if not path.is_file():
                raise ModelMissingError(
                    f"{path} is not on {socket.gethostname()}: a face model must lie at the same path on every "
                    "machine, for example on a shared drive."
                )
        if self.backend == "insightface":
            from ..faces.insightface_backend import InsightFaceAnalyser

            return InsightFaceAnalyser(self.pack, self.provider)
        return OnnxAnalyser(self.pack, self.provider)


@dataclass(frozen=True)
class Picture:
    """A file on its way to a worker."""

    number: int  # its place in the list
    path: Path
    data: bytes | None = field(default=None, repr=False)  # None: whoever analyses it reads the file


@dataclass(frozen=True)
class Answer:
    """What became of one picture."""

    number: int
    key: str = ""  # of the cache; "" with an error
    entry: bytes | None = field(default=None, repr=False)  # of the cache; None where it is known there
    error: LikenessError | None = None
    provider: str = ""  # where the recogniser ran; "" where it was not needed


@dataclass(frozen=True)
class Filled:
    """What a run has found. Every number counts pictures as given, but `analysed`."""

    pictures: int
    analysed: int  # different pictures, by their pixels, that the cache did not know
    unreadable: tuple[tuple[Path, str], ...]  # with the reason, in the order given
    faces: int
    without_face: int
    providers: tuple[str, ...]  # where recognisers ran, sorted

    @property
    def known(self) -> int:
        """Readable pictures that needed no analysis: the cache knew them, or an equal one was given, too."""
        return self.pictures - len(self.unreadable) - self.analysed


class _Known(LikenessError):
    """Ends the way of a picture that the cache knows; nobody else sees it."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True)
class Analysis:
    """What a worker does with some pictures."""

    model: FaceModel
    pipeline: Pipeline  # that it must have
    known: NDArray[np.uint64] = field(repr=False)  # of `known_keys`
    layers: bool = False  # pictures as training sets read them, see `pixels_of`
    threads: int = 1

    def __call__(self, pictures: Sequence[Picture]) -> tuple[Answer, ...]:
        return tuple(self.answers(pictures))

    def answers(self, pictures: Iterable[Picture], check: Callable[[], None] = lambda: None) -> Iterator[Answer]:
        """One for each picture, in order. ModelMissingError where this machine's face model is another one."""
        analyser = _opened(self.model)
        if analyser.pipeline != self.pipeline:
            raise ModelMissingError(
                f"The face model {analyser.pipeline.pack} on {socket.gethostname()} is another one than here: copy its "
                "files there, and install the same version of Likeness."
            )
        keys: dict[int, str] = {}
        items = ((picture.number, partial(self._load, picture, keys)) for picture in pictures)
        with closing(analyse_many(items, analyser, check=check, workers=self.threads)) as stream:  # type: ignore[type-var]
            for found in stream:
                if isinstance(found.error, _Known):
                    yield Answer(found.key, found.error.key)
                elif found.error is not None:
                    yield Answer(found.key, error=found.error)
                else:
                    yield self._answer(found.key, keys.pop(found.key), found.faces, analyser)

    def _answer(self, number: int, key: str, faces: Sequence[Face], analyser: Analyser) -> Answer:
        entry = encode_entry(key, self.pipeline, faces)
        if len(entry) > MAX_BYTES:
            return Answer(number, error=ImageError(f"{len(faces)} faces in one picture are too many to keep."))
        return Answer(number, key, entry, None, analyser.providers[0] if analyser.providers else "")

    def _load(self, picture: Picture, keys: dict[int, str]) -> RGB8:
        pixels = pixels_of(picture, self.layers)
        key = cache_key(pixels, self.pipeline)
        place = int(np.searchsorted(self.known, number_of(key)))
        if place < len(self.known) and self.known[place] == number_of(key):
            raise _Known(key)
        keys[picture.number] = key
        return pixels


@lru_cache(maxsize=4)
def _opened(model: FaceModel) -> Analyser:
    """Once for each process: a worker gets many tasks."""
    return model.open()


def pixels_of(picture: Picture, layers: bool = False) -> RGB8:
    """uint8 [H, W, 3] as `images.read` gives it or, with `layers`, as a training set's survey does, which takes colour
    profiles into account. StorageError, ImageError."""
    data = read_limited(picture.path, images.MAX_BYTES) if picture.data is None else picture.data
    name = picture.path.name
    return images.decode_layers(data, name).over() if layers else images.decode(data, name)


def fill_cache(
    pictures: Sequence[Path],
    model: FaceModel,
    root: Path,
    *,
    on: Local | OnRay | None = None,
    layers: bool = False,
    shared: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
    check: Callable[[], None] = lambda: None,
) -> Filled:
    """Put the faces of every picture into the cache in `root`; what it knows is not analysed again.

    `on`: None analyses in this process; else tasks of some pictures each are spread. `shared`: workers read the files
    themselves, at the same paths; else they are sent. `check` is called many times a second and may raise to stop; what
    was found until then is kept. StorageError when the cache cannot be written, LikenessError as `spread`.
    """
    analyser = _opened(model)
    ledger = _Ledger(pictures, EmbeddingCache(root), analyser.pipeline, shared and on is not None, progress)
    known, todo = known_keys(root), list(range(len(pictures)))
    while todo:
        work = Analysis(model, analyser.pipeline, known, layers, _threads(on))
        files = (Picture(number, pictures[number]) for number in todo)
        answers = work.answers(files, check) if on is None else _spread(work, files, ledger, on, shared, check)
        with closing(answers), closing(in_order(answers, ledger.look, check, WRITERS)) as taken:  # type: ignore[type-var]
            for answer in taken:
                ledger.take(answer)
        todo, known = ledger.again(), known[:0]  # entries that were damaged: now analysed, whatever there is
    return ledger.filled()


def _threads(on: Local | OnRay | None) -> int:
    return WORKERS if on is None else max(int(on.cpus), 1) if isinstance(on, OnRay) else 1


def _spread(
    work: Analysis,
    files: Iterable[Picture],
    ledger: _Ledger,
    on: Local | OnRay,
    shared: bool,
    check: Callable[[], None],
) -> Iterator[Answer]:
    """Also of files that cannot be read here, which are not sent, in order."""
    bad: dict[int, LikenessError] = {}

    def readable() -> Iterator[Picture]:
        for file in files:
            try:
                data = None if shared else read_limited(file.path, images.MAX_BYTES)
            except LikenessError as error:
                bad[file.number] = error
                continue
            yield Picture(file.number, file.path, data)

    chunks = spread(work, _chunks(readable()), on=on, check=check, name=_named)
    with closing(chunks):
        for answers in chunks:
            yield from answers
            del answers
    yield from (Answer(number, error=error) for number, error in sorted(bad.items()))


def _chunks(files: Iterable[Picture]) -> Iterator[tuple[Picture, ...]]:
    chunk: list[Picture] = []
    size = 0
    for file in files:
        length = len(file.data or b"")
        if chunk and (len(chunk) >= CHUNK or size + length > CHUNK_BYTES):
            yield tuple(chunk)
            chunk, size = [], 0
        chunk.append(file)
        size += length
    if chunk:
        yield tuple(chunk)


def _named(chunk: Sequence[Picture]) -> str:
    first, last = chunk[0].path, chunk[-1].path
    return f"{first}" if len(chunk) == 1 else f"The task of {len(chunk)} pictures from {first} to {last}"


class _Ledger:
    """Writes what comes, and counts it. `look` may run in several threads, the rest in one."""

    def __init__(
        self,
        pictures: Sequence[Path],
        cache: EmbeddingCache,
        pipeline: Pipeline,
        shared: bool,
        progress: Callable[[int, int], None],
    ) -> None:
        self._pictures, self._cache, self._pipeline = pictures, cache, pipeline
        self._shared, self._progress = shared, progress
        self._lock = threading.Lock()
        self._written: set[str] = set()  # keys
        self._faces: dict[int, int] = {}  # picture -> how many
        self._unreadable: dict[int, str] = {}
        self._again: list[int] = []
        self._providers: set[str] = set()

    def look(self, answer: Answer) -> tuple[Answer, int | None]:
        """Check and keep an answer's entry; with the number of faces, None where there is no sound entry."""
        if answer.error is not None:
            self._check_reached(answer)
            return answer, None
        if answer.entry is None:
            return answer, faces_in(self._cache, answer.key, self._pipeline)
        with self._lock:
            new = answer.key not in self._written
            self._written.add(answer.key)
        return answer, store_entry(self._cache, answer.key, self._pipeline, answer.entry, write=new)

    def take(self, looked: tuple[Answer, int | None]) -> None:
        answer, faces = looked
        if answer.error is not None:
            self._unreadable[answer.number] = str(answer.error)
        elif faces is None:
            self._again.append(answer.number)
            return
        else:
            self._faces[answer.number] = faces
            self._providers |= {answer.provider} - {""}
        self._progress(len(self._faces) + len(self._unreadable), len(self._pictures))

    def _check_reached(self, answer: Answer) -> None:
        """A worker that cannot read what lies here has another disk: that is not the picture's fault."""
        path = self._pictures[answer.number]
        if not self._shared or not isinstance(answer.error, StorageError):
            return
        with suppress(StorageError):  # of this machine's own
            read_limited(path, images.MAX_BYTES)
            raise LikenessError(
                f"{path} can be read here, but not on another machine ({answer.error}): mount its folder there at the "
                "same path, or have the pictures sent."
            )

    def again(self) -> list[int]:
        """Pictures whose entries were damaged; each is named once."""
        found, self._again = self._again, []
        return found

    def filled(self) -> Filled:
        unreadable = tuple((self._pictures[n], self._unreadable[n]) for n in sorted(self._unreadable))
        counts = self._faces.values()
        return Filled(
            len(self._pictures), len(self._written), unreadable, sum(counts), sum(not c for c in counts),
            tuple(sorted(self._providers)),
        )  # fmt: skip
