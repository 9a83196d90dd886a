"""Patterns that sort pictures: what Python finds, in a time that nobody can stretch."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.errors import LikenessError
from likeness.report.groups import group_values, parse_groupings
from likeness.report.measure import Measured
from likeness.report.pattern import MAX_PATTERN, pattern_of

from .report_pictures import report_of, row

REPEATS = ["", "", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{,2}", "{1,}", "{0}", "{0,3}?"]
one = st.sampled_from(["a", "b", ".", r"\d", "[ab]", "[^a]", r"[\d_]", r"\.", r"\{", r"\}", "1", "_"])
repeated = st.builds("".join, st.tuples(one, st.sampled_from(REPEATS)))
places = st.sampled_from(["^", "$", r"\b", r"\B"])


def alternatives(inside: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(st.lists(inside, max_size=4).map("".join), min_size=1, max_size=3).map("|".join)


def bracket(inside: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("".join, st.tuples(st.sampled_from(["(", "(?:"]), alternatives(inside), st.just(")")))


patterns = alternatives(st.recursive(repeated | places, bracket, max_leaves=8)).filter(lambda p: len(p) <= MAX_PATTERN)


@given(patterns, st.lists(st.text("ab1_.{}", max_size=10), min_size=1, max_size=5))
def test_the_first_match_is_the_one_that_python_finds(text: str, names: list[str]) -> None:
    pattern, known = pattern_of(text), re.compile(text, re.DOTALL)
    for name in names:
        found = known.search(name)
        expected = None if found is None else found.group(min(known.groups, 1)) or ""
        assert pattern.find(name) == expected


def test_useful_patterns_are_taken() -> None:
    useful = {
        r"/([^/]+)/[^/]*$": "b",
        r"(?i)ADA[_-]?(\d{6})": "000004",
        r"_(red|blue)_": "red",
        r"(\w+)-(?P<epoch>\d+)_(\w+)_(\d+)_?\.png$": "000004",
        "nothing|a/": "a/",
    }
    found = {text: pattern_of(text).find("a/b/ada-000004_red_1.png") for text in useful}
    assert found == useful
    assert pattern_of("(x)|ada").find("ada") == "" and pattern_of("x").find("ada") is None


@pytest.mark.parametrize(
    "text",
    [r"(a+)+$", r"(a|a)*$", r"(.*)*x", r"(a?){60}", "a**", "a*+", "*a", "^*", r"(.)\1", "(?=a)", "(?<=a)b", "(?P=n)",
     "(?i:a)", "a(?i)", "[[a]", "[]a]", "[^]", "[z-a]", "[a--b]", "[a", "(a", "a)", "a=}*}*!", "a{", "{,}", "a{,}",
     "a{3,2}", "a{1000}", r"\x41", "\\", "a{70}a{60}", ".*" * 45, "x" * 101],
)  # fmt: skip
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(LikenessError, match="cannot be used"):
        parse_groupings([f"x={text}"])


SLOW = [  # for a search that goes back and tries again
    r"\}*" * 8 + "!",
    "[}]*" * 8 + "!",
    ".*(a|a)" + "(a|a)" * 11 + "!",
    "a*" * 38 + "!",
    ".*?" * 32 + "!",
    "a?" * 49 + "b",
    "(a|a|a|a|a|a)" * 7 + "!",
    "(|" * 33 + "a" + ")" * 33,
    r"[\w\W]{0,58}!",
    r"(?i)[\D\d\S]{0,58}!",
]


@pytest.mark.parametrize("text", SLOW)
@pytest.mark.parametrize("name", ["a" * 255, "}" * 255, "ab" * 128])
def test_no_pattern_takes_long(text: str, name: str) -> None:
    """The slowest take 12 ms; with Python's search the first ones would not end."""
    groupings = parse_groupings([f"x={text}"])
    began = time.process_time()
    group_values([name], groupings)
    assert time.process_time() - began < 0.4


def test_a_pattern_tries_each_step_once_at_each_place() -> None:
    calls = 0

    def counted(text: str, place: int) -> bool:
        nonlocal calls
        calls += 1
        return True

    pattern = pattern_of(".*" * 38 + "!")
    tests = [step for step in pattern.code if hasattr(step, "test")]
    for step in tests[:-1]:
        object.__setattr__(step, "test", counted)
    assert pattern.find("a" * 160) is None
    assert calls == 38 * 160


def test_a_run_can_be_stopped_at_every_picture() -> None:
    seen = 0

    def stop() -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report_of(Measured(tuple(row(f"{i}.png") for i in range(9))), r"x=(\d)", check=stop)
    assert seen == 3
