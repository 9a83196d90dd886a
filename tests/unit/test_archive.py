from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from likeness.archive import export_zip, import_zip
from likeness.character import open_character
from likeness.errors import LibraryError, ProfileError
from likeness.files import TEMP_PREFIX
from likeness.library import Library


def exported(library: Library, tmp_path: Path) -> Path:
    path = tmp_path / "ada.zip"
    path.write_bytes(export_zip(library, "ada"))
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_character_moves_to_another_library_whole(ada: Library, tmp_path: Path) -> None:
    (ada.folder("ada") / "identity").mkdir()
    (ada.folder("ada") / "identity" / "sd15.safetensors").write_bytes(b"compiled")
    other = Library([tmp_path / "other"])
    profile = import_zip(other, exported(ada, tmp_path))
    assert profile == ada.get("ada") == other.get("ada")
    assert files_of(other.folder("ada")) == files_of(ada.folder("ada"))
    assert "identity/sd15.safetensors" in files_of(other.folder("ada"))
    assert open_character(other, "ada").identity.digest == open_character(ada, "ada").identity.digest


def test_equal_characters_give_equal_archives(ada: Library, tmp_path: Path) -> None:
    first = export_zip(ada, "ada")
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert export_zip(ada, "ada") == first
    other = Library([tmp_path / "other"])
    import_zip(other, exported(ada, tmp_path))
    assert export_zip(other, "ada") == first


def test_an_import_can_take_another_name(ada: Library, tmp_path: Path) -> None:
    profile = import_zip(ada, exported(ada, tmp_path), "Eve Stone")
    assert (profile.name, profile.slug) == ("Eve Stone", "eve_stone")
    assert ada.slugs() == ["ada", "eve_stone"] and ada.get("eve_stone") == profile


@pytest.mark.parametrize(("name", "error"), [(None, LibraryError), ("Ada", LibraryError), ("A" * 81, ProfileError)])
def test_a_name_that_is_taken_or_bad_changes_nothing(
    ada: Library, tmp_path: Path, name: str | None, error: type
) -> None:
    path, before = exported(ada, tmp_path), files_of(ada.roots[0])
    with pytest.raises(error):
        import_zip(ada, path, name)
    assert {k: v for k, v in files_of(ada.roots[0]).items() if ".locks" not in k} == {
        k: v for k, v in before.items() if ".locks" not in k
    }


def test_strays_links_and_foreign_files_stay_at_home(ada: Library, tmp_path: Path) -> None:
    folder = ada.folder("ada")
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "references" / f"{TEMP_PREFIX}abc.tmp").write_bytes(b"torn")
    (folder / "references" / ".DS_Store").write_bytes(b"x")
    (folder / "references" / "002.png.link").symlink_to(tmp_path / "secret")
    (folder / "identity").symlink_to(tmp_path)
    (folder / "todo.txt").write_bytes(b"mine")
    with zipfile.ZipFile(io.BytesIO(export_zip(ada, "ada"))) as archive:
        names = archive.namelist()
    assert sorted(names) == [
        "ada/faces/buffalo_l.safetensors",
        "ada/profile.toml",
        *(f"ada/references/00{i}.png" for i in (1, 2, 3)),
    ]
    import_zip(Library([tmp_path / "other"]), exported(ada, tmp_path))


def test_a_zip_packed_by_hand_is_taken_and_its_notes_are_left(ada: Library, tmp_path: Path) -> None:
    path = tmp_path / "hand.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("from Bob") if hasattr(archive, "mkdir") else None
        for name, data in files_of(ada.folder("ada")).items():
            archive.writestr(f"from Bob/{name}", data)
        archive.writestr("from Bob/readme.txt", "hello")
        archive.writestr("__MACOSX/from Bob/._profile.toml", "x")
    other = Library([tmp_path / "other"])
    import_zip(other, path)
    assert files_of(other.folder("ada")) == files_of(ada.folder("ada"))


def test_exporting_nobody_is_an_error(library: Library) -> None:
    with pytest.raises(LibraryError, match="No character"):
        export_zip(library, "ada")


@pytest.mark.parametrize("data", [None, b"", b"PK\x03\x04 no zip"])
def test_what_is_no_archive_is_said_so(library: Library, tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(LibraryError, match=r"x\.zip: not a readable zip file"):
        import_zip(library, tmp_path / "x.zip")


def test_nobody_elses_archive_says_that_a_character_is_an_adult(ada: Library, tmp_path: Path) -> None:
    ada.update("ada", lambda p: p.model_copy(update={"adult": True}))
    (tmp_path / "ada.zip").write_bytes(export_zip(ada, "ada"))
    assert import_zip(ada, tmp_path / "ada.zip", "Ada Two").adult is False
    assert ada.get("ada").adult is True
