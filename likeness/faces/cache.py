"""Faces of pictures that were analysed before, on disk.

An entry is found by what was analysed and how: the decoded pixels and the pipeline. Whatever is wrong
with it (damaged, cut short, made by another pipeline, put under another picture's name), it counts as
missing, is deleted and made again. The cache never stops an analysis.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import LikenessError, StorageError
from ..files import atomic_write, delete_file, read_limited
from ..images import RGB8
from .codec import MAX_BYTES, decode_faces, encode_faces
from .face import Analyser, Face, Pipeline

log = logging.getLogger(__name__)

SUFFIX = ".safetensors"


def cache_key(image: RGB8, pipeline: Pipeline) -> str:
    """sha256 of shape, pixels (uint8 [H, W, 3]) and pipeline, hex."""
    h = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}x{image.shape[2]}:{image.dtype}:".encode())
    h.update(np.ascontiguousarray(image).data)  # no copy; other threads run meanwhile
    h.update(pipeline.key().encode())
    return h.hexdigest()


def entry_about(key: str) -> dict[str, str]:
    """What an entry says of itself."""
    return {"key": key, "tool": f"likeness {__version__}"}


def encode_entry(key: str, pipeline: Pipeline, faces: Sequence[Face]) -> bytes:
    """The entry of the picture with that key."""
    return encode_faces([(str(n), face) for n, face in enumerate(faces)], pipeline, entry_about(key))


class EmbeddingCache:
    """One folder of entries, `<root>/<2 hex>/<key>.safetensors`; any number of processes may share it.

    It needs no lock: an entry is replaced whole, and two processes write the same one.
    """

    def __init__(self, root: Path, keeps: Callable[[], bool] = lambda: True) -> None:
        """`keeps`: whether faces may be stored, aligned pictures of them among it; asked each time."""
        self._root, self._keeps = root, keeps
        self._warned = False

    def path(self, key: str) -> Path:
        return self._root / key[:2] / f"{key}{SUFFIX}"

    def get(self, image: RGB8, pipeline: Pipeline) -> tuple[Face, ...] | None:
        """The faces that `put` was given, () for a picture known to have none; None where nothing is known."""
        key = cache_key(image, pipeline)
        path = self.path(key)
        data = self._read(path)
        if data is None:
            return None
        packed = decode_faces(data)
        if packed is None or packed.pipeline != pipeline or packed.extra.get("key") != key:
            log.info("The cached faces in %s are damaged or of another origin: they are made again.", path)
            self._delete(path)
            return None
        return tuple(face for _, face in packed.named)

    def put(self, image: RGB8, pipeline: Pipeline, faces: tuple[Face, ...]) -> None:
        """Keep the faces; where the disk does not allow it, say so once and go on."""
        if not self._keeps():
            return
        key = cache_key(image, pipeline)
        data = encode_entry(key, pipeline, faces)
        if len(data) > MAX_BYTES:
            return log.info("%d faces in one picture are too many to keep.", len(faces))
        try:
            atomic_write(self.path(key), data)
        except LikenessError as error:
            self._warn(error)

    def _read(self, path: Path) -> bytes | None:
        try:
            size = path.stat().st_size
        except OSError:
            return None
        try:
            if size > MAX_BYTES:
                raise StorageError(f"{path} is too large for an entry of the face cache.")
            return read_limited(path, size)
        except LikenessError as error:
            log.info("%s", error)
            self._delete(path)
            return None

    def _delete(self, path: Path) -> None:
        try:
            delete_file(path)
        except LikenessError as error:
            self._warn(error)

    def _warn(self, error: LikenessError) -> None:
        if not self._warned:
            log.warning("%s Faces are analysed without the cache until then.", error)
        self._warned = True


class CachedAnalyser:
    """An analyser that asks the cache first."""

    def __init__(self, analyser: Analyser, cache: EmbeddingCache, check: Callable[[], None] = lambda: None) -> None:
        """`check` is called before every picture, and may raise to stop."""
        self._analyser, self._check = analyser, check
        self._cache = cache
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    @property
    def pipeline(self) -> Pipeline:
        return self._analyser.pipeline

    @property
    def providers(self) -> tuple[str, ...]:
        return self._analyser.providers

    @property
    def inner(self) -> Analyser:
        return self._analyser

    @property
    def cache(self) -> EmbeddingCache:
        return self._cache

    def analyse(self, image: RGB8) -> tuple[Face, ...]:
        self._check()
        faces = self.known(image)
        if faces is None:
            faces = self._analyser.analyse(image)
            self.keep(image, faces)
        return faces

    def known(self, image: RGB8) -> tuple[Face, ...] | None:
        """What the cache has, counted as a hit or a miss; None where it has nothing."""
        faces = self._cache.get(image, self.pipeline)
        with self._lock:
            self.hits += faces is not None
            self.misses += faces is None
        return faces

    def keep(self, image: RGB8, faces: tuple[Face, ...]) -> None:
        """Put what `inner` found into the cache."""
        self._cache.put(image, self.pipeline, faces)
