"""Several servers at once: every job is done once, by whoever is free, whatever becomes of a server."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from ..errors import ServerError
from .board import Board, Held, Job
from .client import ClientOf, QueueClient
from .lane import USUAL, Aside, Back, Broken, Desk, Drawn, Event, Lane, Missed, Timing
from .progress import Listener, Told

__all__ = ["Aside", "Back", "Desk", "Drawn", "Event", "Job", "LaneStatus", "Missed", "Pool", "Timing"]

_TICK = 0.25  # seconds; how often `events` gives the caller a turn


@dataclass(frozen=True)
class LaneStatus:
    """What a server does just now."""

    server: str
    state: Literal["idle", "waiting", "running", "aside"]
    label: str = ""  # of the job that runs, or waits first
    value: float = 0.0  # steps done
    most: float = 0.0  # of so many; 0 where it is not told


class Pool:
    """A context manager; on the way out all that it has queued and not fetched is cancelled on the servers."""

    def __init__(
        self, servers: Sequence[str], desk: Desk, timing: Timing = USUAL, client_of: ClientOf = QueueClient
    ) -> None:
        self._timing, self._client_of, self._client_id = timing, client_of, uuid.uuid4().hex
        clients = {c.url: c for c in (client_of(server, timing.answer) for server in servers)}
        if not clients:
            raise ServerError("No server was named: give the address of a ComfyUI, like http://127.0.0.1:8188.")
        self._board, self._events = Board(clients), queue.SimpleQueue[Event]()
        self._lanes = [
            Lane(client, clients, self._board, desk, self._events.put, self._client_id, timing)
            for client in clients.values()
        ]
        self._servers, self._aside = tuple(clients), dict[str, str]()
        self._listener = Listener(self._servers, self._client_id, self._hear)
        self._stuck_since: float | None = None

    def __enter__(self) -> Pool:
        self._listener.start()
        for lane in self._lanes:
            lane.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.close()
        self._listener.stop()
        end = time.monotonic() + self._timing.closing
        for lane in self._lanes:
            lane.join(max(0.0, end - time.monotonic()))
        self._cancel()

    def add(self, job: Job, sent: Mapping[str, str] | None = None) -> None:
        """One more job; also while `events` runs. `sent`: server -> prompt id of an earlier run that may still be
        there, or done there."""
        self._board.add(job, sent)

    def events(self) -> Iterator[Event | None]:
        """What happens, until all jobs are at their end; None now and then, so that the caller can show `status`.

        Each job gives one Drawn or one Missed. Where no server that could do any of them answers for `timing.patience`
        seconds, all jobs that are left give Missed.
        """
        while self._board.open or not self._events.empty():
            try:
                event = self._events.get(timeout=_TICK)
            except queue.Empty:
                yield None
                if self._is_hopeless():
                    return (yield from self._given_up())
                continue
            if isinstance(event, Broken):
                raise event.error
            self._note(event)
            yield event

    def status(self) -> list[LaneStatus]:
        """One for each server, in the order in which they were named."""
        return [self._status(server) for server in self._servers]

    def _status(self, server: str) -> LaneStatus:
        held = self._board.held(server)
        if not self._board.is_up(server):
            return LaneStatus(server, "aside")
        if not held:
            return LaneStatus(server, "idle")
        first = next((h for h in held if h.running), held[0])
        return LaneStatus(server, "running" if first.running else "waiting", first.job.label, first.value, first.most)

    def _note(self, event: Event) -> None:
        if isinstance(event, Aside):
            self._aside[event.server] = event.reason
        if isinstance(event, Back):
            self._aside.pop(event.server, None)

    def _is_hopeless(self) -> bool:
        now = time.monotonic()
        self._stuck_since = (self._stuck_since or now) if self._board.is_stuck else None
        return self._stuck_since is not None and now - self._stuck_since >= self._timing.patience

    def _given_up(self) -> Iterator[Missed]:
        why = next(iter(self._aside.values()), "those that answer cannot do it")
        reason = f"no server that could draw it answered for {self._timing.patience:.0f} s: {why}"
        for job in self._board.close():
            yield Missed(job, reason)

    def _hear(self, told: Told) -> None:
        if told.kind in ("connected", "lost"):
            return self._board.connected(told.server, told.kind == "connected")

        def note(held: Held) -> None:
            held.ended = held.ended or told.kind == "ended"
            if told.kind != "ended":
                held.start()
                held.value, held.most = told.value, told.most

        self._board.seen(told.server, told.prompt_id, note, urgent=told.kind == "ended")

    def _cancel(self) -> None:
        """Best effort: a server that does not answer keeps what it has."""
        left = {server: ids for server in self._servers if (ids := self._board.left_at(server))}
        threads = [threading.Thread(target=self._cancel_at, args=row, daemon=True) for row in left.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * self._timing.closing)

    def _cancel_at(self, server: str, prompt_ids: list[str]) -> None:
        try:
            self._client_of(server, self._timing.closing).cancel(prompt_ids)
        except ServerError:
            return
