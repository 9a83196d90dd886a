"""Laws of a patched UNet: ComfyUI's own UNetModel, ModelPatcher and sampler on small random weights."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import comfy_unet
import pytest
import torch
from comfy_unet import Call, relative
from random_adapter import state_dict
from torch import Tensor
from unet_reference import identity, published

import faceid

STRENGTHS = {"weight": 0.8, "weight_v2": 1.5}


@pytest.fixture(scope="module")
def models(comfy_attention: Callable[..., Any]) -> dict[str, Any]:
    return {family: comfy_unet.small_model(family) for family in ("sd15", "sdxl")}


@pytest.fixture(scope="module")
def identities() -> dict[str, faceid.CompiledIdentity]:
    return {"sd15": identity("sd15", "plus"), "sdxl": identity("sdxl")}


@pytest.fixture
def apply(comfy_attention: Callable[..., Any]) -> Callable[..., Any]:
    def run(model: Any, compiled: faceid.CompiledIdentity, mask: Tensor | None = None, **controls: Any) -> Any:
        chosen = faceid.Controls(**{**STRENGTHS, **controls})
        return faceid.apply_identity(model, compiled, chosen, mask=mask, attention=comfy_attention)

    return run


@pytest.fixture(params=["sd15", "sdxl"])
def at(
    request: pytest.FixtureRequest, models: dict[str, Any], identities: dict[str, faceid.CompiledIdentity]
) -> SimpleNamespace:
    """One family's model, identity and call."""
    family = request.param
    call = Call(family)
    return SimpleNamespace(family=family, model=models[family], identity=identities[family], call=call)


@pytest.fixture
def sd15(models: dict[str, Any], identities: dict[str, faceid.CompiledIdentity]) -> SimpleNamespace:
    return SimpleNamespace(model=models["sd15"], identity=identities["sd15"], call=Call("sd15"))


@pytest.mark.parametrize(
    ("family", "kind", "order", "images"),
    [
        ("sd15", "plus", [1, 0], 1),
        ("sd15", "mlp", [1, 0], 2),
        ("sd15", "plus", [1, 0, 0], 1),
        ("sdxl", "mlp", [1, 0], 1),
    ],
)
def test_the_output_equals_the_published_maths(
    models: dict[str, Any], apply: Callable[..., Any], family: str, kind: str, order: list[int], images: int
) -> None:
    call = Call(family, chunks=len(order), images=images)
    expected = call.run(published(models[family], state_dict(family, kind), 0.8, 1.5), order)
    ours = call.run(apply(models[family], identity(family, kind)), order)
    assert relative(ours, expected) < 1e-5  # the promise is 5e-5
    assert relative(call.run(models[family], order), expected) > 0.05


def test_every_cross_attention_is_patched_and_called(at: SimpleNamespace, apply: Callable[..., Any]) -> None:
    patched = apply(at.model, at.identity)
    patches = patched.model_options["transformer_options"]["patches_replace"]["attn2"]
    called: list[int] = []
    for key, patch in list(patches.items()):
        patches[key] = lambda *args, patch=patch: called.append(patch.number) or patch(*args)
    expected = at.call.run(apply(at.model, at.identity), [1, 0])
    assert torch.equal(at.call.run(patched, [1, 0]), expected)
    assert sorted(called) == list(range({"sd15": 16, "sdxl": 70}[at.family]))
    assert len(patches) == len(called)


def test_each_layer_alone_changes_the_output(at: SimpleNamespace, apply: Callable[..., Any]) -> None:
    patched = apply(at.model, at.identity)
    plain = at.call.run(at.model, [1, 0])
    patches = patched.model_options["transformer_options"]["patches_replace"]["attn2"]
    for key in list(patches)[:: 1 if at.family == "sd15" else 17]:
        one = at.model.clone()
        one.set_model_attn2_replace(patches[key], *key)
        assert relative(at.call.run(one, [1, 0]), plain) > 1e-4


def test_weight_0_is_the_unpatched_model_bit_for_bit(at: SimpleNamespace, apply: Callable[..., Any]) -> None:
    plain = at.call.run(at.model, [1, 0])
    assert torch.equal(at.call.run(apply(at.model, at.identity, weight=0), [1, 0]), plain)
    assert relative(at.call.run(apply(at.model, at.identity, weight=42), [1, 0]), plain) > 0.5


