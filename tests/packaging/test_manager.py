"""ComfyUI-Manager's own installer on our requirements.txt, in environments of users who have onnxruntime already.

onnxruntime and onnxruntime-gpu fill the same folder, whichever comes last wins, and removing one guts the other.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..onnx_graphs import channel_means
from ..test_publish import shipped
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


def run_manager(way: str, python: Path, manager: Path, comfy: Path, pack: Path) -> str:
    """What the Manager says, which takes `python` for ComfyUI's."""
    command = [python, INSTALLER, way, manager, comfy, pack, pack.parents[1] / "manager"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "means.onnx"
    path.write_bytes(channel_means(8))
    return path


REPLACED = (
    "requirements.txt puts onnxruntime-gpu over another onnxruntime, and no requirement can say: if there is none"
)


@pytest.mark.parametrize("there", ["", "onnxruntime-gpu", "onnxruntime", "onnxruntime==1.20.1"])
def test_every_line_installs_and_no_runtime_that_was_there_changes(
    there: str, manager: Path, model: Path, comfy_path: Path, tmp_path: Path
) -> None:
    python = make_python(tmp_path / "venv", *([there] if there else []))
    before = state(python, model)
    pack = tmp_path / "custom_nodes" / "likeness"
    pack.mkdir(parents=True)
    shutil.copy(ROOT / "requirements.txt", pack)
    said = run_manager("install", python, manager, comfy_path, pack)
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert said.count("EXECUTE =>") == 2 * len(lines)  # from the registry, and from git
    pip(python, "check")
    after = state(python, model)  # a model still opens
    if there in ("", "onnxruntime-gpu"):
        assert not there or after == before
        return
    assert {name: after.get(name) for name in before if name != "providers"}.items() <= before.items()
    if after["providers"] != before["providers"]:
        pytest.xfail(REPLACED)


@pytest.mark.parametrize("way", ["disable", "uninstall"])
def test_what_the_user_has_made_stays_when_the_pack_is_taken_away(
    way: str, manager: Path, comfy_path: Path, tmp_path: Path
) -> None:
    """The places that tests/comfy/test_host.py finds to be Likeness's."""
    pack = tmp_path / "custom_nodes" / "likeness"
    for path in shipped():
        (pack / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, pack / path.relative_to(ROOT))
    mine = ["models/characters/ada/profile.toml", "models/characters/.trash/bea-references/001.png"]
    mine += ["models/face_embeddings/ada.safetensors", "user/__likeness/settings.json", "output/likeness/ada.zip"]
    for name in mine:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    run_manager(way, Path(sys.executable), manager, comfy_path, pack)
    assert not pack.exists() and all((tmp_path / name).read_text() == name for name in mine)
    left = sorted(p.name for p in (tmp_path / "custom_nodes").rglob("*") if p.parent.name == ".disabled")
    assert left == ([] if way == "uninstall" else ["likeness@0_1_0"])
