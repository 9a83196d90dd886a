"""A character sheet: pictures by a plan that show a character from all sides, for a first look or a training set.

Framing by the shares of a target (70/20/10), angles with a back view, expressions where the face is seen, light,
outfits and backgrounds, each as often as the others and mixed, so that no two pictures are the same.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..dataset.balance import _PROMPT as _WORDS
from ..dataset.balance import BACKGROUNDS, LIGHT, OUTFITS, Target, Wanted
from ..errors import LikenessError
from ..profile import Profile
from ..prompt import join
from .names import name_of, numbered, part_of
from .scene import Scene, Seeds, check_seed, checked_text, scene_for, seed_for

LEAST, USUAL, MOST = 7, 10, 60  # pictures; with fewer than seven an angle is missing
MAX_WANTED = 1000  # pictures from a balance report
BACK = "back"
_BACK_SHARE = 0.05
_WORDS_TOO = {
    BACK: "seen from behind, back of the head to the viewer",
    "laughing": "laughing",
    "serious": "serious look",
    "surprised": "surprised, raised eyebrows",
    "thoughtful": "thoughtful look",
    "side light": "light from the side",
    "warm light": "warm evening light",
}
_EXPRESSIONS = ("neutral", "smiling", "laughing", "serious", "surprised", "thoughtful")
_LIGHTS = ("even", "bright", "side light", "dark", "warm light")
_TARGETS = {"light": tuple(LIGHT), "background": BACKGROUNDS, "outfit": OUTFITS}  # what a balance asks for
_FACETS = ("framing", "angle", "expression", "outfit", "background", "light")


@dataclass(frozen=True)
class Look:
    """What a sheet varies beside framing and angle; an empty one is left to the model."""

    outfits: tuple[str, ...] = OUTFITS
    backgrounds: tuple[str, ...] = BACKGROUNDS  # as in a prompt: "in a park"
    expressions: tuple[str, ...] = _EXPRESSIONS
    lights: tuple[str, ...] = _LIGHTS


Picture = dict[str, str]  # facet -> value


@dataclass(frozen=True)
class _Row:
    """One picture of a sheet."""

    words: str
    picture: Picture
    named: Sequence[str]  # what its name is made of


def sheet_of(
    profile: Profile,
    size: int = USUAL,
    target: Target | None = None,
    *,
    look: Look | None = None,
    text: str = "",
    negative: str = "",
    seed: int = 0,
    seeds: Seeds = "each",
) -> tuple[Scene, ...]:
    """A sheet of 7 to 60 pictures. `text` is joined to every prompt. LikenessError for another size."""
    if isinstance(size, bool) or not isinstance(size, int) or not LEAST <= size <= MOST:
        raise LikenessError(f"size: a sheet has {LEAST} to {MOST} pictures, not {size}.")
    pictures = plan_of(size, target or Target(), look or Look())
    rows = [_Row(join(*(_phrase(f, p[f]) for f in _FACETS if f in p)), p, _named(p)) for p in pictures]
    return _scenes(profile, rows, text, negative, seed, seeds)


def sheet_from(
    profile: Profile,
    wanted: Iterable[Wanted],
    *,
    look: Look | None = None,
    text: str = "",
    negative: str = "",
    seed: int = 0,
    seeds: Seeds = "each",
) -> tuple[Scene, ...]:
    """The pictures that a balance report misses; where it wants several of one kind they differ in light, background
    and outfit. LikenessError where it misses none."""
    wanted = tuple(wanted)
    if not wanted:
        raise LikenessError("The balance misses nothing: there is no picture to draw for it.")
    if (pictures := sum(w.count for w in wanted)) > MAX_WANTED:
        raise LikenessError(f"The balance misses {pictures:,} pictures, more than {MAX_WANTED:,}: ask for fewer.")
    rows = [row for one in wanted for row in _varied(one, look or Look())]
    return _scenes(profile, rows, text, negative, seed, seeds)


def _scenes(
    profile: Profile, rows: Iterable[_Row], text: str, negative: str, seed: int, seeds: Seeds
) -> tuple[Scene, ...]:
    check_seed(seed, seeds)
    text, negative = checked_text(text, "text"), checked_text(negative, "negative")
    taken: Counter[str] = Counter()
    found = []
    for row in rows:
        own = name_of(part_of(value) for value in row.named)
        taken[own] += 1
        name = numbered(own, taken[own])
        words, chosen = join(row.words, text), seed_for(seed, name, seeds)
        found.append(scene_for(profile, name, chosen, words, negative, values=row.picture))
    return tuple(found)


def _named(picture: Picture) -> list[str]:
    return [picture[facet] for facet in _FACETS[:3] if facet in picture]


def _phrase(facet: str, value: str) -> str:
    words = _WORDS_TOO.get(value) or _WORDS.get(value, value)
    return f"wearing {words}" if facet == "outfit" and not words.startswith("wearing ") else words


# ---- planning


def plan_of(size: int, target: Target, look: Look) -> list[Picture]:
    """Facet -> value of each picture, no two the same."""
    angles = {**target.angle, BACK: _BACK_SHARE} if target.angle else {"frontal": 1.0}
    framings = _spread(apportion(target.framing or {"upper body": 1.0}, size))
    left = Counter(apportion(angles, size))
    made: list[Picture] = []
    for framing in framings:
        angle = _angle(framing, left, made)
        left[angle] -= 1
        made.append(_completed({"framing": framing, "angle": angle}, look, made))
    return made


def apportion(shares: Mapping[str, float], size: int) -> dict[str, int]:
    """`size` by shares: at least one of each where there is room for that, then by largest remainder."""
    positive = {value: share for value, share in shares.items() if share > 0}
    whole = sum(positive.values())
    exact = {value: share / whole * size for value, share in positive.items()}
    least = 1 if size >= len(positive) else 0
    counts = {value: max(math.floor(n), least) for value, n in exact.items()}
    while sum(counts.values()) < size:
        value = max(counts, key=lambda v: exact[v] - counts[v])
        counts[value] += 1
    while sum(counts.values()) > size:
        value = min((v for v in counts if counts[v] > least), key=lambda v: exact[v] - counts[v])
        counts[value] -= 1
    return counts


def _spread(counts: Mapping[str, int]) -> list[str]:
    """Each value as often as its count, evenly mixed."""
    return [v for _, v in sorted(((k + 0.5) / n, v) for v, n in counts.items() for k in range(n))]


def _angle(framing: str, left: Counter[str], made: Sequence[Picture]) -> str:
    """Of the angles that are left one that this framing has least of; nobody wants a portrait of a back."""
    open_ = [v for v, n in left.items() if n > 0]
    fitting = [v for v in open_ if not (v == BACK and framing == "portrait")] or open_
    together = Counter(p["angle"] for p in made if p["framing"] == framing)
    return min(fitting, key=lambda v: (together[v], -left[v], list(left).index(v)))


def _completed(seen: Picture, look: Look, made: Sequence[Picture]) -> Picture:
    """Framing and angle with values for all else. LikenessError where every such picture is planned already."""
    lists = {
        "expression": look.expressions,
        "outfit": look.outfits,
        "background": look.backgrounds,
        "light": look.lights,
    }
    lists = {f: v for f, v in lists.items() if v and not (f == "expression" and seen["angle"] == BACK)}
    picture = dict(seen)
    for facet, values in lists.items():
        picture[facet] = _least_used(facet, values, picture, made)
    others = ({**seen, **dict(zip(lists, row, strict=True))} for row in itertools.product(*lists.values()))
    while picture in made:
        try:
            picture = next(others)
        except StopIteration:
            raise LikenessError(
                f"A sheet of {len(made) + 1} pictures or more would show the same twice: ask for fewer, or give more "
                "outfits and backgrounds."
            ) from None
    return picture


def _least_used(facet: str, values: Sequence[str], picture: Picture, made: Sequence[Picture]) -> str:
    """The value that has been drawn least; of several the one seen least with the rest of this picture."""
    used = Counter(p[facet] for p in made if facet in p)
    beside = Counter(p[facet] for p in made if facet in p for f, v in picture.items() if p.get(f) == v)
    return min(values, key=lambda v: (used[v], beside[v], values.index(v)))


def _varied(wanted: Wanted, look: Look) -> Iterable[_Row]:
    """Its pictures; of several each has other words for what it leaves open."""
    said = wanted.label.split(", ")
    lists = {"light": look.lights, "background": look.backgrounds, "outfit": look.outfits}
    known = {f for f, values in lists.items() if any(v in said for v in (*values, *_TARGETS[f]))}
    free = {f: values for f, values in lists.items() if f not in known and values}
    fresh = _diagonal([list(values) for values in free.values()])
    for row in itertools.islice(fresh, wanted.count):
        more = dict(zip(free, row, strict=True)) if wanted.count > 1 else {}
        words = join(wanted.prompt, *(_phrase(f, v) for f, v in more.items()))
        yield _Row(words, {"wanted": wanted.label, **more}, said)


def _diagonal(lists: Sequence[Sequence[str]]) -> Iterable[tuple[str, ...]]:
    """Every combination once, neighbours different in every list; then all over again."""
    if not lists:
        return itertools.repeat(())
    total = math.prod(len(v) for v in lists)
    seen: dict[tuple[str, ...], None] = {}
    for start in range(total):
        for step in range(math.lcm(*(len(v) for v in lists))):
            seen.setdefault(tuple(v[(step + start * k) % len(v)] for k, v in enumerate(lists)), None)
        if len(seen) == total:
            break
    return itertools.cycle(seen)
