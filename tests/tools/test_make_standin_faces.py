"""The stand-in face models: SCRFD's and ArcFace's inputs and outputs, one face per picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
BLACK = -127.5 / 128


@pytest.fixture(scope="module")
def pack(tool: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return tool("make_standin_faces").make(tmp_path_factory.mktemp("models"))


def detect(path: Path, size: int, width: int, height: int) -> list[NDArray]:
    """Boxes [x1, y1, x2, y2] with a score over 0.5 for a grey picture in a black letterbox."""
    image = np.full((1, 3, size, size), BLACK, np.float32)
    image[:, :, :height, :width] = 0.0
    outputs = onnxruntime.InferenceSession(path).run(None, {"input.1": image})
    boxes = []
    for level, stride in enumerate((8, 16, 32)):
        scores, coded, points = outputs[level], outputs[level + 3], outputs[level + 6]
        count = 2 * (size // stride) ** 2
        assert (scores.shape, coded.shape, points.shape) == ((count, 1), (count, 4), (count, 10))
        for anchor in np.flatnonzero(scores[:, 0] > 0.5):
            row, column = divmod(anchor // 2, size // stride)
            signed = coded[anchor] * [-1, -1, 1, 1]
            boxes.append(np.array([column, row, column, row]) * stride + signed * stride)
    return boxes


@pytest.mark.parametrize(
    ("size", "width", "height"), [(640, 640, 480), (640, 300, 640), (320, 320, 320), (128, 96, 128)]
)
def test_one_face_in_the_middle_of_the_picture(pack: list[Path], size: int, width: int, height: int) -> None:
    first, *rest = detect(pack[0], size, width, height)
    assert all(np.allclose(first, other, atol=1e-3) for other in rest)
    assert (first[:2] + first[2:]) / 2 == pytest.approx([width / 2, height / 2], abs=0.01)


def test_no_face_in_a_black_picture(pack: list[Path]) -> None:
    assert detect(pack[0], 320, 0, 0) == []


def test_embeddings_are_512_numbers_and_follow_the_crop(pack: list[Path]) -> None:
    crops = np.random.default_rng(1).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32)
    session = onnxruntime.InferenceSession(pack[1])
    (both,) = session.run(["516"], {"input.1": crops})
    (brighter,) = session.run(["516"], {"input.1": crops[:1] + 0.2})
    assert both.shape == (2, 512)
    assert np.allclose(brighter[0], both[0], atol=1e-3)
    assert not np.allclose(both[0], both[1], atol=1e-1)


def test_same_seed_same_bytes(tool: Callable[[str], ModuleType]) -> None:
    faces = tool("make_standin_faces")
    assert faces.recogniser(0) == faces.recogniser(0) != faces.recogniser(1)
    assert faces.detector() == faces.detector()


def test_insightface_reads_the_pack(pack: list[Path]) -> None:
    app = pytest.importorskip("insightface.app", reason="insightface is not installed")
    root = pack[0].parents[2]
    analysis = app.FaceAnalysis("standin", root=str(root), providers=["CPUExecutionProvider"])
    analysis.prepare(ctx_id=-1, det_size=(320, 320))
    (face,) = analysis.get(np.full((200, 200, 3), 90, np.uint8))
    assert face.embedding.shape == (512,)
