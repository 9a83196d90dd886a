"""Stand-ins for the three models that a full InsightFace pack runs on every face beside the recogniser.

Random weights, published input and output sizes, backbones of the published kind, so that they take about as long:
1k3d68 a ResNet-50 at 192 px (121 MB; published 137), 2d106det a MobileNet 0.5 at 192 px (4 MB; published 5),
genderage a MobileNet 0.25 at 96 px (1 MB; published 1.3). Batch normalisation is folded in, as onnxruntime does it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STAND_INS = ("1k3d68.onnx", "2d106det.onnx", "genderage.onnx")
MOBILE = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]


class Net:
    """A chain of operations on [N, channels, H, W] with random weights."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self.at, self.channels = "data", 3

    def add(self, kind: str, inputs: list[str], **attributes: object) -> str:
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def weight(self, *shape: int) -> str:
        name = f"w{len(self._weights)}"
        scale = (2.0 / max(np.prod(shape[1:]), 1)) ** 0.5
        values = (self._rng.standard_normal(shape) * scale).astype(np.float32)
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, out: int, kernel: int, stride: int = 1, group: int = 1, relu: bool = True) -> None:
        weight = self.weight(out, self.channels // group, kernel, kernel)
        pads = [kernel // 2] * 4
        self.at = self.add("Conv", [self.at, weight], strides=[stride] * 2, pads=pads, group=group)
        self.channels = out
        if relu:
            self.at = self.add("Relu", [self.at])

    def bottleneck(self, width: int, stride: int) -> None:
        start, channels = self.at, self.channels
        self.conv(width, 1)
        self.conv(width, 3, stride)
        self.conv(4 * width, 1, relu=False)
        long = self.at
        if stride > 1 or channels != 4 * width:
            self.at, self.channels = start, channels
            self.conv(4 * width, 1, stride, relu=False)
            start = self.at
        self.at = self.add("Relu", [self.add("Mul", [self.add("Add", [long, start]), self.scalar(0.7)])])

    def scalar(self, value: float) -> str:
        self._weights.append(numpy_helper.from_array(np.float32(value), f"w{len(self._weights)}"))
        return self._weights[-1].name

    def save(self, path: Path, side: int, out: int) -> None:
        """End with a mean over the picture and a linear layer, and write the model."""
        flat = self.add("Flatten", [self.add("GlobalAveragePool", [self.at])])
        self._nodes.append(helper.make_node("Gemm", [flat, self.weight(self.channels, out)], ["fc1"], "fc1"))
        graph = helper.make_graph(
            self._nodes,
            path.stem,
            [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["None", 3, side, side])],
            [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, ["None", out])],
            self._weights,
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))


def write(folder: Path) -> None:
    """The three files, under the published names."""
    landmarks = Net(1)
    landmarks.conv(64, 7, 2)
    landmarks.at = landmarks.add("MaxPool", [landmarks.at], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(count):
            landmarks.bottleneck(width, stride if i == 0 else 1)
    landmarks.save(folder / STAND_INS[0], 192, 3309)
    _mobile_net(0.5).save(folder / STAND_INS[1], 192, 212)
    _mobile_net(0.25).save(folder / STAND_INS[2], 96, 3)


def _mobile_net(width: float) -> Net:
    net = Net(2)
    net.conv(int(32 * width), 3, 2)
    for channels, stride in MOBILE:
        net.conv(net.channels, 3, stride, group=net.channels)
        net.conv(int(channels * width), 1)
    return net
