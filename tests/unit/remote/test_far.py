"""Servers that are asked, and pictures that are looked at, by workers which die: nothing is drawn twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from likeness import images
from likeness.errors import LikenessError, ModelMissingError, ServerError
from likeness.faces.cache import CachedAnalyser, EmbeddingCache
from likeness.remote import QueueClient, RefusedError, generate
from likeness.remote import faces as faces_module
from likeness.remote.far import Ahead, Asked, Far, FarClient, ask, look
from likeness.remote.spread import Failed, Outcome, attempt
from likeness.scenes.scene import Scene

from ...fakes import FakeAnalyser, empty_picture, face_picture
from .conftest import QUICK, Make
from .pretended_comfy import graph
from .test_spread_faces import FakeModel

DIED = Failed("its worker died")


class Dying:
    """Workers of which some die: `before` they ask, or `after`; by the path of what they ask."""

    def __init__(self, before: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> None:
        self.before, self.after, self.asked = list(before), list(after), list[str]()

    def __call__(self, item: Asked, host: str = "") -> Outcome[Any]:
        path = next((p for p in (*self.before, *self.after) if item.path.startswith(p)), "")
        self.asked.append(item.path)
        if path in self.before:
            self.before.remove(path)
            return DIED
        outcome = attempt(ask, item)
        if path in self.after:
            self.after.remove(path)
            return DIED
        return outcome

    def client(self, url: str, timeout: float) -> QueueClient:
        return FarClient(url, timeout, self)


@pytest.mark.parametrize("dying", [Dying(before=("/prompt",)), Dying(after=("/prompt",))], ids=["before", "after"])
def test_a_graph_whose_worker_died_is_queued_once(pretend: Make, dying: Dying) -> None:
    server = pretend()
    server.hold = True
    client = dying.client(server.url, 5.0)
    assert client.queue(graph(), "8b6e1f8c-0000-4000-8000-000000000001").startswith("8b6e")
    assert [row[1] for row in server.pending] == ["8b6e1f8c-0000-4000-8000-000000000001"]


def test_pictures_are_the_same_although_workers_died(pretend: Make, tmp_path: Path) -> None:
    wanted = [Scene(name=f"scene{i}", seed=i, prompt="") for i in range(6)]
    draw: dict[str, Any] = {"graph_of": lambda s: graph(s.seed, s.name), "timing": QUICK}
    here = generate("ada", wanted, [pretend().url], tmp_path / "here", **draw)
    servers = [pretend(seconds=0.02), pretend(seconds=0.02)]
    dying = Dying(("/prompt", "/history", "/view", "/object_info"), ("/prompt", "/queue", "/view"))
    far = generate("ada", wanted, [s.url for s in servers], tmp_path / "far", client_of=dying.client, **draw)
    assert dying.before == [] and "/prompt" not in dying.after
    assert sum((s.drawn for s in servers[1:]), servers[0].drawn) == {f"scene{i}": 1 for i in range(6)}
    assert [(p.scene, p.key, p.sha256, p.file, p.drawn_with) for p in far.pictures] == [
        (p.scene, p.key, p.sha256, p.file, p.drawn_with) for p in here.pictures
    ]


def test_what_the_server_says_comes_back_as_itself(pretend: Make) -> None:
    server = pretend()
    server.refuses = lambda nodes: "no such sampler"
    with pytest.raises(RefusedError, match="no such sampler"):
        Dying().client(server.url, 5.0).queue(graph(), "8b6e1f8c-0000-4000-8000-000000000001")


def test_workers_that_always_die_are_a_server_that_cannot_be_asked(pretend: Make) -> None:
    server = pretend()
    dying = Dying(before=("/queue",) * 4)
    with pytest.raises(ServerError, match=r"could not be asked by Ray, 4 times: its worker died\.$"):
        dying.client(server.url, 5.0).waiting()


def test_from_outside_of_the_cluster_this_machines_own_server_is_asked_by_itself() -> None:
    here, there = "http://127.0.0.1:8188", "http://10.0.0.5:8188"
    for outside, kinds in ((True, (QueueClient, FarClient)), (False, (FarClient, FarClient))):
        far = Far(Dying(), Dying(), outside)
        assert tuple(type(far.client(url)) for url in (here, there)) == kinds


# ---- faces


@pytest.fixture
def there(tmp_path: Path) -> Path:
    faces_module._opened.cache_clear()
    path = tmp_path / "a.png"
    path.write_bytes(images.encode_png(face_picture(1, 3)))
    return path


def dying_look(failures: list[int], item: Any, host: str = "") -> Outcome[Any]:
    if item[1] and failures:
        failures.pop()
        return DIED
    return attempt(look, item)


def ahead(errand: Callable[..., Outcome[Any]], root: Path, dialect: int = 0) -> Ahead:
    return Ahead(errand, [(FakeModel(dialect), FakeAnalyser().pipeline)], root, 1)


@pytest.mark.parametrize(("failures", "misses"), [(0, 0), (3, 0), (4, 1)])
def test_faces_come_from_a_worker_or_in_the_end_from_here(
    there: Path, tmp_path: Path, failures: int, misses: int
) -> None:
    looks = ahead(partial(dying_look, list(range(failures))), tmp_path / "cache")
    looks(there)
    engine = CachedAnalyser(FakeAnalyser(), EmbeddingCache(tmp_path / "cache"))
    (face,) = engine.analyse(images.read(there))
    assert face.score == FakeAnalyser().analyse(images.read(there))[0].score and engine.misses == misses


def test_pictures_that_cannot_be_read_and_films_are_left_to_the_score(there: Path, tmp_path: Path) -> None:
    looks = ahead(partial(dying_look, []), tmp_path / "cache")
    there.write_bytes(b"broken")
    looks(there)
    (tmp_path / "film.mp4").write_bytes(images.encode_png(empty_picture(1)))
    looks(tmp_path / "film.mp4")
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_another_face_model_there_is_told_before_anything_is_queued(tmp_path: Path) -> None:
    faces_module._opened.cache_clear()
    with pytest.raises(ModelMissingError, match="is another one than here"):
        ahead(partial(dying_look, []), tmp_path, dialect=1)
    with pytest.raises(LikenessError, match="No Ray worker could open the face model"):
        ahead(lambda item: DIED, tmp_path)
