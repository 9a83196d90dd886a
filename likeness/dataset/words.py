"""A plan in sentences, for people; and choices and rules as people write them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from ..errors import LikenessError, first_fault, quoted
from ..profile import FAMILIES
from .groups import GroupBy
from .plan import MAX_PICTURES, Choice, Rules, SetPlan, Wish
from .planning import Planned
from .presets import usual_steps

MAX_LINES = 60
GROUPS = ("nothing", *(g for g in get_args(GroupBy) if g))  # as inputs name them
_CHOICES = TypeAdapter(tuple[Choice, ...])


def summary(planned: Planned, most: int = MAX_LINES) -> str:
    """What a set will hold, what every rule takes away, and each rejection with its reason."""
    plan, chosen = planned.plan, planned.selection
    total = len(plan.items) + len(plan.rejected)
    lines = [
        f"{len(plan.items)} of {total} pictures are taken, {plan.samples} with repeats, at {len(buckets(plan))} sizes: "
        + (", ".join(f"{n} of {size}" for size, n in buckets(plan)) or "none")
        + "."
    ]
    if chosen.would_reject:
        alone = ", ".join(f"{code} {n}" for code, n in chosen.would_reject.items())
        lines.append(f"Pictures that each rule by itself speaks against: {alone}.")
    lines += [f"Nearly the same: {', '.join(c[:6])}{' ...' if len(c) > 6 else ''}." for c in plan.clusters[:10]]
    lines += list(plan.notes)
    rejected = [f"{r.source}: {r.code}. {r.reason}{f' (of {r.of})' if r.of else ''}" for r in plan.rejected]
    return "\n".join([*lines, *_cut(rejected, most)])


def captions_text(plan: SetPlan) -> str:
    """Every caption below its picture's path."""
    return "\n".join(["Captions:", *(f"  {i.stem} {i.source}: {i.caption}" for i in plan.items)])


def buckets(plan: SetPlan) -> list[tuple[str, int]]:
    """("768 x 768", pictures), most first."""
    return Counter(f"{i.bucket_width} x {i.bucket_height}" for i in plan.items).most_common()


def _cut(lines: list[str], most: int) -> Iterable[str]:
    return [*lines[:most], *([f"... and {len(lines) - most} more"] if len(lines) > most else [])]


def parse_choices(text: str, where: str = "choices") -> tuple[Choice, ...]:
    """Choices from JSON (a list of them, or a whole plan) or from lines like `leave: a.png` and `take: sub/b.png`.

    Blank lines and lines that begin with "#" are passed over. LikenessError names the line or field.
    """
    if text.lstrip()[:1] in ("[", "{"):
        return _from_json(text, where)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return tuple(_from_line(line, f"{where}: line {n}") for n, line in lines if line and not line.startswith("#"))


def _from_json(text: str, where: str) -> tuple[Choice, ...]:
    try:
        values = json.loads(text)
        found = values.get("choices", []) if isinstance(values, dict) else values
        choices = _CHOICES.validate_json(json.dumps(found))
    except ValidationError as error:
        raise LikenessError(f"{where}: {first_fault(error)}.") from None
    except (ValueError, RecursionError):
        raise LikenessError(f"{where}: this is no valid JSON: give a list of choices, or a plan.") from None
    if len({c.source for c in choices}) != len(choices) or len(choices) > MAX_PICTURES:
        raise LikenessError(f"{where}: a picture has two choices: leave one of them.")
    return choices


def _from_line(line: str, where: str) -> Choice:
    word, colon, source = line.partition(":")
    if not colon or word.strip() not in ("take", "leave") or not source.strip():
        raise LikenessError(f"{where}: {quoted(line)} is neither 'take: PICTURE' nor 'leave: PICTURE'.")
    return Choice(source=source.strip(), take=word.strip() == "take")


def read_wish(family: str, steps: int | None, batch: int = 1, rank: int | None = None) -> Wish:
    """`steps` None: as many as are usual for the family. LikenessError names the number that is none."""
    if steps is None and family in FAMILIES:
        steps = usual_steps(family)  # type: ignore[arg-type]
    try:
        return Wish.model_validate_json(json.dumps({"family": family, "steps": steps, "batch": batch, "rank": rank}))
    except ValidationError as error:
        raise LikenessError(f"{first_fault(error)}.") from None


def parse_rules(pairs: Iterable[str], rules: Rules = Rules()) -> Rules:  # noqa: B008 - a frozen value
    """Rules changed by "name=value". LikenessError names the one that is wrong and what there is."""
    values = rules.model_dump(mode="json")
    for pair in pairs:
        name, equal, text = pair.partition("=")
        name = name.strip()
        if not equal or name not in values:
            raise LikenessError(f"{quoted(pair)} is no rule: write NAME=VALUE with one of {', '.join(values)}.")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text.strip()
    try:
        made = Rules.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise LikenessError(f"rules: {first_fault(error)}.") from None
    if not made.need_face and made.identity != "off":
        raise LikenessError(
            "need_face=false takes pictures that no face was looked for in, so nobody checks whom they show: add "
            "identity=off if that is meant."
        )
    return made
