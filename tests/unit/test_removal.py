"""What is taken away is gone everywhere, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from likeness.character import open_character, read_faces
from likeness.create import NamedImage, create_character, draft
from likeness.errors import LibraryError
from likeness.faces.cache import CachedAnalyser, EmbeddingCache
from likeness.identity_store import store_of
from likeness.library import Library
from likeness.removal import delete_for_good, duplicate, remove_reference
from likeness.settings import Settings, change_settings, read_settings

from ..fakes import FakeAnalyser, face_picture


def grow(library: Library, name: str, person: int) -> None:
    pictures = [NamedImage(f"{i}.png", face_picture(person, i)) for i in range(3)]
    create_character(library, draft(name), pictures, FakeAnalyser())


@pytest.fixture
def library(tmp_path: Path) -> Library:
    found = Library([tmp_path / "characters"])
    grow(found, "Ada", 1)
    grow(found, "Ada Two", 2)
    return found


def test_a_copy_is_a_character_of_its_own(library: Library) -> None:
    duplicate(library, "ada", "Bea")
    first, second = open_character(library, "ada"), open_character(library, "bea")
    assert first.identity.digest == second.identity.digest and second.profile.name == "Bea"
    remove_reference(library, "bea", "references/001.png")
    assert len(open_character(library, "ada").faces) == 3
    with pytest.raises(LibraryError, match="exists already"):
        duplicate(library, "ada", "Ada")


def test_a_removed_reference_leaves_no_face_and_no_compiled_identity(library: Library) -> None:
    folder = library.folder("ada")
    (folder / "identity").mkdir()
    (folder / "identity" / "sd15-x.safetensors").write_bytes(b"made with that face, too")
    before = open_character(library, "ada").identity.digest
    remove_reference(library, "ada", "references/002.png")
    stored = read_faces(folder, "buffalo_l")
    assert stored is not None and [n for n, _ in stored.named] == ["references/001.png", "references/003.png"]
    assert list((folder / "identity").iterdir()) == [] and open_character(library, "ada").identity.digest != before


def test_two_removed_pictures_of_one_name_are_both_in_the_trash(library: Library) -> None:
    remove_reference(library, "ada", "references/003.png")
    (library.folder("ada") / "references" / "003.png").write_bytes(b"another")
    profile = library.get("ada")
    again = profile.references[0].model_copy(update={"file": "references/003.png"})
    library.save(profile.model_copy(update={"references": (*profile.references, again)}))
    remove_reference(library, "ada", "references/003.png")
    trash = library.roots[0] / ".trash" / "ada-references"
    assert sorted(p.name for p in trash.iterdir()) == ["003-1.png", "003.png"]


def test_the_last_reference_takes_the_stored_faces_with_it(library: Library) -> None:
    for n in (1, 2, 3):
        remove_reference(library, "ada", f"references/00{n}.png")
    assert list((library.folder("ada") / "faces").iterdir()) == []
    assert not open_character(library, "ada").has_identity


def test_pictures_that_were_taken_out_go_with_a_character_that_is_renamed(library: Library, tmp_path: Path) -> None:
    trash = library.roots[0] / ".trash"
    for slug, name in (("ada", "Eve"), ("ada_two", "Ada")):
        remove_reference(library, slug, "references/001.png")
        library.rename(slug, name)
    remove_reference(library, "ada", "references/002.png")
    assert sorted(p.relative_to(trash).as_posix() for p in trash.rglob("*.png")) == [
        "ada-references/001.png", "ada-references/002.png", "eve-references/001.png",
    ]  # fmt: skip
    library.trash("eve")
    library.rename("ada", "Eve")  # what the other Eve has left stays as it was
    assert sorted(p.name for p in trash.iterdir() if "references" in p.name) == ["eve-references", "eve-references-2"]
    assert len(list((trash / "eve-references-2").iterdir())) == 2
    delete_for_good(library, "eve", EmbeddingCache(tmp_path / "cache"))
    assert list(trash.iterdir()) == []


def test_deleting_for_good_spares_a_character_of_a_longer_name(library: Library, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    analyser = CachedAnalyser(FakeAnalyser(), cache)
    for person in (1, 2):
        for shot in range(3):
            analyser.analyse(face_picture(person, shot))
    library.trash("ada_two")
    grow(library, "Ada Two", 2)
    remove_reference(library, "ada", "references/001.png")
    assert delete_for_good(library, "ada", cache) == 3
    assert library.slugs() == ["ada_two"] and len(list((tmp_path / "cache").rglob("*.safetensors"))) == 3
    assert [p.name[:7] for p in (library.roots[0] / ".trash").iterdir()] == ["ada_two"]
    with pytest.raises(LibraryError, match="no character"):
        delete_for_good(library, "ada", cache)


def test_vectors_without_pictures_are_the_same_vectors(library: Library) -> None:
    before = open_character(library, "ada").identity.vector
    duplicate(Library(library.roots, keeps_crops=lambda: False), "ada", "Bare")
    assert (open_character(library, "bare").identity.vector == before).all()
    size = next((library.folder("bare") / "faces").iterdir()).stat().st_size
    assert size < 12_000  # three crops would be 450 kB


def test_removing_a_reference_where_only_vectors_are_kept_keeps_no_picture_of_a_face(library: Library) -> None:
    remove_reference(Library(library.roots, keeps_crops=lambda: False), "ada", "references/002.png")
    assert [f.face.crop for f in open_character(library, "ada").faces] == [None, None]


def test_settings_that_cannot_be_read_are_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    assert read_settings(path) == Settings()
    assert change_settings(path, {"keep_crops": False}).keep_crops is False
    assert (
        change_settings(path, {"provider": "cuda"})
        == read_settings(path)
        == Settings(provider="cuda", keep_crops=False)
    )
    path.write_text("{")
    assert read_settings(path) == Settings()


def test_the_cache_takes_nothing_where_only_vectors_may_be_kept(tmp_path: Path) -> None:
    allowed = False
    analyser = CachedAnalyser(FakeAnalyser(), EmbeddingCache(tmp_path / "cache", lambda: allowed))
    analyser.analyse(face_picture(1, 0))
    assert list(tmp_path.rglob("*.safetensors")) == []
    allowed = True
    analyser.analyse(face_picture(1, 0))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


def test_a_compile_that_ends_after_a_deletion_brings_nothing_back(library: Library, tmp_path: Path) -> None:
    opened = open_character(library, "ada")
    store = store_of(opened, tmp_path / "private")
    library.trash("ada")
    assert store.folder is not None
    store.keep(store.folder / "sd15-x.safetensors", b"compiled")
    assert not library.folder("ada").exists()
