"""Every way to combine faces, every weight type and every embeds scaling, together, against golden_reference.py.

Compared is what the face adds in one layer of each spatial transformer, on the cond and the uncond row: by the
package from its compiled keys and values, by the reference from the embeddings, with nothing folded or compiled.
The widths of these layers are the true ones: "C penalty" at a width of 32 would leave a difference of rounding errors.
"""

from __future__ import annotations

from functools import cache

import golden_reference as golden
import numpy as np
import pytest
import torch
from golden_reference import array
from random_adapter import embedding, hidden_states, state_dict, uniform

import faceid
from faceid import COMBINE, EMBEDS_SCALING, WEIGHT_TYPES, Controls
from faceid.attention import face_attention

PROMISE, TOLERANCE = 1e-5, 5e-6
HEADS, QUERIES = 8, 5
WEIGHT, COMPOSITION, WEIGHT_V2 = 0.8, 0.55, 1.5
WIDTHS = {  # of each spatial transformer, in the order of execution
    "sd15": (320, 320, 640, 640) + (1280,) * 6 + (640,) * 3 + (320,) * 3,
    "sdxl": (640, 640) + (1280,) * 6 + (640,) * 3,
}
SOME_TYPES = ("linear", "reverse in-out", "style and composition", "composition precise")
CASES = {  # family, kind, faces, Plus V2
    "sd15": ("sd15", "mlp", 3, None),
    "sdxl": ("sdxl", "mlp", 2, None),
    "plus v2 sd15": ("sd15", "plus", 2, True),
    "unnorm sdxl": ("sdxl", "resampler", 2, None),
}


class Case:
    def __init__(self, name: str, mode: str):
        family, kind, count, plus_v2 = CASES[name]
        self.family, self.mode = family, mode
        flat = state_dict(family, kind, tokens=16 if kind == "resampler" else 4, hidden=hidden_widths(family))
        adapter = faceid.read_adapter(flat, name="unnorm.bin", plus_v2=plus_v2)
        length = 21.5 if kind == "resampler" else 1.0
        faces = torch.cat([embedding(i) for i in range(count)]) * length
        hidden = torch.cat([hidden_states(i) for i in range(count)]) if kind == "plus" else None
        empty = hidden_states(9) if kind == "plus" else None
        given = faceid.combine(faceid.FaceInputs(faces, hidden), [1.0, 2.0, 0.5][:count], mode)
        nobody = faceid.FaceInputs(torch.zeros(1, 512), empty)
        tokens = faceid.identity_tokens(adapter, given, nobody, frames=mode == "per image")
        self.compiled = faceid.compile_identity(adapter, tokens, identity="x", combine=mode)
        self._golden(golden.Reference(flat), array(faces), None if hidden is None else array(hidden), empty)

    def _golden(self, reference: golden.Reference, faces: np.ndarray, hidden: np.ndarray | None, empty) -> None:
        """keys, values: {adapter number: [row, picture, T, h]}"""
        weights = [1.0, 2.0, 0.5][: len(faces)]
        used = golden.combined(faces, self.mode, weights)
        images = [None] * len(used)
        if hidden is not None:
            images = list(golden.combined(hidden, "weighted" if self.mode == "identity" else self.mode, weights))
        v2 = WEIGHT_V2 if hidden is not None else None
        each = [reference.tokens(face, image, v2) for face, image in zip(used, images, strict=True)]
        nobody = reference.tokens(np.zeros(512), None if empty is None else array(empty[0]), v2)
        pictures = [[x] for x in each] if self.mode == "per image" else [each]
        self.faces = len(pictures[0])
        cond = np.stack([np.concatenate(p) for p in pictures])
        uncond = np.stack([np.concatenate([nobody] * self.faces)] * len(pictures))
        self.keys, self.values = {}, {}
        for place in first_of_each_transformer(self.family):
            rows = [reference.keys_values(place.adapter_key, x) for x in (cond, uncond)]
            self.keys[place.number], self.values[place.number] = (np.stack([r[i] for r in rows]) for i in (0, 1))

    def expected(self, place: faceid.CrossAttention, q: np.ndarray, row: int, picture: int, controls: Controls):
        table = golden.layer_weights(self.family, controls.weight_type, controls.weight, controls.weight_composition)
        weight, swapped = table[place.transformer]
        if controls.frame_weights:
            weight *= controls.frame_weights[min(picture, len(controls.frame_weights) - 1)]
        keys, values = (
            x[place.number][:, min(picture, x[place.number].shape[1] - 1)] for x in (self.keys, self.values)
        )
        if swapped:
            keys, values = (np.stack([np.zeros_like(x[0]), x[0]]) for x in (keys, values))
        return golden.face_output(q, keys[row], values[row], weight, controls.embeds_scaling, self.faces, HEADS)

    def worst(self, controls: Controls, pictures: int) -> float:
        """Largest relative difference of all layers, rows and pictures."""
        ours = self.compiled.at(controls)
        edges = np.cumsum([0, *ours.hidden])
        worst = 0.0
        for place in first_of_each_transformer(self.family):
            q = queries(ours.hidden[place.number])
            cut = slice(edges[place.number], edges[place.number + 1])
            for picture in range(pictures):
                f = min(picture, ours.keys.shape[1] - 1)
                gain = ours.gains[min(picture, len(ours.gains) - 1)] if ours.gains else 1.0
                found = face_attention(q.repeat(2, 1, 1), ours.keys[:, f, :, cut], ours.values[:, f, :, cut], HEADS)
                for row in (0, 1):
                    expected = self.expected(place, array(q[0]), row, picture, controls)
                    size = np.linalg.norm(expected)
                    assert ours.active[place.number] or size == 0
                    if ours.active[place.number]:
                        off = np.linalg.norm(array(found[row]) * gain - expected)
                        worst = max(worst, off / size if size > 0 else off)
        return worst


