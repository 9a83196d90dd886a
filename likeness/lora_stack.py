"""LoRA stacks: several LoRAs by name, with strengths, on top of a character's own.

    portorosso_backgrounds:0.7, excited_expression:0.6
    portorosso_backgrounds                  its strength from the registry, else 1
    portorosso_backgrounds:0.7:0.5          model : text encoder
    <lora:portorosso_backgrounds:0.7>       as it stands in prompts of other programs
    # a line that begins with # is a remark

A name is one of the LoRA registry, else a file as ComfyUI lists it, with or without folder and suffix, in any case.
Two numbers are model and text encoder, in tags too, as ComfyUI packs read them; te= and unet= in a tag say it in words.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .assets import base_name
from .errors import LoraError, quoted
from .lora_file import check_family, fits
from .lora_registry import Registry, RegistryEntry
from .prompt import contains, join

MAX_STRENGTH = 10.0  # as profile.Strengths
MAX_TEXT, MAX_LORAS = 20_000, 64  # characters; LoRAs, of which each costs memory and time
_MAX_NAME = 400
_NUMBER = re.compile(r"[+-]?(?:\d{1,9}(?:\.\d{0,20})?|\.\d{1,20})", re.ASCII)
_TAG = re.compile(r"<\s*(?:lora|lyco|lycoris)\s*:([^<>]*)>", re.IGNORECASE)
_REMARK = re.compile(r"(?m)^[ \t]*#.*$")
_NAMED = {"te": 1, "unet": 0}  # parts of a tag -> index in (model, text encoder)


@dataclass(frozen=True)
class StackEntry:
    """One LoRA of a stack."""

    file: str  # as ComfyUI lists it
    strength: float  # on the model, -10..10
    clip_strength: float  # on the text encoder, -10..10
    triggers: tuple[str, ...] = ()
    kind: str = "other"  # of lora_registry.LORA_KINDS
    family: str = ""  # base family, "" where the registry does not tell: then the file decides

    @property
    def acts(self) -> bool:
        return self.strength != 0 or self.clip_strength != 0

    def __str__(self) -> str:
        return f"{self.file}: model {self.strength:g}, clip {self.clip_strength:g}"


@dataclass(frozen=True)
class _Wish:
    """One item of a stack as it was written."""

    text: str
    name: str
    strengths: tuple[float | None, float | None]  # model, text encoder


Listed = Sequence[str] | Mapping[str, Path]  # names as ComfyUI lists models/loras; with their paths where they are here


def parse_stack(
    text: str, registry: Registry, listed_files: Listed, family: str = "", notes: list[str] | None = None
) -> tuple[StackEntry, ...]:
    """The LoRAs of a stack, in its order.

    `listed_files` with paths lets each file's header tell its family, too. `family` is the model's base family, "" or
    "other" where it can be any. A file that stands in the stack twice with the same strengths is taken once, which
    `notes` gets a line about.

    LoraError for a name that is unknown (with the nearest ones) or means several files, for a strength that is no
    number from -10 to 10, for a file with two different strengths, and for a LoRA of another base family.
    """
    catalogue = _Catalogue(registry, listed_files)
    entries: dict[str, StackEntry] = {}
    for wish in _wishes(text):
        entry = catalogue.entry(wish)
        if isinstance(listed_files, Mapping):
            entry = _looked_at(entry, listed_files[entry.file], family)
        _check_family(entry, wish, family)
        first = entries.get(entry.file)
        entries[entry.file] = entry if first is None else _joined(first, entry)
        if first is not None and notes is not None:
            notes.append(f"{entry.file} stands in the stack twice: taken once")
    return tuple(entries.values())


def parse_stacks(
    texts: Iterable[str],
    registry: Registry,
    listed_files: Listed,
    family: str = "",
    notes: list[str] | None = None,
) -> tuple[StackEntry, ...]:
    """Several stacks as one, the general ones first: where two name a file, the strengths of the later one count."""
    entries: dict[str, StackEntry] = {}
    for text in texts:
        for entry in parse_stack(text, registry, listed_files, family, notes):
            if first := entries.get(entry.file):
                entry = replace(entry, triggers=_both(first, entry))
                if notes is not None and (first.strength, first.clip_strength) != (entry.strength, entry.clip_strength):
                    notes.append(f"{entry}, in place of {first.strength:g} and {first.clip_strength:g}")
            entries[entry.file] = entry
    return tuple(entries.values())


def joined_triggers(prompt: str, entries: Iterable[StackEntry]) -> str:
    """The prompt and after it, once each, the trigger words that are not in it. A LoRA of strength 0 adds none."""
    words = [w.strip() for e in entries if e.acts for trigger in e.triggers for w in trigger.split(",")]
    for word in filter(None, words):
        if not contains(prompt, word):
            prompt = join(prompt, word)
    return prompt


# ---- reading


def _wishes(text: str) -> list[_Wish]:
    if len(text) > MAX_TEXT:
        raise LoraError(f"The LoRA stack has {len(text):,} characters: write at most {MAX_TEXT:,}.")
    wishes: list[_Wish] = []
    for place, part in enumerate(_TAG.split(_REMARK.sub("", text))):  # what stands in a tag is every second part
        items = [] if place % 2 else [item.strip() for item in re.split(r"[,;\n\r]", part)]
        wishes += [_tag_wish(part)] if place % 2 else [_wish(item) for item in items if item]
    if len(wishes) > MAX_LORAS:
        raise LoraError(f"The LoRA stack names {len(wishes)} LoRAs: name at most {MAX_LORAS}.")
    return wishes


def _wish(item: str) -> _Wish:
    if any(c in item for c in "<>"):
        raise LoraError(f"{quoted(item)} is no LoRA: write name:0.7, or <lora:name:0.7>.")
    name, *numbers = (part.strip() for part in item.split(":"))
    if len(numbers) > 2:
        raise LoraError(f"{quoted(item)} has more than two strengths: write name:model:clip, as in name:0.7:0.5.")
    return _named_wish(item, name, [_strength(number, item) for number in numbers])


def _tag_wish(inner: str) -> _Wish:
    """What stands after "<lora:" in a tag."""
    item, (name, *parts) = f"<lora:{inner}>", (part.strip() for part in inner.split(":"))
    plain, told = list[float](), dict[int, float]()
    for part in parts:
        key, equals, number = part.partition("=")
        if equals and key.strip().lower() not in _NAMED:
            raise LoraError(f"{quoted(item)}: {quoted(key.strip())} is not supported; write <lora:name:model:clip>.")
        if equals:
            told[_NAMED[key.strip().lower()]] = _strength(number.strip(), item)
        else:
            plain.append(_strength(part, item))
    if len(plain) > 2:
        raise LoraError(f"{quoted(item)} has more than two strengths: write <lora:name:model:clip>.")
    wish = _named_wish(item, name, plain)
    model, clip = (told.get(i, wish.strengths[i]) for i in (0, 1))
    return replace(wish, strengths=(model, clip))


def _named_wish(item: str, name: str, numbers: Sequence[float]) -> _Wish:
    if not name or len(name) > _MAX_NAME:
        what = "has no name" if not name else "has too long a name"
        raise LoraError(f"{quoted(item)} {what}: write a LoRA as name:0.7.")
    model = numbers[0] if numbers else None
    return _Wish(item, name, (model, numbers[1] if len(numbers) > 1 else model))


def _strength(text: str, item: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not abs(value) <= MAX_STRENGTH:
        raise LoraError(
            f"{quoted(text)} in {quoted(item)} is no strength: write a number from {-MAX_STRENGTH:g} to "
            f"{MAX_STRENGTH:g}, usually 0.3 to 1, as in name:0.7."
        )
    return value


# ---- what is meant


class _Catalogue:
    """Names -> LoRAs."""

    def __init__(self, registry: Registry, listed: Iterable[str]) -> None:
        self._registry = registry
        self._listed = tuple(listed)
        self._by: dict[str, list[str]] = {}  # any way to write a file's name, in small letters -> files
        for file in self._listed:
            for key in {spelling.casefold() for spelling in _spellings(file)}:
                self._by.setdefault(key, []).append(file)

    def entry(self, wish: _Wish) -> StackEntry:
        known = self._registry.named(wish.name)
        file = self._found(wish.name) if known is None else self._file_of(known)
        if known is None:
            known = self._only(wish, file)
        default = 1.0 if known is None else known.strength
        model, clip = (default if s is None else s for s in wish.strengths)
        if known is None:
            return StackEntry(file, model, clip)
        triggers = (known.trigger,) if known.trigger.strip() else ()
        return StackEntry(file, model, clip, triggers, known.kind, known.family or "")

    def _found(self, name: str) -> str:
        key = name.replace("\\", "/")
        alike = self._by.get(key.casefold(), [])
        as_listed = [f for f in alike if f.replace("\\", "/") == key]
        found = as_listed or [f for f in alike if key in _spellings(f)] or alike
        if len(found) > 1:
            raise LoraError(f"{quoted(name)} can be {_several(found)}: write it as it is listed.")
        if not found:
            comma = " If it belongs to a number, write a point instead of the comma." if name.isdecimal() else ""
            raise LoraError(f"There is no LoRA {quoted(name)}{self._nearest(name)}{comma}")
        return found[0]

    def _file_of(self, known: RegistryEntry) -> str:
        """The registered file; one that has only moved to another folder is found there."""
        key = known.file.replace("\\", "/")
        found = [f for f in self._listed if f.replace("\\", "/") == key]
        found = found or [f for f in self._listed if base_name(f) == base_name(key)]
        if len(found) != 1:
            what = f"can be {_several(found)}" if found else "is not in models/loras"
            raise LoraError(f"The LoRA {quoted(known.name)} is {known.file} in the registry, which {what}: scan again.")
        return found[0]

    def _only(self, wish: _Wish, file: str) -> RegistryEntry | None:
        """What the registry says of a file that was named by its own name."""
        known = self._registry.of_file(file)
        if len(known) > 1:
            raise LoraError(f"{quoted(wish.name)} is registered as {_several([e.name for e in known])}: write one.")
        return known[0] if known else None

    def _nearest(self, name: str) -> str:
        """The end of the sentence."""
        names = {_stem(base_name(file)).casefold(): _stem(base_name(file)) for file in self._listed}
        names |= {e.name.casefold(): e.name for e in self._registry.loras}
        wanted = base_name(name.casefold())[:120]
        near = [n for n in names if wanted in n] if len(wanted) > 2 else []
        near = [*difflib.get_close_matches(wanted, list(names), 3, 0.5), *sorted(near, key=len)]
        shown = list(dict.fromkeys(names[n] for n in near))[:3]
        if shown:
            return f"; the nearest {'names are' if len(shown) > 1 else 'name is'} {', '.join(map(quoted, shown))}."
        return "; models/loras and the registry are empty." if not names else ", and no name is near it."


def _spellings(file: str) -> tuple[str, str, str, str]:
    """Ways to write a listed file's name."""
    whole, own = file.replace("\\", "/"), base_name(file)
    return whole, _stem(whole), own, _stem(own)


