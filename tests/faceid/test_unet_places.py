"""A face on models as ComfyUI runs them: ControlNet, weights of other dtypes, weights that stay off the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy_unet
import pytest
import torch
from comfy_unet import CHANNELS, CONTEXT, Call, relative
from random_adapter import state_dict
from torch import Tensor
from unet_reference import identity, published

import faceid

WEIGHT, WEIGHT_V2 = 0.8, 1.5


@pytest.fixture(scope="module")
def face(comfy_attention: Callable[..., Any]) -> Callable[..., Any]:
    compiled = identity("sd15", "plus")

    def run(model: Any, **controls: Any) -> Any:
        chosen = faceid.Controls(**{"weight": WEIGHT, "weight_v2": WEIGHT_V2, **controls})
        return faceid.apply_identity(model, compiled, chosen, attention=comfy_attention)

    return run


def control_net() -> Any:
    """ComfyUI's own ControlNet of a small SD 1.5 with random weights, holding on to a random picture."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops

    model = comfy.cldm.cldm.ControlNet(
        image_size=32,
        in_channels=4,
        model_channels=CHANNELS,
        hint_channels=3,
        num_res_blocks=[2, 2, 2, 2],
        transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0],
        transformer_depth_middle=1,
        channel_mult=(1, 2, 4, 4),
        num_heads=8,
        use_spatial_transformer=True,
        context_dim=CONTEXT["sd15"],
        dtype=torch.float32,
        device="cpu",
        operations=comfy.ops.disable_weight_init,
    )
    comfy_unet._fill(model, 9)
    net = comfy.controlnet.ControlNet(model, load_device=torch.device("cpu"))
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    return net.set_cond_hint(picture, 0.7, (0.0, 1.0))


def sample(model: Any, control: Any) -> Tensor:
    import comfy.samplers

    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 4, 8, 8, generator=generator)
    conds = [[[torch.randn(1, 77, CONTEXT["sd15"], generator=generator), {}]] for _ in range(2)]
    for cond in conds:
        if control is not None:
            cond[0][1].update(control=control, control_apply_to_uncond=False)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conds)
    guider.set_cfg(5.0)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 2)
    return guider.sample(
        noise, torch.zeros_like(noise), comfy.samplers.sampler_object("euler"), sigmas, disable_pbar=True, seed=1
    )


def test_with_a_controlnet_the_output_equals_the_published_maths(face: Callable[..., Any]) -> None:
    model, net = comfy_unet.small_model("sd15"), control_net()
    ours = sample(face(model), net)
    expected = sample(published(model, state_dict("sd15", "plus"), WEIGHT, WEIGHT_V2), net)
    assert relative(ours, expected) < 5e-5
    assert relative(sample(model, net), expected) > 0.01  # the face acts
    assert relative(sample(face(model), None), expected) > 0.01  # the ControlNet acts


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_of_any_dtype_carry_the_same_face(face: Callable[..., Any], dtype: torch.dtype) -> None:
    """The published maths on the same rounded weights: nothing of ours is rounded with them."""
    from comfy.model_patcher import ModelPatcher

    plain = comfy_unet.small_model("sd15")
    for weight in plain.model.diffusion_model.parameters():
        weight.data = weight.data.to(dtype).float()
    expected = Call("sd15").run(published(plain, state_dict("sd15", "plus"), WEIGHT, WEIGHT_V2), [1, 0])
    stored = comfy_unet.small_model("sd15", dtype=dtype, cast_to=torch.float32)
    ours = Call("sd15").run(face(ModelPatcher(stored.model, torch.device("cpu"), torch.device("cpu"))), [1, 0])
    assert stored.model.get_dtype() == dtype
    assert relative(ours, expected) < 5e-5


def test_weights_that_are_cast_when_they_are_used_carry_the_same_face(face: Callable[..., Any]) -> None:
    """lowvram: ComfyUI keeps most weights off the device and patches them on the way, LoRAs included."""
    model = comfy_unet.small_model("sd15", cast_to=torch.float32)
    call = Call("sd15")
    whole = call.run(face(model), [1, 0])
    key = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_q.weight"
    changed = face(model)
    changed.add_patches({key: (torch.full_like(model.model.state_dict()[key], 0.02),)}, 1.0)
    changed.patch_model(torch.device("cpu"))
    loaded = call.run(changed, [1, 0])
    changed.unpatch_model(torch.device("cpu"))
    changed.load(torch.device("cpu"), lowvram_model_memory=1024)
    assert changed.model.model_lowvram
    low = call.run(changed, [1, 0])
    changed.unpatch_model(torch.device("cpu"))
    assert relative(low, loaded) < 1e-6
    assert relative(loaded, whole) > 1e-4
    assert torch.equal(call.run(face(model), [1, 0]), whole)


def test_a_model_that_leaves_the_device_takes_its_copies_along(face: Callable[..., Any]) -> None:
    model = face(comfy_unet.small_model("sd15"))
    kept = Call("sd15").run(model, [1, 0])
    patch = next(iter(model.model_options["transformer_options"]["patches_replace"]["attn2"].values()))
    (rows,) = patch.identities
    assert rows._layers
    model.model_patches_to(model.offload_device)
    assert not rows._layers
    assert torch.equal(Call("sd15").run(model, [1, 0]), kept)
