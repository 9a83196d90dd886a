from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from likeness.errors import LoraError
from likeness.lora_file import check_family, checkpoint_family, read_info

ATTENTION = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"
CORE = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.lora_down.weight"
PEFT = "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"


def lora(path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> Path:
    save_file({k: np.zeros(s, dtype=np.float32) for k, s in shapes.items()}, path, metadata)
    return path


def raw(path: Path, header: object, tail: bytes = b"\0" * 64, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + tail)
    return path


@pytest.mark.parametrize(
    ("shapes", "family"),
    [
        ({ATTENTION: (4, 768)}, "sd15"),
        ({ATTENTION: (4, 768, 1, 1)}, "sd15"),
        ({ATTENTION: (4, 2048)}, "sdxl"),
        ({PEFT: (4, 2048)}, "sdxl"),
        ({CORE: (4, 768), CORE.replace("down", "up"): (320, 4)}, "sd15"),
        ({"diffusion_model.transformer_blocks.0.attn2.to_k.lora_A.weight": (4, 2048)}, None),
        ({"lora_unet_blocks_0_cross_attn_k.lora_down.weight": (4, 1536)}, "wan"),
        ({"lora_unet_blocks_0_cross_attn_k_proj.lora_down.weight": (4, 1536)}, None),
        ({"diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_down.weight": (4, 1536)}, "sd3"),
        ({ATTENTION: (4, 1024)}, "other"),
        ({ATTENTION: (4,)}, None),
        ({"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 1280)}, "sdxl"),
        ({"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 768)}, None),
        ({"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (4, 3072)}, "flux"),
        ({"transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight": (4, 3072)}, "flux"),
        ({"something.else": (1,)}, None),
    ],
)
def test_the_family_is_read_from_the_header(tmp_path: Path, shapes: dict, family: str | None) -> None:
    assert read_info(lora(tmp_path / "x.safetensors", shapes)).family == family


@pytest.mark.parametrize(
    ("keys", "family"),
    [
        ({"input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (4, 768)}, "sd15"),
        ({"input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (4, 2048)}, "sdxl"),
        ({"input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (4, 1024)}, "other"),
        ({"joint_blocks.0.context_block.attn.qkv.weight": (4, 4)}, "sd3"),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": (4,), "img_in.weight": (4, 4)}, "flux"),
        (
            {"double_blocks.0.img_attn.norm.key_norm.scale": (4,), "double_stream_modulation_img.lin.weight": (4, 4)},
            "flux2",
        ),
        (
            {"double_blocks.0.img_attn.norm.key_norm.scale": (4,), "distilled_guidance_layer.norms.0.scale": (4,)},
            "chroma",
        ),
        ({"double_blocks.0.x": (4,), "txt_in.individual_token_refiner.blocks.0.norm1.weight": (4,)}, "hunyuan_video"),
        ({"txt_norm.weight": (3584,), "transformer_blocks.0.img_mlp.net.2.weight": (4, 4)}, "qwen_image"),
        ({"cap_embedder.1.weight": (3840, 4)}, "z_image"),
        ({"cap_embedder.1.weight": (2304, 4)}, "other"),
        ({"head.modulation": (1, 2, 4)}, "wan"),
        ({"first_stage_model.decoder.conv_in.weight": (4, 4)}, None),
    ],
)
@pytest.mark.parametrize("trunk", ["model.diffusion_model.", ""])
def test_a_model_tells_its_family_in_a_checkpoint_and_alone(
    tmp_path: Path, keys: dict[str, tuple[int, ...]], family: str | None, trunk: str
) -> None:
    path = lora(tmp_path / "m.safetensors", {trunk + key: shape for key, shape in keys.items()})
    assert checkpoint_family(path) == family


def test_trainer_notes_are_kept(tmp_path: Path) -> None:
    info = read_info(lora(tmp_path / "x.safetensors", {ATTENTION: (4, 768)}, {"ss_steps": "900"}))
    assert (info.name, info.metadata) == ("x.safetensors", {"ss_steps": "900"})


@pytest.mark.parametrize(
    ("made_for", "used_on", "fits"),
    [
        (768, "sd15", True),
        (768, "sdxl", False),
        (2048, "sd15", False),
        (768, "flux", False),
        (1024, "sd15", False),
        (768, "wan", False),
        (768, "other", True),
        (2048, "kolors", True),
    ],
)
def test_a_lora_of_another_family_is_refused_by_name(tmp_path: Path, made_for: int, used_on: str, fits: bool) -> None:
    path = lora(tmp_path / "x.safetensors", {ATTENTION: (4, made_for)})
    if fits:
        assert check_family(path, used_on).name == "x.safetensors"
    else:
        with pytest.raises(LoraError, match=rf"x\.safetensors is a LoRA for .*{used_on}"):
            check_family(path, used_on)


def test_a_lora_that_lost_its_end_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    data = lora(tmp_path / "x.safetensors", {ATTENTION: (4, 768)}).read_bytes()
    for cut in (0, 4, 8, 20, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.safetensors").write_bytes(data[:cut])
        with pytest.raises(LoraError, match=r"cut\.safetensors"):
            read_info(tmp_path / "cut.safetensors")


OFFSETS = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "header",
    [
        b"", b"{", b"[]", b"7", b"\xff\xfe", b"[" * 50_000, b"9" * 5000, {}, {"__metadata__": {"a": "b"}}, {"a": 7},
        {"a": {}},
        {"a": {"data_offsets": "no"}}, {"a": {"data_offsets": [0]}}, {"a": {**OFFSETS, "data_offsets": [0, 10**30]}},
    ],
)  # fmt: skip
def test_a_made_up_header_is_refused(tmp_path: Path, header: object) -> None:
    with pytest.raises(LoraError):
        read_info(raw(tmp_path / "x.safetensors", header))


@pytest.mark.parametrize("shape", [[4, [768]], [4, {"a": 1}], [4, None], "wide", 5, None, [4, 768.0], [[], []]])
def test_a_made_up_shape_is_no_crash(tmp_path: Path, shape: object) -> None:
    info = read_info(raw(tmp_path / "x.safetensors", {ATTENTION: {**OFFSETS, "shape": shape}, "__metadata__": [1]}))
    assert info.family is None and info.metadata == {}


def test_a_header_of_100_mb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = raw(tmp_path / "x.safetensors", b"{", length=100 * 1024 * 1024)
    with path.open("r+b") as f:
        f.truncate(101 * 1024 * 1024)
    tracemalloc.start()
    try:
        with pytest.raises(LoraError, match="104,857,600 bytes"):
            read_info(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "dir.safetensors").mkdir()
    for name in ("none.safetensors", "dir.safetensors"):
        with pytest.raises(LoraError, match=f"{name} cannot be read"):
            read_info(tmp_path / name)


def test_a_pickled_lora_is_not_looked_into(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"\x80\x04anything")
    assert read_info(tmp_path / "x.pt").family is None
