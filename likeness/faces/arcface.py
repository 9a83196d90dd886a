"""ArcFace recognisers: aligned crops -> raw embeddings, as insightface/model_zoo/arcface_onnx.py does it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelMissingError
from .align import TEMPLATE_SIZE
from .face import Vector
from .onnx_graph import Graph
from .runtime import Session
from .scrfd import blob

MAX_BATCH = 32
MEAN, STD = 127.5, 127.5


class ArcFace:
    """A recogniser session with what is needed around it."""

    def __init__(self, session: Session, graph: Graph, name: str) -> None:
        self._session = session
        self._name = name
        self._input = session.get_inputs()[0]
        self._output = session.get_outputs()[0].name
        self.size = _side(self._input.shape, name)  # px of the square crop it takes
        self.mean, self.std = normalisation(graph)
        count = self._input.shape[0]
        self._fixed = isinstance(count, int) and count > 0
        self._batch = int(count) if self._fixed else 1 if graph.dynamic_int8 else MAX_BATCH
        self.batchable = self._batch > 1

    def embed(self, crops: NDArray[np.uint8]) -> Vector:
        """uint8 [N, size, size, 3] RGB -> float32 [N, dim], raw."""
        parts = [self._run(crops[start : start + self._batch]) for start in range(0, len(crops), self._batch)]
        return np.concatenate(parts).astype(np.float32) if parts else np.empty((0, 0), np.float32)

    def _run(self, crops: NDArray[np.uint8]) -> Vector:
        missing = self._batch - len(crops) if self._fixed else 0
        padded = np.concatenate([crops, np.repeat(crops[-1:], missing, axis=0)]) if missing > 0 else crops
        values = self._session.run([self._output], {self._input.name: blob(padded, self.mean, self.std)})[0]
        if values.ndim != 2 or len(values) != len(padded):
            raise ModelMissingError(
                f"{self._name} gave {values.shape} for {len(padded)} faces, so it is no face recogniser: "
                "use another pack."
            )
        return values[: len(crops)]


def normalisation(graph: Graph) -> tuple[float, float]:
    """(mean, std) of the input. Models converted from MXNet begin with their own subtraction and scaling.

    InsightFace's rule: among the first eight nodes one is named Sub... or _minus..., one Mul... or _mul....
    """
    subtracts = any(name.startswith(("Sub", "_minus")) for name in graph.node_names)
    scales = any(name.startswith(("Mul", "_mul")) for name in graph.node_names)
    return (0.0, 1.0) if subtracts and scales else (MEAN, STD)


def _side(shape: object, name: str) -> int:
    sizes = tuple(shape) if isinstance(shape, (list, tuple)) else ()
    side = sizes[2] if len(sizes) == 4 and sizes[2] == sizes[3] else 0
    if not isinstance(side, int) or side <= 0 or side % TEMPLATE_SIZE:
        raise ModelMissingError(
            f"{name} takes input {list(sizes)}, not square faces of {TEMPLATE_SIZE} px: use an ArcFace recogniser, "
            "for example w600k_r50.onnx or glintr100.onnx."
        )
    return side
