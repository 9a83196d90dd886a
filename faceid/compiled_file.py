"""A compiled identity as bytes: one safetensors file with two tensors and one metadata entry.

The metadata is canonical JSON: provenance, layer widths, shapes, and a SHA-256 over that JSON and both
tensors. The reader checks every length before it allocates and believes nothing that the hash does not
cover. Layout of the container: huggingface/safetensors, "Format".
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, fields
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from .compiled import FORMAT, MAX_TEXT, CompiledIdentity, Provenance
from .errors import CompiledIdentityError
from .layout import CONTEXT_DIM, cross_attentions

MAX_BYTES = 64 << 20  # of a file; the largest one written today has 11 MB
MAX_HEADER = 64 << 10  # bytes
_METADATA_KEY = "likeness_identity"
_DTYPES = {"float32": (torch.float32, "F32", 4), "float16": (torch.float16, "F16", 2)}
_VARIANTS = ("faceid", "faceid_plus", "faceid_plus_v2", "faceid_portrait")


def write(compiled: CompiledIdentity, dtype: torch.dtype) -> bytes:
    """See CompiledIdentity.to_bytes."""
    storage = {torch_dtype: name for name, (torch_dtype, _, _) in _DTYPES.items()}.get(dtype)
    if storage is None:
        raise CompiledIdentityError(f"A compiled identity is stored as float32 or float16, not as {dtype}.")
    keys, values = (x.to(dtype).contiguous() for x in (compiled.keys, compiled.values))
    if not (bool(torch.isfinite(keys).all()) and bool(torch.isfinite(values).all())):
        raise CompiledIdentityError(f"The keys do not fit into {storage}. Store this identity as float32.")
    parts, _, tokens, _ = compiled.keys.shape
    about = {
        "format": FORMAT,
        "storage": storage,
        "parts": parts,
        "tokens": tokens,
        "hidden": list(compiled.hidden),
        "provenance": asdict(compiled.provenance),
    }
    about["sha256"] = _digest(about, _raw(keys), _raw(values))
    return safetensors.torch.save({"keys": keys, "values": values}, {_METADATA_KEY: _canonical(about)})


def read(data: bytes) -> CompiledIdentity:
    """See CompiledIdentity.from_bytes."""
    header, body = _container(data)
    about = _about(header)
    dtype, code, itemsize = _DTYPES[about["storage"]]
    shape = [about["parts"], 2, about["tokens"], sum(about["hidden"])]
    size = shape[0] * shape[1] * shape[2] * shape[3] * itemsize
    for i, name in enumerate(("keys", "values")):
        expected = {"dtype": code, "shape": shape, "data_offsets": [i * size, (i + 1) * size]}
        _require(header[name] == expected, f"its {name} are {header[name]!r:.100}, expected {expected}")
    _require(len(body) == 2 * size, f"it holds {len(body)} bytes of numbers, expected {2 * size}")
    claimed = about.pop("sha256")
    _require(claimed == _digest(about, body[:size], body[size:]), "its contents do not match its checksum")
    keys, values = (torch.frombuffer(body, dtype=dtype, count=size // itemsize, offset=at) for at in (0, size))
    for x in (keys, values):
        _require(bool(torch.isfinite(x).all()), "it holds NaN or infinite numbers")
    keys, values = (x.reshape(shape).to(torch.float32) for x in (keys, values))
    return CompiledIdentity(Provenance(**about["provenance"]), tuple(about["hidden"]), keys, values, about["storage"])


def _container(data: bytes) -> tuple[dict[str, Any], bytearray]:
    _require(isinstance(data, bytes | bytearray | memoryview), f"it is a {type(data).__name__}, expected bytes")
    _require(8 <= len(data) <= MAX_BYTES, f"it has {len(data)} bytes, expected 8 to {MAX_BYTES}")
    (length,) = struct.unpack("<Q", data[:8])
    _require(length <= min(MAX_HEADER, len(data) - 8), f"its header claims {length} bytes")
    header = _json(bytes(data[8 : 8 + length]), "header")
    _require(sorted(header) == ["__metadata__", "keys", "values"], f"it holds {sorted(header)!r:.100}")
    return header, bytearray(data[8 + length :])


def _about(header: dict[str, Any]) -> dict[str, Any]:
    metadata = header["__metadata__"]
    _require(isinstance(metadata, dict) and list(metadata) == [_METADATA_KEY], "its metadata is foreign")
    text = metadata[_METADATA_KEY]
    _require(isinstance(text, str), "its metadata is foreign")
    about = _json(text, "metadata")
    names = ["format", "hidden", "parts", "provenance", "sha256", "storage", "tokens"]
    _require(
        _whole(about.get("format"), FORMAT, FORMAT),
        f"it has format {about.get('format')!r:.20}, this version reads {FORMAT}",
    )
    _require(sorted(about) == names, f"its metadata has the entries {sorted(about)!r:.200}")
    provenance = _provenance(about["provenance"])
    _require(isinstance(about["storage"], str) and about["storage"] in _DTYPES, "its storage type is unknown")
    parts = 1 + (provenance.variant == "faceid_plus_v2")
    _require(_whole(about["parts"], parts, parts), "its parts do not fit its variant")
    _require(_whole(about["tokens"], 1, 4096), "its number of tokens is out of range")
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
    for name, value in found.items():
        if name == "adapter_size":
            _require(_whole(value, 0, 1 << 50), "its adapter_size is out of range")
        else:
            _require(
                isinstance(value, str) and len(value) <= MAX_TEXT,
                f"its {name} is no text of up to {MAX_TEXT}",
            )
    _require(found["family"] in CONTEXT_DIM, f"it is for the base family {found['family']!r:.40}, which is unknown")
    _require(found["variant"] in _VARIANTS, f"it is of the variant {found['variant']!r:.40}, which is unknown")
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


def _digest(about: dict[str, Any], keys: bytes | bytearray, values: bytes | bytearray) -> str:
    digest = hashlib.sha256(_canonical(about).encode())
    digest.update(keys)
    digest.update(values)
    return digest.hexdigest()


def _canonical(about: dict[str, Any]) -> str:
    return json.dumps(about, sort_keys=True, separators=(",", ":"))


def _raw(x: Tensor) -> bytes:
    return x.numpy().tobytes()


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise _bad(what)


def _bad(what: str) -> CompiledIdentityError:
    return CompiledIdentityError(
        f"This is no usable compiled identity: {what}. Delete the file and compile the character again."
    )
