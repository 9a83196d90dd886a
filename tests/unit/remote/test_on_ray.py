"""The same on real Ray, started on this machine: a killed worker loses nothing and nothing counts twice."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from likeness import images
from likeness.errors import FaceError, Finding, LikenessError, ProfileError
from likeness.faces.face import Analyser, Face
from likeness.remote.faces import fill_cache
from likeness.remote.on_ray import connected
from likeness.remote.spread import OnRay, spread

from ... import fakes
from ...fakes import FakeAnalyser, empty_picture, face_picture

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'likeness[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own files and processes

LISTENING = "0A"  # /proc/net/tcp


@pytest.fixture(scope="module")
def cluster() -> Iterator[OnRay]:
    """Workers cannot import a test, so what is defined in one is sent along."""
    here = sys.modules[__name__]
    on = OnRay()
    with connected(on):
        for module in (here, fakes):
            ray.cloudpickle.register_pickle_by_value(module)
        yield on
        for module in (here, fakes):
            ray.cloudpickle.unregister_pickle_by_value(module)
    assert not ray.is_initialized()


def note(log: Path, text: object) -> None:
    """Append a line; several processes may."""
    with log.open("ab", buffering=0) as file:
        file.write(f"{text}\n".encode())


def once(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def squared(folder: Path, doomed: tuple[int, ...], item: int) -> int:
    """The first worker that gets a doomed item kills itself, by its own process id."""
    note(folder / "log", f"{item} {os.getpid()}")
    if item in doomed and once(folder / f"killed-{item}"):
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def test_killed_workers_lose_nothing_and_nothing_is_given_out_twice(cluster: OnRay, tmp_path: Path) -> None:
    doomed = (0, 5, 6, 17)
    found = list(spread(partial(squared, tmp_path, doomed), range(24), on=cluster))
    assert found == [i * i for i in range(24)]
    attempts = [tuple(map(int, line.split())) for line in (tmp_path / "log").read_text().splitlines()]
    tried = [item for item, _ in attempts]
    assert all(tried.count(item) >= 2 for item in doomed)
    assert os.getpid() not in {pid for _, pid in attempts}
    for item in doomed:
        first, second = [pid for number, pid in attempts if number == item][:2]
        assert first != second  # another worker did it


def poison(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_an_item_that_kills_every_worker_is_named(cluster: OnRay) -> None:
    given_out = []
    with pytest.raises(LikenessError) as told:
        for value in spread(poison, range(6), on=cluster, retries=1, name=lambda item: f"{item}.png"):
            given_out.append(value)
    assert str(told.value) == "3.png was given up, having failed 2 times, at last because its worker died"
    assert given_out == [0, 1, 2]


def refused(error: LikenessError, log: Path, item: int) -> int:
    note(log, item)
    if item == 2:
        raise error
    return item


@pytest.mark.parametrize(
    "error", [FaceError("2.png shows nobody."), ProfileError("profile.toml", [Finding("name", "is missing")])]
)
def test_our_errors_come_back_as_themselves_and_are_not_tried_again(
    cluster: OnRay, tmp_path: Path, error: LikenessError
) -> None:
    with pytest.raises(type(error)) as told:
        list(spread(partial(refused, error, tmp_path / "log"), range(5), on=cluster))
    assert type(told.value) is type(error) and str(told.value) == str(error)
    assert (tmp_path / "log").read_text().split().count("2") == 1


def broken(item: int) -> int:
    raise RuntimeError("this machine has a loose cable")


def test_other_exceptions_are_tried_again_and_then_told_in_a_sentence(cluster: OnRay) -> None:
    with pytest.raises(LikenessError, match=r"^Task 1 was given up, having failed 2 times, .* a loose cable$"):
        list(spread(broken, range(3), on=cluster, retries=1))


def test_a_stop_does_not_wait_for_the_workers(cluster: OnRay) -> None:
    class Stop(Exception):
        pass

    begun = time.monotonic()

    def check() -> None:
        if time.monotonic() - begun > 1:
            raise Stop

    with pytest.raises(Stop):
        list(spread(time.sleep, [60, 60, 60], on=cluster, check=check))
    assert time.monotonic() - begun < 2.5
    assert list(spread(abs, [-1], on=cluster)) == [1]  # and the cores are free again


def test_a_task_that_fits_nowhere_is_refused(cluster: OnRay) -> None:
    with pytest.raises(LikenessError, match=r"^This machine has not 9999 cores for Ray"):
        list(spread(abs, [1], on=OnRay(cpus=9999)))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ray_listens_on_this_machines_own_address_only(cluster: OnRay) -> None:
    assert list(spread(abs, [-1], on=cluster)) == [1]
    owned = set()
    for process in Path("/proc").glob("[0-9]*"):
        if is_ray(process):
            owned |= {link for fd in (process / "fd").iterdir() if (link := target(fd)).startswith("socket:")}
    addresses = [
        row[1].split(":")[0]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for row in (line.split() for line in Path(table).read_text().splitlines()[1:])
        if row[3] == LISTENING and f"socket:[{row[9]}]" in owned
    ]
    assert addresses and all(address.endswith("0100007F") for address in addresses)  # 127.0.0.1


def is_ray(process: Path) -> bool:
    try:
        session = Path(ray._private.worker._global_node.get_session_dir_path()).name
        command = (process / "cmdline").read_text()
    except OSError:
        return False
    return int(process.name) == os.getpid() or session in command or command.startswith("ray::")


def target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


# ---- faces


@dataclass(frozen=True)
class Deadly:
    """Kills the first worker that is shown one of these shots."""

    folder: Path
    shots: tuple[int, ...] = ()

    def open(self) -> Analyser:
        return DeadlyAnalyser(self.folder, self.shots)


class DeadlyAnalyser(FakeAnalyser):
    def __init__(self, folder: Path, shots: tuple[int, ...]) -> None:
        super().__init__()
        self._folder, self._shots = folder, shots

    def analyse(self, image: images.RGB8) -> tuple[Face, ...]:
        shot = int(image[0, 1][1])
        if shot in self._shots and once(self._folder / f"killed-{shot}"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().analyse(image)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    (tmp_path / "in").mkdir()
    found = []
    for i in range(100):
        path = tmp_path / "in" / f"{i:03d}.png"
        path.write_bytes(images.encode_png(face_picture(1 + i % 3, i) if i % 10 else empty_picture(i)))
        found.append(path)
    found[50].write_bytes(found[51].read_bytes())  # one picture twice
    found[60].write_bytes(b"broken")
    return found


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("shared", [False, True], ids=["sent", "read there"])
def test_the_cache_is_the_same_to_the_byte_although_workers_were_killed(
    cluster: OnRay, pictures: list[Path], tmp_path: Path, shared: bool
) -> None:
    here = fill_cache(pictures, Deadly(tmp_path), tmp_path / "here")
    done: list[int] = []
    spread_out = fill_cache(
        pictures, Deadly(tmp_path, (1, 33, 77)), tmp_path / "ray", on=cluster, shared=shared,
        progress=lambda now, of: done.append(now),
    )  # fmt: skip
    assert sorted(p.name for p in tmp_path.glob("killed-*")) == ["killed-1", "killed-33", "killed-77"]
    assert tree(tmp_path / "ray") == tree(tmp_path / "here")
    assert spread_out == here and done == list(range(1, 101))
    assert (here.pictures, here.analysed, len(here.unreadable), here.without_face) == (100, 98, 1, 8)
    again: Any = fill_cache(pictures, Deadly(tmp_path, (2,)), tmp_path / "ray", on=cluster)
    assert again.analysed == 0 and again.faces == here.faces and not (tmp_path / "killed-2").exists()
