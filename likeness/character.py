"""A character as the rest of the program uses it: its profile, its folder, its faces.

    faces/<pack>.safetensors   the face of every reference under one face-model pack: raw embedding,
                               keypoints, quality and the aligned crop for the image encoder
    identity/                  compiled identities, written by the FaceID nodes

Opening one needs no face model as long as every reference has its face on disk.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from . import images
from .errors import FaceError, LikenessError, PathError, StorageError
from .faces.codec import MAX_BYTES, Packed, decode_faces, encode_faces
from .faces.face import Analyser, Face, Pipeline, choose
from .files import atomic_write, read_limited
from .identity import Identity, ReferenceFace, blend_faces, identity_of
from .library import PROFILE, Library
from .paths import inside, slug_of
from .profile import Profile, Reference
from .profile_toml import emit

log = logging.getLogger(__name__)

FACES, REFERENCES, IDENTITY = "faces", "references", "identity"
STAMPS = "pictures"  # in a faces file: reference -> [bytes, time in ns, sha256] of the picture it was computed from


@dataclass(frozen=True, repr=False)
class Character:
    """An open character. `faces` follows the profile's order of references."""

    profile: Profile
    folder: Path | None  # None for one that lies in no library: a blend, or an embedding from a file
    pipeline: Pipeline | None  # what made the faces; None when there are none; `recogniser` is "" where unknown
    faces: tuple[ReferenceFace, ...]
    problems: tuple[str, ...]  # references without a face, one sentence each
    notes: tuple[str, ...] = ()  # what to know of where the faces came from, one sentence each
    parts: tuple[Part, ...] = ()  # of a blend: whose faces these are, in the order of `faces`

    def __repr__(self) -> str:
        """Short, because ComfyUI shows it; a character's data is private."""
        return f"Character({self.profile.slug!r}, {len(self.faces)} faces)"

    @property
    def slug(self) -> str:
        return self.profile.slug

    @property
    def used(self) -> tuple[ReferenceFace, ...]:
        """The faces that shape the identity: those of a weight above 0."""
        return tuple(f for f in self.faces if f.weight > 0)

    @property
    def has_identity(self) -> bool:
        return bool(self.used)

    @property
    def has_crops(self) -> bool:
        """Whether every used face has a picture, stored or in its reference, for the image encoder of FaceID Plus."""
        return self.has_identity and all(f.face.crop is not None or self._has_picture(f) for f in self.used)

    def _has_picture(self, reference: ReferenceFace) -> bool:
        """Where only vectors are stored, a face is cut out of its reference again."""
        if self.folder is None or not reference.face.box.any():
            return False
        try:
            return inside(self.folder, reference.file).is_file()
        except LikenessError:
            return False

    @cached_property
    def identity(self) -> Identity:
        """FaceError when no reference has a face."""
        if not self.has_identity:
            raise FaceError(f"Character {self.slug!r} has no face embedding. " + " ".join(self.problems))
        made = identity_of(self.faces)
        return replace(made, outliers=()) if self.parts else made  # the people of a blend are meant to differ

    @cached_property
    def digest(self) -> str:
        """sha256, hex, of all that shapes a picture; equal digests draw equal pictures."""
        faces = self.identity.digest if self.has_identity else ""
        return hashlib.sha256(emit(self.profile) + faces.encode()).hexdigest()

    def reference_image(self) -> images.RGB8 | None:
        """The reference with the largest weight, the first among equals, that can be read; None when there is none."""
        if self.folder is None:
            return None
        for reference in sorted(self.profile.references, key=lambda r: -r.weight):
            try:
                return images.read(inside(self.folder, reference.file))
            except LikenessError as error:  # its face is kept and used all the same
                log.warning("%s", error)
        return None


@dataclass(frozen=True)
class Part:
    """One character of a blend."""

    character: Character  # never a blend itself
    share: float  # 0..1, above 0; the shares of a blend add up to 1


def lost_references(character: Character) -> list[str]:
    """References whose picture is gone; their faces are kept and used."""
    folder, references = character.folder, character.profile.references
    return [] if folder is None else [r.file for r in references if _stamp(inside(folder, r.file)) is None]


