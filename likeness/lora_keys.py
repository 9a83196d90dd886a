"""What the keys of a LoRA file say: which model it is for, and which tensors belong together.

Key names as ComfyUI's comfy/weight_adapter reads them: kohya-ss/sd-scripts, diffusers, PEFT, LyCORIS, its own trainer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from .errors import LoraError, quoted

_PAIRS = (  # suffixes of the two halves of a LoRA: down [rank, inputs, ...] and up [outputs, rank, ...]
    (".lora_down.weight", ".lora_up.weight"),
    (".lora_A.weight", ".lora_B.weight"),
    (".lora_A.default.weight", ".lora_B.default.weight"),
    (".lora.down.weight", ".lora.up.weight"),
    (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    ("_lora.down.weight", "_lora.up.weight"),
    (".lora_A", ".lora_B"),
)
_LOHA = (".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b")
_LOKR = tuple(
    (*one, *other)
    for one in ((".lokr_w1",), (".lokr_w1_a", ".lokr_w1_b"))
    for other in ((".lokr_w2",), (".lokr_w2_a", ".lokr_w2_b"))
)
_GLORA = ((".a1.weight", ".a2.weight"), (".b1.weight", ".b2.weight"))
_ALONE = (".oft_blocks", ".diff", ".diff_b", ".set_weight", ".w_norm", ".b_norm")
# Suffixes of tensors that act as one product, so that nothing changes where one of them is 0.
_PRODUCTS = (*_PAIRS, _LOHA, *_LOKR, *_GLORA, *((suffix,) for suffix in _ALONE))
_SUFFIXES = tuple(sorted({s for product in _PRODUCTS for s in product}, key=len, reverse=True))
_DOWN, _UP = tuple(down for down, _ in _PAIRS), tuple(up for _, up in _PAIRS)
_WAN = re.compile(r"blocks[._]\d+[._]cross_attn[._][qkvo]\.")
_UNET = ("down_blocks", "up_blocks", "mid_block", "input_blocks", "output_blocks", "middle_block")
_DEEP = re.compile(r"[._]transformer_blocks[._]0*[1-9]")  # SD 1.5 and 2 have one block after the other nowhere
_UNET_FAMILIES = ("sd15", "sdxl", "kolors")
_STREAM = re.compile(
    r"(double|single)?_?(?:transformer_)?blocks[._](\d{1,4})[._](.+)"
)  # a block of Flux, its number, its layer
# Flux.1: 19 double and 38 single blocks, 3072 wide, MLP 4 times as wide; Chroma and HunyuanVideo are built like it.
# Flux.2: 8 and 48 blocks, 6144 wide (klein: 5 and 20, 3072 wide; 8 and 24, 4096 wide), a gated MLP 3 times as wide.
_FLUX2_DOUBLE, _FLUX1_SINGLE = 8, 40  # most blocks of a kind that the one has, and that the other or its kin has
_FLUX2_MODULES = ("to_qkv_mlp_proj", "linear_in", "linear_out")  # as diffusers names them
_FLUX1, _FLUX2 = (3072,), (3072, 4096, 6144)  # widths
_FLUX_SIZES = (  # (layer, which side of it, its size in Flux.1 and in Flux.2 as a multiple of the width)
    (re.compile(r"attn[._](qkv|to_[qkv])|linear1|_mlp[._]0"), "in", 1, 1),
    (re.compile(r"linear2"), "in", 5, 4),
    (re.compile(r"linear1"), "out", 7, 9),
    (re.compile(r"_mlp[._]0"), "out", 4, 6),
)


# ---- which model


def family_of_keys(shapes: Mapping[str, Any]) -> str | None:
    """The base family, from blocks that only one architecture has, or in a UNet from the width of the text that a
    cross-attention's keys are made of.

    768: CLIP-L, SD 1.5. 1024: OpenCLIP-H, SD 2. 2048: CLIP-L + CLIP-G, SDXL.
    """
    keys = list(shapes)
    if any("joint_blocks" in key for key in keys):
        return "sd3"
    if _is_flux(keys):
        return "flux2" if _generation(shapes) == 2 else "flux"
    if any("context_refiner" in key for key in keys):
        return "z_image"
    if any("transformer_blocks" in k and "img_mlp" in k for k in keys):
        return "qwen_image"
    if any(_WAN.search(k) for k in keys):
        return "wan"
    widths = {width for key, shape in shapes.items() if (width := _text_width(key, shape))}
    if len(widths) == 1:
        return {768: "sd15", 1024: "other", 2048: "sdxl"}.get(widths.pop())
    return "sdxl" if any(k.startswith("lora_te2_") or _is_deep(k) for k in keys) else None


_MODELS = (  # tensors that one architecture alone has, the first that fits; as comfy/model_detection tells them apart
    ("joint_blocks.0.context_block.attn.qkv.weight", "sd3"),
    ("distilled_guidance_layer.", "chroma"),
    ("txt_in.individual_token_refiner.", "hunyuan_video"),
    ("double_stream_modulation_img.lin.weight", "flux2"),
    ("double_blocks.0.img_attn.norm.", "flux"),
    ("head.modulation", "wan"),
)
_TRUNKS = ("model.diffusion_model.", "")  # what stands before the names: in a checkpoint, in a file of the model alone


def family_of_model(shapes: Mapping[str, Any]) -> str | None:
    """The base family of a checkpoint or a diffusion model; "other" is told for one that is none of the others."""
    for trunk in _TRUNKS:
        for start, family in _MODELS:
            if any(key.startswith(trunk + start) for key in shapes):
                return family
        if width := _size(shapes.get(f"{trunk}cap_embedder.1.weight"), 0):
            return "z_image" if width == 3840 else "other"  # 2304: Lumina 2, which it is built like
        if width := _size(shapes.get(f"{trunk}txt_norm.weight"), 0):
            return "qwen_image" if width == 3584 else "other"
        unet = trunk + "input_blocks."
        keys = (key for key in shapes if key.startswith(unet) and key.endswith("attn2.to_k.weight"))
        if (key := next(keys, None)) is not None:
            return {768: "sd15", 1024: "other", 2048: "sdxl"}.get(_size(shapes[key], 1))
    return None


def _size(shape: Any, axis: int) -> int:
    fits = isinstance(shape, list) and len(shape) > axis and type(shape[axis]) is int
    return shape[axis] if fits else 0


def _text_width(key: str, shape: Any) -> int:
    """Inputs of the keys of a UNet's cross-attention, 0 for any other tensor."""
    if not ("attn2" in key and "to_k" in key and _in_unet(key)):
        return 0
    if not key.endswith((*_DOWN, ".hada_w1_b", ".diff")) or not isinstance(shape, list) or len(shape) < 2:
        return 0
    return shape[1] if isinstance(shape[1], int) and not isinstance(shape[1], bool) else 0


