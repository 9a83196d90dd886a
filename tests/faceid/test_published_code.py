"""Tokens against the authors' own classes, from a checkout of tencent-ailab/IP-Adapter (IP_ADAPTER_PATH)."""

from __future__ import annotations

import ast
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from random_adapter import embedding, hidden_states, state_dict

import faceid

WANTED = {
    "resampler.py": ("FeedForward", "reshape_tensor", "PerceiverAttention"),
    "ip_adapter_faceid.py": ("FacePerceiverResampler", "MLPProjModel", "ProjPlusModel"),
}


@pytest.fixture(scope="module")
def authors() -> dict[str, Any]:
    """Their class definitions alone: the modules themselves import diffusers."""
    checkout = os.environ.get("IP_ADAPTER_PATH")
    if not checkout:
        pytest.skip("set IP_ADAPTER_PATH to a checkout of tencent-ailab/IP-Adapter")
    names: dict[str, Any] = {"torch": torch, "nn": torch.nn, "math": math}
    for file, wanted in WANTED.items():
        tree = ast.parse((Path(checkout) / "ip_adapter" / file).read_text())
        tree.body = [node for node in tree.body if getattr(node, "name", "") in wanted]
        exec(compile(tree, file, "exec"), names)  # noqa: S102
    return names


@pytest.mark.parametrize(
    ("family", "kind", "tokens", "plus_v2"),
    [
        ("sd15", "mlp", 4, None),
        ("sdxl", "mlp", 4, None),
        ("sd15", "mlp", 16, None),
        ("sd15", "plus", 4, False),
        ("sd15", "plus", 4, True),
        ("sdxl", "plus", 4, True),
    ],
)
def test_tokens_equal_the_authors_code(
    authors: dict[str, Any], family: str, kind: str, tokens: int, plus_v2: bool | None
) -> None:
    flat = state_dict(family, kind, tokens=tokens)
    adapter = faceid.read_adapter(flat, name="a.bin", plus_v2=plus_v2)
    width = adapter.context_dim
    model = authors["MLPProjModel" if kind == "mlp" else "ProjPlusModel"](
        cross_attention_dim=width, id_embeddings_dim=512, num_tokens=tokens
    )
    model.load_state_dict({k[len("image_proj.") :]: v for k, v in flat.items() if k.startswith("image_proj.")})
    image, empty = hidden_states(1), hidden_states(2)
    ours = faceid.identity_tokens(adapter, embedding(), image, empty)
    for row, (e, h) in enumerate([(embedding(), image), (torch.zeros(1, 512), empty)]):
        with torch.no_grad():
            theirs = model(e) if kind == "mlp" else model(e, h, shortcut=bool(plus_v2), scale=1.5)
        mine = ours.base[row] + (0 if ours.shortcut is None else 1.5 * ours.shortcut[row])
        assert (mine - theirs[0]).norm() / theirs.norm() < 5e-6
