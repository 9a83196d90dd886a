"""Handlers that change something, under the character's lock. The browser that asked sees how far they are, and every
browser is told that something has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from ..likeness import images
from ..likeness.archive import export_zip, import_zip
from ..likeness.calibration import calibrate, drawn_note, report, rivals_of, save_calibration
from ..likeness.character import open_character, with_encoder
from ..likeness.create import NamedImage, add_references, create_character, draft
from ..likeness.errors import LibraryError, LikenessError
from ..likeness.files import atomic_write, delete_file
from ..likeness.lora_versions import activate
from ..likeness.paths import contained
from ..likeness.removal import delete_for_good, duplicate, remove_reference
from ..likeness.settings import change_settings, read_settings
from .asked import Answer, Asked, Body
from .backend import Backend
from .uploads import input_file, taken

MOST_PICTURES = 100  # in one request
MOST_PIXELS = 400_000_000  # of them together, which are 1.2 GB in memory: 33 photos of 12 megapixels

Text = Annotated[str, StringConstraints(max_length=8000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=80)]
FileName = Annotated[str, StringConstraints(min_length=1, max_length=400)]
Pictures = Annotated[list[FileName], Field(min_length=1, max_length=MOST_PICTURES)]


class NewCharacter(Body):
    name: Name
    images: Pictures  # in ComfyUI's input folder, as its own /upload/image answers
    trigger: Text = ""
    class_word: Text = ""
    description: Text = ""
    negative: Text = ""


class MorePictures(Body):
    images: Pictures
    unlike: bool = False  # also faces that do not look like the character


class OneReference(Body):
    file: FileName  # as in the profile
    thumbnail: Annotated[str, StringConstraints(max_length=16)] = ""  # as the page has shown it; "" takes any picture
    for_good: bool | None = None  # what the user was asked; None: whatever the settings say


class Trash(Body):
    for_good: bool | None = None  # what the user was asked; None: whatever the settings say


class Named(Body):
    name: Name


class Version(Body):
    family: Name
    version: int = Field(ge=0, le=9999)


class Archive(Body):
    file: FileName  # in ComfyUI's input folder
    name: Annotated[str, StringConstraints(max_length=80)] = ""


class Nothing(Body):
    """An action that needs no more than its path."""


class SettingsChange(Body):
    face_model: str | None = None
    provider: str | None = None
    keep_crops: bool | None = None
    delete_for_good: bool | None = None


def create(backend: Backend, asked: Asked) -> Answer:
    """A character from pictures that were uploaded."""
    body = asked.read(NewCharacter)
    texts = {key: getattr(body, key) for key in ("trigger", "class_word", "description", "negative")}
    with taken(backend.input_folder(), body.images):
        profile, own = draft(body.name, **texts), read_settings(backend.settings_file())
        pictures, unreadable = _pictures(backend, body.images)
    step = _progress(backend, asked, "create", profile.slug, len(pictures))
    made = create_character(backend.library(), profile, pictures, backend.analyser(own.face_model), step)
    return _changed(backend, profile.slug, "\n".join([made.report(), *unreadable]))


def add(backend: Backend, asked: Asked) -> Answer:
    """More references for one."""
    body, library = asked.read(MorePictures), backend.library()
    with taken(backend.input_folder(), body.images):
        pictures, unreadable = _pictures(backend, body.images)
    engine = backend.analyser(library.get(asked.slug).face_model)
    step = _progress(backend, asked, "add", asked.slug, len(pictures))
    made = add_references(library, asked.slug, pictures, engine, step, unlike=body.unlike)
    return _changed(backend, asked.slug, "\n".join([made.report(), *unreadable]))


def remove(backend: Backend, asked: Asked) -> Answer:
    """A reference goes to the trash, or for good where the settings say so."""
    body = asked.read(OneReference)
    for_good = _for_good(backend, body.for_good)
    remove_reference(backend.library(), asked.slug, body.file, for_good=for_good, tag=body.thumbnail)
    how = "deleted" if for_good else "moved to the library's trash"
    return _changed(backend, asked.slug, f"{body.file} was {how}.")


def calibrate_one(backend: Backend, asked: Asked) -> Answer:
    """The accept band from the references and the library's other characters."""
    asked.read(Nothing)
    library = backend.library()
    opened = open_character(library, asked.slug, backend.analyser)
    engine = backend.analyser(opened.profile.face_model)
    rivals, problems = rivals_of(library, asked.slug, engine, _of(backend, asked, "calibrate"))
    measured = with_encoder(opened, engine)
    made = calibrate(measured, rivals)
    save_calibration(library, asked.slug, made)
    odd = [*measured.identity.advice(), *drawn_note(measured, engine)]
    return _changed(backend, asked.slug, "\n".join([report(made, opened.profile.name), *odd, *problems]))