def _in_unet(key: str) -> bool:
    return any(part in key for part in _UNET)


def _is_deep(key: str) -> bool:
    return _in_unet(key) and _DEEP.search(key) is not None


def ruled_out(shapes: Mapping[str, Any]) -> tuple[str, ...]:
    """Families that it is not for, whatever else it may be: a UNet has no joint attention of text and picture, and
    Flux.2 neither the widths nor the number of blocks of Flux.1."""
    if _is_flux(shapes) and _generation(shapes) == 1:
        return (*_UNET_FAMILIES, "flux2")
    return _UNET_FAMILIES if any("add_k_proj" in k or "add_q_proj" in k for k in shapes) else ()


def _is_flux(keys: Iterable[str]) -> bool:
    parts = ("double_blocks", "single_blocks", "single_transformer_blocks")
    return any(part in key for key in keys for part in parts)


def _generation(shapes: Mapping[str, Any]) -> int:
    """1 for Flux.1 and its kin, 2 for Flux.2, 0 where the file has only layers that both could have."""
    numbers: dict[bool, set[int]] = {True: set(), False: set()}  # of double, of single blocks
    for key, shape in shapes.items():
        if not (found := _STREAM.search(key)):
            continue
        double, number, layer = found[1] != "single", int(found[2]), found[3]
        numbers[double].add(number)
        if double and number >= _FLUX2_DOUBLE:
            return 1
        if (not double and number >= _FLUX1_SINGLE) or any(part in layer for part in _FLUX2_MODULES):
            return 2
        if told := _by_size(key, layer, shape):
            return told
    # all blocks of the smallest Flux.2, which is as wide as Flux.1, and no more
    return 2 if numbers == {True: set(range(5)), False: set(range(20))} else 0


