"""A stand-in face model pack, so that face code can be tried where no real face model can be had.

Two small ONNX files in the layout of InsightFace's packs, written without the onnx package:

- The detector has SCRFD's nine outputs for any input size. It answers one face in the middle of every picture
  and none in a black one; it tells the picture from its letterbox by the black padding.
- The recogniser is one fixed random linear map of coarse, mean-free pixels. Its cosine says how alike two
  crops look, nothing about identity.

    python tools/make_standin_faces.py --out MODELS_DIR     # below it: insightface/models/standin/
"""

from __future__ import annotations

import argparse
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NOTE = "random weights, stand-in"
PACK = "insightface/models/standin"
FLOAT, INT64 = 1, 7  # ONNX element types
STRIDES = (8, 16, 32)  # of SCRFD's three output levels; the face is answered on the last
SCORE = 0.9
FACE = (0.45, 0.60)  # width and height of the answered box, in parts of the picture's shorter side
POINTS = ((0.30, 0.42), (0.70, 0.42), (0.50, 0.62), (0.34, 0.79), (0.66, 0.79))  # in parts of the box
CORNERS = ((0.0, 0.0), (1.0, 1.0))
CELL = 16  # pixels of the 112 px crop that are averaged to one number


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | float | str | bytes) -> bytes:
    """One protobuf field: varint, 32-bit float, or length-delimited text, bytes or message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def attribute(name: str, value: int | float | list[int]) -> bytes:
    if isinstance(value, list):
        return field(1, name) + b"".join(field(8, item) for item in value) + field(20, 7)
    number, kind = (3, 2) if isinstance(value, int) else (2, 1)
    return field(1, name) + field(number, value) + field(20, kind)


def value_info(name: str, shape: tuple[int | str, ...]) -> bytes:
    """A float tensor; a text in `shape` is a size known only at run time."""
    dims = b"".join(field(1, field(1 if isinstance(size, int) else 2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, dims)))


class Graph:
    """Collects nodes; arrays and numbers given as inputs become constants."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.constants: list[bytes] = []

    def constant(self, value: NDArray | int | float | list) -> str:
        array = np.asarray(value)
        array = array.astype("<i8" if array.dtype.kind == "i" else "<f4")
        name = f"constant_{len(self.constants)}"
        dims = b"".join(field(1, size) for size in array.shape)
        kind = field(2, INT64 if array.dtype.kind == "i" else FLOAT)
        self.constants.append(dims + kind + field(8, name) + field(9, array.tobytes()))
        return name

    def op(self, kind: str, *inputs: object, name: str = "", **attributes: int | float | list[int]) -> str:
        """Adds a node and returns the name of its output."""
        output = name or f"value_{len(self.nodes)}"
        sources = [item if isinstance(item, str) else self.constant(item) for item in inputs]
        node = b"".join(field(1, source) for source in sources) + field(2, output) + field(4, kind)
        node += b"".join(field(5, attribute(key, value)) for key, value in attributes.items())
        self.nodes.append(node)
        return output

    def model(self, name: str, inputs: dict[str, tuple], outputs: dict[str, tuple]) -> bytes:
        graph = b"".join(field(1, node) for node in self.nodes) + field(2, name)
        graph += b"".join(field(5, constant) for constant in self.constants)
        graph += b"".join(field(11, value_info(*item)) for item in inputs.items())
        graph += b"".join(field(12, value_info(*item)) for item in outputs.items())
        note = field(14, field(1, "note") + field(2, NOTE))
        return field(1, 8) + field(2, "Likeness") + field(7, graph) + field(8, field(2, 13)) + note


def picture_size(graph: Graph, image: str, axis: int) -> tuple[str, str]:
    """(input size, picture size) along `axis`; the picture ends with its last line that is not black."""
    brightest = graph.op("ReduceMax", image, axes=[item for item in range(4) if item != axis], keepdims=0)
    size = graph.op("Gather", graph.op("Shape", image), [axis])
    numbers = graph.op("Range", 1, graph.op("Add", graph.op("Squeeze", size, [0]), 1), 1)
    lit = graph.op("Cast", graph.op("Greater", brightest, -0.98), to=INT64)
    return size, graph.op("ReduceMax", graph.op("Mul", lit, numbers), keepdims=1)


