"""What a stopped training goes on from: the states that sd-scripts leaves, and how far each of them is.

After `--resume` its `global_step` begins at the rest of an epoch, so the states that follow are numbered too low; their
epoch is right. Going on from one of those by its own number would train the steps before it again.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..errors import LikenessError
from ..files import read_limited

_MAX_STATE = 4096  # bytes
_MOST_STEPS = 10**9
_HEAD = 4 << 20  # bytes of a log; it tells the steps of an epoch before the first step
_PER_EPOCH = re.compile(rb"num batches per epoch / [^:\n]*: ([0-9]{1,9})")


def newest_state(output: Path, name: str) -> Path | None:
    """The state that the trainer has written last for this name, `<name>[-stepN|-N]-state`."""
    rule, found = re.compile(re.escape(name) + r"(-\d{6,}|-step\d{8,})?-state"), []
    for path in output.glob("*-state"):
        told = _told(path) if rule.fullmatch(path.name) else None
        if told is not None:
            found.append(((path / "train_state.json").stat().st_mtime_ns, told[1], path))
    return max(found)[2] if found else None


def steps_of(state: Path, logs: Path, family: str) -> int | None:
    """Steps behind a state, counted over all parts of its training; None where it does not tell.

    `logs`: of the set. Where none of them tells the steps of an epoch, the state's own number is all there is.
    """
    told = _told(state)
    if told is None:
        return None
    epoch, step = told
    per_epoch = _steps_per_epoch(logs, family)
    if not per_epoch or epoch is None:
        return step
    return max(step, (epoch - 1) * per_epoch + (step - 1) % per_epoch + 1)


def _told(state: Path) -> tuple[int | None, int] | None:
    """(epoch from 1 on, step) of a state that was written to its end: this file comes first, the random states last."""
    if not any(p.stat().st_size for p in state.glob("random_states_*.pkl")):
        return None
    try:
        told = json.loads(read_limited(state / "train_state.json", _MAX_STATE))
        step, epoch = told.get("current_step"), told.get("current_epoch")
    except (LikenessError, ValueError, AttributeError):
        return None
    return (epoch if _is_count(epoch) else None, step) if _is_count(step) else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 < value < _MOST_STEPS


def _steps_per_epoch(logs: Path, family: str) -> int | None:
    """As the newest log that tells them has them."""
    for path in sorted(logs.glob(f"train_{family}_*.log"), reverse=True):
        try:
            with path.open("rb") as f:
                found = _PER_EPOCH.search(f.read(_HEAD))
        except OSError:
            continue
        if found:
            return int(found[1])
    return None
