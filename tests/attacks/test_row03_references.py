"""Attack: a profile points out of its folder, by text or by a link that lies in it, or is endless."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from likeness import images
from likeness.archive import export_zip
from likeness.character import open_character
from likeness.create import NamedImage, add_references
from likeness.errors import LikenessError, PathError, ProfileError
from likeness.library import Library
from likeness.paths import inside
from likeness.profile import MAX_REFERENCES
from likeness.profile_toml import parse

from ..fakes import FakeAnalyser, face_picture

HEAD = 'name = "Ada"\nslug = "ada"\n'


@pytest.mark.parametrize(
    "file",
    ["../x.png", "../../etc/passwd", "/etc/passwd", "references/../../x.png", "C:/x.png", "\\\\\\\\host\\\\x",
     "http://host/x.png",
     "file:///x.png", "references//x.png", "./x.png", "references/.hidden", "NUL", "references/x.png\\u0000",
     "~/x.png", "", "x.png:ads"],
)  # fmt: skip
def test_a_reference_out_of_the_folder_is_a_mistake_in_the_profile(file: str) -> None:
    with pytest.raises(ProfileError, match=r"references\[1\]\.file"):
        parse(f'{HEAD}[[references]]\nfile = "{file}"\n'.encode())


@pytest.mark.parametrize("count", [MAX_REFERENCES + 1, 10_000])
def test_endless_references_are_refused(count: int) -> None:
    short = "references = [" + ",".join('{file="a"}' for _ in range(count)) + "]\n"
    with pytest.raises(ProfileError, match=r"references|128 KB"):
        parse((HEAD + short).encode())


@pytest.fixture
def secret(ada: Library, tmp_path: Path) -> Path:
    """A folder outside the library with somebody's picture in it."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "private.png").write_bytes(images.encode_png(face_picture(9, 9)))
    return tmp_path / "secret"


def test_a_link_in_the_place_of_a_picture_is_not_followed(ada: Library, secret: Path) -> None:
    picture = ada.folder("ada") / "references" / "002.png"
    picture.unlink()
    picture.symlink_to(secret / "private.png")
    with pytest.raises(PathError):
        inside(ada.folder("ada"), "references/002.png")
    analyser = FakeAnalyser()
    character = open_character(ada, "ada", lambda pack: analyser)
    assert analyser.calls == 0 and [f.file for f in character.faces] == ["references/001.png", "references/003.png"]
    with zipfile.ZipFile(io.BytesIO(export_zip(ada, "ada"))) as archive:
        assert "ada/references/002.png" not in archive.namelist()


def test_a_linked_folder_is_neither_read_nor_written(ada: Library, secret: Path) -> None:
    folder = ada.folder("ada")
    (folder / "references").rename(folder / "gone")
    (folder / "references").symlink_to(secret)
    before = sorted(p.name for p in secret.iterdir())
    with pytest.raises(LikenessError):
        add_references(ada, "ada", [NamedImage("new", face_picture(1, 30))], FakeAnalyser())
    assert sorted(p.name for p in secret.iterdir()) == before
    assert b"private.png" not in export_zip(ada, "ada")


def test_a_linked_faces_folder_is_not_written(ada: Library, secret: Path) -> None:
    folder = ada.folder("ada")
    (folder / "faces").rename(folder / "gone")
    (folder / "faces").symlink_to(secret)
    opened = open_character(ada, "ada", lambda pack: FakeAnalyser())
    assert opened.has_identity, "computed again, and kept in memory only"
    assert [p.name for p in secret.iterdir()] == ["private.png"]


def test_a_linked_character_is_listed_with_its_error_and_not_opened(ada: Library, secret: Path) -> None:
    (secret / "profile.toml").write_text('name = "Eve"\nslug = "eve"\n')
    (ada.roots[0] / "eve").symlink_to(secret)
    with pytest.raises(PathError):
        ada.get("eve")
    assert {e.slug: e.error is None for e in ada.list()} == {"ada": True, "eve": False}
