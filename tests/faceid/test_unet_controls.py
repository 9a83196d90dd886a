"""Masks, pictures of a batch, context windows and guiders on ComfyUI's own UNet and samplers, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy_unet
import pytest
import torch
from comfy_unet import CONTEXT, Call, relative
from random_adapter import embedding, state_dict
from torch import Tensor

import faceid
from faceid.attention import STEP_KEY

SIZE, STEPS = 8, 2


@pytest.fixture(scope="module")
def model(comfy_attention: Callable[..., Any]) -> Any:
    return comfy_unet.small_model("sd15")


@pytest.fixture(scope="module")
def sdxl(comfy_attention: Callable[..., Any]) -> Any:
    return comfy_unet.small_model("sdxl")


@pytest.fixture(scope="module")
def apply(comfy_attention: Callable[..., Any]) -> Callable[..., Any]:
    adapters = {f: faceid.read_adapter(state_dict(f), name="a.bin") for f in ("sd15", "sdxl")}

    def run(model: Any, *, seed: int = 0, family: str = "sd15", mask: Tensor | None = None, **controls: Any) -> Any:
        tokens = faceid.identity_tokens(adapters[family], faceid.FaceInputs(embedding(seed)))
        made = faceid.compile_identity(adapters[family], tokens, identity=str(seed))
        return faceid.apply_identity(model, made, faceid.Controls(**controls), mask=mask, attention=comfy_attention)

    return run


def half(side: str, size: int = 64) -> Tensor:
    mask = torch.zeros(size, size)
    part = {"left": (slice(None), slice(None, size // 2)), "right": (slice(None), slice(size // 2, None))}[side]
    mask[part] = 1
    return mask


def conds(family: str = "sd15", count: int = 3) -> list[list[Any]]:
    generator = torch.Generator().manual_seed(3)
    width = CONTEXT[family]
    return [
        [[torch.randn(1, 77, width, generator=generator), {"pooled_output": torch.randn(1, 1280, generator=generator)}]]
        for _ in range(count)
    ]


def sample(model: Any, noise: Tensor, guider: Any = None, positive: Any = None, cfg: float = 5.0) -> Tensor:
    """The latent that ComfyUI's euler sampler gives, float32 [B, 4, SIZE, SIZE]."""
    import comfy.samplers

    if guider is None:
        ours, negative, _ = conds()
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive or ours, negative)
        guider.set_cfg(cfg)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", STEPS)
    sampler = comfy.samplers.sampler_object("euler")
    return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=1)


def noise(images: int = 1) -> Tensor:
    return torch.randn(images, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(5))


def spy(model: Any, seen: list[dict[str, Any]]) -> Any:
    """The model, noting what every call of the UNet is told."""
    import comfy.patcher_extension as extension

    def note(executor: Any, x: Tensor, t: Tensor, *args: Any, **kwargs: Any) -> Any:
        options = args[3] if len(args) > 3 else kwargs["transformer_options"]
        steps = options.get(STEP_KEY, {})
        seen.append({"numbers": options["cond_or_uncond"], "steps": steps, "images": x.shape[0], "size": x.shape[-2:]})
        return executor(x, t, *args, **kwargs)

    model = model.clone()
    model.add_wrapper_with_key(extension.WrappersMP.APPLY_MODEL, "spy", note)
    return model


# masks


