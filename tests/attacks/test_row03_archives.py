"""Attack: a character archive from somebody else writes outside the library, fills the disk, or takes
another character's place. Zip-slip, links, bombs, and archives damaged on the way.
"""

from __future__ import annotations

import io
import random
import stat
import time
import zipfile
from pathlib import Path

import pytest

from likeness.archive import MAX_ENTRIES, export_zip, import_zip
from likeness.errors import LibraryError, LikenessError, ProfileError
from likeness.library import Library

PROFILE = b'name = "Eve"\nslug = "eve"\n'
MUTATIONS = 400


def tree(root: Path) -> dict[str, bytes | None]:
    """Everything below `root` but lock files, which are empty and stay."""
    found = {p.relative_to(root).as_posix(): p.read_bytes() if p.is_file() else None for p in sorted(root.rglob("*"))}
    return {k: v for k, v in found.items() if ".locks" not in k}


def packed(tmp_path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]], kind: int = zipfile.ZIP_STORED) -> Path:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def refused(library: Library, path: Path, text: str = "") -> None:
    home = library.roots[0].parent
    before = tree(home)
    with pytest.raises((LibraryError, ProfileError), match=text):
        import_zip(library, path)
    assert tree(home) == before


@pytest.fixture
def home(ada: Library, tmp_path: Path) -> Library:
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "custom_nodes" / "__init__.py").write_bytes(b"mine")
    return ada


@pytest.mark.parametrize(
    "name",
    ["../evil.py", "../../evil.py", "/tmp/evil.py", "eve/../../evil.py",
     "eve/references/../../../custom_nodes/__init__.py",
     "..\\evil.py", "eve\\..\\..\\evil.py", "C:/evil.py", "C:evil.py", "\\\\host\\x", "eve/references/x:ads",
     "eve/references/NUL",
     "eve/references/.hidden", "eve/references/x.", "eve/references/a//b", "eve/references/é.png",
     "eve/faces/" + "a" * 300,
     "../eve/references/x.png"],
)  # fmt: skip
def test_a_name_that_leads_out_refuses_the_whole_archive(home: Library, tmp_path: Path, name: str) -> None:
    path = packed(tmp_path, [("eve/profile.toml", PROFILE), (name, b"evil")])
    refused(home, path, "evil.zip: ")


def test_a_name_with_a_hidden_end_is_refused(home: Library, tmp_path: Path) -> None:
    path = packed(tmp_path, [("eve/profile.toml", PROFILE), ("eve/references/a.pngX../x", b"evil")])
    path.write_bytes(path.read_bytes().replace(b"a.pngX../x", b"a.png\0../x"))
    refused(home, path, "leaves the archive")


@pytest.mark.parametrize("name", ["eve/references", "eve/references/001.png", "eve/notes.txt", "profile.toml"])
def test_a_link_in_an_archive_is_refused(home: Library, tmp_path: Path, name: str) -> None:
    link = zipfile.ZipInfo(name)
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    refused(home, packed(tmp_path, [("eve/profile.toml", PROFILE), (link, b"/etc")]), "is a link")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "second", ["eve/references/001.png", "eve/References/001.PNG".replace("References", "references")]
)
def test_two_files_of_one_name_are_refused(home: Library, tmp_path: Path, second: str) -> None:
    path = packed(tmp_path, [("eve/profile.toml", PROFILE), ("eve/references/001.png", b"1"), (second, b"2")])
    refused(home, path, "two files of one name")


@pytest.mark.parametrize("count", [MAX_ENTRIES, 10_000])
def test_endless_entries_are_refused_before_one_is_read(home: Library, tmp_path: Path, count: int) -> None:
    entries = [("eve/profile.toml", PROFILE), *((f"eve/references/{i}.png", b"") for i in range(count))]
    start = time.process_time()
    refused(home, packed(tmp_path, entries), "more than 2000 files")  # type: ignore[arg-type]
    assert time.process_time() - start < 10


