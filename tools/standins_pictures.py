"""Small random stand-ins for what a picture passes on its way: ControlNet, geometry estimation, an upscaler.

Key names and layer counts are those of the published files where ComfyUI reads them from there; widths are the
smallest that its loaders accept. The same call writes the same bytes again.

    python tools/standins_pictures.py --out MODELS_DIR [--seed 7]
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

from make_standins import (
    CHANNELS,
    EMBEDDING,
    LAYOUTS,
    NOTE,
    Spec,
    layers,
    packed,
    pickled,
    residual,
    safetensors_bytes,
    transformer,
    unet_down,
    weight,
    write,
)

CONTROLNET = "controlnet/standin_controlnet_sd15.pth"
GEOMETRY = "geometry_estimation/standin_moge.safetensors"
UPSCALER = "upscale_models/standin_4x.pth"
HINTS = (16, 16, 32, 32, 96, 96, 256)  # channels of the layers that read the control picture
TOKENS = 37 * 37 + 1  # DINOv2's grid at 518 px and its class token
DINO, BLOCKS, FEATURES = 64, 4, 16  # DINOv2's width (64 per head) and depth, and the width of what it hands on
LEVELS = (16, 8, 8, 8, 8)  # channels of MoGe's pyramid, each level twice as large as the one before
FILTERS, GROWTH = 8, 32  # of ESRGAN; 64 and 32 in the published ones


def controlnet(width: str = "slim") -> Iterator[Spec]:
    """A ControlNet of SD 1.5: the UNet's way down, and a 1x1 convolution behind each of its blocks."""
    root, layout, skips = "control_model", LAYOUTS["sd15"], []
    widths = layout.widths(width)
    yield from layers(f"{root}.time_embed", ("0", EMBEDDING, CHANNELS), ("2", EMBEDDING, EMBEDDING))
    for index, (inp, out) in enumerate(itertools.pairwise((3, *HINTS, CHANNELS))):
        yield from layers(f"{root}.input_hint_block", (str(2 * index), out, inp, 3))
    yield from unet_down(f"{root}.input_blocks", layout, widths, skips)
    for index, channels in enumerate(skips):
        yield from layers(f"{root}.zero_convs", (f"{index}.0", channels, channels, 1))
    yield from residual(f"{root}.middle_block.0", widths[-1], widths[-1])
    yield from transformer(f"{root}.middle_block.1", widths[-1], layout.middle, layout)
    yield from residual(f"{root}.middle_block.2", widths[-1], widths[-1])
    yield from layers(root, ("middle_block_out.0", widths[-1], widths[-1], 1))


def dinov2(root: str) -> Iterator[Spec]:
    """DINOv2 under Meta's names, as MoGe's files have it."""
    yield from layers(root, ("patch_embed.proj", DINO, 3, 14), ("norm", DINO))
    yield from (Spec(f"{root}.cls_token", (1, 1, DINO), 0.5), Spec(f"{root}.pos_embed", (1, TOKENS, DINO), 0.3))
    yield Spec(f"{root}.mask_token", (1, DINO), 0.1)
    for block in (f"{root}.blocks.{index}" for index in range(BLOCKS)):
        yield from layers(block, ("norm1", DINO), ("norm2", DINO))
        yield from layers(block, ("attn.qkv", 3 * DINO, DINO), ("attn.proj", DINO, DINO))
        yield from layers(block, ("mlp.fc1", 4 * DINO, DINO), ("mlp.fc2", DINO, 4 * DINO))
        yield from (Spec(f"{block}.{name}.gamma", (DINO,), 0.0, 1.0) for name in ("ls1", "ls2"))


def pyramid(key: str, inputs: tuple[int, ...], out: int = 0) -> Iterator[Spec]:
    """MoGe's stack of convolutions: one residual block per level, and with `out` a last layer of that width."""
    for level, (inp, channels) in enumerate(zip(inputs, LEVELS, strict=True)):
        yield from layers(f"{key}.input_blocks", (str(level), channels, inp, 1))
        block = f"{key}.res_blocks.{level}.0.layers"
        yield from layers(block, ("0", channels), ("2", channels, channels, 3))
        yield from layers(block, ("3", channels), ("5", channels, channels, 3))
    for level, (before, channels) in enumerate(itertools.pairwise(LEVELS)):
        yield Spec(f"{key}.resamplers.{level}.0.weight", (before, channels, 2, 2), before**-0.5)
        yield Spec(f"{key}.resamplers.{level}.0.bias", (channels,), 0.02)
        yield from layers(f"{key}.resamplers.{level}", ("1", channels, channels, 3))
    if out:
        yield from layers(f"{key}.output_blocks", (str(len(LEVELS) - 1), out, LEVELS[-1], 1))


def moge() -> Iterator[Spec]:
    """MoGe 2 with normals."""
    yield from dinov2("encoder.backbone")
    for index in range(4):
        yield from layers("encoder.output_projections", (str(index), FEATURES, DINO, 1))
    yield Spec("encoder.image_mean", (1, 3, 1, 1), 0.0, 0.45)
    yield Spec("encoder.image_std", (1, 3, 1, 1), 0.0, 0.225)
    yield from pyramid("neck", (FEATURES + 2, 2, 2, 2, 2))
    for name, out in (("points_head", 3), ("mask_head", 1), ("normal_head", 3)):
        yield from pyramid(name, LEVELS, out)
    yield from layers("scale_head", ("0", DINO, DINO), ("2", 1, DINO))


def esrgan() -> Iterator[Spec]:
    """Real-ESRGAN x4 with one block instead of 23."""
    yield from layers("", ("conv_first", FILTERS, 3, 3))
    for dense in (f"body.0.rdb{index}" for index in (1, 2, 3)):
        for conv in range(1, 5):
            yield from layers(dense, (f"conv{conv}", GROWTH, FILTERS + (conv - 1) * GROWTH, 3, 0.5))
        yield from layers(dense, ("conv5", FILTERS, FILTERS + 4 * GROWTH, 3, 0.5))
    rows = [(name, FILTERS, FILTERS, 3) for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr")]
    yield from layers("", *rows)
    yield from (weight("conv_last", 3, FILTERS, 3, 0.5), Spec("conv_last.bias", (3,), 0.0, 0.5))


def make(out: Path, seed: int = 0) -> list[Path]:
    """Write the stand-ins into the models folder `out`."""
    control, geometry = packed(controlnet(), seed, CONTROLNET), packed(moge(), seed, GEOMETRY)
    upscaler = {key.lstrip("."): tensor for key, tensor in packed(esrgan(), seed, UPSCALER).items()}
    content = {
        CONTROLNET: pickled(control),
        GEOMETRY: safetensors_bytes(geometry, {"note": NOTE}),
        UPSCALER: pickled(upscaler),
    }
    for name, data in content.items():
        write(out / name, data)
    return [out / name for name in content]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a ComfyUI models folder")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for path in make(args.out, args.seed):
        print(f"{path.stat().st_size / 1e6:8.1f} MB  {path}")


if __name__ == "__main__":
    main()
