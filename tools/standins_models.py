"""Small random stand-ins for models without FaceID: Flux.2 and Wan 2.1, with text encoder, VAEs and LoRAs.

ComfyUI reads the width of a transformer from its file, so these have one attention head and two blocks. Its classes
for the real text encoders (Qwen3 4B, UMT5-XXL) have a fixed size of billions of numbers; the stand-in is a T5-base,
which CLIPLoader recognises by its keys whatever type the graph names. The VAEs are the tiny autoencoders that
ComfyUI itself accepts in a VAE's place. The same call writes the same bytes again.

    python tools/standins_models.py --out MODELS_DIR [--seed 7] [--character mara_voss]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from make_standins import NOTE, POOL, RANK, Spec, StateDict, layers, packed, pickled, safetensors_bytes, weight, write

TEXT = 768  # width of T5-base
WIDTH = 128  # of the transformers: one head
BLOCKS = 2
TIME = 256  # numbers that a time step is written as
FLUX2_LATENT, WAN_LATENT = 128, 16  # channels
TEXT_ENCODER = "text_encoders/standin_t5_base.bin"
FLUX2, FLUX2_VAE = "diffusion_models/standin_flux2.safetensors", "vae_approx/taef2_{}.safetensors"
WAN, WAN_VAE = "diffusion_models/standin_wan.safetensors", "vae/standin_wan_vae.ckpt"


def t5_base() -> Iterator[Spec]:
    yield Spec("shared.weight", (32128, TEXT), 1.0)
    yield Spec("encoder.final_layer_norm.weight", (TEXT,), 0.05, 1.0)
    yield Spec("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (32, 12), 0.3)
    for block in (f"encoder.block.{index}" for index in range(12)):
        for name, gain in (("q", 0.125), ("k", 1.0), ("v", 1.0), ("o", 1.0)):  # T5 does not scale its dot products
            yield weight(f"{block}.layer.0.SelfAttention.{name}", TEXT, TEXT, gain=gain)
        yield weight(f"{block}.layer.1.DenseReluDense.wi", 3072, TEXT)
        yield weight(f"{block}.layer.1.DenseReluDense.wo", TEXT, 3072)
        yield from (Spec(f"{block}.layer.{side}.layer_norm.weight", (TEXT,), 0.05, 1.0) for side in (0, 1))


def flux2_matrices() -> Iterator[tuple[str, int, int]]:
    """(name, out, in) of each matrix of a block; none has a bias. The feed-forward is gated, three times as wide."""
    for block in (f"double_blocks.{index}.{side}" for index in range(BLOCKS) for side in ("img", "txt")):
        yield from ((f"{block}_attn.qkv", 3 * WIDTH, WIDTH), (f"{block}_attn.proj", WIDTH, WIDTH))
        yield from ((f"{block}_mlp.0", 6 * WIDTH, WIDTH), (f"{block}_mlp.2", WIDTH, 3 * WIDTH))
    for block in (f"single_blocks.{index}" for index in range(BLOCKS)):
        yield from ((f"{block}.linear1", 9 * WIDTH, WIDTH), (f"{block}.linear2", WIDTH, 4 * WIDTH))


def flux2() -> Iterator[Spec]:
    """Flux.2 Klein: without guidance embedding, modulation shared by all blocks."""
    for name, out, inp in flux2_matrices():
        yield weight(name, out, inp)
    norms = [f"double_blocks.{index}.{side}_attn.norm" for index in range(BLOCKS) for side in ("img", "txt")]
    for norm in (*norms, *(f"single_blocks.{index}.norm" for index in range(BLOCKS))):
        yield from (Spec(f"{norm}.{name}_norm.weight", (WIDTH,), 0.0, 1.0) for name in ("query", "key"))
    for side in ("img", "txt"):
        yield weight(f"double_stream_modulation_{side}.lin", 6 * WIDTH, WIDTH)
    yield weight("single_stream_modulation.lin", 3 * WIDTH, WIDTH)
    yield from (weight("img_in", WIDTH, FLUX2_LATENT), weight("txt_in", WIDTH, TEXT))
    yield from (weight("time_in.in_layer", WIDTH, TIME), weight("time_in.out_layer", WIDTH, WIDTH))
    yield from (
        weight("final_layer.linear", FLUX2_LATENT, WIDTH),
        weight("final_layer.adaLN_modulation.1", 2 * WIDTH, WIDTH),
    )


def wan_matrices() -> Iterator[tuple[str, int, int]]:
    for block in (f"blocks.{index}" for index in range(BLOCKS)):
        for attention in ("self_attn", "cross_attn"):
            yield from ((f"{block}.{attention}.{name}", WIDTH, WIDTH) for name in "qkvo")
        yield from ((f"{block}.ffn.0", 2 * WIDTH, WIDTH), (f"{block}.ffn.2", WIDTH, 2 * WIDTH))


def wan() -> Iterator[Spec]:
    """Wan 2.1, text to video."""
    for name, out, inp in wan_matrices():
        yield from layers("", (name, out, inp))
    for block in (f"blocks.{index}" for index in range(BLOCKS)):
        yield from layers(block, ("norm3", WIDTH))
        yield Spec(f"{block}.modulation", (1, 6, WIDTH), 0.1)
        for attention in ("self_attn", "cross_attn"):
            yield from (Spec(f"{block}.{attention}.norm_{name}.weight", (WIDTH,), 0.0, 1.0) for name in "qk")
    yield from (
        Spec("patch_embedding.weight", (WIDTH, WAN_LATENT, 1, 2, 2), 0.125),
        Spec("patch_embedding.bias", (WIDTH,), 0.02),
    )
    yield from layers("", ("text_embedding.0", WIDTH, TEXT), ("text_embedding.2", WIDTH, WIDTH))
    yield from layers("", ("time_embedding.0", WIDTH, TIME), ("time_embedding.2", WIDTH, WIDTH))
    yield from layers("", ("time_projection.1", 6 * WIDTH, WIDTH), ("head.head", 4 * WAN_LATENT, WIDTH))
    yield Spec("head.modulation", (1, 2, WIDTH), 0.1)


def lora(matrices: Iterable[tuple[str, int, int]]) -> Iterator[Spec]:
    """As ai-toolkit and musubi-tuner write it for ComfyUI; no alpha: scale 1."""
    for name, out, inp in matrices:
        yield Spec(f"diffusion_model.{name}.lora_A.weight", (RANK, inp), 1 / RANK)
        yield Spec(f"diffusion_model.{name}.lora_B.weight", (out, RANK), 0.3 * inp**-0.5)


def taef2(side: str) -> Iterator[Spec]:
    """The tiny autoencoder of Flux.2: 32 channels at an eighth of the size, folded by ComfyUI to 128 at a 16th."""
    plain, grouped, resizes, ends = {
        "encoder": ((1, 3, 4, 5, 7, 8, 9), (11, 12, 13), (2, 6, 10), ((0, 64, 3), (14, 32, 64))),
        "decoder": ((8, 9, 10, 13, 14, 15, 18), (3, 4, 5), (7, 12, 17), ((1, 64, 32), (19, 3, 64))),
    }[side]
    for block in sorted((*plain, *grouped)):
        yield from layers(str(block), *((f"conv.{layer}", 64, 64, 3, 0.8) for layer in (0, 2, 4)))
    for block in grouped:
        yield from (weight(f"{block}.pool.0", 256, 64, 1), weight(f"{block}.pool.3", 64, 256, 1, 0.5))
        yield from layers(str(block), ("pool.1", 256))
    yield from (weight(f"{resize}", 64, 64, 3) for resize in resizes)
    for index, out, inp in ends:
        yield weight(str(index), out, inp, 3, 2.0 if out == 3 else 0.5)
        yield Spec(f"{index}.bias", (out,), 0.0, 0.5 if out == 3 else 0.0)  # mid-grey pictures


def memory_blocks(root: str, indices: Iterable[int], width: int) -> Iterator[Spec]:
    for index in indices:
        rows = [(f"{index}.conv.0", width, 2 * width, 3, 0.8)]
        yield from layers(root, *rows, *((f"{index}.conv.{layer}", width, width, 3, 0.8) for layer in (2, 4)))


def taehv() -> Iterator[Spec]:
    """The tiny autoencoder of Wan 2.1: 16 channels at an eighth of the size and a quarter of the frames."""
    yield from layers("encoder", ("0", 64, 3, 3), ("17", WAN_LATENT, 64, 3))
    for first, stride in ((2, 2), (7, 2), (12, 1)):
        yield weight(f"encoder.{first}.conv", 64, 64 * stride, 1)
        yield weight(f"encoder.{first + 1}", 64, 64, 3)
        yield from memory_blocks("encoder", range(first + 2, first + 5), 64)
    yield from layers("decoder", ("1", 256, WAN_LATENT, 3))
    for first, width, after, grow in ((3, 256, 128, 1), (9, 128, 64, 2), (15, 64, 64, 2)):
        yield from memory_blocks("decoder", range(first, first + 3), width)
        yield from (
            weight(f"decoder.{first + 4}.conv", width * grow, width, 1),
            weight(f"decoder.{first + 5}", after, width, 3),
        )
    yield from (weight("decoder.22", 3, 64, 3, 2.0), Spec("decoder.22.bias", (3,), 0.0, 0.5))


def in_float32(weights: StateDict) -> StateDict:
    """The same numbers, still sharing their pools: by float16 ComfyUI would take this VAE for HunyuanVideo's."""
    pools: dict[int, torch.Tensor] = {}
    for tensor in weights.values():
        storage = tensor.untyped_storage()
        if storage.nbytes() == 2 * POOL and storage.data_ptr() not in pools:
            pools[storage.data_ptr()] = tensor.as_strided((POOL,), (1,), 0).float()
    found = {key: pools.get(tensor.untyped_storage().data_ptr()) for key, tensor in weights.items()}
    return {
        key: tensor.float()
        if (shared := found[key]) is None
        else shared.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        for key, tensor in weights.items()
    }


