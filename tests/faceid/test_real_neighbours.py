"""IPAdapter_plus and InstantID themselves on a model with a face, from checkouts of their repositories.

LIKENESS_IPADAPTER_PLUS and LIKENESS_INSTANTID name the checkouts. Their patches are made and called by their own code.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import comfy_unet
import pytest
import torch
from comfy_unet import Call, relative
from random_adapter import state_dict
from torch import Tensor, nn
from unet_reference import identity

import faceid

PACKS = {  # environment variable, file with the function that sets a patch, its name, the attention callback
    "IPAdapter_plus": ("LIKENESS_IPADAPTER_PLUS", "IPAdapterPlus.py", "set_model_patch_replace", "ipadapter_attention"),
    "InstantID": ("LIKENESS_INSTANTID", "InstantID.py", "_set_model_patch_replace", "instantid_attention"),
}
FAMILIES = ("sd15", "sdxl")
BLOCKS = {
    "sd15": [("input", i) for i in (1, 2, 4, 5, 7, 8)] + [("output", i) for i in range(3, 12)] + [("middle", 1)],
    "sdxl": [("input", i, d) for i, n in ((4, 2), (5, 2), (7, 10), (8, 10)) for d in range(n)]
    + [("output", i, d) for i in range(6) for d in range(10 if i < 3 else 2)]
    + [("middle", 1, d) for d in range(10)],
}


class KeysValues(nn.Module):
    """What their callbacks expect of an adapter: to_k_ip and to_v_ip by the name of the layer."""

    def __init__(self, family: str):
        super().__init__()
        self.to_kvs = nn.ModuleDict()
        for key, weight in state_dict(family).items():
            if key.endswith("_ip.weight"):
                linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
                linear.weight.data = weight.float()
                self.to_kvs[key.removeprefix("ip_adapter.").removesuffix(".weight").replace(".", "_")] = linear


@pytest.fixture(scope="module", params=PACKS)
def node(request: pytest.FixtureRequest, comfy_attention: Callable[..., Any]) -> Callable[..., Any]:
    """Their node: a clone of the model with their patches."""
    variable, file, setter, callback = PACKS[request.param]
    if not (named := os.environ.get(variable)):
        pytest.skip(f"set {variable} to a checkout of {request.param}")
    package = ModuleType(f"neighbour_{request.param}")
    package.__path__ = [named]
    sys.modules[package.__name__] = package
    theirs = importlib.import_module(f"{package.__name__}.CrossAttentionPatch")
    tree = ast.parse((Path(named) / file).read_text(encoding="utf-8"))
    body = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == setter]
    space = {"Attn2Replace": theirs.Attn2Replace, callback: getattr(theirs, callback)}
    exec(compile(ast.Module(body, []), file, "exec"), space)  # noqa: S102
    layers = {family: KeysValues(family) for family in FAMILIES}

    def run(model: Any, weight: float, family: str = "sd15") -> Any:
        generator = torch.Generator().manual_seed(6)
        tokens = torch.randn(2, 1, 4, comfy_unet.CONTEXT[family], generator=generator)
        adapter = SimpleNamespace(ip_layers=layers[family])
        adapter.get_multigpu_clone = lambda device: adapter
        work = model.clone()
        for number, key in enumerate(BLOCKS[family]):
            settings = {"ipadapter": adapter, "weight": weight, "cond": tokens[0], "uncond": tokens[1]}
            settings |= {"module_key": str(2 * number + 1), "sigma_start": 999_999_999.9, "sigma_end": 0.0}
            space[setter](work, settings, key)
        return work

    return run


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def run(family: str) -> Callable[[Any], Tensor]:
    call = Call(family)
    return lambda model: call.run(model, [1, 0], original_shape=list(call.x.shape))


def test_theirs_and_ours_stand_side_by_side_in_any_order(
    node: Callable[..., Any], family: str, run: Callable[[Any], Tensor], comfy_attention: Callable[..., Any]
) -> None:
    model, compiled = comfy_unet.small_model(family), identity(family)

    def ours(model: Any) -> Any:
        return faceid.apply_identity(model, compiled, faceid.Controls(weight=0.8), attention=comfy_attention)

    face, theirs = ours(model), node(model, 0.6, family)
    alone = run(face)
    before, after = run(ours(theirs)), run(node(face, 0.6, family))
    assert relative(after, before) < 5e-6
    assert min(relative(run(m), before) for m in (model, face, theirs)) > 1e-3
    for weight in (0.1, 0.3, 0.6):  # editing their node
        again = node(face, weight, family)
    assert relative(run(again), before) < 5e-6
    assert torch.equal(run(face), alone)
    chained = run(ours(node(ours(node(model, 0.6, family)), 0.3, family)))
    other = run(node(node(ours(ours(model)), 0.6, family), 0.3, family))
    assert relative(chained, other) < 5e-6
