"""A library in a temporary folder, with a character in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from likeness.create import NamedImage, create_character, draft
from likeness.library import Library

from ..fakes import FakeAnalyser, face_picture


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
