"""The LoRA versions of a character: taking in a trained file, choosing which one draws.

    models/loras/<slug>/<name>_v<N>.safetensors    a version's file; it is never written over

A version is registered whole or not at all, and draws nothing until it is active.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain, count
from pathlib import Path
from typing import Any

from .errors import LibraryError, LikenessError, LoraError, PathError, quoted
from .files import new_file, read_pieces, staged_file, sweep_temp
from .library import Library
from .lora_file import LoraInfo, base_of, check_whole
from .lora_words import STEPS, TRAINING_SET, check_trigger, line_of, number_of
from .paths import contained, slug_of
from .profile import BaseSettings, LoraVersion, Profile

ACTIVE, NONE = 0, -1  # in place of a version's number: the active one, and drawing without a LoRA
_MAX_STEPS, _MAX_VERSION = 10**9, 9999  # as a profile takes them
LORA_METHODS, OTHER_METHODS = ("lora_faceid", "lora_only"), ("faceid_only", "img2img")


@dataclass(frozen=True)
class Shelf:
    """Where LoRA files lie."""

    folder: Path  # the models/loras that new ones go to
    find: Callable[[str], Path | None]  # path of a file as a profile names it; None when it is not there


@dataclass(frozen=True)
class Incoming:
    """A LoRA to take in."""

    name: str  # for messages
    pieces: Callable[[], Iterable[bytes]]  # its bytes, as often as asked


@dataclass(frozen=True)
class Terms:
    """How to take it in."""

    family: str | None = None  # base family; None: as the file says
    name: str = ""  # of its file, without version; "" is <slug>_<family>
    training_set: str = ""
    steps: int | None = None  # trained; None: as the file says
    any_trigger: bool = False  # also one that was trained on another trigger
    activate: bool = False
    draws_without: Callable[[str], bool] = lambda family: False  # whether the face can be drawn without a LoRA


@dataclass(frozen=True)
class Registered:
    """What became of it."""

    profile: Profile
    family: str
    version: LoraVersion
    known: bool  # it was a version already
    notes: tuple[str, ...]

    def report(self) -> str:
        v, how = self.version, "is already" if self.known else "became"
        state = "active" if v.active else "inactive: it changes no picture until it is compared or activated"
        line = f"{v.file} {how} version {v.version} of {self.profile.name} on {self.family}, {state}."
        return "\n".join([line, *([f"  {facts}"] if (facts := facts_of(v)) else []), *self.notes])


def from_file(path: Path) -> Incoming:
    """LoraError for a file that is no safe or no whole LoRA, before anything is copied."""
    check_whole(path)
    return Incoming(path.name, lambda: read_pieces(path))


def lora_pieces(
    tensors: Mapping[str, tuple[str, Sequence[int], Callable[[], bytes]]], metadata: Mapping[str, str]
) -> Iterator[bytes]:
    """A safetensors file, the same bytes each time. `tensors`: key -> (dtype "F32", shape, its bytes).

    Layout: huggingface/safetensors, "Format". Its own writer puts metadata in a random order.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for key, (dtype, shape, _) in sorted(tensors.items()):
        begin, end = end, end + _SIZES[dtype] * math.prod(shape)
        header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for _, (_, _, data) in sorted(tensors.items()):
        yield data()


_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


# ---- registering


def register(
    library: Library,
    slug: str,
    incoming: Incoming,
    shelf: Shelf,
    terms: Terms = Terms(),
    check: Callable[[], None] = lambda: None,
) -> Registered:
    """The file as a version of the character; the same bytes again are the same version.

    It is active at once only where the character has no other way to be drawn, or by `terms.activate`. `check` is
    called often and may raise to stop. LoraError when the file is broken, for another family, or trained on another
    trigger; then nothing is left behind.
    """
    trigger = library.get(slug).trigger
    if terms.steps is not None and not 1 <= terms.steps <= _MAX_STEPS:
        raise LoraError(f"{terms.steps:,} steps were not trained: give 1 to {_MAX_STEPS:,}.")
    place = contained(shelf.folder, slug)
    if shelf.folder.is_dir():
        sweep_temp(shelf.folder)
    digest = hashlib.sha256()
    with staged_file(shelf.folder, _counted(incoming.pieces(), digest, check)) as temp:
        info = check_whole(temp, incoming.name, check)
        family = base_of(info, terms.family)
        notes = [check_trigger(info.name, info.metadata, trigger, terms.any_trigger), _weak(info)]
        with library.lock(slug):
            profile = library.get(slug)
            shelved = _Shelving(profile, family, temp, place, digest.hexdigest(), shelf, info, terms)
            return shelved.register(library, tuple(filter(None, notes)))


def _counted(pieces: Iterable[bytes], digest: Any, check: Callable[[], None]) -> Iterator[bytes]:
    for piece in pieces:
        check()
        digest.update(piece)
        yield piece


def _weak(info: LoraInfo) -> str:
    return "" if info.changes else f"{info.name} changes nothing: all that it adds is 0. Was it trained?"


