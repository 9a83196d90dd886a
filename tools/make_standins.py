"""Small random model files that ComfyUI's own loaders accept, so that graphs run where no real model is.

Nothing is trained or downloaded: key names, shapes and layer counts are the real ones, the numbers are noise.

- Checkpoints keep every block of SD 1.5 (16 cross-attentions) and SDXL (70), so layer numbers and patch keys
  are the real ones. In the default width "slim" each level has 320 channels, which a CPU can sample.
- `.ckpt` and `.bin` files are packed: every tensor is a strided view into a few shared pools. A loader sees
  the right keys, shapes and dtypes; on disk a ViT-H takes 3 MB. Loaded, it has its real size.
- A tensor depends only on the seed, its file and its key. The same call writes the same bytes again.
- A file that is already there and is not byte for byte the same stand-in is never touched.

    python tools/make_standins.py --out MODELS_DIR [--family sd15] [--what faceid,companion] [--seed 7]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import math
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

FAMILIES = ("sd15", "sdxl")
WHAT = ("checkpoint", "faceid", "plusv2", "companion", "character_lora", "clip_vision")
WIDTHS = ("slim", "real")
NOTE = "random weights, stand-in"
CHANNELS = 320  # of the first level; ComfyUI recognises SD 1.5 and SDXL by this number
EMBEDDING = 4 * CHANNELS  # width of the time embedding
POOL = 1 << 18  # numbers in one shared pool
RANK = 4  # of every LoRA written here; 128 in the published FaceID files
CLIP_VISION = "clip_vision/CLIP-ViT-H-14-laion2B-s32B-b79K.bin"
CLIP_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
TRANSFORMER_KEY = re.compile(
    r"model\.diffusion_model\.((\w+)\.(\d+)(?:\.1)?)\.(proj_in|proj_out|transformer_blocks\..+)\.weight"
)

StateDict = dict[str, torch.Tensor]
File = tuple[str, bytes]  # path below the models folder, content


@dataclass(frozen=True)
class Spec:
    """One tensor to make. `std` 0 means the constant `mean`."""

    key: str
    shape: tuple[int, ...]
    std: float
    mean: float = 0.0


@dataclass(frozen=True)
class Layout:
    """The shape of a diffusion UNet; the lists run from the outermost level inwards."""

    depths: tuple[int, ...]  # transformer blocks behind each residual block of a level
    middle: int  # transformer blocks in the middle
    real: tuple[int, ...]  # channels of a level in the published model, in units of CHANNELS
    context: int  # width of the text tokens
    vector: int  # width of the pooled text and size conditioning; 0 = the model takes none
    kernel: tuple[int, ...]  # of proj_in and proj_out: () = linear layers, (1,) = 1x1 convolutions

    def widths(self, width: str) -> list[int]:
        return [CHANNELS * (1 if width == "slim" else factor) for factor in self.real]


LAYOUTS = {
    "sd15": Layout((1, 1, 1, 0), 1, (1, 2, 4, 4), context=768, vector=0, kernel=(1,)),
    "sdxl": Layout((0, 2, 10), 10, (1, 2, 4), context=2048, vector=2816, kernel=()),
}


def weight(key: str, out: int, inp: int, kernel: int = 0, gain: float = 1.0) -> Spec:
    window = (kernel, kernel) if kernel else ()
    return Spec(f"{key}.weight", (out, inp, *window), gain / math.sqrt(inp * math.prod(window)))


def layers(root: str, *rows: tuple) -> Iterator[Spec]:
    """Weight and bias per row: (name, width) a norm, (name, out, in) linear, (name, out, in, kernel) a conv."""
    for name, width, *rest in rows:
        key = f"{root}.{name}"
        yield weight(key, width, *rest) if rest else Spec(f"{key}.weight", (width,), 0.05, 1.0)
        yield Spec(f"{key}.bias", (width,), 0.02)


def residual(key: str, inp: int, out: int) -> Iterator[Spec]:
    yield from layers(key, ("in_layers.0", inp), ("in_layers.2", out, inp, 3), ("emb_layers.1", out, EMBEDDING))
    yield from layers(key, ("out_layers.0", out), ("out_layers.3", out, out, 3))
    if inp != out:
        yield from layers(key, ("skip_connection", out, inp, 1))


def transformer(key: str, width: int, depth: int, layout: Layout) -> Iterator[Spec]:
    ends = [(name, width, width, *layout.kernel) for name in ("proj_in", "proj_out")]
    yield from layers(key, ("norm", width), *ends)
    for index in range(depth):
        block = f"{key}.transformer_blocks.{index}"
        for name, context in (("attn1", width), ("attn2", layout.context)):
            for projection, inp in (("to_q", width), ("to_k", context), ("to_v", context)):
                yield weight(f"{block}.{name}.{projection}", width, inp)
            yield from layers(f"{block}.{name}", ("to_out.0", width, width))
        yield from layers(f"{block}.ff.net", ("0.proj", width * 8, width), ("2", width, width * 4))
        yield from layers(block, ("norm1", width), ("norm2", width), ("norm3", width))


def unet_down(key: str, layout: Layout, widths: list[int], skips: list[int]) -> Iterator[Spec]:
    """The input blocks; leaves in `skips` the channels that each of them hands to the output blocks."""
    yield from layers(key, ("0.0", CHANNELS, 4, 3))
    skips.append(CHANNELS)
    for level, (out, depth) in enumerate(zip(widths, layout.depths, strict=True)):
        for _ in range(2):
            block = f"{key}.{len(skips)}"
            yield from residual(f"{block}.0", skips[-1], out)
            if depth:
                yield from transformer(f"{block}.1", out, depth, layout)
            skips.append(out)
        if level < len(widths) - 1:
            yield from layers(f"{key}.{len(skips)}", ("0.op", out, out, 3))
            skips.append(out)


def unet_up(key: str, layout: Layout, widths: list[int], skips: list[int]) -> Iterator[Spec]:
    inp, numbers = widths[-1], itertools.count()
    for level in reversed(range(len(widths))):
        out, depth = widths[level], layout.depths[level]
        for repeat in range(3):
            block = f"{key}.{next(numbers)}"
            yield from residual(f"{block}.0", inp + skips.pop(), out)
            inp = out
            if depth:
                yield from transformer(f"{block}.1", out, depth, layout)
            if level and repeat == 2:
                yield from layers(block, (f"{2 if depth else 1}.conv", out, out, 3))


def unet(layout: Layout, width: str) -> Iterator[Spec]:
    root, widths, skips = "model.diffusion_model", layout.widths(width), []
    inputs = {"time_embed": CHANNELS} | ({"label_emb.0": layout.vector} if layout.vector else {})
    for name, inp in inputs.items():
        yield from layers(f"{root}.{name}", ("0", EMBEDDING, inp), ("2", EMBEDDING, EMBEDDING))
    yield from unet_down(f"{root}.input_blocks", layout, widths, skips)
    yield from residual(f"{root}.middle_block.0", widths[-1], widths[-1])
    yield from transformer(f"{root}.middle_block.1", widths[-1], layout.middle, layout)
    yield from residual(f"{root}.middle_block.2", widths[-1], widths[-1])
    yield from unet_up(f"{root}.output_blocks", layout, widths, skips)
    yield from layers(f"{root}.out", ("0", CHANNELS), ("2", 4, CHANNELS, 3, 0.3))


def transformer_layers(family: str, width: str) -> list[tuple[str, str, tuple[int, ...]]]:
    """(diffusers path, checkpoint path, shape) of each matrix in a transformer, in IP-Adapter's order."""
    found = []
    for spec in unet(LAYOUTS[family], width):
        if (match := TRANSFORMER_KEY.fullmatch(spec.key)) and len(spec.shape) > 1:
            block, side, number, tail = match.groups()
            places = {  # in IP-Adapter's order: down, up, middle
                "input_blocks": "down_blocks.{}.attentions.{}".format(*divmod(int(number) - 1, 3)),
                "output_blocks": "up_blocks.{}.attentions.{}".format(*divmod(int(number), 3)),
                "middle_block": "mid_block.attentions.0",
            }
            layer = (f"{places[side]}.{tail}", f"{block}.{tail}", spec.shape)
            found.append((list(places).index(side), layer))
    return [layer for _, layer in sorted(found, key=lambda item: item[0])]


