"""What nodes and the panel's threads share while a graph runs."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ..conftest import ROOT, load_folder

PACKS = ("antelopev2", "buffalo_l", "buffalo_s")


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_host_pack", ROOT)
    names = ("nodes.host", "likeness.faces.analyser")
    return SimpleNamespace(**{n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_host_pack.{n}") for n in names})


@pytest.fixture
def opened(pack: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the face models that were opened, each of which takes a while."""
    names: list[str] = []

    def slow(found: str, provider: str) -> Any:
        names.append(found)
        time.sleep(0.02)
        return SimpleNamespace(name=found)

    monkeypatch.setattr(pack.analyser, "OnnxAnalyser", slow)
    monkeypatch.setattr(pack.host, "find_pack", lambda name, roots: name)
    monkeypatch.setattr(pack.host, "_face_roots", list)
    monkeypatch.setattr(pack.host, "_analysers", {})
    return names


def ask_at_once(pack: SimpleNamespace, names: Sequence[str]) -> list[Any]:
    """What each of as many threads is given."""
    together = threading.Barrier(len(names))

    def ask(name: str) -> Any:
        together.wait(10)
        return pack.host.analyser(name).inner

    with ThreadPoolExecutor(len(names)) as threads:
        return list(threads.map(ask, names))


def test_threads_that_ask_for_a_face_model_at_once_share_one(pack: SimpleNamespace, opened: list[str]) -> None:
    found = ask_at_once(pack, ["buffalo_l"] * 8)
    assert len({id(one) for one in found}) == 1 and opened == ["buffalo_l"]


def test_threads_that_ask_for_different_face_models_each_get_theirs_and_two_stay(
    pack: SimpleNamespace, opened: list[str]
) -> None:
    assert [one.name for one in ask_at_once(pack, PACKS)] == list(PACKS)
    assert len(pack.host._analysers) == 2
