"""Adapter files: both formats, and files that are damaged or hostile."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from random_adapter import nested, state_dict

import faceid

NARROWEST = (2,) * 16


@pytest.fixture(scope="module")
def flat() -> dict[str, torch.Tensor]:
    return {k: v.contiguous() for k, v in state_dict("sd15", hidden=NARROWEST, rank=1).items()}


@pytest.fixture
def binary(flat: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    path = tmp_path / "ip-adapter-faceid_sd15.bin"
    torch.save(nested(flat), path)
    return path


def test_both_formats_hold_the_same_adapter(flat: dict[str, torch.Tensor], binary: Path, tmp_path: Path) -> None:
    safe = tmp_path / "ip-adapter-faceid_sd15.safetensors"
    safetensors.torch.save_file(flat, safe)
    legacy = tmp_path / "legacy.bin"
    torch.save(nested(flat), legacy, _use_new_zipfile_serialization=False)
    for path in (binary, safe, legacy):
        adapter = faceid.load_adapter(path)
        data = path.read_bytes()
        assert adapter.source == faceid.AdapterSource(path.name, len(data), hashlib.sha256(data).hexdigest())
        for place, weight in zip(faceid.cross_attentions("sd15"), adapter.key_weights, strict=True):
            assert torch.equal(weight, flat[f"ip_adapter.{place.adapter_key}.to_k_ip.weight"])


def test_a_known_hash_is_taken_over(binary: Path) -> None:
    assert faceid.load_adapter(str(binary), sha256="ab" * 32).source.sha256 == "ab" * 32


def test_the_plus_v2_flag_is_read_from_safetensors_metadata(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    state = {k: v.contiguous() for k, v in state_dict("sd15", "plus", hidden=NARROWEST).items()}
    safetensors.torch.save_file(state, path, metadata={"plus_v2": "true"})
    assert faceid.load_adapter(path).plus_v2_from == "metadata"
    assert faceid.load_adapter(path, plus_v2=False).variant == "faceid_plus"


def test_folders_do_not_set_the_plus_v2_flag(tmp_path: Path) -> None:
    folder = tmp_path / "plusv2"
    folder.mkdir()
    path = folder / "mine.bin"
    torch.save(nested(state_dict("sd15", "plus", hidden=NARROWEST)), path)
    with pytest.raises(faceid.AdapterFormatError, match="does not tell which"):
        faceid.load_adapter(path)


class Bomb:
    """Unpickled without restrictions, this creates a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_payload_is_refused_and_never_runs(tmp_path: Path, zipped: bool) -> None:
    marker, path = tmp_path / "executed", tmp_path / "evil.bin"
    torch.save({"image_proj": Bomb(marker)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(faceid.AdapterFormatError, match="holds more than tensors"):
        faceid.load_adapter(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the bomb is live: it works where it may
    assert marker.exists()


def test_a_plain_pickle_is_refused_and_never_runs(tmp_path: Path) -> None:
    marker, path = tmp_path / "executed", tmp_path / "evil.bin"
    path.write_bytes(pickle.dumps(Bomb(marker), protocol=2))
    with pytest.raises(faceid.AdapterFormatError):
        faceid.load_adapter(path)
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 99, b"PK\x03\x04" + bytes(99), b"\xff" * 99, bytes(99)])
def test_garbage_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(faceid.AdapterFormatError, match=f"^a{suffix} cannot be read as a FaceID adapter"):
        faceid.load_adapter(path)


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_a_truncated_file_is_refused(flat: dict[str, torch.Tensor], tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".bin":
        torch.save(nested(flat), path)
    else:
        safetensors.torch.save_file(flat, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(faceid.AdapterFormatError, match="truncated"):
        faceid.load_adapter(path)


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(faceid.AdapterFormatError, match="cannot be read"):
        faceid.load_adapter(path)


@pytest.mark.parametrize("value", [[1, 2], "text", torch.zeros(3), None])
def test_a_file_without_a_table_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "a.bin"
    torch.save(value, path)
    with pytest.raises(faceid.AdapterFormatError, match="instead of a table of tensors"):
        faceid.load_adapter(path)


def test_missing_files_and_other_suffixes_are_named(tmp_path: Path) -> None:
    with pytest.raises(faceid.AdapterFormatError, match=r"no FaceID adapter a\.bin in "):
        faceid.load_adapter(tmp_path / "a.bin")
    with pytest.raises(faceid.AdapterFormatError, match=r"a\.ckpt is no \.safetensors or \.bin"):
        faceid.load_adapter(tmp_path / "a.ckpt")
    (tmp_path / "folder.bin").mkdir()
    with pytest.raises(faceid.AdapterFormatError, match="no FaceID adapter"):
        faceid.load_adapter(tmp_path / "folder.bin")