def level(graph: Graph, stride: int, sizes: list[str], lit: str) -> tuple[str, str, str]:
    """SCRFD's scores [N, 1], boxes [N, 4] and points [N, 10] of one stride; N is two anchors per cell.

    `sizes` are width and height of the input, `lit` is float [2]: width and height of the picture in it.
    """
    columns, rows = (graph.op("Div", size, stride) for size in sizes)
    count = graph.op("Mul", graph.op("Mul", columns, rows), 2)
    numbers = graph.op("Range", 0, graph.op("Squeeze", count, [0]), 1)
    cell = graph.op("Unsqueeze", graph.op("Div", numbers, 2), [1])
    cells = graph.op("Concat", graph.op("Mod", cell, columns), graph.op("Div", cell, columns), axis=1)
    anchors = graph.op("Mul", graph.op("Cast", cells, to=FLOAT), float(stride))

    middle, side = graph.op("Mul", lit, 0.5), graph.op("ReduceMin", lit, keepdims=1)
    offsets = [(part - 0.5) * size for point in CORNERS + POINTS for part, size in zip(point, FACE, strict=True)]
    places = graph.op("Add", graph.op("Tile", middle, [7]), graph.op("Mul", side, offsets))
    gaps = graph.op("Sub", places, graph.op("Tile", anchors, [1, 7]))
    coded = graph.op("Mul", gaps, np.array([-1.0, -1.0] + [1.0] * 12) / stride)

    middle_cell = graph.op("Cast", graph.op("Mul", middle, 1 / stride), to=INT64)
    wrong = graph.op("ReduceSum", graph.op("Abs", graph.op("Sub", cells, middle_cell)), [1], keepdims=1)
    hit = graph.op("And", graph.op("Equal", wrong, 0), graph.op("Greater", side, 0.0))
    score = SCORE if stride == STRIDES[-1] else 0.0
    return (
        graph.op("Mul", graph.op("Cast", hit, to=FLOAT), score, name=f"score_{stride}"),
        graph.op("Slice", coded, [0], [4], [1], name=f"bbox_{stride}"),
        graph.op("Slice", coded, [4], [14], [1], name=f"kps_{stride}"),
    )


def detector() -> bytes:
    graph = Graph()
    (height, lit_height), (width, lit_width) = (picture_size(graph, "input.1", axis) for axis in (2, 3))
    lit = graph.op("Cast", graph.op("Concat", lit_width, lit_height, axis=0), to=FLOAT)
    levels = [level(graph, stride, [width, height], lit) for stride in STRIDES]
    kinds = zip(zip(*levels, strict=True), (1, 4, 10), strict=True)
    outputs = {name: ("?", columns) for names, columns in kinds for name in names}
    return graph.model("stand-in detector", {"input.1": (1, 3, "?", "?")}, outputs)


def recogniser(seed: int) -> bytes:
    cells = (112 // CELL) ** 2
    weights = np.random.default_rng(seed).standard_normal((3, cells, 512)) / np.sqrt(3 * cells)
    weights -= weights.mean(axis=1, keepdims=True)
    graph = Graph()
    pooled = graph.op("AveragePool", "input.1", kernel_shape=[CELL, CELL], strides=[CELL, CELL])
    graph.op("MatMul", graph.op("Flatten", pooled), weights.reshape(-1, 512), name="516")
    return graph.model("stand-in recogniser", {"input.1": ("None", 3, 112, 112)}, {"516": ("None", 512)})


def make(out: Path, seed: int = 0) -> list[Path]:
    """Write the pack into the models folder `out`; a different file that is already there is kept."""
    folder = out / PACK
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "STANDIN.txt").write_text(f"{NOTE}: these two models recognise nobody\n", encoding="utf-8")
    files = {folder / "det_standin.onnx": detector(), folder / "rec_standin.onnx": recogniser(seed)}
    for path, content in files.items():
        if path.exists() and path.read_bytes() != content:
            raise FileExistsError(f"{path} is another file and is kept; move it, or choose another folder")
        path.write_bytes(content)
    return list(files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a ComfyUI models folder")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for path in make(args.out, args.seed):
        print(f"{path.stat().st_size / 1e3:8.1f} kB  {path}")


if __name__ == "__main__":
    main()
