"""A library in a temporary folder, with a character in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from likeness.character import Character, open_character
from likeness.create import NamedImage, create_character, draft
from likeness.library import Library
from likeness.sweep.run import SweepRun

from ..fakes import FakeAnalyser, face_picture
from .sweep_runs import runs_of


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library([tmp_path / "characters"])


@pytest.fixture
def analyser() -> FakeAnalyser:
    return FakeAnalyser()


@pytest.fixture
def ada(library: Library, analyser: FakeAnalyser) -> Library:
    """The library with a character "ada" of three pictures."""
    pictures = [NamedImage(f"photo {i}", face_picture(1, i)) for i in range(3)]
    create_character(library, draft("Ada", trigger="adaray", class_word="woman"), pictures, analyser)
    return library


@pytest.fixture
def character(ada: Library) -> Character:
    return open_character(ada, "ada")


@pytest.fixture
def make(tmp_path: Path, character: Character, analyser: FakeAnalyser) -> Callable[..., SweepRun]:
    """Makes sweeps of Ada."""
    return runs_of(tmp_path / "output", character, analyser)
