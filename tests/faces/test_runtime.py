"""onnxruntime missing, damaged, doubled, or fine; and what a session may not do."""

from __future__ import annotations

import importlib.metadata
import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from likeness.errors import ModelMissingError
from likeness.faces import insightface_backend, runtime
from likeness.faces.packs import FacePack

from .onnx_bytes import ARCFACE, SCRFD


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    found = [SimpleNamespace(metadata={"Name": n}, version="1.31.1") for n in names]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: found)


class FakeSession:
    def __init__(self, data: bytes, sess_options: Any, providers: list[Any]) -> None:
        names = [p if isinstance(p, str) else p[0] for p in providers]
        self.data, self.providers = data, [n for n in names if n in FakeSession.granted]

    granted: tuple[str, ...] = (runtime.CPU,)

    def get_providers(self) -> list[str]:
        return self.providers


def make_runtime(monkeypatch: pytest.MonkeyPatch, compiled: list[str], granted: tuple[str, ...]) -> None:
    module: Any = ModuleType("onnxruntime")
    module.__version__ = "1.31.1"
    module.InferenceSession = FakeSession
    module.SessionOptions = lambda: SimpleNamespace(add_session_config_entry=lambda key, value: None)
    module.get_available_providers = lambda: compiled
    monkeypatch.setattr(FakeSession, "granted", granted)
    monkeypatch.setitem(sys.modules, "onnxruntime", module)


def test_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    installed(monkeypatch)
    state = runtime.runtime_state()
    assert not state.usable and state.version == "" and state.distributions == ()
    with pytest.raises(ModelMissingError, match=r"is not installed: run: \S+ -m pip install onnxruntime "):
        runtime.open_session(tmp_path / "m.onnx")


def test_gutted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    installed(monkeypatch, "onnxruntime-gpu")
    assert runtime.runtime_state().distributions == ("onnxruntime-gpu 1.31.1",)
    with pytest.raises(ModelMissingError, match=r"onnxruntime is damaged: .* uninstall both"):
        runtime.open_session(tmp_path / "m.onnx")


def test_installed_but_not_loadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    installed(monkeypatch, "onnxruntime")
    assert "cannot be loaded (onnxruntime 1.31.1;" in runtime.runtime_state().problem


def test_both_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    make_runtime(monkeypatch, ["AzureExecutionProvider", runtime.CPU], (runtime.CPU,))
    installed(monkeypatch, "onnxruntime_gpu", "onnxruntime", "numpy")
    state = runtime.runtime_state()
    assert state.usable and state.distributions == ("onnxruntime 1.31.1", "onnxruntime-gpu 1.31.1")
    assert "overwrite each other; so faces run on the CPU only. To repair: uninstall both" in state.problem


def test_one_installed_has_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    make_runtime(monkeypatch, [runtime.CUDA, runtime.CPU], (runtime.CPU,))
    installed(monkeypatch, "onnxruntime-gpu")
    assert runtime.runtime_state() == runtime.RuntimeState(
        "1.31.1", ("onnxruntime-gpu 1.31.1",), (runtime.CUDA, runtime.CPU), "", True
    )


@pytest.mark.parametrize(
    ("provider", "granted", "obtained", "warned"),
    [
        ("cpu", (runtime.CUDA, runtime.CPU), [runtime.CPU], False),
        ("auto", (runtime.CUDA, runtime.CPU), [runtime.CUDA, runtime.CPU], False),
        ("auto", (runtime.CPU,), [runtime.CPU], False),
        ("cuda", (runtime.CPU,), [runtime.CPU], True),
    ],
)
def test_the_provider_really_obtained_is_told(
    provider: str, granted: tuple[str, ...], obtained: list[str], warned: bool,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path,
) -> None:  # fmt: skip
    make_runtime(monkeypatch, [runtime.CUDA, runtime.CPU], granted)
    path = tmp_path / "m.onnx"
    path.write_bytes(SCRFD)
    with caplog.at_level(logging.INFO):
        session: Any = runtime.open_session(path, provider)
    assert session.get_providers() == obtained and session.data == SCRFD
    assert f"Opened the face model m.onnx on {obtained[0]}." in caplog.text
    assert ("CUDA was asked for" in caplog.text) == warned


def test_an_unknown_provider_and_a_changed_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_runtime(monkeypatch, [runtime.CPU], (runtime.CPU,))
    path = tmp_path / "m.onnx"
    path.write_bytes(SCRFD)
    with pytest.raises(ModelMissingError, match="no provider 'tpu': choose one of auto, cpu, cuda"):
        runtime.open_session(path, "tpu")
    with pytest.raises(ModelMissingError, match=r"m\.onnx has changed"):
        runtime.open_session(path, "cpu", "0" * 64)
    with pytest.raises(ModelMissingError, match=r"absent\.onnx cannot be read"):
        runtime.open_session(tmp_path / "absent.onnx", "cpu")


def test_a_damaged_model_gives_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = tmp_path / "m.onnx"
    path.write_bytes(ARCFACE)
    with pytest.raises(ModelMissingError, match=r"m\.onnx is not a model that onnxruntime can open"):
        runtime.open_session(path, "cpu")


def test_the_insightface_backend_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import numpy as np

    monkeypatch.setitem(sys.modules, "insightface.model_zoo", None)
    for name, data in (("det_x.onnx", SCRFD), ("w600k_x.onnx", ARCFACE)):
        (tmp_path / name).write_bytes(data)
    pack = FacePack("p", tmp_path, tmp_path / "det_x.onnx", tmp_path / "w600k_x.onnx")
    analyser = insightface_backend.InsightFaceAnalyser(pack)
    assert analyser.pipeline.backend == "insightface"
    with pytest.raises(ModelMissingError, match="choose the backend 'likeness'"):
        analyser.analyse(np.zeros((9, 9, 3), np.uint8))


def test_importing_the_package_loads_no_runtime() -> None:
    import subprocess

    code = (
        "import sys, likeness.faces.analyser, likeness.faces.cache, likeness.faces.insightface_backend;"
        "print([m for m in ('onnxruntime', 'insightface', 'cv2', 'torch') if m in sys.modules])"
    )
    where = str(Path(runtime.__file__).parents[2])
    run = [sys.executable, "-c", f"import sys; sys.path.append({where!r}); {code}"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == "[]"
