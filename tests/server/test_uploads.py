"""What the panel puts into ComfyUI's input folder is gone when the request is answered; what else is there stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from .conftest import Panel

LOT = "likeness/uploads/" + "0123456789abcdef" * 2


@pytest.fixture
def given(panel: Panel) -> Path:
    """The input folder, with an archive and pictures of the user's, and the same as the panel uploads them."""
    folder = panel.backend.home / "input"
    made = panel.post("/likeness/characters/ada/export").json()
    archive = (panel.backend.home / "output" / "likeness" / made["filename"]).read_bytes()
    (folder / LOT).mkdir(parents=True)
    for place in (folder, folder / "likeness", folder / LOT):
        (place / "ada.zip").write_bytes(archive)
    for i in range(3):
        shutil.copy(folder / f"zoe_{i}.png", folder / LOT)
    return folder


def users(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and "uploads" not in p.parts}


def test_an_imported_archive_does_not_stay(panel: Panel, given: Path) -> None:
    before = users(given)
    assert panel.post("/likeness/import", file=f"{LOT}/ada.zip", name="Eve").json()["slug"] == "eve"
    assert not (given / LOT).exists() and users(given) == before


def test_pictures_do_not_stay_whatever_became_of_them(panel: Panel, given: Path) -> None:
    before, pictures = users(given), [f"{LOT}/zoe_{i}.png" for i in range(3)]
    made = panel.post("/likeness/characters", name="Zoe", images=pictures)
    assert made.status == 200 and not (given / LOT).exists()
    (given / LOT).mkdir()
    shutil.copy(given / "zoe_3.png", given / LOT)
    assert panel.post("/likeness/characters/zoe/references", images=[f"{LOT}/zoe_3.png"]).status == 200
    (given / LOT).mkdir()
    (given / LOT / "text.png").write_text("no picture")
    assert panel.post("/likeness/characters/zoe/references", images=[f"{LOT}/text.png"]).status == 409
    assert not (given / LOT).exists() and users(given) == before


@pytest.mark.parametrize(
    "name",
    [
        "ada.zip",
        "likeness/ada.zip",
        "likeness/uploads/../ada.zip",
        "likeness/uploads/0123/ada.zip",
        "likeness/uploads/../../ada.zip",
        LOT,
        f"{LOT}/../ada.zip",
        "x/" + LOT.partition("/")[2] + "/ada.zip",
    ],
)
def test_nothing_else_is_deleted(panel: Panel, given: Path, name: str) -> None:
    (given / "likeness/uploads/0123").mkdir()
    shutil.copy(given / "ada.zip", given / "likeness/uploads/0123")
    before = sorted(given.rglob("*"))
    panel.post("/likeness/import", file=name, name="Eve")
    assert sorted(given.rglob("*")) == before


def test_a_link_in_the_place_of_a_lot_leads_to_no_loss(panel: Panel, given: Path) -> None:
    shutil.rmtree(given / LOT)
    (given / LOT).symlink_to(panel.backend.home / "characters", target_is_directory=True)
    panel.post("/likeness/import", file=f"{LOT}/ada.zip")
    assert (panel.backend.home / "characters" / "ada" / "profile.toml").is_file()


def test_what_nobody_has_asked_for_is_gone_after_an_hour(panel: Panel, given: Path) -> None:
    other = given / LOT.replace("0", "f")
    shutil.copytree(given / LOT, other)
    os.utime(given / LOT, (0, 0))
    panel.post("/likeness/import", file="ada.zip", name="Eve")
    assert not (given / LOT).exists() and other.is_dir()
