"""The smallest UNet that ComfyUI takes for SD 1.5: 26 million random numbers, which a CPU trains in seconds."""

from __future__ import annotations

from pathlib import Path

import torch

CONFIG = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "channel_mult": (1,),
    "num_res_blocks": (1,), "transformer_depth": [1], "transformer_depth_output": [1, 1], "transformer_depth_middle": 1,
    "context_dim": 768, "num_heads": 8, "use_spatial_transformer": True, "legacy": False, "adm_in_channels": None,
}  # fmt: skip


def write_tiny_unet(path: Path, seed: int = 0) -> Path:
    """A diffusion model for ComfyUI's UNETLoader; it needs a ComfyUI that can be imported."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    model = UNetModel(**CONFIG, dtype=torch.float32, operations=comfy.ops.disable_weight_init)
    weights = {f"model.diffusion_model.{k}": torch.randn_like(v) * 0.02 for k, v in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    return path
