"""Is this state dict a whole FaceID adapter? Exact keys, exact shapes, finite numbers, or one clear sentence.

Shapes are checked before anything is computed, and every free dimension has an upper bound, so a hostile
file cannot make this package allocate more than an adapter needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .errors import AdapterFamilyError, AdapterFormatError
from .layout import CONTEXT_DIM, cross_attentions, family_of_context
from .projection import EMBEDDING_DIM, PROJECTIONS, Projection, Shapes, State

MAX_TOKENS = 64  # per face; 16 is the most that was published
MAX_HIDDEN = 5120  # width of a cross-attention; 1280 is the most that was published
MAX_RANK = 1024  # of the LoRA inside; 128 was published
LORA_PARTS = ("to_q", "to_k", "to_v", "to_out")

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_KOLORS_DIM = 4096
_SHOWN = 80  # characters of a foreign key that an error repeats


def sections(tensors: Mapping[str, Any], name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The two state dicts of an adapter, "image_proj" and "ip_adapter", from a nested or a flat table."""
    found: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in _flat(tensors).items():
        section, _, rest = key.partition(".")
        if section == "adapter_modules":
            raise _kolors(name, "it holds adapter_modules")
        if section not in found or not rest:
            raise _not_faceid(name, f"it holds the key {_short(key)}")
        found[section][rest] = _plain(value, key, name)
    for section, state in found.items():
        if not state:
            raise _not_faceid(name, f"it has no {section} section")
    return found["image_proj"], found["ip_adapter"]


def find_projection(state: State, name: str) -> tuple[Projection, int, int]:
    """(kind of projection, context_dim, tokens per face) of a state dict that fits the kind exactly."""
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    _refuse_other_projections(shapes, name)
    if "latents" in shapes:
        kind, context_dim, tokens = _resampler(shapes, name)
    else:
        kind, context_dim, tokens = _mlp_or_plus(shapes, name)
    if not 1 <= tokens <= MAX_TOKENS:
        raise AdapterFormatError(f"{name} makes {tokens} tokens per face; expected 1 to {MAX_TOKENS}.")
    _match(shapes, kind.shapes(context_dim, tokens), "image_proj", name)
    return kind, context_dim, tokens


def check_layers(layers: State, family: str, name: str) -> None:
    """to_k_ip and to_v_ip of every cross-attention of the family, and the LoRA for all layers or for none."""
    shapes = {key: tuple(value.shape) for key, value in layers.items()}
    ctx, places = CONTEXT_DIM[family], cross_attentions(family)
    hidden = [_first_dim(shapes, f"{place.adapter_key}.to_k_ip.weight", MAX_HIDDEN, name) for place in places]
    expected: Shapes = {}
    for place, width in zip(places, hidden, strict=True):
        expected |= {f"{place.adapter_key}.to_{x}_ip.weight": (width, ctx) for x in "kv"}
    if any("_lora." in key for key in shapes):
        rank = _first_dim(shapes, "0.to_q_lora.down.weight", MAX_RANK, name)
        expected |= _lora_shapes(hidden, ctx, rank)
    _match(shapes, expected, "ip_adapter", name)


def check_finite(state: State, name: str) -> None:
    """Refuse NaN and infinite weights: a softmax can swallow them and render a wrong face without a word."""
    for key, value in state.items():
        if not bool(torch.isfinite(value).all()):
            raise AdapterFormatError(f"{name}: {key} holds NaN or infinite numbers. Get the file again.")


