"""Tools from the package index for the slow tests, each in an environment of its own. Skips where it has none."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREVIOUS = Path(__file__).parent / "previous"  # what an earlier version shipped and wrote; never changed


def make_python(folder: Path, *packages: str) -> Path:
    """A new environment's interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if packages:
        pip(python, "install", *packages)
    return python


def pip(python: Path, *arguments: str | Path) -> str:
    command = [python, "-m", "pip", *arguments, "--disable-pip-version-check", "-q"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode and "No matching distribution found" in done.stderr:
        pytest.skip(f"the package index does not offer it: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def comfy_cli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `comfy` program."""
    python = make_python(tmp_path_factory.mktemp("comfy-cli"), "comfy-cli")
    return python.with_name("comfy.exe" if os.name == "nt" else "comfy")


@pytest.fixture(scope="session")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with comfyui-manager and what it imports, to be put on the path of one process only."""
    folder = tmp_path_factory.mktemp("manager")
    pip(Path(sys.executable), "install", "--target", folder, "--no-deps", "comfyui-manager==4.3")
    needs = (
        "GitPython PyGithub rich typer toml chardet packaging nh3 aiohttp tqdm pyyaml psutil huggingface-hub".split()
    )
    pip(Path(sys.executable), "install", "--target", folder, *needs)
    return folder
