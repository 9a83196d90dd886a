"""The `insightface` package as engine, where it is installed: the only module that imports it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelMissingError
from ..images import RGB8
from .analyser import DET_SIZES, DET_THRESHOLD, LadderAnalyser, pipeline_of
from .face import Vector
from .packs import FacePack
from .runtime import CPU, CUDA, PROVIDERS, runtime_state
from .scrfd import NOTHING, Detections

BACKEND = "insightface"  # Pipeline.backend


class InsightFaceAnalyser(LadderAnalyser):
    """Same ladder, same pack; detection, alignment and recognition by the package."""

    def __init__(
        self,
        pack: FacePack,
        provider: str = "auto",
        det_sizes: Sequence[int] = DET_SIZES,
        det_threshold: float = DET_THRESHOLD,
    ) -> None:
        engine = InsightFaceEngine(pack, provider, det_threshold)
        super().__init__(pipeline_of(pack, det_sizes, det_threshold, BACKEND), engine)


class InsightFaceEngine:
    """The package's own model classes on the two files of a pack; loaded with the first picture."""

    def __init__(self, pack: FacePack, provider: str, threshold: float) -> None:
        if provider not in PROVIDERS:
            raise ModelMissingError(f"There is no provider {provider!r}: choose one of {', '.join(PROVIDERS)}.")
        self._pack, self._threshold = pack, threshold
        self._providers = [CPU] if provider == "cpu" else None
        self._lock = threading.Lock()
        self._detector: Any = None
        self._recogniser: Any = None
        self.providers: tuple[str, ...] = ()
        self.batchable = False

    def detect(self, image: RGB8, size: int) -> Detections:
        self._load()
        # The size goes into the call: setting `input_size`, or a second prepare(), is ignored by some versions.
        boxes, keypoints = self._detector.detect(_bgr(image), input_size=(size, size))
        if len(boxes) == 0 or keypoints is None:
            return NOTHING
        return Detections(boxes[:, :4].astype(np.float32), keypoints.astype(np.float32), boxes[:, 4].astype(np.float32))

    def side(self) -> int:
        self._load()
        return int(self._recogniser.input_size[0])

    def embed(self, crops: NDArray[np.uint8]) -> Vector:
        self._load()
        return np.concatenate([self._recogniser.get_feat(_bgr(crop)) for crop in crops]).astype(np.float32)

    def _load(self) -> None:
        with self._lock:
            if self._recogniser is not None:
                return
            zoo = _model_zoo()
            providers = self._providers or [p for p in (CUDA, CPU) if p in runtime_state().providers]
            self._detector = zoo.get_model(str(self._pack.detector), providers=providers)
            self._detector.prepare(ctx_id=0, det_thresh=self._threshold)
            self._recogniser = zoo.get_model(str(self._pack.recogniser), providers=providers)
            self.providers = tuple(self._recogniser.session.get_providers())


def _model_zoo() -> Any:
    try:
        import insightface.model_zoo as model_zoo
    except ImportError as error:
        raise ModelMissingError(
            f"The backend 'insightface' needs the package of that name, which cannot be loaded ({error}): "
            "choose the backend 'likeness', which does not need it. Installing insightface beside "
            "onnxruntime-gpu takes CUDA away."
        ) from error
    return model_zoo


def _bgr(image: RGB8) -> RGB8:
    return np.ascontiguousarray(image[:, :, ::-1])
