"""Variations: one facet at a time, a grid of several, or a random sample of it -> scenes.

The same arguments give the same scenes, and a scene keeps its name, its words and its seed when entries are added to
the lists or taken from them.
"""

from __future__ import annotations

import difflib
import hashlib
import heapq
import itertools
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from ..errors import LikenessError, quoted
from ..profile import Profile
from ..prompt import contains, join
from .lists import FACETS, Entry, Lists, outfits_of
from .names import name_of, numbered, parts_of
from .scene import Scene, Seeds, check_seed, checked_text, scene_for, seed_for

Mode = Literal["outfit", "background", "pose", "expression", "camera", "light", "grid", "random"]
MODES: tuple[Mode, ...] = get_args(Mode)
VARY = "outfit, background, pose"  # what a grid and a random sample vary
MAX_SCENES = 10_000  # ComfyUI holds the pictures of a whole list in memory
MAX_CHARACTERS = 200_000_000  # of all prompts
RANDOM = 5  # scenes, where nobody says how many
NOTHING = "-"  # as `keep`: no words
_RANKED = 100_000  # combinations up to which a sample keeps its scenes when entries are added
_KEEP = {  # what stays as it is, so that the pictures differ in one thing
    "outfit": "white background, full body",
    "background": "same outfit",
    "pose": "same outfit, same appearance",
    "expression": "same outfit, same appearance",
    "camera": "same outfit, same appearance",
    "light": "same outfit, same appearance",
}
_KEEP_IN_PLACE = {**_KEEP, "outfit": "full body"}  # where the user's own words name a place
_ORDER = ("camera", "outfit", "pose", "expression", "background", "light")  # in a prompt
_WHERE = (
    "in",
    "on",
    "at",
    "by",
    "under",
    "inside",
    "near",
    "beside",
    "before",
    "behind",
    "against",
    "among",
    "between",
)

_BACKGROUND = re.compile(r"\b(background|backdrop)s?\b", re.IGNORECASE)
_PREPOSITION = re.compile(rf"\b(?:{'|'.join(_WHERE)})\s+", re.IGNORECASE)
_POSED = r"(?:(?:is|she|he|standing|sitting|walking|lying|running|posing|alone)\s+){0,3}"
_PLACED = re.compile(rf"{_POSED}(?={_PREPOSITION.pattern})", re.IGNORECASE)
_NO_PLACE = re.compile(
    r"^(the )?(style|manner) of |\b(light|lighting|style|colou?rs?|focus|details?|motion|profile|black and white|film|"
    r"angle|quality|resolution|[0-9]+k|noon|night|midnight|dawn|dusk|sunset|sunrise|twilight|hour|morning|evening|"
    r"afternoon|spring|summer|autumn|fall|winter)$",
    re.IGNORECASE,
)

Combination = tuple[Entry, ...]  # one entry for each facet that is varied


def scenes_of(
    profile: Profile,
    lists: Lists,
    mode: str,
    *,
    text: str = "",
    negative: str = "",
    count: int | None = None,
    seed: int = 0,
    per_scene: int = 1,
    only: str = "",
    seeds: Seeds = "each",
    vary: str = VARY,
    keep: str = "",
) -> tuple[Scene, ...]:
    """The scenes of a mode, `per_scene` pictures of each.

    `text`, `negative`: joined to every scene's. `count`: scenes before `per_scene`; of a random sample (5 where it is
    None), or the first ones (all where it is None). `only`: names or patterns with ", " between, and nothing else is
    given. `vary`: the facets of a grid or a sample, "all" for every list; empty lists are left out. `keep`: words for
    what stays, "" for the mode's own, "-" for none; outfits have "white background, full body", without the background
    where `text` names a place (`names_place`). LikenessError for an empty list, too many scenes, or unknown words.
    """
    check_seed(seed, seeds)
    _check_numbers(count, per_scene)
    facets = _facets(mode, vary)
    given = {f: outfits_of(profile, lists.outfit) if f == "outfit" else lists.of(f) for f in facets}
    facets, entries = _filled(mode, given)
    total = math.prod(len(e) for e in entries)
    wanted = min(total, RANDOM if count is None and mode == "random" else total if count is None else count)
    words = checked_text(text, "text")
    maker = _Maker(profile, facets, mode, words, checked_text(negative, "negative"), keep, names_place(words))
    _check_size(wanted, per_scene, total, maker)
    names = [dict(zip(e, parts_of([(x.name, "\n".join(x.same)) for x in e]), strict=True)) for e in entries]
    combinations = _sample(entries, wanted, seed) if mode == "random" else _first(entries, wanted)
    made = [
        maker.scene(numbered(name, k), combination, seed_for(seed, numbered(name, k), seeds, k))
        for combination in combinations
        for name in [name_of(part[entry] for part, entry in zip(names, combination, strict=True))]
        for k in range(1, per_scene + 1)
    ]
    return chosen(made, only)


