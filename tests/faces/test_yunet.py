"""YuNet gives the faces that OpenCV's FaceDetectorYN gives, and finds drawn ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness import images
from likeness.errors import ModelMissingError
from likeness.faces.yunet import OUTPUTS, STRIDES, YuNet, _shown, decode, find_yunet, suppress

from .onnx_bytes import SCRFD, YUNET
from .test_scrfd import FakeSession, Port

FIXED, DYNAMIC = "face_detection_yunet_2023mar.onnx", "yunet_n_dynamic.onnx"
# cv2.FaceDetectorYN 5.0 on the picture in the top left of 640 px: left, top, width, height, five points, score
RECORDED = {
    "obama/obama.jpg": """
        207.97 50.98 136.58 186.10 247.45 119.86 312.57 120.12 279.15 150.04 247.66 178.70 308.08 179.89 .95""",
    "anime_sylvie/sylvie_blue_normal.png": """
        105.06 32.75 88.90 125.18 128.12 86.48 168.72 88.51 142.94 110.66 132.88 130.09 160.18 132.13 .83""",
    "multi/two_people.jpg": """
        136.90 17.99 81.06 111.11 164.85 55.16 205.20 56.34 188.34 76.78 164.68 94.55 199.13 95.98 .93
        447.46 27.16 84.88 117.83 476.71 75.11 514.69 75.18 498.13 100.89 478.76 115.49 508.81 115.97 .92""",
}


@pytest.fixture(scope="module", params=[FIXED, "face_detection_yunet_2026may.onnx", DYNAMIC])
def yunet(request: pytest.FixtureRequest, model_root: Path) -> YuNet:
    return YuNet.open(model_root.parent / request.param, "cpu")


def as_opencv(picture: images.RGB8, yunet: YuNet) -> np.ndarray:
    """Faces in px of the 640 px square, in OpenCV's order of numbers."""
    height, width = picture.shape[:2]
    across, down = round(width * 640 / max(height, width)) / width, round(height * 640 / max(height, width)) / height
    found, scale = yunet.detect(picture, 640), np.array([across, down])
    corners = found.boxes * np.tile(scale, 2)
    boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
    return np.hstack([boxes, (found.keypoints * scale).reshape(-1, 10), found.scores[:, None]])


@pytest.mark.parametrize("name", RECORDED)
def test_boxes_points_and_scores_are_those_of_opencv(
    name: str, photos: dict[str, images.RGB8], model_root: Path
) -> None:
    found = as_opencv(photos[name], YuNet.open(model_root.parent / FIXED, "cpu"))
    expected = np.array(RECORDED[name].split(), dtype=float).reshape(-1, 15)
    np.testing.assert_allclose(found, expected, atol=0.0051)


def test_every_picture_gives_what_the_installed_opencv_gives(
    photos: dict[str, images.RGB8], yunet: YuNet, model_root: Path
) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    path = str(model_root.parent / FIXED)
    reference = cv2.FaceDetectorYN.create(path, "", (640, 640), 0.6, 0.3, 5000)
    ours = YuNet.open(model_root.parent / FIXED, "cpu")
    faces = 0
    for name, picture in photos.items():
        canvas, _ = _shown(picture, 640, 640)
        theirs = reference.detect(np.ascontiguousarray(canvas[:, :, ::-1]))[1]
        found = as_opencv(picture, ours)
        expected = np.empty((0, 15)) if theirs is None else theirs
        np.testing.assert_allclose(found, expected, atol=1e-3, err_msg=name)
        faces += len(found)
    assert faces > 70


def test_every_sprite_gives_exactly_one_face(photos: dict[str, images.RGB8], yunet: YuNet) -> None:
    sprites = {name: picture for name, picture in photos.items() if name.startswith("anime_")}
    assert len(sprites) == 12
    assert [name for name, picture in sprites.items() if len(yunet.find(picture)) != 1] == []


def test_a_face_that_fills_the_picture_is_found_at_a_smaller_size(photos: dict[str, images.RGB8], yunet: YuNet) -> None:
    crop = photos["variants/obama_tight_crop_1024.jpg"]
    assert len(yunet.find(crop)) == 1


