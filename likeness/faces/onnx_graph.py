"""What a model file says about itself, read from its protobuf without onnx or onnxruntime.

Field numbers are those of onnx.proto: ModelProto.graph 7; GraphProto node 1, initializer 5, input 11,
output 12; NodeProto name 3, op_type 4; ValueInfoProto name 1, type 2; TypeProto.tensor_type 1, its shape 2;
TensorShapeProto.dim 1; Dimension.dim_value 1; TensorProto.name 8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import ModelMissingError, StorageError
from ..files import read_limited

MAX_MODEL_BYTES = 1024 * 1024 * 1024


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]  # 0 where the model leaves the size open


@dataclass(frozen=True)
class Graph:
    inputs: tuple[Tensor, ...]  # weights excluded
    outputs: tuple[Tensor, ...]
    node_names: tuple[str, ...]  # of the first 8 nodes, where InsightFace looks for a built-in normalisation
    dynamic_int8: bool  # activations are scaled per batch, so faces of one batch change each other


@dataclass(frozen=True)
class ModelFile:
    sha256: str
    graph: Graph


def read_model(path: Path) -> bytes:
    """The model file's bytes; raises ModelMissingError."""
    try:
        return read_limited(path, min(path.stat().st_size, MAX_MODEL_BYTES))
    except (OSError, StorageError) as error:
        raise ModelMissingError(f"The face model {path} cannot be read ({error}): download it again.") from error


def model_file(path: Path) -> ModelFile:
    """Hash and outline of a model; kept in memory until the file's size or time changes."""
    try:
        info = path.stat()
    except OSError as error:
        raise ModelMissingError(f"The face model {path} cannot be read ({error}): download it again.") from error
    found = _inspect(path, info.st_size, info.st_mtime_ns)
    if isinstance(found, str):
        raise ModelMissingError(found)
    return found


@lru_cache(maxsize=256)
def _inspect(path: Path, _size: int, _mtime_ns: int) -> ModelFile | str:
    """The outline, or what is wrong: a bad file must not be read again at every look into its folder."""
    try:
        data = read_model(path)
        return ModelFile(hashlib.sha256(data).hexdigest(), outline(data))
    except ModelMissingError as error:
        return str(error)
    except (ValueError, IndexError):
        return f"{path} is not a whole ONNX model: download it again."


def outline(data: bytes) -> Graph:
    """Raises ValueError or IndexError for bytes that are no ONNX model."""
    bodies = [body for number, body in _fields(memoryview(data)) if number == 7]
    if not bodies or not isinstance(bodies[0], memoryview):
        raise ValueError("no graph")
    inputs, outputs, nodes, weights = [], [], [], set()
    for number, body in _fields(bodies[0]):
        if number == 1:
            nodes.append((_text(body, 3), _text(body, 4)))
        elif number == 5:
            weights.add(_text(body, 8))
        elif number in (11, 12):
            (inputs if number == 11 else outputs).append(_tensor(body))
    return Graph(
        tuple(t for t in inputs if t.name not in weights),
        tuple(outputs),
        tuple(name for name, _ in nodes[:8]),
        any(op == "DynamicQuantizeLinear" for _, op in nodes),
    )


def _tensor(body: memoryview | int) -> Tensor:
    shape = _child(_child(_child(body, 2), 1), 2)
    sizes = []
    for number, dim in _fields(shape):
        if number == 1:
            values = [value for n, value in _fields(_message(dim)) if n == 1 and isinstance(value, int)]
            sizes.append(values[0] if values else 0)
    return Tensor(_text(body, 1), tuple(sizes))


def _child(body: memoryview | int, number: int) -> memoryview:
    """The nested message of field `number`, empty where it is absent."""
    return next((_message(value) for n, value in _fields(_message(body)) if n == number), memoryview(b""))


def _text(body: memoryview | int, number: int) -> str:
    return bytes(_child(body, number)).decode("utf-8", "replace")


def _message(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(field number, bytes or integer) of a protobuf message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if not tag >> 3:  # zeros: an unfinished download
            raise ValueError("field number 0")
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("unknown wire type")
        if at + length > len(data):
            raise ValueError("cut short")
        yield tag >> 3, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("number too long")
