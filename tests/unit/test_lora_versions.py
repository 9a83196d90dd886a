"""Taking LoRAs in as versions of a character, and choosing which one draws."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from likeness import files
from likeness.errors import LibraryError, LikenessError, LoraError, PathError, StorageError
from likeness.files import TEMP_PREFIX
from likeness.library import Library
from likeness.lora_file import check_family, check_whole
from likeness.lora_versions import (
    NONE,
    Incoming,
    Registered,
    Shelf,
    Terms,
    activate,
    chosen,
    from_file,
    inside_output,
    lora_pieces,
    one_source,
    register,
    with_version,
)
from likeness.lora_words import check_trigger, notes_for
from likeness.method import resolve
from likeness.profile import LoraVersion, Strengths
from likeness.profile_toml import emit, parse

from ..lora_files import CORE, KOHYA, lora_file, notes, weights

ADA = notes("adaray woman, red coat", "adaray woman, smiling")
FACEID = Terms(draws_without=lambda family: True)  # the face can be drawn without a LoRA


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    folder = tmp_path / "loras"

    def find(name: str) -> Path | None:
        return path if (path := folder / name).is_file() else None

    return Shelf(folder, find)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return lora_file(tmp_path / "out" / "ada-000004.safetensors", told=ADA)


def take(library: Library, shelf: Shelf, path: Path, terms: Terms = FACEID) -> Registered:
    return register(library, "ada", from_file(path), shelf, terms)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ---- registering


def test_a_trained_file_becomes_a_version_with_what_it_tells(ada: Library, shelf: Shelf, trained: Path) -> None:
    made = take(ada, shelf, trained, Terms(training_set="portraits", draws_without=lambda family: True))
    (version,) = ada.get("ada").settings("sd15").loras
    assert version == made.version and made.family == "sd15" and not made.known and made.notes == ()
    assert (version.version, version.file, version.active) == (1, "ada/ada_sd15_v1.safetensors", False)
    assert (version.steps, version.rank, version.alpha) == (900, 4, 2.0)
    assert (version.base_model, version.training_set) == ("v1-5.safetensors", "portraits")
    assert (shelf.folder / version.file).read_bytes() == trained.read_bytes()
    assert parse(emit(ada.get("ada"))) == ada.get("ada")
    assert "inactive: it changes no picture" in made.report() and "rank 4, alpha 2; 900 steps" in made.report()


def test_an_inactive_version_changes_nothing_that_is_drawn(ada: Library, shelf: Shelf, trained: Path) -> None:
    before = resolve(ada.get("ada").settings("sd15"), "sd15", has_lora=False, has_faceid=True)
    settings = take(ada, shelf, trained).profile.settings("sd15")
    assert settings.lora is None
    after = resolve(settings, "sd15", has_lora=settings.lora is not None, has_faceid=True)
    assert before == after and after.method == "faceid_only"


def test_a_character_that_cannot_be_drawn_otherwise_is_drawn_with_it_at_once(
    ada: Library, shelf: Shelf, trained: Path, tmp_path: Path
) -> None:
    assert take(ada, shelf, trained, Terms()).version.active
    second = take(ada, shelf, lora_file(tmp_path / "b.safetensors", seed=2), Terms())
    assert (second.version.version, second.version.active) == (2, False), "the first one draws her"
    third = take(ada, shelf, lora_file(tmp_path / "c.safetensors", seed=3), Terms(activate=True))
    assert [v.active for v in third.profile.settings("sd15").loras] == [False, False, True]


def test_the_same_bytes_are_the_same_version(ada: Library, shelf: Shelf, trained: Path) -> None:
    first, again = take(ada, shelf, trained), take(ada, shelf, trained)
    assert again.known and again.version == first.version
    assert len(list(shelf.folder.rglob("*.safetensors"))) == 1
    on = take(ada, shelf, trained, Terms(activate=True))
    assert on.known and on.version.active and ada.get("ada").settings("sd15").lora == on.version


def test_a_file_that_was_added_by_hand_is_known_by_its_bytes(ada: Library, shelf: Shelf, trained: Path) -> None:
    shelf.folder.mkdir()
    (shelf.folder / "mine.safetensors").write_bytes(trained.read_bytes())
    profile = ada.get("ada")
    settings = profile.settings("sd15").model_copy(update={"loras": (LoraVersion(file="mine.safetensors", version=7),)})
    ada.save(profile.model_copy(update={"base": {"sd15": settings}}))
    made = take(ada, shelf, trained)
    assert made.known and (made.version.version, made.version.file) == (7, "mine.safetensors")
    assert made.version.active and len(made.version.sha256) == 64


def test_a_version_whose_file_is_gone_gets_it_back(ada: Library, shelf: Shelf, trained: Path) -> None:
    first = take(ada, shelf, trained)
    (shelf.folder / first.version.file).unlink()
    again = take(ada, shelf, trained)
    assert again.known and again.version == first.version and "there again" in again.report()
    assert (shelf.folder / first.version.file).read_bytes() == trained.read_bytes()
    (shelf.folder / first.version.file).write_bytes(b"somebody's")
    other = take(ada, shelf, trained)
    assert other.version.version == 1 and other.version.file != first.version.file
    assert (shelf.folder / first.version.file).read_bytes() == b"somebody's", "never written over"
    names = {first.version.file, other.version.file}
    for _ in range(3):
        (shelf.folder / other.version.file).write_bytes(b"damaged again")
        other = take(ada, shelf, trained)
        assert other.version.version == 1 and (shelf.folder / other.version.file).read_bytes() == trained.read_bytes()
        names.add(other.version.file)
    assert len(names) == 5


def test_a_file_in_the_way_is_never_written_over(ada: Library, shelf: Shelf, trained: Path) -> None:
    (shelf.folder / "ada").mkdir(parents=True)
    (shelf.folder / "ada" / "ada_sd15_v1.safetensors").write_bytes(b"mine")
    made = take(ada, shelf, trained)
    assert made.version.version == 2 and (shelf.folder / "ada" / "ada_sd15_v1.safetensors").read_bytes() == b"mine"


def test_two_at_once_become_two_versions(ada: Library, shelf: Shelf, tmp_path: Path) -> None:
    paths = [lora_file(tmp_path / f"{i}.safetensors", seed=i) for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda path: take(ada, shelf, path), paths))
    assert sorted(m.version.version for m in made) == [1, 2, 3, 4, 5, 6]
    for m, path in zip(made, paths, strict=True):
        assert (shelf.folder / m.version.file).read_bytes() == path.read_bytes()
    assert len(ada.get("ada").settings("sd15").loras) == 6


def test_versions_of_two_families_do_not_share_a_file(
    ada: Library, shelf: Shelf, trained: Path, tmp_path: Path
) -> None:
    take(ada, shelf, trained)
    made = take(ada, shelf, lora_file(tmp_path / "xl.safetensors", "sdxl"))
    assert (made.family, made.version.version, made.version.file) == ("sdxl", 1, "ada/ada_sdxl_v1.safetensors")


# ---- refusing


def broken(path: Path, kind: str) -> Path:
    """A file of that kind of fault."""
    path.parent.mkdir(exist_ok=True)
    good, data = weights(), lora_file(path, told=ADA).read_bytes()
    up = f"{KOHYA}.lora_up.weight"
    if kind == "truncated":
        path.write_bytes(data[:-1])
    elif kind == "half written":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "surplus":
        path.write_bytes(data + b"\0" * 8)
    elif kind == "half a pair":
        save_file({k: v for k, v in good.items() if k != up}, path)
    elif kind == "halves that do not fit":
        save_file({**good, up: np.ones((320, 3), np.float16)}, path)
    elif kind == "not finite":
        save_file({**good, up: np.full((320, 4), np.nan, np.float16)}, path)
    elif kind == "a checkpoint":
        save_file({"model.diffusion_model.input_blocks.0.0.weight": np.ones((4, 4), np.float32)}, path)
    elif kind == "unknown family":
        save_file({k.replace(KOHYA, "lora_te_text_model_mlp"): v for k, v in good.items()}, path)
    elif kind == "another trigger":
        lora_file(path, told=notes("bobby man, hat", "bobby man"))
    elif kind == "trigger in the folder's name only":
        lora_file(path, told=notes("a woman, red coat", "a woman, smiling"))
    elif kind == "pickle":
        path = path.with_suffix(".pt")
        path.write_bytes(pickle.dumps({"a": 1}))
    elif kind == "missing":
        path.unlink()
    return path


REFUSED = {
    "truncated": "1 bytes are missing|cut short",
    "half written": "cut short",
    "surplus": "8 bytes are left over",
    "half a pair": "only a part is there",
    "halves that do not fit": "do not fit",
    "not finite": "not finite .*: its training has failed",
    "a checkpoint": "holds no low-rank weights",
    "unknown family": "does not tell which base model",
    "another trigger": "trained on 'bobby man', 'hat', without the profile's trigger 'adaray'",
    "trigger in the folder's name only": "without the profile's trigger",
    "pickle": r"x\.pt is no \.safetensors file",
    "missing": "cannot be read",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_leaves_nothing_behind(ada: Library, shelf: Shelf, tmp_path: Path, kind: str) -> None:
    path, profile = broken(tmp_path / "out" / "x.safetensors", kind), ada.get("ada")
    before = everything(tmp_path)
    for checked_first in (True, False):  # a file, and bytes that no file was checked of
        with pytest.raises(LikenessError, match=REFUSED[kind]) as caught:
            source = from_file(path) if checked_first else Incoming(path.name, lambda: files.read_pieces(path))
            register(ada, "ada", source, shelf, FACEID)
        assert str(caught.value).count("\n") == 0
        if kind == "missing":
            break
    assert ada.get("ada") == profile
    after = {k: v for k, v in everything(tmp_path).items() if not k.endswith(".lock")}
    assert after == {k: v for k, v in before.items() if not k.endswith(".lock")}
    assert not (shelf.folder / "ada").exists()


def test_a_lora_of_another_family_than_was_asked_is_refused(ada: Library, shelf: Shelf, trained: Path) -> None:
    with pytest.raises(LoraError, match="is a LoRA for sd15, not for sdxl"):
        take(ada, shelf, trained, Terms("sdxl"))
    assert ada.get("ada").base == {} and not (shelf.folder / "ada").exists()


def test_a_family_that_the_file_does_not_tell_can_be_said(ada: Library, shelf: Shelf, tmp_path: Path) -> None:
    path = broken(tmp_path / "te.safetensors", "unknown family")
    assert take(ada, shelf, path, Terms("sd15", draws_without=lambda family: True)).family == "sd15"


def test_any_trigger_can_be_allowed_and_the_report_says_so(ada: Library, shelf: Shelf, tmp_path: Path) -> None:
    path = broken(tmp_path / "x.safetensors", "another trigger")
    made = take(ada, shelf, path, Terms(any_trigger=True, draws_without=lambda family: True))
    assert made.version.version == 1 and "without the profile's trigger 'adaray'" in made.report()


def test_a_profile_that_cannot_be_saved_leaves_no_file(
    ada: Library, shelf: Shelf, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(profile: object) -> None:
        raise StorageError("Could not write profile.toml: the disk is full.")

    monkeypatch.setattr(ada, "save", full)
    with pytest.raises(StorageError):
        take(ada, shelf, trained)
    assert everything(shelf.folder) == {} and not (shelf.folder / "ada").exists()


def test_a_stop_while_copying_leaves_nothing(ada: Library, shelf: Shelf, trained: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register(ada, "ada", from_file(trained), shelf, FACEID, stop)
    assert everything(shelf.folder) == {} and ada.get("ada").base == {}


def test_a_full_disk_while_copying_is_one_sentence(
    ada: Library, shelf: Shelf, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(fd: int) -> None:
        raise OSError(28, os.strerror(28))

    source = from_file(trained)
    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(StorageError, match="the disk is full"):
        register(ada, "ada", source, shelf, FACEID)
    assert everything(shelf.folder) == {}


def test_a_file_system_without_links_takes_it_too(
    ada: Library, shelf: Shelf, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(1, "not permitted")

    monkeypatch.setattr(files.os, "link", link)
    made = take(ada, shelf, trained)
    assert (shelf.folder / made.version.file).read_bytes() == trained.read_bytes()
    assert [p.name for p in shelf.folder.rglob(f"{TEMP_PREFIX}*")] == []


def test_a_copy_needs_little_memory(ada: Library, shelf: Shelf, tmp_path: Path) -> None:
    import tracemalloc

    big = {**weights(), "lora_unet_mid_block.lora_down.weight": np.ones((16, 1 << 20), np.float16)}
    save_file({**big, "lora_unet_mid_block.lora_up.weight": np.ones((8, 16), np.float16)}, tmp_path / "big.safetensors")
    tracemalloc.start()
    take(ada, shelf, tmp_path / "big.safetensors")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20, "of a file of 32 MB"


# ---- the trainer's notes


def test_the_trigger_must_stand_on_its_own() -> None:
    told = notes("adaraya, hat", "adarays woman")
    with pytest.raises(LoraError, match="without the profile's trigger"):
        check_trigger("x", told, "adaray")
    assert check_trigger("x", notes("photo of Adaray Woman"), "adaray") == ""
    assert check_trigger("x", notes("red, ohwx woman, hat"), "ohwx  woman") == ""
    assert check_trigger("x", notes("red, ada, ray"), "ada, ray") == ""


def test_a_trigger_in_few_captions_is_told() -> None:
    told = notes("adaray woman", *["a woman"] * 9)
    assert "stands in 1 of the 10 captions" in check_trigger("x", told, "adaray")


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"ss_tag_frequency": "{"},
        {"ss_tag_frequency": "[1]", "ss_dataset_dirs": '{"": 5}'},
        {"ss_tag_frequency": "[" * 9999},
        {"ss_tag_frequency": '{"a": 5, "b": {"c": "d"}}'},
        {"ss_dataset_dirs": '{"pictures": {"img_count": 5}}'},
    ],
)
def test_notes_that_tell_nothing_are_no_refusal(told: dict[str, str]) -> None:
    assert "does not tell its trigger" in check_trigger("x", told, "adaray")


def test_a_trigger_phrase_or_a_folder_counts_where_there_are_no_captions() -> None:
    assert check_trigger("x", {"modelspec.trigger_phrase": "adaray woman"}, "adaray") == ""
    assert check_trigger("x", notes(folder="10_adaray woman"), "adaray") == ""
    with pytest.raises(LoraError, match="trained on 'ohwx'"):
        check_trigger("x", {"modelspec.trigger_phrase": "ohwx"}, "adaray")
    assert "The profile has no trigger" in check_trigger("x", {"modelspec.trigger_phrase": "ohwx"}, " ")


def test_a_file_of_core_is_written_with_notes_and_always_the_same(ada: Library, shelf: Shelf, tmp_path: Path) -> None:
    arrays = weights(stem=CORE)
    tensors = {k: ("F16", v.shape, v.tobytes) for k, v in arrays.items()}
    told = notes_for("adaray", "sd15", 500, "set one", "Ada")
    source = Incoming("trained.safetensors", lambda: lora_pieces(tensors, told))
    assert b"".join(source.pieces()) == b"".join(source.pieces())
    made = register(ada, "ada", source, shelf, FACEID)
    assert (made.family, made.version.steps, made.version.training_set) == ("sd15", 500, "set one")
    assert made.notes == (), "its own notes hold the trigger"
    loaded = load_file(shelf.folder / made.version.file)
    assert all(np.array_equal(loaded[k], v) for k, v in arrays.items())
    assert check_family(shelf.folder / made.version.file, "sd15").metadata["modelspec.trigger_phrase"] == "adaray"


def test_a_lora_that_changes_nothing_is_told(ada: Library, shelf: Shelf, tmp_path: Path) -> None:
    zero = {**weights(), f"{KOHYA}.lora_up.weight": np.zeros((320, 4), np.float16)}
    save_file(zero, tmp_path / "zero.safetensors")
    assert not check_whole(tmp_path / "zero.safetensors").changes
    made = take(ada, shelf, tmp_path / "zero.safetensors", Terms())
    assert "changes nothing" in made.report() and not made.version.active, "though nothing else draws her"
    assert take(ada, shelf, lora_file(tmp_path / "good.safetensors"), Terms()).version.active


@pytest.mark.parametrize(
    ("told", "family"),
    [
        ({"ss_base_model_version": "sd_v1"}, "sd15"),
        ({"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        ({"modelspec.architecture": "flux-1-dev/lora"}, "flux"),
        ({"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "sdxl"),
        ({"ss_base_model_version": "chroma"}, "chroma"),
        ({"likeness.family": "wan"}, "wan"),
        ({"likeness.family": "nothing known"}, None),
    ],
)
def test_notes_tell_the_family_where_the_keys_do_not(tmp_path: Path, told: dict[str, str], family: str | None) -> None:
    keys = {k.replace(KOHYA, "lora_te_text_model_mlp"): v for k, v in weights().items()}
    save_file(keys, tmp_path / "x.safetensors", told)
    assert check_whole(tmp_path / "x.safetensors").family == family


def test_keys_outrank_notes(tmp_path: Path) -> None:
    path = lora_file(tmp_path / "x.safetensors", "sdxl", told={"ss_base_model_version": "sd_v1"})
    assert check_whole(path).family == "sdxl"


# ---- choosing


@pytest.fixture
def three(ada: Library, shelf: Shelf, tmp_path: Path) -> Library:
    for i in range(3):
        take(ada, shelf, lora_file(tmp_path / f"{i}.safetensors", seed=i))
    return ada


def test_activating_is_for_one_version_and_none_is_possible(three: Library) -> None:
    assert activate(three, "ada", 2)[1] == "sd15"
    assert [v.active for v in three.get("ada").settings("sd15").loras] == [False, True, False]
    activate(three, "ada", NONE)
    assert three.get("ada").settings("sd15").lora is None
    with pytest.raises(LibraryError, match=r"no LoRA version 9; there is 1, 2, 3 on sd15"):
        activate(three, "ada", 9)


def test_a_number_on_two_families_needs_the_family(three: Library, shelf: Shelf, tmp_path: Path) -> None:
    take(three, shelf, lora_file(tmp_path / "xl.safetensors", "sdxl"))
    with pytest.raises(LibraryError, match="version 1 on sd15, sdxl: say the family"):
        activate(three, "ada", 1)
    assert activate(three, "ada", 1, "sdxl")[1] == "sdxl"


def test_a_method_that_contradicts_the_choice_gives_way(three: Library) -> None:
    profile = three.get("ada")
    pinned = profile.settings("sd15").model_copy(update={"method": "faceid_only"})
    changed = chosen(profile.model_copy(update={"base": {"sd15": pinned}}), "sd15", 3)
    assert changed.settings("sd15").method == "auto" and changed.settings("sd15").lora is not None
    lora_only = changed.settings("sd15").model_copy(update={"method": "lora_only"})
    without = chosen(profile.model_copy(update={"base": {"sd15": lora_only}}), "sd15", NONE)
    assert without.settings("sd15").method == "auto" and without.settings("sd15").lora is None
    kept = chosen(profile.model_copy(update={"base": {"sd15": lora_only}}), "sd15", 1)
    assert kept.settings("sd15").method == "lora_only"


def test_trying_a_version_saves_nothing(three: Library) -> None:
    before = three.get("ada")
    tried = with_version(before, 3)
    assert tried.settings("sd15").lora is not None and tried.settings("sd15").lora.version == 3
    assert with_version(before, 0) == before == three.get("ada")
    assert with_version(tried, NONE).settings("sd15").lora is None
    with pytest.raises(LibraryError, match="no LoRA version 8"):
        with_version(before, 8)


def test_strengths_that_were_swept_without_it_are_told(ada: Library, shelf: Shelf, trained: Path) -> None:
    profile = ada.get("ada")
    swept = profile.settings("sd15").model_copy(update={"strengths": Strengths(faceid_weight=0.9, source="swept")})
    ada.save(profile.model_copy(update={"base": {"sd15": swept}}))
    assert "tune them again" not in take(ada, shelf, trained).report()
    assert "tune them again" in take(ada, shelf, trained, Terms(activate=True)).report()


# ---- names


def test_a_file_of_the_output_folder_is_named_by_its_path_there(tmp_path: Path) -> None:
    path = lora_file(tmp_path / "output" / "loras" / "x.safetensors")
    lora_file(tmp_path / "secret.safetensors")
    assert inside_output(tmp_path / "output", " loras/x.safetensors ") == path
    assert inside_output(tmp_path / "output", r"loras\x.safetensors") == path
    for text in ("../secret.safetensors", "/secret.safetensors", "loras", ".", "loras/none.safetensors"):
        with pytest.raises(PathError):
            inside_output(tmp_path / "output", text)


def test_one_source_is_asked_for() -> None:
    assert one_source(lora="", trained={"a": 1}) == "trained"
    with pytest.raises(LoraError, match="none of them"):
        one_source(lora="", trained=None)
    with pytest.raises(LoraError, match="lora and trained"):
        one_source(lora="x", trained={"a": 1})