def test_a_bomb_is_refused_before_it_is_unpacked(home: Library, tmp_path: Path) -> None:
    bomb = b"\0" * (90 * 1024 * 1024)
    path = packed(tmp_path, [("eve/profile.toml", PROFILE), ("eve/references/001.png", bomb)], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 200_000
    start = time.process_time()
    refused(home, path, "would grow to")
    assert time.process_time() - start < 1


def test_a_profile_that_is_a_bomb_is_refused(home: Library, tmp_path: Path) -> None:
    path = packed(tmp_path, [("eve/profile.toml", b"#" * 30_000_000)], zipfile.ZIP_DEFLATED)
    refused(home, path, "larger than 131,072 bytes")


def test_an_entry_that_lies_about_its_size_is_refused(home: Library, tmp_path: Path) -> None:
    data = b"\0" * 5_000_000
    path = packed(tmp_path, [("eve/profile.toml", PROFILE), ("eve/references/001.png", data)], zipfile.ZIP_DEFLATED)
    size = len(data).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (1000).to_bytes(4, "little")))
    refused(home, path, "evil.zip: not a readable zip")


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        (b"", "name: is missing"),
        (b'name = "Eve"\nslug = "../eve"\n', "slug"),
        (b'name = "Eve"\nslug = "eve"\n[[references]]\nfile = "../x"\n', "references"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_bad_profile_in_an_archive_is_refused(home: Library, tmp_path: Path, profile: bytes, text: str) -> None:
    refused(home, packed(tmp_path, [("eve/profile.toml", profile), ("eve/references/1.png", b"x")]), text)


@pytest.mark.parametrize("entries", [[], [("readme.txt", b"hi")], [("eve/Profile.toml.txt", PROFILE)]])
def test_an_archive_without_a_profile_is_none(home: Library, tmp_path: Path, entries: list) -> None:
    refused(home, packed(tmp_path, entries), "holds no profile.toml")


def test_a_name_that_is_taken_is_kept(home: Library, tmp_path: Path) -> None:
    refused(home, packed(tmp_path, [("x/profile.toml", PROFILE.replace(b"eve", b"ada"))]), "exists already")


def test_an_encrypted_archive_is_one_sentence(home: Library, tmp_path: Path) -> None:
    data = bytearray(packed(tmp_path, [("eve/profile.toml", PROFILE)]).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "evil.zip").write_bytes(data)
    refused(home, tmp_path / "evil.zip", "not a readable zip file")


def test_damaged_compression_is_one_sentence(home: Library, tmp_path: Path) -> None:
    path = packed(tmp_path, [("eve/profile.toml", PROFILE * 50)], zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    start = data.index(b"eve/profile.toml") + len("eve/profile.toml")
    data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)
    refused(home, path, "not a readable zip file.*decompress")


def test_a_name_in_no_encoding_is_one_sentence(home: Library, tmp_path: Path) -> None:
    path = packed(tmp_path, [("eve/profile.toml", PROFILE), ("eve/é.txt", b"x")])
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))
    refused(home, path, "not a readable zip file.*decode")


def test_a_cut_or_mutated_archive_is_imported_right_or_not_at_all(home: Library, tmp_path: Path) -> None:
    data, rng = export_zip(home, "ada"), random.Random(5)
    small = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            if "faces" not in info.filename and "003" not in info.filename:
                new.writestr(info.filename, old.read(info))
    good, path, imported = small.getvalue(), tmp_path / "x.zip", 0
    for i in range(MUTATIONS):
        changed = bytearray(good)
        if i % 10 == 0:
            del changed[rng.randrange(len(changed)) :]
        for _ in range(rng.randint(1, 3)):
            if changed:  # the directory at the end is where most of the meaning is
                near_end = rng.random() < 0.5
                at = (
                    rng.randrange(max(0, len(changed) - 400), len(changed)) if near_end else rng.randrange(len(changed))
                )
                changed[at] = rng.randrange(256)
        path.write_bytes(changed)
        other = Library([tmp_path / f"other{i}"])
        try:
            profile = import_zip(other, path)
        except LikenessError:
            assert tree(other.roots[0]) == {}
            continue
        imported += 1
        assert other.get(profile.slug) == profile
    assert 0 < imported < MUTATIONS
