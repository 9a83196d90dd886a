"""Builds `sample/`: the character that `likeness demo` uses, where no face model can be had.

    python tools/build_sample.py

The pictures are drawn by draw_sample.py. The face boxes and keypoints are what a real detector (SCRFD
det_500m at 640 px) finds in them, written down here as numbers. The embeddings are made up: seeded unit
vectors, .6 alike within a person and unrelated between people, because no face model may be shipped.
The pipeline is named "likeness-sample", so nothing takes them for a real model's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from draw_sample import draw

from likeness import images
from likeness.character import write_faces
from likeness.faces.align import TEMPLATE_SIZE, align
from likeness.faces.cache import EmbeddingCache
from likeness.faces.face import CROP_SIZE, EMBEDDING_DIM, Face, Pipeline, Vector, normalise
from likeness.faces.measure import pose_of, quality_of
from likeness.files import atomic_write
from likeness.profile import Profile, Reference
from likeness.profile_toml import emit

SAMPLE = Path(__file__).resolve().parents[1] / "sample"
SLUG = "mara_voss"
REFERENCES = ("mara_voss_1_front", "mara_voss_2_left", "mara_voss_3_right", "mara_voss_5_evening")
OTHERS = ("mara_voss_4_smile", "tomas_reed")  # to be scored
NAME = "likeness-sample"
NORM = 22.0  # L2 norm of a raw embedding as ArcFace gives it
SPREAD = 0.8  # cosine within a person = 1 / (1 + SPREAD^2) = .61

# picture: (box left, top, right, bottom), five keypoints, detector score
FOUND = {
    "mara_voss_1_front": ((151, 120, 360, 393), ((209, 215), (303, 216), (255, 273), (216, 319), (291, 320)), 0.811),
    "mara_voss_2_left": ((136, 112, 344, 389), ((175, 210), (269, 212), (208, 262), (181, 312), (258, 314)), 0.763),
    "mara_voss_3_right": ((164, 115, 377, 391), ((246, 213), (340, 216), (308, 269), (252, 317), (327, 320)), 0.777),
    "mara_voss_4_smile": ((154, 120, 367, 392), ((218, 216), (313, 215), (271, 273), (222, 312), (308, 311)), 0.806),
    "mara_voss_5_evening": ((149, 123, 354, 393), ((198, 215), (294, 217), (242, 271), (207, 320), (282, 322)), 0.794),
    "tomas_reed": ((150, 107, 358, 405), ((207, 213), (305, 215), (256, 277), (216, 326), (293, 328)), 0.817),
}


def pipeline() -> Pipeline:
    """Named by what it is, so that its embeddings are never compared with a real recogniser's."""
    digest = hashlib.sha256(NAME.encode()).hexdigest()
    return Pipeline(pack=NAME, detector=digest, recogniser=digest)


def embedding(picture: str) -> Vector:
    """float32 [512], raw, by the person's and the picture's name."""
    person = _unit(picture.rsplit("_", 2)[0] if picture.startswith(SLUG) else picture)
    return (normalise(person + SPREAD * _unit(picture)) * np.float32(NORM)).astype(np.float32)


def _unit(text: str) -> Vector:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return normalise(np.random.default_rng(seed).standard_normal(EMBEDDING_DIM).astype(np.float32))


def face(picture: str, pixels: images.RGB8) -> Face:
    box, points, score = FOUND[picture]
    corners, keypoints = np.array(box, dtype=np.float32), np.array(points, dtype=np.float32)
    width = float(corners[2] - corners[0])
    return Face(
        box=corners,
        keypoints=keypoints,
        score=score,
        embedding=embedding(picture),
        crop=align(pixels, keypoints, CROP_SIZE),
        pose=pose_of(keypoints),
        quality=quality_of(align(pixels, keypoints, TEMPLATE_SIZE), corners, width, pixels.shape),
        rung="640",
    )


def build(out: Path) -> None:
    """Write the sample anew; the same bytes each time."""
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        drawn = {path.stem: images.read(path) for path in draw(Path(folder))}
    _character(out / "characters" / SLUG, {name: drawn[name] for name in REFERENCES})
    cache = EmbeddingCache(out / "cache")
    for name in OTHERS:
        atomic_write(out / "pictures" / f"{name}.png", images.encode_png(drawn[name]))
        cache.put(drawn[name], pipeline(), (face(name, drawn[name]),))


def _character(folder: Path, pictures: dict[str, images.RGB8]) -> None:
    files = {f"references/{n:03d}.png": name for n, name in enumerate(pictures, 1)}
    for file, name in files.items():
        atomic_write(folder / file, images.encode_png(pictures[name]))
        os.utime(folder / file, (0, 0))  # its time is kept beside the faces
    references = tuple(Reference(file=file) for file in files)
    write_faces(folder, pipeline(), references, {file: face(name, pictures[name]) for file, name in files.items()})
    profile = Profile(
        name="Mara Voss",
        slug=SLUG,
        trigger="maravoss",
        class_word="woman",
        description="chin-length red hair, green eyes, freckles, teal turtleneck",
        negative="glasses, hat",
        notes="The project's own drawing. Its embeddings are made up; they show the flow, not a likeness.",
        face_model=NAME,
        references=references,
    )
    atomic_write(folder / "profile.toml", emit(profile))


if __name__ == "__main__":
    build(SAMPLE)
