"""Pictures -> character, and more pictures -> the same character.

Every picture is analysed before anything is written, and the profile is written last: a run that
fails or is killed leaves the character as it was.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import images
from .calibration import stale_for
from .character import REFERENCES, Character, faces_by, open_character, with_encoder, write_faces
from .errors import FaceError, LikenessError, quoted
from .faces.drawn import gate_for
from .faces.face import Analyser, Face, Vector, choose, cosine
from .files import atomic_write, delete_file
from .identity import OUTLIER, weighted_mean
from .library import PROFILE, Library
from .paths import inside, slug_of
from .profile import Profile, Reference
from .profile_toml import check, emit

log = logging.getLogger(__name__)

Progress = Callable[[int], None]
_DRAWN = (
    "The references look drawn, and {} was trained on photos, to which drawn faces look alike: the face steers weakly, "
    "and its pictures can be scored by CCIP alone, whose files the README names."
)


@dataclass(frozen=True)
class NamedImage:
    """A picture and what the user calls it."""

    name: str
    pixels: images.RGB8


@dataclass(frozen=True)
class Creation:
    """What became of the pictures."""

    character: Character
    added: tuple[str, ...]  # files in the character's folder
    notes: tuple[str, ...]  # skipped pictures, several faces, outliers: one sentence each

    def report(self) -> str:
        """For people: what was added, then the notes, a line each."""
        profile = self.character.profile
        head = f"{profile.name} ({profile.slug}): {len(self.added)} picture(s) added, {len(profile.references)} in all"
        return "\n".join([head, *self.notes])


@dataclass
class _Chosen:
    image: NamedImage
    face: Face
    faces: int


@dataclass
class _Selection:
    chosen: list[_Chosen] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def create_character(
    library: Library,
    draft: Profile,
    pictures: Sequence[NamedImage],
    analyser: Analyser,
    progress: Progress = lambda done: None,
) -> Creation:
    """A new character from `draft` and its pictures.

    LibraryError when the name is taken, FaceError when no picture shows a face; nothing is written then.
    """
    library.check_free(draft.slug)
    library.sweep()
    selection = _select(pictures, analyser, None, set(), progress)
    if not selection.chosen:
        raise FaceError("No picture shows a face, so no character was made. " + " ".join(selection.notes))
    with library.new_folder(draft.slug) as folder:
        added = _write(folder, draft, selection, analyser, {}, library.keeps_crops())
    return _created(library, draft.slug, added, selection, analyser)


def add_references(
    library: Library,
    slug: str,
    pictures: Sequence[NamedImage],
    analyser: Analyser,
    progress: Progress = lambda done: None,
    unlike: bool = False,
) -> Creation:
    """More pictures for a character. Those it has already are left out; none usable is no error.

    A face less alike than `identity.OUTLIER` to the character is left out too, unless `unlike` is set: several
    pictures of one other person would vouch for one another.
    """
    character = with_encoder(open_character(library, slug, lambda pack: analyser), analyser)
    known = set(_known_pictures(character))
    identity = character.identity.vector if character.has_identity else None
    selection = _select(pictures, analyser, identity, known, progress)
    if identity is not None and not unlike:
        selection = _without_strangers(selection, identity, character.profile.name)
    if not selection.chosen:
        return Creation(character, (), tuple(selection.notes))
    with library.lock(slug):
        faces = {f.file: f.face for f in character.faces}
        added = _write(library.folder(slug), library.get(slug), selection, analyser, faces, library.keeps_crops())
    return _created(library, slug, added, selection, analyser)


def _known_pictures(character: Character) -> Iterator[str]:
    folder = character.folder
    for reference in character.profile.references if folder is not None else ():
        try:
            yield _pixel_hash(images.read(inside(folder, reference.file)))
        except LikenessError as error:  # a lost picture does not keep others out
            log.warning("%s", error)


def _select(
    pictures: Sequence[NamedImage], analyser: Analyser, identity: Vector | None, known: set[str], progress: Progress
) -> _Selection:
    selection, found = _Selection(), []
    for done, picture in enumerate(pictures, 1):
        if (key := _pixel_hash(picture.pixels)) in known:
            selection.notes.append(f"{picture.name}: the character has this picture already.")
        else:
            known.add(key)
            found.append((picture, analyser.analyse(picture.pixels)))
        progress(done)
    for picture, faces in found:
        anchor = identity if identity is not None else _anchor([f for _, f in found], selection.chosen)
        face = choose(faces, anchor)
        if face is None:
            selection.notes.append(f"{picture.name}: no face was found, so it was left out.")
            continue
        selection.chosen.append(_Chosen(picture, face, len(faces)))
        if len(faces) > 1:
            selection.notes.append(_several(picture.name, face, len(faces), anchor))
    return selection


def _without_strangers(selection: _Selection, identity: Vector, name: str) -> _Selection:
    kept, notes = [], list(selection.notes)
    for chosen in selection.chosen:
        alike = cosine(chosen.face.embedding, identity)
        if alike >= OUTLIER:
            kept.append(chosen)
        else:
            notes.append(
                f"{chosen.image.name}: does not look like {name} (similarity {alike:.2f}, below {OUTLIER:.2f}), "
                "so it was left out. Add it even if unlike when it does show this character."
            )
    return _Selection(kept, notes)


def _anchor(found: Sequence[Sequence[Face]], chosen: Sequence[_Chosen]) -> Vector | None:
    """Who is meant, where a picture shows several faces: whom the pictures with one face show."""
    alone = [faces[0].normed for faces in found if len(faces) == 1] or [c.face.normed for c in chosen]
    return weighted_mean(alone, [1.0] * len(alone)) if alone else None


def _several(name: str, face: Face, count: int, anchor: Vector | None) -> str:
    if anchor is None:
        return f"{name}: {count} faces; the largest was taken. Crop the picture if that is somebody else."
    alike = cosine(face.embedding, anchor)
    return f"{name}: {count} faces; the one most like the other pictures was taken (similarity {alike:.2f})."


def _pixel_hash(pixels: images.RGB8) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _write(
    folder: Path, profile: Profile, selection: _Selection, analyser: Analyser, known: Mapping[str, Face], crops: bool
) -> tuple[str, ...]:
    """Pictures, faces and then the profile into `folder`; returns the new files.

    `known` are the faces of the references it has, by the same recogniser.
    """
    pipeline = analyser.pipeline
    files = _free_names(folder, profile, len(selection.chosen))
    references = (
        *profile.references,
        *(_reference(f, c.image.name) for f, c in zip(files, selection.chosen, strict=True)),
    )
    changed = profile.model_copy(update={"references": references, "face_model": pipeline.pack})
    new = {f: c.face for f, c in zip(files, selection.chosen, strict=True)}
    text = emit(changed, folder / PROFILE)
    try:
        for file, chosen in zip(files, selection.chosen, strict=True):
            atomic_write(inside(folder, file), images.encode_png(chosen.image.pixels))
        write_faces(folder, pipeline, references, {**faces_by(folder, pipeline), **known, **new}, crops)
        atomic_write(folder / PROFILE, text)
    except LikenessError:
        for file in files:
            delete_file(inside(folder, file))
        raise
    return tuple(files)


def _reference(file: str, name: str) -> Reference:
    """Names of pictures are for people: whatever cannot stand in a profile is left out of them."""
    return Reference(file=file, source="".join(c for c in name if c.isprintable())[:60])


def _created(
    library: Library, slug: str, added: tuple[str, ...], selection: _Selection, analyser: Analyser
) -> Creation:
    character = open_character(library, slug)
    advice = character.identity.advice() if character.has_identity else list(character.problems)
    stale = [f"{c.face_model}: {why}" for c in character.profile.calibrations if (why := stale_for(c, character))]
    drawn = gate_for(analyser).for_references([f.face for f in character.used]).references_drawn
    notes = [_DRAWN.format(analyser.pipeline.pack)] if drawn else []
    return Creation(character, added, (*selection.notes, *advice, *stale, *notes))


def _free_names(folder: Path, profile: Profile, count: int) -> list[str]:
    """`references/001.png` and on, after the highest number in use on the disk or in the profile."""
    names = [p.name for p in (folder / REFERENCES).glob("*")]
    names += [r.file.removeprefix(f"{REFERENCES}/") for r in profile.references]
    used = [int(m[0]) for name in names if (m := re.match(r"\d{1,6}", name))]
    first = max(used, default=0) + 1
    return [f"{REFERENCES}/{n:03d}.png" for n in range(first, first + count)]


def draft(name: str, slug: str = "", **values: str) -> Profile:
    """A profile without references yet; BadNameError or ProfileError for bad texts."""
    return check({"name": name, "slug": slug or slug_of(name), **values}, f"character {quoted(name)}")
