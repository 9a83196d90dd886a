"""Opening adapter files: `.safetensors`, or `.bin` through torch's restricted unpickler only."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from .adapter import Adapter, AdapterSource, read_adapter
from .errors import AdapterFormatError

_CHUNK = 1 << 20  # bytes


def load_adapter(
    path: str | Path,
    *,
    plus_v2: bool | None = None,
    portrait_unnorm: bool | None = None,
    sha256: str | None = None,
) -> Adapter:
    """The FaceID adapter in a file. Tensors stay mapped from the file until they are used.

    plus_v2 and portrait_unnorm as in read_adapter. sha256 is the file's hash where the caller knows it already;
    otherwise the file is hashed.
    """
    path = Path(path)
    tensors, metadata = _open(path)
    source = AdapterSource(path.name, path.stat().st_size, sha256 or file_sha256(path))
    return read_adapter(
        tensors, name=path.name, metadata=metadata, plus_v2=plus_v2, portrait_unnorm=portrait_unnorm, source=source
    )


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _open(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    read = {".safetensors": _open_safetensors, ".bin": _open_bin}.get(path.suffix.lower())
    if read is None:
        raise AdapterFormatError(f"{path.name} is no .safetensors or .bin file, so it cannot be a FaceID adapter.")
    if not path.is_file():
        raise AdapterFormatError(f"There is no FaceID adapter {path.name} in {path.parent}. Check the name and folder.")
    try:
        tensors, metadata = read(path)
    except Exception as error:  # both readers raise many types on hostile bytes
        raise AdapterFormatError(
            f"{path.name} cannot be read as a FaceID adapter ({type(error).__name__}): the file is "
            "truncated, damaged, or holds more than tensors. Get it again from its publisher."
        ) from error
    if not isinstance(tensors, dict):
        raise AdapterFormatError(f"{path.name} holds a {type(tensors).__name__} instead of a table of tensors.")
    return tensors, metadata


def _open_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with safe_open(str(path), framework="pt", device="cpu") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})


def _open_bin(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    mapped = zipfile.is_zipfile(path)  # the older tar-like format cannot be mapped
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped), {}