@dataclass(frozen=True)
class _Shelving:
    """A checked file that waits beside its place; the character's lock is held."""

    profile: Profile
    family: str
    temp: Path
    place: Path  # models/loras/<slug>
    sha256: str
    shelf: Shelf
    info: LoraInfo
    terms: Terms

    @property
    def settings(self) -> BaseSettings:
        return self.profile.settings(self.family)

    @property
    def name(self) -> str:
        return slug_of(self.terms.name) if self.terms.name.strip() else f"{self.profile.slug}_{self.family}"

    def register(self, library: Library, notes: tuple[str, ...]) -> Registered:
        twin = next((v for v in self.settings.loras if self._same(v)), None)
        if twin is not None and self._lies_there(twin):
            changed = twin.model_copy(update={"sha256": self.sha256, "active": twin.active or self.terms.activate})
            return self._saved(library, changed, True, notes)
        version = twin or self._new()
        target = self._free(version)
        version = version.model_copy(update={"file": f"{self.profile.slug}/{target.name}", "sha256": self.sha256})
        with new_file(self.temp, target, lambda: self._is_listed(library, version.file)):
            lost = ("Its file was gone or changed and is there again.",) if twin is not None else ()
            return self._saved(library, version, twin is not None, (*notes, *lost))

    def _is_listed(self, library: Library, file: str) -> bool:
        """Whether a version of that file was saved; a file too many is better than one too few."""
        try:
            return any(v.file == file for v in library.get(self.profile.slug).settings(self.family).loras)
        except LikenessError:
            return True

    def _same(self, version: LoraVersion) -> bool:
        """By its hash; one that was added by hand has none in the profile."""
        return version.sha256 == self.sha256 or (not version.sha256 and self._lies_there(version))

    def _lies_there(self, version: LoraVersion) -> bool:
        """Whether the version's file is on the disk with these bytes."""
        path = self.shelf.find(version.file)
        try:
            if path is None or path.stat().st_size != self.temp.stat().st_size:
                return False
            digest = hashlib.sha256()
            for piece in read_pieces(path):
                digest.update(piece)
        except (OSError, LikenessError):
            return False
        return digest.hexdigest() == self.sha256

    def _new(self) -> LoraVersion:
        told, settings = self.info.metadata, self.settings
        steps = self.terms.steps or number_of(told, "ss_steps", STEPS)
        works = settings.lora is not None or not self.info.changes or self.terms.draws_without(self.family)
        return LoraVersion(
            file="to be named",
            version=self._number(),
            active=self.terms.activate or not works,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            base_model=line_of(told.get("ss_sd_model_name", "")),
            training_set=line_of(self.terms.training_set or told.get(TRAINING_SET, "")),
            steps=int(steps) if steps and 0 < steps <= _MAX_STEPS else None,
            rank=self.info.rank,
            alpha=self.info.alpha,
        )

    def _number(self) -> int:
        """Above every version of the profile and every file of this name, whoever put it there, where there is such a
        number; else the first above the versions that no file has."""
        rule = re.compile(re.escape(self.name) + r"_v(\d{1,4})\.safetensors")
        files = [p.name for p in self.place.iterdir()] if self.place.is_dir() else []
        lying = {int(m[1]) for file in files if (m := rule.fullmatch(file))}
        highest = max((v.version for v in self.settings.loras), default=0)
        above = max([highest, *lying]) + 1
        numbers = [above] if above <= _MAX_VERSION else range(highest + 1, _MAX_VERSION + 1)
        if free := [n for n in numbers if n not in lying]:
            return free[0]
        raise LoraError(
            f"{self.profile.name} has version {highest} on {self.family}, and {_MAX_VERSION} is the highest there can "
            "be: take that version out of profile.toml."
        )

    def _free(self, version: LoraVersion) -> Path:
        """A path that nobody has. A known version whose file was changed gets another one, beside it."""
        stem = f"{self.name}_v{version.version}"
        more = (f"{stem}_{self.sha256[:8]}" + (f"_{n}" if n > 1 else "") for n in count(1))
        paths = (contained(self.place, f"{name}.safetensors") for name in chain([stem], more))
        return next(path for path in paths if not os.path.lexists(path))

    def _saved(self, library: Library, version: LoraVersion, known: bool, notes: tuple[str, ...]) -> Registered:
        kept = [v for v in self.settings.loras if v.version != version.version]
        settings = with_loras(self.settings, [*kept, version], version.version if version.active else None)
        was_active = self.settings.lora is not None and self.settings.lora.version == version.version
        pinned = version.active and not was_active and settings.method in OTHER_METHODS
        if pinned:
            notes = (*notes, f"Its method was {settings.method}, which uses no LoRA: it is auto now.")
            settings = settings.model_copy(update={"method": "auto"})
        changed = with_settings(self.profile, self.family, settings)
        if changed != self.profile:
            library.save(changed)
        if version.active and not was_active and settings.strengths.source == "swept":
            notes = (*notes, "Its strengths were swept without this version: tune them again.")
        return Registered(changed, self.family, version, known, notes)


# ---- choosing


