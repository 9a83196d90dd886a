"""Pictures and models for the face tests: real ones from the shared folder, small made-up ones for the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from likeness import images
from likeness.faces.analyser import OnnxAnalyser
from likeness.faces.face import Face
from likeness.faces.packs import find_pack

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(scope="session")
def model_root() -> Path:
    root = SHARED / "models" / "face" / "insightface"
    if not root.is_dir():
        pytest.skip("no real face models: ../shared/models/face is absent")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return root


@pytest.fixture(scope="session")
def photo_folder() -> Path:
    folder = SHARED / "faces"
    if not folder.is_dir():
        pytest.skip("no photos: ../shared/faces is absent")
    return folder


@pytest.fixture(scope="session")
def analyser(model_root: Path) -> OnnxAnalyser:
    return OnnxAnalyser(find_pack("buffalo_sc_dq", [model_root]), "cpu")


@pytest.fixture(scope="session")
def photos(photo_folder: Path) -> dict[str, images.RGB8]:
    """Every photo by its path below the folder."""
    files = sorted(p for p in photo_folder.rglob("*") if p.suffix in images.SUFFIXES)
    return {p.relative_to(photo_folder).as_posix(): images.read(p) for p in files}


@pytest.fixture(scope="session")
def analysed(analyser: OnnxAnalyser, photos: dict[str, images.RGB8]) -> dict[str, tuple[Face, ...]]:
    """Every photo through the ladder, once."""
    return {name: analyser.analyse(image) for name, image in photos.items()}
