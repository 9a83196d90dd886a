"""CCIP's two files: where they lie, what they are fed, and what is said when they are not what they should be.

The published weights (150 MB) are not here; the stand-ins have their inputs and outputs and do arithmetic that a test
can do another way.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.ccip import FEATURES, METRICS, SIZE, THRESHOLDS, Ccip, CcipFiles, find_ccip, preprocess
from likeness.errors import ModelMissingError
from likeness.images import RGB8

from ..onnx_graphs import channel_means, mean_distances

BEST, USUAL = "ccip-caformer_b36-24", "ccip-caformer-24-randaug-pruned"
MEAN, STD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])


def install(root: Path, name: str = USUAL) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / FEATURES).write_bytes(channel_means(SIZE))
    (folder / METRICS).write_bytes(mean_distances())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return install(tmp_path)


def picture(seed: int, height: int = 60, width: int = 40) -> RGB8:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def plain(*colour: int) -> RGB8:
    return np.full((50, 30, 3), colour, np.uint8)


def test_a_plain_picture_becomes_its_colour_in_units_of_clips_spread() -> None:
    pixels = preprocess(plain(255, 128, 0))
    assert pixels.shape == (3, 384, 384) and pixels.dtype == np.float32
    expected = (np.array([1.0, 128 / 255, 0.0]) - MEAN) / STD  # 1.930, .169, -1.480
    np.testing.assert_allclose(pixels[:, 7, 9], expected, atol=1e-6)
    assert np.ptp(pixels, axis=(1, 2)).max() == 0


def test_a_picture_is_squeezed_whole_by_pillows_bilinear_filter() -> None:
    shown = np.asarray(Image.fromarray(picture(1)).resize((384, 384), Image.Resampling.BILINEAR), dtype=np.float64)
    expected = ((shown / 255 - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(preprocess(picture(1)), expected, atol=1e-5)


def test_features_come_in_the_order_of_the_pictures_whatever_the_batch(folder: Path) -> None:
    ccip = Ccip(CcipFiles(USUAL, folder), "cpu")
    pictures = [picture(i, 30 + i, 40) for i in range(11)]  # more than one pass
    together = ccip.features(pictures)
    assert together.shape == (11, 3)
    for i in (0, 7, 8, 10):
        expected = preprocess(pictures[i]).mean(axis=(1, 2))
        np.testing.assert_allclose(together[i], expected, atol=1e-4)
        np.testing.assert_allclose(ccip.features([pictures[i]])[0], together[i], atol=1e-5)


def test_differences_are_those_of_the_second_file(folder: Path) -> None:
    ccip = Ccip(CcipFiles(USUAL, folder), "cpu")
    features = np.random.default_rng(0).standard_normal((4, 768)).astype(np.float32)
    expected = np.abs(features[:, None] - features[None]).mean(axis=2)
    np.testing.assert_allclose(ccip.differences(features), expected, atol=1e-5)


def test_the_best_model_is_found_first_and_an_incomplete_one_is_none(tmp_path: Path) -> None:
    assert find_ccip([tmp_path / "nowhere"]) is None
    install(tmp_path, "my own model")
    install(tmp_path, USUAL)
    (tmp_path / BEST).mkdir()
    (tmp_path / BEST / FEATURES).write_bytes(b"")
    assert find_ccip([tmp_path]) == CcipFiles(USUAL, tmp_path / USUAL)
    (tmp_path / BEST / METRICS).write_bytes(b"")
    found = find_ccip([tmp_path])
    assert found is not None and found.name == BEST


def test_files_right_in_the_folder_are_found_too(tmp_path: Path) -> None:
    install(tmp_path, "ccip")
    assert find_ccip([tmp_path / "ccip"]) == CcipFiles("ccip", tmp_path / "ccip")


@pytest.mark.parametrize(("name", "threshold"), THRESHOLDS.items())
def test_a_known_model_has_its_published_threshold(tmp_path: Path, name: str, threshold: float) -> None:
    assert CcipFiles(name, tmp_path).threshold() == threshold


def test_metrics_json_comes_before_the_name(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"f1_score": 0.9, "threshold": 0.31}))
    assert CcipFiles(USUAL, tmp_path).threshold() == 0.31


@pytest.mark.parametrize("text", ["", "{", "[]", '{"threshold": "low"}', '{"threshold": -1.0}', '{"threshold": NaN}'])
def test_an_unknown_model_without_a_threshold_is_refused_with_the_remedy(tmp_path: Path, text: str) -> None:
    if text:
        (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(
        ModelMissingError, match=r"threshold of the CCIP model 'new' is not known: put its metrics.json"
    ):
        Ccip(CcipFiles("new", tmp_path), "cpu")


@pytest.mark.parametrize("content", [b"", b"\0" * 99, channel_means(384, inside="pixels"), channel_means(384, out="y")])
def test_a_wrong_file_is_one_clear_sentence(folder: Path, content: bytes) -> None:
    (folder / FEATURES).write_bytes(content)
    with pytest.raises(ModelMissingError, match=r"model_feat\.onnx"):
        Ccip(CcipFiles(USUAL, folder), "cpu").features([picture(0)])


def test_a_model_of_another_size_is_refused(folder: Path) -> None:
    (folder / FEATURES).write_bytes(channel_means(224))
    with pytest.raises(ModelMissingError, match=r"is not CCIP's .*: download model_feat\.onnx of"):
        Ccip(CcipFiles(USUAL, folder), "cpu").features([picture(0)])


def test_files_that_were_swapped_are_refused(folder: Path) -> None:
    (folder / METRICS).write_bytes(channel_means(384))
    with pytest.raises(ModelMissingError, match=r"model_metrics\.onnx is not CCIP's"):
        Ccip(CcipFiles(USUAL, folder), "cpu").differences(np.zeros((2, 3), np.float32))