def _safe(specs: Iterable[Spec], seed: int, name: str, **metadata: str) -> bytes:
    weights = {key.lstrip("."): tensor for key, tensor in packed(specs, seed, name).items()}
    return safetensors_bytes(weights, {"note": NOTE, **metadata})


def make(out: Path, seed: int = 0, character: str = "mara_voss") -> list[Path]:
    """Write the stand-ins into the models folder `out`."""
    config = json.dumps({"transformer": {"text_dim": TEXT}})  # where ComfyUI looks for what a Wan's keys do not tell
    content = {
        TEXT_ENCODER: pickled(packed(t5_base(), seed, TEXT_ENCODER)),
        FLUX2: _safe(flux2(), seed, FLUX2),
        WAN: _safe(wan(), seed, WAN, config=config),
        WAN_VAE: pickled(in_float32(packed(taehv(), seed, WAN_VAE))),
    }
    for side in ("encoder", "decoder"):
        content[FLUX2_VAE.format(side)] = _safe(taef2(side), seed, FLUX2_VAE.format(side))
    for family, matrices in (("flux2", flux2_matrices()), ("wan", wan_matrices())):
        name = f"loras/{character}_{family}.safetensors"
        content[name] = _safe(lora(matrices), seed, name)
    for name, data in content.items():
        write(out / name, data)
    return [out / name for name in content]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a ComfyUI models folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--character", default="mara_voss", help="name of the LoRAs: %(default)s")
    args = parser.parse_args()
    for path in make(args.out, args.seed, args.character):
        print(f"{path.stat().st_size / 1e6:8.1f} MB  {path}")


if __name__ == "__main__":
    main()
