from __future__ import annotations

from pathlib import Path

import pytest

from likeness.errors import BadNameError, PathError
from likeness.paths import MAX_SLUG, check_relative, check_slug, contained, inside, is_reserved, slug_of


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Ada", "ada"),
        ("Ada Ray", "ada_ray"),
        ("  Ada   Ray  ", "ada_ray"),
        ("Zoë O'Neil", "zoe_o_neil"),
        ("R2-D2", "r2-d2"),
        ("2B", "2b"),
        ("Ⅷ", "viii"),
        ("A" * 200, "a" * MAX_SLUG),
        ("A" * 63 + " B", "a" * 63),
    ],
)
def test_a_name_becomes_a_slug(name: str, slug: str) -> None:
    assert slug_of(name) == slug == check_slug(slug)


@pytest.mark.parametrize(
    "name", ["", "   ", "黒猫", "!!!", "a/b", "a\\b", "..", "a..b", "a\0b", "a\nb", "NUL", "com1", None, 7]
)
def test_a_name_without_a_safe_slug_is_refused(name: object) -> None:
    with pytest.raises(BadNameError):
        slug_of(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "slug", ["", "-a", "_a", "Ada", "a b", "a.b", "a/b", "a" * 65, "con", "lpt9", "aux", "é", "a\n", None]
)
def test_no_slug_but_a_plain_one(slug: object) -> None:
    with pytest.raises(BadNameError):
        check_slug(slug)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        ("nul", True),
        ("NUL.txt", True),
        ("Com1.tar.gz", True),
        ("lpt²", True),
        ("con .x", True),
        ("null", False),
        ("com", False),
    ],
)
def test_device_names(name: str, reserved: bool) -> None:
    assert is_reserved(name) is reserved


@pytest.mark.parametrize("path", ["a.png", "references/001.png", "faces/buffalo_l.safetensors", "a b/c(1)+x.png"])
def test_a_plain_relative_path_is_kept(path: str) -> None:
    assert check_relative(path) == path


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "../a", "a..b", "a/../b", "a/..", ".a", "a\\b", "C:/a", "a:b", "a\0", "a\n", "a ", "a.",
     "NUL.png", "é.png",
     "x/" * 130 + "y", "a" * 130, None],
)  # fmt: skip
def test_any_other_path_is_refused(path: object) -> None:
    with pytest.raises(PathError):
        check_relative(path)  # type: ignore[arg-type]


def test_contained_gives_the_final_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert contained(tmp_path, "link", "x.png") == (tmp_path / "real" / "x.png").resolve()
    assert inside(tmp_path, "a/b.png") == (tmp_path / "a" / "b.png").resolve()


@pytest.mark.parametrize(
    "parts", [("..",), ("a", "..", ".."), ("/etc",), ("out", "x"), (".",), ("",), ("a\0",), ("../root-evil",)]
)
def test_contained_refuses_what_leaves_the_folder(tmp_path: Path, parts: tuple[str, ...]) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "root-evil").mkdir()
    (root / "out").symlink_to(tmp_path / "root-evil")
    with pytest.raises(PathError):
        contained(root, *parts)