@dataclass(frozen=True)
class _Maker:
    """Combinations -> scenes."""

    profile: Profile
    facets: tuple[str, ...]
    mode: str
    text: str
    negative: str
    keep: str
    placed: bool  # whether `text` names a place

    def scene(self, name: str, combination: Combination, seed: int) -> Scene:
        values = dict(zip(self.facets, combination, strict=True))
        triggers = _once(e.trigger for e in combination)
        words = self._words(values)
        joined = [t for t in triggers if not contains(join(words, self.text), t)]
        return scene_for(
            self.profile,
            name,
            seed,
            join(words, *joined, self._kept(combination), self.text),
            self.negative,
            values={facet: entry.name for facet, entry in values.items()},
            loras=", ".join(_once(e.loras for e in combination)),
            triggers=_once([self.profile.trigger, *triggers]),
        )

    def _words(self, values: Mapping[str, Entry]) -> str:
        posed = "pose" in values or self.mode != "background"
        return join(*(phrase(f, values[f].text, posed) for f in _ORDER if f in values))

    def _kept(self, entries: Iterable[Entry]) -> str:
        if self.keep.strip() == NOTHING:
            return ""
        placed = self.placed or any(_BACKGROUND.search(entry.text) for entry in entries)
        usual = (_KEEP_IN_PLACE if placed else _KEEP).get(self.mode, "")
        return checked_text(self.keep, "keep").strip() or usual

    def longest(self) -> int:
        """Characters that every prompt has, about."""
        return len(self.text) + len(self.negative) + len(self.profile.description) + len(self.profile.negative)


def names_place(text: str) -> bool:
    """Whether words for a scene say where it is: "background" or "backdrop", or a part between commas that begins with
    a preposition, as in "in a park" or "standing at a window"; not a time or a light, as in "at noon"."""
    parts = [part.strip(" .") for part in text.split(",")]
    clauses = [c for p in parts if (head := _PLACED.match(p)) for c in _PREPOSITION.split(p[head.end() :])[1:]]
    return _BACKGROUND.search(text) is not None or any(c.strip() and not _NO_PLACE.search(c.strip()) for c in clauses)


def phrase(facet: str, text: str, posed: bool = True) -> str:
    """An entry as it stands in a prompt; `posed`: somebody else says what the character does there."""
    words = text.strip()
    first = words.split(maxsplit=1)[0].casefold() if words else ""
    if facet == "outfit":
        return words if first in ("wearing", "dressed") else f"wearing {words}"
    if facet == "background" and first not in ("standing", "sitting", "walking"):
        place = words if first in _WHERE else f"in {words}"
        return place if posed else f"standing {place}"
    return words


def chosen(scenes: Sequence[Scene], only: str) -> tuple[Scene, ...]:
    """Those whose name, or the name of one of whose entries, is among these names and patterns, "*" for anything.

    All of them for "". LikenessError for a pattern that fits none, with the nearest names.
    """
    patterns = [p for p in (_pattern(p) for p in only.split(",")) if p]
    if not patterns:
        return tuple(scenes)
    known = [(scene, {scene.name.casefold(), *(v.casefold() for v in scene.values.values())}) for scene in scenes]
    for pattern in patterns:
        if not any(_fits(name, pattern) for _, names in known for name in names):
            names = sorted({scene.name for scene in scenes})
            near = difflib.get_close_matches(pattern, names, 3, 0.4) or names[:3]
            raise LikenessError(f"only: no scene is named {quoted(pattern)}; the nearest are {', '.join(near)}.")
    return tuple(s for s, names in known if any(_fits(n, p) for n in names for p in patterns))


