"""A trainer as a process of its own: started without a shell, followed by its output, stopped with all its children."""

from __future__ import annotations

import codecs
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import LikenessError

_WINDOWS = sys.platform == "win32"
# tqdm: "steps:  33%|###3      | 1/3 [00:03<00:06,  3.41s/it, avr_loss=1.09]"
_STEPS = re.compile(r"steps:\s+\d+%\|[^|]*\|\s*(\d{1,9})/(\d{1,9})\s*\[[\d:]+<([\d:?]+)(?:.*?avr_loss=([-+\w.]+))?")
# Escape sequences of a terminal (ECMA-48): a control sequence, a string such as a window's title, any other.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])?")
_LOOK = 0.2  # seconds between two looks at whether it has ended
_PATIENCE = 10.0  # seconds that it has for ending by itself when it is stopped
_DRAIN = 2.0  # seconds for the rest of its output, once it has ended
_TAIL = 60  # lines kept for messages
_PIECE, _AHEAD = 65536, 64  # bytes read at a time, and how many such pieces wait while the log is written
_MAX_LINE = 4096  # characters of a line that are looked at
_MAX_LOG = 64 << 20  # bytes; some trainers print without end
# What a Python started from ours must not inherit, beside PYTHON...: another installation's packages and manners.
_NOT_INHERITED = ("VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    step: int
    of: int
    left: str  # time, "12:34", or "?"
    loss: float | None = None  # mean of the recent steps

    def __str__(self) -> str:
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        left = "" if self.left == "?" else f", {self.left} left"
        return f"step {self.step} of {self.of}{loss}{left}"


def progress_in(line: str) -> Progress | None:
    """What a line of the trainer's output says; None for any other line."""
    found = _STEPS.search(line[:_MAX_LINE])
    if found is None:
        return None
    try:
        loss = float(found[4]) if found[4] else None
    except ValueError:
        loss = None
    return Progress(int(found[1]), int(found[2]), found[3], loss)


@dataclass(frozen=True)
class Ended:
    """How it ended."""

    code: int  # exit status
    lines: tuple[str, ...]  # the last ones, without the progress
    progress: Progress | None  # the last that it told


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Ours without what leads a Python to our packages, and with output that comes at once, in UTF-8."""
    ours = {key for key in environment if key in _NOT_INHERITED or key.upper().startswith("PYTHON")}
    kept = {key: value for key, value in environment.items() if key not in ours}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def plain_text(text: str) -> str:
    """What a terminal would show of it, without what would change the terminal."""
    return "".join(c if c.isprintable() else " " for c in _ESCAPES.sub("", text))


def run_trainer(command: Sequence[str], folder: Path, log: Path, show: Callable[[Progress | None], None]) -> Ended:
    """Run it to its end; its output goes to `log`. `show` is called often, with news or None.

    Whatever ends this call, KeyboardInterrupt included, no process of the trainer is left.
    """
    with _opened(log) as file, _stopping_on_signals():
        try:
            process = _start(command, folder)
        except OSError as error:
            raise LikenessError(f"{command[0]} cannot be started: {error.strerror}.") from error
        try:
            return _follow(process, _Log(file), show)
        finally:
            stop_all(process)


@contextmanager
def _opened(log: Path) -> Iterator[BinaryIO]:
    try:
        file = open(log, "ab", buffering=0)
    except OSError as error:
        raise LikenessError(f"The log {log} cannot be written ({error.strerror}): make its folder writable.") from error
    with file:
        yield file


class _Log:
    """A log of limited size. Where it cannot be written, the training goes on without it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, _MAX_LOG

    def add(self, data: bytes) -> None:
        if data and self._left > 0:
            kept = data[: self._left]
            self._left -= len(kept)
            self._write(kept)
            if self._left <= 0:
                self._write(f"\n... the log ends here, at {_MAX_LOG:,} bytes; the last lines follow.\n".encode())

    def finish(self, lines: Iterable[str]) -> None:
        if self._left <= 0:
            self._write("\n".join([*lines, ""]).encode())

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            if self._left > 0:
                print(f"\nThe log cannot be written any more ({error.strerror}); training goes on.", file=sys.stderr)
            self._left = -1


def _start(command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    own = {"creationflags": 0x200} if _WINDOWS else {"start_new_session": True}  # CREATE_NEW_PROCESS_GROUP
    return subprocess.Popen(
        list(command),
        cwd=folder,
        env=clean_environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **own,  # type: ignore[call-overload]
    )


def stop_all(process: subprocess.Popen[bytes], patience: float = _PATIENCE) -> None:
    """End the process and every child of it: asked first, then by force."""
    try:
        if process.poll() is None:
            _signal(process, gently=True)
            process.wait(patience)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _signal(process, gently=False)  # children may live on where the process itself has ended
        process.wait()


def _signal(process: subprocess.Popen[bytes], gently: bool) -> None:
    if _WINDOWS:
        force = [] if gently else ["/F"]
        subprocess.run(["taskkill", "/PID", str(process.pid), "/T", *force], capture_output=True, check=False)
        return
    try:
        os.killpg(process.pid, signal.SIGTERM if gently else signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nobody is left


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """A closed terminal and `kill` stop us as Ctrl+C does, so that the trainer does not stay behind."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        names = []

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    # One that is ignored stays so: nohup asks for that, for us and for the trainer.
    numbers = [n for name in names if signal.getsignal(n := getattr(signal, name)) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _follow(process: subprocess.Popen[bytes], log: _Log, show: Callable[[Progress | None], None]) -> Ended:
    told = _Told()
    for data in _output(process):
        log.add(data)
        show(told.take(data))
    told.take(b"\n")
    log.finish(told.lines)
    return Ended(process.wait(), tuple(told.lines), told.progress)


class _Told:
    """The output so far, line by line."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_TAIL)
        self.progress: Progress | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def take(self, data: bytes) -> Progress | None:
        """The newest progress in it."""
        *whole, self._rest = re.split(r"[\r\n]+", self._rest + self._decoder.decode(data))
        self._rest = self._rest[-10_000:]  # a line without an end
        news = None
        for line in map(plain_text, whole):
            if found := progress_in(line):
                self.progress = news = found
            elif line.strip():
                self.lines.append(line.strip()[:1000])
        return news


def _output(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """What it writes; b"" where it is silent for a while. Ends soon after the process, whoever holds its pipe."""
    assert process.stdout is not None
    pieces: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
    done = threading.Event()
    threading.Thread(target=_read, args=(process.stdout, pieces, done), daemon=True).start()
    deadline = None
    try:
        while deadline is None or time.monotonic() < deadline:
            try:
                piece = pieces.get(timeout=_LOOK)
            except queue.Empty:
                piece = b""
            if piece is None:
                return
            yield piece
            if deadline is None and process.poll() is not None:
                deadline = time.monotonic() + _DRAIN
    finally:
        done.set()


def _read(pipe: BinaryIO, pieces: queue.Queue[bytes | None], done: threading.Event) -> None:
    """Until everybody who holds the other end is gone, or nobody wants it any more."""
    with pipe, suppress(OSError):
        while (data := os.read(pipe.fileno(), _PIECE)) and not done.is_set():
            _put(pieces, data, done)
    _put(pieces, None, done)


def _put(pieces: queue.Queue[bytes | None], piece: bytes | None, done: threading.Event) -> None:
    """Waits for room, so that a trainer that writes faster than the log takes it has to wait, too."""
    while not done.is_set():
        with suppress(queue.Full):
            return pieces.put(piece, timeout=_LOOK)
