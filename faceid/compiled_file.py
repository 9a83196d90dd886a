"""A compiled identity as bytes: one safetensors file with a few tensors and one metadata entry.

The metadata is canonical JSON: provenance, layer widths, shapes, and a SHA-256 over that JSON and all
tensors. The reader checks every length before it allocates and believes nothing that the hash does not
cover. Layout of the container: huggingface/safetensors, "Format".

Storage "float24" keeps 19 bits of a number in 3 bytes: x rounded to float16, and what that leaves as a signed byte in
units of 1/256 of the float16's last place. It is off by at most 2^-19 of the number, or by 2^-33 below 2^-14.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import asdict, fields
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from .adapter import VARIANTS
from .compiled import MAX_TEXT, CompiledIdentity, Provenance
from .errors import CompiledIdentityError
from .layout import CONTEXT_DIM, cross_attentions

FORMAT = 2
MAX_BYTES = 512 << 20  # of a file; one face takes 0.3 to 16 MB, fifty side by side up to 400 MB
MAX_HEADER = 64 << 10  # bytes
_PIECE = 1 << 15  # numbers
_METADATA_KEY = "likeness_identity"
_MAX_COUNT = 1 << 16  # of tokens, faces and pictures; MAX_BYTES is reached long before
_DTYPES = {"F32": (torch.float32, 4), "F16": (torch.float16, 2), "I8": (torch.int8, 1)}
_TENSORS = {  # name and type of the tensors of each storage, in the order of the file
    "float32": (("keys", "F32"), ("values", "F32")),
    "float24": (("keys", "F16"), ("values", "F16"), ("keys_rest", "I8"), ("values_rest", "I8")),
    "float16": (("keys", "F16"), ("values", "F16")),
}
_ENOUGH = 2.0**-18  # of all keys or all values, float24's error; more where nearly all numbers are below 2^-14


def to_bytes(compiled: CompiledIdentity, storage: str = "float24") -> bytes:
    """A safetensors file of the identity, the same bytes each time; storage "float24", "float16" or "float32".

    Where numbers do not fit into float24 or float16, float32 is taken. CompiledIdentityError when the file would be
    larger than MAX_BYTES.
    """
    if storage not in _TENSORS:
        raise CompiledIdentityError(f"A compiled identity is stored as {', '.join(_TENSORS)}, not as {storage!r:.40}.")
    tensors = _packed(compiled, storage)
    if tensors is None:
        storage, tensors = "float32", {"keys": compiled.keys, "values": compiled.values}
    size = sum(x.numel() * x.element_size() for x in tensors.values())
    if size > MAX_BYTES - MAX_HEADER:
        raise CompiledIdentityError(
            f"This compiled identity would take {size >> 20} MB of the {MAX_BYTES >> 20} MB that a file may have. "
            "Use fewer references, or a way to combine them that makes one face of them."
        )
    about = {
        "format": FORMAT,
        "storage": storage,
        "parts": compiled.parts,
        "frames": compiled.frames,
        "tokens": compiled.tokens,
        "hidden": list(compiled.hidden),
        "provenance": asdict(compiled.provenance),
    }
    tensors = {name: tensors[name].contiguous() for name, _ in _TENSORS[storage]}
    about["sha256"] = _digest(about, *(memoryview(x.numpy()).cast("B") for x in tensors.values()))
    return safetensors.torch.save(tensors, {_METADATA_KEY: _canonical(about)})


def from_bytes(data: bytes) -> CompiledIdentity:
    """The identity in a file of `to_bytes`; anything else raises CompiledIdentityError."""
    header, body = _container(data)
    about = _about(header)
    shape = [about["parts"], 2, about["frames"], about["tokens"], sum(about["hidden"])]
    names = _TENSORS[about["storage"]]
    _require(sorted(header) == sorted(["__metadata__", *(name for name, _ in names)]), f"it holds {_brief(header)}")
    tensors, at = {}, 0
    for name, code in names:
        dtype, itemsize = _DTYPES[code]
        end = at + math.prod(shape) * itemsize
        expected = {"dtype": code, "shape": shape, "data_offsets": [at, end]}
        _require(header[name] == expected, f"its {name} are {header[name]!r:.100}, expected {expected}")
        _require(len(body) >= end, f"it holds {len(body)} bytes of numbers, expected {end} or more")
        tensors[name] = torch.frombuffer(body, dtype=dtype, count=math.prod(shape), offset=at).reshape(shape)
        at = end
    _require(len(body) == at, f"it holds {len(body)} bytes of numbers, expected {at}")
    claimed = about.pop("sha256")
    _require(claimed == _digest(about, body), "its contents do not match its checksum")
    keys, values = (_unpacked(tensors[x], tensors.get(f"{x}_rest")) for x in ("keys", "values"))
    _require(_finite(keys) and _finite(values), "it holds NaN or infinite numbers")
    return CompiledIdentity(Provenance(**about["provenance"]), tuple(about["hidden"]), keys, values, about["storage"])


def _packed(compiled: CompiledIdentity, storage: str) -> dict[str, Tensor] | None:
    """The tensors to store, or None where their numbers do not fit."""
    tensors = {}
    for name, x in (("keys", compiled.keys), ("values", compiled.values)):
        if storage == "float24":
            tensors[name], tensors[f"{name}_rest"] = _split(x)
            if (_unpacked(tensors[name], tensors[f"{name}_rest"]) - x).norm() > _ENOUGH * x.norm():
                return None
        else:
            tensors[name] = x.to(_DTYPES["F16" if storage == "float16" else "F32"][0])
        if not bool(torch.isfinite(tensors[name]).all()):
            return None
    return tensors


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """x float32 -> float16 and int8 with x = float16 + int8 * _unit(float16), nearly."""
    high = x.half()
    rest = ((x - high) / _unit(high)).round()
    # Half a last place above is 128, one more than a byte holds; from the next float16 it is -128.
    high = torch.where(rest > 127, high + 256 * _unit(high), high.float()).half()
    rest = ((x - high) / _unit(high)).round()
    return high, rest.nan_to_num(0.0).clamp(-128, 127).to(torch.int8)


def _unpacked(high: Tensor, rest: Tensor | None) -> Tensor:
    """float32. Piece by piece, because memory that is touched for the first time costs more than the arithmetic."""
    if rest is None:
        return high.float()
    made = torch.empty(high.shape, dtype=torch.float32)
    for part, low, out in zip(*(x.reshape(-1).split(_PIECE) for x in (high, rest, made)), strict=True):
        torch.add(part, low * _unit(part), out=out)
    return made


def _finite(x: Tensor) -> bool:
    return all(bool(torch.isfinite(part).all()) for part in x.reshape(-1).split(_PIECE))


def _unit(high: Tensor) -> Tensor:
    """1/256 of the last place of each float16, float32, made of its bits so that it is exact on every machine."""
    exponent = (high.view(torch.int16) >> 10) & 31  # e for 2^(e - 15); below e = 1 the last place stays 2^-24
    # 2^(e - 33), whose own bits hold the exponent plus 127
    return ((exponent.clamp(min=1).int() + 94) << 23).view(torch.float32)


def _container(data: bytes) -> tuple[dict[str, Any], bytearray]:
    _require(isinstance(data, bytes | bytearray | memoryview), f"it is a {type(data).__name__}, expected bytes")
    _require(8 <= len(data) <= MAX_BYTES, f"it has {len(data)} bytes, expected 8 to {MAX_BYTES}")
    (length,) = struct.unpack("<Q", data[:8])
    _require(length <= min(MAX_HEADER, len(data) - 8), f"its header claims {length} bytes")
    header = _json(bytes(data[8 : 8 + length]), "header")
    return header, bytearray(memoryview(data)[8 + length :])


def _about(header: dict[str, Any]) -> dict[str, Any]:
    metadata = header.get("__metadata__")
    _require(isinstance(metadata, dict) and list(metadata) == [_METADATA_KEY], "its metadata is foreign")
    text = metadata[_METADATA_KEY]
    _require(isinstance(text, str), "its metadata is foreign")
    about = _json(text, "metadata")
    names = ["format", "frames", "hidden", "parts", "provenance", "sha256", "storage", "tokens"]
    _require(
        _whole(about.get("format"), FORMAT, FORMAT),
        f"it has format {about.get('format')!r:.20}, this version reads {FORMAT}",
    )
    _require(sorted(about) == names, f"its metadata has the entries {_brief(about)}")
    provenance = _provenance(about["provenance"])
    _require(isinstance(about["storage"], str) and about["storage"] in _TENSORS, "its storage type is unknown")
    parts = 1 + (provenance.variant == "faceid_plus_v2")
    _require(_whole(about["parts"], parts, parts), "its parts do not fit its variant")
    for what in ("tokens", "frames"):
        _require(_whole(about[what], 1, _MAX_COUNT), f"its number of {what} is out of range")
    _require(about["tokens"] % provenance.faces == 0, "its faces do not fit its number of tokens")
    layers = len(cross_attentions(provenance.family))
    hidden = about["hidden"]
    _require(
        isinstance(hidden, list) and len(hidden) == layers and all(_whole(h, 1, 5120) for h in hidden),
        f"its layer widths are not those of {layers} cross-attentions",
    )
    return about


def _provenance(found: Any) -> Provenance:
    names = [field.name for field in fields(Provenance)]
    _require(isinstance(found, dict) and sorted(found) == sorted(names), "its provenance is incomplete")
    numbers = {"adapter_size": (0, 1 << 50), "faces": (1, _MAX_COUNT)}
    for name, value in found.items():
        if name in numbers:
            _require(_whole(value, *numbers[name]), f"its {name} is out of range")
        else:
            _require(
                isinstance(value, str) and len(value) <= MAX_TEXT,
                f"its {name} is no text of up to {MAX_TEXT}",
            )
    _require(found["family"] in CONTEXT_DIM, f"it is for the base family {found['family']!r:.40}, which is unknown")
    _require(found["variant"] in VARIANTS, f"it is of the variant {found['variant']!r:.40}, which is unknown")
    return Provenance(**found)


def _json(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(f"its {what} is no JSON") from error
    _require(isinstance(value, dict), f"its {what} is no JSON object")
    return value


def _whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _brief(table: dict[str, Any]) -> str:
    return f"{sorted(table)!r:.200}"


def _digest(about: dict[str, Any], *data: Any) -> str:
    digest = hashlib.sha256(_canonical(about).encode())
    for part in data:
        digest.update(part)
    return digest.hexdigest()


def _canonical(about: dict[str, Any]) -> str:
    return json.dumps(about, sort_keys=True, separators=(",", ":"))


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise _bad(what)


def _bad(what: str) -> CompiledIdentityError:
    return CompiledIdentityError(
        f"This is no usable compiled identity: {what}. Delete the file and compile the character again."
    )
