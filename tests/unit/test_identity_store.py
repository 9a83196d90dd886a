from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from likeness.character import open_character
from likeness.identity_store import KEPT_EXTRA, KEPT_PRIVATE, FaceRecipe, IdentityStore, store_of
from likeness.library import Library

RECIPES = [
    FaceRecipe(combine="concat"),
    FaceRecipe(negative="ab"),
    FaceRecipe(crop=256),
    FaceRecipe(empty_image="black"),
    FaceRecipe(plus_v2=True),
    FaceRecipe(plus_v2=False),
]


@pytest.fixture
def store(ada: Library, tmp_path: Path) -> IdentityStore:
    return store_of(open_character(ada, "ada"), tmp_path / "private")


def test_every_recipe_has_a_mark_of_its_own() -> None:
    assert FaceRecipe().mark == ""
    assert len({r.mark for r in RECIPES}) == len(RECIPES)
    assert all(len(r.mark) == 9 for r in RECIPES)


def test_the_default_recipe_has_the_plain_name(store: IdentityStore, ada: Library) -> None:
    folder = ada.folder("ada") / "identity"
    assert store.path("sd15", "sub/faceid_sd15.bin") == folder / "sd15-faceid_sd15.safetensors"
    extra = store.path("sd15", "faceid_sd15.bin", RECIPES[0])
    assert extra == folder / f"sd15-faceid_sd15{RECIPES[0].mark}.safetensors"


def test_stored_adapters_are_listed_by_recipe(store: IdentityStore) -> None:
    for adapter, recipe in (("a.bin", FaceRecipe()), ("b.bin", RECIPES[0]), ("c.bin", RECIPES[1])):
        path = store.path("sd15", adapter, recipe)
        assert path is not None
        store.keep(path, b"x")
    assert store.adapters("sd15", FaceRecipe()) == ["a.safetensors"]
    assert store.adapters("sd15", RECIPES[0]) == ["b.safetensors"]
    assert store.adapters("sd15") == ["a.safetensors", "b.safetensors", "c.safetensors"]
    assert store.adapters("sdxl") == []
    assert store.path("sd15", "b.bin", None) == store.path("sd15", "b.bin", RECIPES[0])
    assert store.path("sd15", "d.bin", None) is None


def write_in_turn(store: IdentityStore, names: list[str], recipe: FaceRecipe) -> list[Path]:
    """Files of growing age: the first is the oldest."""
    paths = []
    for second, name in enumerate(names):
        path = store.path("sd15", name, recipe)
        assert path is not None
        store.keep(path, b"x")
        os.utime(path, (second, second))
        paths.append(path)
    return paths


def test_the_oldest_extra_files_go_and_default_ones_stay(store: IdentityStore) -> None:
    plain = write_in_turn(store, ["p1.bin", "p2.bin"], FaceRecipe())
    extra = write_in_turn(store, [f"e{i}.bin" for i in range(KEPT_EXTRA + 2)], RECIPES[0])
    assert [p.exists() for p in plain] == [True, True]
    assert [p.exists() for p in extra] == [False] * 2 + [True] * KEPT_EXTRA
    store.keep(extra[2], b"y")
    assert sum(p.exists() for p in extra) == KEPT_EXTRA, "writing one anew removes none"


def test_a_character_without_a_folder_has_a_private_place(ada: Library, tmp_path: Path) -> None:
    character = open_character(ada, "ada")
    private = tmp_path / "private"
    store = store_of(replace(character, folder=None), private)
    path = store.path("sd15", "a.bin")
    assert path == private / f"{character.identity.digest[:16]}-sd15-a.safetensors"
    paths = write_in_turn(store, [f"{i}.bin" for i in range(KEPT_PRIVATE + 1)], FaceRecipe())
    assert [p.exists() for p in paths] == [False] + [True] * KEPT_PRIVATE
    assert len(store.adapters("sd15", FaceRecipe())) == KEPT_PRIVATE


def test_nothing_is_kept_through_a_link_to_elsewhere(ada: Library, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (ada.folder("ada") / "identity").symlink_to(elsewhere, target_is_directory=True)
    store = store_of(open_character(ada, "ada"), tmp_path / "private")
    assert store.path("sd15", "a.bin") is None
    assert store.adapters("sd15") == []
