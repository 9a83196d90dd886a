"""A character as one `.zip`, to keep or to give away.

An archive from somebody else is hostile until proven otherwise: every name is checked, nothing is
written outside a staging folder, and the character appears in the library whole or not at all.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from .errors import LibraryError, LikenessError
from .files import atomic_write, make_folder, move_folder, read_limited, staging_folder
from .library import PROFILE, Library
from .paths import check_relative, inside, slug_of
from .profile import Profile
from .profile_toml import MAX_BYTES, emit, parse

FOLDERS = ("references", "faces", "identity")  # what a character folder holds beside its profile
MAX_ENTRIES = 2_000
MAX_FILE = 128 * 1024 * 1024
MAX_TOTAL = 2 * 1024 * 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal characters give equal archives


def export_zip(library: Library, slug: str) -> bytes:
    """The character's folder as zip bytes: profile, references, faces and compiled identities."""
    with library.lock(slug):
        profile, folder = library.get(slug), library.folder(slug)
        files = sorted(p for name in FOLDERS for p in (folder / name).rglob("*") if p.is_file() and not p.is_symlink())
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo(f"{slug}/{PROFILE}", _EPOCH), emit(profile))
            for path in files:
                name = f"{slug}/{path.relative_to(folder).as_posix()}"
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), read_limited(path, MAX_FILE))
    return out.getvalue()


def import_zip(library: Library, path: Path, name: str | None = None) -> Profile:
    """Add the character in a zip file to the library, under `name` if one is given.

    LibraryError when the file is no character archive or its name is taken.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _checked_entries(archive, path.name)
            profile = parse(_read(archive, entries.pop(PROFILE)), f"{path.name}/{PROFILE}")
            if name:
                profile = profile.model_copy(update={"name": name, "slug": slug_of(name)})
            _unpack(library, profile, archive, entries)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise LibraryError(f"{path.name}: not a readable zip file ({error}): export or download it again.") from error
    return profile


def _checked_entries(archive: zipfile.ZipFile, source: str) -> dict[str, zipfile.ZipInfo]:
    """Entries by their path inside the character's folder; the archive's own top folder is dropped."""
    infos = [i for i in archive.infolist() if not i.is_dir()]
    if len(infos) > MAX_ENTRIES or sum(i.file_size for i in infos) > MAX_TOTAL:
        raise LibraryError(f"{source}: more than {MAX_ENTRIES} files or {MAX_TOTAL >> 30} GB: not a character archive.")
    profiles = sorted((i.filename for i in infos if i.filename.rpartition("/")[2] == PROFILE), key=len)
    if not profiles:
        raise LibraryError(f"{source}: holds no {PROFILE}, so it is not a character: export one with Likeness.")
    top, entries = profiles[0][: -len(PROFILE)], {}
    for info in infos:
        relative = info.filename.removeprefix(top)
        if info.filename == relative and top or (relative != PROFILE and relative.split("/")[0] not in FOLDERS):
            continue  # somebody's notes beside the character; not ours to place
        entries[_checked_name(relative, info, source)] = info
    return entries


def _checked_name(relative: str, info: zipfile.ZipInfo, source: str) -> str:
    if (info.external_attr >> 16) & 0o170000 == 0o120000:
        raise LibraryError(f"{source}: {info.filename!r} is a link; a character archive holds only files.")
    try:
        return check_relative(relative)
    except LikenessError as error:
        raise LibraryError(f"{source}: {error}") from error


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    limit = MAX_BYTES if info.filename.endswith(PROFILE) else MAX_FILE
    with archive.open(info) as f:
        data = f.read(limit + 1)
    if len(data) > limit:
        raise LibraryError(f"{info.filename}: larger than {limit:,} bytes, so it is not what it should be.")
    return data


def _unpack(library: Library, profile: Profile, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> None:
    with library.lock(profile.slug):
        target = library.folder(profile.slug)
        if target.exists():
            raise LibraryError(f"A character {profile.slug!r} exists already: import it under another name.")
        with staging_folder(make_folder(target.parent)) as stage:
            folder = make_folder(stage / profile.slug)
            for relative, info in entries.items():
                atomic_write(inside(folder, relative), _read(archive, info))
            atomic_write(folder / PROFILE, emit(profile))
            move_folder(folder, target)