def test_the_source_of_the_clone_is_untouched(at: SimpleNamespace, apply: Callable[..., Any]) -> None:
    before, plain = repr((at.model.model_options, at.model.wrappers)), at.call.run(at.model, [1, 0])
    first = apply(at.model, at.identity)
    kept = at.call.run(first, [1, 0])
    at.call.run(apply(first, at.identity, weight=3.0), [1, 0])
    assert repr((at.model.model_options, at.model.wrappers)) == before
    assert torch.equal(at.call.run(at.model, [1, 0]), plain)
    assert torch.equal(at.call.run(first, [1, 0]), kept)


def test_changing_strengths_and_going_back_is_bit_identical(sd15: SimpleNamespace, apply: Callable[..., Any]) -> None:
    first = sd15.call.run(apply(sd15.model, sd15.identity), [1, 0])
    for weight, weight_v2 in ((0.3, 0.0), (1.2, 2.0), (0.0, 1.0)):
        other = apply(sd15.model, sd15.identity, weight=weight, weight_v2=weight_v2)
        assert relative(sd15.call.run(other, [1, 0]), first) > 0.01
    assert torch.equal(sd15.call.run(apply(sd15.model, sd15.identity), [1, 0]), first)


def test_a_stored_identity_renders_the_same_bits(sd15: SimpleNamespace, apply: Callable[..., Any]) -> None:
    stored = faceid.from_bytes(faceid.to_bytes(sd15.identity, "float32"))
    results = [sd15.call.run(apply(sd15.model, x), [1, 0]) for x in (sd15.identity, stored)]
    assert torch.equal(*results)


@pytest.mark.parametrize("order", [[1, 0], [0, 1], [0], [1], [1, 0, 0], [2], [2, 1, 0]])
def test_every_chunk_gets_what_it_gets_alone(
    sd15: SimpleNamespace, apply: Callable[..., Any], order: list[int]
) -> None:
    patched, images = apply(sd15.model, sd15.identity), 2
    call = Call("sd15", chunks=len(order), images=images)
    together = call.run(patched, order).split(images)
    for i, cond in enumerate(order):
        alone = Call("sd15", chunks=1, images=images)
        for name in ("x", "context", "sigma"):
            setattr(alone, name, getattr(call, name).split(images)[i])
        assert relative(together[i], alone.run(patched, [min(cond, 1)])) < 1e-5
        assert relative(together[i], alone.run(patched, [1 - min(cond, 1)])) > 1e-3


def test_a_call_without_cond_or_uncond_counts_as_cond(sd15: SimpleNamespace, apply: Callable[..., Any]) -> None:
    patched = apply(sd15.model, sd15.identity)
    assert torch.equal(sd15.call.run(patched, None), sd15.call.run(patched, [0]))


def test_the_window_is_closed_on_both_sides(sd15: SimpleNamespace, apply: Callable[..., Any]) -> None:
    sampling = sd15.model.model.model_sampling
    first, last = (sampling.percent_to_sigma(p) for p in (0.3, 0.6))
    windowed = apply(sd15.model, sd15.identity, start=0.3, end=0.6)
    always = apply(sd15.model, sd15.identity)
    for sigma, inside in ((first, 1), (last, 1), (first * 1.001, 0), (last * 0.999, 0), (3.0, 1), (14.0, 0)):
        call = Call("sd15", sigma=sigma)
        assert torch.equal(call.run(windowed, [1, 0]), call.run(always if inside else sd15.model, [1, 0]))


def test_the_window_is_that_of_the_model_being_sampled(sd15: SimpleNamespace, apply: Callable[..., Any]) -> None:
    import comfy.model_sampling as sampling

    class Louder(sampling.ModelSamplingDiscrete, sampling.EPS):
        def percent_to_sigma(self, percent: float) -> float:
            return 10 * super().percent_to_sigma(percent)

    windowed = apply(sd15.model, sd15.identity, start=0.5)
    middle = sd15.model.model.model_sampling.percent_to_sigma(0.5)
    call = Call("sd15", sigma=middle * 5)  # before the window of the model, inside that of the later patch
    plain = call.run(sd15.model, [1, 0])
    assert torch.equal(call.run(windowed, [1, 0]), plain)
    later = windowed.clone()
    later.add_object_patch("model_sampling", Louder(sd15.model.model.model_config))
    assert torch.equal(call.run(later, [1, 0]), call.run(apply(sd15.model, sd15.identity), [1, 0]))


