"""The stand-in model files: real keys and shapes, the same bytes every time, nobody's file harmed."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def standins(tool: Callable[[str], ModuleType]) -> ModuleType:
    return tool("make_standins")


def numbers(specs: Iterable[Any]) -> int:
    return sum(math.prod(spec.shape) for spec in specs)


def adapter_file(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    return torch.load(path, weights_only=True)


def safetensors_header(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])


@pytest.mark.parametrize(("family", "published"), [("sd15", 859_520_964), ("sdxl", 2_567_463_684)])
def test_real_width_has_the_published_number_of_weights(standins: ModuleType, family: str, published: int) -> None:
    assert numbers(standins.unet(standins.LAYOUTS[family], "real")) == published


def test_image_encoder_has_the_published_number_of_weights(standins: ModuleType) -> None:
    assert numbers(standins.vit_h()) == 632_076_800


@pytest.mark.parametrize(("family", "layers", "context"), [("sd15", 16, 768), ("sdxl", 70, 2048)])
@pytest.mark.parametrize("plus", [False, True])
def test_adapter_has_keys_and_values_for_every_cross_attention(
    standins: ModuleType, family: str, layers: int, context: int, plus: bool
) -> None:
    shapes = {spec.key: spec.shape for spec in standins.adapter(family, "real", plus)}
    assert [f"ip_adapter.{2 * n + 1}.to_k_ip.weight" in shapes for n in range(layers)] == [True] * layers
    assert sum(key.endswith(("to_k_ip.weight", "to_v_ip.weight")) for key in shapes) == 2 * layers
    assert shapes["image_proj.proj.2.weight"] == (4 * context, 1024)
    assert shapes[f"ip_adapter.{2 * layers - 1}.to_k_ip.weight"] == (1280, context)
    assert any("perceiver_resampler" in key for key in shapes) is plus


def test_same_call_same_bytes_and_seed_matters(standins: ModuleType, tmp_path: Path) -> None:
    what = ("faceid", "companion", "character_lora")
    first, second, other = (
        [path.read_bytes() for path in standins.make(tmp_path / name, "sd15", seed, what)]
        for name, seed in (("first", 0), ("second", 0), ("other", 1))
    )
    assert first == second
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_companion_is_the_lora_inside_the_adapter(standins: ModuleType, tmp_path: Path) -> None:
    load_file = pytest.importorskip("safetensors.torch", reason="safetensors is not installed").load_file
    standins.make(tmp_path, "sd15", what=("plusv2", "companion"))
    weights = adapter_file(tmp_path / "ipadapter/ip-adapter-faceid-plusv2_sd15.bin")["ip_adapter"]
    lora = load_file(tmp_path / "loras/ip-adapter-faceid-plusv2_sd15_lora.safetensors")
    assert len(lora) == 2 * 128
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_out_0.lora_up.weight"
    assert torch.equal(lora[key], weights["1.to_out_lora.up.weight"])


def test_character_lora_tells_its_base_model_and_trigger(standins: ModuleType, tmp_path: Path) -> None:
    (path,) = standins.make(tmp_path, "sdxl", what=("character_lora",), character="ada")
    metadata = safetensors_header(path)["__metadata__"]
    assert path.name == "ada_sdxl.safetensors"
    assert metadata["note"] == standins.NOTE
    assert metadata["ss_base_model_version"] == "sdxl_base_v1-0"
    assert metadata["ss_network_module"] == "networks.lora"
    assert list(json.loads(metadata["ss_tag_frequency"])) == ["10_ada woman"]


def test_every_file_says_that_it_is_a_stand_in(standins: ModuleType, tmp_path: Path) -> None:
    for path in standins.make(tmp_path, "sd15"):
        note = path.with_name(f"{path.name}.standin.txt").read_text(encoding="utf-8")
        assert standins.NOTE in note
        assert path.stat().st_size < 6_000_000


def test_somebody_elses_file_is_kept(standins: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "ipadapter/ip-adapter-faceid_sd15.bin"
    path.parent.mkdir()
    path.write_bytes(b"real weights")
    with pytest.raises(FileExistsError, match="ip-adapter-faceid_sd15"):
        standins.make(tmp_path, "sd15", what=("faceid",))
    assert path.read_bytes() == b"real weights"


@pytest.mark.parametrize("wrong", [{"family": "sd3"}, {"what": ("unet",)}, {"width": "wide"}])
def test_unknown_choice_is_named(standins: ModuleType, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not one of"):
        standins.make(tmp_path, **wrong)


@pytest.mark.comfy
def test_comfyui_recognises_the_checkpoint_and_maps_every_lora_key(
    standins: ModuleType, tmp_path: Path, comfy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import comfy.sd
    import comfy.utils

    standins.make(tmp_path, "sd15", what=("checkpoint", "companion", "character_lora"))
    checkpoint = str(tmp_path / "checkpoints/standin_sd15.ckpt")
    model, clip, vae = comfy.sd.load_checkpoint_guess_config(checkpoint)[:3]
    assert type(model.model.model_config).__name__ == "SD15"
    assert vae is not None
    for name, unet_keys, text_keys in (("mara_voss_sd15", 192, 72), ("ip-adapter-faceid_sd15_lora", 128, 0)):
        lora = comfy.utils.load_torch_file(str(tmp_path / f"loras/{name}.safetensors"))
        patched, patched_clip = comfy.sd.load_lora_for_models(model, clip, lora, 1.0, 1.0)
        assert (len(patched.patches), len(patched_clip.patcher.patches)) == (unet_keys, text_keys)
    assert not [record for record in caplog.records if "missing" in record.message.lower()]
