"""How alike two pictures of a character look, where a face encoder cannot tell: drawn characters.

`CcipLook` decides whether it is the same character. `EmbeddingLook` gives a number under its own name and decides
nothing: an image encoder sees hair, clothes and style, not who it is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from .ccip import Ccip
from .character import Character
from .errors import FaceError, LikenessError
from .faces.face import Face, Vector, cosine, normalise
from .faces.yunet import YuNet
from .images import RGB8, read
from .paths import inside
from .scoring import Look
from .style import ImageEmbedder, is_known

log = logging.getLogger(__name__)

HEAD = 3.0  # side of the square around head and shoulders, in longer sides of the face box
LOWER = 0.25  # the square's middle lies that much below the face's, in the same unit: shoulders, not sky
MAX_REFERENCES = 32  # the heaviest ones; a comparison costs the square of their number


def head_of(picture: RGB8, box: Vector | None) -> RGB8:
    """The square of head and shoulders around a face box [4], as far as it lies in the picture; without one, all."""
    if box is None:
        return picture
    left, top, right, bottom = (float(v) for v in box)
    unit = max(right - left, bottom - top)
    x, y = (left + right) / 2, (top + bottom) / 2 + LOWER * unit
    half, (height, width) = HEAD * unit / 2, picture.shape[:2]
    rows = slice(max(round(y - half), 0), min(round(y + half), height))
    columns = slice(max(round(x - half), 0), min(round(x + half), width))
    cut = picture[rows, columns]
    return np.ascontiguousarray(cut) if cut.size else picture


class _References:
    """A character's reference pictures, cut to the head, read when they are first needed."""

    def __init__(self, character: Character, yunet: Callable[[], YuNet] | None) -> None:
        self._character, self._find, self._lock = character, yunet, threading.Lock()
        self.notes: list[str] = []  # pictures that are missing, and more that is worth knowing; one sentence each

    def head(self, picture: RGB8, face: Face | None) -> RGB8:
        """By the face that was found, else by YuNet's best, else the whole picture."""
        if face is not None and face.area > 0:
            return head_of(picture, face.box)
        found = None if self._yunet is None else self._yunet.find(picture)
        return head_of(picture, found.boxes[0] if found is not None and len(found) else None)

    @cached_property
    def _yunet(self) -> YuNet | None:
        return None if self._find is None else self._find()

    def heads(self) -> list[RGB8]:
        """FaceError when no reference can be read."""
        folder, faces = self._character.folder, {r.file: r.face for r in self._character.faces}
        used = sorted((r for r in self._character.profile.references if r.weight > 0), key=lambda r: -r.weight)
        heads = []
        for reference in used[:MAX_REFERENCES] if folder is not None else ():
            try:
                picture = read(inside(folder, reference.file))
            except LikenessError as error:
                self.note(f"The look is compared without {reference.file}: {error}")
                continue
            heads.append(self.head(picture, faces.get(reference.file)))
        if not heads:
            raise FaceError(
                f"No reference picture of {self._character.slug!r} can be read, so looks cannot be compared."
            )
        return heads

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)
            log.warning("%s", sentence)

    def unknown(self, model: str) -> None:
        self.note(f"{model} gave no finite numbers for some pictures, so their look is not known: try another one.")

    def once(self, make: Callable[[list[RGB8]], Vector], kept: list[Vector]) -> Vector:
        """`make(heads)`, computed once and kept in `kept`."""
        with self._lock:
            if not kept:
                kept.append(make(self.heads()))
            return kept[0]


class CcipLook:
    """The median CCIP difference to the references.

    The median says what half of them say, which is the vote by which CCIP's authors sort pictures (waifuc's
    CCIPAction): one reference in another outfit cannot decide it, as it can with a mean or a minimum.
    """

    name = "CCIP difference"

    def __init__(self, character: Character, ccip: Ccip, yunet: Callable[[], YuNet] | None = None) -> None:
        self._references, self._ccip = _References(character, yunet), ccip
        self._kept: list[Vector] = []  # at most one: features [N, D] of the references

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._references.notes)

    def compare(self, picture: RGB8, face: Face | None) -> Look | None:
        """0 is equal; the same character up to the model's threshold. None where the model gave no numbers."""
        references = self._references.once(self._ccip.features, self._kept)
        features = self._ccip.features([self._references.head(picture, face)])
        told = self._ccip.differences(np.concatenate([features, references]))[0, 1:]
        known = told[np.isfinite(told)]
        if len(known) < len(told):
            self._references.unknown("CCIP")
        if not len(known):
            return None
        value = float(np.median(known))
        return Look(self.name, value, value <= self._ccip.threshold)


class EmbeddingLook:
    """The cosine to the mean of the references' heads under an image encoder. It decides nothing."""

    def __init__(self, character: Character, embedder: ImageEmbedder, yunet: Callable[[], YuNet] | None = None) -> None:
        self.name = f"look similarity ({embedder.name})"
        self._references, self._embedder = _References(character, yunet), embedder
        self._kept: list[Vector] = []  # at most one: the centroid [D]

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._references.notes)

    def compare(self, picture: RGB8, face: Face | None) -> Look | None:
        """None where the encoder gave no numbers for the picture or for any reference."""
        centroid = self._references.once(self._centroid, self._kept)
        (vector,) = self._embedder.embed([self._references.head(picture, face)])
        if is_known(vector) and is_known(centroid):
            return Look(self.name, cosine(vector, centroid), None)
        self._references.unknown(self._embedder.name)
        return None

    def _centroid(self, heads: Sequence[RGB8]) -> Vector:
        """Of the heads that the encoder has numbers for; NaN where there is none."""
        vectors = [self._embedder.embed([head])[0] for head in heads]
        known = [normalise(v) for v in vectors if is_known(v)]
        if len(known) < len(vectors):
            self._references.unknown(self._embedder.name)
        return normalise(np.mean(known, axis=0)) if known else np.full(1, np.nan, np.float32)


def look_for(
    character: Character,
    *,
    ccip: Ccip | None = None,
    embedder: ImageEmbedder | None = None,
    yunet: Callable[[], YuNet] | None = None,
) -> CcipLook | EmbeddingLook | None:
    """CCIP where it is installed, else the image encoder, else None. None too for a character without pictures.

    `yunet` opens the detector that finds a head where the face model saw none.
    """
    folder = character.folder
    if folder is None or not any(r.weight > 0 for r in character.profile.references):
        return None
    if ccip is not None:
        return CcipLook(character, ccip, yunet)
    return None if embedder is None else EmbeddingLook(character, embedder, yunet)