def state_digest(library: Library, slug: str) -> str:
    """sha256, hex, of the character as it lies on disk; cheap, and changes with an edit only.

    Pictures count by name and content; one that has kept its size and time is not read again.
    """
    folder, h = library.folder(slug), hashlib.sha256()
    for path in [folder / PROFILE, *sorted((folder / FACES).glob("*.safetensors"))]:
        try:
            h.update(path.name.encode() + b"\0" + hashlib.sha256(read_limited(path, MAX_BYTES)).digest())
        except StorageError:
            h.update(path.name.encode() + b"\0missing")
    for path in sorted((folder / REFERENCES).glob("*")):
        h.update(os.fsencode(path.name) + b"\0" + _content(path))
    return h.hexdigest()


def _content(path: Path) -> bytes:
    try:
        return _file_hash(path).encode()
    except StorageError:
        return b"unreadable"


def faces_path(folder: Path, pack: str) -> Path:
    return inside(folder, f"{FACES}/{slug_of(pack)}.safetensors")


def open_character(library: Library, slug: str, analyser: Callable[[str], Analyser] | None = None) -> Character:
    """Read a character. References that have no face on disk are analysed with `analyser(pack name)`.

    `analyser` is called only when one is missing. Without it, or when it fails, those references are
    named in `problems`. Faces that cannot be stored are used all the same.
    """
    profile, folder = library.get(slug), library.folder(slug)
    stored = read_faces(folder, profile.face_model)
    known = _still_true(folder, stored) if stored else {}
    missing = [r for r in profile.references if r.file not in known]
    pipeline = stored.pipeline if stored else None
    problems: list[str] = []
    if missing and analyser is not None:
        try:
            engine = analyser(profile.face_model)
            if pipeline is not None and pipeline.recogniser != engine.pipeline.recogniser:
                known, missing = {}, list(profile.references)
            found, problems = embed(folder, missing, engine, list(known.values()))
            known, pipeline = known | found, engine.pipeline
            if found:
                _keep(library, slug, pipeline, known)
        except LikenessError as error:
            problems.append(str(error))
    elif missing:
        problems = [f"{r.file} has no face embedding, or was replaced since." for r in missing]
    faces = tuple(
        ReferenceFace(r.file, r.weight, known[r.file], r.source) for r in profile.references if r.file in known
    )
    return Character(profile, folder, pipeline if faces else None, faces, tuple(problems))


def _still_true(folder: Path, stored: Packed) -> dict[str, Face]:
    """The stored faces whose picture was not replaced since."""
    try:
        stamps = json.loads(stored.extra.get(STAMPS, "{}"))
    except (ValueError, RecursionError):
        return {}
    return {file: face for file, face in stored.named if not _replaced(folder, file, stamps)}


def _replaced(folder: Path, file: str, stamps: Any) -> bool:
    """True when the picture is not the one its face was computed from. One that is gone has not been replaced."""
    try:
        path, known = inside(folder, file), stamps.get(file)
        now = _stamp(path)
        if now is None or known is None or now == known[:2]:
            return False
        return now[0] != known[0] or _file_hash(path) != known[2]  # a copied folder has other times
    except (LikenessError, AttributeError, TypeError, IndexError):
        return True


