"""Files that all characters of a library share."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from likeness.errors import BadNameError, LibraryError, PathError, StorageError
from likeness.library import Library
from likeness.shared_files import (
    KINDS,
    LISTS,
    LORAS,
    PROJECTS,
    WORKFLOWS,
    shared_names,
    shared_path,
    shared_read,
    shared_slug,
    shared_trash,
    shared_update,
    shared_write,
)

TRICKS = ["", "../ada", "a/b", "a\\b", "/etc/passwd", ".hidden", "_shared", "con", "NUL", "a\0b", "Ada", "a" * 65, "ä"]


def test_what_is_written_is_read_and_listed(library: Library) -> None:
    assert shared_read(library, LISTS, "summer") is None and shared_names(library, LISTS) == []
    path = shared_write(library, LISTS, "summer", b"x = 1\n")
    assert path == library.roots[0] / "_shared" / "lists" / "summer.toml"
    assert shared_read(library, LISTS, "summer") == b"x = 1\n"
    assert shared_names(library, LISTS) == ["summer"] and shared_names(library, PROJECTS) == []
    assert shared_path(library, WORKFLOWS, "a").name == "a.json"
    assert shared_write(library, LORAS, "", b"").name == "loras.toml"


def test_shared_files_are_no_character(library: Library) -> None:
    shared_write(library, PROJECTS, "profile", b"")
    assert library.slugs() == []


@pytest.mark.parametrize("name", TRICKS)
def test_a_name_that_is_no_slug_reaches_no_file(library: Library, name: str) -> None:
    for kind in (LISTS, PROJECTS, WORKFLOWS):
        with pytest.raises(BadNameError):
            shared_read(library, kind, name)
        with pytest.raises(BadNameError):
            shared_write(library, kind, name, b"")
    assert not list(library.roots[0].rglob("*.toml"))


def test_a_name_that_people_type_becomes_a_file_name(library: Library) -> None:
    assert shared_slug(LISTS, "Summer Looks") == "summer_looks" and shared_slug(LISTS, "a-b_1") == "a-b_1"
    for name in ("../x", "", "   ", "日本", "a\nb"):
        with pytest.raises(BadNameError, match="cannot name a value list"):
            shared_slug(LISTS, name)


def test_the_first_root_that_has_a_file_wins_and_writing_goes_to_the_first(tmp_path: Path) -> None:
    one, two = Library([tmp_path / "one"]), Library([tmp_path / "two"])
    both = Library([tmp_path / "one", tmp_path / "two"])
    shared_write(two, PROJECTS, "p", b"two")
    assert shared_read(both, PROJECTS, "p") == b"two" and shared_names(both, PROJECTS) == ["p"]
    shared_write(both, PROJECTS, "p", b"one")
    assert shared_read(both, PROJECTS, "p") == b"one" == shared_read(one, PROJECTS, "p")
    assert shared_read(two, PROJECTS, "p") == b"two" and shared_names(both, PROJECTS) == ["p"]


def test_a_removed_file_lies_in_the_trash_and_does_not_come_back_from_another_root(tmp_path: Path) -> None:
    both = Library([tmp_path / "one", tmp_path / "two"])
    for root in both.roots:
        shared_write(Library([root]), PROJECTS, "p", root.name.encode())
    target = shared_trash(both, PROJECTS, "p")
    assert target.read_bytes() == b"one" and target.parent == tmp_path / "one" / ".trash"
    assert shared_read(both, PROJECTS, "p") is None
    with pytest.raises(LibraryError, match=r"no project 'p'; there are none"):
        shared_trash(both, PROJECTS, "p")


def test_two_removals_within_a_second_both_stay_in_the_trash(library: Library) -> None:
    for text in (b"1", b"2"):
        shared_write(library, LISTS, "a", text)
        shared_trash(library, LISTS, "a")
    assert sorted(p.read_bytes() for p in (library.roots[0] / ".trash").iterdir()) == [b"1", b"2"]


def test_changes_of_many_writers_are_all_kept(library: Library) -> None:
    def add() -> None:
        for _ in range(10):
            shared_update(library, LORAS, "", lambda data: (data or b"") + b"x")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared_read(library, LORAS) == b"x" * 40


def test_a_file_that_is_too_large_is_neither_read_nor_written(library: Library) -> None:
    limit = KINDS[PROJECTS].limit
    path = shared_write(library, PROJECTS, "p", b"x" * limit)
    with pytest.raises(LibraryError, match="larger than 128 KB"):
        shared_write(library, PROJECTS, "p", b"x" * (limit + 1))
    path.write_bytes(b"x" * (limit + 1))
    with pytest.raises(StorageError, match="larger than"):
        shared_read(library, PROJECTS, "p")


def test_a_link_out_of_the_library_is_not_followed(library: Library, tmp_path: Path) -> None:
    secret = tmp_path / "secret.toml"
    secret.write_bytes(b"secret")
    folder = shared_write(library, PROJECTS, "p", b"").parent
    (folder / "q.toml").symlink_to(secret)
    with pytest.raises(PathError):
        shared_read(library, PROJECTS, "q")
    with pytest.raises(PathError):
        shared_write(library, PROJECTS, "q", b"")
    assert secret.read_bytes() == b"secret"
