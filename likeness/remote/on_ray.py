"""Ray: the only module that imports it, when work is first given to it.

Nothing of ours is pickled by us; Ray sends functions, items and results its own way. Whoever reaches a Ray cluster can
run programs on it: one that is started here listens on this machine's own address only, and asks for a token where
Ray knows how.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from ..errors import LikenessError
from .spread import Failed, OnRay, Outcome, Runner, attempt, is_here

log = logging.getLogger(__name__)

INSTALL = f"run: {sys.executable} -m pip install ray (the extra 'ray' of Likeness)"
HERE = "127.0.0.1"
_KNOCK = 5.0  # s
_LOOK = 5.0  # s between two looks at how large the cluster is; it may grow while it has work
_QUEUED = 2  # tasks per place, so that a worker finds the next one there
# It uses the loopback address then, as it does by itself on Windows and macOS (ray/_private/ray_constants.py,
# ENABLE_RAY_CLUSTER; other ways to say so are overruled), and does not tell its makers that it was started.
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
_WITH_TOKEN = {"RAY_AUTH_MODE": "token"}  # the default of new versions, which tell so at length; before the import only


@contextmanager
def connected(on: OnRay) -> Iterator[ModuleType]:
    """Ray, connected. What was connected before stays; what is started here ends here, with its processes.

    LikenessError where Ray is not installed, or does not answer.
    """
    ray = _ray(on)
    if ray.is_initialized():
        yield ray
        return
    try:
        _connect(ray, on)
        yield ray
    finally:
        ray.shutdown()


def _ray(on: OnRay) -> ModuleType:
    if not on.address:
        for name, value in (_ALONE if "ray" in sys.modules else _ALONE | _WITH_TOKEN).items():
            os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise _missing() from error
    if not hasattr(ray, "init"):
        raise _missing()  # any folder of that name, such as Ray's own below /tmp, is imported without complaint
    return ray


def _missing() -> LikenessError:
    return LikenessError(f"Ray, which spreads work over machines, is not installed: {INSTALL}.")


def _connect(ray: ModuleType, on: OnRay) -> None:
    quiet = {"configure_logging": False, "log_to_driver": False}
    try:
        if on.address:
            _knock(ray, on.address)
            ray.init(address=on.address, **quiet)
        else:
            _start(ray, quiet)
    except (OSError, RuntimeError, ValueError, ImportError) as error:  # ray:// needs a package more
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        told = (
            f"No Ray cluster answers at {on.address} ({why}): start one with 'ray start --head', or check the address; "
            "for one that asks for a token, set RAY_AUTH_MODE=token."
            if on.address
            else f"Ray could not be started on this machine: {why}"
        )
        raise LikenessError(told) from error


def _knock(ray: ModuleType, address: str) -> None:
    """OSError where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # "auto", or what Ray knows better
    hosts = [host] if host not in ("localhost", HERE) else [host, ray.util.get_node_ip_address()]
    for candidate in hosts:
        try:
            return socket.create_connection((candidate, int(port)), _KNOCK).close()
        except OSError:
            if candidate == hosts[-1]:
                raise


def _start(ray: ModuleType, quiet: dict[str, bool]) -> None:
    constants = sys.modules.get("ray._private.ray_constants")
    if constants is not None and hasattr(constants, "ENABLE_RAY_CLUSTER"):
        constants.ENABLE_RAY_CLUSTER = False  # the caller's program may have imported Ray long ago
    ray.init(address="local", _node_ip_address=HERE, include_dashboard=False, **quiet)
    address = next((str(node.get("NodeManagerAddress")) for node in ray.nodes()), "")
    if address != HERE:
        log.warning("Ray listens on %s, where others may reach it, and not only on %s.", address, HERE)


@contextmanager
def ray_runner(on: OnRay, function: Callable[[Any], Any], check: Callable[[], None] = lambda: None) -> Iterator[Runner]:
    """A runner whose tasks run on the cluster."""
    with connected(on) as ray:
        check()
        _check_places(ray, on)
        yield _Tasks(ray, function, on)


def _check_places(ray: ModuleType, on: OnRay) -> None:
    """A task that fits nowhere would wait for ever without a word."""
    if _places(ray, on):
        return
    wanted = f"{on.cpus:g} cores" + (f" and {on.gpus:g} graphics cards" if on.gpus else "")
    if not on.address:
        raise LikenessError(f"This machine has not {wanted} for Ray: ask for less for each task.")
    log.warning("No machine of the Ray cluster has %s for a task now: waiting for one that has.", wanted)


