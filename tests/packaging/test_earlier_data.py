"""What an earlier version wrote is read as it was."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from likeness import images
from likeness.calibration import stored_calibration
from likeness.character import open_character
from likeness.dataset.set_folder import check_set, read_set
from likeness.faces.cache import EmbeddingCache
from likeness.identity_store import store_of
from likeness.library import Library
from likeness.profile_toml import emit, parse

from ..fakes import FakeAnalyser, embedding
from .conftest import PREVIOUS


@pytest.fixture
def written(tmp_path: Path) -> Path:
    with zipfile.ZipFile(PREVIOUS / "data.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_a_character_is_read_and_written_without_losing_a_line(written: Path) -> None:
    library = Library([written / "characters"])
    assert [(e.slug, e.error) for e in library.list()] == [("ada_ray", None)]
    character = open_character(library, "ada_ray")
    sd15 = character.profile.settings("sd15")
    assert (sd15.method, sd15.strengths.source, sd15.strengths.faceid_weight) == ("lora_faceid", "swept", 0.65)
    assert sd15.lora is not None and sd15.lora.comparison is not None and sd15.sweep is not None
    before = (written / "characters" / "ada_ray" / "profile.toml").read_bytes()
    again = parse(emit(parse(before)))
    assert again == character.profile
    assert set(before.decode().splitlines()) <= set(emit(again).decode().splitlines())


def test_its_faces_count_and_its_accept_band_still_stands(written: Path) -> None:
    character = open_character(Library([written / "characters"]), "ada_ray", lambda pack: FakeAnalyser())
    assert [f.file for f in character.faces] == [r.file for r in character.profile.references]
    np.testing.assert_array_equal(character.faces[1].face.embedding, embedding(1, 1))
    assert character.has_identity and stored_calibration(character) is not None


def test_a_compiled_face_is_found_and_opens(written: Path) -> None:
    faceid = pytest.importorskip("faceid", reason="torch is not installed")
    character = open_character(Library([written / "characters"]), "ada_ray")
    path = store_of(character, written / "private").path("sd15", "ip-adapter-faceid_sd15.bin")
    assert path is not None
    assert faceid.from_bytes(path.read_bytes()).provenance.adapter_name == path.stem.removeprefix("sd15-") + ".bin"


def test_a_cached_embedding_is_found(written: Path) -> None:
    picture = images.read(written / "characters" / "ada_ray" / "references" / "001.png")
    (face,) = EmbeddingCache(written / "cache").get(picture, FakeAnalyser().pipeline) or ()
    np.testing.assert_array_equal(face.embedding, embedding(1, 0))


def test_a_training_set_is_whole(written: Path) -> None:
    assert check_set(written / "sets" / "first") == ()
    assert len(read_set(written / "sets" / "first").plan.items) == 2