def test_two_identities_agree_in_either_order_and_leave_each_other_alone(
    sd15: SimpleNamespace, apply: Callable[..., Any]
) -> None:
    other = identity("sd15", "plus", seed=4)
    a, b = apply(sd15.model, sd15.identity), apply(sd15.model, other)
    kept = sd15.call.run(a, [1, 0])
    both = sd15.call.run(apply(a, other), [1, 0])
    assert torch.equal(sd15.call.run(apply(b, sd15.identity), [1, 0]), both)
    assert torch.equal(sd15.call.run(a, [1, 0]), kept)
    assert relative(both, kept) > 0.01
    assert relative(both, sd15.call.run(b, [1, 0])) > 0.01


def test_two_identities_have_a_window_each(sd15: SimpleNamespace, apply: Callable[..., Any]) -> None:
    other = identity("sd15", "plus", seed=4)
    early = apply(sd15.model, sd15.identity, end=0.3)
    both = apply(early, other, start=0.6)
    for sigma, alone in ((14.0, apply(sd15.model, sd15.identity)), (0.1, apply(sd15.model, other))):
        call = Call("sd15", sigma=sigma)
        assert torch.equal(call.run(both, [1, 0]), call.run(alone, [1, 0]))


@pytest.mark.parametrize("length", [2, 3])
def test_a_patch_of_another_pack_stays_at_work_under_either_key(
    at: SimpleNamespace, apply: Callable[..., Any], length: int
) -> None:
    place = faceid.cross_attentions(at.family)[0]
    theirs = at.model.clone()
    theirs.set_model_attn2_replace(lambda q, k, v, options: torch.zeros_like(q), *place.key[:length])
    ours = apply(theirs, at.identity)
    plain, patched = at.call.run(theirs, [1, 0]), at.call.run(apply(at.model, at.identity), [1, 0])
    both = at.call.run(ours, [1, 0])
    assert min(relative(both, plain), relative(both, patched)) > 1e-3
    attn2 = ours.model_options["transformer_options"]["patches_replace"]["attn2"]
    held = attn2.get(place.key) or attn2[place.key[:2]]
    assert held.previous is not None


def test_a_pack_that_comes_later_finds_our_patch_and_adds_to_it(at: SimpleNamespace, apply: Callable[..., Any]) -> None:
    """IPAdapter_plus looks a layer up by (block, id) on SD 1.5 and by (block, id, depth) on SDXL."""
    patched = apply(at.model, at.identity)
    later = patched.clone()
    attn2 = later.model_options["transformer_options"]["patches_replace"]["attn2"]
    key = ("input", 4) if at.family == "sd15" else ("input", 4, 0)
    attn2[key].add(lambda out, q, k, v, options, weight: weight * q, weight=0.5)
    kept = at.call.run(patched, [1, 0])
    assert relative(at.call.run(later, [1, 0]), kept) > 1e-4


