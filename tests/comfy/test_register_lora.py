"""Register LoRA and Load Character's lora_version, in this process."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from likeness.create import NamedImage, create_character, draft
from likeness.library import Library

from ..conftest import ROOT, load_folder
from ..fakes import FakeAnalyser, face_picture
from ..lora_files import CORE, lora_file, notes, weights

NAMES = ("nodes.register_lora", "nodes.load_character", "nodes.host", "nodes.on_model", "likeness.errors")
ADA = notes("adaray woman, red coat", "adaray woman, smiling")


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_register_pack", ROOT)
    found = {n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_register_pack.{n}") for n in NAMES}
    found["host"].register_folders()
    return SimpleNamespace(**found)


@pytest.fixture
def home(pack: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """ComfyUI's folders, with a character."""
    paths = pack.host.folder_paths
    for kind in ("characters", "loras", "ipadapter", "clip_vision"):
        (tmp_path / kind).mkdir()
        known = paths.folder_names_and_paths.get(kind, ([], paths.supported_pt_extensions))[1]
        monkeypatch.setitem(paths.folder_names_and_paths, kind, ([str(tmp_path / kind)], known))
    before = paths.get_output_directory()
    paths.set_output_directory(str(tmp_path / "output"))
    paths.filename_list_cache.clear()
    pictures = [NamedImage(f"photo {i}", face_picture(1, i)) for i in range(3)]
    library = Library([tmp_path / "characters"])
    create_character(library, draft("Ada", trigger="adaray", class_word="woman"), pictures, FakeAnalyser())
    yield tmp_path
    paths.set_output_directory(before)
    paths.filename_list_cache.clear()


def load(pack: SimpleNamespace, **inputs: Any) -> Any:
    return pack.load_character.LoadCharacter.execute("ada", **inputs).result[0]


def take(pack: SimpleNamespace, **inputs: Any) -> dict[str, Any]:
    """Outputs by id."""
    node = pack.register_lora.RegisterLora
    ran = node.PREPARE_CLASS_CLONE({"hidden_inputs": {}}).execute(load(pack), **inputs)
    return {output.id: value for output, value in zip(node.GET_SCHEMA().outputs, ran.args, strict=True)}


def adapter(home: Path) -> None:
    (home / "ipadapter" / "ip-adapter-faceid-plusv2_sd15.bin").write_bytes(b"by its name alone")


def version_of(character: Any) -> int | None:
    lora = character.profile.settings("sd15").lora
    return lora.version if lora else None


def test_a_listed_file_waits_where_the_face_can_be_drawn_and_is_the_candidate(
    pack: SimpleNamespace, home: Path
) -> None:
    adapter(home)
    lora_file(home / "loras" / "kohya" / "ada.safetensors", told=ADA)
    out = take(pack, lora="kohya/ada.safetensors")
    assert (out["version"], out["file"]) == (1, "ada/ada_sd15_v1.safetensors")
    assert version_of(out["CHARACTER"]) is None and version_of(out["candidate"]) == 1
    assert version_of(load(pack)) is None, "nothing is drawn with it yet"
    assert version_of(load(pack, lora_version=1)) == 1 and "inactive" in out["report"]
    assert out["file"] in pack.host.listed("loras"), "ComfyUI lists it at once"
    assert out["CHARACTER"].identity.digest == load(pack).identity.digest


def test_a_character_without_a_way_to_be_drawn_is_drawn_with_it(pack: SimpleNamespace, home: Path) -> None:
    lora_file(home / "loras" / "a.safetensors", told=ADA)
    out = take(pack, lora="a.safetensors")
    assert version_of(out["CHARACTER"]) == 1 and version_of(load(pack, lora_version=-1)) is None


def test_a_file_of_save_lora_is_taken_from_the_output_folder(pack: SimpleNamespace, home: Path) -> None:
    lora_file(home / "output" / "loras" / "trained_5_steps_00001_.safetensors")
    out = take(pack, output_file="loras/trained_5_steps_00001_.safetensors", activate=True)
    assert out["version"] == 1 and "does not tell its trigger" in out["report"]
    lora_file(home / "secret.safetensors")
    with pytest.raises(pack.errors.PathError):
        take(pack, output_file="../secret.safetensors")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float16])
def test_the_output_of_train_lora_becomes_a_file_with_notes(
    pack: SimpleNamespace, home: Path, dtype: torch.dtype
) -> None:
    import comfy.utils

    adapter(home)
    trained = {k: torch.from_numpy(v).to(dtype) for k, v in weights(stem=CORE).items()}
    trained["diffusion_model.out.0.diff_b"] = torch.ones(320, dtype=dtype)[::2]  # not contiguous
    out = take(pack, trained=trained, steps=5, training_set="first")
    loaded, told = comfy.utils.load_torch_file(str(home / "loras" / out["file"]), return_metadata=True)
    assert all(torch.equal(loaded[k], v) and loaded[k].dtype == v.dtype for k, v in trained.items())
    assert (told["modelspec.trigger_phrase"], told["likeness.steps"], told["likeness.family"]) == (
        "adaray",
        "5",
        "sd15",
    )
    (version,) = out["CHARACTER"].profile.settings("sd15").loras
    assert (version.steps, version.rank, version.training_set) == (5, 4, "first")
    again = take(pack, trained=trained, steps=5, training_set="first")
    assert again["version"] == 1 and "is already version 1" in again["report"]
    assert len(list((home / "loras").rglob("*.safetensors"))) == 1