def _pattern(text: str) -> str:
    """A name; a file of that name will do."""
    plain = text.strip().replace("\\", "/").rsplit("/", 1)[-1].casefold()
    if plain.endswith(".png"):
        plain = re.sub(r"(_\d{3})?( \(\d+\))?\.png$", "", plain)
    return plain


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern.replace("[", "[[]"))  # names have brackets; a pattern's are no set


def facets_in(vary: str) -> tuple[str, ...]:
    """ "outfit, pose" -> the facets, in their order; "all" is every one. LikenessError for another word."""
    words = [w.strip().casefold() for w in vary.split(",") if w.strip()]
    unknown = [w for w in words if w not in FACETS and w != "all"]
    if unknown or not words:
        raise LikenessError(
            f"vary: {quoted(', '.join(unknown))} is no list: name some of {', '.join(FACETS)}, or write all."
        )
    return tuple(f for f in FACETS if f in words or "all" in words)


def _facets(mode: str, vary: str) -> tuple[str, ...]:
    if mode in FACETS:
        return (mode,)
    if mode not in MODES:
        raise LikenessError(f"mode: {quoted(mode)} is none of {', '.join(MODES)}.")
    return facets_in(vary)


def _filled(mode: str, given: Mapping[str, tuple[Entry, ...]]) -> tuple[tuple[str, ...], tuple[tuple[Entry, ...], ...]]:
    """The facets that have entries, and these."""
    filled = {facet: entries for facet, entries in given.items() if entries}
    if not filled:
        one = f"The {mode} list is" if mode in given else f"The lists of {', '.join(given)} are all"
        raise LikenessError(f"{one} empty: write one entry a line, for example 'red dress: a red summer dress'.")
    return tuple(filled), tuple(filled.values())


def _first(entries: Sequence[Sequence[Entry]], count: int) -> Iterator[Combination]:
    return itertools.islice(itertools.product(*entries), count)


def _sample(entries: Sequence[Sequence[Entry]], count: int, seed: int) -> list[Combination]:
    """`count` combinations without repeats.

    Each has a rank of its own names, so that one which is added moves out one at most; where there are too many to rank
    all, their places are drawn.
    """
    total = math.prod(len(e) for e in entries)
    if total <= _RANKED:
        return heapq.nsmallest(count, itertools.product(*entries), key=lambda c: _rank(c, seed))
    places: dict[int, None] = {}
    draw = random.Random(seed)
    while len(places) < count:
        places[draw.randrange(total)] = None
    return [_at(entries, place) for place in places]


def _rank(combination: Combination, seed: int) -> bytes:
    return hashlib.sha256("\n".join([str(seed), *(e.name for e in combination)]).encode()).digest()


def _at(entries: Sequence[Sequence[Entry]], place: int) -> Combination:
    """Number `place` of the product."""
    found = []
    for values in reversed(entries):
        place, at = divmod(place, len(values))
        found.append(values[at])
    return tuple(reversed(found))


def _check_numbers(count: int | None, per_scene: int) -> None:
    if count is not None and count < 1:
        raise LikenessError(f"count: {count} scenes cannot be made: ask for 1 or more.")
    if per_scene < 1:
        raise LikenessError(f"per_scene: {per_scene} pictures cannot be made of a scene: ask for 1 or more.")


def _check_size(wanted: int, per_scene: int, total: int, maker: _Maker) -> None:
    pictures = wanted * per_scene
    if pictures > MAX_SCENES:
        raise LikenessError(
            f"{wanted:,} scenes{f' of {per_scene} pictures each' if per_scene > 1 else ''} are more than "
            f"{MAX_SCENES:,}: shorten the lists, vary fewer of them, or draw a random sample of the {total:,}."
        )
    if pictures * maker.longest() > MAX_CHARACTERS:
        raise LikenessError(
            f"{pictures:,} prompts of {maker.longest():,} characters are too much to hold: make fewer at a time."
        )


def _once(words: Iterable[str]) -> list[str]:
    """Each once, whatever its case; blank ones are left out."""
    found: dict[str, str] = {}
    for word in words:
        found.setdefault(word.strip().casefold(), word.strip())
    return [word for word in found.values() if word]
