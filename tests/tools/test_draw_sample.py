"""The drawn sample character: the same pixels everywhere, and faces that a real detector accepts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

FRONT, OTHER = "mara_voss_1_front.png", "tomas_reed.png"


@pytest.fixture(scope="module")
def sample(tool: Callable[[str], ModuleType]) -> ModuleType:
    return tool("draw_sample")


def pixels(sample: ModuleType, name: str, size: int) -> NDArray:
    return np.asarray(sample.picture(*sample.PICTURES[name], size=size, oversample=1))


def test_pixels_are_the_same_on_every_machine(sample: ModuleType) -> None:
    digest = hashlib.sha256(pixels(sample, FRONT, 64).tobytes()).hexdigest()
    assert digest[:16] == "f9c55f640e1a68a9"


def test_files_are_written_and_repeat(sample: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "PICTURES", {name: sample.PICTURES[name] for name in (FRONT, OTHER)})
    monkeypatch.setattr(sample.picture, "__defaults__", (48, 1))
    first, second = (sample.draw(tmp_path / name) for name in ("first", "second"))
    assert [path.name for path in first] == [FRONT, OTHER]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_no_two_pictures_are_alike(sample: ModuleType) -> None:
    drawn = [pixels(sample, name, 48).astype(int) for name in sample.PICTURES]
    gaps = [np.abs(a - b).mean() for i, a in enumerate(drawn) for b in drawn[:i]]
    assert len(drawn) == 6
    assert min(gaps) > 3


@pytest.mark.parametrize("name", [FRONT, "mara_voss_2_left.png", OTHER])
def test_detector_finds_exactly_one_face(sample: ModuleType, face_models: Path, name: str) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(face_models / "models/buffalo_sc_dq/det_500m.onnx")
    image = np.full((1, 3, 640, 640), -127.5 / 128, np.float32)
    image[0, :, :512, :512] = (pixels(sample, name, 512).transpose(2, 0, 1) - 127.5) / 128
    outputs = session.run(None, {session.get_inputs()[0].name: image})
    centres, scores = [], []
    for level, stride in enumerate((8, 16, 32)):
        for anchor in np.flatnonzero(outputs[level][:, 0] > 0.5):
            row, column = divmod(anchor // 2, 640 // stride)
            left, top, right, bottom = outputs[level + 3][anchor] * stride
            centres.append((column * stride + (right - left) / 2, row * stride + (bottom - top) / 2))
            scores.append(outputs[level][anchor, 0])
    assert max(scores) > 0.6
    assert np.ptp(centres, axis=0).max() < 60
