"""Entries of the embedding cache as bytes, with their keys, where the picture itself is on another machine.

What a worker sends is not believed: an entry is written only if it is whole and says itself that it is of that picture
and that face model. Entries are those of `EmbeddingCache`, to the byte.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelMissingError, StorageError
from ..faces.cache import SUFFIX, EmbeddingCache, entry_about
from ..faces.codec import MAX_BYTES, Packed, decode_faces
from ..faces.face import Pipeline
from ..files import atomic_write, read_limited

_HEX = 64  # digits of a key


def store_entry(cache: EmbeddingCache, key: str, pipeline: Pipeline, data: bytes, write: bool = True) -> int:
    """Write an entry that a worker sent, unless that was done; the number of its faces.

    ModelMissingError where it is not what it should be, StorageError where it cannot be written.
    """
    packed = decode_faces(data)
    if packed is None or not _is_of(packed, key, pipeline) or packed.extra != entry_about(key):
        raise ModelMissingError(
            "A worker sent faces that are damaged, or of another face model or version: install the same version of "
            "Likeness and the same model files on every machine."
        )
    if write:
        atomic_write(cache.path(key), data)
    return len(packed.named)


def faces_in(cache: EmbeddingCache, key: str, pipeline: Pipeline) -> int | None:
    """How many faces the entry of that key holds; None where there is no sound one."""
    try:
        packed = decode_faces(read_limited(cache.path(key), MAX_BYTES))
    except StorageError:
        return None
    return len(packed.named) if packed is not None and _is_of(packed, key, pipeline) else None


def _is_of(packed: Packed, key: str, pipeline: Pipeline) -> bool:
    return _is_key(key) and packed.extra.get("key") == key and packed.pipeline == pipeline


def _is_key(text: str) -> bool:
    return len(text) == _HEX and not set(text) - set("0123456789abcdef")


def known_keys(root: Path) -> NDArray[np.uint64]:
    """The beginnings of all keys in the cache, sorted, uint64 [N]; a few MB for a million pictures.

    A key that only begins as one of them is told by its entry, which is not there.
    """
    found = [number_of(name.removesuffix(SUFFIX)) for name in _names(root) if _is_key(name.removesuffix(SUFFIX))]
    return np.unique(np.array(found, dtype=np.uint64))


def number_of(key: str) -> np.uint64:
    return np.uint64(int(key[:16], 16))


def _names(root: Path) -> list[str]:
    """StorageError where the cache cannot be listed."""
    try:
        with os.scandir(root) as folders:
            inside = [f.path for f in folders if len(f.name) == 2 and f.is_dir()]
        return [name for folder in inside for name in os.listdir(folder)]  # noqa: PTH208 - a million names
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"Could not read {root}: {error.strerror or error}.") from error
