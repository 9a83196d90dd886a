"""How well a frame keeps to a style or a background: cosines of image embeddings, the face left out.

Such a model (CLIP, SigLIP, DINO) tells how alike two pictures look as a whole. It says nothing about who is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .character import Character
from .errors import FaceError, LikenessError, ModelMissingError
from .faces.face import Face, Vector, cosine, normalise
from .faces.onnx_graph import Tensor, model_file
from .faces.runtime import Session, open_session
from .images import RGB8, SUFFIXES, read
from .paths import inside

STYLE_GOOD = 0.70  # a cosine from which a frame counts as of the same style and background
LEAST_BACKGROUND = 0.15  # share of a picture outside its faces' grown boxes below which there is nothing to compare
GROW = 0.5  # of a face box's sides, added on every side: its hair and chin are the person's too
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_SIZE = 224  # px, where the model leaves it open
_RECOGNISER = 112  # px, the input of the usual face recognisers and of no image encoder
_CHUNK = 8  # pictures in one pass
_PREFERRED = ("image_embeds", "image_embedding", "image_features", "pooler_output")  # names of one vector per picture

Floats = NDArray[np.float32]


class ImageEmbedder(Protocol):
    """An image encoder that gives one vector per picture."""

    name: str  # for people, e.g. the model's file name

    def embed(self, pictures: Sequence[RGB8]) -> Floats:
        """float32 [N, D], of any length each."""
        ...


@dataclass(frozen=True, repr=False)
class StyleMatch:
    """A style as the mean of its pictures under one image encoder."""

    name: str  # of the style, for people: a folder or a character
    embedder: ImageEmbedder
    centroid: Vector = field(repr=False)  # float32 [D], L2 norm 1
    pictures: int  # that it is the mean of
    notes: tuple[str, ...] = ()  # pictures left out, one sentence each

    def match(self, picture: RGB8, faces: Sequence[Face]) -> float | None:
        """Cosine, -1..1, of the frame without its faces; from `STYLE_GOOD` it keeps to the style. None where there is
        no background to compare (`LEAST_BACKGROUND`), and where the encoder gave no numbers."""
        return self.match_many([(picture, faces)])[0]

    def match_many(self, frames: Sequence[tuple[RGB8, Sequence[Face]]]) -> list[float | None]:
        """The same of many frames in one pass."""
        found = [background(picture, faces) for picture, faces in frames]
        seen = [picture for picture in found if picture is not None]
        vectors = iter(self.embedder.embed(seen) if seen else ())
        return [None if picture is None else self._match(next(vectors)) for picture in found]

    def _match(self, vector: Floats) -> float | None:
        return cosine(vector, self.centroid) if is_known(vector) else None


def is_known(values: Floats) -> bool:
    """False for NaN and infinity, which an encoder in half precision gives where its numbers do not suffice."""
    return bool(np.isfinite(values).all())


def without_faces(picture: RGB8, faces: Iterable[Face]) -> RGB8:
    """The picture with each face box, grown by half of its sides, in the mean colour of the rest.

    A flat colour, not a blur: what lies in the box then has no influence at all, so a match cannot rise because the
    same face is there. A picture that is nothing but faces becomes mid grey.
    """
    return _filled(picture, _hidden(picture, faces))


def background(picture: RGB8, faces: Iterable[Face]) -> RGB8 | None:
    """The same; None where less than `LEAST_BACKGROUND` of the picture is left, which would be one flat colour and
    like any other."""
    hidden = _hidden(picture, faces)
    return _filled(picture, hidden) if hidden.mean() <= 1 - LEAST_BACKGROUND else None


def _hidden(picture: RGB8, faces: Iterable[Face]) -> NDArray[np.bool_]:
    """bool [H, W]: what belongs to a face."""
    hidden = np.zeros(picture.shape[:2], dtype=bool)
    for face in faces:
        left, top, right, bottom = (float(v) for v in face.box)
        across, down = (right - left) * GROW, (bottom - top) * GROW
        rows = slice(max(int(top - down), 0), max(int(np.ceil(bottom + down)), 0))
        hidden[rows, max(int(left - across), 0) : max(int(np.ceil(right + across)), 0)] = True
    return hidden


def _filled(picture: RGB8, hidden: NDArray[np.bool_]) -> RGB8:
    if not hidden.any():
        return picture
    filled = picture.copy()
    filled[hidden] = np.rint(picture[~hidden].mean(axis=0)).astype(np.uint8) if not hidden.all() else 128
    return filled


def style_of(
    name: str,
    embedder: ImageEmbedder,
    frames: Iterable[Callable[[], tuple[RGB8, Sequence[Face]]]],
) -> StyleMatch:
    """The style of some pictures. `frames`: functions that read a picture and find its faces.

    A picture that cannot be read, that has no background to compare, or of which the encoder makes no numbers, is left
    out with a note. FaceError when none is left.
    """
    vectors: list[Vector] = []
    notes: list[str] = []
    bare = 0
    for load in frames:
        try:
            seen = background(*load())
        except LikenessError as error:
            notes.append(str(error))
            continue
        if seen is None:
            bare += 1
            continue
        (vector,) = embedder.embed([seen])
        if is_known(vector):
            vectors.append(normalise(vector))
        elif (sentence := f"{embedder.name} gave no finite numbers for some pictures of the style.") not in notes:
            notes.append(sentence)
    notes += [_no_background(bare)] if bare else []
    if not vectors:
        raise FaceError(f"There is no picture that shows the style {name!r}. " + " ".join(notes))
    return StyleMatch(name, embedder, normalise(np.mean(vectors, axis=0)), len(vectors), tuple(notes))


def _no_background(count: int) -> str:
    which = "1 picture of the style has" if count == 1 else f"{count} pictures of the style have"
    return f"{which} no background to compare: less than {100 * LEAST_BACKGROUND:.0f} % is left beside the face."


def style_of_character(character: Character, embedder: ImageEmbedder) -> StyleMatch:
    """The style of a character's references, without the faces that are stored with them."""
    folder, known = character.folder, {r.file: r.face for r in character.faces}
    if folder is None:
        raise FaceError(f"{character.profile.name!r} came without pictures, so it has no style: choose a folder.")

    def load(file: str) -> Callable[[], tuple[RGB8, Sequence[Face]]]:
        return lambda: (read(inside(folder, file)), [known[file]] if file in known else [])

    files = [r.file for r in character.profile.references if r.weight > 0]
    return style_of(character.profile.name, embedder, [load(file) for file in files])


