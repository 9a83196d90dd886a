"""The map of the code leaves no module out."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
NAMED = {w.removesuffix(".py") for code in re.findall(r"`([^`\n]+)`", TEXT) for w in re.split(r"[/\s,:]+", code)} - {""}
WHOLE = ("likeness/cli/", "likeness/dataset/configs/")  # one row for all of the folder


def modules() -> list[str]:
    """Paths below the root. A node's own module has the node's name."""
    found = [p for folder in ("likeness", "faceid", "server", "nodes") for p in sorted((ROOT / folder).rglob("*.py"))]
    nodes = {p for p in found if p.parent.name == "nodes" and "(io.ComfyNode)" in p.read_text(encoding="utf-8")}
    names = (p.relative_to(ROOT).as_posix() for p in found if p not in nodes and not p.stem.startswith("__"))
    return [name for name in names if not name.startswith(WHOLE)]


@pytest.mark.parametrize("module", modules())
def test_every_module_has_its_place_on_the_map(module: str) -> None:
    assert any(fnmatch(Path(module).stem, name) for name in NAMED), f"ARCHITECTURE.md has no row for {module}"
