"""One server of a pool, in a thread of its own: fills its queue, looks how its prompts are, fetches what they made."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..errors import ServerError
from .board import Board, Held, Job, Ticket, Trouble
from .client import BadAnswerError, Failure, NotThereError, QueueClient, RefusedError, Result
from .media import Media, checked_media, kept_suffix


@dataclass(frozen=True)
class Timing:
    """Seconds."""

    look: float = 0.02  # to the first look at a prompt, where the server's messages are not heard
    look_most: float = 1.0  # between two looks
    check: float = 2.0  # between two looks whether the server still knows a prompt
    back_off: float = 1.0  # until a server that failed is asked again; doubled each time
    back_off_most: float = 10.0
    patience: float = 600.0  # without any server
    job: float = 3600.0  # that one graph may run
    answer: float = 30.0  # for one answer of a server
    closing: float = 5.0  # the same while everything is stopped


USUAL = Timing()


class Desk(Protocol):
    """Where a pool's papers go. Called from the servers' threads."""

    def sent(self, job: Job, server: str, prompt_id: str) -> None:
        """A job is about to be queued there; after a kill it is looked for under that id."""

    def keep(self, job: Job, server: str, prompt_id: str, made: tuple[Media, ...], shown: Mapping[str, str]) -> None:
        """It is done; `shown` is what its nodes show, id -> text. What is not kept when this returns is drawn again."""


@dataclass(frozen=True)
class Drawn:
    """A job is done and its files are kept."""

    job: Job
    server: str


@dataclass(frozen=True)
class Missed:
    """A job will never be done."""

    job: Job
    reason: str  # one sentence


@dataclass(frozen=True)
class Aside:
    """A server is left alone for a while."""

    server: str
    reason: str
    seconds: float


@dataclass(frozen=True)
class Back:
    """A server that was aside answers again."""

    server: str


@dataclass(frozen=True)
class Broken:
    """The run cannot go on."""

    error: BaseException


Event = Drawn | Missed | Aside | Back | Broken


@dataclass
class _Look:
    """time.monotonic()."""

    due: float = 0.0  # the next look at its history
    checked: float = 0.0  # the last look at the queue


class _Lost:
    """The server does not know the prompt: it was started again, or somebody emptied its queue."""


class Lane:
    """Runs until its board is closed."""

    def __init__(
        self,
        client: QueueClient,
        others: Mapping[str, QueueClient],
        board: Board,
        desk: Desk,
        tell: Callable[[Event], None],
        client_id: str,
        timing: Timing = USUAL,
    ) -> None:
        self._client, self._others, self._board, self._desk = client, others, board, desk
        self._tell, self._client_id, self._timing = tell, client_id, timing
        self._server = client.url
        self._back_off, self._retry = timing.back_off, 0.0
        self._looks: dict[str, _Look] = {}
        self._thread = threading.Thread(target=self._run, name=f"lane {self._server}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._board.closed:
            seen = self._board.changed
            try:
                self._board.wait(seen, self._turn())
            except ServerError as error:
                self._put_aside(error)
            except BaseException as error:  # a full disk, or a mistake of ours: the main thread raises it
                return self._tell(Broken(error))

    def _turn(self) -> float:
        """Everything that is to be done now; returns for how many seconds nothing is."""
        if not self._board.is_up(self._server):
            if (left := self._retry - time.monotonic()) > 0:
                return left
            self._come_back()
        self._fill()
        self._steal()
        return self._look_after()

    # ---- the server itself

    def _put_aside(self, error: ServerError) -> None:
        if self._board.closed:
            return
        self._retry = time.monotonic() + self._back_off
        was_up = self._board.is_up(self._server)
        self._board.put_aside(self._server)
        if was_up:
            self._tell(Aside(self._server, str(error), self._back_off))
        self._back_off = min(2 * self._back_off, self._timing.back_off_most)

    def _come_back(self) -> None:
        self._client.waiting()
        if strays := self._board.strays(self._server):
            self._client.cancel(strays)
        self._board.back(self._server)
        self._tell(Back(self._server))

    # ---- queueing

    def _fill(self) -> None:
        while ticket := self._board.take(self._server):
            self._send(ticket)

    def _send(self, ticket: Ticket) -> None:
        held = ticket.held
        self._looks[held.job.key] = _Look(checked=time.monotonic())
        if ticket.earlier and self._is_known(ticket.earlier):
            return self._board.queued(held, ticket.earlier)
        if ticket.free:
            self._client.free()
        prompt_id = str(uuid.uuid4())
        self._board.sending(held, prompt_id)
        self._desk.sent(held.job, self._server, prompt_id)
        try:
            queued = self._client.queue(held.job.graph, prompt_id, self._client_id, held.job.metadata)
        except RefusedError as error:
            return self._give_back(held, "refused", str(error))
        except BadAnswerError as error:
            self._give_back(held, "struck", str(error))
            raise
        self._board.queued(held, queued)
        self._back_off = self._timing.back_off

    def _is_known(self, prompt_id: str) -> bool:
        return prompt_id in self._client.waiting() or isinstance(self._client.outcome(prompt_id), Result)

    def _give_back(self, held: Held, trouble: Trouble, reason: str) -> None:
        final = self._board.give_back(held, trouble, reason)
        if final is not None:
            self._tell(Missed(held.job, final))
            self._board.over(held.job)

    # ---- taking a prompt from a server that is slower

    def _steal(self) -> None:
        held = self._board.wish(self._server)
        if held is None:
            return
        running, gone = False, False
        try:
            if not len(self._client.waiting()):  # else it would wait here as well
                running, gone = self._withdrawn(held)
        finally:
            if not gone:
                self._board.stays(held, running)
        if gone and (ticket := self._board.moved(held, self._server)):
            self._send(ticket)

    def _withdrawn(self, held: Held) -> tuple[bool, bool]:
        """(whether it runs there, whether it is out of that queue without having run)."""
        other = self._others[held.server]
        try:
            left = other.withdraw([held.prompt_id])
            if held.prompt_id in left:
                return True, False
            return False, other.outcome(held.prompt_id) is None
        except ServerError:  # its own thread will find out
            return False, False

    # ---- looking after what was queued

    def _look_after(self) -> float:
        """Seconds until the next look."""
        soonest = self._timing.check
        for place, held in enumerate(self._board.held(self._server)):
            look = self._looks[held.job.key]
            if held.ended or time.monotonic() >= look.due:
                if self._settle(held, look):
                    return 0.0
                look.due = time.monotonic() + self._pause(held, place)
            soonest = min(soonest, look.due - time.monotonic())
        return max(soonest, 0.0)

    def _pause(self, held: Held, place: int) -> float:
        if place or self._board.hears(self._server):
            return self._timing.check
        ran = time.monotonic() - held.begun if held.begun else 0.0
        return min(max(ran / 20, self._timing.look), self._timing.look_most)

    def _settle(self, held: Held, look: _Look) -> bool:
        """Whether the server holds it no longer."""
        try:
            outcome = self._client.outcome(held.prompt_id)
            if outcome is None and (held.ended or time.monotonic() - look.checked >= self._timing.check):
                look.checked = time.monotonic()
                outcome = self._asked(held)
            return outcome is not None and self._end(held, outcome)
        except BadAnswerError as error:
            self._give_back(held, "struck", str(error))
            raise

    def _asked(self, held: Held) -> Result | Failure | _Lost | None:
        """None while it is in the queue."""
        queue, held.ended = self._client.waiting(), False
        if held.prompt_id not in queue:
            return self._client.outcome(held.prompt_id) or _Lost()
        held.pending = held.prompt_id in queue.pending
        if not held.pending:
            held.start()
            if time.monotonic() - held.begun > self._timing.job:
                self._client.cancel([held.prompt_id])
                return Failure(held.prompt_id, f"it was not finished after {self._timing.job:.0f} s")
        return None

    def _end(self, held: Held, outcome: Result | Failure | _Lost) -> bool:
        if isinstance(outcome, _Lost):
            self._give_back(held, "lost", f"ComfyUI at {self._server} forgot it")
        elif isinstance(outcome, Failure):
            kind: Trouble = "interrupted" if outcome.interrupted else "memory" if outcome.out_of_memory else "refused"
            self._give_back(held, kind, f"ComfyUI at {self._server} failed: {outcome.reason}")
        else:
            self._keep(held, outcome)
        return True

    def _keep(self, held: Held, result: Result) -> None:
        listed = [(suffix, file) for file in result.saved() if (suffix := kept_suffix(file["filename"]))]
        if not listed:
            return self._give_back(held, "refused", "the graph saved no picture")
        try:
            made = tuple(checked_media(suffix, self._client.fetch(file), self._server) for suffix, file in listed)
        except NotThereError as error:
            return self._give_back(held, "lost", str(error))
        if self._board.closed:
            return  # the desk may belong to somebody else by now; the server still has the picture
        self._desk.keep(held.job, self._server, held.prompt_id, made, result.texts())
        self._board.finish(held)
        self._back_off = self._timing.back_off
        self._tell(Drawn(held.job, self._server))
        self._board.over(held.job)
