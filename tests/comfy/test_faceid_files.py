"""When a compiled identity is taken from disk, made anew, and where it lies."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ..conftest import ROOT, load_folder
from ..faceid.random_adapter import nested, state_dict
from ..fakes import PIPELINE, make_face

NAME = "ip-adapter-faceid_sd15.bin"


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    """Modules of the pack as ComfyUI loads it; its classes are not those of the installed packages."""
    load_folder("likeness_files_pack", ROOT)
    names = ("nodes.faceid_files", "nodes.faceid_options", "nodes.host", "likeness.character", "likeness.identity")
    found = {n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_files_pack.{n}") for n in names}
    return SimpleNamespace(**found)


@pytest.fixture
def adapters(pack: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of adapters with one in it; nothing is written outside of tmp_path."""
    import folder_paths

    folder = tmp_path / "ipadapter"
    folder.mkdir()
    write_adapter(folder / NAME)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ipadapter", ([str(folder)], {".bin", ".safetensors"}))
    monkeypatch.setattr(pack.host, "_private_folder", lambda: tmp_path / "private")
    monkeypatch.setattr(pack.host, "_hashes", [])
    yield folder
    folder_paths.filename_list_cache.pop("ipadapter", None)


def write_adapter(path: Path, salt: str = "", **kind: Any) -> None:
    torch.save(nested(state_dict("sd15", salt=salt, **kind)), path)


@pytest.fixture
def make(pack: SimpleNamespace, tmp_path: Path) -> Callable[..., Any]:
    def make(shots: int = 3, folder: bool = True, crops: bool = True, person: int = 1) -> Any:
        """A character of the pack's own classes, with faces of the fakes."""
        faces = [make_face(person, shot) for shot in range(shots)]
        faces = faces if crops else [replace(face, crop=None) for face in faces]
        profile_of = sys.modules["likeness_files_pack.likeness.profile"].Profile
        named = [pack.identity.ReferenceFace(f"references/{i:03d}.png", 1.0, face) for i, face in enumerate(faces, 1)]
        place = tmp_path / "characters" / "ada"
        place.mkdir(parents=True, exist_ok=True)
        profile = profile_of(name="Ada", slug="ada", face_model="buffalo_l")
        return pack.character.Character(profile, place if folder else None, PIPELINE, tuple(named), ())

    return make


def compile_it(pack: SimpleNamespace, character: Any, **options: Any) -> tuple[Any, Any]:
    files = pack.faceid_files.find(character, "sd15", options=pack.faceid_options.FaceIDOptions(**options))
    return pack.faceid_files.compiled_identity(character, files), files


def stored(pack: SimpleNamespace, character: Any, files: Any) -> bool:
    return pack.faceid_files.stored_identity(character, files, "auto") is not None


def test_the_first_run_has_the_numbers_of_all_later_ones(
    pack: SimpleNamespace, adapters: Path, make: Callable[..., Any]
) -> None:
    first, files = compile_it(pack, make())
    assert files.compiled.name == "sd15-ip-adapter-faceid_sd15.safetensors" and files.compiled.is_file()
    second, _ = compile_it(pack, make())
    assert torch.equal(first.keys, second.keys) and first.provenance == second.provenance


@pytest.mark.parametrize("change", ["references", "adapter", "recipe"])
def test_a_change_compiles_again(pack: SimpleNamespace, adapters: Path, make: Callable[..., Any], change: str) -> None:
    first, files = compile_it(pack, make())
    if change == "adapter":
        write_adapter(adapters / NAME, salt="other ")
    shots = 2 if change == "references" else 3
    options = {"combine": "concat"} if change == "recipe" else {}
    again, changed = compile_it(pack, make(shots), **options)
    assert not torch.equal(first.keys[..., :4, :], again.keys[..., :4, :])
    assert (changed.compiled == files.compiled) == (change != "recipe")
    assert stored(pack, make(shots), changed)


def test_without_the_adapter_what_was_compiled_is_used(
    pack: SimpleNamespace, adapters: Path, make: Callable[..., Any]
) -> None:
    first, _ = compile_it(pack, make(), combine="average")
    (adapters / NAME).unlink()
    again, files = compile_it(pack, make(), combine="average")
    assert files.adapter is None and torch.equal(first.keys, again.keys)
    plain = pack.faceid_files.find(make(), "sd15")
    assert not plain.usable and "has no FaceID adapter for sd15" in plain.missing
    assert pack.faceid_files.find(make(), "sd15", any_recipe=True).usable, "sampling settings need no recipe"


def test_what_is_too_large_to_export_is_not_stored(
    pack: SimpleNamespace, adapters: Path, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(pack.faceid_files, "MAX_FILE", 1000)
    made, files = compile_it(pack, make())
    assert made.keys.numel() and not files.compiled.exists()
    assert "compiled again next time" in caplog.text


def test_a_character_without_a_folder_is_kept_privately(
    pack: SimpleNamespace, adapters: Path, make: Callable[..., Any], tmp_path: Path
) -> None:
    character = make(folder=False)
    _, files = compile_it(pack, character)
    name = f"{character.identity.digest[:16]}-sd15-ip-adapter-faceid_sd15.safetensors"
    assert [p.name for p in (tmp_path / "private" / "identity").iterdir()] == [name]
    assert stored(pack, character, files)
    assert not list((tmp_path / "characters").rglob("*.safetensors"))


def test_faces_without_pictures_take_an_adapter_that_needs_none(
    pack: SimpleNamespace, adapters: Path, make: Callable[..., Any]
) -> None:
    write_adapter(adapters / "ip-adapter-faceid-plusv2_sd15.bin", kind="plus")
    chosen = pack.faceid_files.find(make(crops=False), "sd15")
    assert chosen.adapter is not None and chosen.adapter.name == NAME
    seen = pack.faceid_files.find(make(), "sd15")
    assert seen.adapter is not None and seen.adapter.name == "ip-adapter-faceid-plusv2_sd15.bin"
    against = pack.faceid_options.FaceIDOptions(negative=make(crops=False, person=2))
    assert pack.faceid_files.find(make(), "sd15", options=against).adapter.name == NAME


def test_a_negative_face_takes_the_uncond_rows(pack: SimpleNamespace, adapters: Path, make: Callable[..., Any]) -> None:
    plain, _ = compile_it(pack, make())
    against, _ = compile_it(pack, make(), negative=make(person=2))
    itself, _ = compile_it(pack, make(), negative=make())
    assert torch.equal(plain.keys[:, 0], against.keys[:, 0])
    assert not torch.equal(plain.keys[:, 1], against.keys[:, 1])
    assert torch.equal(itself.keys[:, 0], itself.keys[:, 1])


def test_combining_keeps_faces_apart_where_it_says_so(
    pack: SimpleNamespace, adapters: Path, make: Callable[..., Any]
) -> None:
    concat, _ = compile_it(pack, make(), combine="concat")
    each, _ = compile_it(pack, make(), combine="per image")
    assert (concat.faces, concat.frames, concat.tokens) == (3, 1, 12)
    assert (each.faces, each.frames, each.tokens) == (1, 3, 4)
