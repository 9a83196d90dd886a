"""One function over many items, here or on many machines: results in order, lost work done again, nothing twice.

Which worker ends first never shows: a result is given out once, when all before it have been, and so is an error.
A worker that dies, and an exception that is not ours, is bad luck and tried again elsewhere; a LikenessError is an
answer, comes back as it is, and ends the run. Ray itself is known to `on_ray.py` alone.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from ..errors import LikenessError

log = logging.getLogger(__name__)

RETRIES = 3
POLL = 0.05  # s between two calls of `check` while waiting
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WAITING = 2  # times what is in work may be in hand, with what has ended too early to be given out

A = TypeVar("A")
B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)


@dataclass(frozen=True)
class Local:
    """In threads of this process. What a thread has begun it ends, also when the run is stopped."""

    workers: int = CORES


@dataclass(frozen=True)
class OnRay:
    """In the workers of a Ray cluster; where this process is connected to one already, there."""

    address: str = (
        ""  # "" starts Ray for this run, reachable from this machine only; "auto", HOST:PORT, ray://HOST:PORT
    )
    cpus: float = 1.0  # cores that a task takes
    gpus: float = 0.0  # graphics cards that a task takes


@dataclass(frozen=True)
class Done(Generic[B_co]):
    """The function's result."""

    value: B_co


@dataclass(frozen=True)
class Refused:
    """Ours: it would be the same everywhere."""

    error: LikenessError


@dataclass(frozen=True)
class Failed:
    """Another attempt may do better."""

    why: str  # half a sentence: "its worker died"
    details: str = ""  # for a log


Outcome = Done[B] | Refused | Failed


def is_here(host: str) -> bool:
    """Whether a host's name means whatever machine says it."""
    return host in ("localhost", "::1") or host.startswith("127.")


def attempt(function: Callable[[A], B], item: A) -> Outcome[B]:
    """What the function makes of one item; never raises an Exception. This is what a worker runs."""
    try:
        return Done(function(item))
    except LikenessError as error:
        return Refused(error)
    except Exception as error:  # whatever it is, the item is tried again, and then named
        return Failed(f"{type(error).__name__}: {error}", traceback.format_exc())


class Runner(Protocol):
    """Where items are worked on."""

    @property
    def room(self) -> int:
        """How many items it keeps busy with; more may be submitted and wait."""
        ...

    def submit(self, number: int, item: Any) -> None: ...

    def wait(self, seconds: float) -> Iterable[tuple[int, Outcome[Any]]]:
        """What has ended, each once; after at most `seconds` none."""
        ...

    def stop(self) -> None:
        """Begin nothing more, and end what can be ended."""
        ...


def spread(
    function: Callable[[A], B],
    items: Iterable[A],
    *,
    on: Local | OnRay | None = None,
    check: Callable[[], None] = lambda: None,
    retries: int = RETRIES,
    name: Callable[[A], str] | None = None,
) -> Generator[B, None, None]:
    """`function` of every item, in order. Both must be what Ray can send: no open files, no locks.

    `items` is read as work is needed, so a generator may load what it gives. `check` is called many times a second and
    may raise to stop. `name` names an item for people. LikenessError: the function's own, or an item that has failed
    `1 + retries` times.
    """
    with _runner_for(on or Local(), function, check) as runner:
        yield from run_all(runner, items, check=check, retries=retries, name=name)


def run_all(
    runner: Runner,
    items: Iterable[A],
    *,
    check: Callable[[], None] = lambda: None,
    retries: int = RETRIES,
    name: Callable[[A], str] | None = None,
) -> Generator[Any, None, None]:
    """`spread` on a runner that is there; stops it in the end."""
    run = _Run(runner, iter(items), max(retries, 0), name)
    try:
        yield from run.results(check)
    finally:
        runner.stop()


def _runner_for(
    on: Local | OnRay, function: Callable[[A], B], check: Callable[[], None]
) -> AbstractContextManager[Runner]:
    if isinstance(on, Local):
        return nullcontext(_Threads(function, max(on.workers, 1)))
    from .on_ray import ray_runner

    return ray_runner(on, function, check)


@dataclass
class _Begun(Generic[A]):
    """An item in work."""

    item: A
    failures: int = 0


class _Run(Generic[A]):
    """What is in work, and what has ended but has to wait for its turn."""

    def __init__(self, runner: Runner, items: Iterator[A], retries: int, name: Callable[[A], str] | None) -> None:
        self._runner, self._items, self._retries, self._name = runner, items, retries, name
        self._work: dict[int, _Begun[A]] = {}
        self._ended: dict[int, Done[Any] | Refused] = {}
        self._taken = 0  # items
        self._all = False  # no more are taken

    def results(self, check: Callable[[], None]) -> Iterator[Any]:
        turn = 0
        self._top_up()
        while self._work or self._ended:
            check()
            if turn in self._ended:
                ended = self._ended.pop(turn)
                if isinstance(ended, Refused):
                    raise ended.error
                turn += 1
                yield ended.value
                del ended  # nothing here may keep a result alive that the caller has finished with
            else:
                for number, outcome in self._runner.wait(POLL):
                    self._receive(number, outcome)
            self._top_up()

    def _top_up(self) -> None:
        room = max(self._runner.room, 1)
        while not self._all and len(self._work) < room and len(self._work) + len(self._ended) < WAITING * room:
            try:
                item = next(self._items)
            except StopIteration:
                self._all = True
                return
            self._work[self._taken] = _Begun(item)
            self._runner.submit(self._taken, item)
            self._taken += 1

    def _receive(self, number: int, outcome: Outcome[Any]) -> None:
        begun = self._work.get(number)
        if begun is None:
            return  # it has ended before: a worker that seemed lost was not
        if isinstance(outcome, Failed):
            begun.failures += 1
            named = self._name(begun.item) if self._name else f"Task {number + 1}"
            log.info("%s: %s (attempt %d). %s", named, outcome.why, begun.failures, outcome.details)
            if begun.failures <= self._retries:
                return self._runner.submit(number, begun.item)
            times = f"{begun.failures} times" if begun.failures > 1 else "once"
            outcome = Refused(
                LikenessError(f"{named} was given up, having failed {times}, at last because {outcome.why}")
            )
        del self._work[number]
        self._ended[number] = outcome
        self._all = self._all or isinstance(outcome, Refused)  # nothing after it will be given out


class _Threads:
    """The runner of `Local`."""

    def __init__(self, function: Callable[[Any], Any], workers: int) -> None:
        self._function, self._workers = function, workers
        self._pool = ThreadPoolExecutor(workers, "likeness-spread")
        self._running: dict[Future[Outcome[Any]], int] = {}

    @property
    def room(self) -> int:
        return 2 * self._workers

    def submit(self, number: int, item: Any) -> None:
        self._running[self._pool.submit(attempt, self._function, item)] = number

    def wait(self, seconds: float) -> Iterable[tuple[int, Outcome[Any]]]:
        done = wait(self._running, seconds, FIRST_COMPLETED).done
        return [(self._running.pop(future), future.result()) for future in done]

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._running.clear()
