"""What a full disk, a long list or somebody else's metadata may not cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from likeness.errors import LibraryError, LoraError, StorageError
from likeness.library import Library
from likeness.lora_registry import Registry
from likeness.lora_stack import parse_stack
from likeness.scenes import lists as lists_module
from likeness.scenes.lists import Entry, Lists, load_lists, save_lists
from likeness.scenes.metadata import KEY, digest_in
from likeness.scenes.saving import save_scene
from likeness.scenes.scene import Scene

from ..remote.pretended_comfy import png

OLD = Lists(outfit=(Entry(name="red", text="a red dress"),))


def test_a_list_that_is_too_long_leaves_the_old_one_where_it_is(library: Library) -> None:
    save_lists(library, "summer", OLD)
    long = Lists(outfit=tuple(Entry(name=f"{k}", text=f"{k} " + "x" * 90_000) for k in range(20)))
    with pytest.raises(LibraryError, match="larger than"):
        save_lists(library, "summer", long)
    assert load_lists(library, "summer").outfit == OLD.outfit


def test_a_full_disk_leaves_the_old_list_where_it_is(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    save_lists(library, "summer", OLD)

    def full(*_: object) -> Path:
        raise StorageError("no space left")

    monkeypatch.setattr(lists_module, "shared_write", full)
    with pytest.raises(StorageError):
        save_lists(library, "summer", Lists(outfit=(Entry(name="blue", text="a blue dress"),)))
    monkeypatch.undo()
    assert load_lists(library, "summer").outfit == OLD.outfit


def test_a_picture_tells_of_its_own_scene_whoever_queued_the_graph(tmp_path: Path) -> None:
    scene, other = (Scene(name=name, seed=1, prompt=name) for name in ("mine", "theirs"))
    texts = {KEY: json.dumps(other.metadata()), "prompt": "{}"}
    paths = save_scene(tmp_path, scene, [png("a"), png("b")], texts)
    assert [digest_in(path) for path in paths] == [(scene.digest, 1, 2), (scene.digest, 2, 2)]


@pytest.mark.parametrize("text", ["<0>", "<lora:a:1> <0>", "<lora:a:1><5>", "<lora:a:1>, <\u0660>", "a, <0>"])
def test_what_only_looks_like_a_tag_is_told(text: str) -> None:
    with pytest.raises(LoraError, match="is no LoRA"):
        parse_stack(text, Registry(), ["a.safetensors"])
