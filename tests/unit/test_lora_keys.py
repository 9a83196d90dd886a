"""LoRA files as other trainers name their tensors: which are whole, which act, and which model they are for."""

from __future__ import annotations

import numpy as np
import pytest

from likeness.errors import LoraError
from likeness.lora_keys import family_of_keys, products, rank_of, ruled_out

from ..lora_files import KOHYA

OLD = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k"
NEW = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
DOWN, UP = [4, 768], [320, 4]
WHOLE = {
    "kohya": {f"{KOHYA}.lora_down.weight": DOWN, f"{KOHYA}.lora_up.weight": UP},
    "diffusers": {f"{OLD}_lora.down.weight": DOWN, f"{OLD}_lora.up.weight": UP},
    "diffusers, later": {f"{NEW}.lora.down.weight": DOWN, f"{NEW}.lora.up.weight": UP},
    "transformers": {f"{NEW}.lora_linear_layer.down.weight": DOWN, f"{NEW}.lora_linear_layer.up.weight": UP},
    "peft": {f"{NEW}.lora_A.weight": DOWN, f"{NEW}.lora_B.weight": UP, f"{NEW}.lora_B.bias": [320]},
    "peft, named": {f"{NEW}.lora_A.default.weight": DOWN, f"{NEW}.lora_B.default.weight": UP},
    "bare": {f"{NEW}.lora_A": DOWN, f"{NEW}.lora_B": UP},
    "convolution": {f"{NEW}.lora_down.weight": [4, 768, 3, 3], f"{NEW}.lora_up.weight": [320, 4, 1, 1]},
    "loha": {f"{KOHYA}.hada_w{i}_{part}": shape for i in (1, 2) for part, shape in (("a", UP), ("b", DOWN))},
    "lokr": {f"{KOHYA}.lokr_w1": [4, 4], f"{KOHYA}.lokr_w2_a": [80, 4], f"{KOHYA}.lokr_w2_b": [4, 192]},
    "glora": {f"{KOHYA}.{a}.weight": s for a, s in (("a1", DOWN), ("a2", UP), ("b1", DOWN), ("b2", UP))},
    "oft": {f"{KOHYA}.oft_blocks": [4, 8, 8]},
    "difference": {f"{KOHYA}.diff": [320, 768], f"{KOHYA}.diff_b": [320]},
}
TOLD = ("kohya", "diffusers", "diffusers, later", "transformers", "peft", "peft, named", "bare", "convolution", "loha")


@pytest.mark.parametrize("kind", WHOLE)
def test_every_kind_that_comfyui_loads_is_a_lora(kind: str) -> None:
    assert products({**WHOLE[kind], f"{KOHYA}.alpha": [], "other": [4]}, "x")
    assert family_of_keys(WHOLE[kind]) == ("sd15" if kind in (*TOLD, "difference") else None)
    assert rank_of(WHOLE[kind]) == (4 if kind in TOLD else None)


@pytest.mark.parametrize("kind", [k for k in WHOLE if k not in ("oft", "difference")])
def test_a_lora_with_a_part_missing_is_damaged(kind: str) -> None:
    for key in WHOLE[kind]:
        if not key.endswith(".bias"):
            with pytest.raises(LoraError, match="only a part is there"):
                products({k: s for k, s in WHOLE[kind].items() if k != key}, "x")


@pytest.mark.parametrize("kind", [k for k in WHOLE if k not in ("oft", "difference", "glora")])
def test_ranks_that_differ_and_rank_0_do_not_fit(kind: str) -> None:
    keys = [k for k in WHOLE[kind] if not k.endswith((".bias", ".lokr_w1"))]
    for rank in (0, 3):
        wrong = {k: [rank if n == 4 else n for n in s] if k == keys[0] else s for k, s in WHOLE[kind].items()}
        with pytest.raises(LoraError, match="do not fit"):
            products(wrong, "x")
    empty = {k: [0 if n == 4 else n for n in s] for k, s in WHOLE[kind].items()}
    with pytest.raises(LoraError, match="do not fit"):
        products(empty, "x")


def test_matrices_around_a_core_tensor_lie_the_other_way_round() -> None:
    loha = {f"{KOHYA}.hada_w{i}_{part}": [4, n] for i in (1, 2) for part, n in (("a", 320), ("b", 768))}
    cores = {f"{KOHYA}.hada_t{i}": [4, 4, 3, 3] for i in (1, 2)}
    assert products({**loha, **cores}, "x")
    with pytest.raises(LoraError, match="do not fit"):
        products(loha, "x")


