"""Small ONNX models that onnxruntime runs, written as protobuf by hand: stand-ins for published ones.

Field numbers are those of onnx.proto; NodeProto: input 1, output 2, op_type 4, attribute 5; AttributeProto: name 1,
i 3, ints 8, type 20 (2 an integer, 7 integers).
"""

from __future__ import annotations

from collections.abc import Sequence

from .faces.onnx_bytes import field, tensor

Shape = Sequence[int | str]


def node(op: str, inputs: Sequence[str], output: str, **attributes: int | list[int]) -> bytes:
    body = b"".join(field(1, name.encode()) for name in inputs) + field(2, output.encode()) + field(4, op.encode())
    for name, value in attributes.items():
        kind = field(20, 2) + field(3, value) if isinstance(value, int) else field(20, 7) + _list(value)
        body += field(5, field(1, name.encode()) + kind)
    return field(1, body)


def _list(values: list[int]) -> bytes:
    return b"".join(field(8, value) for value in values)


def graph(nodes: Sequence[bytes], inputs: dict[str, Shape], outputs: dict[str, Shape]) -> bytes:
    body = b"".join(nodes) + field(2, b"stand-in")
    body += b"".join(field(11, tensor(name, shape)) for name, shape in inputs.items())
    body += b"".join(field(12, tensor(name, shape)) for name, shape in outputs.items())
    return field(1, 6) + field(7, body) + field(8, field(1, b"") + field(2, 11))  # opset 11


def channel_means(size: int | str, batch: int | str = "batch", inside: str = "input", out: str = "output") -> bytes:
    """Pictures [N, 3, S, S] -> the mean of each channel, [N, 3]."""
    nodes = [node("GlobalAveragePool", [inside], "pooled"), node("Flatten", ["pooled"], out, axis=1)]
    return graph(nodes, {inside: (batch, 3, size, size)}, {out: (batch, 3)})


def mean_distances(width: int | str = "width") -> bytes:
    """Vectors [N, D] -> the mean absolute difference of every two, [N, N]."""
    nodes = [
        node("Unsqueeze", ["input"], "rows", axes=[1]),
        node("Unsqueeze", ["input"], "columns", axes=[0]),
        node("Sub", ["rows", "columns"], "apart"),
        node("Abs", ["apart"], "size"),
        node("ReduceMean", ["size"], "output", axes=[2], keepdims=0),
    ]
    return graph(nodes, {"input": ("batch", width)}, {"output": ("batch", "batch")})
