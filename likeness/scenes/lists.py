"""Value lists: what outfit, background, pose, expression, camera and light can be.

People write them one entry a line and keep them by name, `_shared/lists/<slug>.toml` in the library:

    [[outfit]]
    name = "red dress"
    text = "a red summer dress"
    trigger = "rdrs"             the word its LoRA was trained on
    loras = "red_dress:0.7"      LoRAs that come with it
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from ..errors import LibraryError, LikenessError, quoted
from ..files import move_folder
from ..library import Library
from ..profile import Line, Profile, Value, one_line
from ..profile_toml import check_as, emit_table, read_table
from ..shared_files import (
    KINDS,
    LISTS,
    check_size,
    missing,
    shared_lock,
    shared_names,
    shared_path,
    shared_read,
    shared_slug,
    shared_trash,
    shared_write,
)
from .names import digest_of

Facet = Literal["outfit", "background", "pose", "expression", "camera", "light"]
FACETS: tuple[Facet, ...] = ("outfit", "background", "pose", "expression", "camera", "light")
MAX_ENTRIES = 2000  # in one list
MAX_TEXT = 100_000  # characters of an entry
_SHOWN = 60  # characters of a text that names itself
_HEADER = "# A value list of Likeness. Likeness rewrites this file: comments are lost.\n"
_NAMED = re.compile(r"([^:()<>\[\]{}]{1,80}):\s+(?=\S)")  # "red dress: ..."; "(red dress:1.2)" is a weight
_FIELD = re.compile(r"(trigger|loras)\s*=\s*(.*)", re.IGNORECASE | re.DOTALL)
_ANY_FIELD = re.compile(r"(\w+)\s*=")


class Entry(Value):
    """One value of a facet."""

    name: Annotated[Line, StringConstraints(min_length=1)]
    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), AfterValidator(one_line)]  # in a prompt
    trigger: Line = ""  # the word its LoRA was trained on
    loras: Line = ""  # a LoRA stack, e.g. "red_dress:0.7, silk:0.4"

    @property
    def same(self) -> tuple[str, str, str]:
        """Equal for entries that draw the same."""
        return " ".join(self.text.casefold().split()), self.trigger, self.loras

    def line(self) -> str:
        """As `parse_lines` reads it."""
        name = "" if self.name == name_for(self.text) and not _NAMED.match(self.text) else f"{self.name}: "
        fields = {"trigger": self.trigger, "loras": self.loras}
        return " | ".join([f"{name}{self.text}", *(f"{key}={value}" for key, value in fields.items() if value)])


Entries = Annotated[tuple[Entry, ...], Field(max_length=MAX_ENTRIES)]


class Lists(Value):
    """A list for each facet; those that are not given are empty. `DEFAULTS` has some of each."""

    schema_version: Literal[1] = 1
    name: Line = ""  # as somebody typed it
    outfit: Entries = ()
    background: Entries = ()
    pose: Entries = ()
    expression: Entries = ()
    camera: Entries = ()
    light: Entries = ()

    @model_validator(mode="after")
    def _named_once(self) -> Lists:
        for facet in FACETS:
            counts = Counter(entry.name.casefold() for entry in self.of(facet))
            if twice := sorted(name for name, n in counts.items() if n > 1):
                raise ValueError(f"{facet}: {', '.join(map(quoted, twice[:5]))} named twice: give each its own name")
        return self

    def of(self, facet: str) -> tuple[Entry, ...]:
        if facet not in FACETS:
            raise LikenessError(f"{quoted(facet)} is no list: there are {', '.join(FACETS)}.")
        entries: tuple[Entry, ...] = getattr(self, facet)
        return entries

    def text(self, facet: str) -> str:
        """One entry a line."""
        return "\n".join(entry.line() for entry in self.of(facet))


def name_for(text: str) -> str:
    """The name of an entry that has none of its own."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN].rstrip()} {digest_of(text)}"


def parse_lines(text: str, where: str = "list") -> tuple[Entry, ...]:
    """One entry a line: "red dress: a red summer dress", or just the text; then `| trigger=...` and `| loras=...`.

    Blank lines and lines that begin with "#" are passed over; what stands there twice is taken once. LikenessError
    names the line.
    """
    found: dict[tuple[str, str, str], Entry] = {}
    names: dict[str, int] = {}
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = _entry(line.strip(), f"{where}: line {number}")
        if entry.same in found:
            continue
        if other := names.get(entry.name.casefold()):
            raise LikenessError(f"{where}: lines {other} and {number} are both named {quoted(entry.name)}: rename one.")
        if len(found) >= MAX_ENTRIES:
            raise LikenessError(f"{where}: more than {MAX_ENTRIES} entries: split the list.")
        found[entry.same] = entry
        names[entry.name.casefold()] = number
    return tuple(found.values())


