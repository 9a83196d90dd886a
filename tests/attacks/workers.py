"""Programs that the crash and contention tests start, and kill. Run as `python workers.py <job> <root> ...`."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

from likeness.files import atomic_write, locked  # the rest where it is needed: most workers start, and die, often


def record(number: int) -> bytes:
    """60 KB that tell whether they are whole: a number, filling, and the number again."""
    return b"%08d" % number + b"x" * 60_000 + b"%08d" % number


def write_for_ever(root: Path) -> None:
    print("ready", flush=True)
    for number in itertools.count():
        atomic_write(root / "state.bin", record(number))


def save_for_ever(root: Path) -> None:
    """Profiles with as many references as their number says, saved, renamed to and fro, and made anew."""
    from likeness.library import Library
    from likeness.profile import Profile, Reference

    library = Library([root])
    library.save(Profile(name="Ada", slug="ada", notes="0"))
    print("ready", flush=True)
    for number in itertools.count(1):
        references = tuple(Reference(file=f"references/{i:04d}.png") for i in range(number % 300))
        library.save(Profile(name="Ada", slug="ada", notes=str(len(references)), references=references))
        library.rename("ada", "Eve")
        library.rename("eve", "Ada")


def count_up(root: Path, times: int) -> None:
    """One more in the notes per update."""
    from likeness.library import Library

    library = Library([root])
    for _ in range(times):
        library.update("ada", lambda p: p.model_copy(update={"notes": str(int(p.notes or 0) + 1)}))


def hold_lock(root: Path) -> None:
    with locked(root / "ada.lock"):
        print("ready", flush=True)
        time.sleep(600)


if __name__ == "__main__":
    job, folder, *rest = sys.argv[1:]
    {"write": write_for_ever, "save": save_for_ever, "count": count_up, "hold": hold_lock}[job](
        Path(folder), *map(int, rest)
    )
