"""Regular expressions whose time grows with the pattern and the text, and with nothing else.

A pattern may come from a workflow of somebody else. Python's own search goes back and tries again, which with a few
repeats takes years, and cannot be stopped. Here each step of the pattern is tried at each place of the text at most
once (as RE2's BitState does): what failed there once fails there always, since nothing looks at what came before. So
the first match is the one that Python finds.

Of Python's syntax these are understood: characters, . \\d \\w \\s \\b ^ $, [classes], ( ), (?: ), (?P<name> ), |, after
one character * + ? {2} {2,} {2,5} and their lazy forms, and (?i) at the beginning.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from ..errors import LikenessError, quoted

MAX_PATTERN = 100  # characters
MAX_STEPS = 120  # of a pattern with its repeats written out
_ONE = r"\\[dDwWsS]|\\[^a-zA-Z0-9]"  # escapes that stand for one character, also in a class
_TOKEN = re.compile(
    rf"(?P<repeat>(?:[*+?]|\{{(?=[0-9,]*[0-9])(?P<low>[0-9]{{0,3}})(?P<up>,(?P<high>[0-9]{{0,3}}))?\}})(?P<lazy>\??))"
    rf"|(?P<open>\((?:\?P<(?P<name>[A-Za-z_]\w{{0,30}})>|\?:|(?!\?)))|(?P<close>\))|(?P<bar>\|)"
    rf"|(?P<place>[\^$]|\\[bBAZ])|(?P<one>{_ONE}|\[\^?(?:{_ONE}|[^\\\[\]])+\]|[^\\\[\](){{}}|*+?^$])",
    re.DOTALL,
)

Test = Callable[[str, int], object]  # text and place -> true where it matches


@dataclass(frozen=True)
class _One:
    """One character."""

    test: Test


@dataclass(frozen=True)
class _Place:
    """A condition on the place: ^ $ \\b."""

    test: Test


@dataclass(frozen=True)
class _Either:
    """Go on `first` steps further, or, where that fails, `then`."""

    first: int
    then: int


@dataclass(frozen=True)
class _Jump:
    by: int  # steps


@dataclass(frozen=True)
class _Edge:
    """The beginning or the end of the bracket that is the group."""

    end: bool


_Code = tuple[_One | _Place | _Either | _Jump | _Edge, ...]


@dataclass(frozen=True)
class Pattern:
    """A pattern and the group in it: the named bracket, else the first, else all that matches."""

    text: str
    code: _Code

    def find(self, text: str) -> str | None:
        """The group of the first match, "" where it took no part; None without a match.

        At most len(code) * (len(text) + 1) steps.
        """
        code, places = self.code, len(text) + 1
        tried = bytearray(len(code) * places)
        for start in range(places):
            ways = [(0, start, start, -1)]  # step, place, and where the group begins and ends
            while ways:
                at, place, begin, end = ways.pop()
                if at == len(code):
                    return text[begin:end] if end >= 0 else ""
                if tried[at * places + place]:
                    continue
                tried[at * places + place] = 1
                match code[at]:
                    case _One(test):
                        if place < len(text) and test(text, place):
                            ways.append((at + 1, place + 1, begin, end))
                    case _Either(first, then):
                        ways += ((at + then, place, begin, end), (at + first, place, begin, end))
                    case _Jump(by):
                        ways.append((at + by, place, begin, end))
                    case _Place(test):
                        if test(text, place):
                            ways.append((at + 1, place, begin, end))
                    case _Edge(is_end):
                        ways.append((at + 1, place, begin, place) if is_end else (at + 1, place, place, end))
        return None


def pattern_of(text: str) -> Pattern:
    """LikenessError for one that cannot be used."""
    return Pattern(text, _Reader(text).code())


class _Reader:
    """Reads a pattern from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._any_case = text.startswith("(?i)")
        if len(text) > MAX_PATTERN:
            self._refuse(f"it is longer than {MAX_PATTERN} characters")
        self._tokens = self._split(4 if self._any_case else 0)
        brackets = [i for i, t in enumerate(self._tokens) if t["open"] and t["open"] != "(?:"]
        named = [i for i in brackets if self._tokens[i]["name"]]
        self._group = next(iter(named or brackets), None)  # token that opens it
        self._next = 0

    def _split(self, start: int) -> list[re.Match[str]]:
        tokens = []
        while start < len(self._text):
            token = _TOKEN.match(self._text, start)
            if token is None:
                self._refuse(
                    f"{self._text[start : start + 3]!r} is not understood; a brace or bracket that is meant as a "
                    "character needs a backslash before it"
                )
            tokens.append(token)
            start = token.end()
        return tokens

    def code(self) -> _Code:
        found = self._alternatives()
        if self._next < len(self._tokens):
            self._refuse("a bracket is closed that was not opened")
        if self._group is None:
            found = (_Edge(False), *found, _Edge(True))
        if len(found) > MAX_STEPS:
            self._refuse(f"its repeats written out make more than {MAX_STEPS} steps")
        return found

    def _alternatives(self) -> _Code:
        """Up to the end or a closing bracket."""
        branches = [self._sequence()]
        while self._next < len(self._tokens) and self._tokens[self._next]["bar"]:
            self._next += 1
            branches.append(self._sequence())
        code = branches.pop()
        for branch in reversed(branches):
            code = (_Either(1, len(branch) + 2), *branch, _Jump(len(code) + 1), *code)
        return code

    def _sequence(self) -> _Code:
        code: _Code = ()
        while self._next < len(self._tokens):
            token = self._tokens[self._next]
            if token["bar"] or token["close"]:
                break
            self._next += 1
            code += self._item(token)
        return code

    def _item(self, token: re.Match[str]) -> _Code:
        if token["repeat"]:
            self._refuse("a repeat (* + ? {}) must follow one character; a bracket or a repeat must not be repeated")
        if token["place"]:
            return (_Place(re.compile(token["place"]).match),)
        if token["open"]:
            return self._bracket(is_group=self._group == self._next - 1)
        one = _One(self._test(token["one"]))
        following = self._tokens[self._next] if self._next < len(self._tokens) else None
        if following is None or not following["repeat"]:
            return (one,)
        self._next += 1
        return self._repeated(one, following)

    def _bracket(self, is_group: bool) -> _Code:
        inside = self._alternatives()
        if self._next == len(self._tokens):
            self._refuse("a bracket is not closed")
        self._next += 1
        return (_Edge(False), *inside, _Edge(True)) if is_group else inside

    def _test(self, one: str) -> Test:
        """Python tells whether one character is in a class; it has nothing to go back for."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)  # "[a--b]", which a later Python reads otherwise
                return re.compile(one, re.DOTALL | (re.IGNORECASE if self._any_case else 0)).match
        except (re.error, FutureWarning) as error:
            self._refuse(str(error))

    def _repeated(self, one: _One, repeat: re.Match[str]) -> _Code:
        low, high = _bounds(repeat)
        if high is not None and high < low:
            self._refuse(f"{repeat[0]} asks for fewer than it begins with")
        first, then = (3, 1) if repeat["lazy"] else (1, 3)
        loop = (_Either(first, then), one, _Jump(-2)) if high is None else ()
        first, then = (2, 1) if repeat["lazy"] else (1, 2)
        return (one,) * low + (_Either(first, then), one) * ((high or low) - low) + loop

    def _refuse(self, why: str) -> NoReturn:
        raise LikenessError(f"The pattern {quoted(self._text)} cannot be used: {why}.")


def _bounds(repeat: re.Match[str]) -> tuple[int, int | None]:
    """How often at least and at most; None: as often as there are characters."""
    simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(repeat[0][0])
    if simple is not None:
        return simple
    low = int(repeat["low"] or 0)
    if repeat["up"] is None:
        return low, low
    return low, int(repeat["high"]) if repeat["high"] else None
