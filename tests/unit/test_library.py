from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from likeness.cards import Cards
from likeness.errors import BadNameError, LibraryError, LikenessError, PathError, ProfileError
from likeness.files import TEMP_PREFIX
from likeness.library import LOCKS, TRASH, Library
from likeness.profile import Profile
from likeness.profile_toml import parse


def ada(**values: str) -> Profile:
    return Profile(**{"name": "Ada", "slug": "ada", **values})


def visible(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir() if not p.name.startswith("."))


def strays(root: Path) -> list[Path]:
    return list(root.rglob(f"{TEMP_PREFIX}*"))


def test_what_is_saved_is_got_back(library: Library) -> None:
    folder = library.save(ada(trigger="adaray"))
    assert folder == library.roots[0].resolve() / "ada"
    assert library.get("ada") == ada(trigger="adaray")
    assert library.exists("ada") and not library.exists("eve")
    assert visible(folder) == ["profile.toml"]


def test_a_library_needs_a_folder_but_the_folder_need_not_exist(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="extra_model_paths"):
        Library([])
    assert Library([tmp_path / "none"]).list() == []
    assert not (tmp_path / "none").exists()


def test_a_missing_character_is_answered_with_those_there_are(library: Library) -> None:
    library.save(ada())
    with pytest.raises(LibraryError, match=r"No character 'eve'.*characters there: ada"):
        library.get("eve")


def test_the_listing_is_sorted_and_takes_folders_with_a_profile_only(library: Library) -> None:
    for slug in ("zoe", "ada", "mia"):
        library.save(ada(slug=slug))
    (library.roots[0] / "empty").mkdir()
    (library.roots[0] / "Not A Slug").mkdir()
    (library.roots[0] / "Not A Slug" / "profile.toml").write_text("")
    assert library.slugs() == [e.slug for e in library.list()] == ["ada", "mia", "zoe"]


def test_a_broken_profile_is_listed_with_its_error_and_harms_no_other(library: Library) -> None:
    library.save(ada())
    for slug, text in (("bad", "name = "), ("moved", 'name = "A"\nslug = "other"\n')):
        (library.roots[0] / slug).mkdir()
        (library.roots[0] / slug / "profile.toml").write_text(text)
    (tmp := library.roots[0] / "outside").symlink_to(library.roots[0].parent / "elsewhere")
    tmp.resolve().mkdir()
    (tmp.resolve() / "profile.toml").write_text('name = "O"\nslug = "outside"\n')
    entries = {e.slug: e for e in library.list()}
    assert list(entries) == ["ada", "bad", "moved", "outside"]
    assert entries["ada"].profile == ada() and entries["ada"].error is None
    assert isinstance(entries["bad"].error, ProfileError) and entries["bad"].profile is None
    assert "make them equal" in str(entries["moved"].error)
    assert isinstance(entries["outside"].error, PathError)


def test_creating_twice_is_refused_and_the_first_stays(library: Library) -> None:
    library.create(ada(trigger="one"))
    with pytest.raises(LibraryError, match="exists already"):
        library.create(ada(trigger="two"))
    assert library.get("ada").trigger == "one"


def test_a_folder_in_the_way_is_named(library: Library) -> None:
    (library.roots[0] / "ada").mkdir(parents=True)
    with pytest.raises(LibraryError, match=r"in the way.*move it away"):
        library.create(ada())
    assert strays(library.roots[0]) == []