def _stamp(path: Path) -> list[int] | None:
    """Bytes and modification time in ns; None when there is no such file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _file_hash(path: Path) -> str:
    """sha256, hex; StorageError for a file that cannot be read."""
    size, time = _stamp(path) or (0, 0)
    return _hash_of(path, size, time)


@lru_cache(maxsize=4096)
def _hash_of(path: Path, _size: int, _mtime_ns: int) -> str:
    return hashlib.sha256(read_limited(path, images.MAX_BYTES)).hexdigest()


def _keep(library: Library, slug: str, pipeline: Pipeline, faces: Mapping[str, Face]) -> None:
    """Store faces beside those that another program has stored meanwhile."""
    with library.lock(slug):
        folder = library.folder(slug)
        merged = {**faces_by(folder, pipeline), **faces}
        write_faces(folder, pipeline, library.get(slug).references, merged, library.keeps_crops())


def faces_by(folder: Path, pipeline: Pipeline) -> dict[str, Face]:
    """The stored faces by reference, where they are by the same recogniser; else {}."""
    stored = read_faces(folder, pipeline.pack)
    return dict(stored.named) if stored and stored.pipeline.recogniser == pipeline.recogniser else {}


def read_faces(folder: Path, pack: str) -> Packed | None:
    """The stored faces; None when there are none or the file is damaged, which is logged.

    Without a `pack`, those of any.
    """
    any_pack = next(iter(sorted((folder / FACES).glob("*.safetensors"))), folder / FACES / "none")
    try:
        path = faces_path(folder, pack) if pack else any_pack
        if not path.is_file():
            return None
        packed = decode_faces(read_limited(path, MAX_BYTES))
    except (PathError, StorageError) as error:
        log.warning("%s The faces are computed again from the references.", error)
        return None
    if packed is None:
        log.warning("%s is damaged; the faces are computed again from the references.", path)
    return packed


def write_faces(
    folder: Path, pipeline: Pipeline, references: Sequence[Reference], faces: Mapping[str, Face], crops: bool = True
) -> None:
    """Store the faces of all references that have one; without `crops` only their vectors."""
    named = [(r.file, faces[r.file] if crops else faces[r.file].bare) for r in references if r.file in faces]
    paths = {file: inside(folder, file) for file, _ in named}
    stamps = {f: [*stamp, _file_hash(p)] for f, p in paths.items() if (stamp := _stamp(p)) is not None}
    data = encode_faces(named, pipeline, {STAMPS: json.dumps(stamps, sort_keys=True)})
    atomic_write(faces_path(folder, pipeline.pack), data)


def embed(
    folder: Path, references: Sequence[Reference], analyser: Analyser, known: Sequence[Face]
) -> tuple[dict[str, Face], list[str]]:
    """Faces of references by file, and a sentence for each picture that gave none."""
    found: dict[str, Face] = {}
    problems = []
    for r in references:
        try:
            faces = analyser.analyse(images.read(inside(folder, r.file)))
        except LikenessError as error:
            problems.append(str(error))
            continue
        so_far = [*known, *found.values()]
        anchor = identity_of([ReferenceFace("", 1.0, f) for f in so_far]).vector if so_far else None
        face = choose(faces, anchor)
        if face is None:
            problems.append(f"{r.file}: no face was found; choose a picture that shows the face.")
        else:
            found[r.file] = face
    return found, problems


def with_encoder(character: Character, analyser: Analyser) -> Character:
    """The character as `analyser` sees it, so that its embeddings can be compared with that analyser's.

    The faces on disk serve when they are by the same recogniser; else the references are analysed anew. An embedding
    from a file has no picture to analyse: FaceError when it is by another recogniser. One whose recogniser is unknown
    is taken as it is.
    """
    if character.pipeline is not None and character.pipeline.recogniser in (analyser.pipeline.recogniser, ""):
        return character
    if character.parts:
        parts = tuple(replace(p, character=with_encoder(p.character, analyser)) for p in character.parts)
        problems = tuple(problem for p in parts for problem in p.character.problems)
        return replace(
            character, pipeline=analyser.pipeline, faces=faces_of_parts(parts), problems=problems, parts=parts
        )
    if character.folder is None:
        raise FaceError(
            f"The face of {character.profile.name!r} came without a picture, from face model "
            f"{character.profile.face_model or 'unknown'}; {analyser.pipeline.pack} cannot see it. Choose that face "
            "model, or create the character from pictures."
        )
    found, problems = embed(character.folder, character.profile.references, analyser, [])
    faces = tuple(
        ReferenceFace(r.file, r.weight, found[r.file], r.source)
        for r in character.profile.references
        if r.file in found
    )
    return replace(character, pipeline=analyser.pipeline, faces=faces, problems=tuple(problems))


def faces_of_parts(parts: Sequence[Part]) -> tuple[ReferenceFace, ...]:
    """The faces of a blend, named "<slug>/<reference>". FaceError for a part without a face."""
    for part in parts:
        _ = part.character.identity  # says which references gave none
    return blend_faces(
        [(p.share, [replace(f, file=f"{p.character.slug}/{f.file}") for f in p.character.used]) for p in parts]
    )