def style_of_folder(folder: Path, embedder: ImageEmbedder, find: Callable[[RGB8], Sequence[Face]]) -> StyleMatch:
    """The style of the pictures in a folder; `find` gives the faces of each, for example `analyser.analyse`."""

    def load(path: Path) -> Callable[[], tuple[RGB8, Sequence[Face]]]:
        def now() -> tuple[RGB8, Sequence[Face]]:
            picture = read(path)
            return picture, find(picture)

        return now

    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    return style_of(folder.name, embedder, [load(path) for path in files])


class OnnxImageEmbedder:
    """Any image encoder in ONNX with one input [N, 3, S, S]; opened with the first picture."""

    def __init__(
        self,
        path: Path,
        provider: str = "auto",
        mean: tuple[float, float, float] = CLIP_MEAN,
        std: tuple[float, float, float] = CLIP_STD,
    ) -> None:
        """ModelMissingError for a file that is no such encoder."""
        self.name = path.stem
        known = model_file(path)
        shape = known.graph.inputs[0].shape if len(known.graph.inputs) == 1 else ()
        self._output = _one_vector(known.graph.outputs)
        if len(shape) != 4 or shape[1] not in (0, 3) or shape[2] != shape[3] or self._output is None:
            raise ModelMissingError(
                f"{path} is not an image encoder with one square input [N, 3, S, S] and one vector per picture: "
                "export the vision part of CLIP, SigLIP or DINO alone."
            )
        if shape[2] == _RECOGNISER:
            raise ModelMissingError(
                f"{path} is a face recogniser, since its input is {_RECOGNISER} px wide: give an image encoder, the "
                "vision part of CLIP, SigLIP or DINO."
            )
        self._size, self._at_once = shape[2] or _SIZE, shape[0] or _CHUNK
        self._path, self._provider, self._known = path, provider, known
        self._mean, self._std = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (mean, std))
        self._session: Session | None = None

    def embed(self, pictures: Sequence[RGB8]) -> Floats:
        session = self._opened()
        parts = []
        for start in range(0, len(pictures), self._at_once):
            chunk = list(pictures[start : start + self._at_once])
            spare = [chunk[-1]] * (self._at_once - len(chunk)) if self._known.graph.inputs[0].shape[0] else []
            pixels = np.stack([self._pixels(p) for p in [*chunk, *spare]])
            (found,) = session.run([self._output], {session.get_inputs()[0].name: pixels})
            vectors = found if found.ndim == 2 else found[:, 0]  # of tokens the first, the class token
            parts.append(np.asarray(vectors[: len(chunk)], dtype=np.float32))
        return np.concatenate(parts)

    def _pixels(self, picture: RGB8) -> Floats:
        """float32 [3, S, S]; squeezed, so that nothing of the frame is cut off."""
        small = Image.fromarray(picture).resize((self._size, self._size), Image.Resampling.BICUBIC)
        planes = np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
        return (planes - self._mean) / self._std

    def _opened(self) -> Session:
        if self._session is None:
            self._session = open_session(self._path, self._provider, self._known.sha256)
        return self._session


def _one_vector(outputs: Sequence[Tensor]) -> str | None:
    """The output that holds one vector per picture: by name, else the first matrix, else the first list of tokens."""
    named = [t.name for wanted in _PREFERRED for t in outputs if t.name == wanted]
    ranked = [t.name for rank in (2, 3) for t in outputs if len(t.shape) == rank]
    return next(iter([*named, *ranked]), None)
