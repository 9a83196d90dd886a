"""Models of a few bytes, written as protobuf by hand: enough for their outline to be read."""

from __future__ import annotations

from collections.abc import Sequence


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def tensor(name: str, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(field(1, field(1, d) if isinstance(d, int) else field(2, d.encode())) for d in shape)
    return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, dims)))


def model(
    inputs: dict[str, Sequence[int | str]],
    outputs: dict[str, Sequence[int | str]],
    nodes: Sequence[tuple[str, str]] = (),
    weights: Sequence[str] = (),
) -> bytes:
    graph = b"".join(field(1, field(3, name.encode()) + field(4, op.encode())) for name, op in nodes)
    graph += b"".join(field(5, field(8, name.encode()) + field(9, b"\0" * 64)) for name in weights)
    graph += b"".join(field(11, tensor(n, s)) for n, s in inputs.items())
    graph += b"".join(field(12, tensor(n, s)) for n, s in outputs.items())
    return field(1, 8) + field(2, b"made up") + field(7, graph)


SCRFD = model({"input.1": (1, 3, "?", "?")}, {str(i): ("n", c) for i, c in enumerate([1, 1, 1, 4, 4, 4, 10, 10, 10])})
ARCFACE = model({"data": ("None", 3, 112, 112), "w": (3,)}, {"fc1": ("None", 512)}, [("Conv_0", "Conv")], ["w"])
YUNET = model(
    {"input": (1, 3, 640, 640)}, {f"{k}_{s}": (1, "n", 1) for k in ("cls", "obj", "bbox", "kps") for s in (8, 16, 32)}
)
LANDMARKS = model({"data": ("None", 3, 192, 192)}, {"fc1": (1, 212)})