def test_attention_overrides_reach_every_layer(at: SimpleNamespace, apply: Callable[..., Any]) -> None:
    calls = []

    def override(original: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        calls.append(1)
        return original(*args, **kwargs)

    for model in (at.model, apply(at.model, at.identity)):
        at.call.run(model, [1, 0], optimized_attention_override=override)
    layers = len(faceid.cross_attentions(at.family))
    assert len(calls) == 2 * 2 * layers  # self and cross, plain and patched


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_another_compute_dtype_works(sd15: SimpleNamespace, apply: Callable[..., Any], dtype: torch.dtype) -> None:
    exact = sd15.call.run(apply(sd15.model, sd15.identity), [1, 0])
    for late in (True, False):
        model = sd15.model.clone()
        if not late:
            model.set_model_compute_dtype(dtype)
        model = apply(model, sd15.identity)
        if late:
            model.set_model_compute_dtype(dtype)
        assert relative(sd15.call.run(model, [1, 0]), exact) < 0.1


def test_sampling_with_comfyuis_own_sampler(sd15: SimpleNamespace, apply: Callable[..., Any]) -> None:
    plain = comfy_unet.sample(sd15.model, "sd15")
    patched = apply(sd15.model, sd15.identity)
    first = comfy_unet.sample(patched, "sd15")
    assert relative(first, plain) > 0.01
    assert torch.equal(comfy_unet.sample(sd15.model, "sd15"), plain)
    assert torch.equal(comfy_unet.sample(apply(sd15.model, sd15.identity, weight=0), "sd15"), plain)
    assert torch.equal(comfy_unet.sample(patched, "sd15"), first)
    expected = comfy_unet.sample(published(sd15.model, state_dict("sd15", "plus"), 0.8, 1.5), "sd15")
    assert relative(first, expected) < 5e-5
    assert relative(comfy_unet.sample(patched, "sd15", cfg=1.0), first) > 1e-3


def test_the_window_is_decided_once_per_call_of_the_unet(sd15: SimpleNamespace, apply: Callable[..., Any]) -> None:
    asked = []
    sampling = sd15.model.model.model_sampling
    original = sampling.percent_to_sigma
    sampling.percent_to_sigma = lambda percent: asked.append(percent) or original(percent)
    try:
        sd15.call.run(apply(sd15.model, sd15.identity, start=0.1, end=0.9), [1, 0])
        assert asked == [0.1, 0.9]
        sd15.call.run(apply(sd15.model, sd15.identity), [1, 0])
        assert asked == [0.1, 0.9]
    finally:
        del sampling.percent_to_sigma


def test_the_options_of_the_caller_are_left_alone(sd15: SimpleNamespace, apply: Callable[..., Any]) -> None:
    wrapper = apply(sd15.model, sd15.identity).wrappers["apply_model"]["likeness"][0]
    options = {"cond_or_uncond": [1, 0], "sigmas": sd15.call.sigma}
    passed = []

    class Executor:
        class_obj = sd15.model.model

        def __call__(self, *args: Any) -> None:
            passed.append(args[-1])

    wrapper(Executor(), sd15.call.x, sd15.call.sigma, None, sd15.call.context, None, options)
    assert sorted(options) == ["cond_or_uncond", "sigmas"]
    assert sorted(passed[0]) == ["cond_or_uncond", "likeness_faceid", "sigmas"]
    assert passed[0]["likeness_faceid"]["0"].rows == (1, 0)


def test_the_wrong_base_family_is_refused(
    models: dict[str, Any], identities: dict[str, faceid.CompiledIdentity], apply: Callable[..., Any]
) -> None:
    with pytest.raises(faceid.AdapterFamilyError, match=r"model is sdxl and .* adapter for sd15"):
        apply(models["sdxl"], identities["sd15"])
    assert faceid.check_family(models["sd15"], identities["sd15"]) == "sd15"


def test_a_cut_down_model_is_refused(identities: dict[str, faceid.CompiledIdentity], apply: Callable[..., Any]) -> None:
    depth = {
        "transformer_depth": [0, 0, 2, 2, 4, 4],
        "transformer_depth_output": [0, 0, 0, 1, 1, 2, 10, 4, 4],
    }
    smaller = comfy_unet.small_model("sdxl", **depth, transformer_depth_middle=-1)
    with pytest.raises(faceid.AdapterFamilyError, match="34 cross-attentions, sdxl has 70"):
        apply(smaller, identities["sdxl"])


def test_a_model_without_cross_attention_is_refused(
    identities: dict[str, faceid.CompiledIdentity], apply: Callable[..., Any]
) -> None:
    flux = SimpleNamespace(model=SimpleNamespace(model_config=SimpleNamespace(unet_config={"image_model": "flux"})))
    for model in (flux, SimpleNamespace(), None):
        with pytest.raises(faceid.AdapterFamilyError, match="no text cross-attention"):
            apply(model, identities["sd15"])


@pytest.mark.parametrize(
    ("strengths", "message"),
    [
        ({"weight": float("nan")}, "weight is nan"),
        ({"weight_v2": float("inf")}, "weight_v2 is inf"),
        ({"start": 0.6, "end": 0.5}, "from 0.6 to 0.5"),
        ({"start": -0.1}, "from -0.1"),
        ({"end": 1.1}, "to 1.1"),
        ({"start": float("nan")}, "from nan"),
    ],
)
def test_strengths_out_of_range_are_named(
    sd15: SimpleNamespace, apply: Callable[..., Any], strengths: dict[str, float], message: str
) -> None:
    with pytest.raises(faceid.PatchError, match=message):
        apply(sd15.model, sd15.identity, **strengths)
