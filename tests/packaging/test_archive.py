"""comfy-cli, which publishes the pack, finds nothing wrong with it and packs what is meant to ship."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ..test_publish import ALLOWED, shipped
from .conftest import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A checkout of the tracked files as they are now."""
    shipped()  # skips where this is no checkout
    folder = tmp_path / "clone"
    for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for command in (["init", "-q"], ["add", "-A", "-f"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def comfy(program: Path, clone: Path, *arguments: str) -> str:
    """What `comfy` says; it reports findings with exit status 0."""
    home = clone.parent / "home"
    home.mkdir(exist_ok=True)
    env = {
        **os.environ,
        "HOME": str(home),
        "NO_COLOR": "1",
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [str(program), "--skip-prompt", *arguments]
    done = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_what_the_registry_will_refuse_is_nowhere_in_the_checkout() -> None:
    command = ["ruff", "check", ".", "-q", "--select", "S102,S307,E702"]  # as `comfy node validate` runs it
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.packaging
def test_comfy_cli_validates_without_a_warning(comfy_cli: Path, clone: Path) -> None:
    comfy(comfy_cli, clone, "tracking", "disable")
    said = comfy(comfy_cli, clone, "node", "validate")
    assert "All validation checks passed" in said
    assert not any(word in said.lower() for word in ("warning", "error", "invalid")), said


@pytest.mark.packaging
def test_comfy_cli_packs_exactly_what_is_meant_to_ship(comfy_cli: Path, clone: Path) -> None:
    comfy(comfy_cli, clone, "tracking", "disable")
    comfy(comfy_cli, clone, "node", "pack")
    with zipfile.ZipFile(clone / "node.zip") as archive:
        packed = {name for name in archive.namelist() if not name.endswith("/")}
        assert sum(i.compress_size for i in archive.infolist()) < 5_000_000
    assert packed == {p.relative_to(ROOT).as_posix() for p in shipped()}
    assert [name for name in sorted(packed) if not any(fnmatch.fnmatch(name, rule) for rule in ALLOWED)] == []
    assert [rule for rule in ALLOWED if not fnmatch.filter(packed, rule)] == []