def copy(backend: Backend, asked: Asked) -> Answer:
    made = duplicate(backend.library(), asked.slug, asked.read(Named).name)
    return _changed(backend, made.slug, f"{made.name} has everything that {asked.slug} has.")


def rename(backend: Backend, asked: Asked) -> Answer:
    made = backend.library().rename(asked.slug, asked.read(Named).name)
    return _changed(backend, made.slug, f"{asked.slug} is now called {made.slug}.")


def trash(backend: Backend, asked: Asked) -> Answer:
    """To the library's trash, or for good where the settings say so."""
    library = backend.library()
    if _for_good(backend, asked.read(Trash).for_good):
        count = delete_for_good(library, asked.slug, backend.cache())
        delete_file(_exported(backend, asked.slug))
        text = f"{asked.slug} was deleted, with {count} entries of the cache."
    else:
        place = library.folder(asked.slug)
        text = f"{asked.slug} was moved to {library.trash(asked.slug)}: move it back to {place} to restore it."
    return _changed(backend, asked.slug, text)


def _for_good(backend: Backend, agreed: bool | None) -> bool:
    """What the settings say. LibraryError where the user has agreed to the other."""
    for_good = read_settings(backend.settings_file()).delete_for_good
    if agreed not in (None, for_good):
        raise LibraryError("The setting whether to delete for good was changed meanwhile: ask again.")
    return for_good


def export(backend: Backend, asked: Asked) -> Answer:
    """A zip in ComfyUI's output folder, for its own /view to fetch."""
    asked.read(Nothing)
    path = _exported(backend, asked.slug)
    atomic_write(path, export_zip(backend.library(), asked.slug))
    text = "The archive holds embeddings, which identify a person: share it only with their consent."
    return {"filename": path.name, "subfolder": "likeness", "type": "output", "report": text}


def _exported(backend: Backend, slug: str) -> Path:
    return contained(backend.output_folder(), "likeness", f"{slug}.zip")


def import_one(backend: Backend, asked: Asked) -> Answer:
    body = asked.read(Archive)
    with taken(backend.input_folder(), [body.file]):
        made = import_zip(backend.library(), input_file(backend.input_folder(), body.file), body.name or None)
    return _changed(backend, made.slug, f"{made.name} was added.")


def use_version(backend: Backend, asked: Asked) -> Answer:
    """Draw with that LoRA version; 0 for none."""
    body = asked.read(Version)
    profile, family = activate(backend.library(), asked.slug, body.version, body.family)
    what = f"version {body.version}" if body.version else "no LoRA"
    return _changed(backend, asked.slug, f"{profile.name} is drawn with {what} on {family}.")


def change(backend: Backend, asked: Asked) -> Answer:
    """Settings; those that are left out stay."""
    values = asked.read(SettingsChange).model_dump(exclude_none=True)
    return change_settings(backend.settings_file(), values).model_dump()


def _pictures(backend: Backend, names: list[str]) -> tuple[list[NamedImage], list[str]]:
    """The pictures, and a sentence for each that cannot be read. LikenessError where none can."""
    found, problems, pixels = [], [], 0
    for name in names:
        try:
            found.append(NamedImage(name.rsplit("/", 1)[-1], images.read(input_file(backend.input_folder(), name))))
        except LikenessError as error:
            problems.append(str(error))
            continue
        pixels += found[-1].pixels.size // 3
        if pixels > MOST_PIXELS:
            raise LikenessError(
                f"The pictures have more than {MOST_PIXELS // 10**6} megapixels together: take the first "
                f"{len(found) - 1}, and add the others to the character afterwards."
            )
    if not found:
        raise LikenessError(" ".join(problems))
    return found, problems


def _progress(backend: Backend, asked: Asked, action: str, slug: str, total: int) -> Callable[[int], None]:
    event = {"action": action, "slug": slug, "of": total}
    return lambda done: backend.tell("likeness.progress", {**event, "done": done}, asked.client)


def _of(backend: Backend, asked: Asked, action: str) -> Callable[[int, int], None]:
    event = {"action": action, "slug": asked.slug}
    return lambda done, of: backend.tell("likeness.progress", {**event, "done": done, "of": of}, asked.client)


def _changed(backend: Backend, slug: str, text: str) -> Answer:
    backend.tell_all("likeness.changed")
    return {"slug": slug, "report": text}