def clip_layers(key: str, count: int, width: int, hidden: int) -> Iterator[Spec]:
    rows = [(name, width, width) for name in CLIP_ATTENTION]
    rows += [("mlp.fc1", hidden, width), ("mlp.fc2", width, hidden), ("layer_norm1", width), ("layer_norm2", width)]
    for index in range(count):
        yield from layers(f"{key}.{index}", *rows)


def clip_l(key: str) -> Iterator[Spec]:
    yield Spec(f"{key}.embeddings.token_embedding.weight", (49408, 768), 0.7)
    yield Spec(f"{key}.embeddings.position_embedding.weight", (77, 768), 0.2)
    yield from clip_layers(f"{key}.encoder.layers", 12, 768, 3072)
    yield from layers(key, ("final_layer_norm", 768))


def clip_g(key: str) -> Iterator[Spec]:
    """OpenCLIP's names, as SDXL checkpoints have them."""
    yield Spec(f"{key}.token_embedding.weight", (49408, 1280), 0.7)
    yield Spec(f"{key}.positional_embedding", (77, 1280), 0.2)
    yield Spec(f"{key}.text_projection", (1280, 1280), 1280**-0.5)
    for block in (f"{key}.transformer.resblocks.{index}" for index in range(32)):
        yield Spec(f"{block}.attn.in_proj_weight", (3840, 1280), 1280**-0.5)
        yield Spec(f"{block}.attn.in_proj_bias", (3840,), 0.02)
        yield from layers(block, ("attn.out_proj", 1280, 1280), ("ln_1", 1280), ("ln_2", 1280))
        yield from layers(f"{block}.mlp", ("c_fc", 5120, 1280), ("c_proj", 1280, 5120))
    yield from layers(key, ("ln_final", 1280))


