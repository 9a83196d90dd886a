"""Compiled identities as files: how exact they are, and every way a file can be wrong."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from dataclasses import replace
from typing import Any

import golden_reference as golden
import numpy as np
import pytest
import safetensors.torch
import torch
from identities import TRUE_WIDTHS, columns, compiled, same
from random_adapter import uniform

import faceid
from faceid import CompiledIdentity, CompiledIdentityError, Controls, from_bytes, to_bytes
from faceid.attention import face_attention

STORAGES = ("float24", "float16", "float32")


@pytest.fixture(scope="module")
def identity() -> CompiledIdentity:
    return compiled()


# float24


def round_trip(x: torch.Tensor) -> CompiledIdentity:
    """x [n * 128] through a file, as keys and values."""
    parts = x.reshape(1, 2, -1, 4, 16)
    provenance = replace(compiled("mlp").provenance, adapter_name="x")
    return from_bytes(to_bytes(CompiledIdentity(provenance, (1,) * 16, parts, parts.flip(0))))


def test_float24_is_exact_to_2_to_the_minus_19() -> None:
    seeds = torch.from_numpy(uniform(5, 128 * 1000).astype(np.float32))
    powers = 2.0 ** torch.arange(-14, 15)
    near = torch.cat([powers[:, None] * (1 + d * 2.0**-20) for d in (-3, -2, -1, 0, 1, 2, 3)], 1).flatten()
    halves = (1 + (torch.arange(32 * 64) + 0.5) / 1024) * 2.0
    for x in (seeds, seeds * 1000, seeds * 2.0**-10 + 2.0**-9, near, -near, halves, -halves):
        x = x[: len(x) // 128 * 128].float()
        found = round_trip(x)
        assert found.storage == "float24"
        off = (found.keys.flatten().double() - x.double()).abs()
        # Just below a power of two the float16 above it has the coarser last place: a few parts in 10 000 more.
        allowed = (1.0005 * 2.0**-19 * x.double().abs()).clamp(min=2.0**-33)
        assert (off <= allowed).all(), float((off / allowed).max())


def test_float24_keeps_every_float16() -> None:
    every = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.float16)
    every = torch.where(torch.isfinite(every), every, 0.0)
    assert torch.equal(round_trip(every.float()).keys.flatten(), every.float())


def test_storing_again_changes_nothing() -> None:
    x = torch.from_numpy(uniform(11, 128 * 1000).astype(np.float32)) * 3
    first = to_bytes(round_trip(x))
    assert to_bytes(from_bytes(first)) == first


@pytest.mark.parametrize("scaling", faceid.EMBEDS_SCALING)
def test_what_storing_does_to_the_attention(scaling: str) -> None:
    """From the file's rounding of K and V to the output of a layer, at true widths."""
    exact = compiled("plus", hidden=TRUE_WIDTHS["sd15"])
    stored, worst = from_bytes(to_bytes(exact)), 0.0
    one, other = (x.at(Controls(0.8, 1.5, embeds_scaling=scaling)) for x in (exact, stored))
    for place in faceid.cross_attentions("sd15"):
        cut = columns(exact, place.number)
        width = exact.hidden[place.number]
        q = torch.from_numpy(uniform(width, 2 * 9 * width).reshape(2, 9, width).astype(np.float32)) * 3
        outputs = [face_attention(q, x.keys[:, 0, :, cut], x.values[:, 0, :, cut], 8) for x in (other, one)]
        worst = max(worst, golden.relative(*outputs))
    assert 0 < worst < 1e-5


def test_an_sdxl_plus_v2_file_is_smaller_than_ten_megabytes(capsys: pytest.CaptureFixture[str]) -> None:
    hidden = TRUE_WIDTHS["sdxl"]
    keys = torch.from_numpy(uniform(3, 2 * 2 * 4 * sum(hidden)).astype(np.float32)).reshape(2, 2, 1, 4, -1)
    provenance = replace(compiled().provenance, family="sdxl", adapter_name="ip-adapter-faceid-plusv2_sdxl.bin")
    data = to_bytes(CompiledIdentity(provenance, hidden, keys, keys * 2))
    with capsys.disabled():
        print(f" SDXL Plus V2: {len(data):,} bytes ", end="")
    assert len(data) < 10_000_000
    assert from_bytes(data).storage == "float24"


