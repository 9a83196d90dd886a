"""The LoRA registry: what each LoRA in models/loras is for, `_shared/loras.toml` in the library.

    [[loras]]
    name = "portorosso_backgrounds"       what a LoRA stack calls it
    file = "places/portorosso_v3.safetensors"
    family = "sdxl"
    trigger = "portorosso town"
    strength = 0.7
    kind = "background"

People edit it; `scan` only adds what it has not got.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from .assets import base_name
from .errors import LikenessError, LoraError, ProfileError, printable, quoted
from .library import Library
from .lora_file import LoraInfo, read_info
from .lora_words import Words, line_of, words_of
from .profile import FAMILIES, BaseFamily, Line, ModelFile, Value
from .profile_toml import check_as, emit_table, read_table
from .shared_files import KINDS, LORAS, shared_path, shared_read, shared_update

LoraKind = Literal["character", "background", "pose", "expression", "style", "outfit", "other"]
LORA_KINDS: tuple[str, ...] = get_args(LoraKind)
MAX_ENTRIES = 10_000
NO_NAME = ",:;<>"  # characters that mean something else in a LoRA stack
_HEADER = "# LoRAs by name. Likeness rewrites this file: keep remarks in `notes`, comments are lost.\n"
_SHARE = 0.9  # of the captions that a word must stand in to be taken for the trigger
_GENERAL = {"1girl", "1boy", "1woman", "1man", "solo", "woman", "man", "girl", "boy", "person", "photo", "realistic"}
_KINDS = (  # words in a file's name or folder; the first rule that fits
    ("background", r"backgrounds?|bg|scenery|locations?|places?|landscapes?|interiors?|environments?"),
    ("expression", r"expressions?|emotions?|emotes?|smiles?|smiling|laugh(?:ing)?|excited|angry|crying|blush(?:ing)?"),
    ("pose", r"poses?|posing|gestures?|standing|sitting|kneeling"),
    ("outfit", r"outfits?|cloth(?:es|ing)|dress(?:es)?|costumes?|uniforms?|wear|armou?r|kimono"),
    (
        "style",
        r"styles?|artstyle|aesthetics?|lighting|film|anime|watercolou?r|sketch|details?|enhancer|add[_ -]?detail",
    ),
    ("character", r"characters?|chars?|persons?|people"),
)


def _name(text: str) -> str:
    if text != text.strip() or any(c in NO_NAME for c in text):
        raise ValueError(f"leave out {' '.join(NO_NAME)} and spaces at the ends: a LoRA stack could not say it")
    return text


Name = Annotated[Line, StringConstraints(min_length=1, max_length=120), AfterValidator(_name)]


class RegistryEntry(Value):
    """One LoRA."""

    name: Name  # what a LoRA stack calls it, in any case
    file: ModelFile  # as listed in models/loras
    family: BaseFamily | None = None  # base family; None is not known, and then its file decides
    trigger: Line = ""  # the words it was trained on, joined to a prompt where they are not in it
    strength: float = Field(default=1.0, ge=-10.0, le=10.0)  # where a stack gives none
    kind: LoraKind = "other"
    notes: Line = ""  # for people


class Registry(Value):
    """All entries, by their names' alphabet."""

    schema_version: Literal[1] = 1
    loras: tuple[RegistryEntry, ...] = Field(default=(), max_length=MAX_ENTRIES)

    @model_validator(mode="after")
    def _unique(self) -> Registry:
        counts = Counter(entry.name.casefold() for entry in self.loras)
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise ValueError(f"loras: {', '.join(map(quoted, twice[:5]))} named twice: give each LoRA its own name")
        return self

    def named(self, name: str) -> RegistryEntry | None:
        """The entry of that name, whatever its case."""
        return next((e for e in self.loras if e.name.casefold() == name.strip().casefold()), None)

    def of_file(self, listed: str) -> tuple[RegistryEntry, ...]:
        """Entries for a file as ComfyUI lists it; one file may know several trigger words."""
        key = _key(listed)
        return tuple(e for e in self.loras if _key(e.file) == key)

    def with_entry(self, entry: RegistryEntry, instead_of: str = "") -> Registry:
        """Also this entry, in place of the one of its name and of the one named `instead_of`."""
        gone = {entry.name.casefold(), instead_of.casefold()}
        kept = [e for e in self.loras if e.name.casefold() not in gone]
        return _sorted([*kept, entry])


