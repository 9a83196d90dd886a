"""What a set shows and how often, what it lacks, and prompts for a character sheet that would fill the gaps.

Published advice on framing differs: 70 % upper body and face, 20 % portraits, 10 % full figures; a third identity and
two thirds context; 40/30/30; mostly faces. So the target is a value that can be set, and nothing is refused for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import LikenessError, quoted
from .captions import Subject, subject_of
from .plan import Facts, SetPlan

FACETS = ("framing", "angle", "tilt", "expression", "light", "outfit", "background")
_MEASURED, _NAMED = FACETS[:5], FACETS[5:]
Shares = Mapping[str, float]  # value -> share of the pictures, 0..1

# "Upper body and face" is `upper body`: down to the waist, the face .115 to .42 of the picture's height. "Portrait" is
# head and shoulders, the face .42 and more (measures.framing_of).
FRAMING: Shares = {"upper body": 0.7, "portrait": 0.2, "full body": 0.1}
# Of the other facets a set needs some of each, or the LoRA learns one side of a face and one mood.
ANGLE: Shares = {
    "frontal": 0.25,
    "three-quarter left": 0.15,
    "three-quarter right": 0.15,
    "profile left": 0.05,
    "profile right": 0.05,
}
TILT: Shares = {"looking up": 0.05, "looking down": 0.05}
EXPRESSION: Shares = {"smiling": 0.2, "neutral": 0.2}
LIGHT: Shares = {"bright": 0.1, "dark": 0.1}
OUTFITS = ("casual clothes", "formal clothes", "sportswear", "a winter coat", "summer clothes")
BACKGROUNDS = ("plain grey background", "in a park", "in a street", "in a living room", "on a beach", "in a cafe")

_ENOUGH = 0.75  # of what the target asks for: less is told as missing
_TOO_MUCH = 0.15  # above its share of the target; framing only
_FEW = 5  # pictures from which one outfit in most of them says something

_PROMPT = {
    "portrait": "portrait, head and shoulders",
    "upper body": "upper body, seen from the waist up",
    "full body": "full body, from head to toe",
    "frontal": "front view, facing the viewer",
    "three-quarter left": "three-quarter view, face turned to the left",
    "three-quarter right": "three-quarter view, face turned to the right",
    "profile left": "profile from the side, facing left",
    "profile right": "profile from the side, facing right",
    "looking up": "looking up, chin raised",
    "looking down": "looking down, chin lowered",
    "smiling": "smiling broadly",
    "neutral": "neutral expression, mouth closed",
    "bright": "bright light",
    "dark": "dim light",
    "even": "soft even light",
}


@dataclass(frozen=True)
class Target:
    """What a set should show."""

    pictures: int = 20  # at least, in the whole set
    framing: Shares = field(default_factory=lambda: FRAMING)  # too much of one is told as well
    angle: Shares = field(default_factory=lambda: ANGLE)  # at least, as all below
    tilt: Shares = field(default_factory=lambda: TILT)
    expression: Shares = field(default_factory=lambda: EXPRESSION)
    light: Shares = field(default_factory=lambda: LIGHT)
    most_of_one: float = 0.5  # above 0, to 1; one outfit or background at most, or it becomes a part of the person
    outfits: tuple[str, ...] = OUTFITS  # words for what a sheet may show
    backgrounds: tuple[str, ...] = BACKGROUNDS
    most_new: int = 60  # pictures that are asked for at a time

    def __post_init__(self) -> None:
        for facet in _MEASURED:
            shares: Shares = getattr(self, facet)
            if any(not 0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1 + 1e-6:
                raise LikenessError(f"The target for {facet} has shares below 0, or more than 1 in all: correct it.")
        if not 0 < self.most_of_one <= 1 or self.pictures < 0 or self.most_new < 0:
            raise LikenessError(
                "The target asks for fewer than no pictures, or most_of_one is not above 0 and up to 1."
            )


def framing_target(text: str) -> Shares:
    """ "70/20/10" -> shares of upper body, portrait, full body. LikenessError for anything else."""
    try:
        numbers = [float(part.strip().removesuffix("%")) for part in text.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(0 <= n <= 100 for n in numbers) or abs(sum(numbers) - 100) > 0.5:
        raise LikenessError(
            f"{quoted(text)} is no target: write the percentages of upper body, portrait and full body, as in 70/20/10."
        )
    return dict(zip(FRAMING, (n / sum(numbers) for n in numbers), strict=True))


@dataclass(frozen=True)
class Row:
    """One value of one facet."""

    facet: str
    value: str  # "" is not known
    count: int  # pictures
    share: float  # of all pictures, 0..1
    trained: float  # of all that an epoch shows, repeats counted, 0..1
    target: float | None  # share; None where there is none
    missing: int  # pictures to add


@dataclass(frozen=True)
class Wanted:
    """Pictures that the set lacks."""

    label: str  # "full body, profile left"
    prompt: str  # ready for a character sheet
    count: int


@dataclass(frozen=True)
class Balance:
    """What a set shows and lacks."""

    pictures: int
    rows: tuple[Row, ...]  # facets in their order; in each the most frequent value first, "" last
    wanted: tuple[Wanted, ...]
    remarks: tuple[str, ...]  # sentences

    def of(self, facet: str) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.facet == facet)


def balance_of(plan: SetPlan, target: Target | None = None) -> Balance:
    """The balance of a planned set."""
    return balance([i.facts for i in plan.items], [i.repeats for i in plan.items], plan, target)


def balance(facts: Sequence[Facts], repeats: Sequence[int], who: Subject, target: Target | None = None) -> Balance:
    """The balance of pictures with these facts; `repeats`: of each. No pictures: prompts for a whole set."""
    target = target or Target()
    rows = tuple(row for facet in FACETS for row in _rows(facet, facts, repeats, target))
    new = {facet: _new(facet, rows, len(facts), target) for facet in FACETS}
    pictures = _pictures(new, target)
    remarks = [text for facet in FACETS for text in _remarks(facet, [r for r in rows if r.facet == facet], target)]
    asked = max((sum(n.values()) for n in new.values()), default=0)
    if asked > target.most_new:
        remarks.append(f"Prompts are given for {len(pictures)} pictures: add them, then look at the balance again.")
    return Balance(len(facts), rows, _wanted(pictures, who), tuple(remarks))


def _rows(facet: str, facts: Sequence[Facts], repeats: Sequence[int], target: Target) -> list[Row]:
    values = [str(getattr(f, facet)) for f in facts]
    counts, trained = Counter(values), Counter[str]()
    for value, n in zip(values, repeats, strict=True):
        trained[value] += n
    shares: Shares = {} if facts and not any(values) else getattr(target, facet, {})  # nothing to hold against it
    lacking = _lacking(shares, counts, len(facts), target)
    known = sorted((v for v in {*counts, *shares} if v), key=lambda v: (-counts[v], v))
    total, shown = max(len(facts), 1), max(sum(repeats), 1)
    return [
        Row(facet, v, counts[v], counts[v] / total, trained[v] / shown, shares.get(v), lacking.get(v, 0))
        for v in (*known, *([""] if counts[""] else []))
    ]


def _lacking(shares: Shares, counts: Counter[str], pictures: int, target: Target) -> dict[str, int]:
    """Value -> pictures to add.

    Counted against the set as it is, or the target's size where that is more: what there is too much of is not made up
    for by as much of everything else. Pictures of which the facet is not known count neither way.
    """
    room = max(pictures, target.pictures) - counts[""]
    asked = {v: max(round(share * room), 1) for v, share in shares.items() if share > 0 and room > 0}
    return {v: n - counts[v] for v, n in asked.items() if counts[v] < n * _ENOUGH}


def _new(facet: str, rows: Sequence[Row], pictures: int, target: Target) -> dict[str, int]:
    """Value -> pictures to ask for."""
    own = [row for row in rows if row.facet == facet]
    if facet in _MEASURED:
        return {row.value: row.missing for row in own if row.missing}
    largest = _largest(own)
    size = max(pictures, target.pictures)
    words = target.outfits if facet == "outfit" else target.backgrounds
    fresh = [w for w in words if w.casefold() not in {row.value.casefold() for row in own}]
    if not fresh or (largest is None and pictures) or (largest is not None and not _too_often(largest, own, target)):
        return {}
    number = size if largest is None else min(math.ceil(largest.count / target.most_of_one) - _known(own), size)
    return {w: n for i, w in enumerate(fresh) if (n := number // len(fresh) + (i < number % len(fresh)))}


def _known(rows: Sequence[Row]) -> int:
    return sum(row.count for row in rows if row.value)


def _largest(rows: Sequence[Row]) -> Row | None:
    return max((row for row in rows if row.value and row.count), key=lambda r: r.count, default=None)


def _too_often(row: Row, own: Sequence[Row], target: Target) -> bool:
    known = _known(own)
    return known >= _FEW and row.count > target.most_of_one * known


def _remarks(facet: str, rows: Sequence[Row], target: Target) -> list[str]:
    pictures = sum(row.count for row in rows)
    if not pictures:
        return []
    if not _known(rows):
        return [f"The {facet} is not known of any picture{_HOW.get(facet, '.')}"]
    largest = _largest(rows)
    if facet in _NAMED and largest is not None and _too_often(largest, rows, target):
        return [
            f"The {facet} {largest.value!r} is in {largest.count} of {_known(rows)} pictures: add others, or the LoRA "
            "learns it as a part of the person."
        ]
    over = [r for r in rows if facet == "framing" and r.target is not None and r.value]
    return [
        f"{row.value.capitalize()}: {row.share:.0%} of the pictures, where {row.target:.0%} is the target: leave some "
        "out, or give the others more repeats."
        for row in over
        if row.target is not None and row.share > row.target + _TOO_MUCH
    ]


_HOW = {
    "outfit": ": put the pictures into folders like 'outfit=red dress'.",
    "background": ": put the pictures into folders like 'background=park'.",
}


def _pictures(new: Mapping[str, Mapping[str, int]], target: Target) -> list[dict[str, str]]:
    """New pictures, each as facet -> value, so that few fill many gaps."""
    made: list[dict[str, str]] = []
    for facet in FACETS:
        for value in _spread(new[facet]):
            place = next((p for p in made if facet not in p and _fits(p, facet, value)), None)
            if place is None and len(made) < target.most_new:
                made.append(place := {})
            if place is not None:
                place[facet] = value
    usual = max(target.framing, key=lambda v: target.framing[v], default="")
    for picture in made:
        if usual:
            picture.setdefault("framing", usual)
        if "expression" in picture:
            picture.setdefault("angle", "frontal")
    return made


def _spread(counts: Mapping[str, int]) -> list[str]:
    """Each value as often as its count, evenly mixed."""
    return [v for _, v in sorted(((k + 0.5) / n, v) for v, n in counts.items() for k in range(n))]


def _fits(picture: Mapping[str, str], facet: str, value: str) -> bool:
    """Whether both can be seen, and measured afterwards: expressions from the front, tilts not from the side."""
    both = {**picture, facet: value}
    angle, small = both.get("angle", "frontal"), both.get("framing") == "full body"
    if "expression" in both and (angle != "frontal" or small):
        return False
    return not ("tilt" in both and (angle.startswith("profile") or small or "expression" in both))


def _wanted(pictures: Sequence[Mapping[str, str]], who: Subject) -> tuple[Wanted, ...]:
    counts = Counter(tuple((f, p[f]) for f in FACETS if f in p) for p in pictures)
    subject = subject_of(who)
    found = []
    for values, count in counts.items():
        words = [f"wearing {v}" if f == "outfit" else _PROMPT.get(v, v) for f, v in values]
        found.append(Wanted(", ".join(v for _, v in values), ", ".join(filter(None, [subject, *words])), count))
    return tuple(sorted(found, key=lambda w: (-w.count, w.label)))


def balance_text(balance: Balance) -> str:
    """The balance for people."""
    width = max((len(row.value) for row in balance.rows), default=0)
    width = min(max(width, len("not known"), *map(len, FACETS)) + 2, 40)
    lines = [f"{balance.pictures} pictures"]
    for facet in FACETS:
        if rows := balance.of(facet):
            lines.append(f"{facet:<{width}}  pictures  share  trained  target  add")
            lines += [_line(row, width) for row in rows]
    lines += balance.remarks
    if balance.wanted:
        lines.append(f"Missing: {sum(w.count for w in balance.wanted)} pictures. Prompts for a character sheet:")
        lines += [f"  {w.count} x {w.prompt}" for w in balance.wanted]
    return "\n".join(lines)


def _line(row: Row, width: int) -> str:
    target = "" if row.target is None else f"{row.target:.0%}"
    name = f"  {row.value or 'not known'}"
    shown = (
        f"{name:<{width}}  {row.count:>8}  {row.share:>5.0%}  {row.trained:>7.0%}  {target:>6}  {row.missing or '':>3}"
    )
    return shown.rstrip()
