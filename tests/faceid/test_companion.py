from __future__ import annotations

import pytest
import torch
from random_adapter import state_dict

import faceid

PUBLISHED = [
    "ip-adapter-faceid_sd15_lora.safetensors",
    "ip-adapter-faceid-plus_sd15_lora.safetensors",
    "ip-adapter-faceid-plusv2_sd15_lora.safetensors",
    "ip-adapter-faceid_sdxl_lora.safetensors",
    "ip-adapter-faceid-plusv2_sdxl_lora.safetensors",
]


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_the_lora_inside_gets_the_published_names(family: str) -> None:
    flat = state_dict(family, rank=2)
    lora = faceid.companion_lora(faceid.read_adapter(flat, name="a.bin"))
    assert len(lora) == len(faceid.cross_attentions(family)) * 2 * 4 * 2
    middle = 2 * len(faceid.cross_attentions(family)) - (2 if family == "sd15" else 20)
    spot = {
        "mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_up": f"{middle}.to_out_lora.up",
        "mid_block_attentions_0_transformer_blocks_0_attn2_to_v.lora_down": f"{middle + 1}.to_v_lora.down",
        "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down": {
            "sd15": "5.to_k_lora.down",
            "sdxl": "1.to_k_lora.down",
        }[family],
    }
    for name, key in spot.items():
        assert torch.equal(lora[f"lora_unet_{name}.weight"], flat[f"ip_adapter.{key}.weight"])


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_comfyui_maps_every_weight_of_it(family: str, comfy_attention: object) -> None:
    import comfy.lora
    import comfy_unet

    flat = state_dict(family, rank=2)
    lora = faceid.companion_lora(faceid.read_adapter(flat, name="a.bin"))
    model = comfy_unet.small_model(family).model
    patches = comfy.lora.load_lora(lora, comfy.lora.model_lora_keys_unet(model, {}))
    assert len(patches) == {"sd15": 128, "sdxl": 560}[family]
    for key, patch in patches.items():
        up, down = patch.weights[:2]
        assert (up.shape[0], down.shape[1]) == tuple(model.get_parameter(key).shape)


def test_an_adapter_without_lora_says_so() -> None:
    with pytest.raises(faceid.AdapterFormatError, match="carries no LoRA"):
        faceid.companion_lora(faceid.read_adapter(state_dict("sd15"), name="a.bin"))
    unnorm = faceid.read_adapter(state_dict("sdxl", "resampler", tokens=16), name="unnorm.bin")
    with pytest.raises(faceid.AdapterFormatError, match="FaceID Portrait has none and needs none"):
        faceid.companion_lora(unnorm)


def test_a_damaged_lora_is_refused() -> None:
    flat = state_dict("sd15", rank=2)
    flat["ip_adapter.3.to_q_lora.up.weight"] = flat["ip_adapter.3.to_q_lora.up.weight"] * float("nan")
    with pytest.raises(faceid.AdapterFormatError, match="NaN"):
        faceid.companion_lora(faceid.read_adapter(flat, name="a.bin"))


@pytest.mark.parametrize(
    ("variant", "family", "expected"),
    [
        ("faceid", "sd15", PUBLISHED[0]),
        ("faceid_plus", "sd15", PUBLISHED[1]),
        ("faceid_plus_v2", "sd15", PUBLISHED[2]),
        ("faceid", "sdxl", PUBLISHED[3]),
        ("faceid_plus_v2", "sdxl", PUBLISHED[4]),
        ("faceid_plus", "sdxl", None),
        ("faceid_portrait", "sd15", None),
        ("faceid_portrait_unnorm", "sdxl", None),
    ],
)
def test_each_published_adapter_finds_its_own_companion(variant: str, family: str, expected: str | None) -> None:
    assert faceid.companion_name(variant, family, PUBLISHED) == expected
    assert faceid.companion_name(variant, family, reversed(PUBLISHED)) == expected


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sub/IP-Adapter-FaceID_SD15_LoRA.safetensors", True),
        (r"sub\ip-adapter.faceid.sd15.lora.safetensors", True),
        ("faceid_sd15_lora/other.safetensors", False),
        ("ip-adapter-faceid_sd15_lora.safetensors.bak", False),
        ("ip-adapter-faceid_sd15.safetensors", False),
        ("ip-adapter-faceid_sd15_lora.bin", False),
    ],
)
def test_names_are_matched_by_file_name_alone(name: str, found: bool) -> None:
    assert (faceid.companion_name("faceid", "sd15", [name]) == name) == found


def test_the_plainest_of_several_companions_is_taken_whatever_their_order() -> None:
    names = ["x/copy of faceid_sd15_lora.safetensors", "b_faceid_sd15_lora.safetensors"]
    names.append("a_faceid_sd15_lora.safetensors")
    assert faceid.companion_name("faceid", "sd15", names) == "a_faceid_sd15_lora.safetensors"
    assert faceid.companion_name("faceid", "sd15", names[::-1]) == "a_faceid_sd15_lora.safetensors"
