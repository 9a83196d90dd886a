"""ComfyUI-Manager's own installer on our requirements.txt, in environments of users who have onnxruntime already.

onnxruntime and onnxruntime-gpu fill the same folder, whichever comes last wins, and removing one guts the other.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ..onnx_graphs import channel_means
from .conftest import ROOT, make_python, pip

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(1800)]
INSTALLER = Path(__file__).with_name("manager_install.py")
ASK = """
import importlib.metadata, json, sys
names = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
state = {n: v for n, v in names.items() if n.startswith("onnxruntime")}
if state:
    import onnxruntime
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    state["providers"] = onnxruntime.get_available_providers()
print(json.dumps(state))
"""


def state(python: Path, model: Path) -> dict[str, object]:
    """Versions of the packages named onnxruntime..., and the providers, after a model was opened."""
    done = subprocess.run([str(python), "-c", ASK, str(model)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "means.onnx"
    path.write_bytes(channel_means(8))
    return path


REPLACED = pytest.mark.xfail(strict=True, reason="requirements.txt installs onnxruntime-gpu over another onnxruntime")


@pytest.mark.parametrize(
    "there",
    ["", "onnxruntime-gpu", *(pytest.param(p, marks=REPLACED) for p in ("onnxruntime", "onnxruntime==1.20.1"))],
)
def test_every_line_installs_and_no_runtime_that_was_there_changes(
    there: str, manager: Path, model: Path, comfy_path: Path, tmp_path: Path
) -> None:
    python = make_python(tmp_path / "venv", *([there] if there else []))
    before = state(python, model)
    pack = tmp_path / "custom_nodes" / "likeness"
    pack.mkdir(parents=True)
    shutil.copy(ROOT / "requirements.txt", pack)
    command = [python, INSTALLER, manager, comfy_path, pack, tmp_path / "manager"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert done.stdout.count("EXECUTE =>") == 2 * len(lines)  # from the registry, and from git
    pip(python, "check")
    assert not there or state(python, model) == before
