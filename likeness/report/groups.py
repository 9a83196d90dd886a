"""Which pictures belong together: by folder, by a pattern in their name, or by the settings they were drawn with.

A pattern may come from a workflow of somebody else, and Python cannot stop a search. So a pattern is short, has at
most three repeats, none of them of a bracket, the fewer alternatives the more repeats, and is tried on a short
name: the worst one takes a quarter of a second.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import LikenessError, quoted
from .folder import shown
from .settings import SETTINGS, Reader

MAX_GROUPINGS = 6
NONE = "(none)"
TOP = "(top folder)"
_MAX_PATTERN, _MAX_PATH, _MAX_VALUE, _MAX_REPEATS = 100, 160, 120, 3
_MAX_CHOICES = (12, 12, 4, 0)  # alternatives beside 0, 1, 2 and 3 repeats: each multiplies the time of the other
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?::|i\)|P<\w+>)|\(\?|\{[\d,]*\}|.", re.DOTALL)
_NAME = re.compile(r"[A-Za-z][\w -]{0,39}")


@dataclass(frozen=True)
class Grouping:
    """One way to sort pictures into groups."""

    name: str  # for people: "folder", "lora", or the name given to a pattern
    level: int = 0  # folder: from the top, 1..; 0: not by folder
    setting: str = ""  # of settings.SETTINGS
    pattern: re.Pattern[str] | None = None

    def value(self, name: str, settings: dict[str, str]) -> str:
        """The group of a picture, never empty. `name`: below the folder, with '/'."""
        if self.level:
            folders = name.split("/")[:-1]
            return shown(folders[self.level - 1])[:_MAX_VALUE] if len(folders) >= self.level else TOP
        if self.pattern is None:
            return shown(settings.get(self.setting, "")) or NONE
        found = self.pattern.search(shown(name)[-_MAX_PATH:])
        if found is None:
            return NONE
        return (found.group(_group(found.re)) or NONE)[:_MAX_VALUE]


def _group(pattern: re.Pattern[str]) -> int:
    """The named bracket, else the first, else the whole match."""
    return min(pattern.groupindex.values(), default=min(pattern.groups, 1))


def parse_groupings(texts: Sequence[str]) -> tuple[Grouping, ...]:
    """ "folder", "folder:2", a setting, or NAME=REGEX; LikenessError for anything else."""
    wanted = [text.strip() for text in texts if text.strip()]
    if len(wanted) > MAX_GROUPINGS:
        raise LikenessError(f"{len(wanted)} groupings are too many: give at most {MAX_GROUPINGS}.")
    found = {grouping.name: grouping for grouping in map(_parse, wanted)}
    return tuple(found.values())


def _parse(text: str) -> Grouping:
    kind, colon, level = text.partition(":")
    if kind == "folder" and (not colon or level in tuple("123456789")):
        return Grouping(text, level=int(level or 1))
    if text in SETTINGS:
        return Grouping(text, setting=text)
    name, equals, pattern = text.partition("=")
    if not equals or not _NAME.fullmatch(name.strip()):
        some = ", ".join(("folder", "folder:2", *SETTINGS))
        raise LikenessError(f"{quoted(text)} is no grouping: give {some}, or NAME=REGEX for a part of the file name.")
    return Grouping(name.strip(), pattern=_compiled(pattern))


def _compiled(text: str) -> re.Pattern[str]:
    """The first bracket, else the whole match, is the group."""
    why = _why_slow(text)
    if not why:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)  # "[[", which a later Python reads otherwise
                return re.compile(text, re.DOTALL)
        except (re.error, OverflowError, RecursionError, FutureWarning) as error:
            why = str(error)
    raise LikenessError(f"The pattern {quoted(text)} cannot be used: {why}.")


def _why_slow(text: str) -> str:
    """Why a search for it might take for ever; "" for one that cannot."""
    if len(text) > _MAX_PATTERN:
        return f"it is longer than {_MAX_PATTERN} characters"
    repeats, choices, before = 0, 0, ""
    for token in _TOKEN.findall(text):
        if token == "(?" or (token[0] == "\\" and token[1:].isdigit()):
            return (
                "of the forms with a question mark in a bracket only (?:...), (?P<name>...), (?i) may stand, and no \\1"
            )
        if token in ("*", "+", "?") or token.startswith("{"):
            if before == ")":
                return "a bracket must not be repeated"
            repeats += before not in ("*", "+", "?", "}")  # "*?" is one
            token = token[-1]
        choices += token == "|"
        before = token
    if repeats > _MAX_REPEATS or choices > _MAX_CHOICES[repeats]:
        some = ", ".join(f"{n} with {i}" for i, n in enumerate(_MAX_CHOICES))
        return f"it may have {_MAX_REPEATS} repeats, and as many alternatives ({some})"
    return ""


def group_values(
    names: Sequence[str], groupings: Sequence[Grouping], read: Reader = lambda name: {}
) -> list[tuple[str, ...]]:
    """For every picture its group under every grouping. `read` gives its settings, where a grouping asks for them."""
    by_settings = any(g.setting for g in groupings)
    values = []
    for name in names:
        settings = read(name) if by_settings else {}
        values.append(tuple(g.value(name, settings) for g in groupings))
    return values