def _by_size(key: str, layer: str, shape: Any) -> int:
    down, up = key.endswith(_DOWN), key.endswith(_UP)
    if not (down or up) or not isinstance(shape, list) or len(shape) != 2:
        return 0
    size, side = (shape[1], "in") if down else (shape[0], "out")
    for rule, where, one, two in _FLUX_SIZES:
        if where == side and rule.search(layer):
            told = (size in [one * w for w in _FLUX1], size in [two * w for w in _FLUX2])
            return {(True, False): 1, (False, True): 2}.get(told, 0)
    return 0


def rank_of(shapes: Mapping[str, Any]) -> int | None:
    """The most frequent one."""
    downs = [s[0] for k, s in shapes.items() if k.endswith((*_DOWN, ".hada_w1_b")) and isinstance(s, list) and s]
    ranks = Counter(r for r in downs if type(r) is int and 0 < r <= 65536)
    return ranks.most_common(1)[0][0] if ranks else None


# ---- what belongs together


def products(shapes: Mapping[str, Sequence[int]], name: str) -> list[tuple[str, ...]]:
    """Keys of the tensors that are multiplied with each other, for everything that the file adds to a weight.

    LoraError when there is nothing of the kind, when a part is missing, or when parts do not fit. `name` is the file's.
    """
    parts: dict[str, dict[str, str]] = {}
    for key in shapes:
        if suffix := next((s for s in _SUFFIXES if key.endswith(s)), None):
            parts.setdefault(key.removesuffix(suffix), {})[suffix] = key
    if not parts:
        raise LoraError(f"{name} is no LoRA: it holds no low-rank weights. A checkpoint or an embedding is none.")
    found = []
    for stem, by_suffix in sorted(parts.items()):
        whole = [product for product in _PRODUCTS if by_suffix.keys() >= set(product)]
        one_of_two = sum(product in whole for product in _GLORA) == 1
        if one_of_two or by_suffix.keys() - {s for product in whole for s in product}:
            raise LoraError(f"{name} is damaged: of {quoted(stem)} only a part is there. Download or train it again.")
        made = [tuple(by_suffix[s] for s in product) for product in whole]
        if not all(_fit(keys, shapes) for keys in made):
            raise LoraError(f"{name} is damaged: the halves of {quoted(stem)} do not fit. Download or train it again.")
        found += made
    return found


def _fit(keys: tuple[str, ...], shapes: Mapping[str, Sequence[int]]) -> bool:
    """Whether all hold numbers, and the ranks of matrices that are multiplied are the same."""
    return all(0 not in shapes[key] for key in keys) and all(a == b for a, b in _ranks(keys, shapes))


def _ranks(keys: tuple[str, ...], shapes: Mapping[str, Sequence[int]]) -> Iterator[tuple[object, object]]:
    for one, other in pairwise(keys):
        a, b = shapes[one], shapes[other]
        if one.endswith(_DOWN):
            yield (a[0] if a else None), (b[1] if len(b) > 1 else None)
        elif one.endswith("_a") and other.endswith("_b") and len(a) == len(b) == 2 and not _tucker(one, shapes):
            yield a[1], b[0]


def _tucker(key: str, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Whether a core tensor joins the two matrices of this one, which then lie the other way round."""
    stem, _, kind = key.rpartition(".")
    return f"{stem}.{kind.replace('_w', '_t')[:-2]}" in shapes