def taesd(root: str) -> Iterator[Spec]:
    """The tiny autoencoder: 2.4 M numbers instead of the 83.7 M of the usual one."""
    sides = (
        ("taesd_encoder", (0, 3), (1, 3, 4, 5, 7, 8, 9, 11, 12, 13), (2, 6, 10), (14, 4)),
        ("taesd_decoder", (1, 4), (3, 4, 5, 8, 9, 10, 13, 14, 15, 18), (7, 12, 17), (19, 3)),
    )
    for side, (first, inp), blocks, resizes, (last, out) in sides:
        key = f"{root}.{side}"
        rows = [(f"{block}.conv.{layer}", 64, 64, 3, 0.8) for block in blocks for layer in (0, 2, 4)]
        yield from layers(key, (first, 64, inp, 3), *rows)
        yield from (weight(f"{key}.{resize}", 64, 64, 3) for resize in resizes)
        yield weight(f"{key}.{last}", out, 64, 3, 0.3)
        yield Spec(f"{key}.{last}.bias", (out,), 0.0, 0.5 if out == 3 else 0.0)  # mid-grey pictures
    yield from (Spec(f"{root}.vae_scale", (), 0.0, 1.0), Spec(f"{root}.vae_shift", (), 0.0))


def vit_h() -> Iterator[Spec]:
    """All 32 layers: ComfyUI has one fixed configuration for it, missing layers would stay uninitialised."""
    embeddings = "vision_model.embeddings"
    yield Spec(f"{embeddings}.class_embedding", (1280,), 0.5)
    yield weight(f"{embeddings}.patch_embedding", 1280, 3, 14)
    yield Spec(f"{embeddings}.position_embedding.weight", (257, 1280), 0.3)
    yield from clip_layers("vision_model.encoder.layers", 32, 1280, 5120)
    yield from layers("vision_model", ("pre_layrnorm", 1280), ("post_layernorm", 1280))
    yield weight("visual_projection", 1024, 1280)


def checkpoint(family: str, width: str) -> Iterator[Spec]:
    yield from unet(LAYOUTS[family], width)
    if family == "sd15":
        yield from clip_l("cond_stage_model.transformer.text_model")
    else:
        yield from clip_l("conditioner.embedders.0.transformer.text_model")
        yield from clip_g("conditioner.embedders.1.model")
    yield from taesd("first_stage_model")


def resampler(key: str, context: int) -> Iterator[Spec]:
    """The part of FaceID Plus V2 that reads CLIP's view of the face."""
    yield from layers(key, ("proj_in", context, 1280), ("proj_out", context, context), ("norm_out", context))
    shapes = {"0.to_q": (1, 1), "0.to_kv": (2, 1), "0.to_out": (1, 1), "1.1": (4, 1), "1.3": (1, 4)}
    for layer in (f"{key}.layers.{index}" for index in range(4)):
        yield from layers(layer, ("0.norm1", context), ("0.norm2", context), ("1.0", context))
        for name, (out, inp) in shapes.items():
            yield weight(f"{layer}.{name}", out * context, inp * context)


