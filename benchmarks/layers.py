"""UNets of the true shape, and their patched cross-attentions called alone, without the rest of the UNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from support import package, real_widths
from torch import Tensor

PIXELS = {"sd15": 512, "sdxl": 1024}  # what each family was trained for
CONTEXT = {"sd15": 768, "sdxl": 2048}
_CHANNELS = 320
_DOWN = {  # block -> from this id on, the latent has been halved so often
    "sd15": {"input": {1: 0, 4: 1, 7: 2}, "middle": {0: 3}, "output": {3: 2, 6: 1, 9: 0}},
    "sdxl": {"input": {4: 1, 7: 2}, "middle": {0: 2}, "output": {0: 2, 3: 1}},
}


def unet(family: str, device: str, dtype: torch.dtype, channels: int = _CHANNELS) -> Any:
    """A ModelPatcher around ComfyUI's UNet with the published layout; device "meta" holds no numbers at all."""
    import comfy.model_patcher
    import comfy.supported_models
    import comfy_unet

    config = {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": channels,
        "use_spatial_transformer": True,
        "use_checkpoint": False,
        "legacy": False,
        "context_dim": CONTEXT[family],
        "dtype": dtype,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
        **comfy_unet._CONFIG[family],
    }
    if family == "sdxl":
        config["num_head_channels"] = 64 if channels == _CHANNELS else 32
    kind = {"sd15": comfy.supported_models.SD15, "sdxl": comfy.supported_models.SDXL}[family]
    supported = kind(config)
    supported.unet_config.update(config)
    supported.set_inference_dtype(dtype, None)
    model = supported.get_model({}, "", device=torch.device(device))
    if device != "meta":
        _fill(model.diffusion_model)
        model.to(device)
    where = torch.device("cpu" if device == "meta" else device)
    return comfy.model_patcher.ModelPatcher(model, where, where)


@torch.no_grad()
def _fill(module: torch.nn.Module) -> None:
    torch.manual_seed(0)
    for name, weight in module.named_parameters():
        if weight.ndim > 1:
            weight.normal_(0.0, weight[0].numel() ** -0.5)
        else:
            weight.normal_(1.0 if name.endswith("weight") else 0.0, 0.05)


class UNetCall:
    """One call of the UNet with cond and uncond in a batch, as the sampler makes it."""

    def __init__(self, family: str, pixels: int, device: str):
        generator = torch.Generator().manual_seed(7)
        self.x = torch.randn(2, 4, pixels // 8, pixels // 8, generator=generator).to(device)
        self.context = torch.randn(2, 77, CONTEXT[family], generator=generator).to(device)
        self.extra = {"y": torch.randn(2, 2816, generator=generator).to(device)} if family == "sdxl" else {}
        self.sigma = torch.full((2,), 2.0, device=device)

    def run(self, patcher: Any) -> Tensor:
        options = options_of(patcher, self.sigma)
        with torch.no_grad():
            return patcher.model.apply_model(
                self.x, self.sigma, c_crossattn=self.context, transformer_options=options, **self.extra
            )


def options_of(patcher: Any, sigma: Tensor) -> dict[str, Any]:
    """transformer_options as the sampler gives them to the model."""
    import comfy.patcher_extension as extension

    options = extension.copy_nested_dicts(patcher.model_options.get("transformer_options", {}))
    options["wrappers"] = extension.copy_nested_dicts(patcher.wrappers)
    return {**options, "sigmas": sigma, "cond_or_uncond": [1, 0]}


def halved(family: str, place: Any) -> int:
    """How often the latent was halved on its way to this cross-attention."""
    steps = _DOWN[family][place.block]
    return steps[max(i for i in steps if i <= place.id)]


class AttentionAlone:
    """Every cross-attention of one step on made-up queries and text keys: patched, or the plain text attention."""

    def __init__(self, family: str, pixels: int, device: str, dtype: torch.dtype):
        from comfy.ldm.modules.attention import optimized_attention

        self.latent, self.plain = pixels // 8, optimized_attention
        self.sigma = torch.full((2,), 2.0, device=device)
        self.x = torch.zeros(2, 4, self.latent, self.latent, device=device)
        self.work = []
        for place, width in zip(package("faceid").cross_attentions(family), real_widths(family), strict=True):
            side = -(-self.latent // 2 ** halved(family, place))
            shapes = ((2, side * side, width), (2, 77, width), (2, 77, width))
            q, k, v = (torch.randn(shape, device=device).to(dtype) for shape in shapes)
            self.work.append((place, side, 8 if family == "sd15" else width // 64, q, k, v))

    def run(self, patcher: Any) -> None:
        """With the wrappers that the model has around its UNet."""
        import comfy.patcher_extension as extension

        options = options_of(patcher, self.sigma)
        kind = extension.WrappersMP.APPLY_MODEL
        wrappers = extension.get_all_wrappers(kind, options)
        executor = extension.WrapperExecutor.new_class_executor(self._layers, patcher.model, wrappers)
        with torch.no_grad():
            executor.execute(self.x, self.sigma, None, None, None, options)

    def _layers(self, x: Tensor, t: Tensor, c_concat: Any, c_crossattn: Any, control: Any, options: dict) -> None:
        patches = options.get("patches_replace", {}).get("attn2", {})
        for place, side, heads, q, k, v in self.work:
            block = (place.block, place.id)
            patch: Callable[..., Tensor] | None = patches.get(place.key, patches.get(block))
            extra = {
                **options,
                "n_heads": heads,
                "dim_head": q.shape[-1] // heads,
                "attn_precision": None,
                "block": block,
                "block_index": place.depth,
                "transformer_index": place.transformer,
                "original_shape": list(x.shape),
                "activations_shape": [2, q.shape[-1], side, side],
            }
            if patch is None:
                self.plain(q, k, v, heads, attn_precision=None, transformer_options=extra)
            else:
                patch(q, k, v, extra)
