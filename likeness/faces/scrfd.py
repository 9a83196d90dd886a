"""SCRFD, InsightFace's face detector: picture -> boxes, five points, scores.

Follows insightface/model_zoo/scrfd.py (2.1), so that equal files and sizes give equal faces. Paper: Guo et
al., "Sample and Computation Redistribution for Efficient Face Detection", arXiv 2105.04714.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelMissingError
from ..images import RGB8
from .align import resize
from .runtime import Session

STRIDES = (8, 16, 32)  # px per cell of the three output levels
ANCHORS = 2  # guesses per cell
NMS_OVERLAP = 0.4  # intersection over union above which the weaker of two boxes goes
MEAN, STD = 127.5, 128.0  # of the detector's input; the recogniser divides by 127.5

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Detections:
    """Faces in one picture, best score first. N may be 0."""

    boxes: Floats  # [N, 4]: left, top, right, bottom; px
    keypoints: Floats  # [N, 5, 2]; px
    scores: Floats  # [N], 0..1

    def __len__(self) -> int:
        return len(self.scores)


NOTHING = Detections(np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32))


class Scrfd:
    """A detector session with what is needed around it."""

    def __init__(self, session: Session, name: str, threshold: float = 0.5) -> None:
        outputs = session.get_outputs()
        if len(outputs) != 3 * len(STRIDES):
            raise ModelMissingError(
                f"{name} is not a face detector that gives five points per face (it has {len(outputs)} outputs, "
                "not 9): use the detector of an InsightFace pack, for example det_10g.onnx or scrfd_10g_bnkps.onnx."
            )
        self._session = session
        self._threshold = threshold
        self._input = session.get_inputs()[0]
        self._outputs = [port.name for port in outputs]

    def detect(self, image: RGB8, size: int) -> Detections:
        """Faces of a picture that is shown to the model in `size` x `size` px (a multiple of 32)."""
        size = self._fixed_size() or size
        canvas, scale = letterbox(image, size)
        values = self._session.run(self._outputs, {self._input.name: blob(canvas[None], MEAN, STD)})
        return decode(values, size, scale, self._threshold)

    def _fixed_size(self) -> int:
        side = self._input.shape[2]
        return side if isinstance(side, int) and side > 0 else 0


def letterbox(image: RGB8, size: int) -> tuple[RGB8, float]:
    """The whole picture in the top left of a black square, uint8 [size, size, 3], and square px per picture px."""
    height, width = image.shape[:2]
    ratio = height / width
    new_height, new_width = (size, int(size / ratio)) if ratio > 1.0 else (int(size * ratio), size)
    new_height, new_width = max(new_height, 1), max(new_width, 1)
    canvas = np.zeros((size, size, 3), dtype=np.uint8)
    canvas[:new_height, :new_width] = resize(image, new_width, new_height)
    return canvas, new_height / height


def blob(images: NDArray[np.uint8], mean: float, std: float) -> Floats:
    """uint8 [N, H, W, 3] RGB -> float32 [N, 3, H, W], (value - mean) / std, as `cv2.dnn.blobFromImages` does it."""
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32)
    planes -= np.float32(mean)
    planes *= np.float32(1.0 / std)
    return planes


def decode(values: list[Floats], size: int, scale: float, threshold: float) -> Detections:
    """Model outputs (scores, boxes, points; three levels each) -> faces in picture px, overlaps removed."""
    levels = len(STRIDES)
    parts = []
    for level, stride in enumerate(STRIDES):
        scores, boxes, points = (values[level + k * levels].reshape(-1, n) for k, n in enumerate((1, 4, 10)))
        hits = np.flatnonzero(scores[:, 0] >= threshold)
        centres = _centres(size // stride, stride)[hits]
        box = boxes[hits] * stride
        corners = np.hstack([centres - box[:, :2], centres + box[:, 2:]])
        parts.append((scores[hits, 0], corners, centres[:, None, :] + points[hits].reshape(-1, 5, 2) * stride))
    scores, boxes, keypoints = (np.concatenate(p).astype(np.float32) for p in zip(*parts, strict=True))
    order = np.argsort(-scores, kind="stable")
    boxes, keypoints, scores = (
        boxes[order] / np.float32(scale),
        keypoints[order] / np.float32(scale),
        scores[order],
    )
    keep = suppress(boxes)
    return Detections(boxes[keep], keypoints[keep], scores[keep])


@lru_cache(maxsize=32)
def _centres(cells: int, stride: int) -> Floats:
    """float32 [cells * cells * 2, 2]: where each guess sits in the square, px; read-only by convention."""
    y, x = np.mgrid[:cells, :cells]
    grid = np.stack([x, y], axis=-1).reshape(-1, 1, 2) * np.float32(stride)
    return np.repeat(grid, ANCHORS, axis=1).reshape(-1, 2).astype(np.float32)


def suppress(boxes: Floats, overlap: float = NMS_OVERLAP) -> list[int]:
    """Indices to keep of boxes [N, 4] that come best first. Widths count one px more, as in InsightFace."""
    left, top, right, bottom = boxes.T
    areas = (right - left + 1) * (bottom - top + 1)
    rest, keep = np.arange(len(boxes)), []
    while len(rest):
        best, rest = rest[0], rest[1:]
        keep.append(int(best))
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest]) + 1
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest]) + 1
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        rest = rest[shared / (areas[best] + areas[rest] - shared) <= overlap]
    return keep