def test_a_picture_without_faces_gives_none(photos: dict[str, images.RGB8], yunet: YuNet) -> None:
    assert len(yunet.find(photos["no_face/coffee.png"])) == 0


def levels(size: int, hits: dict[tuple[int, int], tuple[float, float]]) -> list[np.ndarray]:
    """Twelve outputs: (level, cell) -> (cls, obj); a box of one cell in the middle of its cell's corner."""
    made: dict[str, np.ndarray] = {}
    for level, stride in enumerate(STRIDES):
        count = (size // stride) ** 2
        for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            made[f"{kind}_{stride}"] = np.zeros((1, count, width), np.float32)
        for (at, cell), values in hits.items():
            if at == level:
                made[f"cls_{stride}"][0, cell], made[f"obj_{stride}"][0, cell] = values
    return [made[name] for name in OUTPUTS]


def test_the_score_is_the_root_of_the_product_and_each_factor_is_clamped() -> None:
    found = decode(levels(64, {(0, 9): (0.81, 1.7)}), 64, np.ones(2), 0.6)
    assert found.scores.tolist() == [pytest.approx(0.9)]
    assert found.boxes.tolist() == [[4, 4, 12, 12]]  # cell (1, 1) of 8 px, exp(0) cells wide, around its corner
    assert found.keypoints[0].tolist() == [[8, 8]] * 5


def test_scores_below_the_threshold_are_no_faces() -> None:
    assert len(decode(levels(64, {(0, 9): (0.5, 0.7)}), 64, np.ones(2), 0.6)) == 0


def test_of_overlapping_boxes_the_best_stays() -> None:
    boxes = np.array([[10, 10, 20, 20], [12, 12, 20, 20], [60, 60, 20, 20]], np.float32)
    assert suppress(boxes) == [0, 2]


def test_a_model_of_one_size_gets_that_size_and_a_smaller_picture_in_it() -> None:
    shown: list[Any] = []

    def answer(blob: np.ndarray) -> list[np.ndarray]:
        shown.append(blob)
        return levels(64, {})

    session = FakeSession([Port("input", [1, 3, 64, 64])], [Port(name, []) for name in OUTPUTS], answer)
    picture = np.full((40, 20, 3), (10, 20, 30), np.uint8)
    YuNet(session, "yunet.onnx").detect(picture, 32)
    (blob,) = shown
    assert blob.shape == (1, 3, 64, 64) and blob.dtype == np.float32
    assert blob[0, :, 0, 0].tolist() == [30, 20, 10]  # BGR, 0..255
    assert blob[0, :, :32, :16].min() > 0 and blob[0, :, 32:].max() == blob[0, :, :, 16:].max() == 0


def test_another_model_is_refused_with_the_remedy() -> None:
    session = FakeSession([Port("input", [1, 3, 640, 640])], [Port("scores", [])], None)
    with pytest.raises(ModelMissingError, match=r"det_10g.onnx is not a YuNet face detector.*2023mar"):
        YuNet(session, "det_10g.onnx")


def test_its_own_folder_comes_before_the_face_packs(tmp_path: Path) -> None:
    own, faces = tmp_path / "yunet", tmp_path / "insightface"
    pack = faces / "models" / "buffalo_l"
    for folder in (own, pack):
        folder.mkdir(parents=True)
    assert find_yunet([own], [faces]) is None
    (pack / "det_10g.onnx").write_bytes(SCRFD)
    (pack / "face_detection_yunet.onnx").write_bytes(YUNET)
    assert find_yunet([own], [faces]) == pack / "face_detection_yunet.onnx"
    (own / "broken.onnx").write_bytes(b"\0" * 50)
    (own / "detector.onnx").write_bytes(YUNET)
    assert find_yunet([own], [faces]) == own / "detector.onnx"


def test_missing_folders_hold_no_detector(tmp_path: Path) -> None:
    assert find_yunet([tmp_path / "none"], [tmp_path / "nothing"]) is None
