"""`generate` on real Ray, on this machine: a killed worker loses no picture, and none is drawn or counted twice."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from likeness import images
from likeness.faces.cache import CachedAnalyser, EmbeddingCache
from likeness.remote import generate
from likeness.remote.far import Ahead, Asked, Far, ask, look
from likeness.remote.on_ray import Errands, connected
from likeness.remote.spread import OnRay
from likeness.scenes.scene import Scene
from likeness.scoring import Score

from ...fakes import FakeAnalyser, face_picture
from .conftest import QUICK, Make
from .pretended_comfy import graph
from .test_on_ray import Deadly, cluster, once, ray  # noqa: F401  fixture

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own files and processes
SCENES = [Scene(name=f"scene{i}", seed=i, prompt=f"scene {i}") for i in range(8)]


@dataclass(frozen=True)
class DeadlyAsk:
    """Kills the first worker that asks for one of these paths: before it asks, or after."""

    folder: Path
    before: tuple[str, ...]
    after: tuple[str, ...]

    def __call__(self, asked: Asked) -> bytes:
        kind = asked.path.split("/")[1].split("?")[0]
        if kind in self.before and once(self.folder / f"before-{kind}"):
            os.kill(os.getpid(), signal.SIGKILL)
        answer = ask(asked)
        if kind in self.after and once(self.folder / f"after-{kind}"):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


@pytest.fixture
def sent_along(cluster: OnRay) -> Iterator[OnRay]:  # noqa: F811
    here = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(here)
    yield cluster
    ray.cloudpickle.unregister_pickle_by_value(here)


@dataclass
class Counts:
    """Stands for engine and judge: says how many faces there are, and whether somebody has looked before."""

    engine: CachedAnalyser

    def score(self, path: Path) -> Score:
        faces = self.engine.analyse(images.read(path))
        return Score(path.name, "accepted" if faces else "not measurable", f"{len(faces)} faces")

    def settings(self) -> dict[str, Any]:
        return {}

    class judge:
        @staticmethod
        def notes() -> list[str]:
            return []


def scorer(root: Path) -> Any:
    return Counts(CachedAnalyser(FakeAnalyser(), EmbeddingCache(root)))


def test_killed_workers_lose_no_picture_and_the_manifest_is_that_of_this_machine(
    sent_along: OnRay, pretend: Make, tmp_path: Path
) -> None:
    servers = [pretend(seconds=0.05), pretend(seconds=0.05)]
    for server in servers:
        server.picture = lambda nodes, about: images.encode_png(face_picture(1, nodes["2"]["inputs"]["seed"]))
    draw: dict[str, Any] = {"graph_of": lambda s: graph(s.seed, s.name), "timing": QUICK}
    generate("ada", SCENES, [servers[0].url], tmp_path / "here", scorer=scorer(tmp_path / "cache"), **draw)
    for server in servers:
        server.drawn.clear()
    deadly = DeadlyAsk(tmp_path, ("prompt", "history", "object_info"), ("prompt", "view"))
    far_scorer = scorer(tmp_path / "far cache")
    with connected(sent_along) as ray_:
        far = Far(Errands(ray_, deadly, OnRay(cpus=0)), Errands(ray_, look, sent_along))
        model = Deadly(tmp_path, (2, 5))
        looks = Ahead(far.looks, [(model, FakeAnalyser().pipeline)], tmp_path / "far cache", 1)
        urls = [s.url for s in servers]
        generate("ada", SCENES, urls, tmp_path / "ray", scorer=far_scorer, client_of=far.client, look=looks, **draw)
    killed = sorted(p.name for p in tmp_path.glob("*-*"))
    assert killed == ["after-prompt", "after-view", "before-history", "before-object_info", "before-prompt",
                      "killed-2", "killed-5"]  # fmt: skip
    assert servers[0].drawn + servers[1].drawn == Counter({s.name: 1 for s in SCENES})
    assert (far_scorer.engine.hits, far_scorer.engine.misses) == (len(SCENES), 0)  # all faces came from workers
    assert apart_from_when_and_where(tmp_path / "ray") == apart_from_when_and_where(tmp_path / "here")


def apart_from_when_and_where(folder: Path) -> dict[str, Any]:
    told = json.loads((folder / "manifest.json").read_bytes())
    for row in told["pictures"]:
        for name in ("server", "prompt_id", "date"):
            assert row.pop(name)
    return dict(told)