def _stem(name: str) -> str:
    folder, slash, own = name.rpartition("/")
    return folder + slash + (own.rsplit(".", 1)[0] or own)


def _several(names: Sequence[str]) -> str:
    more = f" or {len(names) - 4} more" if len(names) > 4 else ""
    return " or ".join(quoted(n) for n in names[:4]) + more


def _joined(first: StackEntry, second: StackEntry) -> StackEntry:
    """One entry for two of the same file. LoraError where their strengths differ: nobody can tell which was meant."""
    one, other = ((e.strength, e.clip_strength) for e in (first, second))
    if one != other:
        raise LoraError(
            f"{first.file} stands in the LoRA stack twice, with {one[0]:g}:{one[1]:g} and {other[0]:g}:{other[1]:g}: "
            "write it once."
        )
    return replace(first, triggers=_both(first, second))


def _both(first: StackEntry, second: StackEntry) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*first.triggers, *second.triggers]))


def _looked_at(entry: StackEntry, path: Path, family: str) -> StackEntry:
    """With the family that its header tells, where the registry does not. LoraError where it tells another one."""
    info = check_family(path, family)
    return entry if entry.family or info.family is None else replace(entry, family=info.family)


def _check_family(entry: StackEntry, wish: _Wish, family: str) -> None:
    anything = ("", "other")
    if entry.family in anything or family in anything or fits(entry.family, family):
        return
    raise LoraError(
        f"{quoted(wish.name)} is a LoRA for {entry.family}, but the model is {family}: choose one trained on {family}, "
        "or another checkpoint."
    )