def test_keys_stand_in_messages_cut_short_and_without_control_characters() -> None:
    key = "\x1b[31m" + "A" * 2_000_000
    with pytest.raises(LoraError) as caught:
        products({f"{key}.lora_down.weight": DOWN}, "x")
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("lora_unet_middle_block_1_transformer_blocks_9_ff_net_2.lora_down.weight", "sdxl"),
        ("unet.mid_block.attentions.0.transformer_blocks.1.ff.net.2.lora_A.weight", "sdxl"),
        ("lora_unet_middle_block_1_transformer_blocks_0_ff_net_2.lora_down.weight", None),
        ("transformer.transformer_blocks.9.attn.to_k.lora_A.weight", None),
    ],
)
def test_blocks_below_one_another_are_sdxls(key: str, family: str | None) -> None:
    assert family_of_keys({key: [4, 5120]}) == family


def test_joint_attention_rules_a_unet_out() -> None:
    joint = {"transformer.transformer_blocks.0.attn.add_k_proj.lora_A.weight": [4, 3072]}
    assert {"sd15", "sdxl"} <= set(ruled_out(joint))
    assert ruled_out({f"{KOHYA}.lora_down.weight": DOWN}) == ()


def flux(width: int, double: int, single: int, linear1: int, naming: str) -> dict[str, list[int]]:
    """Shapes of a LoRA on the attention, and where `linear1` is given, on the first layer of the single blocks."""
    down, up = (
        (".lora_A.weight", ".lora_B.weight") if naming == "diffusers" else (".lora_down.weight", ".lora_up.weight")
    )
    stems = {
        "kohya": ("lora_unet_double_blocks_{}_img_attn_qkv", "lora_unet_single_blocks_{}_linear1"),
        "comfyui": ("diffusion_model.double_blocks.{}.img_attn.qkv", "diffusion_model.single_blocks.{}.linear1"),
        "diffusers": (
            "transformer.transformer_blocks.{}.attn.to_q",
            "transformer.single_transformer_blocks.{}.attn.to_q",
        ),
    }[naming]
    made = {}
    for stem, count, outputs in ((stems[0], double, 3 * width), (stems[1], single, linear1 or width)):
        for n in range(count):
            made |= {stem.format(n) + down: [4, width], stem.format(n) + up: [outputs, 4]}
    return made


@pytest.mark.parametrize("naming", ["kohya", "comfyui", "diffusers"])
@pytest.mark.parametrize(
    ("width", "double", "single", "linear1"),
    [(6144, 8, 48, 55296), (4096, 8, 24, 36864), (3072, 5, 20, 27648), (6144, 1, 0, 0), (3072, 5, 20, 0)],
)
def test_a_lora_on_flux2_is_told_from_one_on_flux1(
    width: int, double: int, single: int, linear1: int, naming: str
) -> None:
    shapes = flux(width, double, single or 1, linear1, naming)
    assert family_of_keys(shapes) == "flux2" and "flux2" not in ruled_out(shapes)


@pytest.mark.parametrize("naming", ["kohya", "comfyui", "diffusers"])
def test_a_lora_on_flux1_is_ruled_out_for_flux2(naming: str) -> None:
    whole = flux(3072, 19, 38, 21504 if naming != "diffusers" else 0, naming)
    assert family_of_keys(whole) == "flux" and "flux2" in ruled_out(whole)
    if naming != "diffusers":  # one block is enough, where the MLP is in it
        first = flux(3072, 1, 1, 21504, naming)
        assert family_of_keys(first) == "flux" and "flux2" in ruled_out(first)


def test_what_flux1_and_the_smallest_flux2_have_alike_is_not_decided() -> None:
    few = flux(3072, 2, 2, 0, "diffusers")
    assert family_of_keys(few) == "flux" and "flux2" not in ruled_out(few)


def test_the_kinds_are_those_of_comfyui(comfy: object) -> None:
    """Every kind of file above gives ComfyUI a patch."""
    import comfy.lora
    import torch

    for kind, shapes in WHOLE.items():
        tensors = {k: torch.from_numpy(np.ones(s, np.float32)) for k, s in shapes.items()}
        stems = {KOHYA: "w.weight", OLD: "w.weight", NEW: "w.weight"}
        assert comfy.lora.load_lora(tensors, stems, log_missing=False), kind
