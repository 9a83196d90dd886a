"""A folder of characters that several programs use at once.

    <root>/<slug>/profile.toml, references/, faces/, identity/
    <root>/.locks/<slug>.lock      one writer per character
    <root>/.trash/<slug>-<time>/   what was trashed; nothing is ever deleted
    <root>/.trash/<slug>-references/   pictures that were references of it, and go with it when it is renamed

Several roots can be given (ComfyUI's extra_model_paths.yaml): all are read, new characters
go to the first.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import Finding, LibraryError, LikenessError, ProfileError
from .files import atomic_write, locked, make_folder, move_folder, read_limited, staging_folder, sweep_temp
from .paths import check_slug, contained, is_slug, slug_of
from .profile import Profile
from .profile_toml import MAX_BYTES, emit, parse

PROFILE = "profile.toml"
LOCKS, TRASH = ".locks", ".trash"
REMOVED = "references"  # in the trash, "<slug>-references": pictures that a character has lost
_MORE = re.compile(r"-[2-9]|-[1-9]\d{1,2}")  # of several such folders; no date, which a trashed character has


@dataclass(frozen=True)
class Entry:
    """One character of a listing; `error` says why its profile cannot be used."""

    slug: str
    folder: Path
    profile: Profile | None
    error: LikenessError | None = None


class Library:
    """The characters below one or more roots."""

    def __init__(self, roots: Sequence[Path], keeps_crops: Callable[[], bool] = lambda: True) -> None:
        """`keeps_crops`: whether aligned pictures of faces may be stored beside their embeddings; asked each time."""
        if not roots:
            raise LibraryError(
                "No folder is set for characters: register one as `characters` in extra_model_paths.yaml."
            )
        self.roots = tuple(Path(r) for r in roots)
        self.keeps_crops = keeps_crops

    def slugs(self) -> list[str]:
        """Folder names of all characters, sorted; a name in two roots counts once, the first root wins."""
        return list(self.folders())

    def folders(self) -> dict[str, Path]:
        """Slug -> folder of all characters, as `folder` gives it except where that is a link: it may lead elsewhere."""
        found: dict[str, Path] = {}
        for root in reversed(self.roots):
            places = (path.parent for path in Path(os.path.realpath(root)).glob(f"*/{PROFILE}"))
            found |= {place.name: place for place in places if is_slug(place.name)}
        return dict(sorted(found.items()))

    def _some_slugs(self, shown: int = 20) -> str:
        slugs = self.slugs()
        more = f" and {len(slugs) - shown} more" if len(slugs) > shown else ""
        return (", ".join(slugs[:shown]) or "none") + more

    def list(self) -> list[Entry]:
        return [self._entry(slug) for slug in self.slugs()]

    def _entry(self, slug: str) -> Entry:
        try:
            return Entry(slug, self.folder(slug), self.get(slug))
        except LikenessError as error:
            place = next((r for r in self.roots if (r / slug / PROFILE).is_file()), self.roots[0])
            return Entry(slug, place / slug, None, error)

    def folder(self, slug: str) -> Path:
        """The folder of an existing character, or where a new one of that name belongs."""
        check_slug(slug)
        places = [contained(root, slug) for root in self.roots]
        return next((p for p in places if (p / PROFILE).is_file()), places[0])

    def exists(self, slug: str) -> bool:
        return (self.folder(slug) / PROFILE).is_file()

    def get(self, slug: str) -> Profile:
        """The profile. LibraryError when there is none, ProfileError when it is wrong."""
        return self.read(slug, self.folder(slug))

    def read(self, slug: str, folder: Path) -> Profile:
        """The profile in that folder of a character, as `get` gives it."""
        if not (folder / PROFILE).is_file():
            raise LibraryError(
                f"No character {slug!r} in {', '.join(str(r) for r in self.roots)}; "
                f"characters there: {self._some_slugs()}."
            )
        profile = parse(read_limited(folder / PROFILE, MAX_BYTES + 1), folder / PROFILE)
        if profile.slug != slug:
            problem = f"is {profile.slug!r} but the folder is named {slug!r}: make them equal"
            raise ProfileError(folder / PROFILE, [Finding("slug", problem)])
        return profile

    def save(self, profile: Profile) -> Path:
        """Write the profile, new or changed; returns the character's folder."""
        with self.lock(profile.slug):
            return self._write(profile)

    def create(self, profile: Profile) -> Path:
        """Write a new character; LibraryError when its name is taken."""
        with self.new_folder(profile.slug) as folder:
            atomic_write(folder / PROFILE, emit(profile))
        return self.folder(profile.slug)

    @contextmanager
    def new_folder(self, slug: str) -> Iterator[Path]:
        """A folder to fill with a new character: it joins the library whole when the block ends, or not at all.

        LibraryError when the name is taken.
        """
        with self.lock(slug):
            target = self.check_free(slug)
            with staging_folder(target.parent) as stage:
                folder = make_folder(stage / slug)
                yield folder
                move_folder(folder, target)

    def check_free(self, slug: str) -> Path:
        """The folder that a new character would get. LibraryError when the name is taken."""
        folder = self.folder(slug)
        if (folder / PROFILE).is_file():
            raise LibraryError(f"A character {slug!r} exists already: choose another name, or add to that one.")
        if folder.exists():
            raise LibraryError(f"The folder {folder} is in the way and holds no {PROFILE}: move it away.")
        return folder

    def update(self, slug: str, change: Callable[[Profile], Profile]) -> Profile:
        """Read, change and write under the character's lock, so that no other program's change is lost."""
        with self.lock(slug):
            changed = change(self.get(slug))
            if changed.slug != slug:
                raise LibraryError(f"An update cannot turn {slug!r} into {changed.slug!r}: rename the character.")
            self._write(changed)
        return changed

    def _write(self, profile: Profile) -> Path:
        folder = self.folder(profile.slug)
        atomic_write(folder / PROFILE, emit(profile))
        return folder

    @contextmanager
    def lock(self, slug: str) -> Iterator[None]:
        """Hold one character against every other writer; whoever holds it may call the methods above."""
        folder = self.folder(slug)
        with locked(folder.parent / LOCKS / f"{slug}.lock"):
            yield

    def rename(self, slug: str, name: str) -> Profile:
        """Give a character a new name, and the folder name that goes with it."""
        new = slug_of(name)
        if new == slug:
            return self.update(slug, lambda p: p.model_copy(update={"name": name}))
        first, second = sorted((slug, new))  # one order for everybody, so that two renames cannot lock each other out
        with self.lock(first), self.lock(second):
            self.check_free(new)
            profile = self.get(slug).model_copy(update={"name": name, "slug": new})
            data, old = emit(profile), self.folder(slug)
            move_folder(old, old.parent / new)
            moved = [(old, old.parent / new)]
            try:  # killed here, the character is listed with an error that says how to mend it
                moved += _move_removed(old.parent / TRASH, slug, new)
                atomic_write(old.parent / new / PROFILE, data)
            except LikenessError:
                for before, after in moved:
                    move_folder(after, before)
                raise
        return profile

    def trash(self, slug: str) -> Path:
        """Move a character to the trash of its root; returns where it lies now."""
        with self.lock(slug):
            folder = self.folder(slug)
            if not folder.is_dir():
                raise LibraryError(f"No character {slug!r} to trash; characters there: {self._some_slugs()}.")
            stamp = time.strftime("%Y%m%d-%H%M%S")
            place = make_folder(folder.parent / TRASH)
            number = sum(1 for p in place.iterdir() if p.name.startswith(f"{slug}-{stamp}"))
            target = place / (f"{slug}-{stamp}" + (f"-{number}" if number else ""))
            move_folder(folder, target)
        return target

    def sweep(self) -> int:
        """Remove temporary files that killed writers left behind; returns how many."""
        return sum(sweep_temp(root) for root in self.roots if root.is_dir())


def removed_pictures(trash: Path, slug: str) -> list[Path]:
    """Folders of the trash with pictures that were references of a character; the first is where the next one goes."""
    usual = trash / f"{slug}-{REMOVED}"
    return [usual, *(p for p in sorted(trash.glob(f"{usual.name}-*")) if _MORE.fullmatch(p.name[len(usual.name) :]))]


def _move_removed(trash: Path, slug: str, new: str) -> list[tuple[Path, Path]]:
    """Give the folders of a renamed character's removed pictures its new name; returns (before, after) of each.

    A character of that name may have left such a folder before: it stays, and ours gets a number.
    """
    moved: list[tuple[Path, Path]] = []
    try:
        for before in filter(Path.is_dir, removed_pictures(trash, slug)):
            names = (f"{new}-{REMOVED}{'' if n == 1 else f'-{n}'}" for n in range(1, 1000))
            after = next(trash / name for name in names if not (trash / name).exists())
            move_folder(before, after)
            moved.append((before, after))
    except LikenessError:
        for before, after in moved:
            move_folder(after, before)
        raise
    return moved
