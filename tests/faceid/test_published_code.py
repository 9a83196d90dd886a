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
    "resampler.py": ("FeedForward", "reshape_tensor", "PerceiverAttention", "Resampler"),
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
        ("sdxl", "mlp", 16, None),
        ("sdxl", "plus", 4, True),
        ("sdxl", "resampler", 16, None),
    ],
)
def test_tokens_equal_the_authors_code(
    authors: dict[str, Any], family: str, kind: str, tokens: int, plus_v2: bool | None
) -> None:
    flat = state_dict(family, kind, tokens=tokens)
    adapter = faceid.read_adapter(flat, name="unnorm.bin", plus_v2=plus_v2)
    model = their_model(authors, kind, adapter.context_dim, tokens)
    model.load_state_dict({k[len("image_proj.") :]: v for k, v in flat.items() if k.startswith("image_proj.")})
    face, image, empty = embedding() * (21.5 if kind == "resampler" else 1), hidden_states(1), hidden_states(2)
    nobody = torch.zeros(1, 512)
    ours = faceid.identity_tokens(adapter, faceid.FaceInputs(face, image), faceid.FaceInputs(nobody, empty))
    for row, (e, h) in enumerate([(face, image), (nobody, empty)]):
        with torch.no_grad():
            if kind == "plus":
                theirs = model(e, h, shortcut=bool(plus_v2), scale=1.5)
            else:
                theirs = model(e[:, None] if kind == "resampler" else e)
        mine = ours.base[row, 0] + (0 if ours.shortcut is None else 1.5 * ours.shortcut[row, 0])
        assert (mine - theirs[0]).norm() / theirs.norm() < 5e-6


def their_model(authors: dict[str, Any], kind: str, width: int, tokens: int) -> Any:
    if kind == "resampler":  # as FaceID Portrait unnorm was trained
        resampler = authors["Resampler"]
        return resampler(dim=1280, depth=4, heads=20, num_queries=tokens, embedding_dim=512, output_dim=width)
    return authors["MLPProjModel" if kind == "mlp" else "ProjPlusModel"](
        cross_attention_dim=width, id_embeddings_dim=512, num_tokens=tokens
    )
