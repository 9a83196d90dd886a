"""Work is spread in order and done once, whatever its workers do: by a runner that fails as told, and by threads."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.errors import FaceError, LikenessError
from likeness.remote.spread import WAITING, Done, Failed, Local, OnRay, Outcome, attempt, run_all, spread

LOST = Failed("its worker died")


class Unreliable:
    """Ends tasks in any order; loses those that it is told to lose, and tells some results twice."""

    def __init__(self, function: Callable[[Any], Any], lose: dict[int, int], seed: int = 0, room: int = 3) -> None:
        self._function, self._lose, self.room = function, dict(lose), room
        self._random = random.Random(seed)
        self._waiting: list[tuple[int, Any]] = []
        self.attempts: list[int] = []
        self.stopped = False

    def submit(self, number: int, item: Any) -> None:
        assert not self.stopped
        self.attempts.append(number)
        self._waiting.append((number, item))

    def wait(self, seconds: float) -> Iterable[tuple[int, Outcome[Any]]]:
        number, item = self._waiting.pop(self._random.randrange(len(self._waiting)))
        if self._lose.get(number, 0) > 0:
            self._lose[number] -= 1
            return [(number, LOST)]
        outcome = attempt(self._function, item)
        return [(number, outcome)] * self._random.choice([1, 2])

    def stop(self) -> None:
        self.stopped = True


def squared(item: int) -> int:
    return item * item


@given(
    st.integers(0, 30), st.dictionaries(st.integers(0, 29), st.integers(1, 2)), st.integers(0, 99), st.integers(1, 7)
)
def test_results_come_in_order_and_once_whatever_is_lost(
    count: int, lose: dict[int, int], seed: int, room: int
) -> None:
    runner = Unreliable(squared, lose, seed, room)
    assert list(run_all(runner, range(count), retries=2)) == [i * i for i in range(count)]
    assert sorted(runner.attempts) == sorted(n for n in range(count) for _ in range(1 + lose.get(n, 0)))
    assert runner.stopped


def test_an_item_that_fails_every_time_is_named_in_one_sentence() -> None:
    runner = Unreliable(squared, {3: 99})
    given_out = []
    with pytest.raises(LikenessError) as told:
        for value in run_all(runner, range(9), retries=2, name=lambda item: f"picture {item}.png"):
            given_out.append(value)
    assert str(told.value) == "picture 3.png was given up, having failed 3 times, at last because its worker died"
    assert given_out == [0, 1, 4]  # what came before it is there
    assert runner.attempts.count(3) == 3 and runner.stopped


def test_without_retries_the_first_failure_ends_it() -> None:
    with pytest.raises(LikenessError, match=r"^Task 1 was given up, having failed once, at last because its worker"):
        list(run_all(Unreliable(squared, {0: 1}), [5], retries=0))


def faceless(item: int) -> int:
    if item == 2:
        raise FaceError("2.png shows nobody.")
    return item


@pytest.mark.parametrize("seed", range(5))
def test_an_error_of_ours_comes_back_as_itself_at_its_turn_and_is_not_tried_again(seed: int) -> None:
    runner = Unreliable(faceless, {}, seed)
    stream = run_all(runner, range(50))
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(FaceError, match=r"^2\.png shows nobody\.$"):
        next(stream)
    assert runner.attempts.count(2) == 1
    assert max(runner.attempts) < 2 + WAITING * runner.room  # and nothing was begun after it was known


def test_items_are_taken_as_they_are_needed() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 999:
            taken += 1
            yield taken

    runner = Unreliable(squared, {}, room=4)
    for given_out, _ in enumerate(run_all(runner, items())):
        assert taken <= given_out + WAITING * runner.room + 1
    assert taken == 999


def test_what_is_in_hand_stays_bounded_while_the_first_item_is_lost_again_and_again() -> None:
    runner = Unreliable(squared, {0: 40}, room=4)
    stream = run_all(runner, range(1000), retries=40)
    assert next(stream) == 0
    assert len(set(runner.attempts)) <= WAITING * runner.room
    stream.close()
    assert runner.stopped


class Interrupted(Exception):
    pass


def test_check_stops_a_run_at_once() -> None:
    released = threading.Event()
    begun = time.monotonic()

    def check() -> None:
        if time.monotonic() - begun > 0.2:
            raise Interrupted

    try:
        with pytest.raises(Interrupted):
            list(spread(lambda item: released.wait(20), range(5), on=Local(2), check=check))
        assert time.monotonic() - begun < 0.7
    finally:
        released.set()


# ---- threads


def test_threads_give_what_a_loop_gives() -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return squared(item)

    assert list(spread(slow_at_first, range(40), on=Local(4))) == [i * i for i in range(40)]
    assert list(spread(squared, [])) == []


def test_an_exception_that_is_not_ours_is_tried_again_and_then_named() -> None:
    calls: dict[int, int] = {}

    def shaky(item: int) -> int:
        calls[item] = calls.get(item, 0) + 1
        if item == 1 and calls[item] < 3:
            raise OSError("the network drive is gone")
        return item

    assert list(spread(shaky, range(3), on=Local(1))) == [0, 1, 2]
    assert calls == {0: 1, 1: 3, 2: 1}
    calls.clear()
    with pytest.raises(
        LikenessError, match="given up, having failed 2 times, at last because OSError: the network dri"
    ):
        list(spread(shaky, range(3), on=Local(1), retries=1))


def test_no_item_is_begun_after_the_caller_has_left() -> None:
    begun: list[int] = []
    stream = spread(lambda item: begun.append(item), range(1000), on=Local(2))
    next(stream)
    stream.close()
    count = len(begun)
    time.sleep(0.1)
    assert len(begun) <= count + 2 < 20  # the two in work may end


def test_attempt_tells_ours_from_the_rest() -> None:
    assert attempt(squared, 3) == Done(9)
    found = attempt(lambda item: 1 // item, 0)
    assert isinstance(found, Failed) and found.why.startswith("ZeroDivisionError") and "1 // item" in found.details


def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LikenessError, match=r"Ray, which spreads work over machines, is not installed: run: .* -m pip"):
        next(spread(squared, [1], on=OnRay()))
