"""Which job is where, for a pool of servers. It decides and remembers; it talks to nobody.

A job waits, or one server holds it. A server holds two at most: one runs and one waits behind it, so that the server
never idles, and an idle one has something to take. A job that a server was sent stays known by that prompt id until it
is told what became of it, so that a server that comes back, or a program that is started again, goes on instead of
drawing it twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from ..inject.insert import ApiGraph

DEEP = 2  # prompts that a server holds of ours
MOST = {"lost": 5, "struck": 3, "interrupted": 2, "memory": 2}  # times until it is taken for the job's own fault
Trouble = Literal["refused", "memory", "interrupted", "lost", "struck"]


@dataclass(frozen=True)
class Job:
    """One graph to run."""

    key: str  # its own among all jobs
    label: str  # for people
    graph: ApiGraph = field(repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)  # text chunks of the files it saves


@dataclass
class Held:
    """A job at a server."""

    job: Job
    server: str
    prompt_id: str = ""  # "" until it is queued
    running: bool = False
    pending: bool = False  # it has been seen to wait there, whatever for
    leaving: bool = False  # another server is taking it away
    ended: bool = False  # its server has told so
    begun: float = 0.0  # time.monotonic() when it was first seen to run
    value: float = 0.0  # steps done
    most: float = 0.0  # of so many

    def start(self) -> None:
        """It has been seen to run."""
        self.running, self.pending, self.begun = True, False, self.begun or time.monotonic()


@dataclass(frozen=True)
class Ticket:
    """A job that a server is to take."""

    held: Held
    earlier: str = ""  # prompt id under which this server may know it already
    free: bool = False  # it ran out of memory here


@dataclass
class _Record:
    """What happened to a job so far."""

    sent: dict[str, str] = field(default_factory=dict)  # server -> prompt id that may still be there
    refused: set[str] = field(default_factory=set)  # servers that cannot do it
    avoided: set[str] = field(default_factory=set)  # servers that had trouble with it: for when there is no other
    troubles: dict[Trouble, int] = field(default_factory=dict)


class Board:
    """Thread-safe. `changed` counts what a server's thread may want to act on."""

    def __init__(self, servers: Iterable[str]) -> None:
        self._condition = threading.Condition()
        self._up = {server: True for server in servers}
        self._connected = dict.fromkeys(self._up, False)
        self._first: dict[str, Job] = {}  # by key: jobs that come before all that wait, in order
        self._waiting: dict[str, Job] = {}
        self._known: set[str] = set()  # keys of waiting jobs that a server may know
        self._held: dict[str, list[Held]] = {server: [] for server in self._up}
        self._loose: dict[str, dict[str, str]] = {server: {} for server in self._up}  # prompt id -> key
        self._records: dict[str, _Record] = {}
        self._open: set[str] = set()  # keys
        self._changed = 0
        self._closed = False

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._condition:
            yield
            self._changed += 1
            self._condition.notify_all()

    # ---- jobs come and go

    def add(self, job: Job, sent: Mapping[str, str] | None = None) -> None:
        """One more job. `sent`: prompt ids under which servers may know it from an earlier run."""
        with self._change():
            self._records[job.key] = _Record({s: p for s, p in (sent or {}).items() if s in self._up})
            self._open.add(job.key)
            self._wait(job, first=False)

    def take(self, server: str) -> Ticket | None:
        """A job for a server with room, in order, but first what it was sent before; None where there is none."""
        with self._condition:
            if self._closed or len(self._held[server]) >= DEEP:
                return None
            others = self._others(server)
            known = (job for job in self._jobs() if job.key in self._known and server in self._records[job.key].sent)
            job = next((j for j in known if self._fits(j, server, others)), None) if self._known else None
            job = job or next((j for j in self._jobs() if self._fits(j, server, others)), None)
            return None if job is None else self._ticket(job, server)

    def _jobs(self) -> Iterator[Job]:
        """Those that wait, in order."""
        return chain(self._first.values(), self._waiting.values())

    def _wait(self, job: Job, first: bool = True) -> None:
        if first:
            self._first = {job.key: job, **self._first}
        else:
            self._waiting[job.key] = job
        if self._records[job.key].sent:
            self._known.add(job.key)

    def _fits(self, job: Job, server: str, others: Set[str]) -> bool:
        """Not what the server refused, nor what another one that is there may know already, or is to try first."""
        record = self._records[job.key]
        if server in record.refused or (server in record.avoided and others - record.refused - record.avoided):
            return False
        return server in record.sent or others.isdisjoint(record.sent)

    def _others(self, server: str) -> set[str]:
        """The other servers that answer."""
        return {s for s, up in self._up.items() if up and s != server}

    def _ticket(self, job: Job, server: str) -> Ticket:
        record, held = self._records[job.key], Held(job, server)
        self._held[server].append(held)
        for place in (self._first, self._waiting):
            place.pop(job.key, None)
        self._known.discard(job.key)
        earlier = record.sent.get(server, "")
        self._loose[server].pop(earlier, None)
        return Ticket(held, earlier, record.troubles.get("memory", 0) > 0)

    def sending(self, held: Held, prompt_id: str) -> None:
        """It is about to be queued under that id; from now on the server may know it."""
        with self._condition:
            self._records[held.job.key].sent[held.server] = prompt_id

    def queued(self, held: Held, prompt_id: str) -> None:
        """The server has it."""
        with self._change():
            held.prompt_id = self._records[held.job.key].sent[held.server] = prompt_id

    def finish(self, held: Held) -> None:
        """It is done; say `over` when everybody has been told."""
        with self._change():
            self._drop(held)

    def over(self, job: Job) -> None:
        with self._change():
            self._open.discard(job.key)

    def give_back(self, held: Held, trouble: Trouble, reason: str) -> str | None:
        """It did not come to an end at its server. Returns why it never will, or None when it is tried again.

        Where it never will, say `over` when everybody has been told.
        """
        with self._change():
            if held.leaving or not self._has(held):  # whoever takes it away has it now, or finds out
                return None
            self._drop(held)
            record, server = self._records[held.job.key], held.server
            left = record.sent.pop(server, "")
            count = record.troubles[trouble] = record.troubles.get(trouble, 0) + 1
            others = self._others(server) - record.refused
            if trouble == "refused":
                record.refused.add(server)
            elif trouble in ("memory", "struck"):
                record.avoided.add(server)
            if trouble == "struck" and left:  # it may have been queued all the same
                self._loose[server][left] = held.job.key
                record.sent |= {} if others else {server: left}
            if (trouble == "refused" and not others) or count >= MOST.get(trouble, count + 1):
                return f"{reason} ({_times(count)})" if trouble != "refused" else reason
            self._wait(held.job)
            return None

    def _has(self, held: Held) -> bool:
        return any(h is held for h in self._held[held.server])

    def _drop(self, held: Held) -> None:
        self._held[held.server] = [h for h in self._held[held.server] if h is not held]

    # ---- servers come and go

    def put_aside(self, server: str) -> None:
        """It does not answer: what it holds is for others, and for itself when it is back."""
        with self._change():
            self._up[server] = False
            self._release([h for h in self._held[server] if not h.leaving])

    def _release(self, held: list[Held]) -> None:
        for each in reversed(held):
            self._drop(each)
            self._wait(each.job)
            if prompt_id := self._records[each.job.key].sent.get(each.server):
                self._loose[each.server][prompt_id] = each.job.key

    def back(self, server: str) -> None:
        with self._change():
            self._up[server] = True

    def strays(self, server: str) -> list[str]:
        """Prompts that may be left there of jobs that are done, or that another server has by now; told once."""
        with self._condition:
            waits = {job.key for job in self._jobs()} if self._loose[server] else set[str]()
            found = [p for p, key in self._loose[server].items() if key not in waits]
            for prompt_id in found:
                key = self._loose[server].pop(prompt_id)
                self._records[key].sent.pop(server, None)
            return found

    def left_at(self, server: str) -> list[str]:
        """Every prompt of ours that may be there."""
        with self._condition:
            sent = [self._records[h.job.key].sent.get(server, "") for h in self._held[server]]
            return [*filter(None, sent), *self._loose[server]]

    # ---- taking from others

    def wish(self, server: str) -> Held | None:
        """What an idle server could take from another: the last prompt that waits behind one of ours, or behind
        somebody else's. It is `leaving` until `stays` or `moved`."""
        with self._condition:
            others = self._others(server)
            if self._closed or self._held[server] or any(self._fits(job, server, others) for job in self._jobs()):
                return None
            rows = sorted((h for s, h in self._held.items() if s != server), key=len, reverse=True)
            for held in (h for row in rows for h in reversed(row) if h.pending or h is not row[0]):
                free = held.prompt_id and not (held.running or held.leaving or held.ended)
                record = self._records[held.job.key]
                if free and server not in record.refused and server not in record.avoided:
                    held.leaving = True
                    return held
            return None

    def stays(self, held: Held, running: bool) -> None:
        with self._change():
            held.leaving = False
            if running:
                held.start()
            if not self._up[held.server] and self._has(held):
                self._release([held])

    def moved(self, held: Held, server: str) -> Ticket | None:
        """It is out of its server's queue; `server` has it now. None where it came to its end meanwhile."""
        with self._change():
            held.leaving = False
            if not self._has(held):
                return None
            self._drop(held)
            self._records[held.job.key].sent.pop(held.server, None)
            return self._ticket(held.job, server)

    # ---- what servers tell

    def connected(self, server: str, is_connected: bool) -> None:
        with self._change():
            self._connected[server] = is_connected

    def hears(self, server: str) -> bool:
        """Whether the server's own messages arrive."""
        return self._connected[server]

    def seen(self, server: str, prompt_id: str, what: Callable[[Held], None], urgent: bool = False) -> None:
        """Note something about the prompt of that id; `urgent` wakes its server's thread."""
        with self._condition:
            for held in self._held[server]:
                if held.prompt_id == prompt_id:
                    what(held)
            if urgent:
                self._changed += 1
                self._condition.notify_all()

    # ---- looking

    def held(self, server: str) -> list[Held]:
        """What it holds, oldest first, without what is being taken away."""
        with self._condition:
            return [h for h in self._held[server] if not h.leaving]

    def is_up(self, server: str) -> bool:
        return self._up[server]

    @property
    def open(self) -> int:
        """Jobs that are not at their end."""
        with self._condition:
            return len(self._open)

    @property
    def is_stuck(self) -> bool:
        """Whether no server that answers holds, or could take, any of the jobs that are left."""
        with self._condition:
            up = {s for s, is_up in self._up.items() if is_up}
            busy = any(self._held[s] for s in up) or any(h.leaving for row in self._held.values() for h in row)
            return (
                bool(self._open) and not busy and not any(self._fits(j, s, up - {s}) for j in self._jobs() for s in up)
            )

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> list[Job]:
        """Nothing is taken any more. Returns the jobs that are not at their end."""
        with self._change():
            self._closed = True
            held = [h.job for row in self._held.values() for h in row]
            return [job for job in (*held, *self._jobs()) if job.key in self._open]

    @property
    def changed(self) -> int:
        return self._changed

    def wait(self, seen: int, seconds: float) -> None:
        """Until something has changed since `changed` was `seen`, or so many seconds."""
        end = time.monotonic() + seconds
        with self._condition:
            while self._changed == seen and not self._closed and (left := end - time.monotonic()) > 0:
                self._condition.wait(left)


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"
