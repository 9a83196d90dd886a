"""A small random SD 1.5 or SDXL inside the real ComfyUI: its UNetModel, its ModelPatcher, its samplers.

The block layout is the true one (16 and 70 cross-attentions); the channels are narrow.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
CONTEXT = {"sd15": 768, "sdxl": 2048}
_CONFIG = {
    "sd15": {
        "num_res_blocks": [2, 2, 2, 2],
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "transformer_depth_middle": 1,
        "channel_mult": [1, 2, 4, 4],
        "use_linear_in_transformer": False,
        "adm_in_channels": None,
        "num_heads": 8,
    },
    "sdxl": {
        "num_res_blocks": [2, 2, 2],
        "transformer_depth": [0, 0, 2, 2, 10, 10],
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
        "transformer_depth_middle": 10,
        "channel_mult": [1, 2, 4],
        "use_linear_in_transformer": True,
        "adm_in_channels": 2816,
        "num_classes": "sequential",
        "num_head_channels": 32,
    },
}
CHANNELS = 32


def find_comfyui() -> Path | None:
    """COMFYUI_PATH, then the ComfyUI that the pack sits in, then ~/comfy/ComfyUI."""
    named = os.environ.get("COMFYUI_PATH")
    places = [Path(named)] if named else [ROOT.parents[1], Path.home() / "comfy" / "ComfyUI"]
    return next((p for p in places if (p / "comfy" / "model_patcher.py").is_file()), None)


def import_comfyui() -> str:
    """Make `comfy` importable, on the CPU. Returns why that is impossible, or "" when it is done."""
    where = find_comfyui()
    if where is None:
        return "no ComfyUI found; set COMFYUI_PATH to its folder"
    if str(where) not in sys.path:
        sys.path.insert(0, str(where))
    try:
        from comfy.cli_args import args

        args.cpu = True
        import comfy.model_base
        import comfy.model_patcher
        import comfy.sample
        import comfy.samplers  # noqa: F401
    except ImportError as error:
        return f"ComfyUI in {where} cannot be imported here: {error}"
    return ""


def small_model(
    family: str, seed: int = 0, dtype: torch.dtype = torch.float32, cast_to: torch.dtype | None = None, **changes: Any
) -> Any:
    """A ModelPatcher around a random UNet of the family on the CPU: weights in `dtype`, computed in `cast_to`."""
    import comfy.model_patcher
    import comfy.supported_models

    config = {
        "use_checkpoint": False,
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": CHANNELS,
        "use_spatial_transformer": True,
        "legacy": False,
        "context_dim": CONTEXT[family],
        "dtype": dtype,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }
    kind = {"sd15": comfy.supported_models.SD15, "sdxl": comfy.supported_models.SDXL}[family]
    supported = kind({**config, **_CONFIG[family], **changes})
    supported.unet_config.update(_CONFIG[family] | changes)
    supported.set_inference_dtype(dtype, cast_to)
    model = supported.get_model({}, "", device=torch.device("cpu"))
    _fill(model.diffusion_model, seed)
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def _fill(module: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1:
                weight.copy_(noise / weight[0].numel() ** 0.5)
            else:
                weight.copy_(noise * 0.05 + (1.0 if name.endswith("weight") else 0.0))


def hidden_widths(patcher: Any, places: Any) -> tuple[int, ...]:
    """Width of each cross-attention, looked up in the UNet itself."""
    return tuple(attention(patcher, place).to_q.weight.shape[0] for place in places)


def attention(patcher: Any, place: Any) -> torch.nn.Module:
    """The UNet's own attn2 module behind a CrossAttention of the layout."""
    unet = patcher.model.diffusion_model
    block = {
        "input": lambda: unet.input_blocks[place.id],
        "output": lambda: unet.output_blocks[place.id],
        "middle": lambda: unet.middle_block,
    }[place.block]()
    return block[1].transformer_blocks[place.depth].attn2


class Call:
    """The inputs of one UNet call, the same for every model it is run on."""

    def __init__(self, family: str, chunks: int = 2, images: int = 1, size: int = 8, sigma: float = 2.0):
        generator = torch.Generator().manual_seed(7)
        batch = chunks * images
        self.x = torch.randn(batch, 4, size, size, generator=generator)
        self.context = torch.randn(batch, 77, CONTEXT[family], generator=generator)
        self.y = torch.randn(batch, 2816, generator=generator) if family == "sdxl" else None
        self.sigma = torch.full((batch,), sigma)

    def run(self, patcher: Any, cond_or_uncond: list[int] | None, **options: Any) -> Tensor:
        """The UNet's output, float32 [B, 4, size, size], through BaseModel.apply_model and its wrappers."""
        import comfy.patcher_extension as extension

        to = extension.copy_nested_dicts(patcher.model_options["transformer_options"])
        to["wrappers"] = extension.copy_nested_dicts(patcher.wrappers)
        to["sigmas"] = self.sigma
        if cond_or_uncond is not None:
            to["cond_or_uncond"] = cond_or_uncond
        to.update(options)
        extra = {} if self.y is None else {"y": self.y}
        if patcher.object_patches:  # such as another model_sampling
            patcher.patch_model()
        try:
            with torch.no_grad():
                denoised = patcher.model.apply_model(
                    self.x, self.sigma, c_crossattn=self.context, transformer_options=to, **extra
                )
        finally:
            if patcher.object_patches:
                patcher.unpatch_model()
        return (self.x - denoised) / self.sigma[0]  # the noise that the UNet predicts


def sample(patcher: Any, family: str, *, steps: int = 3, cfg: float = 5.0, size: int = 8) -> Tensor:
    """A latent from ComfyUI's own euler sampler, float32 [1, 4, size, size]."""
    import comfy.sample

    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 4, size, size, generator=generator)
    conds = []
    for _ in range(2):
        context = torch.randn(1, 77, CONTEXT[family], generator=generator)
        conds.append([[context, {"pooled_output": torch.randn(1, 1280, generator=generator)}]])
    latent = torch.zeros_like(noise)
    return comfy.sample.sample(
        patcher, noise, steps, cfg, "euler", "normal", conds[0], conds[1], latent, disable_pbar=True, seed=1
    )


def relative(a: Tensor, b: Tensor) -> float:
    """||a - b|| / ||b||"""
    return float((a.double() - b.double()).norm() / b.double().norm())