# files


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("kind", "faces", "frames"), [("mlp", 1, False), ("plus", 2, False), ("mlp", 3, True)])
def test_bytes_round_trip(kind: str, faces: int, frames: bool, storage: str) -> None:
    first = compiled(kind, faces=faces, frames=frames)
    data = to_bytes(first, storage)
    again = from_bytes(data)
    assert to_bytes(again, storage) == data
    assert same(again, from_bytes(memoryview(data)))
    assert again.storage == storage
    assert storage != "float32" or same(first, again)
    assert storage != "float16" or torch.equal(again.keys, first.keys.half().float())


def test_the_file_is_plain_safetensors(identity: CompiledIdentity) -> None:
    tensors = safetensors.torch.load(to_bytes(identity, "float32"))
    assert torch.equal(tensors["keys"], identity.keys)
    assert torch.equal(tensors["values"], identity.values)
    tensors = safetensors.torch.load(to_bytes(identity))
    assert torch.equal(tensors["keys"], identity.keys.half())
    assert tensors["values_rest"].dtype == torch.int8


def test_other_storage_types_are_refused(identity: CompiledIdentity) -> None:
    with pytest.raises(CompiledIdentityError, match="float32, float24, float16, not as 'bfloat16'"):
        to_bytes(identity, "bfloat16")


@pytest.mark.parametrize("storage", STORAGES)
def test_numbers_that_do_not_fit_are_stored_as_float32(identity: CompiledIdentity, storage: str) -> None:
    for factor in (1e6, *([1e-8] if storage == "float24" else [])):
        odd = replace(identity, values=identity.values * factor)
        found = from_bytes(to_bytes(odd, storage))
        assert same(found, odd)
        assert to_bytes(found, storage) == to_bytes(odd, storage)


def test_fifty_references_side_by_side_fit_into_a_file() -> None:
    fifty = compiled("plus", hidden=(1,) * 16, faces=50)
    assert (fifty.tokens, fifty.faces) == (200, 50)
    assert same(from_bytes(to_bytes(fifty, "float32")), fifty)


