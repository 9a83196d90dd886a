"""Files that all characters of a library share, beside their folders.

    <root>/_shared/lists/<slug>.toml        value lists
    <root>/_shared/projects/<slug>.toml     projects
    <root>/_shared/workflows/<slug>.json    saved workflows
    <root>/_shared/loras.toml               the LoRA registry

No character can be called "_shared", because a slug begins with a letter or digit. All roots are read, the first that
has a file wins; writing goes to the first. One lock per file, in the library's `.locks`; what is removed goes to its
`.trash`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import BadNameError, LibraryError, quoted
from .files import atomic_write, locked, make_folder, move_folder, read_limited
from .library import LOCKS, TRASH, Library
from .paths import MAX_SLUG, contained, is_slug, slug_of

SHARED = "_shared"
LISTS, PROJECTS, WORKFLOWS, LORAS = "lists", "projects", "workflows", "loras"


@dataclass(frozen=True)
class Kind:
    """One kind of shared file."""

    what: str  # in messages
    suffix: str
    limit: int  # bytes
    single: bool = False  # one file without a name of its own


KINDS = {
    LISTS: Kind("value list", ".toml", 1 << 20),
    PROJECTS: Kind("project", ".toml", 128 << 10),
    WORKFLOWS: Kind("saved workflow", ".json", 16 << 20),
    LORAS: Kind("LoRA registry", ".toml", 4 << 20, single=True),
}


def shared_slug(kind: str, name: str) -> str:
    """The file name, without suffix, for a name that somebody typed: "Summer Looks" -> "summer_looks".

    BadNameError for a path, for no name, and for one without a letter or digit of a-z, 0-9.
    """
    if isinstance(name, str) and is_slug(name):
        return name
    try:
        return slug_of(name)
    except BadNameError:
        raise BadNameError(
            f"{quoted(name)} cannot name a {KINDS[kind].what}: use 1 to {MAX_SLUG} letters a-z, digits, '_' and '-', "
            "beginning with a letter or digit, and no path."
        ) from None


def shared_path(library: Library, kind: str, slug: str = "") -> Path:
    """Where that file lies, or would be written to where there is none. BadNameError for a slug that is none."""
    places = _places(library, kind, slug)
    return next((path for path in places if path.is_file()), places[0])


def shared_read(library: Library, kind: str, slug: str = "") -> bytes | None:
    """Its bytes, None where there is no such file. StorageError when it cannot be read, or is larger than its kind."""
    path = shared_path(library, kind, slug)
    return read_limited(path, KINDS[kind].limit) if path.is_file() else None


def shared_write(library: Library, kind: str, slug: str, data: bytes) -> Path:
    """Write the file, whole or not at all, into the first root; returns its path. `slug` is "" for the registry."""
    path = _places(library, kind, slug)[0]
    check_size(kind, slug, data)
    with shared_lock(library, kind, slug):
        atomic_write(path, data)
    return path


def check_size(kind: str, slug: str, data: bytes) -> None:
    """LibraryError for more than a file of that kind may hold."""
    about = KINDS[kind]
    if len(data) > about.limit:
        raise LibraryError(f"The {about.what} {slug} would be larger than {about.limit >> 10} KB: shorten it.")


def shared_update(library: Library, kind: str, slug: str, change: Callable[[bytes | None], bytes]) -> Path:
    """Read, change and write under the file's lock, so that no other program's change is lost."""
    with shared_lock(library, kind, slug):
        return shared_write(library, kind, slug, change(shared_read(library, kind, slug)))


def shared_names(library: Library, kind: str) -> list[str]:
    """Slugs of all files of that kind, sorted; a name in two roots counts once."""
    rule = f"{SHARED}/{kind}/*{KINDS[kind].suffix}"
    return sorted(
        {path.stem for root in library.roots for path in root.glob(rule) if is_slug(path.stem) and path.is_file()}
    )


def shared_trash(library: Library, kind: str, slug: str) -> Path:
    """Move the file to the trash of its root, from every root that has it; returns where the one in use lies now.

    LibraryError where there is none.
    """
    with shared_lock(library, kind, slug):
        places = zip(library.roots, _places(library, kind, slug), strict=True)
        found = [(root, path) for root, path in places if path.is_file()]
        if not found:
            raise missing(library, kind, slug)
        for root, path in reversed(found):  # the one in use last: a root that cannot be written to leaves it
            trashed = _moved_to_trash(root, path, kind)
    return trashed


def missing(library: Library, kind: str, slug: str) -> LibraryError:
    """The error for a file that is not there, naming those that are."""
    names = shared_names(library, kind)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return LibraryError(f"There is no {KINDS[kind].what} {slug!r}; there are {', '.join(names[:20]) or 'none'}{more}.")


@contextmanager
def shared_lock(library: Library, kind: str, slug: str = "") -> Iterator[None]:
    """Hold one file against every other writer; whoever holds it may call the functions above."""
    _places(library, kind, slug)
    with locked(library.roots[0] / LOCKS / f"{SHARED}-{kind}{slug and '-'}{slug}.lock"):
        yield


def _places(library: Library, kind: str, slug: str) -> list[Path]:
    """One for each root."""
    about = KINDS[kind]
    if about.single:
        return [contained(root, SHARED, kind + about.suffix) for root in library.roots]
    if not is_slug(slug):
        raise BadNameError(
            f"{quoted(slug)} cannot be the file name of a {about.what}: use 1 to {MAX_SLUG} of a-z, 0-9, '_' and '-', "
            "beginning with a letter or digit."
        )
    return [contained(root, SHARED, kind, slug + about.suffix) for root in library.roots]


def _moved_to_trash(root: Path, path: Path, kind: str) -> Path:
    place, stamp = make_folder(root / TRASH), time.strftime("%Y%m%d-%H%M%S")
    stem = f"{SHARED}-{kind}-{path.stem}-{stamp}"
    number = sum(1 for p in place.iterdir() if p.name.startswith(stem))
    target = place / (stem + (f"-{number}" if number else "") + path.suffix)
    move_folder(path, target)
    return target
