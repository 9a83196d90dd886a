"""Work on many items in all cores: results in order, a bounded number in hand, stopped within a fraction of a second.

Pillow's codecs and zlib run without Python's lock, so threads use every core.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
POLL = 0.05  # s between two calls of `check` while waiting
PATIENCE = 0.3  # s that stopping waits for the items in work

A = TypeVar("A")
B = TypeVar("B")


def in_order(
    items: Iterable[A],
    work: Callable[[A], B],
    check: Callable[[], None] = lambda: None,
    workers: int = CORES,
) -> Generator[B, None, None]:
    """`work` of every item, in order, with at most twice as many items in hand as there are workers.

    `check` is called many times a second in the caller's thread and may raise to stop; so may `work`. No item is begun
    after that.
    """
    pool = ThreadPoolExecutor(max(workers, 1), "likeness-set")
    waiting: deque[Future[B]] = deque()
    source = iter(items)
    try:
        while True:
            while len(waiting) < 2 * max(workers, 1):
                try:
                    waiting.append(pool.submit(work, next(source)))
                except StopIteration:
                    break
            if not waiting:
                return
            first = waiting.popleft()
            check()
            while not wait([first], POLL).done:
                check()
            yield first.result()
            del first  # nothing here may keep a picture alive that the caller has finished with
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        wait([f for f in waiting if f.running()], PATIENCE)