def with_loras(settings: BaseSettings, versions: Iterable[LoraVersion], active: int | None) -> BaseSettings:
    """These versions, in order; `active` is the number of the one that draws, None leaves as it is which one does."""
    rows = sorted(versions, key=lambda v: v.version)
    if active is not None:
        rows = [v.model_copy(update={"active": v.version == active}) for v in rows]
    return settings.model_copy(update={"loras": tuple(rows)})


def with_settings(profile: Profile, family: str, settings: BaseSettings) -> Profile:
    return profile.model_copy(update={"base": {**profile.base, family: settings}})


def chosen(profile: Profile, family: str, number: int) -> Profile:
    """The profile with this version active on `family`, or with none (`NONE`). LibraryError when there is no such one.

    A method that contradicts the choice gives way to auto.
    """
    settings = profile.settings(family)
    if number != NONE:
        find_version(profile, family, number)
    wrong = LORA_METHODS if number == NONE else OTHER_METHODS
    update: dict[str, object] = {"method": "auto"} if settings.method in wrong else {}
    return with_settings(profile, family, with_loras(settings, settings.loras, number).model_copy(update=update))


def with_version(profile: Profile, number: int) -> Profile:
    """The profile as it draws with this version, on every base family that has one of that number; not saved.

    `ACTIVE` leaves it as it is; `NONE` draws without a LoRA. LibraryError when no family has such a version.
    """
    if number == ACTIVE:
        return profile
    families = [f for f, s in profile.base.items() if number == NONE or any(v.version == number for v in s.loras)]
    if not families and number != NONE:
        raise _no_version(profile, number, {f: s for f, s in profile.base.items() if s.loras})
    for family in families:
        profile = chosen(profile, family, number)
    return profile


def find_version(profile: Profile, family: str, number: int) -> LoraVersion:
    settings = profile.settings(family)
    found = next((v for v in settings.loras if v.version == number), None)
    if found is None:
        raise _no_version(profile, number, {family: settings})
    return found


def _no_version(profile: Profile, number: int, where: Mapping[Any, BaseSettings]) -> LibraryError:
    rows = [f"{', '.join(str(v.version) for v in s.loras) or 'none'} on {family}" for family, s in where.items()]
    return LibraryError(f"{profile.name} has no LoRA version {number}; there is {'; '.join(rows) or 'none'}.")


def family_with(profile: Profile, number: int, family: str | None = None) -> str:
    """The base family that a version belongs to. LibraryError when there is none, or several and none was said."""
    if family is not None:
        find_version(profile, family, number)
        return family
    found = [f for f, s in profile.base.items() if any(v.version == number for v in s.loras)]
    if not found:
        raise _no_version(profile, number, {f: s for f, s in profile.base.items() if s.loras})
    if len(found) > 1:
        raise LibraryError(f"{profile.name} has a version {number} on {', '.join(found)}: say the family.")
    return found[0]


def family_of_choice(profile: Profile, number: int, family: str | None = None) -> str:
    """`family_with`; for `NONE` the only family whose LoRA is active."""
    if number != NONE or family is not None:
        return family_with(profile, number, family) if number != NONE else str(family)
    found = [f for f, s in profile.base.items() if s.lora is not None]
    if len(found) != 1:
        told = ", ".join(found) or "no family"
        raise LibraryError(f"{profile.name} has an active LoRA on {told}: say the family to draw without one.")
    return found[0]


def activate(library: Library, slug: str, number: int, family: str | None = None) -> tuple[Profile, str]:
    """The character drawn with this version from now on, or without a LoRA (`NONE`): (profile, family)."""
    place: list[str] = []

    def change(profile: Profile) -> Profile:
        place.append(family_of_choice(profile, number, family))
        return chosen(profile, place[-1], number)

    return library.update(slug, change), place[-1]


# ---- showing


def facts_of(version: LoraVersion) -> str:
    """What it was trained with, on one line; "" where nothing is known."""
    v, parts = version, []
    if v.rank is not None:
        parts.append(f"rank {v.rank}" + (f", alpha {v.alpha:g}" if v.alpha is not None else ""))
    parts += [f"{v.steps:,} steps"] if v.steps else []
    parts += [f"on {v.base_model or v.trained_on}"] if v.base_model or v.trained_on else []
    parts += [f"set {v.training_set}"] if v.training_set else []
    return "; ".join(parts)


def inside_output(folder: Path, text: str) -> Path:
    """A LoRA file below ComfyUI's output folder, named by its path there. PathError for one outside."""
    parts = [p for p in text.strip().replace("\\", "/").split("/") if p]
    path = contained(folder, *parts) if parts else folder
    if not os.path.isfile(path):  # noqa: PTH113 - a name that is too long is no file, too
        raise PathError(f"There is no file {quoted(text.strip())} in ComfyUI's output folder {folder}: check its name.")
    return path


def one_source(**given: object) -> str:
    """The name of the only one that is given. LoraError for none and for several."""
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        told = " and ".join(named) or "none of them"
        raise LoraError(f"Give one of {', '.join(given)}: there is {told}.")
    return named[0]
