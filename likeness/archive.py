"""A character as one `.zip`, to keep or to give away.

An archive from somebody else is hostile until proven otherwise: every name is checked, nothing is
written outside a staging folder, and the character appears in the library whole or not at all.
"""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from pathlib import Path

from .character import FACES, IDENTITY, REFERENCES
from .errors import LibraryError, LikenessError
from .faces.codec import without_crops
from .files import atomic_write, read_limited
from .library import PROFILE, Library
from .paths import check_relative, inside, slug_of
from .profile import Profile
from .profile_toml import MAX_BYTES, emit, parse

FOLDERS = (REFERENCES, FACES, IDENTITY)  # what a character folder holds beside its profile
MAX_ENTRIES = 2_000
MAX_FILE = 128 * 1024 * 1024
MAX_TOTAL = 2 * 1024 * 1024 * 1024
MAX_RATIO, FREE = 50, 64 * 1024 * 1024  # more than 64 MB may be 50 times the archive's own size; pictures do not shrink
_UNREADABLE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal characters give equal archives


def export_zip(library: Library, slug: str) -> bytes:
    """The character's folder as zip bytes: profile, references, faces and compiled identities."""
    with library.lock(slug):
        profile, folder = library.get(slug), library.folder(slug)
        files = sorted(p for name in FOLDERS for p in (folder / name).rglob("*") if belongs(p, folder))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo(f"{slug}/{PROFILE}", _EPOCH), emit(profile))
            for path in files:
                name = f"{slug}/{path.relative_to(folder).as_posix()}"
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), read_limited(path, MAX_FILE))
    return out.getvalue()


def belongs(path: Path, folder: Path) -> bool:
    """True for a file that an import would take back: no link, no stray temporary file, no `.DS_Store`."""
    try:
        return inside(folder, path.relative_to(folder).as_posix()) == path and path.is_file()
    except LikenessError:
        return False


def import_zip(library: Library, path: Path, name: str | None = None) -> Profile:
    """Add the character in a zip file to the library, under `name` if one is given.

    LibraryError when the file is no character archive or its name is taken.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _checked_entries(archive, path.name)
            profile = parse(_read(archive, entries.pop(PROFILE)), f"{path.name}/{PROFILE}")
            # Whoever made the archive is not the one who answers for it here.
            profile = profile.model_copy(update={"adult": False})
            if name:
                profile = profile.model_copy(update={"name": name, "slug": slug_of(name)})
            _unpack(library, profile, archive, entries)
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise LibraryError(f"{path.name}: not a readable zip file ({reason}): export or download it again.") from error
    return profile


def _checked_entries(archive: zipfile.ZipFile, source: str) -> dict[str, zipfile.ZipInfo]:
    """Entries by their path inside the character's folder; the archive's own top folder is dropped."""
    infos = [i for i in archive.infolist() if not i.is_dir()]
    _check_sizes(infos, source)
    for info in infos:
        _check_entry(info, source)
    profiles = sorted((i.filename for i in infos if i.filename.rpartition("/")[2] == PROFILE), key=len)
    if not profiles:
        raise LibraryError(f"{source}: holds no {PROFILE}, so it is not a character: export one with Likeness.")
    top, entries = profiles[0][: -len(PROFILE)], {}
    for info in infos:
        relative = info.filename.removeprefix(top)
        beside = bool(top) and info.filename == relative
        if beside or (relative != PROFILE and relative.split("/")[0] not in FOLDERS):
            continue  # somebody's notes beside the character; not ours to place
        entries[_checked_name(relative, source)] = info
    return entries


def _check_sizes(infos: list[zipfile.ZipInfo], source: str) -> None:
    total = sum(i.file_size for i in infos)
    if len(infos) > MAX_ENTRIES or total > MAX_TOTAL:
        raise LibraryError(f"{source}: more than {MAX_ENTRIES} files or {MAX_TOTAL >> 30} GB: not a character archive.")
    if total - FREE > MAX_RATIO * sum(i.compress_size for i in infos):
        raise LibraryError(f"{source}: would grow to {total:,} bytes: not a character archive.")
    names = [i.filename.casefold() for i in infos]
    if len(set(names)) < len(names):
        raise LibraryError(f"{source}: holds two files of one name: export the character again.")


def _check_entry(info: zipfile.ZipInfo, source: str) -> None:
    """Refuse the archive for an entry that could only be there to do harm, also beside the character."""
    name = info.orig_filename  # as written; `filename` ends at a NUL and may have its separators changed
    if (info.external_attr >> 16) & 0o170000 == 0o120000:
        raise LibraryError(f"{source}: {name!r} is a link; a character archive holds only files.")
    if name.startswith("/") or any(c in name for c in "\\:\0") or ".." in name.split("/"):
        raise LibraryError(f"{source}: {name!r} leaves the archive's own folder: not a character archive.")


def _checked_name(relative: str, source: str) -> str:
    try:
        return check_relative(relative)
    except LikenessError as error:
        raise LibraryError(f"{source}: {error}") from error


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    limit = MAX_BYTES if info.filename.endswith(PROFILE) else MAX_FILE
    if info.file_size > limit:
        raise LibraryError(f"{info.filename}: larger than {limit:,} bytes, so it is not what it should be.")
    with archive.open(info) as f:
        return f.read()


def _unpack(library: Library, profile: Profile, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> None:
    text = emit(profile)
    with library.new_folder(profile.slug) as folder:
        for relative, info in entries.items():
            place_file(library, folder, relative, _read(archive, info))
        atomic_write(folder / PROFILE, text)


def place_file(library: Library, folder: Path, relative: str, data: bytes) -> None:
    """A file of another character into a new one's folder: stored faces without their pictures, where the library
    keeps only vectors; those that cannot be read are left out then."""
    if relative.startswith(f"{FACES}/") and not library.keeps_crops():
        bare = without_crops(data)
        if bare is None:
            return
        data = bare
    atomic_write(inside(folder, relative), data)
