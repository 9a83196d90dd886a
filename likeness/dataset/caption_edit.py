"""What stands in the captions of a set, and changing it in all of them: as choices, the originals stay as they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import LikenessError, quoted
from .captions import starts_with_trigger, tags_of
from .plan import Choice, SetPlan, check_caption

FindIn = Literal["tags", "text"]
FIND_IN: tuple[FindIn, ...] = ("tags", "text")


@dataclass(frozen=True)
class TagCount:
    """One tag of a set."""

    tag: str  # as it is written most often
    count: int  # captions that hold it
    share: float  # of all captions, 0..1


@dataclass(frozen=True)
class Change:
    """One caption before and after."""

    source: str
    before: str
    after: str


@dataclass(frozen=True)
class Replaced:
    """What find and replace would do: nothing is done until the choices are planned with."""

    changes: tuple[Change, ...]
    choices: tuple[Choice, ...]  # all choices of the plan, these changes among them, for `plan_set`


def count_tags(captions: Sequence[str]) -> tuple[TagCount, ...]:
    """Every tag once for each caption that holds it, most first; capitals do not count."""
    spelt: dict[str, Counter[str]] = {}
    for caption in captions:
        for low, tag in {tag.casefold(): tag for tag in tags_of(caption)}.items():
            spelt.setdefault(low, Counter())[tag] += 1
    found = [(sum(c.values()), min(c, key=lambda t: (-c[t], t))) for c in spelt.values()]
    return tuple(TagCount(tag, n, n / len(captions)) for n, tag in sorted(found, key=lambda f: (-f[0], f[1])))


def tag_table(captions: Sequence[str], rows: int = 50) -> str:
    """`count_tags` for people."""
    found = count_tags(captions)
    lines = [f"{'captions':>8}  {'share':>5}  tag"]
    lines += [f"{t.count:>8}  {t.share:>5.0%}  {t.tag}" for t in found[:rows]]
    if len(found) > rows:
        lines.append(f"and {len(found) - rows} more tags")
    return "\n".join(lines)


def replace_captions(plan: SetPlan, find: str, put: str, find_in: FindIn = "tags", case: bool = False) -> Replaced:
    """Find and replace in the captions of a plan.

    "tags": `find` is a whole part between commas, or several in a row; capitals count only with `case`; an empty
    `put` removes it, and a tag that then stands twice is kept once. "text": `find` is any text.
    LikenessError where nothing is looked for, or a caption would lose the trigger word or be none any more.
    """
    change = _in_text(find, put, case) if find_in == "text" else _in_tags(find, put, case)
    changes = [Change(i.source, i.caption, after) for i in plan.items if (after := change(i.caption)) != i.caption]
    _check(plan, changes)
    return Replaced(tuple(changes), _merged(plan.choices, {c.source: c.after for c in changes}))


def _check(plan: SetPlan, changes: Sequence[Change]) -> None:
    for one in changes:
        try:
            check_caption(one.after)
        except LikenessError as error:
            raise LikenessError(f"{one.source}: {error}") from None
    lost = [c for c in changes if starts_with_trigger(c.before, plan) and not starts_with_trigger(c.after, plan)]
    if lost:
        raise LikenessError(
            f"This would take the trigger word {plan.trigger!r} from the beginning of {len(lost)} captions "
            f"({lost[0].source} first): a trigger word is changed in the profile."
        )


def _merged(choices: Sequence[Choice], captions: Mapping[str, str]) -> tuple[Choice, ...]:
    found = {c.source: c for c in choices}
    for source, caption in captions.items():
        found[source] = found.get(source, Choice(source=source)).model_copy(update={"caption": caption})
    return tuple(found[source] for source in sorted(found))


def _in_text(find: str, put: str, case: bool) -> Callable[[str], str]:
    if not find:
        raise LikenessError("There is nothing to look for: give the text to replace.")
    pattern = re.compile(re.escape(find), 0 if case else re.IGNORECASE)

    def change(caption: str) -> str:
        after, hits = pattern.subn(lambda _: put, caption)
        return ", ".join(tags_of(after)) if hits else caption  # no comma is left beside nothing

    return change


def _in_tags(find: str, put: str, case: bool) -> Callable[[str], str]:
    wanted = [_folded(tag, case) for tag in tags_of(find)]
    if not wanted:
        raise LikenessError(f"There is no tag in {quoted(find)}: give the words between two commas.")
    new = tags_of(put)

    def change(caption: str) -> str:
        tags = tags_of(caption)
        after, at = [], 0
        while at < len(tags):
            hit = [_folded(tag, case) for tag in tags[at : at + len(wanted)]] == wanted
            after += new if hit else [tags[at]]
            at += len(wanted) if hit else 1
        return caption if after == tags else ", ".join(_once(after))

    return change


def _once(tags: Sequence[str]) -> list[str]:
    first: dict[str, str] = {}
    for tag in tags:
        first.setdefault(tag.casefold(), tag)
    return list(first.values())


def _folded(tag: str, case: bool) -> str:
    return tag if case else tag.casefold()
