"""A build that is killed at any file operation leaves the old set or the new set, whole, and a trainer's output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from likeness.atomic_exchange import exchange

from .pictures import folder_of, save, scene


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", ["exchange", "renames"])
def test_a_killed_build_leaves_one_whole_set(how: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    if how == "exchange" and not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system has no exchange")
    folder_of(tmp_path / "photos", 2)
    save(tmp_path / "01.png", scene(1))
    script = Path(__file__).with_name("killing.py")
    done = subprocess.run([sys.executable, script, tmp_path, how], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    kills = rows[:-1]
    assert len(kills) > 40 and {r["after"] for r in kills} == {"old+lora", "new+lora"}
    if how == "exchange":  # even for one who reads without restoring
        assert {r["raw"] for r in kills} == {"old+lora", "new+lora"}
    else:
        assert {r["raw"] for r in kills} <= {"old+lora", "new+lora", "nothing"}
    assert {r["rebuilt"] for r in kills} == {"new+lora"}
    assert [r for r in kills if r["left"]] == []
    assert rows[-1]["photos"] == ["00.png", "01.png"]
