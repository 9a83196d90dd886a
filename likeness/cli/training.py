"""`likeness train`: kohya-ss/sd-scripts in its own Python, from a training set to a LoRA file that loads."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import LikenessError, StorageError
from ..files import locked, make_folder
from ..lora_file import LoraInfo, check_whole
from ..lora_versions import Registered
from .loras import register_file
from .output import say
from .places import Places
from .train_job import SCRIPTS, Job, job_of
from .train_states import newest_state
from .trainer import Ended, Progress, run_trainer
from .trainer_checks import cause_in

_EVERY = 60.0  # seconds between two lines where nobody looks at a terminal


def add_training(command: Any) -> None:
    """`likeness train`."""
    parser = command("train", train, "train a LoRA from a training set, by kohya-ss/sd-scripts in its own Python")
    parser.add_argument("set", type=Path, help="folder of the training set, with its train_<family>.toml")
    parser.add_argument("--sd-scripts", type=Path, required=True, metavar="DIR", help="checkout of kohya-ss/sd-scripts")
    parser.add_argument("--python", required=True, metavar="FILE", help="the Python that has its packages")
    parser.add_argument("--model", type=Path, metavar="FILE", help="checkpoint to train on; default: the config's")
    parser.add_argument("--family", choices=sorted(SCRIPTS), help="where the set has configs for several")
    parser.add_argument("--resume", action="store_true", help="go on from the newest state that was saved")
    option = "an option of the trainer that replaces the config's, e.g. max_train_steps=500; may be given several times"
    parser.add_argument("--set", dest="options", action="append", default=[], metavar="KEY=VALUE", help=option)
    parser.add_argument("--register", action="store_true", help="register the LoRA when it is there")
    parser.add_argument("--character", default="", metavar="NAME", help="whose it is; default: the set's")
    parser.add_argument("--dry-run", action="store_true", help="check everything and show the command")


def train(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when no LoRA came of it."""
    job = job_of(arguments)
    if arguments.register:
        places.library().get(job.slug)  # says what is there before hours of training
    shown = shlex.join(job.command)
    if job.lora.exists():
        note = "of an earlier training will be written over; --set output_name=NAME keeps it"
        print(f"{job.lora} {note}.", file=sys.stderr, flush=True)
    if arguments.dry_run:
        say(arguments, f"Everything is there. In {job.home} this would run:\n{shown}", {"command": list(job.command)})
        return 0
    with _alone(job.folder):
        info, log = run_job(job)
    values: dict[str, Any] = {"lora": str(job.lora), "family": job.family, "rank": info.rank, "log": str(log)}
    lines = [f"Trained {job.lora} (rank {info.rank}); the trainer's output is in {log}."]
    if arguments.register:
        made = _registered(job, places)
        values |= {"version": made.version.version, "file": made.version.file}
        lines.append(made.report())
    else:
        lines.append(f"Register it: {register_command(job)}")
    say(arguments, "\n".join(lines), values)
    return 0


def _registered(job: Job, places: Places) -> Registered:
    print(f"Trained {job.lora}; registering it ...", file=sys.stderr, flush=True)
    try:
        return register_file(places, job.slug, job.lora, job.family, training_set=job.folder.name)
    except (LikenessError, OSError) as error:
        raise LikenessError(
            f"{error} The training itself has ended well, and {job.lora} is there; register it by: "
            f"{register_command(job)}"
        ) from error


def register_command(job: Job) -> str:
    words = ["likeness", "lora", "register", str(job.lora), "--character", job.slug, "--training-set", job.folder.name]
    return shlex.join(words)


def run_job(job: Job) -> tuple[LoraInfo, Path]:
    """(the LoRA, the log). LikenessError unless the trainer has left a new file that loads."""
    log = make_folder(job.folder / "logs") / time.strftime(f"train_{job.family}_%Y%m%d-%H%M%S.log")
    before, shows = _stamp(job.lora), _Shows(job)
    try:
        ended = run_trainer(job.command, job.home, log, shows)
    except KeyboardInterrupt:
        shows.end()
        print(f"Training was stopped. {_how_to_go_on(job)}", file=sys.stderr)
        raise
    shows.end()
    return _result(job, ended, log, before), log


def _result(job: Job, ended: Ended, log: Path, before: object) -> LoraInfo:
    """Exit status 0 alone is no success: the trainer ends with 0 when it finds no pictures."""
    cause = cause_in("\n".join(ended.lines), job.command[0])
    last = " | ".join(ended.lines[-4:]) or "it wrote nothing"
    more = f"{cause}. " if cause else f"its last lines: {last}. "
    if ended.code != 0:
        where = f" at {ended.progress}" if ended.progress else ""
        raise LikenessError(f"The trainer ended with status {ended.code}{where}: {more}See {log}. {_how_to_go_on(job)}")
    if _stamp(job.lora) in (None, before):
        raise LikenessError(f"The trainer ended, and there is no new {job.lora}: {more}See {log}.")
    return check_whole(job.lora)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes with the file; None where there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


class _Shows:
    """One line for a person who looks, or a line now and then for a log."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._on_terminal, self._next, self._shown, self._warned = sys.stderr.isatty(), 0.0, -1, False
        resumed = f", from {job.state.name}" if job.state else ""
        print(f"Training {job.name} on {job.family}{resumed} ...", file=sys.stderr, flush=True)

    def __call__(self, news: Progress | None) -> None:
        if news is None:
            return
        news = _of_all(news, self._job)
        if news.loss is not None and not math.isfinite(news.loss) and not self._warned:
            self._warned = True
            print(
                "\nThe loss is no number any more: stop it, and lower the learning rate.", file=sys.stderr, flush=True
            )
        if self._on_terminal:
            print(f"\r\033[K  {news}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() >= self._next or news.step == news.of != self._shown:  # the last one comes several times
            self._next, self._shown = time.monotonic() + _EVERY, news.step
            print(f"  {news}", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._on_terminal:
            print(file=sys.stderr)


def _of_all(news: Progress, job: Job) -> Progress:
    """The trainer's bar shows only the steps from the state on; it ends with an epoch, so there can be some more."""
    step = job.done + news.step
    return replace(news, step=step, of=max(step, job.wanted or job.done + news.of)) if job.state else news


def _how_to_go_on(job: Job) -> str:
    state = newest_state(job.output, job.name)
    if state is None:
        return "No state was saved, so it begins anew the next time (save_state in the config keeps one)."
    return f"Go on from {state.name} with the same command and --resume."


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        with locked(make_folder(folder / "logs") / "train.lock", seconds=0.5):
            yield
    except StorageError as error:
        if "still using" not in str(error):
            raise
        raise LikenessError(f"Another training of {folder} is running: wait for it, or stop it.") from error