def test_numbers_that_are_not_finite_are_refused_from_train_lora_too(pack: SimpleNamespace, home: Path) -> None:
    trained = {k: torch.from_numpy(v) for k, v in weights(stem=CORE).items()}
    trained[f"{CORE}.lora_up.weight"][0, 0] = torch.nan
    with pytest.raises(pack.errors.LoraError, match="its training has failed"):
        take(pack, trained=trained)
    assert list((home / "loras").rglob("*")) == []


@pytest.mark.parametrize(
    ("told", "inputs", "why"),
    [
        (notes("bobby man"), {}, "without the profile's trigger 'adaray'"),
        (ADA, {"family": "sdxl"}, "is a LoRA for sd15, not for sdxl"),
    ],
)
def test_a_wrong_trigger_and_a_wrong_family_are_refused(
    pack: SimpleNamespace, home: Path, told: dict[str, str], inputs: dict[str, Any], why: str
) -> None:
    lora_file(home / "loras" / "a.safetensors", told=told)
    with pytest.raises(pack.errors.LoraError, match=why):
        take(pack, lora="a.safetensors", **inputs)
    assert [p.name for p in (home / "loras").rglob("*")] == ["a.safetensors"] and not load(pack).profile.base


@pytest.mark.parametrize("what", ["a list", "a tensor", "numbers as keys", "no data", "not strided"])
def test_what_is_no_lora_is_refused_in_one_sentence(pack: SimpleNamespace, home: Path, what: str) -> None:
    weight = torch.ones(4, 4)
    made: dict[str, Any] = {"a list": [weight], "a tensor": weight, "numbers as keys": {1: weight}}
    made |= {"no data": {"a": weight.to("meta")}, "not strided": {"a": weight.to_sparse()}}
    with pytest.raises(pack.errors.LoraError, match="connect the lora output of Train LoRA"):
        take(pack, trained=made[what])


def test_a_file_name_of_300_letters_is_refused_in_one_sentence(pack: SimpleNamespace, home: Path) -> None:
    (home / "output").mkdir()
    with pytest.raises(pack.errors.PathError, match="There is no file 'aaa"):
        take(pack, output_file="a" * 300 + ".safetensors")


def test_any_trigger_can_be_allowed(pack: SimpleNamespace, home: Path) -> None:
    lora_file(home / "loras" / "a.safetensors", told=notes("bobby man"))
    assert take(pack, lora="a.safetensors", trigger="any")["version"] == 1


def test_one_source_is_needed(pack: SimpleNamespace, home: Path) -> None:
    lora_file(home / "loras" / "a.safetensors")
    with pytest.raises(pack.errors.LoraError, match="none of them"):
        take(pack)
    with pytest.raises(pack.errors.LoraError, match="lora and output_file"):
        take(pack, lora="a.safetensors", output_file="x")


def test_a_replaced_file_runs_the_node_again_and_a_linked_name_is_no_error(pack: SimpleNamespace, home: Path) -> None:
    stamp, path = pack.register_lora.RegisterLora.fingerprint_inputs, home / "loras" / "a.safetensors"
    lora_file(path)
    first = stamp(lora="a.safetensors")
    lora_file(path, "sdxl")
    assert first != stamp(lora="a.safetensors") and stamp(lora=None, output_file=None) == stamp(lora="gone") == []


def test_a_version_that_is_tried_is_the_one_that_is_loaded(pack: SimpleNamespace, home: Path) -> None:
    for seed in (1, 2):
        lora_file(home / "loras" / f"{seed}.safetensors", seed=seed, told=ADA)
        take(pack, lora=f"{seed}.safetensors")
    tried, files = load(pack, lora_version=2), SimpleNamespace(family="sd15", usable=False, missing="")
    for character, number in ((load(pack), 1), (tried, 2)):
        recipe, lines = pack.on_model.recipe_for(character, files), []
        loaded = pack.on_model.character_lora(character, recipe, lines)
        assert recipe.method == "lora_only" and f"v{number}" in lines[0]
        expected = weights(seed=number)
        assert all(torch.equal(loaded[k], torch.from_numpy(v)) for k, v in expected.items())
    with pytest.raises(pack.errors.LibraryError, match="no LoRA version 7"):
        load(pack, lora_version=7)
