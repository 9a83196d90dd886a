"""LoRA files for tests, named and shaped as trainers write them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

KOHYA = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
CORE = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k"
WIDTH = {"sd15": 768, "sdxl": 2048}


def weights(family: str = "sd15", seed: int = 1, rank: int = 4, stem: str = KOHYA) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        f"{stem}.lora_down.weight": rng.standard_normal((rank, WIDTH[family])).astype(np.float16),
        f"{stem}.lora_up.weight": rng.standard_normal((320, rank)).astype(np.float16),
        f"{stem}.alpha": np.array(2.0, np.float16),
    }


def notes(*captions: str, folder: str = "10_adaray woman", **more: str) -> dict[str, str]:
    """Metadata as sd-scripts writes it for these captions."""
    tags: dict[str, int] = {}
    for caption in captions:
        for tag in caption.split(","):
            tags[tag.strip()] = tags.get(tag.strip(), 0) + 1
    told = {"ss_steps": "900", "ss_network_alpha": "2.0", "ss_sd_model_name": "v1-5.safetensors"}
    told["ss_tag_frequency"] = json.dumps({folder: tags} if captions else {})
    told["ss_dataset_dirs"] = json.dumps({folder: {"n_repeats": 10, "img_count": len(captions)}})
    return {**told, **more}


def lora_file(path: Path, family: str = "sd15", seed: int = 1, told: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights(family, seed), path, told)
    return path


def checkpoint_file(path: Path, family: str = "sd15") -> Path:
    """The one tensor of a checkpoint that tells its family."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    save_file({name: np.zeros((4, WIDTH[family]), np.float16)}, path)
    return path