def _sorted(entries: Iterable[RegistryEntry]) -> Registry:
    """LoraError for too many."""
    loras = tuple(sorted(entries, key=lambda e: e.name.casefold()))
    if len(loras) > MAX_ENTRIES:
        raise LoraError(f"The LoRA registry would have more than {MAX_ENTRIES:,} entries: keep fewer LoRAs in it.")
    return Registry(loras=loras)


def _key(listed: str) -> str:
    return listed.replace("\\", "/")


# ---- on disk


def parse_registry(data: bytes, source: Path | str = "loras.toml") -> Registry:
    """ProfileError with all findings, never anything else."""
    return check_as(Registry, read_table(data, source, KINDS[LORAS].limit), source)


def emit_registry(registry: Registry) -> bytes:
    values = registry.model_dump(mode="json", exclude_none=True)
    values["loras"] = [{k: v for k, v in row.items() if k != "notes" or v} for row in values["loras"]]
    return (_HEADER + "\n".join(emit_table(values)).strip() + "\n").encode()


def load_registry(library: Library) -> Registry:
    """The library's registry; an empty one where there is none."""
    data = shared_read(library, LORAS)
    return Registry() if data is None else parse_registry(data, shared_path(library, LORAS))


def update_registry(library: Library, change: Callable[[Registry], Registry]) -> Registry:
    """Read, change and write under its lock, so that no other program's change is lost."""
    made: list[Registry] = []

    def changed(data: bytes | None) -> bytes:
        before = Registry() if data is None else parse_registry(data, shared_path(library, LORAS))
        made.append(change(before))
        return emit_registry(made[0])

    shared_update(library, LORAS, "", changed)
    return made[0]


def entry_of(values: Mapping[str, object], source: str = "loras.toml") -> RegistryEntry:
    """An entry of values that somebody typed. ProfileError with all findings."""
    return check_as(RegistryEntry, values, source)


def changed_entry(registry: Registry, name: str, values: Mapping[str, object]) -> Registry:
    """The registry with these fields of an entry set; a new entry where `values` names a file.

    LoraError for an unknown name without a file, and for a new name that another entry has.
    """
    known = registry.named(name)
    if known is None and "file" not in values:
        raise LoraError(f"The LoRA registry has no {quoted(name)}: give its file, too, or run a scan.")
    before = {"name": name.strip()} if known is None else known.model_dump(exclude_none=True)
    entry = entry_of({**before, **values})
    if known is None or entry.name.casefold() != known.name.casefold():
        if other := registry.named(entry.name):
            raise LoraError(f"The LoRA registry has {quoted(other.name)} already, for {other.file}: take another name.")
    return registry.with_entry(entry, name.strip())


def without_entry(registry: Registry, name: str) -> Registry:
    """LoraError where there is none of that name. The file stays."""
    known = registry.named(name)
    if known is None:
        raise LoraError(f"The LoRA registry has no {quoted(name)}.")
    return Registry(loras=tuple(e for e in registry.loras if e is not known))


# ---- scanning


@dataclass(frozen=True)
class Scanned:
    """What a scan found."""

    registry: Registry
    added: tuple[RegistryEntry, ...] = ()
    moved: tuple[RegistryEntry, ...] = ()  # files that lie in another folder now
    gone: tuple[RegistryEntry, ...] = ()  # entries whose file is not there; they stay
    notes: tuple[str, ...] = ()  # files that were left out, one sentence each


def scan(
    registry: Registry,
    files: Iterable[tuple[str, Path]],
    characters: Collection[str] = (),
    check: Callable[[], None] = lambda: None,
) -> Scanned:
    """The registry with an entry for every file that it has none for; entries that are there stay as they are.

    `files`: (name as ComfyUI lists it, path). `characters`: listed names of the characters' own LoRAs. An entry whose
    file has only moved to another folder gets the new place. `check` is called for each file and may raise to stop.
    """
    there = dict(files)
    registry, moved = _with_moved(registry, there)
    own, notes, added = {_key(c) for c in characters}, list[str](), list[RegistryEntry]()
    known = {_key(e.file) for e in registry.loras}
    names = {e.name.casefold() for e in registry.loras}
    for listed, path in sorted(there.items()):
        check()
        if _key(listed) in known:
            continue
        if is_companion(listed):
            notes.append(f"left out: {listed} is the companion LoRA of a FaceID adapter, which Apply Character puts on")
            continue
        try:
            entry = _proposed(listed, read_info(path, listed), names, _key(listed) in own)
        except LikenessError as error:
            notes.append(f"left out: {error}")
            continue
        names.add(entry.name.casefold())
        added.append(entry)
    keys = {_key(n) for n in there}
    gone = tuple(e for e in registry.loras if _key(e.file) not in keys)
    return Scanned(_sorted([*registry.loras, *added]), tuple(added), moved, gone, tuple(notes))


