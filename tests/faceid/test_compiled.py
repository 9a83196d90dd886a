"""Compiled identities: what they hold, and what strengths make of it."""

from __future__ import annotations

from dataclasses import replace

import golden_reference as golden
import pytest
import torch
from identities import TRUE_WIDTHS, columns, compiled
from random_adapter import embedding, hidden_states, state_dict

import faceid
from faceid import CompiledIdentity, CompiledIdentityError, Controls, FaceInputs


@pytest.fixture(scope="module")
def identity() -> CompiledIdentity:
    return compiled()


# what it holds


def test_it_knows_what_it_was_made_from(identity: CompiledIdentity) -> None:
    assert identity.provenance == faceid.Provenance(
        family="sd15",
        variant="faceid_plus_v2",
        plus_v2_from="file name",
        adapter_name="ip-adapter-faceid-plusv2_sd15.bin",
        adapter_size=0,
        adapter_sha256="",
        identity="digest",
        negative="",
        image_encoder="vit-h",
        crop="224",
        empty_image="zero",
        combine="identity",
        faces=1,
    )
    assert (identity.tokens, identity.faces, identity.frames, identity.parts) == (4, 1, 1, 2)
    assert identity.hidden == (2, 3) * 8
    assert compiled("mlp").parts == 1


def test_several_faces_and_pictures_are_counted() -> None:
    side_by_side, pictures = compiled("mlp", faces=3), compiled("mlp", faces=3, frames=True)
    assert (side_by_side.tokens, side_by_side.faces, side_by_side.frames) == (12, 3, 1)
    assert (pictures.tokens, pictures.faces, pictures.frames) == (4, 1, 3)
    assert side_by_side.keys.shape == (1, 2, 1, 12, 40) and pictures.keys.shape == (1, 2, 3, 4, 40)
    assert torch.allclose(side_by_side.keys[:, :, 0], pictures.keys.flatten(2, 3), atol=1e-5)


def test_provenance_takes_what_the_caller_says() -> None:
    adapter = faceid.read_adapter(state_dict("sd15", hidden=(2,) * 16), name="a.bin")
    tokens = faceid.identity_tokens(adapter, FaceInputs(embedding()))
    said = {"negative": "other", "crop": "256", "empty_image": "black", "combine": "add", "image_encoder": "e"}
    made = faceid.compile_identity(adapter, tokens, identity="x", **said).provenance
    assert {name: getattr(made, name) for name in said} == said
    for field in ("identity", *said):
        with pytest.raises(CompiledIdentityError, match="513 characters"):
            faceid.compile_identity(adapter, tokens, **{"identity": "x", field: "y" * 513})


# strengths


def test_weight_scales_values_only_and_weight_v2_the_shortcut(identity: CompiledIdentity) -> None:
    base, full = identity.at(Controls(1.0, 0.0)), identity.at(Controls(1.0, 1.0))
    mixed = identity.at(Controls(0.25, 3.0))
    assert torch.allclose(mixed.keys, base.keys + 3 * (full.keys - base.keys), atol=1e-5)
    assert torch.allclose(mixed.values, 0.25 * (base.values + 3 * (full.values - base.values)), atol=1e-5)
    assert (full.keys - base.keys).abs().max() > 0.1
    assert mixed.active == (True,) * 16 and mixed.gains == () and mixed.hidden == identity.hidden


def test_weight_v2_means_nothing_without_a_shortcut() -> None:
    identity = compiled("mlp")
    assert torch.equal(identity.at(Controls(1.0, 0.0)).keys, identity.at(Controls(1.0, 5.0)).keys)


def test_layers_lie_in_adapter_order(identity: CompiledIdentity) -> None:
    found = identity.at(Controls(weight_v2=0.0, weight_type="composition"))
    assert found.keys.shape == found.values.shape == (2, 1, 4, 40)
    for place, active in zip(faceid.cross_attentions("sd15"), found.active, strict=True):
        cut = columns(identity, place.number)
        factor = {4: 0.25, 5: 1.0}.get(place.transformer, 0.0)
        assert active == bool(factor)
        assert torch.allclose(found.values[..., cut], factor * identity.values[0, ..., cut], atol=1e-6)