def test_two_roots_are_read_and_a_character_stays_where_it_is(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    Library([second]).save(ada(trigger="second"))
    both = Library([first, second])
    assert both.slugs() == ["ada"]
    both.save(ada(trigger="changed"))
    assert Library([second]).get("ada").trigger == "changed" and not (first / "ada").exists()
    both.create(ada(slug="eve"))
    assert visible(first) == ["eve"]
    with pytest.raises(LibraryError):
        both.create(ada())


def test_of_two_characters_of_one_name_the_first_root_wins(tmp_path: Path) -> None:
    for root in ("first", "second"):
        Library([tmp_path / root]).save(ada(trigger=root))
    both = Library([tmp_path / "first", tmp_path / "second"])
    assert both.get("ada").trigger == "first" and both.slugs() == ["ada"]
    assert both.folders() == {"ada": both.folder("ada")}


def test_a_second_look_at_many_characters_asks_the_disk_little(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        library.save(ada(slug=f"ada_{i}"))
    cards, asked = Cards(), []
    first = cards.of(library)
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda *given, **more: asked.append(given) or real(*given, **more))
    monkeypatch.setattr(library, "read", None)
    assert cards.of(library) == first and len(first) == 20
    assert len(asked) <= len(library.roots)  # each walks up from the folder to the disk's root


def test_a_renamed_character_takes_everything_along(library: Library) -> None:
    folder = library.save(ada(trigger="adaray"))
    (folder / "references").mkdir()
    (folder / "references" / "001.png").write_bytes(b"x")
    profile = library.rename("ada", "Eve Stone")
    assert (profile.name, profile.slug, profile.trigger) == ("Eve Stone", "eve_stone", "adaray")
    assert library.get("eve_stone") == profile and library.slugs() == ["eve_stone"]
    assert (library.folder("eve_stone") / "references" / "001.png").read_bytes() == b"x"
    assert strays(library.roots[0]) == []


def test_a_new_spelling_keeps_the_folder(library: Library) -> None:
    library.save(ada())
    library.rename("ada", "ADA!")
    assert library.get("ada").name == "ADA!"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("Eve", LibraryError),
        ("../x", BadNameError),
        ("A" * 81, ProfileError),
        ("B\u2028C", ProfileError),
        ("x\ud800", LikenessError),
    ],
)
def test_a_rename_that_cannot_be_leaves_everything(library: Library, name: str, error: type[Exception]) -> None:
    library.save(ada())
    library.save(ada(slug="eve", name="Eve"))
    with pytest.raises(error):
        library.rename("ada", name)
    assert library.slugs() == ["ada", "eve"]
    assert (library.get("ada"), library.get("eve").name) == (ada(), "Eve")


def test_renaming_nobody_is_an_error(library: Library) -> None:
    with pytest.raises(LibraryError, match="No character 'ada'"):
        library.rename("ada", "Eve")
    assert library.slugs() == []


def test_trashing_moves_and_never_deletes(library: Library) -> None:
    places = []
    for trigger in ("one", "two", "three"):
        library.save(ada(trigger=trigger))
        places.append(library.trash("ada"))
    assert len(set(places)) == 3
    assert all(p.parent == library.roots[0].resolve() / TRASH for p in places)
    triggers = ["one", "two", "three"]
    assert [parse((p / "profile.toml").read_bytes()).trigger for p in places] == triggers
    assert library.slugs() == []
    with pytest.raises(LibraryError, match="to trash"):
        library.trash("ada")


def test_a_broken_character_can_be_trashed(library: Library) -> None:
    (library.roots[0] / "bad").mkdir(parents=True)
    (library.roots[0] / "bad" / "profile.toml").write_text("name = ")
    assert library.trash("bad").is_dir()


def test_an_update_reads_changes_and_writes(library: Library) -> None:
    library.save(ada())
    assert library.update("ada", lambda p: p.model_copy(update={"trigger": "new"})).trigger == "new"
    assert library.get("ada").trigger == "new"


def test_an_update_that_fails_or_goes_elsewhere_changes_nothing(library: Library) -> None:
    library.save(ada())
    with pytest.raises(KeyError):
        library.update("ada", lambda p: {}["x"])
    with pytest.raises(LibraryError, match="rename"):
        library.update("ada", lambda p: p.model_copy(update={"slug": "eve"}))
    assert library.slugs() == ["ada"] and library.get("ada") == ada()


def test_two_renames_across_each_other_take_their_locks_in_one_order(tmp_path: Path) -> None:
    taken: list[str] = []

    class Recording(Library):
        @contextmanager
        def lock(self, slug: str) -> Iterator[None]:
            taken.append(slug)
            with super().lock(slug):
                yield

    library = Recording([tmp_path / "characters"])
    for name in ("Ada", "Eve"):
        library.save(ada(slug=name.lower(), name=name))
    for slug, name in (("ada", "Eve"), ("eve", "Ada")):
        taken.clear()
        with pytest.raises(LibraryError, match="exists already"):
            library.rename(slug, name)
        assert taken == ["ada", "eve"]


def test_locks_and_trash_are_not_characters(library: Library) -> None:
    library.save(ada())
    library.trash("ada")
    assert (library.roots[0] / LOCKS).is_dir() and library.list() == []


@pytest.mark.parametrize("slug", ["..", "a/b", "", "NUL", "Ada"])
@pytest.mark.parametrize("method", ["get", "exists", "trash", "folder"])
def test_no_method_takes_a_name_that_is_none(library: Library, method: str, slug: str) -> None:
    with pytest.raises(BadNameError):
        getattr(library, method)(slug)


def test_the_sweep_covers_every_root(tmp_path: Path) -> None:
    roots = [tmp_path / "a", tmp_path / "b", tmp_path / "none"]
    for root in roots[:2]:
        root.mkdir()
        (root / f"{TEMP_PREFIX}x.tmp").write_bytes(b"")
        os.utime(root / f"{TEMP_PREFIX}x.tmp", (0, 0))
    assert Library(roots).sweep() == 2