def lora_pair(down: str, up: str, shape: tuple[int, ...]) -> Iterator[Spec]:
    out, inp, *window = shape
    yield Spec(down, (RANK, inp, *window), 1 / RANK)
    yield Spec(up, (out, RANK, *window), 0.3 * inp**-0.5)


def attention_layers(family: str, width: str) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """(key in an adapter, key in a LoRA, shape) of each attention projection; four to one processor."""
    paths = [(path, shape) for path, _, shape in transformer_layers(family, width) if ".attn" in path]
    for index, (path, shape) in enumerate(paths):
        name = path.removesuffix(".0").rpartition(".")[2]
        yield f"ip_adapter.{index // 4}.{name}", f"lora_unet_{path}".replace(".", "_"), shape


def adapter(family: str, width: str, plus: bool) -> Iterator[Spec]:
    context = LAYOUTS[family].context
    yield from layers("image_proj", ("proj.0", 1024, 512), ("proj.2", context * 4, 1024), ("norm", context))
    if plus:
        yield from resampler("image_proj.perceiver_resampler", context)
    for key, name, shape in attention_layers(family, width):
        yield from lora_pair(f"{key}_lora.down.weight", f"{key}_lora.up.weight", shape)
        if name.endswith(("_attn2_to_k", "_attn2_to_v")):
            yield weight(f"{key}_ip", *shape)


def companion_lora(weights: StateDict, family: str, width: str) -> StateDict:
    """The LoRA inside an adapter under the names of the published `*_lora.safetensors`; no alpha: scale 1."""
    renamed = {}
    for (key, name, _), side in itertools.product(attention_layers(family, width), ("down", "up")):
        renamed[f"{name}.lora_{side}.weight"] = weights[f"{key}_lora.{side}.weight"]
    return renamed


def character_lora(family: str, width: str) -> Iterator[Spec]:
    """The 264 (SD 1.5) or 794 (SDXL) layers of the UNet and of CLIP-L that kohya's networks.lora trains."""
    covered = []
    for diffusers, path, shape in transformer_layers(family, width):
        covered.append((f"lora_unet_{diffusers if family == 'sd15' else path}", shape))
    text = clip_layers(f"lora_te{'' if family == 'sd15' else '1'}_text_model_encoder_layers", 12, 768, 3072)
    covered += [(spec.key.removesuffix(".weight"), spec.shape) for spec in text if len(spec.shape) == 2]
    for path, shape in covered:
        stem = path.replace(".", "_")
        yield from lora_pair(f"{stem}.lora_down.weight", f"{stem}.lora_up.weight", shape)
        yield Spec(f"{stem}.alpha", (), 0.0, RANK / 2)


def seed_of(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=7).digest(), "little")


def pool(std: float, mean: float, seed: int) -> torch.Tensor:
    return torch.randn(POOL, generator=torch.Generator().manual_seed(seed)).mul_(std).add_(mean).half()


