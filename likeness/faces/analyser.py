"""Picture -> faces, with InsightFace's model packs on onnxruntime."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, ModelMissingError
from ..images import RGB8
from . import ladder
from .align import TEMPLATE_SIZE, align, resize, seen_by
from .arcface import ArcFace
from .face import CROP_SIZE, EMBEDDING_DIM, Face, Pipeline, Vector, cosine, ordered
from .ladder import Sighting
from .measure import lower_half_blanked, pose_of, quality_of
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

    batchable: bool  # whether a face gets the same embedding in whatever company; known once it was opened

    def detect(self, image: RGB8, size: int) -> Detections: ...

    def side(self) -> int:
        """px of the square crop that the recogniser takes; a multiple of 112."""
        ...

    def embed(self, crops: NDArray[np.uint8]) -> Vector:
        """Aligned faces, uint8 [N, side, side, 3] -> float32 [N, dim], raw."""
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

    @property
    def engine(self) -> Engine:
        return self._engine

    def analyse(self, image: RGB8) -> tuple[Face, ...]:
        return self._faces(image, self.sight(image))

    def analyse_at(self, image: RGB8, det_size: int) -> tuple[Face, ...]:
        """The faces at one detector size, without the ladder: what InsightFace gives at that size."""
        check_picture(image)
        return self._faces(image, ladder.look_once(image, det_size, self._engine.detect))

    def _faces(self, image: RGB8, sightings: Sequence[Sighting]) -> tuple[Face, ...]:
        if not sightings:
            return ()
        return self.finish(image, sightings, self._engine.embed(self.crops(image, sightings)))

    def sight(self, image: RGB8) -> tuple[Sighting, ...]:
        """Step 1 of `analyse`: where the faces are, by the ladder."""
        check_picture(image)
        return ladder.find(image, self._pipeline.det_sizes, self._engine.detect)

    def crops(self, image: RGB8, sightings: Sequence[Sighting]) -> NDArray[np.uint8]:
        """Step 2: what the recogniser is shown of N > 0 faces, uint8 [2N, side, side, 3].

        First all faces as they are, then all with the lower half blanked (`Quality.lower`).
        """
        whole = [align(image, s.keypoints, self._engine.side()) for s in sightings]
        return np.stack([*whole, *(lower_half_blanked(crop) for crop in whole)])

    def finish(self, image: RGB8, sightings: Sequence[Sighting], embeddings: Vector) -> tuple[Face, ...]:
        """Step 3: the faces, ordered, from float32 [2N, dim]; those without a direction are left out."""
        if embeddings.shape[1:] != (self._pipeline.dim,):
            raise ModelMissingError(
                f"The recogniser of {self._pipeline.pack} gave {embeddings.shape[1:]} numbers per face where its file "
                f"promises {self._pipeline.dim}: use another pack."
            )
        whole, blanked = embeddings[: len(sightings)], embeddings[len(sightings) :]
        seen = zip(sightings, whole, blanked, strict=True)
        return ordered(describe(image, s, e, _lower(e, b)) for s, e, b in seen if np.isfinite(e).all() and e.any())

    def embed_aligned(self, crops: Sequence[RGB8]) -> Vector:
        """Faces in the 112 px template, uint8 [112, 112, 3] each -> float32 [N, dim], raw."""
        side = self._engine.side()
        return self._engine.embed(np.stack([resize(crop, side, side) for crop in crops]))


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
        self.batchable = False

    def detect(self, image: RGB8, size: int) -> Detections:
        with self._lock:
            if self._detector is None:
                path = self._pack.detector
                session = open_session(path, self._provider, model_file(path).sha256)
                self._detector = Scrfd(session, path.name, self._threshold)
        return self._detector.detect(image, size)

    def side(self) -> int:
        return self._opened().size

    def embed(self, crops: NDArray[np.uint8]) -> Vector:
        return self._opened().embed(crops)

    def _opened(self) -> ArcFace:
        with self._lock:
            if self._recogniser is None:
                path = self._pack.recogniser
                known = model_file(path)
                session = open_session(path, self._provider, known.sha256)
                self._recogniser = ArcFace(session, known.graph, path.name)
                self.providers, self.batchable = tuple(session.get_providers()), self._recogniser.batchable
        return self._recogniser


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


def _lower(whole: Vector, blanked: Vector) -> float | None:
    return cosine(whole, blanked) if np.isfinite(blanked).all() else None


def describe(image: RGB8, sighting: Sighting, embedding: Vector, lower: float | None = None) -> Face:
    """Everything that is kept about one face; `lower` as in `Quality`."""
    template = align(image, sighting.keypoints, TEMPLATE_SIZE)
    seen = seen_by(sighting.keypoints, image.shape)
    return Face(
        box=sighting.box,
        keypoints=sighting.keypoints,
        score=sighting.score,
        embedding=np.asarray(embedding, dtype=np.float32),
        crop=align(image, sighting.keypoints, CROP_SIZE),
        pose=pose_of(sighting.keypoints),
        quality=quality_of(template, sighting.box, sighting.width, image.shape, lower, seen),
        rung=sighting.rung,
    )


def check_picture(image: RGB8) -> None:
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) != 3 or shape[2] != 3 or 0 in shape or image.dtype != np.uint8:
        raise ImageError(f"a picture of shape {shape} is not 8-bit RGB [height, width, 3]: convert it first.")
