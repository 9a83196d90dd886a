"""Attack: LoRA files, names and folders that were made to crash, to hang, or to be half registered."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from likeness import files, library
from likeness.errors import LikenessError, LoraError
from likeness.library import Library
from likeness.lora_file import check_whole
from likeness.lora_versions import Incoming, Registered, Shelf, Terms, from_file, register
from likeness.profile import BaseSettings, LoraVersion

from ..lora_files import KOHYA, lora_file, notes, weights
from .test_lora_registering import shelf_in

ADA, TERMS = notes("adaray woman"), Terms()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return shelf_in(tmp_path / "loras")


def take(ada: Library, shelf: Shelf, path: Path, terms: Terms = TERMS) -> Registered:
    return register(ada, "ada", from_file(path), shelf, terms)


def raw(path: Path, header: bytes, data: bytes = b"\0" * 4) -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


@pytest.mark.parametrize("shape", [["9" * 4000] * 2000, ["1"] * 100_000, ["1000000000"] * 3, ["0", "9" * 4000]])
@pytest.mark.timeout(20)
def test_a_shape_of_huge_numbers_costs_no_time(tmp_path: Path, shape: list[str]) -> None:
    text = '{"a.lora_down.weight":{"dtype":"F16","shape":[' + ",".join(shape) + '],"data_offsets":[0,4]}}'
    path = raw(tmp_path / "x.safetensors", text.encode())
    begun = time.monotonic()
    with pytest.raises(LoraError, match="does not describe its 4 bytes"):
        check_whole(path)
    assert time.monotonic() - begun < 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.timeout(10)
def test_a_named_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(LoraError, match="it is not a plain file"):
        check_whole(tmp_path / "x.safetensors")


def test_a_key_of_2_mb_with_escapes_is_cut_short(tmp_path: Path) -> None:
    key = "\x1b]0;title\x07" + "A" * 2_000_000
    wrong = {f"{key}.lora_down.weight": np.full((4, 768), np.nan, np.float16)}
    save_file({**wrong, f"{key}.lora_up.weight": np.ones((320, 4), np.float16)}, tmp_path / "x.safetensors")
    with pytest.raises(LoraError, match="not finite") as caught:
        check_whole(tmp_path / "x.safetensors")
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("zero", "changes"),
    [(("hada_w1_a",), False), (("hada_w2_b",), False), ((), True)],
)
def test_a_product_with_a_zero_changes_nothing(tmp_path: Path, zero: tuple[str, ...], changes: bool) -> None:
    shapes = {"hada_w1_a": (320, 4), "hada_w1_b": (4, 768), "hada_w2_a": (320, 4), "hada_w2_b": (4, 768)}
    made = {f"{KOHYA}.{k}": np.full(s, float(k not in zero), np.float16) for k, s in shapes.items()}
    save_file(made, tmp_path / "x.safetensors")
    assert check_whole(tmp_path / "x.safetensors").changes == changes


def test_numbers_that_no_profile_takes_are_left_out(ada: Library, shelf: Shelf, tmp_path: Path) -> None:
    told = {**ADA, "ss_network_alpha": "5000000", "ss_steps": "1e300"}
    version = take(ada, shelf, lora_file(tmp_path / "x.safetensors", told=told)).version
    assert (version.alpha, version.steps) == (2.0, None), "alpha as its own tensor says"
    assert ada.get("ada").settings("sd15").loras == (version,)
    with pytest.raises(LoraError, match="100,000,000,000 steps were not trained"):
        take(ada, shelf, tmp_path / "x.safetensors", Terms(steps=10**11))


def test_a_trigger_of_commas_is_none(ada: Library, shelf: Shelf, tmp_path: Path) -> None:
    ada.update("ada", lambda p: p.model_copy(update={"trigger": " , ,"}))
    made = take(ada, shelf, lora_file(tmp_path / "x.safetensors", told=ADA))
    assert "The profile has no trigger" in made.report()


def test_a_stray_file_of_the_highest_number_does_not_use_the_numbers_up(
    ada: Library, shelf: Shelf, tmp_path: Path
) -> None:
    (shelf.folder / "ada").mkdir(parents=True)
    for n in (1, 9999):
        (shelf.folder / "ada" / f"ada_sd15_v{n}.safetensors").write_bytes(b"stray")
    assert take(ada, shelf, lora_file(tmp_path / "x.safetensors", told=ADA)).version.version == 2
    loras = (LoraVersion(file="x", version=9999, active=False),)
    ada.update("ada", lambda p: p.model_copy(update={"base": {"sd15": BaseSettings(loras=loras)}}))
    with pytest.raises(LoraError, match="9999 is the highest"):
        take(ada, shelf, lora_file(tmp_path / "y.safetensors", seed=2, told=ADA))


def test_a_profile_that_is_full_takes_no_more_and_keeps_no_file(ada: Library, shelf: Shelf, tmp_path: Path) -> None:
    loras = tuple(LoraVersion(file=f"{n}", version=n, active=False) for n in range(1, 201))
    ada.update("ada", lambda p: p.model_copy(update={"base": {"sd15": BaseSettings(loras=loras)}}))
    with pytest.raises(LikenessError):
        take(ada, shelf, lora_file(tmp_path / "x.safetensors", told=ADA))
    assert len(ada.get("ada").settings("sd15").loras) == 200 and not (shelf.folder / "ada").exists()


def test_a_file_that_is_written_to_while_it_is_copied_is_refused(ada: Library, shelf: Shelf, tmp_path: Path) -> None:
    path = lora_file(tmp_path / "x.safetensors", told=ADA)
    other = lora_file(tmp_path / "y.safetensors", seed=2, told=ADA).read_bytes()

    def pieces() -> object:
        for number, piece in enumerate(files.read_pieces(path, 1000)):
            if number == 0:
                path.write_bytes(other)
            yield piece

    with pytest.raises(LikenessError, match="something is writing to it"):
        register(ada, "ada", Incoming("x.safetensors", pieces), shelf)  # type: ignore[arg-type]
    assert not (shelf.folder / "ada").exists() and ada.get("ada").base == {}


@pytest.mark.parametrize("place", ["profile saved", "before it"])
def test_a_stop_at_any_moment_leaves_no_version_without_a_file(
    ada: Library, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path, write = lora_file(tmp_path / "x.safetensors", told=ADA), library.atomic_write

    def stopped(target: Path, data: bytes) -> None:
        if place == "profile saved":
            write(target, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(library, "atomic_write", stopped)
    with pytest.raises(KeyboardInterrupt):
        take(ada, shelf, path)
    loras = ada.get("ada").settings("sd15").loras
    assert len(loras) == (place == "profile saved")
    assert sorted(p.name for p in shelf.folder.rglob("*.safetensors")) == [Path(v.file).name for v in loras]


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_ctrl_c_while_the_profile_is_flushed_keeps_the_versions_file(
    ada: Library, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, profile = lora_file(tmp_path / "x.safetensors", told=ADA), ada.folder("ada") / library.PROFILE
    sync = files._sync_folder

    def slow(folder: Path) -> None:
        sync(folder)
        if folder == profile.parent and b"ada_sd15" in profile.read_bytes():
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
            time.sleep(5)

    monkeypatch.setattr(files, "_sync_folder", slow)
    with pytest.raises(KeyboardInterrupt):
        take(ada, shelf, path)
    (version,) = ada.get("ada").settings("sd15").loras
    assert (shelf.folder / version.file).read_bytes() == path.read_bytes()


def test_joint_attention_is_for_no_unet_whatever_is_said(ada: Library, shelf: Shelf, tmp_path: Path) -> None:
    stem = "transformer.transformer_blocks.0.attn.add_k_proj"
    made = {k.replace(KOHYA, stem): v for k, v in weights().items()}
    save_file(made, tmp_path / "x.safetensors", {**ADA, "ss_base_model_version": "sd_v1"})
    with pytest.raises(LoraError, match="does not tell which base model"):
        take(ada, shelf, tmp_path / "x.safetensors")
    with pytest.raises(LoraError, match="is a LoRA for a transformer model, not for sd15"):
        take(ada, shelf, tmp_path / "x.safetensors", Terms("sd15"))
    assert take(ada, shelf, tmp_path / "x.safetensors", Terms("flux")).family == "flux"


def test_json_that_nests_deeply_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoraError, match="is no whole safetensors file"):
        check_whole(raw(tmp_path / "x.safetensors", b"[" * 1_000_000))
