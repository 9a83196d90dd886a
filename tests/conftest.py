"""Finds what tests need outside the repository, and skips with a reason where it is not there.

Domain tests import `likeness` and `faceid` as installed packages. Node tests load the pack the way
ComfyUI does: its folder, under a private name.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from likeness.cli.comfy import find_comfy

# Whoever started pytest in the background, or by nohup, hands ignored signals on, and tests send them to themselves.
for _name, _usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL), ("SIGTERM", signal.SIG_DFL)):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _usual)

# How fast examples are made says how busy the machine is.
settings.register_profile("likeness", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("likeness")

ROOT = Path(__file__).resolve().parents[1]
# Our `nodes/` would shadow ComfyUI's nodes.py, and a spawned worker must not see it either.
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]

SHARED = ROOT.parent / "shared"
FACE_MODELS = SHARED / "models" / "face" / "insightface"
PHOTOS = SHARED / "faces"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With pytest-xdist a file stays in one process, and the slow ones, which drive real servers, begin."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    items.sort(key=lambda item: "e2e" not in item.path.parts)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(scope="session")
def comfy_path() -> Path:
    found = find_comfy()
    if found is None:
        pytest.skip("no ComfyUI: set COMFYUI_PATH, or put one at ~/comfy/ComfyUI")
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("aiohttp", reason="ComfyUI's requirements are not installed for this Python")
    return found


def load_folder(name: str, folder: Path) -> ModuleType:
    """Import a folder as a package under `name`, as ComfyUI's loader does."""
    init = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def comfy(comfy_path: Path) -> Path:
    """ComfyUI importable in this process, on the CPU."""
    if str(comfy_path) not in sys.path:
        sys.path.insert(0, str(comfy_path))
    from comfy.cli_args import args

    args.cpu = True
    return comfy_path


@pytest.fixture(scope="session")
def face_models() -> Path:
    if not FACE_MODELS.is_dir():
        pytest.skip("no real face models: ../shared/models/face is absent")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return FACE_MODELS


@pytest.fixture(scope="session")
def photos() -> Path:
    if not PHOTOS.is_dir():
        pytest.skip("no photos: ../shared/faces is absent")
    return PHOTOS
