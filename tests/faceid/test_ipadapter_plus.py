"""Against IPAdapter_plus itself, from a checkout of cubiq/ComfyUI_IPAdapter_plus (LIKENESS_IPADAPTER_PLUS).

Its attention function and its projections are imported and called; the parts of its big function that share out
weights and combine references are found in its source and run as they stand. Nothing of it is copied here (GPL-3.0).
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from random_adapter import embedding, hidden_states, state_dict, uniform
from torch import Tensor, nn

import faceid
from faceid import Controls, FaceInputs
from faceid.attention import face_attention

PACK = "ipadapter_plus_checkout"
TOLERANCE = 1e-5
HEADS, QUERIES, WEIGHT = 8, 5, 0.8
LENGTH = {"sd15": 16, "sdxl": 11}
WIDTH = {"sd15": 640, "sdxl": 1280}  # of every cross-attention here
MODES = ("norm average", "add", "subtract", "average", "concat")


@pytest.fixture(scope="module")
def checkout(comfy_attention: Callable[..., Any]) -> Path:
    named = os.environ.get("LIKENESS_IPADAPTER_PLUS")
    if not named:
        pytest.skip("set LIKENESS_IPADAPTER_PLUS to a checkout of cubiq/ComfyUI_IPAdapter_plus")
    return Path(named)


@pytest.fixture(scope="module")
def theirs(checkout: Path) -> SimpleNamespace:
    """Their modules without their nodes, and their statements on weights and references."""
    package = ModuleType(PACK)
    package.__path__ = [str(checkout)]
    sys.modules[PACK] = package
    modules = [importlib.import_module(f"{PACK}.{name}") for name in ("CrossAttentionPatch", "image_proj_models")]
    tree = ast.parse((checkout / "IPAdapterPlus.py").read_text(encoding="utf-8"))
    body = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "ipadapter_execute").body
    choices = [n for n in body if isinstance(n, ast.If)]
    weights = next(n for n in choices if ast.unparse(n.test).startswith("layer_weights is not None"))
    combine = next(n for n in choices if ast.unparse(n.test).startswith("combine_embeds != 'concat'"))
    run = {name: compile(ast.Module([n], []), name, "exec") for name, n in (("w", weights), ("c", combine))}
    return SimpleNamespace(attention=modules[0].ipadapter_attention, models=modules[1], run=run)


def shared_out(theirs: SimpleNamespace, family: str, controls: Controls) -> dict[str, Any]:
    """What their function makes of a weight type: a number or a table, and the weight type that is left."""
    each = torch.tensor(controls.frame_weights)[:, None, None]
    names = {
        "weight": controls.weight * each if controls.frame_weights else controls.weight,
        "weight_type": controls.weight_type,
        "weight_composition": controls.weight_composition,
        "layer_weights": ",".join(f"{t}:{w!r}" for t, w in controls.layer_weights),
        "is_sdxl": family == "sdxl",
        "style_boost": None,
        "composition_boost": None,
    }
    exec(theirs.run["w"], names)  # noqa: S102
    return {name: names[name] for name in ("weight", "weight_type")}


class Ipa:
    """What their attention function asks of an adapter: the layers, by name."""

    def __init__(self, flat: dict[str, Tensor]):
        self.to_kvs: dict[str, nn.Linear] = {}
        for key, value in flat.items():
            if key.startswith("ip_adapter."):
                linear = nn.Linear(value.shape[1], value.shape[0], bias=False)
                linear.weight.data = value.float()
                self.to_kvs[key.split(".", 1)[1].replace(".weight", "").replace(".", "_")] = linear
        self.ip_layers = self

    def get_multigpu_clone(self, device: torch.device) -> Ipa:
        return self


class Both:
    """The same tokens given to their attention function and to our compiled identity."""

    def __init__(self, family: str, faces: int, frames: bool = False):
        self.family, self.frames = family, frames
        self.places = {p.transformer: p for p in reversed(faceid.cross_attentions(family))}
        compared = self.places.values()
        hidden = tuple(WIDTH[family] if p in compared else 8 for p in faceid.cross_attentions(family))
        flat = state_dict(family, hidden=hidden)
        adapter = faceid.read_adapter(flat, name="a.bin")
        given = FaceInputs(torch.cat([embedding(i) for i in range(faces)]))
        self.tokens = faceid.identity_tokens(adapter, given, frames=frames)
        self.compiled = faceid.compile_identity(adapter, self.tokens, identity="x")
        self.ipa = Ipa(flat)
        self.cond, self.uncond = self.tokens.base.reshape(2, faces, 4, -1)

    def worst(self, theirs: SimpleNamespace, controls: Controls, pictures: int = 1) -> float:
        given = shared_out(theirs, self.family, controls)
        masters = self.compiled.at(controls)
        worst = 0.0
        for t, place in self.places.items():
            q = queries(masters.hidden[place.number], pictures)
            with torch.no_grad():
                out = theirs.attention(
                    torch.zeros_like(q), q, q, q, self._options(place, t, pictures), module_key=str(place.adapter_key),
                    ipadapter=self.ipa, cond=self.cond, uncond=self.uncond, embeds_scaling=controls.embeds_scaling,
                    unfold_batch=self.frames or bool(controls.frame_weights), **given,
                )  # fmt: skip
            mine = self._ours(masters, place, q, pictures)
            out = torch.as_tensor(out, dtype=torch.float32)  # 0 where it is off
            size = float(out.norm())
            worst = max(worst, float((mine - out).norm()) / size if size else float(mine.norm()))
        return worst

    def _options(self, place: faceid.CrossAttention, t: int, pictures: int) -> dict[str, Any]:
        return {
            "cond_or_uncond": [0, 1],
            "block": (place.block, place.id),
            "transformer_index": t,
            "original_shape": (2 * pictures, 4, 8, 8),
            "n_heads": HEADS,
        }

    def _ours(self, masters: faceid.KeysValues, place: faceid.CrossAttention, q: Tensor, pictures: int) -> Tensor:
        if not masters.active[place.number]:
            return torch.zeros_like(q)
        edges = np.cumsum([0, *masters.hidden])
        cut = slice(edges[place.number], edges[place.number + 1])
        pick = [min(f, masters.keys.shape[1] - 1) for f in range(pictures)]
        keys, values = (x[:, pick][..., cut].flatten(0, 1) for x in (masters.keys, masters.values))
        gains = masters.gains or (1.0,)
        gain = torch.tensor([gains[min(f, len(gains) - 1)] for f in range(pictures)]).repeat(2)
        return face_attention(q, keys, values, HEADS) * gain[:, None, None]


@cache
def queries(width: int, pictures: int) -> Tensor:
    numbers = uniform(width, 2 * pictures * QUERIES * width) * 3
    return torch.from_numpy(numbers.astype(np.float32)).reshape(2 * pictures, QUERIES, width)


@cache
def both(family: str, faces: int, frames: bool = False) -> Both:
    return Both(family, faces, frames)


@pytest.mark.parametrize("faces", [1, 3])
@pytest.mark.parametrize("scaling", faceid.EMBEDS_SCALING)
@pytest.mark.parametrize("family", LENGTH)
def test_every_weight_type_and_scaling_renders_what_theirs_does(
    theirs: SimpleNamespace, family: str, scaling: str, faces: int
) -> None:
    for kind in faceid.WEIGHT_TYPES:
        controls = Controls(WEIGHT, weight_type=kind, weight_composition=0.55, embeds_scaling=scaling)
        assert both(family, faces).worst(theirs, controls) < TOLERANCE, kind


@pytest.mark.parametrize("kind", ["linear", "ease in", "style transfer precise", "composition precise"])
@pytest.mark.parametrize("family", LENGTH)
def test_layer_weights_render_what_theirs_do(theirs: SimpleNamespace, family: str, kind: str) -> None:
    controls = Controls(WEIGHT, weight_type=kind, layer_weights=((0, 1.0), (3, 0.5), (4, -0.25), (9, 0.0)))
    assert both(family, 2).worst(theirs, controls) < TOLERANCE


@pytest.mark.parametrize("scaling", faceid.EMBEDS_SCALING)
@pytest.mark.parametrize(("faces", "frames"), [(1, False), (3, True)])
def test_weights_and_faces_of_pictures_render_what_theirs_do(
    theirs: SimpleNamespace, scaling: str, faces: int, frames: bool
) -> None:
    weights = (1.0, 0.25, 0.5, 1.5)
    for kind in ("linear", "ease out", "style transfer", "composition precise"):
        controls = Controls(WEIGHT, weight_type=kind, frame_weights=weights, embeds_scaling=scaling)
        assert both("sd15", faces, frames).worst(theirs, controls, pictures=4) < TOLERANCE, kind


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("mode", MODES)
def test_combined_references_are_theirs(theirs: SimpleNamespace, mode: str, count: int) -> None:
    """On both kinds of input, which their function calls face and image embeds."""
    given = FaceInputs(
        torch.cat([embedding(i) for i in range(count)]), torch.cat([hidden_states(i) for i in range(count)])
    )
    names = {
        "torch": torch, "combine_embeds": mode, "unfold_batch": False, "img_comp_cond_embeds": None,
        "face_cond_embeds": given.embedding[:, None], "img_cond_embeds": given.hidden,
        "img_uncond_embeds": torch.zeros(count, 1),
    }  # fmt: skip
    exec(theirs.run["c"], names)  # noqa: S102
    found = faceid.combine(given, mode=mode)
    for mine, other in (
        (found.embedding[:, None], names["face_cond_embeds"]),
        (found.hidden, names["img_cond_embeds"]),
    ):
        assert (mine - other).norm() / other.norm() < 1e-6


@pytest.mark.parametrize(
    ("family", "kind", "tokens", "plus_v2"),
    [
        ("sd15", "mlp", 4, None),
        ("sd15", "mlp", 16, None),
        ("sd15", "plus", 4, False),
        ("sd15", "plus", 4, True),
        ("sdxl", "plus", 4, True),
        ("sdxl", "resampler", 16, None),
    ],
)
def test_tokens_are_theirs(theirs: SimpleNamespace, family: str, kind: str, tokens: int, plus_v2: bool | None) -> None:
    flat = state_dict(family, kind, tokens=tokens)
    adapter = faceid.read_adapter(flat, name="unnorm.bin", plus_v2=plus_v2)
    width, models = adapter.context_dim, theirs.models
    model = {
        "mlp": lambda: models.MLPProjModelFaceId(width, id_embeddings_dim=512, num_tokens=tokens),
        "plus": lambda: models.ProjModelFaceIdPlus(width, 512, 1280, tokens),
        "resampler": lambda: models.Resampler(1280, 4, 64, 20, tokens, 512, width),
    }[kind]()
    model.load_state_dict({k[len("image_proj.") :]: v.float() for k, v in flat.items() if k.startswith("image_proj.")})
    face = embedding() * (21.5 if kind == "resampler" else 1)
    image, nobody = hidden_states(1), FaceInputs(torch.zeros(1, 512), hidden_states(2))
    ours = faceid.identity_tokens(adapter, FaceInputs(face, image), nobody)
    for row, (e, h) in enumerate(((face, image), (nobody.embedding, nobody.hidden))):
        with torch.no_grad():
            given = (e[:, None], h) if kind == "plus" else (e[:, None],)  # as their nodes shape it: [N, 1, 512]
            more = {"scale": 1.5, "shortcut": bool(plus_v2)} if kind == "plus" else {}
            expected = model(*given, **more)
        mine = ours.base[row, 0] + (0 if ours.shortcut is None else 1.5 * ours.shortcut[row, 0])
        assert (mine - expected[0]).norm() / expected.norm() < 5e-6
