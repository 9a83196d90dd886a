"""Detector and recogniser around a session that is made up: letterbox, blob, decoding, overlaps, batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from likeness.errors import ModelMissingError
from likeness.faces import arcface, scrfd
from likeness.faces.onnx_graph import Graph


@dataclass
class Port:
    name: str
    shape: list[Any]


@dataclass
class FakeSession:
    """Answers with `answer(feeds)`; keeps the shapes that it was shown."""

    inputs: list[Port]
    outputs: list[Port]
    answer: Any
    shown: list[tuple[int, ...]] = field(default_factory=list)

    def get_inputs(self) -> list[Port]:
        return self.inputs

    def get_outputs(self) -> list[Port]:
        return self.outputs

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def run(self, names: Any, feeds: dict[str, Any]) -> list[Any]:
        blob = next(iter(feeds.values()))
        self.shown.append(blob.shape)
        return self.answer(blob)


def levels(size: int, hits: dict[tuple[int, int], float]) -> list[np.ndarray]:
    """Nine outputs with the given scores at (level, index): boxes reach 2 cells, points lie on the centre."""
    scores, boxes, points = [], [], []
    for level, stride in enumerate(scrfd.STRIDES):
        count = (size // stride) ** 2 * 2
        score = np.zeros((count, 1), np.float32)
        for (at, index), value in hits.items():
            if at == level:
                score[index] = value
        scores.append(score)
        boxes.append(np.full((count, 4), 2, np.float32))
        points.append(np.zeros((count, 10), np.float32))
    return [*scores, *boxes, *points]


def detector(hits: dict[tuple[int, int], float], outputs: int = 9, side: Any = "?") -> tuple[scrfd.Scrfd, FakeSession]:
    ports = [Port(str(i), []) for i in range(outputs)]
    session = FakeSession([Port("in", [1, 3, side, side])], ports, lambda blob: levels(blob.shape[2], hits))
    return scrfd.Scrfd(session, "det.onnx"), session


def test_a_hit_becomes_a_box_in_picture_pixels() -> None:
    cells = 64 // 8
    model, session = detector({(0, (3 * cells + 5) * 2): 0.9})
    found = model.detect(np.zeros((128, 128, 3), np.uint8), 64)
    assert session.shown == [(1, 3, 64, 64)]
    assert found.boxes.tolist() == [[(40 - 16) * 2, (24 - 16) * 2, (40 + 16) * 2, (24 + 16) * 2]]
    assert found.keypoints[0].tolist() == [[80, 48]] * 5
    assert found.scores.tolist() == [np.float32(0.9)]


def test_the_threshold_counts_and_the_best_comes_first() -> None:
    model, _ = detector({(0, 0): 0.5, (0, 126): 0.8, (1, 20): 0.499})
    assert model.detect(np.zeros((64, 64, 3), np.uint8), 64).scores.tolist() == pytest.approx([0.8, 0.5])


def test_two_anchors_of_one_cell_are_one_face() -> None:
    model, _ = detector({(0, 10): 0.7, (0, 11): 0.75})
    assert model.detect(np.zeros((64, 64, 3), np.uint8), 64).scores.tolist() == pytest.approx([0.75])


def test_nothing_found_is_empty_not_an_error() -> None:
    model, _ = detector({})
    found = model.detect(np.zeros((10, 4000, 3), np.uint8), 64)
    assert len(found) == 0 and found.keypoints.shape == (0, 5, 2)


def test_a_fixed_input_size_wins() -> None:
    model, session = detector({}, side=128)
    model.detect(np.zeros((64, 64, 3), np.uint8), 640)
    assert session.shown == [(1, 3, 128, 128)]


@pytest.mark.parametrize("outputs", [6, 12, 15, 1])
def test_detectors_without_five_points_are_refused(outputs: int) -> None:
    with pytest.raises(ModelMissingError, match=rf"det\.onnx is not .* {outputs} outputs, not 9.*: use"):
        detector({}, outputs=outputs)


@pytest.mark.parametrize("shape", [(50, 100), (100, 50), (64, 64), (1, 3000), (3000, 1)])
def test_letterbox_keeps_the_picture_top_left(shape: tuple[int, int]) -> None:
    canvas, scale = scrfd.letterbox(np.full((*shape, 3), 200, np.uint8), 64)
    height, width = max(int(shape[0] * 64 / max(shape)), 1), max(int(shape[1] * 64 / max(shape)), 1)
    assert (canvas[:height, :width] == 200).all()
    assert canvas.sum() == 200 * height * width * 3
    assert scale == height / shape[0]


def test_blob_is_rgb_planes_in_range() -> None:
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[..., 0] = 255
    values = scrfd.blob(image, 127.5, 127.5)
    assert values.shape == (1, 3, 2, 2) and values.dtype == np.float32
    assert np.allclose(values[0, 0], 1) and np.allclose(values[0, 1:], -1)


def test_overlaps_go_from_four_tenths_up() -> None:
    boxes = np.array([[0, 0, 99, 99], [0, 0, 99, 39], [0, 0, 99, 41], [200, 0, 299, 99]], np.float32)
    assert scrfd.suppress(boxes) == [0, 1, 3]  # .40 stays, .42 goes


def recogniser(shape: list[Any], graph: Graph | None = None, dim: int = 4) -> tuple[arcface.ArcFace, FakeSession]:
    def answer(blob: np.ndarray) -> list[np.ndarray]:
        return [np.repeat(blob.mean(axis=(1, 2, 3))[:, None], dim, axis=1)]

    session = FakeSession([Port("in", shape)], [Port("out", [None, dim])], answer)
    return arcface.ArcFace(session, graph or Graph((), (), (), False), "rec.onnx"), session


CROPS = np.stack([np.full((112, 112, 3), v, np.uint8) for v in range(0, 200, 5)])  # 40 crops


@pytest.mark.parametrize(("first", "calls"), [("None", [32, 8]), (1, [1] * 40), (16, [16, 16, 16]), (32, [32, 32])])
def test_batches_open_and_fixed(first: Any, calls: list[int]) -> None:
    model, session = recogniser([first, 3, 112, 112])
    values = model.embed(CROPS)
    assert [shape[0] for shape in session.shown] == calls
    assert np.allclose(values[:, 0], (np.arange(0, 200, 5) - 127.5) / 127.5, atol=1e-5)


def test_models_quantised_per_batch_get_one_face_at_a_time() -> None:
    _, session = both = recogniser(["None", 3, 112, 112], Graph((), (), (), True))
    both[0].embed(CROPS[:3])
    assert [shape[0] for shape in session.shown] == [1, 1, 1]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Conv_0", "Relu_1"), (127.5, 127.5)),
        (("Sub_0", "Mul_1", "Conv_2"), (0.0, 1.0)),
        (("_minusscalar0", "_mulscalar0"), (0.0, 1.0)),
        (("Mul_1",), (127.5, 127.5)),
    ],
)
def test_models_with_their_own_normalisation_get_plain_pixels(names: Any, expected: Any) -> None:
    assert arcface.normalisation(Graph((), (), names, False)) == expected


@pytest.mark.parametrize("shape", [["None", 3, 128, 128], [1, 3, 112, 96], [1, 3, "h", "w"], [1, 512]])
def test_other_inputs_are_refused(shape: list[Any]) -> None:
    with pytest.raises(ModelMissingError, match=r"rec\.onnx takes input .*: use an ArcFace recogniser"):
        recogniser(shape)
