"""What a LoRA file says about itself, from its header alone.

A `.safetensors` file starts with the length of a JSON header (uint64, little endian) and the header;
no tensor is read. Key names follow kohya-ss/sd-scripts.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import LoraError
from .profile import LoraVersion, Profile

MAX_HEADER = 16 * 1024 * 1024  # kohya writes tag tables of some MB; 100 MB is no LoRA


@dataclass(frozen=True)
class LoraInfo:
    """One LoRA file."""

    name: str
    family: str | None  # base family, None when the keys do not tell
    metadata: dict[str, str] = field(default_factory=dict)  # kohya's ss_* entries


def read_info(path: Path) -> LoraInfo:
    """Header facts of a LoRA. LoraError when it is missing, truncated, or no safetensors file."""
    if path.suffix.lower() != ".safetensors":
        return LoraInfo(path.name, None)
    header, size = _header(path)
    shapes = {k: v.get("shape", []) for k, v in header.items() if k != "__metadata__" and isinstance(v, dict)}
    ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__" and _has_offsets(v)]
    if not ends or max(ends) > size:
        raise LoraError(f"{path.name} is cut short or holds no tensors: download or train it again.")
    metadata = header.get("__metadata__", {})
    texts = {str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}
    return LoraInfo(path.name, _family(shapes), texts)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """(header, bytes of tensor data that follow it)."""
    try:
        with open(path, "rb") as f:
            total = path.stat().st_size
            (length,) = struct.unpack("<Q", f.read(8))
            if length > min(MAX_HEADER, total - 8):
                raise LoraError(f"{path.name} is no LoRA: its header claims {length:,} bytes. Download it again.")
            header = json.loads(f.read(length))
    except OSError as error:
        raise LoraError(f"{path.name} cannot be read ({error.strerror}): check {path.parent}.") from error
    except (struct.error, ValueError, RecursionError, UnicodeDecodeError) as error:
        raise LoraError(f"{path.name} is no safetensors file: download it again.") from error
    if not isinstance(header, dict):
        raise LoraError(f"{path.name} is no safetensors file: download it again.")
    return header, total - 8 - length


def _has_offsets(value: Any) -> bool:
    offsets = value.get("data_offsets") if isinstance(value, dict) else None
    return isinstance(offsets, list) and len(offsets) == 2 and all(isinstance(o, int) for o in offsets)


def _family(shapes: dict[str, Any]) -> str | None:
    """The base family, from the width of the text that a cross-attention's keys are made of.

    768: CLIP-L, SD 1.5. 2048: CLIP-L + CLIP-G, SDXL. Flux and its kin have no cross-attention but
    double blocks.
    """
    if any("double_blocks" in k or "single_blocks" in k or "single_transformer_blocks" in k for k in shapes):
        return "flux"
    for key, shape in shapes.items():
        if "attn2" in key and "to_k" in key and (".lora_down." in key or ".lora_A." in key) and isinstance(shape, list):
            width = shape[1] if len(shape) > 1 else 0
            return {768: "sd15", 2048: "sdxl"}.get(width) if isinstance(width, int) else None
    return "sdxl" if any(k.startswith("lora_te2_") for k in shapes) else None


def check_family(path: Path, family: str) -> LoraInfo:
    """`read_info`, refused when the file was made for another base family than `family`."""
    info = read_info(path)
    if info.family is not None and family in ("sd15", "sdxl", "flux") and info.family != family:
        raise LoraError(
            f"{path.name} is a LoRA for {info.family}, but the model is {family}: "
            f"choose one trained on {family}, or another checkpoint."
        )
    return info


def checkpoint_family(path: Path) -> str | None:
    """The base family of the UNet inside a `.safetensors` checkpoint: sd15, sdxl, or None for anything else."""
    if path.suffix.lower() != ".safetensors":
        return None
    try:
        header, _ = _header(path)
    except LoraError:
        return None
    for key, value in header.items():
        if key.startswith("model.diffusion_model.input_blocks.") and key.endswith("attn2.to_k.weight"):
            shape = value.get("shape", []) if isinstance(value, dict) else []
            return {768: "sd15", 2048: "sdxl"}.get(shape[1] if len(shape) == 2 else 0)
    return None


def lora_base(path: Path, family: str | None = None) -> str:
    """The base family of a LoRA: `family` where the user says it, else what the file tells. LoraError for neither."""
    told = read_info(path).family
    if family is not None and told in ("sd15", "sdxl") and told != family:
        raise LoraError(f"{path.name} is a LoRA for {told}, not for {family}: choose {told}, or another file.")
    if family is None and told is None:
        raise LoraError(f"{path.name} does not tell which base model it is for: say it, for example sd15 or sdxl.")
    return family or str(told)


def attach(profile: Profile, path: Path, listed: str, family: str | None = None) -> Profile:
    """The profile with this LoRA as its newest, active version; one that is listed already is made active.

    `listed` is the file's name in models/loras; `family` as in `lora_base`.
    """
    info, base = read_info(path), lora_base(path, family)
    settings = profile.settings(base)
    others = [v.model_copy(update={"active": False}) for v in settings.loras if v.file != listed]
    same = next((v for v in settings.loras if v.file == listed), None)
    number = max((v.version for v in settings.loras), default=0) + 1
    trained_on = info.metadata.get("ss_sd_model_name", "")[:200].replace("\n", " ")
    new = same or LoraVersion(file=listed, version=number, trained_on=trained_on)
    loras = tuple(sorted([*others, new.model_copy(update={"active": True})], key=lambda v: v.version))
    return profile.model_copy(update={"base": {**profile.base, base: settings.model_copy(update={"loras": loras})}})
