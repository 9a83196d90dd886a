"""Compiled identities: strengths, bytes, and every way a file can be wrong."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch
from random_adapter import embedding, hidden_states, state_dict

import faceid
from faceid import CompiledIdentity, CompiledIdentityError


def compiled(kind: str = "plus", hidden: tuple[int, ...] = (2, 3) * 8) -> CompiledIdentity:
    flat = state_dict("sd15", kind, hidden=hidden)
    adapter = faceid.read_adapter(flat, name="ip-adapter-faceid-plusv2_sd15.bin")
    tokens = faceid.identity_tokens(adapter, embedding(), hidden_states(1), hidden_states(2))
    return faceid.compile_identity(adapter, tokens, identity="digest", image_encoder="vit-h")


@pytest.fixture(scope="module")
def identity() -> CompiledIdentity:
    return compiled()


def same(a: CompiledIdentity, b: CompiledIdentity) -> bool:
    return (
        (a.provenance, a.hidden, a.storage) == (b.provenance, b.hidden, b.storage)
        and torch.equal(a.keys, b.keys)
        and torch.equal(a.values, b.values)
    )


def test_it_knows_what_it_was_made_from(identity: CompiledIdentity) -> None:
    assert identity.provenance == faceid.Provenance(
        family="sd15",
        variant="faceid_plus_v2",
        adapter_name="ip-adapter-faceid-plusv2_sd15.bin",
        adapter_size=0,
        adapter_sha256="",
        identity="digest",
        image_encoder="vit-h",
        combine="average",
    )
    assert (identity.tokens, identity.parts, identity.hidden) == (4, 2, (2, 3) * 8)
    assert compiled("mlp").parts == 1


def test_weight_scales_values_only_and_weight_v2_the_shortcut(identity: CompiledIdentity) -> None:
    base, full = identity.at(1.0, 0.0), identity.at(1.0, 1.0)
    mixed = identity.at(0.25, 3.0)
    assert torch.allclose(mixed.keys, base.keys + 3 * (full.keys - base.keys), atol=1e-5)
    assert torch.allclose(mixed.values, 0.25 * (base.values + 3 * (full.values - base.values)), atol=1e-5)
    assert (full.keys - base.keys).abs().max() > 0.1


def test_weight_v2_means_nothing_without_a_shortcut() -> None:
    identity = compiled("mlp")
    assert torch.equal(identity.at(1.0, 0.0).keys, identity.at(1.0, 5.0).keys)


def test_layers_lie_in_adapter_order(identity: CompiledIdentity) -> None:
    layers = identity.at(1.0, 0.0).layers()
    assert [k.shape for k, _ in layers] == [(2, 4, h) for h in identity.hidden]
    assert torch.equal(torch.cat([v for _, v in layers], dim=-1), identity.values[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("kind", ["mlp", "plus"])
def test_bytes_round_trip(kind: str, dtype: torch.dtype) -> None:
    first = compiled(kind)
    data = first.to_bytes(dtype)
    again = CompiledIdentity.from_bytes(data)
    assert again.to_bytes(dtype) == data
    assert same(again, CompiledIdentity.from_bytes(memoryview(data)))
    assert torch.equal(again.keys, first.keys.to(dtype).float())
    assert again.storage == str(dtype).removeprefix("torch.")
    assert dtype != torch.float32 or same(first, again)


def test_the_file_is_plain_safetensors(identity: CompiledIdentity) -> None:
    tensors = safetensors.torch.load(identity.to_bytes())
    assert torch.equal(tensors["keys"], identity.keys)
    assert torch.equal(tensors["values"], identity.values)


def test_other_storage_types_are_refused(identity: CompiledIdentity) -> None:
    with pytest.raises(CompiledIdentityError, match="float32 or float16, not as"):
        identity.to_bytes(torch.bfloat16)


def test_numbers_that_do_not_fit_are_refused(identity: CompiledIdentity) -> None:
    loud = replace(identity, keys=identity.keys * 1e6)
    assert same(CompiledIdentity.from_bytes(loud.to_bytes()), loud)
    with pytest.raises(CompiledIdentityError, match="Store this identity as float32"):
        loud.to_bytes(torch.float16)


def test_provenance_text_is_limited() -> None:
    adapter = faceid.read_adapter(state_dict("sd15", hidden=(2,) * 16), name="a.bin")
    tokens = faceid.identity_tokens(adapter, embedding())
    with pytest.raises(CompiledIdentityError, match="513 characters"):
        faceid.compile_identity(adapter, tokens, identity="x" * 513)


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
    assert same(CompiledIdentity.from_bytes(rebuilt(identity.to_bytes())), identity)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2, this version reads 1"),
        ({"format": True}, "format True"),
        ({"more": 1}, "entries"),
        ({"storage": "int8"}, "storage type"),
        ({"storage": ["float32"]}, "storage type"),
        ({"storage": "float16"}, "its keys are"),
        ({"parts": 1}, "parts"),
        ({"parts": 2.0}, "parts"),
        ({"tokens": 0}, "number of tokens"),
        ({"tokens": 4.0}, "number of tokens"),
        ({"tokens": 5}, "its keys are"),
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
        ({"provenance": {"surplus": ""}}, "provenance"),
    ],
)
def test_a_foreign_file_with_a_right_checksum_is_refused(
    identity: CompiledIdentity, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CompiledIdentityError, match=message):
        CompiledIdentity.from_bytes(rebuilt(identity.to_bytes(), **changes))


def test_nan_with_a_right_checksum_is_refused(identity: CompiledIdentity) -> None:
    data = bytearray(identity.to_bytes())
    data[-4:] = struct.pack("<f", float("nan"))
    with pytest.raises(CompiledIdentityError, match="NaN"):
        CompiledIdentity.from_bytes(rebuilt(bytes(data)))


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
        CompiledIdentity.from_bytes(data)


def test_an_enormous_file_is_refused_before_it_is_read() -> None:
    with pytest.raises(CompiledIdentityError, match="expected 8 to"):
        CompiledIdentity.from_bytes(bytes((64 << 20) + 1))


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


def test_20000_mutated_files_give_the_same_value_or_the_one_error(identity: CompiledIdentity) -> None:
    small = compiled(hidden=(1,) * 16)
    files = [small.to_bytes(), small.to_bytes(torch.float16)]
    originals = [CompiledIdentity.from_bytes(data) for data in files]
    rng, refused = random.Random(0), 0
    for i in range(20_000):
        try:
            found = CompiledIdentity.from_bytes(mutate(files[i % 2], rng))
        except CompiledIdentityError:
            refused += 1
        else:
            assert same(found, originals[i % 2])
    assert refused > 19_000
