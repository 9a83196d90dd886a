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


def test_what_the_user_makes_lies_outside_the_packs_folder_where_the_readme_says(
    pack: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So an uninstall or an update, which takes the pack's folder away, takes none of it."""
    places = pack.host.folder_paths
    monkeypatch.setattr(places, "models_dir", str(tmp_path / "models"))
    monkeypatch.setattr(places, "folder_names_and_paths", {**places.folder_names_and_paths, "ipadapter": ([], set())})
    for name, folder in (("user", "user"), ("output", "output"), ("input", "input")):
        monkeypatch.setattr(places, f"{name}_directory", str(tmp_path / folder))
    for key in (*pack.host._FOLDERS, pack.host.FACE_FILES):
        places.folder_names_and_paths.pop(key, None)
    pack.host.register_folders()
    found = {
        *pack.host.library().roots,
        pack.host.face_folder("likeness"),
        pack.host.output_folder() / "likeness",
        pack.host.settings_file().parent,
        pack.host.identity_folder(),
        pack.host.face_cache().path("00").parents[1],
    }
    names = {path.relative_to(tmp_path).as_posix() for path in found}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in names if name not in readme] == []
    assert "models/characters" in names and "user/__likeness" in names
