"""Checkouts of real trainers, and a Python that has their packages, named by environment variables.

SD_SCRIPTS_PATH, SD_SCRIPTS_PYTHON     kohya-ss/sd-scripts and its Python
MUSUBI_PATH, MUSUBI_PYTHON             kohya-ss/musubi-tuner; its Python is sd-scripts' where none is named
AI_TOOLKIT_PATH, ONETRAINER_PATH       ostris/ai-toolkit, Nerogar/OneTrainer: read as text, so without a Python

Nothing in a checkout is changed, and nothing of it runs in this process.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .trainer import Trainer, narrow_copy, stand_ins


def given(*names: str) -> list[str]:
    """The values of these variables; skips where one is missing."""
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        pytest.skip(f"no trainer: set {' and '.join(missing)}")
    return [os.environ[name] for name in names]


@pytest.fixture(scope="session")
def sd_scripts(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    home, python = given("SD_SCRIPTS_PATH", "SD_SCRIPTS_PYTHON")
    return Trainer(Path(home), python, stand_ins(python, tmp_path_factory.mktemp("stand_ins")))


@pytest.fixture(scope="session")
def narrow_sd_scripts(
    sd_scripts: Trainer, comfy_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Trainer, Path, Path]:
    """(a copy that trains a narrow SD 1.5, such a model, folder of its tokenizer)."""
    return narrow_copy(sd_scripts, comfy_path, tmp_path_factory.mktemp("narrow"))


@pytest.fixture(scope="session")
def musubi(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    (home,) = given("MUSUBI_PATH")
    python = os.environ.get("MUSUBI_PYTHON") or given("SD_SCRIPTS_PYTHON")[0]
    return Trainer(Path(home), python, stand_ins(python, tmp_path_factory.mktemp("stand_ins")))


@pytest.fixture(scope="session")
def ai_toolkit() -> Path:
    return Path(given("AI_TOOLKIT_PATH")[0])


@pytest.fixture(scope="session")
def onetrainer() -> Path:
    return Path(given("ONETRAINER_PATH")[0])
