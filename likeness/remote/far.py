"""Servers and faces by way of other machines: each request to a ComfyUI, and each look at a picture, is a task of Ray.

Board, journal and scores stay here, so a worker that dies takes nothing along. What it was asked is asked again; a
graph only after its server was asked whether it knows that prompt id, so that nothing is drawn twice.
"""

from __future__ import annotations

import json
import logging
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import images
from ..errors import LikenessError, ServerError
from ..faces.cache import EmbeddingCache
from ..faces.face import Pipeline
from ..files import read_limited
from .client import MAX_JSON, QueueClient
from .entries import store_entry
from .faces import Analysis, Answer, FaceModel, Picture
from .spread import RETRIES, Done, Failed, OnRay, Outcome, Refused, is_here

log = logging.getLogger(__name__)

Errand = Callable[..., Outcome[Any]]  # (item, host) -> what became of it, elsewhere


@dataclass(frozen=True)
class Asked:
    """One request, as it is sent to a worker."""

    url: str
    timeout: float  # s
    path: str
    body: dict[str, Any] | None
    limit: int  # bytes of the answer


def ask(asked: Asked) -> bytes:
    """What a worker runs."""
    return QueueClient(asked.url, asked.timeout).request(asked.path, asked.body, asked.limit)


def look(item: tuple[Analysis, tuple[Picture, ...]]) -> tuple[Answer, ...]:
    """What a worker runs."""
    work, pictures = item
    return work(pictures)


@dataclass(frozen=True)
class Far:
    """What generates from another machine; see `far`."""

    asks: Errand
    looks: Errand
    outside: bool = False  # whether this machine is none of the cluster

    def client(self, url: str, timeout: float = 30.0) -> QueueClient:
        client = FarClient(url, timeout, self.asks)
        return QueueClient(url, timeout) if self.outside and is_here(client.host) else client


@contextmanager
def far(on: OnRay) -> Iterator[Far]:
    """Connected to Ray. A request waits for its server more than it works, so it takes no core."""
    from .on_ray import Errands, connected, is_outside

    with connected(on) as ray:
        yield Far(Errands(ray, ask, replace(on, cpus=0.0, gpus=0.0)), Errands(ray, look, on), is_outside(ray))


class FarClient(QueueClient):
    """A client whose requests come from a machine of the cluster, the server's own where it is one of them."""

    def __init__(self, url: str, timeout: float, errand: Errand) -> None:
        super().__init__(url, timeout)
        self._errand, self.host = errand, urllib.parse.urlsplit(self.url).hostname or ""

    def request(self, path: str, body: dict[str, Any] | None = None, limit: int = MAX_JSON) -> bytes:
        asked, why = Asked(self.url, self._timeout, path, body, limit), ""
        for _ in range(1 + RETRIES):
            outcome = self._errand(asked, self.host)
            if isinstance(outcome, Done):
                return bytes(outcome.value)
            if isinstance(outcome, Refused):
                raise outcome.error
            why = outcome.why
            log.info("%s%s: %s. %s", self.url, path, why, outcome.details)
            if path == "/prompt" and body and self._knows(str(body.get("prompt_id", ""))):
                return json.dumps({"prompt_id": body["prompt_id"], "node_errors": {}}).encode()
        raise ServerError(f"ComfyUI at {self.url} could not be asked by Ray, {1 + RETRIES} times: {why}.")

    def _knows(self, prompt_id: str) -> bool:
        return bool(prompt_id) and (prompt_id in self.waiting() or self.outcome(prompt_id) is not None)


class Ahead:
    """Fills the cache with a picture's faces by a worker, before it is scored here."""

    def __init__(self, errand: Errand, models: Iterable[tuple[FaceModel, Pipeline]], root: Path, threads: int) -> None:
        """LikenessError where a worker's face model is another one, or not there."""
        none = np.empty(0, np.uint64)  # new pictures: what the cache knows need not be sent along
        self._work = [Analysis(model, pipeline, none, threads=threads) for model, pipeline in models]
        self._errand, self._cache = errand, EmbeddingCache(root)
        for work in self._work:
            self._looked(work)

    def __call__(self, path: Path) -> None:
        """Whatever cannot be done there is left to whoever scores. StorageError where the cache cannot be written."""
        if path.suffix.lower() not in images.SUFFIXES:
            return
        picture = Picture(0, path, read_limited(path, images.MAX_BYTES))
        for work in self._work:
            for answer in self._looked(work, picture):
                if answer.entry is not None:
                    store_entry(self._cache, answer.key, work.pipeline, answer.entry)

    def _looked(self, work: Analysis, *pictures: Picture) -> tuple[Answer, ...]:
        for _ in range(1 + RETRIES):
            outcome = self._errand((work, pictures))
            if isinstance(outcome, Refused):
                raise outcome.error
            if isinstance(outcome, Failed):
                log.info("%s: %s. %s", [str(p.path) for p in pictures], outcome.why, outcome.details)
                continue
            return tuple(outcome.value)
        if not pictures:
            raise LikenessError(f"No Ray worker could open the face model {work.pipeline.pack}.")
        return ()