def _flat(tensors: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tensors.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{inner}": v for inner, v in value.items()})
        else:
            flat[str(key)] = value
    return flat


def _plain(value: Any, key: str, name: str) -> Tensor:
    if isinstance(value, Tensor):
        if value.dtype in _DTYPES and value.layout == torch.strided and value.device.type == "cpu":
            return value.detach()
        what = f"{value.dtype}, {value.layout}, on {value.device}"
    else:
        what = type(value).__name__
    raise AdapterFormatError(f"{name}: {_short(key)} is no plain float tensor ({what}). Get the file again.")


def _refuse_other_projections(shapes: Shapes, name: str) -> None:
    takes_faces = shapes.get("proj_in.weight", ())[1:] == (EMBEDDING_DIM,)
    if {"proj.weight", "proj.3.weight"} & shapes.keys() or ("latents" in shapes and not takes_faces):
        raise _not_faceid(name, "it is a plain IP-Adapter, which takes images and no face embedding")


def _mlp_or_plus(shapes: Shapes, name: str) -> tuple[Projection, int, int]:
    norm, last = shapes.get("norm.weight", ()), shapes.get("proj.2.weight", ())
    if len(norm) != 1 or len(last) != 2 or norm[0] == 0:
        raise _not_faceid(name, "its image_proj has no proj.2 and norm of a FaceID projection")
    if norm[0] == _KOLORS_DIM:
        raise _kolors(name, f"its tokens are {_KOLORS_DIM} wide")
    family_of_context(norm[0])
    kind = PROJECTIONS["plus" if any(key.startswith("perceiver_resampler.") for key in shapes) else "mlp"]
    return kind, norm[0], last[0] // norm[0]


def _resampler(shapes: Shapes, name: str) -> tuple[Projection, int, int]:
    latents, out = shapes["latents"], shapes.get("norm_out.weight", ())
    if len(latents) != 3 or len(out) != 1:
        raise _not_faceid(name, "its image_proj has no latents and norm_out of a FaceID resampler")
    if family_of_context(out[0]) != "sdxl":
        raise AdapterFamilyError(
            f"{name} looks like FaceID Portrait unnorm for SD 1.5, which was never published. Use "
            "ip-adapter-faceid-portrait-v11_sd15.bin, or Portrait unnorm with SDXL."
        )
    return PROJECTIONS["resampler"], out[0], latents[1]


def _first_dim(shapes: Shapes, key: str, most: int, name: str) -> int:
    """First dimension of a matrix, 0 when it is missing (the comparison of keys reports that)."""
    shape = shapes.get(key, ())
    if len(shape) != 2:
        return 0
    if not 1 <= shape[0] <= most:
        raise AdapterFormatError(f"{name}: {key} has {shape[0]} rows; expected 1 to {most}.")
    return shape[0]


def _lora_shapes(hidden: list[int], ctx: int, rank: int) -> Shapes:
    expected: Shapes = {}
    for n in range(2 * len(hidden)):  # even: self-attention, odd: cross-attention
        width = hidden[n // 2]
        for part in LORA_PARTS:
            source = ctx if n % 2 and part in ("to_k", "to_v") else width
            expected[f"{n}.{part}_lora.down.weight"] = (rank, source)
            expected[f"{n}.{part}_lora.up.weight"] = (width, rank)
    return expected


def _match(found: Shapes, expected: Shapes, section: str, name: str) -> None:
    missing = [key for key in expected if key not in found]
    if missing:
        raise AdapterFormatError(
            f"{name} lacks {len(missing)} of {len(expected)} tensors, first {section}.{missing[0]}. "
            "The file is incomplete or for another model; get it again."
        )
    for key, shape in found.items():
        if key not in expected:
            raise AdapterFormatError(
                f"{name} holds the unknown tensor {section}.{_short(key)}, so it is no FaceID adapter for "
                "SD 1.5 or SDXL as published. Get the published file."
            )
        if shape != expected[key]:
            raise AdapterFormatError(
                f"{name}: {section}.{key} has shape {list(shape)}, expected {list(expected[key])}. "
                "The file is for another model or damaged; get it again."
            )


def _kolors(name: str, why: str) -> AdapterFamilyError:
    return AdapterFamilyError(
        f"{name} is an adapter for Kolors ({why}), a model that ComfyUI does not run by itself. Use one for SD 1.5 "
        "or SDXL."
    )


def _not_faceid(name: str, why: str) -> AdapterFormatError:
    return AdapterFormatError(
        f"{name} is not a FaceID adapter: {why}. Use a file such as ip-adapter-faceid-plusv2_sd15.bin."
    )


def _short(key: str) -> str:
    return repr(key if len(key) <= _SHOWN else key[: _SHOWN - 3] + "...")
