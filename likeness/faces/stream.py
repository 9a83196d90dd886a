"""Many pictures through one analyser: loading, detection and recognition side by side, results in order.

Pictures are loaded and searched for faces in a few threads, a bounded number ahead of the caller. The
recogniser then takes the faces of several pictures at once, which a GPU needs to be busy. How faces are put
together depends on the pictures alone, never on which thread was faster, so the same run gives the same bits.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import LikenessError, ModelMissingError
from ..images import RGB8
from .cache import CachedAnalyser
from .face import Analyser, Face, Vector
from .ladder import Sighting
from .runtime import CPU
from .scrfd import Detections

if TYPE_CHECKING:
    from .analyser import Engine, LadderAnalyser

WORKERS = max(2, min(4, os.cpu_count() or 2))  # a detector uses several cores by itself
AHEAD = 32  # pictures
AHEAD_BYTES = 256 * 1024 * 1024  # of decoded pixels; each worker may exceed it by the picture it has in hand
BATCH_CROPS, BATCH_PICTURES = 32, 16
CPU_CROPS = 8  # a processor gains nothing from more, and between two runs the stream can be stopped
POLL = 0.05  # s between two calls of `check` while waiting
PATIENCE = 0.4  # s that stopping waits for the models' present runs

K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True)
class Analysed(Generic[K]):
    """One item: its picture and faces, or why there are none."""

    key: K
    picture: RGB8 | None = field(repr=False)  # None where it could not be loaded
    faces: tuple[Face, ...]  # as `Analyser.analyse` gives them; () with an error
    error: LikenessError | None = None


def analyse_many(
    items: Iterable[tuple[K, Callable[[], RGB8]]],
    analyser: Analyser,
    *,
    check: Callable[[], None] = lambda: None,
    workers: int = WORKERS,
    ahead: int = AHEAD,
) -> Iterator[Analysed[K]]:
    """The faces of every item's picture, in order of the items, with memory that does not grow with their number.

    An item is a key and a function that loads its picture, called once in another thread. What that function or
    the analysis raises as LikenessError becomes `error`, except a missing model, which no other picture would
    find either; that and every other exception is raised when its item's turn comes.
    `check` is called many times a second in the caller's thread while it waits, and may raise to stop. After
    that, or when the iterator is closed, no thread goes on beyond the model's run that it is in.
    A `CachedAnalyser` is asked for what it knows, and told what is new.
    """
    stream = _Stream(analyser, check, max(workers, 1), max(ahead, 1))
    try:
        yield from stream.run(items)
    finally:
        stream.stop()


class _Stopped(Exception):
    """Ends the work of a thread; nobody sees it."""


@dataclass
class _Seen:
    """How far one picture has come. `crops` and `sightings` wait for the recogniser; else `faces` are final."""

    picture: RGB8 | None = None
    faces: tuple[Face, ...] = ()
    sightings: tuple[Sighting, ...] = ()
    crops: NDArray[np.uint8] | None = None  # uint8 [2 * sightings, side, side, 3]
    error: LikenessError | None = None

    @property
    def bytes(self) -> int:
        return 0 if self.picture is None else self.picture.nbytes


class _Stoppable:
    """An engine that refuses to go on once `stopped` is set."""

    def __init__(self, engine: Engine, stopped: threading.Event) -> None:
        self._engine, self._stopped = engine, stopped

    @property
    def providers(self) -> tuple[str, ...]:
        return self._engine.providers

    @property
    def batchable(self) -> bool:
        return self._engine.batchable

    def detect(self, image: RGB8, size: int) -> Detections:
        self._check()
        return self._engine.detect(image, size)

    def side(self) -> int:
        self._check()
        return self._engine.side()

    def embed(self, crops: NDArray[np.uint8]) -> Vector:
        step = CPU_CROPS if self.providers[:1] == (CPU,) else BATCH_CROPS
        parts = []
        for start in range(0, len(crops), step):
            self._check()
            parts.append(self._engine.embed(crops[start : start + step]))
        return np.concatenate(parts)

    def _check(self) -> None:
        if self._stopped.is_set():
            raise _Stopped


class _Room:
    """Bytes of decoded pictures that nobody has taken yet."""

    def __init__(self, stopped: threading.Event) -> None:
        self._held = 0
        self._admitted = 0  # pictures so far
        self._stopped = stopped
        self._changed = threading.Condition()

    def enter(self, number: int) -> None:
        """Return when there is room for one more picture and all before it have entered.

        In order, because the caller waits for the first and frees nothing before it has come. Raises _Stopped.
        """

        def is_admitted() -> bool:
            return self._stopped.is_set() or (self._held < AHEAD_BYTES and self._admitted == number)

        with self._changed:
            self._changed.wait_for(is_admitted)
            if self._stopped.is_set():
                raise _Stopped
            self._admitted += 1
            self._changed.notify_all()

    def add(self, count: int) -> None:
        with self._changed:
            self._held += count
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped.set()
            self._changed.notify_all()


class _Stream(Generic[K]):
    """The threads of one `analyse_many`, and what they have in hand."""

    def __init__(self, analyser: Analyser, check: Callable[[], None], workers: int, ahead: int) -> None:
        self._stopped = threading.Event()
        self._room = _Room(self._stopped)
        self._steps = _Steps(analyser, self._stopped)
        self._check, self._ahead = check, ahead
        self._pool = ThreadPoolExecutor(workers, "likeness-faces")
        self._recogniser = ThreadPoolExecutor(1, "likeness-recogniser")
        self._pending: deque[tuple[K, Future[_Seen]]] = deque()
        self._running: Future[list[_Seen]] | None = None
        self._submitted = 0

    def run(self, items: Iterable[tuple[K, Callable[[], RGB8]]]) -> Iterator[Analysed[K]]:
        source = iter(items)
        self._top_up(source)
        while self._pending:
            keys, seen = self._gather()
            if any(s.crops is not None for s in seen):
                self._running = self._recogniser.submit(self._steps.recognise, seen)
                seen = self._wait(self._running).result()
                self._running = None
            for key in keys:
                done = seen.pop(0)  # nothing here may keep a picture alive that the caller has finished with
                self._room.add(-done.bytes)
                self._top_up(source)
                yield Analysed(key, done.picture, done.faces, done.error)
                del done
                self._check()

    def _top_up(self, source: Iterator[tuple[K, Callable[[], RGB8]]]) -> None:
        """Keep `ahead` items in hand."""
        while len(self._pending) < self._ahead:
            item = next(source, None)
            if item is None:
                return
            self._pending.append((item[0], self._pool.submit(self._load_and_see, self._submitted, item[1])))
            self._submitted += 1

    def _load_and_see(self, number: int, load: Callable[[], RGB8]) -> _Seen:
        # None after it holds room while it waits, and the caller waits with at most half of AHEAD_BYTES in hand.
        self._room.enter(number)
        try:
            picture = load()
        except ModelMissingError:
            raise
        except LikenessError as error:
            return _Seen(error=error)
        self._room.add(picture.nbytes)
        return self._steps.see(picture)

    def _gather(self) -> tuple[list[K], list[_Seen]]:
        """The next pictures for the recogniser: one or more, until they have faces or pixels enough."""
        keys: list[K] = []
        seen: list[_Seen] = []
        while self._pending and not _is_enough(seen):
            key, future = self._pending[0]
            self._wait(future)
            if seen and future.exception() is not None:
                break  # first what was found before it
            seen.append(future.result())
            keys.append(key)
            self._pending.popleft()
        return keys, seen

    def _wait(self, future: Future[T]) -> Future[T]:
        self._check()
        while not wait([future], POLL).done:
            self._check()
        return future

    def stop(self) -> None:
        """End the threads; returns within PATIENCE, when at most a model's run is still under way."""
        self._room.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._recogniser.shutdown(wait=False, cancel_futures=True)
        left = [future for _, future in self._pending if not future.done()]
        wait([*left, *([self._running] if self._running else [])], PATIENCE)
        self._pending.clear()
        self._running = None


