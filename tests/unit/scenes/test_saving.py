"""Scenes in PNG files, and going on after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.errors import LikenessError, PathError
from likeness.images import decode, encode_png
from likeness.profile import Profile
from likeness.scenes.lists import DEFAULTS
from likeness.scenes.metadata import is_whole, scene_in, with_texts
from likeness.scenes.saving import drawn_in, missing, save_scene, scene_folder
from likeness.scenes.scene import Scene, scene_of
from likeness.scenes.variations import scenes_of

ADA = Profile(name="Ada", slug="ada", trigger="adaray")
GRID = scenes_of(ADA, DEFAULTS, "grid", seed=3, text="赤い, naïve")


def picture(seed: int = 1, side: int = 24) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def test_a_saved_picture_has_the_scenes_name_and_gives_the_scene_back(tmp_path: Path) -> None:
    (path,) = save_scene(tmp_path, GRID[0], [picture()], {"prompt": '{"1": {}}', "workflow": '{"nodes": []}'})
    assert path == tmp_path / f"{GRID[0].name}.png"
    about = scene_in(path)
    assert about is not None and scene_of(about) == GRID[0]
    with Image.open(path) as image:
        assert image.text["prompt"] == '{"1": {}}' and image.text["workflow"] == '{"nodes": []}'
        assert json.loads(image.text["likeness"]) == about
    assert np.array_equal(decode(path.read_bytes()), decode(picture()))


def test_a_batch_is_numbered(tmp_path: Path) -> None:
    paths = save_scene(tmp_path, GRID[0], [picture(1), picture(2)], {})
    assert [p.name for p in paths] == [f"{GRID[0].name}_001.png", f"{GRID[0].name}_002.png"]
    assert [(scene_in(p) or {})["picture"] for p in paths] == [1, 2]


def test_the_same_picture_again_leaves_the_file_and_another_one_gets_a_number(tmp_path: Path) -> None:
    (first,) = save_scene(tmp_path, GRID[0], [picture(1)], {"prompt": "{}"})
    before = first.stat().st_mtime_ns, first.read_bytes()
    assert save_scene(tmp_path, GRID[0], [picture(1)], {"prompt": '{"moved": 1}'}) == (first,)
    assert (first.stat().st_mtime_ns, first.read_bytes()) == before
    (second,) = save_scene(tmp_path, GRID[0], [picture(2)], {"prompt": "{}"})
    assert second.name == f"{GRID[0].name} (2).png"
    assert save_scene(tmp_path, GRID[0], [picture(2)], {}) == (second,)
    assert first.read_bytes() == before[1]


def test_without_metadata_nothing_is_in_the_file(tmp_path: Path) -> None:
    (path,) = save_scene(tmp_path, GRID[0], [picture()], None)
    assert path.read_bytes() == picture()
    assert scene_in(path) is None


def test_the_same_scene_and_picture_are_the_same_bytes(tmp_path: Path) -> None:
    one = save_scene(tmp_path / "a", GRID[5], [picture()], {})[0].read_bytes()
    assert save_scene(tmp_path / "b", GRID[5], [picture()], {})[0].read_bytes() == one


@pytest.mark.parametrize("prefix", ["../up", "..", "a/../../b", "a\0b", "..\\up"])
def test_a_prefix_cannot_leave_the_output_folder(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(PathError):
        scene_folder(tmp_path, prefix, "ada")


def test_a_character_has_a_folder_of_its_own(tmp_path: Path) -> None:
    assert scene_folder(tmp_path, "mine\\pictures/", "ada") == tmp_path.resolve() / "mine" / "pictures" / "ada"
    assert scene_folder(tmp_path, "/etc", "") == tmp_path.resolve() / "etc"
    assert scene_folder(tmp_path, " ", "") == tmp_path.resolve() / "likeness" / "scenes"
    with pytest.raises(LikenessError):
        scene_folder(tmp_path, "mine", "../ada")


@pytest.mark.parametrize("damage", ["cut", "flipped", "zeros", "empty", "other"])
def test_a_damaged_file_counts_as_missing(tmp_path: Path, damage: str) -> None:
    (path,) = save_scene(tmp_path, GRID[0], [picture(side=200)], {})
    data = path.read_bytes()
    assert is_whole(path) and missing(GRID[:1], drawn_in(tmp_path)) == ()
    flipped = bytearray(data)
    flipped[-400] ^= 1
    path.write_bytes(
        {
            "cut": data[:-5],
            "flipped": bytes(flipped),
            "zeros": data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
            "empty": b"",
            "other": b"hello",
        }[damage]
    )
    assert not is_whole(path)
    assert missing(GRID[:1], drawn_in(tmp_path)) == GRID[:1]
    (again,) = save_scene(tmp_path, GRID[0], [picture(side=200)], {})
    assert is_whole(again) and missing(GRID[:1], drawn_in(tmp_path)) == ()


def test_a_picture_of_other_words_or_another_seed_does_not_count(tmp_path: Path) -> None:
    save_scene(tmp_path, GRID[0], [picture()], {})
    for change in ({"seed": 5}, {"prompt": "other"}, {"lora_versions": {"sdxl": 2}}):
        assert len(missing([Scene(**{**GRID[0].model_dump(), **change})], drawn_in(tmp_path))) == 1


def test_half_a_batch_does_not_count_and_a_renamed_file_does(tmp_path: Path) -> None:
    first, second = save_scene(tmp_path, GRID[0], [picture(1), picture(2)], {})
    second.rename(tmp_path / "my favourite.png")
    assert missing(GRID[:2], drawn_in(tmp_path)) == GRID[1:2]
    first.unlink()
    assert missing(GRID[:2], drawn_in(tmp_path)) == GRID[:2]


def test_files_of_others_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "b.png").write_bytes(with_texts(picture(), {"likeness": "[1, 2]"}))
    (tmp_path / "c.png").write_bytes(with_texts(picture(), {"likeness": "{" * 100_000}))
    (tmp_path / "d.png").write_bytes(with_texts(picture(), {"likeness": '{"format": 1, "seed": "x"}'}))
    (tmp_path / "e.png").mkdir()
    (tmp_path / "f.png").symlink_to(tmp_path / "nowhere")
    assert missing(GRID, drawn_in(tmp_path)) == GRID
    assert missing(GRID, drawn_in(tmp_path / "not there")) == GRID


GRIND = """
import sys, time
from pathlib import Path
from likeness.profile import Profile
from likeness.scenes.lists import DEFAULTS
from likeness.scenes.saving import drawn_in, missing, save_scene
from likeness.scenes.variations import scenes_of
import numpy as np
from likeness.images import encode_png
folder = Path(sys.argv[1])
grid = scenes_of(Profile(name="Ada", slug="ada", trigger="adaray"), DEFAULTS, "grid", seed=3)
for scene in missing(grid, drawn_in(folder)):
    with open(folder.parent / "journal", "a") as f: f.write(scene.name + "\\n")
    pixels = np.random.default_rng(scene.seed).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    save_scene(folder, scene, [encode_png(pixels)], {})
"""


def test_a_grid_of_125_that_is_killed_goes_on_without_repeats_or_gaps(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    grid = scenes_of(ADA, DEFAULTS, "grid", seed=3)
    for kill_at in (10, 40, 90, None):
        run = subprocess.Popen([sys.executable, "-c", GRIND, str(folder)])
        while kill_at is not None and run.poll() is None and len(list(folder.glob("*.png"))) < kill_at:
            time.sleep(0.01)
        if kill_at is not None:
            os.kill(run.pid, signal.SIGKILL)
        run.wait(timeout=120)
    assert {p.stem for p in folder.glob("*.png")} == {s.name for s in grid}
    assert missing(grid, drawn_in(folder)) == ()
    drawn = (tmp_path / "journal").read_text().split()
    assert set(drawn) == {s.name for s in grid}
    assert len(drawn) <= 125 + 3, "what was whole was drawn again"
