"""Tells drawn faces from photographed ones: the domain gate.

To a recogniser of photos drawn faces look alike: two anime characters have a median cosine of .45, which for
photos would be one person. Two things give a drawn face away, and a logistic regression adds them up:

- it lies near the faces of `drawn_faces.py` in the recogniser's own space (a cosine), and
- its cheeks are smooth, its areas flat, its lines many, its eyes coloured (four numbers of the 224 px crop).

Fitted and measured on 309 photographed faces and 580 drawn ones in 18 styles, under three recognisers (512, 512
and 128 numbers), each time without the styles, photo sets and recogniser it is measured on. Area under the curve
for anime, manga, sprites, cartoons and dolls: .988, .985, .974 (the cosine alone .972, .976, .947; the crop alone
.922). Photos flagged: .6 %, 1.0 %, 1.9 %; blurred until barely measurable 4 to 7 %. Of different drawn characters
that these recognisers accept as one (most of them), 0 to 2 % of sprites, anime, manga, cartoons and dolls escape once
the references count too; of comics in realistic proportions 4 to 100 %, and painted, nearly photographic faces are
taken for photos.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..errors import LikenessError
from ..files import atomic_write, read_limited
from ..images import RGB8
from .drawn_faces import FACES_EACH, VERSION, drawn_faces
from .face import CROP_SIZE, Face, Pipeline, Vector, cosine, normalise

log = logging.getLogger(__name__)

THRESHOLD = 1.75  # log odds from which a face counts as drawn: 1 % of measurable photos lie above
MAX_LEAN = 3.0  # log odds that drawn references may add to a face of theirs
SURE_LEAN = 1.0  # log odds from which a character counts as drawn; two and more sprites give 2 to 6
CROWDING = 12.94  # weights of the sum: of the cosine,
PAINT = (-0.8887, -34.58, 7.436, 0.0741)  # of `paint`,
BIAS = 4.160  # and of every face
PAINT_ALONE, BIAS_ALONE = (-1.7075, -32.68, 8.679, 0.0897), 5.204  # where no recogniser can be asked
STEEP_MOST, TONES_MOST = 0.3, 40.0  # clean vector art lies far above; more of it is no evidence for a photo
_MAX_FILE = 64 * 1024  # bytes

Anchor = Callable[[], Vector | None]  # where a recogniser puts drawn faces, L2 norm 1; None where it cannot be asked


class Recogniser(Protocol):
    """An analyser that also embeds faces which are aligned already."""

    @property
    def pipeline(self) -> Pipeline: ...

    def embed_aligned(self, crops: Sequence[RGB8]) -> Vector:
        """Faces in the 112 px template, uint8 [112, 112, 3] each -> float32 [N, dim], raw."""
        ...


class DrawnGate:
    """Which faces are drawn, for one recogniser and, where its references are given, for one character."""

    def __init__(self, anchor: Anchor = lambda: None, references: Sequence[Face] = ()) -> None:
        self._find_anchor = anchor
        self._references = tuple(references)

    def for_references(self, references: Sequence[Face]) -> DrawnGate:
        """The gate for one character: what its references are, its pictures are likely to be."""
        return DrawnGate(lambda: self._anchor, references)

    @cached_property
    def _anchor(self) -> Vector | None:
        return self._find_anchor()

    @cached_property
    def lean(self) -> float:
        """Log odds, 0 to 3, that the references add to every face; 0 for photos and where none are given."""
        known = [odds for face in self._references if np.isfinite(odds := self.drawnness(face))]
        return float(np.clip(np.mean(known), 0.0, MAX_LEAN)) if known else 0.0

    @property
    def references_drawn(self) -> bool:
        """Whether the references show a drawn character, so that looks can say more than a face encoder."""
        return self.lean > SURE_LEAN

    def drawnness(self, face: Face) -> float:
        """Log odds that the face is drawn: 0 is even, photos lie near -2, sprites near 4; NaN without a crop."""
        if face.crop is None or face.crop.shape != (CROP_SIZE, CROP_SIZE, 3):
            return float("nan")
        seen = np.array(paint(face.crop))
        anchor = self._anchor
        if anchor is None or anchor.shape != face.embedding.shape:
            return float(seen @ PAINT_ALONE + BIAS_ALONE)
        return float(CROWDING * cosine(face.embedding, anchor) + seen @ PAINT + BIAS)

    def drawn(self, face: Face) -> bool:
        """False for a face without a crop, of which nothing can be said."""
        return self.drawnness(face) + self.lean > THRESHOLD


def paint(crop: RGB8) -> tuple[float, float, float, float]:
    """What an aligned crop, uint8 [224, 224, 3], shows of brush and pen, measured at 112 px.

    Log of (median step of grey between neighbours on the cheeks, in 1/255, + .5); share of all steps in the steepest
    5 % of pixels, 0 to .3; share of pixels whose steps are at most 8 % of the face's contrast, 0..1; spread of the
    colour differences around the eyes, 0..40 of 255.
    """
    half = crop.reshape(CROP_SIZE // 2, 2, CROP_SIZE // 2, 2, 3).mean(axis=(1, 3), dtype=np.float32)
    across, down = np.abs(np.diff(half, axis=1))[:-1], np.abs(np.diff(half, axis=0))[:, :-1]
    steps = np.sort(np.maximum(across, down).max(axis=2), axis=None)
    grey = half @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    cheeks, eyes = np.abs(np.diff(grey[58:88, 30:82], axis=1)), half[44:62, 28:84]
    contrast = grey[30:104, 20:92].std() + 4
    red, green, blue = eyes[..., 0], eyes[..., 1], eyes[..., 2]
    tones: NDArray[np.float32] = np.stack([red - green, (red + green) / 2 - blue])
    return (
        float(np.log(np.median(cheeks) + 0.5)),
        min(float(steps[-(len(steps) // 20) :].sum() / (steps.sum() + 1e-3)), STEEP_MOST),
        float((steps <= 0.08 * contrast).mean()),
        min(float(tones.std(axis=(1, 2)).mean()), TONES_MOST),
    )


def gate_for(analyser: object, folder: Path | None = None) -> DrawnGate:
    """The gate of an analyser's recogniser; nothing is computed before the first face.

    `folder`: where to keep what the recogniser makes of the drawn faces (twelve embeddings take .2 s with a small
    recogniser on a CPU, seconds with a ResNet100). An analyser that cannot embed an aligned face leaves `paint` alone.
    """
    recogniser = getattr(analyser, "inner", analyser)  # what a cache stands before
    if not hasattr(recogniser, "embed_aligned"):
        return DrawnGate()
    return DrawnGate(lambda: _anchor(recogniser, folder))


_anchors: dict[str, Vector] = {}  # recogniser's sha256 -> anchor; a few kB each


def _anchor(recogniser: Recogniser, folder: Path | None) -> Vector | None:
    """Kept in memory, else on disk, else made. None, with a line in the log, where the recogniser fails."""
    pipeline = recogniser.pipeline
    if pipeline.recogniser in _anchors:
        return _anchors[pipeline.recogniser]
    path = folder and folder / f"drawn-{VERSION}-{pipeline.recogniser}.safetensors"
    anchor = None if path is None else _read(path, pipeline.dim)
    try:
        if anchor is None:
            anchor = anchor_of(recogniser.embed_aligned)
            if path is not None:
                atomic_write(path, save({"anchor": anchor}))
    except LikenessError as error:
        log.warning("%s Drawn faces are told by their looks alone.", error)
    if anchor is not None:
        _anchors[pipeline.recogniser] = anchor
    return anchor


def anchor_of(embed: Callable[[Sequence[RGB8]], Vector]) -> Vector:
    """float32 [dim], L2 norm 1: the mean over ways of drawing of the mean of their embeddings, each normed."""
    embeddings = embed([crop for _, crop in drawn_faces()])
    normed = np.stack([normalise(e) for e in embeddings]).reshape(-1, FACES_EACH, embeddings.shape[1])
    return normalise(np.mean([normalise(m) for m in normed.mean(axis=1)], axis=0))


def _read(path: Path, dim: int) -> Vector | None:
    try:
        anchor = load(read_limited(path, _MAX_FILE))["anchor"]
    except (LikenessError, SafetensorError, KeyError, ValueError):
        return None
    sound = anchor.shape == (dim,) and anchor.dtype == np.float32 and abs(float(np.linalg.norm(anchor)) - 1) < 1e-3
    return anchor if sound else None