def _is_enough(seen: Sequence[_Seen]) -> bool:
    crops = sum(len(s.crops) for s in seen if s.crops is not None)
    return len(seen) >= BATCH_PICTURES or crops >= BATCH_CROPS or 2 * sum(s.bytes for s in seen) >= AHEAD_BYTES


class _Steps:
    """What is done with one picture, and with several at once."""

    def __init__(self, analyser: Analyser, stopped: threading.Event) -> None:
        from .analyser import LadderAnalyser  # not when the pack is imported: most graphs never analyse a face

        self._cached = analyser if isinstance(analyser, CachedAnalyser) else None
        inner = analyser.inner if isinstance(analyser, CachedAnalyser) else analyser
        self._analyser = analyser
        self._ladder = (
            LadderAnalyser(inner.pipeline, _Stoppable(inner.engine, stopped))
            if isinstance(inner, LadderAnalyser)
            else None
        )

    def see(self, picture: RGB8) -> _Seen:
        """Everything that needs only this picture."""
        try:
            if self._ladder is None:
                return _Seen(picture, self._analyser.analyse(picture))
            known = self._cached.known(picture) if self._cached else None
            return self._look(self._ladder, picture) if known is None else _Seen(picture, known)
        except ModelMissingError:
            raise
        except LikenessError as error:
            return _Seen(picture, error=error)

    def _look(self, ladder: LadderAnalyser, picture: RGB8) -> _Seen:
        sightings = ladder.sight(picture)
        if not sightings:
            return self._final(picture, ())
        crops = ladder.crops(picture, sightings)  # opens the recogniser: only then `batchable` is known
        if ladder.engine.batchable:
            return _Seen(picture, sightings=sightings, crops=crops)
        return self._final(picture, ladder.finish(picture, sightings, ladder.engine.embed(crops)))

    def recognise(self, seen: list[_Seen]) -> list[_Seen]:
        """The same pictures, all final."""
        assert self._ladder is not None  # nobody else leaves crops
        crops = [s.crops for s in seen if s.crops is not None]
        ends = np.cumsum([len(c) for c in crops])
        embeddings = iter(np.split(self._ladder.engine.embed(np.concatenate(crops)), ends[:-1]))
        return [s if s.crops is None else self._finish(self._ladder, s, next(embeddings)) for s in seen]

    def _finish(self, ladder: LadderAnalyser, seen: _Seen, embeddings: Vector) -> _Seen:
        assert seen.picture is not None
        return self._final(seen.picture, ladder.finish(seen.picture, seen.sightings, embeddings))

    def _final(self, picture: RGB8, faces: tuple[Face, ...]) -> _Seen:
        if self._cached:
            self._cached.keep(picture, faces)
        return _Seen(picture, faces)