def test_strengths_leave_the_identity_as_it_is(identity: CompiledIdentity) -> None:
    before = identity.keys.clone(), identity.values.clone()
    for scaling in faceid.EMBEDS_SCALING:
        for kind in faceid.WEIGHT_TYPES:
            identity.at(Controls(0.3, 2.0, weight_type=kind, embeds_scaling=scaling, frame_weights=(1.0, 0.0)))
    assert torch.equal(identity.keys, before[0]) and torch.equal(identity.values, before[1])


def test_weights_of_pictures_are_gains_where_the_output_is_linear_in_them() -> None:
    weights = (0.0, 1.0, 0.5)
    for identity in (compiled("mlp"), compiled("mlp", faces=2, frames=True)):
        found = identity.at(Controls(0.7, frame_weights=weights))
        assert found.gains == weights
        assert found.keys.shape[1] == identity.frames
        for scaling in faceid.EMBEDS_SCALING[1:]:
            found = identity.at(Controls(0.7, frame_weights=weights, embeds_scaling=scaling))
            assert found.gains == () and found.keys.shape[1] == 3
            for picture, weight in enumerate(weights):
                alone = identity.at(Controls(0.7 * weight, embeds_scaling=scaling))
                face = min(picture, identity.frames - 1)
                assert torch.allclose(found.keys[:, picture], alone.keys[:, face], atol=1e-6)
                assert torch.allclose(found.values[:, picture], alone.values[:, face], atol=1e-6)


def test_more_faces_than_weights_of_pictures_repeat_the_last_weight() -> None:
    identity = compiled("mlp", faces=3, frames=True)
    found = identity.at(Controls(frame_weights=(0.5,), embeds_scaling="K+V"))
    assert found.keys.shape[1] == 3
    assert torch.allclose(found.keys, 0.5 * identity.keys[0], atol=1e-6)


def test_weights_of_ten_thousand_pictures_do_not_fill_the_memory() -> None:
    wide = compiled("mlp", hidden=TRUE_WIDTHS["sd15"])
    many = Controls(frame_weights=(0.5,) * 10_000)
    assert wide.at(many).keys.shape[1] == 1
    with pytest.raises(faceid.PatchError, match=r"10000 weights of pictures needs keys of more than 2 GiB"):
        wide.at(replace(many, embeds_scaling="K+V"))


def test_precise_types_turn_cond_off_and_show_the_face_to_uncond(identity: CompiledIdentity) -> None:
    plain, precise = identity.at(Controls()), identity.at(Controls(weight_type="style transfer precise"))
    for place in faceid.cross_attentions("sd15"):
        cut = columns(identity, place.number)
        if place.transformer in (4, 5):
            assert not precise.keys[0, ..., cut].any() and not precise.values[0, ..., cut].any()
            assert torch.equal(precise.keys[1, ..., cut], plain.keys[0, ..., cut])
        elif precise.active[place.number]:
            assert torch.equal(precise.keys[..., cut], plain.keys[..., cut])


# compiled equals uncompiled


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_compiled_equals_uncompiled_at_true_widths(family: str) -> None:
    """What the adapter's own layers make of the tokens, in float64, against the compiled numbers."""
    flat = state_dict(family, "plus", hidden=TRUE_WIDTHS[family])
    adapter = faceid.read_adapter(flat, name="plusv2.bin")
    nobody = FaceInputs(torch.zeros(1, 512), hidden_states(2))
    tokens = faceid.identity_tokens(adapter, FaceInputs(embedding(), hidden_states(1)), nobody)
    identity = faceid.compile_identity(adapter, tokens, identity="x")
    found = identity.at(Controls(0.8, 1.7))
    mixed = tokens.base.double() + 1.7 * tokens.shortcut.double()
    worst = 0.0
    for place in faceid.cross_attentions(family)[::7]:
        for x, name, factor in ((found.keys, "k", 1.0), (found.values, "v", 0.8)):
            expected = factor * mixed @ flat[f"ip_adapter.{place.adapter_key}.to_{name}_ip.weight"].double().T
            worst = max(worst, golden.relative(x[..., columns(identity, place.number)], expected))
    assert worst < 2e-6