def test_a_white_mask_is_no_mask(model: Any, apply: Callable[..., Any]) -> None:
    call = Call("sd15")
    plain = call.run(apply(model), [1, 0])
    assert relative(call.run(apply(model, mask=torch.ones(40, 24)), [1, 0]), plain) < 1e-6


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_disjoint_masks_put_each_face_into_its_part_of_every_layer(
    family: str, size: tuple[int, int], apply: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    """At every layer the output is that of the one face, of the other, or of none, position by position."""
    plain = request.getfixturevalue("model" if family == "sd15" else "sdxl")
    masks = half("left"), half("right")
    masks[1][:32] = 0
    seeds = (0, 1)
    call = Call(family)
    call.x = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(1))
    both = apply(apply(plain, family=family, mask=masks[0]), family=family, seed=1, mask=masks[1])
    alone = [apply(plain, family=family, seed=s) for s in seeds]
    held = [m.model_options["transformer_options"]["patches_replace"]["attn2"] for m in (both, *alone)]
    worst, layers = 0.0, 0

    def compare(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any], *patches: Any) -> Tensor:
        nonlocal worst, layers
        h, w = options["activations_shape"][-2:]
        text = plain_attention(q, k, v, options["n_heads"])
        faces = [single(q, k, v, {**options, STEP_KEY: {}}) - text for single in patches[1:]]
        gains = [faceid.masks.resize(m[None], (h, w)).reshape(1, -1, 1) for m in masks]
        expected = text + sum(g * f for g, f in zip(gains, faces, strict=True))
        got = patches[0](q, k, v, options)
        worst, layers = max(worst, relative(got, expected)), layers + 1
        return got

    from comfy.ldm.modules.attention import optimized_attention as plain_attention

    for key in held[0]:
        patches = [h[key] for h in held]
        both.set_model_attn2_replace(lambda q, k, v, o, p=patches: compare(q, k, v, o, *p), *key)
    call.run(both, [1, 0])
    assert layers == len(faceid.cross_attentions(family))
    assert worst < 2e-6


def test_the_order_of_masked_faces_does_not_matter(model: Any, apply: Callable[..., Any]) -> None:
    call = Call("sd15")
    one = apply(apply(model, mask=half("left")), seed=1, mask=half("right"))
    other = apply(apply(model, seed=1, mask=half("right")), mask=half("left"))
    assert torch.equal(call.run(one, [1, 0]), call.run(other, [1, 0]))
    swapped = apply(apply(model, mask=half("right")), seed=1, mask=half("left"))
    assert relative(call.run(swapped, [1, 0]), call.run(one, [1, 0])) > 0.01