def _places(ray: ModuleType, on: OnRay) -> int:
    """How many tasks the cluster can work on at once."""
    return sum(_places_of(node.get("Resources", {}), on) for node in ray.nodes() if node.get("Alive"))


def _places_of(has: dict[str, float], on: OnRay) -> int:
    wanted = {"CPU": on.cpus, "GPU": on.gpus}
    return int(min((has.get(kind, 0.0) / count for kind, count in wanted.items() if count > 0), default=1))


class _Tasks:
    """The runner of `OnRay`."""

    def __init__(self, ray: ModuleType, function: Callable[[Any], Any], on: OnRay) -> None:
        self._ray, self._on = ray, on
        options = {"num_cpus": on.cpus, "num_gpus": on.gpus, "max_retries": 0}  # `spread` counts the attempts itself
        self._task = ray.remote(**options)(attempt)
        self._function = ray.put(function)  # sent to each machine once, not with every task
        self._running: dict[Any, int] = {}  # task -> number of its item
        self._room, self._looked = 0, -_LOOK

    @property
    def room(self) -> int:
        if time.monotonic() - self._looked >= _LOOK:
            self._room, self._looked = _QUEUED * max(_places(self._ray, self._on), 1), time.monotonic()
        return self._room

    def submit(self, number: int, item: Any) -> None:
        self._running[self._task.remote(self._function, item)] = number

    def wait(self, seconds: float) -> Iterable[tuple[int, Outcome[Any]]]:
        if not self._running:
            return
        done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        for task in done:
            yield self._running.pop(task), _result(self._ray, task)

    def stop(self) -> None:
        for task in self._running:
            with suppress(Exception):  # it may have ended, or the cluster be gone
                self._ray.cancel(task, force=True)
        self._running.clear()


class Errands:
    """A function that runs on the cluster while the caller, in any thread, waits for it."""

    def __init__(self, ray: ModuleType, function: Callable[[Any], Any], on: OnRay) -> None:
        self._ray, self._function = ray, ray.put(function)
        self._task = ray.remote(num_cpus=on.cpus, num_gpus=on.gpus, max_retries=0)(attempt)
        self._near: dict[str, Any] = {}  # host -> options of a task

    def __call__(self, item: Any, host: str = "") -> Outcome[Any]:
        """`host`: the task runs on that machine where it is one of the cluster, on this one for "localhost"."""
        if host not in self._near:
            self._near[host] = _beside(self._ray, host)
        return _result(self._ray, self._task.options(**self._near[host]).remote(self._function, item))


def is_outside(ray: ModuleType) -> bool:
    """Whether this process speaks with the cluster as Ray's client (ray://), from a machine that may be none of it."""
    return bool(ray.util.client.ray.is_connected())


def _beside(ray: ModuleType, host: str) -> dict[str, Any]:
    here = is_here(host)
    nodes = {node[key]: node["NodeID"] for node in ray.nodes() for key in ("NodeManagerAddress", "NodeManagerHostname")}
    node = ray.get_runtime_context().get_node_id() if here else nodes.get(host)
    if node is None:
        return {}
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=not here)}


def _result(ray: ModuleType, task: Any) -> Outcome[Any]:
    try:
        outcome: Outcome[Any] = ray.get(task)
        return outcome
    except ray.exceptions.RayError as error:
        return Failed(_why(ray.exceptions, error), str(error))


def _why(kinds: ModuleType, error: Exception) -> str:
    """In our words; Ray's texts are pages long."""
    known = (
        ("OutOfMemoryError", "its machine had not enough memory"),
        ("NodeDiedError", "its machine was lost"),
        ("WorkerCrashedError", "its worker died"),
        ("ObjectLostError", "its result was lost with a machine"),
    )
    for name, words in known:
        if isinstance(error, getattr(kinds, name, ())):
            return words
    cause = getattr(error, "cause", None) or error
    text = f"{type(cause).__name__}: {str(cause).strip().splitlines()[-1] if str(cause).strip() else ''}"
    if "No module named" in str(error):
        return f"{text}. Likeness and what it needs must be installed on every machine, in the same version"
    return text
