"""An estimate of the GPU memory that a training with our config needs.

    training = model + LoRA (weights, gradients, AdamW in 8 bits) + activations
    drawing  = model + LoRA weights + decoder and what it holds at its widest layer
    estimate = 1.1 x the larger + 1 GB

Numbers of parameters, and bytes of activations per pixel, were counted by running one step of sd-scripts' own modules
with tensors that have a size and no memory (torch's FakeTensorMode): gradient checkpointing, scaled dot-product
attention, 16-bit weights, latents of the VAE kept. 1.1 and 1 GB stand for gaps between blocks of memory, workspaces and
CUDA itself. It was compared with no GPU; sd-scripts' docs say 8 to 10 GB for SDXL and 24 GB for Flux, as it does about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .configs.kohya import shuffles
from .plan import SetPlan
from .presets import PRESETS

_GAPS, _CUDA = 1.1, 1.0  # times; GB
_LORA_BYTES = 4 + 4 + 2  # of each parameter: weight, gradient, two moments of 8 bits


@dataclass(frozen=True)
class _Counted:
    """What one family needs."""

    model: float  # GB on the GPU while it trains
    lora: int  # parameters of a LoRA for each rank
    activations: int  # bytes for each pixel of a batch
    decoder: float  # GB
    decoding: int  # bytes for each pixel of the one picture that is drawn
    text: float = 0.0  # GB of text encoders, where what they say cannot be stored because captions are shuffled


_COUNTED: Mapping[str, _Counted] = {
    "sd15": _Counted(1.97, 589_824, 776, 0.17, 1536),  # UNet 859.5 M, text encoder 123.1 M
    "sdxl": _Counted(5.13, 2_659_840, 704, 0.34, 3072, 1.64),  # UNet 2567.5 M; the VAE in 32 bits
    "flux": _Counted(12.59, 4_786_176, 2393, 0.17, 1536),  # 11901 M, of which 5607 M are swapped out
}


@dataclass(frozen=True)
class Vram:
    """GB (10^9 bytes) of GPU memory, estimated."""

    training: float
    drawing: float  # of sample pictures

    @property
    def most(self) -> float:
        return max(self.training, self.drawing)

    def __str__(self) -> str:
        return f"about {self.most:.0f} GB of GPU memory (an estimate)"


def vram_of(plan: SetPlan) -> Vram | None:
    """The estimate for a set's own wish, None for a family that was not counted."""
    counted = _COUNTED.get(plan.family)
    if counted is None:
        return None
    pixels, rank = plan.shape.side**2, plan.wish.rank or PRESETS[plan.family].rank
    lora = counted.lora * rank / 1e9
    model = counted.model + (counted.text if shuffles(plan) else 0.0)
    training = model + lora * _LORA_BYTES + counted.activations * pixels * plan.wish.batch / 1e9
    drawing = model + lora * 4 + counted.decoder + counted.decoding * pixels / 1e9
    return Vram(round(training * _GAPS + _CUDA, 1), round(drawing * _GAPS + _CUDA, 1))
