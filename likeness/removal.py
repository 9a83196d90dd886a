"""Taking things away from a library: a reference, a whole character; and making a second one of it.

Embeddings are biometric data, so what is deleted for good is deleted wherever Likeness has put it: in the character,
in the trash, and in the cache of analysed pictures.
"""

from __future__ import annotations

import re
from pathlib import Path

from . import images
from .archive import FOLDERS, MAX_FILE, belongs, place_file
from .cards import picture_tag
from .character import FACES, IDENTITY, faces_path, read_faces, write_faces
from .errors import LibraryError, LikenessError
from .faces.cache import EmbeddingCache, cache_key
from .faces.codec import MAX_BYTES, decode_faces
from .faces.face import Pipeline
from .files import (
    atomic_write,
    delete_file,
    delete_folder,
    make_folder,
    move_entry,
    move_folder,
    read_limited,
    staging_folder,
)
from .library import PROFILE, TRASH, Library, removed_pictures
from .paths import inside, slug_of
from .profile import Profile
from .profile_toml import emit

_SUFFIX = ".safetensors"
_TRASHED = re.compile(r"\d{8}-\d{6}(-\d+)?")  # what follows "<slug>-" in the trash


def duplicate(library: Library, slug: str, name: str) -> Profile:
    """A second character of that name with everything that the first has. LibraryError when the name is taken."""
    new = slug_of(name)
    if new == slug:
        raise LibraryError(f"A character {slug!r} exists already: choose another name.")
    first, second = sorted((slug, new))  # as renaming does, so that neither can lock the other out
    with library.lock(first), library.lock(second):
        profile, folder = library.get(slug).model_copy(update={"name": name, "slug": new}), library.folder(slug)
        text = emit(profile)
        with library.new_folder(new) as copy:
            for path in (p for part in FOLDERS for p in sorted((folder / part).rglob("*")) if belongs(p, folder)):
                place_file(library, copy, path.relative_to(folder).as_posix(), read_limited(path, MAX_FILE))
            atomic_write(copy / PROFILE, text)
    return profile


def remove_reference(library: Library, slug: str, file: str, *, for_good: bool = False, tag: str = "") -> Profile:
    """The character without one reference, its face, and what was compiled with it.

    The picture goes to the library's trash, or is deleted. `tag`: `cards.picture_tag` of the picture that was meant,
    because a new reference may get the name of one that is gone. LibraryError where it is not one of the references.
    """
    with library.lock(slug):
        profile, folder = library.get(slug), library.folder(slug)
        kept = tuple(r for r in profile.references if r.file != file)
        if len(kept) == len(profile.references):
            raise LibraryError(f"{profile.name} has no reference {file!r} any more: look again.")
        index = next(i for i, r in enumerate(profile.references) if r.file == file)
        if tag and picture_tag(folder, profile, index) != tag:
            raise LibraryError(f"{file!r} of {profile.name} is another picture by now: look again.")
        changed = profile.model_copy(update={"references": kept})
        text = emit(changed)
        _forget_faces(folder, changed, library.keeps_crops())
        for path in (folder / IDENTITY).glob(f"*{_SUFFIX}"):
            delete_file(path)
        _take_away(folder, slug, inside(folder, file), for_good)
        atomic_write(folder / PROFILE, text)  # last: what failed before can be asked for again
    return changed


def _take_away(folder: Path, slug: str, picture: Path, for_good: bool) -> None:
    if picture.suffix.lower() not in images.SUFFIXES:  # a profile from elsewhere may call any file of its folder one
        return
    if for_good:
        delete_file(picture)
    elif picture.is_file():
        trash = make_folder(removed_pictures(folder.parent / TRASH, slug)[0])
        move_entry(picture, _free(trash, picture))


def _free(folder: Path, picture: Path) -> Path:
    names = (f"{picture.stem}{'' if n == 0 else f'-{n}'}{picture.suffix}" for n in range(100_000))
    return next(folder / name for name in names if not (folder / name).exists())


def _forget_faces(folder: Path, profile: Profile, crops: bool) -> None:
    """Write the stored faces of every face model again, without those of references that are gone."""
    for path in (folder / FACES).glob(f"*{_SUFFIX}"):
        stored = read_faces(folder, path.stem)
        if stored is None or not profile.references:
            delete_file(path)
        else:
            write_faces(folder, stored.pipeline, profile.references, dict(stored.named), crops)
            if path != faces_path(folder, stored.pipeline.pack):  # under another name, by hand
                delete_file(path)


def delete_for_good(library: Library, slug: str, cache: EmbeddingCache) -> int:
    """Delete a character, its trash and what the cache knows of its pictures; returns how many entries that were.

    Pictures elsewhere, such as those that were given when it was made, stay. LibraryError where there is none.
    """
    with library.lock(slug):
        if not library.exists(slug):
            raise LibraryError(f"There is no character {slug!r} to delete.")
        folder = library.folder(slug)
        trash = folder.parent / TRASH
        old = [p for p in trash.glob(f"{slug}-*") if _TRASHED.fullmatch(p.name[len(slug) + 1 :])]
        old += removed_pictures(trash, slug)
        forgotten = _forget_cached([folder, *old], cache)
        with staging_folder(folder.parent) as stage:  # gone at once; what a killed program leaves of it is swept later
            move_folder(folder, stage / slug)
            for place in (*old, stage / slug):
                delete_folder(place)
    return forgotten


def _forget_cached(folders: list[Path], cache: EmbeddingCache) -> int:
    """Every picture below the folders, under every face model that has seen any picture."""
    pipelines = _pipelines(cache)
    pictures = [p for f in folders for p in sorted(f.rglob("*")) if p.suffix.lower() in images.SUFFIXES]
    return sum(_forget(picture, pipelines, cache) for picture in pictures if picture.is_file())


def _pipelines(cache: EmbeddingCache) -> list[Pipeline]:
    """Those of the cache's entries: comparing characters leaves faces there by models that no character stores."""
    found: dict[Pipeline, None] = {}
    for path in cache.path("0" * 64).parent.parent.glob(f"??/*{_SUFFIX}"):
        try:
            entry = decode_faces(read_limited(path, MAX_BYTES))
        except LikenessError:  # another program was quicker
            continue
        if entry is not None:
            found[entry.pipeline] = None
    return list(found)


def _forget(picture: Path, pipelines: list[Pipeline], cache: EmbeddingCache) -> int:
    try:
        pixels = images.read(picture)
    except LikenessError:
        return 0
    found = [path for p in pipelines if (path := cache.path(cache_key(pixels, p))).is_file()]
    for path in found:
        delete_file(path)
    return len(found)
