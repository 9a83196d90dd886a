"""The versions that the pack says it needs are said once each way, and agree."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from .conftest import ROOT

PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def minimum(name: str) -> str:
    found = re.findall(rf'"?{name}(?: = ")?>=([\d.]+)"', PROJECT)
    assert len(found) == 1, f"{name} is not in pyproject.toml once"
    return found[0]


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text)[:3])


def test_the_readme_states_the_least_versions_that_pyproject_declares() -> None:
    assert f"ComfyUI {minimum('requires-comfyui')} or newer" in README
    assert f"frontend {minimum('comfyui-frontend-package')} or newer" in README


def test_the_declared_comfyui_is_not_newer_than_the_one_that_is_tested(comfy_path: Path) -> None:
    here = re.search(r'__version__ = "([\d.]+)"', (comfy_path / "comfyui_version.py").read_text())
    assert here is not None and numbers(minimum("requires-comfyui")) <= numbers(here[1])


def test_the_declared_frontend_is_not_newer_than_the_one_that_is_tested() -> None:
    try:
        here = version("comfyui-frontend-package")
    except PackageNotFoundError:
        pytest.skip("ComfyUI's frontend is not installed for this Python")
    assert numbers(minimum("comfyui-frontend-package")) <= numbers(here)
