"""Which pictures belong together: by folder, by a pattern in their name, or by the settings they were drawn with."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import LikenessError, quoted
from .folder import shown
from .pattern import Pattern, pattern_of
from .settings import LABELS, SETTINGS, Reader

MAX_GROUPINGS = 6
NONE = "(none)"
TOP = "(top folder)"
_MAX_PATH, _MAX_VALUE = 160, 120  # characters; of a path the last ones, on which the slowest pattern takes 12 ms
_NAME = re.compile(r"[A-Za-z][\w -]{0,39}")


@dataclass(frozen=True)
class Grouping:
    """One way to sort pictures into groups."""

    name: str  # for people: "folder", "lora", or the name given to a pattern
    level: int = 0  # folder: from the top, 1..; 0: not by folder
    setting: str = ""  # of settings.SETTINGS
    pattern: Pattern | None = None

    @property
    def tells(self) -> str:
        """What a picture does that has a group, for "No picture ..."; "" where every picture has one."""
        if self.level:
            return ""
        return f"says which {LABELS[self.setting]}" if self.pattern is None else f"matches the pattern of {self.name}"

    def value(self, name: str, settings: dict[str, str]) -> str:
        """The group of a picture, never empty. `name`: below the folder, with '/'."""
        if self.level:
            folders = name.split("/")[:-1]
            return shown(folders[self.level - 1])[:_MAX_VALUE] if len(folders) >= self.level else TOP
        if self.pattern is None:
            return shown(settings.get(self.setting, "")) or NONE
        return (self.pattern.find(shown(name)[-_MAX_PATH:]) or NONE)[:_MAX_VALUE]


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
    return Grouping(name.strip(), pattern=pattern_of(pattern))


def group_values(
    names: Sequence[str],
    groupings: Sequence[Grouping],
    read: Reader = lambda name: {},
    check: Callable[[], None] = lambda: None,
) -> list[tuple[str, ...]]:
    """For every picture its group under every grouping. `read` gives its settings, where a grouping asks for them;
    `check` is called for every picture and grouping, and may raise to stop."""
    by_settings = any(g.setting for g in groupings)
    values = []
    for name in names:
        settings = read(name) if by_settings else {}
        found = []
        for grouping in groupings:
            check()
            found.append(grouping.value(name, settings))
        values.append(tuple(found))
    return values
