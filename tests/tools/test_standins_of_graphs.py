"""The stand-ins of the newer example graphs: published sizes where there are such, the same bytes every time."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
TOOLS = Path(__file__).resolve().parents[2] / "tools"
SCRIPTS = ("standins_pictures", "standins_models")


@pytest.fixture(scope="module")
def script(tool: Callable[[str], ModuleType]) -> Iterator[Callable[[str], ModuleType]]:
    """Loads a script that imports its neighbours, as Python does when it is run."""
    sys.path.insert(0, str(TOOLS))
    yield tool
    sys.path.remove(str(TOOLS))


def numbers(specs: Iterable[Any]) -> int:
    return sum(math.prod(spec.shape) for spec in specs)


def test_a_controlnet_of_real_width_has_the_published_number_of_weights(script: Callable[[str], ModuleType]) -> None:
    assert numbers(script("standins_pictures").controlnet("real")) == 361_279_120


def test_the_text_encoder_has_the_published_number_of_weights(script: Callable[[str], ModuleType]) -> None:
    assert numbers(script("standins_models").t5_base()) == 109_628_544


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_same_call_writes_the_same_bytes_and_the_seed_matters(
    script: Callable[[str], ModuleType], name: str, tmp_path: Path
) -> None:
    maker = script(name)
    runs = [
        {p.relative_to(tmp_path / folder): p.read_bytes() for p in maker.make(tmp_path / folder, seed)}
        for folder, seed in (("first", 0), ("second", 0), ("other", 1))
    ]
    first, second, other = runs
    assert first == second
    assert all(first[file] != other[file] for file in first)
    assert sum(map(len, first.values())) < 32 << 20


@pytest.mark.parametrize("name", SCRIPTS)
def test_somebody_elses_file_is_kept(script: Callable[[str], ModuleType], name: str, tmp_path: Path) -> None:
    maker = script(name)
    (theirs, *_) = maker.make(tmp_path)
    theirs.write_bytes(b"a real model")
    with pytest.raises(FileExistsError, match=theirs.name):
        maker.make(tmp_path)
    assert theirs.read_bytes() == b"a real model"


def test_float32_changes_no_number_and_shares_as_much(script: Callable[[str], ModuleType]) -> None:
    maker = script("standins_models")
    half = maker.packed(maker.taehv(), 0, "x")
    whole = maker.in_float32(half)
    assert all(torch.equal(whole[key], half[key].float()) and whole[key].dtype == torch.float32 for key in half)
    storages = [{t.untyped_storage().data_ptr() for t in weights.values()} for weights in (half, whole)]
    assert len(storages[0]) == len(storages[1])
