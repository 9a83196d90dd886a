"""YuNet, OpenCV's small face detector: picture -> boxes, five points, scores.

It sees drawn faces that SCRFD misses, and its licence (MIT) asks for nothing. Decoding follows OpenCV's
`FaceDetectorYNImpl::postProcess` (modules/objdetect/src/face_detect.cpp). Paper: Wu et al., "YuNet: A Tiny
Millisecond-level Face Detector", Machine Intelligence Research 2023.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelMissingError
from ..images import RGB8
from .align import resize
from .onnx_graph import Graph, model_file
from .runtime import Session, open_session
from .scrfd import NOTHING, Detections, Floats

STRIDES = (8, 16, 32)  # px per cell of the three output levels
OUTPUTS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES)
THRESHOLD = 0.6  # of the score, 0..1
NMS_OVERLAP = 0.3  # intersection over union above which the weaker of two boxes goes
SIZES = (640, 320, 160)  # px of the longer side, tried in turn: a face that fills the picture is missed when large


class YuNet:
    """A detector session with what is needed around it."""

    def __init__(self, session: Session, name: str, threshold: float = THRESHOLD) -> None:
        if not {port.name for port in session.get_outputs()} >= set(OUTPUTS):
            raise ModelMissingError(
                f"{name} is not a YuNet face detector (it lacks outputs such as cls_8): use "
                "face_detection_yunet_2023mar.onnx from OpenCV's model zoo."
            )
        self._session = session
        self._threshold = threshold
        self._input = session.get_inputs()[0]

    @staticmethod
    def open(path: Path, provider: str = "auto") -> YuNet:
        """Raises ModelMissingError."""
        return YuNet(open_session(path, provider, model_file(path).sha256), path.name)

    def find(self, image: RGB8) -> Detections:
        """Faces at the first of `SIZES` that shows one."""
        return next((found for size in SIZES if len(found := self.detect(image, size))), NOTHING)

    def detect(self, image: RGB8, size: int) -> Detections:
        """Faces of a picture whose longer side is shown to the model in `size` px (a multiple of 32)."""
        fixed = self._fixed_size()
        canvas, scale = _shown(image, min(size, fixed) if fixed else size, fixed or size)
        planes = np.ascontiguousarray(canvas[None, :, :, ::-1].transpose(0, 3, 1, 2)).astype(np.float32)  # BGR, 0..255
        values = self._session.run(list(OUTPUTS), {self._input.name: planes})
        return decode(values, len(canvas), scale, self._threshold)

    def _fixed_size(self) -> int:
        """px of a model that takes one size only, else 0."""
        side = self._input.shape[2]
        return side if isinstance(side, int) and side > 0 else 0


def _shown(image: RGB8, size: int, canvas_size: int) -> tuple[RGB8, NDArray[np.float64]]:
    """The picture in the top left of a black square, and square px per picture px across and down."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    across, down = max(round(width * scale), 1), max(round(height * scale), 1)
    canvas = np.zeros((canvas_size, canvas_size, 3), dtype=np.uint8)
    canvas[:down, :across] = resize(image, across, down)
    return canvas, np.array([across / width, down / height])


def decode(values: list[Floats], size: int, scale: NDArray[np.float64], threshold: float) -> Detections:
    """Model outputs in the order of `OUTPUTS` -> faces in picture px, best first, overlaps removed."""
    levels, parts = len(STRIDES), []
    for level, stride in enumerate(STRIDES):
        cls, obj, box, points = (
            np.asarray(values[level + k * levels]).reshape(-1, n) for k, n in enumerate((1, 1, 4, 10))
        )
        scores = np.sqrt(cls[:, 0].clip(0, 1) * obj[:, 0].clip(0, 1))
        hits = np.flatnonzero(scores >= threshold)
        cells = np.stack([hits % (size // stride), hits // (size // stride)], axis=1).astype(np.float32)
        centres, sides = (cells + box[hits, :2]) * stride, np.exp(box[hits, 2:]) * stride
        boxes = np.hstack([centres - sides / 2, sides])
        parts.append((scores[hits], boxes, (cells[:, None, :] + points[hits].reshape(-1, 5, 2)) * stride))
    scores, boxes, keypoints = (np.concatenate(p).astype(np.float32) for p in zip(*parts, strict=True))
    order = np.argsort(-scores, kind="stable")
    keep = order[suppress(boxes[order])]
    corners = np.hstack([boxes[keep, :2], boxes[keep, :2] + boxes[keep, 2:]]) / np.tile(scale, 2)
    return Detections(corners.astype(np.float32), (keypoints[keep] / scale).astype(np.float32), scores[keep])


def suppress(boxes: Floats, overlap: float = NMS_OVERLAP) -> list[int]:
    """Indices to keep of boxes [N, 4] (left, top, width, height) that come best first.

    In whole px, as OpenCV compares them (`dnn::NMSBoxes` on `Rect2i`).
    """
    left, top, width, height = boxes.astype(np.int64).T
    areas = width * height
    rest, keep = np.arange(len(boxes)), []
    while len(rest):
        best, rest = rest[0], rest[1:]
        keep.append(int(best))
        across = np.minimum(left[best] + width[best], (left + width)[rest]) - np.maximum(left[best], left[rest])
        down = np.minimum(top[best] + height[best], (top + height)[rest]) - np.maximum(top[best], top[rest])
        shared = across.clip(0) * down.clip(0)
        rest = rest[shared / (areas[best] + areas[rest] - shared) <= overlap]
    return keep


def find_yunet(own: Iterable[Path], face_folders: Iterable[Path] = ()) -> Path | None:
    """The first YuNet file: any of the `yunet` model folders, else one named so among the face models; None."""
    files = [path for folder in own for path in _onnx_files(folder)]
    for root in face_folders:
        beside = [root, root / "models", *_subfolders(root / "models")]
        files += [path for folder in beside for path in _onnx_files(folder) if "yunet" in path.name.lower()]
    return next((path for path in files if _is_yunet(path)), None)


def is_yunet(graph: Graph) -> bool:
    return {tensor.name for tensor in graph.outputs} >= set(OUTPUTS)


def _is_yunet(path: Path) -> bool:
    try:
        return is_yunet(model_file(path).graph)
    except ModelMissingError:
        return False


def _onnx_files(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".onnx" and p.is_file())
    except OSError:
        return []


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir())
    except OSError:
        return []