def test_a_file_that_nobody_could_read_is_not_written(
    identity: CompiledIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceid.compiled_file.MAX_BYTES", (64 << 10) + 100)
    with pytest.raises(CompiledIdentityError, match="Use fewer references"):
        to_bytes(identity)


def rebuilt(data: bytes, **changes: Any) -> bytes:
    """The same file with other entries in its metadata and a checksum that fits them."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header["__metadata__"]["likeness_identity"])
    del about["sha256"]
    provenance = changes.pop("provenance", {})
    about = {**about, **changes, "provenance": {**about["provenance"], **provenance}}
    canonical = json.dumps(about, sort_keys=True, separators=(",", ":"))
    about["sha256"] = hashlib.sha256(canonical.encode() + data[8 + length :]).hexdigest()
    header["__metadata__"]["likeness_identity"] = json.dumps(about, sort_keys=True, separators=(",", ":"))
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw + data[8 + length :]


def test_rebuilding_without_changes_gives_a_good_file(identity: CompiledIdentity) -> None:
    assert same(from_bytes(rebuilt(to_bytes(identity, "float32"))), identity)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "format 1, this version reads 2"),
        ({"format": True}, "format True"),
        ({"more": 1}, "entries"),
        ({"storage": "int8"}, "storage type"),
        ({"storage": ["float32"]}, "storage type"),
        ({"storage": "float16"}, "its keys are"),
        ({"storage": "float24"}, "it holds"),
        ({"parts": 1}, "parts"),
        ({"parts": 2.0}, "parts"),
        ({"tokens": 0}, "number of tokens"),
        ({"tokens": 4.0}, "number of tokens"),
        ({"tokens": 5}, "its keys are"),
        ({"frames": 0}, "number of frames"),
        ({"frames": True}, "number of frames"),
        ({"frames": 2}, "its keys are"),
        ({"frames": 1 << 17}, "number of frames"),
        ({"hidden": [2] * 15}, "layer widths"),
        ({"hidden": [2.0] * 16}, "layer widths"),
        ({"hidden": [0] * 16}, "layer widths"),
        ({"hidden": [3, 2] * 7 + [2, 4]}, "its keys are"),
        ({"hidden": "2" * 16}, "layer widths"),
        ({"provenance": {"family": "flux"}}, "base family 'flux'"),
        ({"provenance": {"family": "sdxl"}}, "layer widths"),
        ({"provenance": {"family": 3}}, "its family"),
        ({"provenance": {"variant": "faceid"}}, "parts"),
        ({"provenance": {"variant": "other"}}, "variant 'other'"),
        ({"provenance": {"identity": "x" * 513}}, "its identity"),
        ({"provenance": {"adapter_size": -1}}, "adapter_size"),
        ({"provenance": {"adapter_size": True}}, "adapter_size"),
        ({"provenance": {"faces": 0}}, "faces"),
        ({"provenance": {"faces": 3}}, "its faces do not fit"),
        ({"provenance": {"faces": 1.0}}, "faces"),
        ({"provenance": {"negative": None}}, "its negative"),
        ({"provenance": {"surplus": ""}}, "provenance"),
    ],
)
def test_a_foreign_file_with_a_right_checksum_is_refused(
    identity: CompiledIdentity, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CompiledIdentityError, match=message):
        from_bytes(rebuilt(to_bytes(identity, "float32"), **changes))


def test_nan_with_a_right_checksum_is_refused(identity: CompiledIdentity) -> None:
    data = bytearray(to_bytes(identity, "float32"))
    data[-4:] = struct.pack("<f", float("nan"))
    with pytest.raises(CompiledIdentityError, match="NaN"):
        from_bytes(rebuilt(bytes(data)))
    data = bytearray(to_bytes(identity))
    first = 8 + struct.unpack("<Q", data[:8])[0]
    data[first : first + 2] = struct.pack("<e", float("inf"))
    with pytest.raises(CompiledIdentityError, match="NaN"):
        from_bytes(rebuilt(bytes(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        b"\0" * 8,
        b"\xff" * 64,
        struct.pack("<Q", 4) + b"null",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 60_000) + b"[" * 60_000,
        struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
        struct.pack("<Q", 1 << 63) + b"{}",
        safetensors.torch.save({"keys": torch.zeros(1), "values": torch.zeros(1)}),
        safetensors.torch.save({"keys": torch.zeros(1)}, {"likeness_identity": "{}"}),
        safetensors.torch.save({"keys": torch.zeros(1), "values": torch.zeros(1)}, {"likeness_identity": "["}),
        safetensors.torch.save({"keys": torch.zeros(1), "values": torch.zeros(1)}, {"likeness_identity": "{}"}),
        None,
        "text",
    ],
)
def test_what_is_no_compiled_identity_is_refused(data: Any) -> None:
    with pytest.raises(CompiledIdentityError, match="compile the character again"):
        from_bytes(data)


def test_an_enormous_file_is_refused_before_it_is_read() -> None:
    with pytest.raises(CompiledIdentityError, match="expected 8 to"):
        from_bytes(bytes(faceid.MAX_BYTES + 1))


def mutate(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at = rng.randrange(max(1, min(len(out), rng.choice((16, 1500, len(out))))))
        kind = rng.randrange(6)
        if not out:
            break
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.choice(b'0123456789{}[]",:-.eE \\u')
        elif kind == 2:
            del out[at : at + rng.randrange(1, 20)]
        elif kind == 3:
            out[at:at] = rng.randbytes(rng.randrange(1, 20))
        elif kind == 4:
            out = out[: at + 1]
        else:
            other = rng.randrange(max(1, len(out)))
            out[at : at + 8] = out[other : other + 8]
    return bytes(out)


def test_18000_mutated_files_give_the_same_value_or_the_one_error() -> None:
    small = compiled(hidden=(1,) * 16)
    files = [to_bytes(small, storage) for storage in STORAGES]
    originals = [from_bytes(data) for data in files]
    rng, refused = random.Random(0), 0
    for i in range(18_000):
        try:
            found = from_bytes(mutate(files[i % 3], rng))
        except CompiledIdentityError:
            refused += 1
        else:
            assert same(found, originals[i % 3])
    assert refused > 17_000