def is_companion(listed: str) -> bool:
    """Whether a file is, by its published name, the LoRA that a FaceID adapter was trained with."""
    return re.search(r"ip.?adapter.?faceid.*lora", base_name(listed), re.IGNORECASE) is not None


def _with_moved(registry: Registry, there: Mapping[str, Path]) -> tuple[Registry, tuple[RegistryEntry, ...]]:
    keys, known = {_key(n) for n in there}, {_key(e.file) for e in registry.loras}
    loose: dict[str, list[str]] = {}  # file name -> listed names that no entry has
    for listed in there:
        if _key(listed) not in known:
            loose.setdefault(base_name(listed), []).append(listed)
    entries, moved = [], []
    for entry in registry.loras:
        places = [] if _key(entry.file) in keys else loose.get(base_name(entry.file), [])
        if len(places) == 1:
            entry = entry.model_copy(update={"file": places[0]})
            moved.append(entry)
        entries.append(entry)
    return Registry(loras=tuple(entries)), tuple(moved)


def _proposed(listed: str, info: LoraInfo, taken: Collection[str], own: bool) -> RegistryEntry:
    """ProfileError for a file that cannot be named in a registry."""
    values: dict[str, object] = {"name": _free_name(listed, taken), "file": listed}
    values |= {"family": info.family} if info.family in FAMILIES else {}
    values |= {"trigger": trigger_of(words_of(info.metadata)), "kind": "character" if own else kind_of(listed)}
    try:
        return entry_of(values)
    except ProfileError as error:
        shown = quoted(printable(listed))
        raise ProfileError(shown, [replace(f, field="its name" if f.field else "") for f in error.findings]) from None


def _free_name(listed: str, taken: Collection[str]) -> str:
    """The file's own name without suffix; with its folder, then with a number, where that is taken."""
    parts = [_plain(part) for part in _key(listed).rsplit(".", 1)[0].split("/")]
    wishes = [parts[-1], "_".join(parts[-2:])]
    wishes += [f"{wishes[-1][:110]}_{n}" for n in range(2, len(taken) + 3)]
    return next(wish for wish in wishes if wish.casefold() not in taken)


def _plain(text: str) -> str:
    return "".join("_" if c in NO_NAME or not c.isprintable() else c for c in text).strip()[:120].strip() or "lora"


def trigger_of(words: Words) -> str:
    """What the LoRA answers to: the phrase that its maker wrote, else a part of nearly all captions, else its folder.

    "" where the file does not tell.
    """
    if words.phrase:
        return line_of(words.phrase)
    if not words.tags:
        return line_of(words.folders[0]) if len(set(words.folders)) == 1 else ""
    most = max(words.captions, *words.tags.values()) if words.captions else max(words.tags.values())
    common = [tag for tag, n in words.tags.items() if n >= _SHARE * most and tag.casefold() not in _GENERAL]
    # Without the number of captions the most frequent part is only that of some of them.
    return line_of(max(common, key=words.tags.__getitem__)) if common and (words.captions or len(common) == 1) else ""


def kind_of(listed: str) -> LoraKind:
    """By the words of its name, then of its folders, the nearest first."""
    for part in reversed(_key(listed).rsplit(".", 1)[0].split("/")):
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\-.\s]+", " ", part).lower()
        for kind, rule in _KINDS:
            if re.search(rf"(?<![a-z])(?:{rule})(?![a-z])", words):
                return kind  # type: ignore[return-value]
    return "other"


def described(entry: RegistryEntry) -> str:
    """For a list."""
    facts = [entry.kind, entry.family or "unknown family", f"strength {entry.strength:g}"]
    facts += [f"trigger {quoted(entry.trigger)}"] if entry.trigger else []
    return f"{entry.name}: {entry.file} ({', '.join(facts)})"