def test_an_area_of_the_prompt_sees_its_part_of_the_mask(model: Any, apply: Callable[..., Any]) -> None:
    """A prompt limited to the right half, and a face on the left: in that call of the UNet the face acts nowhere."""
    whole, _, right = conds()
    right[0][1]["area"] = (SIZE, SIZE // 2, 0, SIZE // 2)
    seen: list[dict[str, Any]] = []
    sample(spy(apply(model, mask=half("left")), seen), noise(), positive=whole + right)
    narrow = [call for call in seen if tuple(call["size"]) == (SIZE, SIZE // 2)]
    assert len(narrow) == STEPS
    for call in narrow:
        gain = call["steps"]["0"].gains.at((SIZE, SIZE // 2), torch.zeros(1))
        assert gain.abs().max() == 0
    for call in seen:
        if tuple(call["size"]) == (SIZE, SIZE):
            assert call["steps"]["0"].gains.at((SIZE, SIZE), torch.zeros(1)).mean() == 0.5


@pytest.mark.parametrize("cfg", [5.0, 1.0])
def test_prompts_with_areas_carry_the_face(model: Any, apply: Callable[..., Any], cfg: float) -> None:
    """ComfyUI copies a prompt with an area to the negative side, uuid included; the face stays where it belongs."""
    positive = conds()[0]
    expected = sample(apply(model), noise(), positive=positive, cfg=cfg)
    positive[0][1]["area"] = (SIZE, SIZE, 0, 0)  # the whole picture
    assert relative(sample(apply(model), noise(), positive=positive, cfg=cfg), expected) < 1e-5
    assert relative(sample(model, noise(), positive=positive, cfg=cfg), expected) > 0.05


def test_prompts_with_areas_on_both_sides_keep_their_rows(model: Any, apply: Callable[..., Any]) -> None:
    import comfy.samplers

    positive, negative, _ = conds()
    positive[0][1]["area"] = (SIZE, SIZE // 2, 0, 0)
    negative[0][1]["area"] = (SIZE, SIZE // 2, 0, SIZE // 2)
    seen: list[dict[str, Any]] = []
    guider = comfy.samplers.CFGGuider(spy(apply(model), seen))
    guider.set_conds(positive, negative)
    guider.set_cfg(5.0)
    sample(model, noise(), guider)
    assert {tuple(sorted(c["numbers"])) for c in seen}
    for call in seen:
        assert call["steps"]["0"].rows == tuple(min(n, 1) for n in call["numbers"])


def test_tiles_that_are_sampled_together_get_the_face_each(model: Any, apply: Callable[..., Any]) -> None:
    """TiledDiffusion's layout: the conds of a tile side by side, tile after tile, under the list of one tile."""
    from faceid.roles import CONDS_KEY, Conds

    patched, one, both = apply(model), Call("sd15"), Call("sd15", chunks=4)
    both.x, both.context, both.sigma = one.x.repeat(2, 1, 1, 1), one.context.repeat(2, 1, 1), one.sigma.repeat(2)
    alone = one.run(patched, [1, 0])
    together = both.run(patched, [1, 0], **{CONDS_KEY: Conds((8, 8), 1, {}, {})})
    assert max(relative(part, alone) for part in together.split(2)) < 1e-5


# pictures of a batch


WEIGHTS = (0.0, 1.0, 0.5, 0.0, 2.0, 0.7)


def one_by_one(model: Any, apply: Callable[..., Any], masks: Tensor | None = None) -> Tensor:
    """Every picture sampled alone; without a motion module a batch must give the same."""
    made = []
    for i, picture in enumerate(noise(6).split(1)):
        mask = None if masks is None else masks[min(i, len(masks) - 1)]
        patched = apply(model, weight=0.9 * WEIGHTS[i], mask=mask) if mask is None or mask.any() else model
        made.append(sample(patched, picture))
    return torch.cat(made)


def per_picture(apply: Callable[..., Any], model: Any, masks: Tensor | None = None) -> Any:
    return apply(model, weight=0.9, frame_weights=WEIGHTS, mask=masks)


def test_each_picture_of_a_batch_has_its_weight(model: Any, apply: Callable[..., Any]) -> None:
    together = sample(per_picture(apply, model), noise(6))
    assert relative(together, one_by_one(model, apply)) < 1e-5
    assert relative(together, sample(apply(model, weight=0.9), noise(6))) > 0.01


def test_each_picture_of_a_batch_has_its_mask(model: Any, apply: Callable[..., Any]) -> None:
    masks = torch.stack([half("left"), half("right"), torch.zeros(64, 64), half("left")])  # the last one repeats
    together = sample(per_picture(apply, model, masks), noise(6))
    assert relative(together, one_by_one(model, apply, masks)) < 1e-5


@pytest.mark.parametrize("anchor", [False, True])
def test_context_windows_keep_weights_and_masks_of_their_pictures(
    model: Any, apply: Callable[..., Any], anchor: bool
) -> None:
    import comfy.context_windows as context

    masks = torch.stack([half("left"), half("right"), half("left")])
    windowed = per_picture(apply, model, masks)
    windowed.model_options["context_handler"] = context.IndexListContextHandler(
        context_schedule=context.get_matching_context_schedule(context.ContextSchedules.STATIC_STANDARD),
        fuse_method=context.get_matching_fuse_method("flat"),
        context_length=3,
        context_overlap=1,
        causal_window_fix=anchor,
    )
    seen: list[dict[str, Any]] = []
    together = sample(spy(windowed, seen), noise(6))
    assert {call["images"] // len(call["numbers"]) for call in seen} == ({3, 4} if anchor else {3})
    assert relative(together, one_by_one(model, apply, masks)) < 1e-5


def test_windows_of_animatediff_evolved_keep_weights_of_their_pictures(model: Any, apply: Callable[..., Any]) -> None:
    call = Call("sd15", images=2)
    patched = apply(model, frame_weights=(0.2, 0.4, 0.6, 0.8))
    window = call.run(patched, [1, 0], ad_params={"sub_idxs": [1, 3], "full_length": 4})
    assert torch.equal(window, call.run(apply(model, frame_weights=(0.4, 0.8)), [1, 0]))
    assert torch.equal(call.run(patched, [1, 0]), call.run(apply(model, frame_weights=(0.2, 0.4)), [1, 0]))


def test_each_picture_of_a_batch_has_its_face(model: Any, comfy_attention: Callable[..., Any]) -> None:
    adapter = faceid.read_adapter(state_dict("sd15"), name="a.bin")

    def compiled(*seeds: int) -> faceid.CompiledIdentity:
        faces = faceid.FaceInputs(torch.cat([embedding(s) for s in seeds]))
        tokens = faceid.identity_tokens(adapter, faces, frames=len(seeds) > 1)
        return faceid.compile_identity(adapter, tokens, identity="x", combine="per image")

    def run(*seeds: int, batch: Tensor) -> Tensor:
        return sample(faceid.apply_identity(model, compiled(*seeds), attention=comfy_attention), batch)

    together = run(0, 1, 2, batch=noise(4))
    alone = [run(seed, batch=picture) for seed, picture in zip((0, 1, 2, 2), noise(4).split(1), strict=True)]
    assert relative(together, torch.cat(alone)) < 1e-5


def test_pictures_that_are_all_off_cost_nothing(model: Any, apply: Callable[..., Any]) -> None:
    seen: list[dict[str, Any]] = []
    patched = apply(model, frame_weights=(0.0, 0.0, 1.0))
    assert torch.equal(sample(spy(patched, seen), noise(2)), sample(model, noise(2)))
    assert all(call["steps"]["0"].rows == () for call in seen)
    assert torch.equal(sample(apply(model, frame_weights=(0.0,)), noise()), sample(model, noise()))


@pytest.mark.parametrize("scaling", ["K+V", "K+V w/ C penalty", "K+mean(V) w/ C penalty"])
def test_weights_of_pictures_reach_the_keys_too(model: Any, apply: Callable[..., Any], scaling: str) -> None:
    together = sample(apply(model, weight=0.8, frame_weights=(1.0, 0.5), embeds_scaling=scaling), noise(2))
    alone = [
        sample(apply(model, weight=0.8 * w, embeds_scaling=scaling), picture)
        for w, picture in zip((1.0, 0.5), noise(2).split(1), strict=True)
    ]
    assert relative(together, torch.cat(alone)) < 1e-5


# guiders


def guiders(model: Any) -> dict[str, Any]:
    from comfy_extras.nodes_custom_sampler import Guider_Basic, Guider_DualCFG
    from comfy_extras.nodes_perpneg import Guider_PerpNeg

    first, second, third = conds()
    basic, perp, dual = Guider_Basic(model), Guider_PerpNeg(model), Guider_DualCFG(model)
    basic.set_conds(first)
    perp.set_conds(first, second, third)
    perp.set_cfg(5.0, 0.7)
    dual.set_conds(first, second, third)
    dual.set_cfg(4.0, 2.0)
    return {"basic": basic, "perp_neg": perp, "dual_cfg": dual}


FACE = {"basic": {0}, "perp_neg": {0}, "dual_cfg": {2}}  # the number of the positive cond


@pytest.mark.parametrize("name", FACE)
@pytest.mark.parametrize("one_at_a_time", [False, True])
def test_guiders_give_the_face_to_the_positive_prompt(
    model: Any, apply: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str, one_at_a_time: bool
) -> None:
    if one_at_a_time:  # too little memory for a batch of conds
        monkeypatch.setattr(model.model, "memory_required", lambda *a, **k: float("inf"))
    seen: list[dict[str, Any]] = []
    together = sample(model, noise(), guiders(spy(apply(model), seen))[name])
    for call in seen:
        rows = [0 if n in FACE[name] else 1 for n in call["numbers"]]
        assert call["steps"]["0"].rows == tuple(rows)
        assert not one_at_a_time or len(rows) == 1
    assert seen
    assert relative(together, sample(model, noise(), guiders(model)[name])) > 0.01


def test_a_guider_of_another_pack_goes_by_the_number(model: Any, apply: Callable[..., Any]) -> None:
    import comfy.samplers

    class Stranger(comfy.samplers.CFGGuider):
        def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None) -> Tensor:
            two = [self.conds["first"], self.conds["second"]]
            return comfy.samplers.calc_cond_batch(self.inner_model, two, x, timestep, model_options)[0]

    seen: list[dict[str, Any]] = []
    guider = Stranger(spy(apply(model), seen))
    guider.inner_set_conds(dict(zip(("first", "second"), conds(count=2), strict=True)))
    sample(model, noise(), guider)
    assert all(c["steps"]["0"].rows == tuple(min(n, 1) for n in c["numbers"]) for c in seen)
