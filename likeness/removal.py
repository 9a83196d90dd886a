"""Taking things away from a library: a reference, a whole character; and making a second one of it.

Embeddings are biometric data, so what is deleted for good is deleted wherever Likeness has put it: in the character,
in the trash, and in the cache of analysed pictures.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from . import images
from .archive import FOLDERS
from .character import FACES, IDENTITY, read_faces, write_faces
from .errors import LibraryError, LikenessError
from .faces.cache import EmbeddingCache, cache_key
from .faces.face import Pipeline
from .files import atomic_write, delete_file, delete_folder, make_folder, move_entry, read_limited
from .library import PROFILE, TRASH, Library
from .paths import inside, slug_of
from .profile import Profile
from .profile_toml import emit

_SUFFIX = ".safetensors"


def duplicate(library: Library, slug: str, name: str) -> Profile:
    """A second character of that name with everything that the first has. LibraryError when the name is taken."""
    new = slug_of(name)
    with library.lock(slug):
        profile, folder = library.get(slug).model_copy(update={"name": name, "slug": new}), library.folder(slug)
        text = emit(profile)
        if new == slug:
            raise LibraryError(f"A character {slug!r} exists already: choose another name.")
        with library.new_folder(new) as copy:
            for path in (p for part in FOLDERS for p in sorted((folder / part).rglob("*")) if p.is_file()):
                relative = path.relative_to(folder).as_posix()
                atomic_write(inside(copy, relative), read_limited(inside(folder, relative), images.MAX_BYTES))
            atomic_write(copy / PROFILE, text)
    return profile


def remove_reference(library: Library, slug: str, file: str, *, for_good: bool = False) -> Profile:
    """The character without one reference, its face, and what was compiled with it.

    The picture goes to the library's trash, or is deleted. LibraryError where it is not one of the references.
    """
    with library.lock(slug):
        profile, folder = library.get(slug), library.folder(slug)
        kept = tuple(r for r in profile.references if r.file != file)
        if len(kept) == len(profile.references):
            raise LibraryError(f"{profile.name} has no reference {file!r} any more: look again.")
        changed = profile.model_copy(update={"references": kept})
        atomic_write(folder / PROFILE, emit(changed))
        _forget_faces(folder, changed)
        for path in (folder / IDENTITY).glob(f"*{_SUFFIX}"):
            delete_file(path)
        picture = inside(folder, file)
        if for_good:
            delete_file(picture)
        elif picture.is_file():
            trash = make_folder(folder.parent / TRASH / f"{slug}-references")
            move_entry(picture, _free(trash, picture))
    return changed


def _free(folder: Path, picture: Path) -> Path:
    names = (f"{picture.stem}{'' if n == 0 else f'-{n}'}{picture.suffix}" for n in range(100_000))
    return next(folder / name for name in names if not (folder / name).exists())


def _forget_faces(folder: Path, profile: Profile) -> None:
    """Write the stored faces of every face model again, without those of references that are gone."""
    for path in (folder / FACES).glob(f"*{_SUFFIX}"):
        stored = read_faces(folder, path.stem)
        if stored is None or not profile.references:
            delete_file(path)
        else:
            write_faces(folder, stored.pipeline, profile.references, dict(stored.named))


def delete_for_good(library: Library, slug: str, cache: EmbeddingCache) -> int:
    """Delete a character, its trash and what the cache knows of its pictures; returns how many entries that were.

    Pictures elsewhere, such as those that were given when it was made, stay. LibraryError where there is none.
    """
    with library.lock(slug):
        if not library.exists(slug):
            raise LibraryError(f"There is no character {slug!r} to delete.")
        folder = library.folder(slug)
        old = [p for p in (folder.parent / TRASH).glob(f"{slug}-*") if _is_trash_of(p.name, slug)]
        forgotten = _forget_cached([folder, *old], cache)
        for place in (*old, folder):
            delete_folder(place)
    return forgotten


def _is_trash_of(name: str, slug: str) -> bool:
    """ "ada-20260101-120000" and "ada-references" are of "ada"; "ada-two-20260101-120000" is not."""
    rest = name.removeprefix(f"{slug}-")
    return rest == "references" or rest[:8].isdigit()


def _forget_cached(folders: list[Path], cache: EmbeddingCache) -> int:
    """Every picture below the folders, under every face model that has seen one of them."""
    stored = [read_faces(f, path.stem) for f in folders for path in (f / FACES).glob(f"*{_SUFFIX}")]
    pipelines = list(dict.fromkeys(p.pipeline for p in stored if p is not None))
    pictures = [p for f in folders for p in sorted(f.rglob("*")) if p.suffix.lower() in images.SUFFIXES]
    return sum(_forget(picture, pipelines, cache) for picture in pictures if picture.is_file())


def _forget(picture: Path, pipelines: list[Pipeline], cache: EmbeddingCache) -> int:
    try:
        pixels = images.read(picture)
    except LikenessError:
        return 0
    found = [path for p in pipelines if (path := cache.path(cache_key(pixels, p))).is_file()]
    for path in found:
        delete_file(path)
    return len(found)


def drop_crops(library: Library, slug: str) -> int:
    """Keep only the vectors of a character's faces; returns how many pictures of faces were dropped.

    FaceID Plus and Plus V2 need the pictures, so they analyse the references again.
    """
    dropped = 0
    with library.lock(slug):
        folder, references = library.folder(slug), library.get(slug).references
        for path in (folder / FACES).glob(f"*{_SUFFIX}"):
            stored = read_faces(folder, path.stem)
            if stored is not None:
                bare = {name: replace(face, crop=None) for name, face in stored.named}
                dropped += sum(face.crop is not None for _, face in stored.named)
                write_faces(folder, stored.pipeline, references, bare)
    return dropped