def packed(specs: Iterable[Spec], seed: int, name: str) -> StateDict:
    """Views with overlapping rows into one pool per standard deviation, rounded to a power of two."""
    pools: dict[tuple[float, float], torch.Tensor] = {}
    weights = {}
    for spec in specs:
        if not spec.std:
            weights[spec.key] = torch.full(spec.shape, spec.mean, dtype=torch.float16)
            continue
        kind = (2.0 ** round(math.log2(spec.std)), spec.mean)
        if kind not in pools:
            pools[kind] = pool(*kind, seed_of(seed, name, *kind))
        rows, row = spec.shape[0], math.prod(spec.shape[1:])
        step = min(row, (POOL - row) // max(1, rows - 1))  # numbers from the start of one row to the next
        start = seed_of(seed, name, spec.key) % (POOL - row - step * (rows - 1) + 1)
        inner = [math.prod(spec.shape[axis:]) for axis in range(2, len(spec.shape) + 1)]
        weights[spec.key] = pools[kind].as_strided(spec.shape, (step, *inner), start)
    return weights


def pickled(weights: StateDict | dict[str, StateDict]) -> bytes:
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


def by_section(weights: StateDict) -> dict[str, StateDict]:
    """The two dicts that an adapter's `.bin` holds."""
    sections: dict[str, StateDict] = {}
    for section, rest, tensor in ((*key.split(".", 1), tensor) for key, tensor in weights.items()):
        sections.setdefault(section, {})[rest] = tensor
    return sections


def safetensors_bytes(weights: StateDict, metadata: dict[str, str]) -> bytes:
    """Written here because the library orders metadata by hash, so its files differ from run to run."""
    header: dict[str, object] = {"__metadata__": metadata}
    blobs, end = [], 0
    for key in sorted(weights):
        blobs.append(weights[key].contiguous().numpy().tobytes())
        start, end = end, end + len(blobs[-1])
        header[key] = {"dtype": "F16", "shape": list(weights[key].shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(blobs)


def kohya_metadata(family: str, character: str) -> dict[str, str]:
    tags = {f"10_{character} woman": {f"{character} woman": 5, "portrait": 3, "smiling": 1}}
    return {
        "note": NOTE,
        "ss_base_model_version": {"sd15": "sd_v1", "sdxl": "sdxl_base_v1-0"}[family],
        "ss_network_alpha": str(RANK / 2),
        "ss_network_dim": str(RANK),
        "ss_network_module": "networks.lora",
        "ss_tag_frequency": json.dumps(tags),
    }


def family_files(family: str, what: Sequence[str], seed: int, width: str, character: str) -> Iterator[File]:
    if "checkpoint" in what:
        name = f"checkpoints/standin_{family}.ckpt"
        yield name, pickled(packed(checkpoint(family, width), seed, name))
    for kind, infix in (("faceid", ""), ("plusv2", "-plusv2")):
        stem = f"ip-adapter-faceid{infix}_{family}"
        weights = packed(adapter(family, width, plus=kind == "plusv2"), seed, stem)
        if kind in what:
            yield f"ipadapter/{stem}.bin", pickled(by_section(weights))
        if "companion" in what:
            lora = companion_lora(weights, family, width)
            yield f"loras/{stem}_lora.safetensors", safetensors_bytes(lora, {"note": NOTE})
    if "character_lora" in what:
        name = f"loras/{character}_{family}.safetensors"
        weights = packed(character_lora(family, width), seed, name)
        yield name, safetensors_bytes(weights, kohya_metadata(family, character))


def write(path: Path, content: bytes) -> None:
    if path.exists():
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return
        raise FileExistsError(f"{path} is another file and is kept; move it, or choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.standin.txt").write_text(f"{path.name}: {NOTE}\n", encoding="utf-8")
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def make(
    out: Path,
    family: str = "all",
    seed: int = 0,
    what: Sequence[str] = WHAT,
    width: str = "slim",  # "real" has the published channel counts: 3.4 GB (sd15) or 10 GB (sdxl) once loaded
    character: str = "mara_voss",
) -> list[Path]:
    """Write stand-ins into the models folder `out`; returns the model files, without their notes."""
    for name, known in ((family, (*FAMILIES, "all")), (width, WIDTHS), *((item, WHAT) for item in what)):
        if name not in known:
            raise ValueError(f"'{name}' is not one of {', '.join(known)}")
    written = []
    for each in FAMILIES if family == "all" else (family,):
        for name, content in family_files(each, what, seed, width, character):
            write(out / name, content)
            written.append(out / name)
    if "clip_vision" in what:
        write(out / CLIP_VISION, pickled(packed(vit_h(), seed, CLIP_VISION)))
        written.append(out / CLIP_VISION)
    return written


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--out", type=Path, required=True, help="a ComfyUI models folder")
    parser.add_argument("--family", choices=(*FAMILIES, "all"), default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--what", default=",".join(WHAT), help="comma-separated, from: %(default)s")
    parser.add_argument("--width", choices=WIDTHS, default="slim", help="channels per level: %(default)s")
    parser.add_argument("--character", default="mara_voss", help="name of the character LoRA: %(default)s")
    args = parser.parse_args()
    for path in make(args.out, args.family, args.seed, args.what.split(","), args.width, args.character):
        print(f"{path.stat().st_size / 1e6:8.1f} MB  {path}")


if __name__ == "__main__":
    main()
