"""The own pipeline gives what the insightface package gives, at every detector size and on every photo."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness.faces.align import align
from likeness.faces.analyser import OnnxAnalyser
from likeness.faces.face import Face, cosine
from likeness.faces.insightface_backend import InsightFaceAnalyser
from likeness.faces.packs import find_pack

SIZES = {"buffalo_sc_dq": (640, 256), "mbf128": (128,)}
REASON = "the insightface package is not installed"


@pytest.mark.parametrize(("pack", "size"), [(p, s) for p, sizes in SIZES.items() for s in sizes])
def test_same_faces_and_embeddings_on_every_photo(
    pack: str, size: int, model_root: Path, photos: dict[str, Any]
) -> None:
    app = _face_analysis(pack, model_root, size)
    own = OnnxAnalyser(find_pack(pack, [model_root]), "cpu")
    cosines = []
    for name, image in photos.items():
        mine, theirs = own.analyse_at(image, size), _get(app, image)
        assert len(mine) == len(theirs), name
        for face in mine:
            cosines.append(_compare(face, theirs, name))
    assert len(cosines) > 30
    assert min(cosines) >= 0.9999


def test_the_backend_gives_the_packages_numbers(model_root: Path, photos: dict[str, Any]) -> None:
    pytest.importorskip("insightface", reason=REASON)
    pack = find_pack("buffalo_sc_dq", [model_root])
    own, package = OnnxAnalyser(pack, "cpu"), InsightFaceAnalyser(pack, "cpu")
    assert package.pipeline.backend == "insightface"
    assert package.pipeline.key() != own.pipeline.key()
    for name in ("obama/obama.jpg", "multi/two_people.jpg", "variants/obama_rot90.jpg", "no_face/coffee.png"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            theirs = package.analyse(photos[name])
        mine = own.analyse(photos[name])
        assert [f.rung for f in mine] == [f.rung for f in theirs], name
        assert all(cosine(a.embedding, b.embedding) > 0.999 for a, b in zip(mine, theirs, strict=True)), name


@pytest.mark.parametrize("size", [112, 224, 256])
def test_the_crops_are_the_packages(size: int, analysed: dict[str, tuple[Face, ...]], photos: dict[str, Any]) -> None:
    """At most one grey level apart, in two pixels of a thousand: on every face, turned ones too."""
    face_align = pytest.importorskip("insightface.utils.face_align", reason=REASON)
    pytest.importorskip("cv2", minversion="5.0", reason="opencv 5 is not installed")
    compared = 0
    for name, faces in analysed.items():
        for face in faces:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                theirs = face_align.norm_crop(photos[name], face.keypoints, size)
            apart = np.abs(align(photos[name], face.keypoints, size).astype(int) - theirs)
            assert apart.max() <= 1 and (apart > 0).mean() < 2e-3, name
            compared += 1
    assert compared > 60


def _face_analysis(pack: str, root: Path, size: int) -> Any:
    app = pytest.importorskip("insightface.app", reason=REASON)
    modules = ["detection", "recognition"]
    made = app.FaceAnalysis(name=pack, root=str(root), allowed_modules=modules, providers=["CPUExecutionProvider"])
    made.prepare(ctx_id=-1, det_size=(size, size))
    return made


def _get(app: Any, image: Any) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return app.get(np.ascontiguousarray(image[:, :, ::-1]))


def _compare(face: Face, theirs: list[Any], name: str) -> float:
    same = min(theirs, key=lambda t: float(np.abs(t.bbox - face.box).max()))
    assert np.abs(same.bbox - face.box).max() < 0.05, name
    assert np.abs(same.kps - face.keypoints).max() < 0.05, name
    assert abs(float(same.det_score) - face.score) < 1e-3, name
    return cosine(face.embedding, same.embedding)
