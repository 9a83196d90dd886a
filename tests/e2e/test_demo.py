"""The README's main job, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from likeness import images

from .conftest import ONE_THREAD, ROOT


def test_demo_draws_scores_and_reports(comfy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ({**ONE_THREAD, "COMFYUI_PATH": str(comfy_path), "COMFYUI_PYTHON": sys.executable}).items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "likeness", "demo", "--out", str(tmp_path / "demo")]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert images.read(tmp_path / "demo" / "portrait.png").std() > 1
    assert told["standins"] is False or "noise" in ran.stdout
    log = (tmp_path / "demo" / "comfyui" / "comfyui.log").read_text(errors="replace")
    assert log.count("compiling the identity") == 1, "the second picture compiles nothing"
    assert [s["name"] for s in told["scores"]] == ["the drawn picture", "Mara, smiling", "somebody else"]
    assert told["scores"][0]["similarity"] is None and told["scores"][0]["reason"]
