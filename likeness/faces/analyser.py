"""Picture -> faces, with InsightFace's model packs on onnxruntime."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..errors import ImageError, ModelMissingError
from ..images import RGB8
from . import ladder
from .align import TEMPLATE_SIZE, align
from .arcface import ArcFace
from .face import CROP_SIZE, EMBEDDING_DIM, Face, Pipeline, Vector, ordered
from .ladder import Sighting
from .measure import pose_of, quality_of
from .onnx_graph import model_file
from .packs import FacePack
from .runtime import open_session
from .scrfd import Detections, Scrfd

log = logging.getLogger(__name__)

DET_SIZES = (640, 256)  # px
DET_THRESHOLD = 0.5


class Engine(Protocol):
    """The two models of a pack, whatever runs them."""

    providers: tuple[str, ...]  # of the recogniser's session, best first; () while it is not open

    def detect(self, image: RGB8, size: int) -> Detections: ...

    def embed(self, image: RGB8, keypoints: Sequence[Vector]) -> Vector:
        """float32 [N, dim], raw, of N faces given by float32 [5, 2] points."""
        ...


class LadderAnalyser:
    """The `Analyser` of face.py on any engine: finds faces by the ladder, embeds and measures them."""

    def __init__(self, pipeline: Pipeline, engine: Engine) -> None:
        self._pipeline = pipeline
        self._engine = engine

    @property
    def pipeline(self) -> Pipeline:
        return self._pipeline

    @property
    def providers(self) -> tuple[str, ...]:
        """Of the recogniser's session, best first; () while it is not open."""
        return self._engine.providers

    def analyse(self, image: RGB8) -> tuple[Face, ...]:
        check_picture(image)
        return self._faces(image, ladder.find(image, self._pipeline.det_sizes, self._engine.detect))

    def analyse_at(self, image: RGB8, det_size: int) -> tuple[Face, ...]:
        """The faces at one detector size, without the ladder: what InsightFace gives at that size."""
        check_picture(image)
        return self._faces(image, ladder.look_once(image, det_size, self._engine.detect))

    def _faces(self, image: RGB8, sightings: Sequence[Sighting]) -> tuple[Face, ...]:
        if not sightings:
            return ()
        embeddings = self._engine.embed(image, [s.keypoints for s in sightings])
        if embeddings.shape[1:] != (self._pipeline.dim,):
            raise ModelMissingError(
                f"The recogniser of {self._pipeline.pack} gave {embeddings.shape[1:]} numbers per face where its file "
                f"promises {self._pipeline.dim}: use another pack."
            )
        sound = [(s, e) for s, e in zip(sightings, embeddings, strict=True) if np.isfinite(e).all() and e.any()]
        return ordered(describe(image, s, e) for s, e in sound)


class OnnxAnalyser(LadderAnalyser):
    """Runs a pack on onnxruntime; the models are opened with the first picture and kept.

    `provider` is "auto", "cpu" or "cuda"; `providers` says what was really obtained.
    """

    def __init__(
        self,
        pack: FacePack,
        provider: str = "auto",
        det_sizes: Sequence[int] = DET_SIZES,
        det_threshold: float = DET_THRESHOLD,
    ) -> None:
        super().__init__(pipeline_of(pack, det_sizes, det_threshold), OnnxEngine(pack, provider, det_threshold))


class OnnxEngine:
    """Detector and recogniser sessions, each opened when it is first needed."""

    def __init__(self, pack: FacePack, provider: str, threshold: float) -> None:
        self._pack, self._provider, self._threshold = pack, provider, threshold
        self._lock = threading.Lock()
        self._detector: Scrfd | None = None
        self._recogniser: ArcFace | None = None
        self.providers: tuple[str, ...] = ()

    def detect(self, image: RGB8, size: int) -> Detections:
        with self._lock:
            if self._detector is None:
                path = self._pack.detector
                session = open_session(path, self._provider, model_file(path).sha256)
                self._detector = Scrfd(session, path.name, self._threshold)
        return self._detector.detect(image, size)

    def embed(self, image: RGB8, keypoints: Sequence[Vector]) -> Vector:
        with self._lock:
            if self._recogniser is None:
                path = self._pack.recogniser
                known = model_file(path)
                session = open_session(path, self._provider, known.sha256)
                self._recogniser = ArcFace(session, known.graph, path.name)
                self.providers = tuple(session.get_providers())
        size = self._recogniser.size
        return self._recogniser.embed(np.stack([align(image, points, size) for points in keypoints]))


def pipeline_of(
    pack: FacePack,
    det_sizes: Sequence[int] = DET_SIZES,
    det_threshold: float = DET_THRESHOLD,
    backend: str = "likeness",
) -> Pipeline:
    """What decides the embeddings of a pack; reads and hashes the model files, opens no session."""
    recogniser = model_file(pack.recogniser)
    shape = recogniser.graph.outputs[0].shape if recogniser.graph.outputs else ()
    return Pipeline(
        pack=pack.name,
        detector=model_file(pack.detector).sha256,
        recogniser=recogniser.sha256,
        dim=(shape[-1] if shape else 0) or EMBEDDING_DIM,
        backend=backend,
        det_sizes=tuple(int(size) for size in det_sizes),
        det_threshold=float(det_threshold),
        ladder=ladder.VERSION,
    )


def describe(image: RGB8, sighting: Sighting, embedding: Vector) -> Face:
    """Everything that is kept about one face."""
    template = align(image, sighting.keypoints, TEMPLATE_SIZE)
    return Face(
        box=sighting.box,
        keypoints=sighting.keypoints,
        score=sighting.score,
        embedding=np.asarray(embedding, dtype=np.float32),
        crop=align(image, sighting.keypoints, CROP_SIZE),
        pose=pose_of(sighting.keypoints),
        quality=quality_of(template, sighting.box, sighting.width, image.shape),
        rung=sighting.rung,
    )


def check_picture(image: RGB8) -> None:
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) != 3 or shape[2] != 3 or 0 in shape or image.dtype != np.uint8:
        raise ImageError(f"a picture of shape {shape} is not 8-bit RGB [height, width, 3]: convert it first.")