@cache
def first_of_each_transformer(family: str) -> tuple[faceid.CrossAttention, ...]:
    return tuple({p.transformer: p for p in reversed(faceid.cross_attentions(family))}.values())


@cache
def hidden_widths(family: str) -> tuple[int, ...]:
    """The true width where it is compared, a small one elsewhere."""
    compared = first_of_each_transformer(family)
    return tuple(WIDTHS[family][p.transformer] if p in compared else 8 for p in faceid.cross_attentions(family))


@cache
def queries(width: int) -> torch.Tensor:
    """float32 [1, QUERIES, width]"""
    return torch.from_numpy(uniform(width, QUERIES * width).reshape(1, QUERIES, width).astype(np.float32) * 3)


@cache
def case(name: str, mode: str) -> Case:
    return Case(name, mode)


@pytest.mark.parametrize("mode", COMBINE)
@pytest.mark.parametrize("name", CASES)
def test_every_weight_type_and_scaling_equals_the_formulas(name: str, mode: str) -> None:
    at = case(name, mode)
    pictures = 3 if mode == "per image" else 1
    for kind in WEIGHT_TYPES if name in ("sd15", "sdxl") else SOME_TYPES:
        for scaling in EMBEDS_SCALING:
            controls = Controls(
                WEIGHT, WEIGHT_V2, weight_type=kind, embeds_scaling=scaling, weight_composition=COMPOSITION
            )
            assert at.worst(controls, pictures) < TOLERANCE, (kind, scaling)


@pytest.mark.parametrize("mode", ["identity", "concat", "per image"])
@pytest.mark.parametrize("scaling", EMBEDS_SCALING)
def test_weights_of_pictures_equal_the_formulas(scaling: str, mode: str) -> None:
    """K+mean(V) is a small difference of large numbers where layer, picture and width all leave little weight (below
    0.02 the difference of two right answers in float32 exceeds the promise), so these types leave enough."""
    for frame_weights in ((0.5,), (0.0, 1.0, 0.25, 2.0), (1.0, 0.3)):
        for kind in ("linear", "strong style transfer", "composition precise"):
            controls = Controls(WEIGHT, weight_type=kind, embeds_scaling=scaling, frame_weights=frame_weights)
            assert case("sd15", mode).worst(controls, 5) < PROMISE, (frame_weights, kind)


@pytest.mark.parametrize("storage", ["float24", "float32"])
def test_a_stored_identity_gives_the_same_within_the_promise(storage: str) -> None:
    at = case("plus v2 sd15", "concat")
    stored = Case.__new__(Case)
    stored.__dict__ = {**at.__dict__, "compiled": faceid.from_bytes(faceid.to_bytes(at.compiled, storage))}
    for kind in WEIGHT_TYPES:
        for scaling in EMBEDS_SCALING:
            controls = Controls(WEIGHT, WEIGHT_V2, weight_type=kind, embeds_scaling=scaling)
            assert stored.worst(controls, 1) < PROMISE, (kind, scaling)
