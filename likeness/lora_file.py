"""What a LoRA file is: its family, its numbers, and whether it is whole.

A `.safetensors` file starts with the length of a JSON header (uint64, little endian) and the header. `read_info` reads
that alone; `check_whole` reads every number. Key names follow kohya-ss/sd-scripts, PEFT, LyCORIS and ComfyUI's trainer.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import LoraError, quoted
from .files import open_plain
from .lora_keys import family_of_keys, family_of_model, products, rank_of, ruled_out
from .lora_words import family_told, line_of, number_of
from .profile import LoraVersion, Profile

MAX_HEADER = 16 * 1024 * 1024  # kohya writes tag tables of some MB; 100 MB is no LoRA
_PIECE = 1 << 20  # bytes read at a time
_MAX_AXES, _MAX_ALPHA = 8, 1e6
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "U8": 1, "I8": 1}
_KIN = {  # families whose LoRAs look alike by their keys; the first is what such a file is taken for
    "sdxl": ("sdxl", "kolors"),
    "flux": ("flux", "flux2", "chroma", "hunyuan_video"),
}


@dataclass(frozen=True)
class LoraInfo:
    """One LoRA file."""

    name: str
    family: str | None  # base family, None when neither keys nor notes tell
    metadata: dict[str, str] = field(default_factory=dict)  # the trainer's notes
    rank: int | None = None  # the most frequent one
    alpha: float | None = None  # it acts with alpha / rank
    never: tuple[str, ...] = ()  # families that its keys rule out
    changes: bool = True  # False: every number that it would add is 0, so it draws what the model draws without it


@dataclass(frozen=True)
class _Tensor:
    key: str
    dtype: str
    shape: tuple[int, ...]
    begin: int  # bytes, from the end of the header
    end: int


def read_info(path: Path, name: str = "") -> LoraInfo:
    """Header facts of a LoRA. LoraError when it is missing, truncated, or no safetensors file."""
    name = name or path.name
    if Path(name).suffix.lower() != ".safetensors":
        return LoraInfo(name, None)
    header, size = _header(path, name)
    shapes = {k: v.get("shape", []) for k, v in header.items() if k != "__metadata__" and isinstance(v, dict)}
    ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__" and _has_offsets(v)]
    if not ends or max(ends) > size:
        raise LoraError(f"{name} is cut short or holds no tensors: download or train it again.")
    metadata = header.get("__metadata__", {})
    texts = {str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}
    never, by_keys, told = ruled_out(shapes), family_of_keys(shapes), family_told(texts)
    # notes name a family among those that the keys allow; else the keys, which nobody wrote by hand, decide
    family = told if told is not None and told not in never and fits(by_keys, told) else by_keys
    return LoraInfo(name, family, texts, rank_of(shapes), never=never)


def fits(made_for: str | None, family: str) -> bool:
    """Whether a LoRA that was made for one family can be one for another; what is unknown can be anything."""
    return made_for is None or family in _KIN.get(made_for, (made_for,))


def _header(path: Path, name: str = "") -> tuple[dict[str, Any], int]:
    """(header, bytes of tensor data that follow it)."""
    name = name or path.name
    try:
        with _opened(path, name) as f:
            total = os.fstat(f.fileno()).st_size
            (length,) = struct.unpack("<Q", f.read(8))
            if length > min(MAX_HEADER, total - 8):
                raise LoraError(f"{name} is no LoRA: its header claims {length:,} bytes. Download it again.")
            header = json.loads(f.read(length))
    except (struct.error, ValueError, RecursionError, UnicodeDecodeError) as error:
        raise LoraError(f"{name} is no whole safetensors file: save or download it again.") from error
    if not isinstance(header, dict):
        raise LoraError(f"{name} is no whole safetensors file: save or download it again.")
    return header, total - 8 - length


def _has_offsets(value: Any) -> bool:
    offsets = value.get("data_offsets") if isinstance(value, dict) else None
    return isinstance(offsets, list) and len(offsets) == 2 and all(isinstance(o, int) for o in offsets)


# ---- the whole file


def check_whole(path: Path, name: str = "", check: Callable[[], None] = lambda: None) -> LoraInfo:
    """`read_info` of a file that was read to its end. `name` is what messages call it; `check` may raise to stop.

    LoraError when bytes are missing or left over, when it holds no low-rank weights or halves of them, or numbers that
    are not finite. Holds 1 MB at a time.
    """
    name = name or path.name
    if Path(name).suffix.lower() != ".safetensors":
        raise LoraError(
            f"{name} is no .safetensors file: other kinds can run programs when they are opened, so take that format."
        )
    info, (header, size) = read_info(path, name), _header(path, name)
    tensors = _tensors(header, size, name)
    added = products({t.key: t.shape for t in tensors}, name)
    alphas, zeros = [number_of(info.metadata, "ss_network_alpha")], set[str]()
    with _opened(path, name) as f:
        start = os.fstat(f.fileno()).st_size - size
        for tensor in tensors:
            check()
            finite, nonzero, first = _numbers(f, start, tensor)
            if not finite:
                where = quoted(tensor.key)
                raise LoraError(f"{name} holds numbers that are not finite ({where}): its training has failed.")
            if tensor.key.endswith(".alpha"):
                alphas.append(first)
            if not nonzero:
                zeros.add(tensor.key)
    alpha = next((round(a, 3) for a in alphas if a is not None and abs(a) <= _MAX_ALPHA), None)
    return replace(info, alpha=alpha, changes=any(zeros.isdisjoint(keys) for keys in added))


@contextmanager
def _opened(path: Path, name: str) -> Iterator[BinaryIO]:
    try:
        with open_plain(path) as f:
            yield f
    except OSError as error:
        raise LoraError(f"{name} cannot be read ({error.strerror}): check {path.parent}.") from error


def _tensors(header: Mapping[str, Any], size: int, name: str) -> list[_Tensor]:
    """All of them in the order of the file, which they fill without a gap."""
    broken = LoraError(
        f"{name} is damaged: its header does not describe its {size:,} bytes. Download or train it again."
    )
    found = []
    for key, value in header.items():
        if key == "__metadata__":
            continue
        shape = value.get("shape") if _has_offsets(value) else None
        if not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in shape):
            raise broken
        dtype, (begin, end) = str(value.get("dtype")), value["data_offsets"]
        if dtype not in _BYTES or end - begin != _count(shape, size) * _BYTES[dtype]:
            raise broken
        found.append(_Tensor(key, dtype, tuple(shape), begin, end))
    found.sort(key=lambda t: (t.begin, t.end))
    ends = [0, *(t.end for t in found)]
    if [t.begin for t in found] != ends[:-1]:
        raise broken
    if ends[-1] != size:
        raise LoraError(
            f"{name} is damaged: {abs(size - ends[-1]):,} bytes are {'left over' if size > ends[-1] else 'missing'}. "
            "Download or train it again."
        )
    return found


def _count(shape: list[int], most: int) -> int:
    """How many numbers a tensor of this shape has; -1 for more than `most`. Nothing larger is multiplied on the way."""
    if len(shape) > _MAX_AXES or any(n > most for n in shape):
        return -1
    count = 1
    for n in shape:
        count *= n
        if count > most:
            return -1
    return count


def _numbers(f: BinaryIO, start: int, tensor: _Tensor) -> tuple[bool, bool, float]:
    """(all finite, any is not 0, the first one); bytes of 8-bit floats count as finite."""
    finite, nonzero, first = True, False, None
    for values in _pieces(f, start, tensor):
        first = float(values[0]) if first is None else first
        finite, nonzero = finite and bool(np.isfinite(values).all()), nonzero or bool(np.any(values))
    return finite, nonzero, first or 0.0


def _pieces(f: BinaryIO, start: int, tensor: _Tensor) -> Iterator[np.ndarray[Any, Any]]:
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
    f.seek(start + tensor.begin)
    left = tensor.end - tensor.begin
    while left > 0:
        data = f.read(min(left, _PIECE))
        if len(data) < min(left, _PIECE):
            raise LoraError(
                f"{quoted(tensor.key)} ends too soon: something is writing to its file, so try again later."
            )
        left -= len(data)
        values = np.frombuffer(data, kinds.get(tensor.dtype, "u1"))
        yield (values.astype("<u4") << 16).view("<f4") if tensor.dtype == "BF16" else values


# ---- families


def check_family(path: Path, family: str) -> LoraInfo:
    """`read_info`, refused when the file was made for another base family than `family`; "other" can be any."""
    info = read_info(path)
    if family not in ("", "other") and not _can_be(info, family):
        raise LoraError(
            f"{path.name} is a LoRA for {_told(info)}, but the model is {family}: "
            f"choose one trained on {family}, or another checkpoint."
        )
    return info


def _can_be(info: LoraInfo, family: str) -> bool:
    return family not in info.never and fits(info.family, family)


def _told(info: LoraInfo) -> str:
    return info.family or "a transformer model"


def checkpoint_family(path: Path) -> str | None:
    """The base family of a `.safetensors` checkpoint or diffusion model, None where its header does not tell."""
    if path.suffix.lower() not in (".safetensors", ".sft"):
        return None
    try:
        header, _ = _header(path)
    except LoraError:
        return None
    return family_of_model({key: value.get("shape") for key, value in header.items() if isinstance(value, dict)})


def base_of(info: LoraInfo, family: str | None = None) -> str:
    """The base family of a LoRA: `family` where the user says it, else what the file tells. LoraError for neither."""
    if family is not None and not _can_be(info, family):
        raise LoraError(
            f"{info.name} is a LoRA for {_told(info)}, not for {family}: choose another family, or another file."
        )
    if family is None and info.family is None:
        raise LoraError(f"{info.name} does not tell which base model it is for: say it, for example sd15 or sdxl.")
    return family or str(info.family)


def lora_base(path: Path, family: str | None = None) -> str:
    """`base_of` a file."""
    return base_of(read_info(path), family)


def attach(profile: Profile, path: Path, listed: str, family: str | None = None) -> Profile:
    """The profile with this LoRA as its newest, active version; one that is listed already is made active.

    `listed` is the file's name in models/loras; `family` as in `lora_base`.
    """
    info, base = read_info(path), lora_base(path, family)
    settings = profile.settings(base)
    others = [v.model_copy(update={"active": False}) for v in settings.loras if v.file != listed]
    same = next((v for v in settings.loras if v.file == listed), None)
    number = max((v.version for v in settings.loras), default=0) + 1
    new = same or LoraVersion(
        file=listed, version=number, trained_on=line_of(info.metadata.get("ss_sd_model_name", ""))
    )
    loras = tuple(sorted([*others, new.model_copy(update={"active": True})], key=lambda v: v.version))
    return profile.model_copy(update={"base": {**profile.base, base: settings.model_copy(update={"loras": loras})}})