def _entry(line: str, where: str) -> Entry:
    body, *fields = re.split(r"\s+\|\s+", line.replace("\t", " "))
    values = {}
    while fields and (field := _FIELD.fullmatch(fields[-1])):
        values[field[1].lower()] = field[2].strip()
        fields.pop()
    other = _ANY_FIELD.match(fields[-1]) if fields else None
    if other and difflib.get_close_matches(other[1].lower(), ("trigger", "loras"), 1, 0.8):
        raise LikenessError(f"{where}: {quoted(other[1])} is no field of an entry: write trigger=... or loras=...")
    body = " | ".join([body, *fields]).strip().strip(",").strip()
    named = _NAMED.match(body)
    words = body[named.end() :] if named else body
    values |= {"name": named[1].strip() if named else name_for(words), "text": words}
    return check_as(Entry, values, where)


def lists_of(texts: Mapping[str, str], name: str = "") -> Lists:
    """Facet -> its lines, as somebody typed them. LikenessError names the list and the line."""
    found = {facet: parse_lines(texts.get(facet, ""), f"{facet} list") for facet in FACETS}
    return check_as(Lists, {"name": name}, "lists").model_copy(update=found)


def outfits_of(profile: Profile, others: Iterable[Entry] = ()) -> tuple[Entry, ...]:
    """The character's own outfits, then the others that draw something else."""
    own = [Entry(name=slug, text=o.text, trigger=o.trigger, loras=o.loras) for slug, o in profile.outfits.items()]
    found: dict[tuple[str, str, str], Entry] = {}
    for entry in (*own, *others):
        found.setdefault(entry.same, entry)
    return tuple(found.values())


# ---- on disk


def parse_lists(data: bytes, source: Path | str = "lists.toml") -> Lists:
    """ProfileError with all findings, never anything else."""
    return check_as(Lists, read_table(data, source, KINDS[LISTS].limit), source)


def emit_lists(lists: Lists) -> bytes:
    """`parse_lists` reads it back."""
    check_as(Lists, lists.model_dump(), "lists")
    values = {k: v for k, v in lists.model_dump(mode="json", exclude_defaults=True).items() if v}
    return (_HEADER + "\n".join(emit_table({"schema_version": 1, **values})).strip() + "\n").encode()


def list_names(library: Library) -> list[str]:
    """Slugs of the saved ones, sorted."""
    return shared_names(library, LISTS)


def load_lists(library: Library, name: str) -> Lists:
    """LibraryError where there is none of that name, ProfileError when its file is wrong."""
    slug = shared_slug(LISTS, name)
    data = shared_read(library, LISTS, slug)
    if data is None:
        raise missing(library, LISTS, slug)
    return parse_lists(data, shared_path(library, LISTS, slug))


def save_lists(library: Library, name: str, lists: Lists, replace: bool = True) -> Path:
    """Write them under that name; what it had goes to the trash. Equal ones are left alone.

    LibraryError where others have the name and `replace` is off.
    """
    slug = shared_slug(LISTS, name)
    data = emit_lists(lists.model_copy(update={"name": name.strip()}))
    with shared_lock(library, LISTS, slug):
        before, path = shared_read(library, LISTS, slug), shared_path(library, LISTS, slug)
        if before == data:
            return path
        if before is not None and not replace:
            raise LibraryError(
                f"There is a value list {slug!r} with other entries: choose another name, or replace it."
            )
        if before is None:
            return shared_write(library, LISTS, slug, data)
        check_size(LISTS, slug, data)
        trashed = shared_trash(library, LISTS, slug)
        try:
            return shared_write(library, LISTS, slug, data)
        except LikenessError:  # a full disk: what was there stays there
            move_folder(trashed, path)
            raise


def _named(lines: str) -> tuple[Entry, ...]:
    return tuple(Entry(name=name, text=text) for name, text in (line.split(": ", 1) for line in lines.split("\n")))


DEFAULTS = Lists(
    name="Defaults",
    outfit=_named(
        "casual: a white t-shirt and blue jeans\nformal: a dark tailored suit\nsport: sportswear and running shoes\n"
        "winter: a long wool coat and a scarf\nsummer: light linen summer clothes"
    ),
    background=_named(
        "park: a sunny park\nstreet: a city street at night\ncafe: a cosy cafe by the window\n"
        "beach: on a sandy beach\nlibrary: an old library with tall shelves"
    ),
    pose=_named(
        "standing: standing upright, arms at the sides\nsitting: sitting on a chair, legs crossed\n"
        "walking: walking towards the viewer\nleaning: leaning against a wall, arms folded\n"
        "looking back: looking back over the shoulder"
    ),
    expression=_named(
        "neutral: neutral expression, mouth closed\nsmiling: smiling broadly\nlaughing: laughing with closed eyes\n"
        "serious: serious look, slight frown\nsurprised: surprised, raised eyebrows\nsad: sad look, lowered eyes"
    ),
    camera=_named(
        "portrait: portrait, head and shoulders\nupper body: upper body, seen from the waist up\n"
        "full body: full body, from head to toe\nfrom below: seen from below, low angle\n"
        "from above: seen from above, high angle\nprofile: profile from the side"
    ),
    light=_named(
        "soft: soft even light\nsun: bright sunlight\ngolden hour: warm light of the golden hour\n"
        "studio: studio light from the side\nneon: neon light at night\novercast: overcast daylight"
    ),
)
