"""Faces in and out: a character from a face file, and a face file from a character.

What leaves is one embedding, the character's identity, without names and pictures. It identifies a person all the same:
face files belong among the models, never where ComfyUI serves files from.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .character import Character
from .errors import BadNameError, FaceError, StorageError
from .face_file import MAX_BYTES, REACTOR_PACK, FaceFile, read_face_file, write_face, write_reactor
from .faces.face import EMBEDDING_DIM, Face, Pipeline, Pose, Quality, Vector
from .faces.measure import pose_of
from .faces.packs import FACEID_RECOGNISER, known_model
from .files import atomic_write, read_limited
from .identity import ReferenceFace, raw_length
from .paths import contained, slug_of
from .profile_toml import check

FORMATS = ("likeness", "reactor")
SUFFIX = ".safetensors"


def load_face(path: Path, name: str = "") -> Character:
    """The character in a face file; in memory, without pictures, so `folder` is None and faces have no crop.

    `name` defaults to the file's. FaceError or StorageError for a file that holds no usable face.
    """
    return character_of(read_face_file(path), name or path.stem)


def character_of(file: FaceFile, name: str) -> Character:
    """A character whose references are the file's embeddings, all of one weight."""
    shown = "".join(c for c in name if c.isprintable()).strip()[:80] or "Face"
    try:
        slug = slug_of(shown)
    except BadNameError:  # a name without a Latin letter, say
        slug = "face"
    profile = check({"name": shown, "slug": slug, "face_model": file.pack}, f"face file {shown!r}")
    pipeline = Pipeline(file.pack, file.detector, file.recogniser, backend="file")
    faces = tuple(ReferenceFace(f"embedding {i}", 1.0, _face(file, vector)) for i, vector in enumerate(file.vectors, 1))
    return Character(profile, None, pipeline, faces, (), file.notes)


def _face(file: FaceFile, embedding: Vector) -> Face:
    """What is not in the file is 0."""
    box = np.zeros(4, np.float32) if file.box is None else file.box
    keypoints = np.zeros((5, 2), np.float32) if file.keypoints is None else file.keypoints
    pose = Pose(0.0, 0.5, 0.0) if file.keypoints is None else pose_of(file.keypoints)
    quality = Quality(max(float(box[2] - box[0]), 0.0), 0.0, 0.0, 0.0)
    return Face(box, keypoints, file.score, embedding, None, pose, quality, "file")


def write_face_embedding(character: Character, normed: bool = False) -> bytes:
    """The character's identity in our own format, for `load_face` and for other programs.

    Raw (`embedding`, the references' mean length) or `normed` (`normed_embedding`, L2 norm 1); always normed where no
    raw embedding is known. FaceError for a character without a face, or of a recogniser with other than 512 numbers.
    """
    vector, pipeline, length = _identity(character)
    return write_face(vector if normed else vector * np.float32(length), normed or length == 1.0, pipeline)


def write_reactor_model(character: Character) -> bytes:
    """The character's identity as a face model for ReActor: `face_file.write_reactor` says what is in it.

    Box, keypoints and score are those of the reference with the largest weight. FaceError where the recogniser is known
    not to be buffalo_l's: ReActor's swap models would draw a stranger from its embeddings.
    """
    vector, pipeline, length = _identity(character)
    if not _fits_reactor(pipeline):
        raise FaceError(
            f"ReActor needs embeddings of {REACTOR_PACK}; {character.profile.name!r} was made with {pipeline.pack}. "
            f"Create the character with {REACTOR_PACK}."
        )
    shown = max(character.used, key=lambda f: f.weight).face
    return write_reactor(vector * np.float32(length), shown.box, shown.keypoints, shown.score, pipeline)


def _fits_reactor(pipeline: Pipeline) -> bool:
    """By the recogniser's file; one that was never published counts by its pack's name, an unknown one fits."""
    model = known_model(pipeline.recogniser)
    by_name = pipeline.pack == REACTOR_PACK or not pipeline.recogniser
    return by_name if model is None else model.name == FACEID_RECOGNISER


def _identity(character: Character) -> tuple[Vector, Pipeline, float]:
    """Unit vector, what made it, and the length of its raw embeddings, 1 where that is not known."""
    vector, pipeline = character.identity.vector, character.pipeline
    if pipeline is None or vector.shape != (EMBEDDING_DIM,):
        raise FaceError(
            f"The face of {character.profile.name!r} has {vector.size} numbers; face files hold {EMBEDDING_DIM}. "
            "Create the character with another face model, for example buffalo_l."
        )
    return vector, pipeline, raw_length(character.used)


def save_face(
    folder: Path, name: str, character: Character, form: str = FORMATS[0], normed: bool = False, replace: bool = False
) -> Path:
    """Write `<folder>/<slug of name>.safetensors` in one of `FORMATS`, and return where.

    StorageError when that file holds another face and `replace` is not set.
    """
    if form not in FORMATS:
        raise FaceError(f"{form!r} is no format of a face file: choose {' or '.join(FORMATS)}.")
    data = write_reactor_model(character) if form == "reactor" else write_face_embedding(character, normed)
    path = contained(folder, slug_of(name) + SUFFIX)
    same = path.exists() and read_limited(path, MAX_BYTES) == data
    if path.exists() and not same and not replace:
        raise StorageError(f"{path} exists and holds another face: choose another name, or replace that one.")
    if not same:
        atomic_write(path, data)
    return path
