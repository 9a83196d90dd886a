"""A set that was copied or moved names its old folder: that is found, and put right without the original pictures."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from likeness.dataset.configs import config_files
from likeness.dataset.moved import check_place, place_finding, put_right
from likeness.dataset.plan import SetPlan, Wish
from likeness.dataset.set_folder import check_set, emit_set, read_set
from likeness.errors import LikenessError
from likeness.profile import FAMILIES, BaseFamily

from .test_presets import item, plan_of


def a_set(folder: Path, family: BaseFamily = "sd15") -> Path:
    """The configs of a set, and its folders."""
    plan, regular = plan_of(item(1), item(2, repeats=3), wish=Wish(family=family)), regular_of(family)
    for _, name in plan.folder_names:
        (folder / "img" / name).mkdir(parents=True)
    (folder / "reg" / f"1_{regular.class_word}").mkdir(parents=True)
    files = config_files(plan, folder, regular)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "set.json").write_bytes(emit_set(plan, {n: sha256(d).hexdigest() for n, d in files.items()}))
    return folder


def regular_of(family: BaseFamily) -> SetPlan:
    return plan_of(item(1, caption="woman"), regular=True, wish=Wish(family=family))


def configs(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != "set.json"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("new", ["plain", "größe ’n “more”", "with 'one' and \"two\"", "$& \\1 [a]"])
def test_a_copied_set_is_written_as_it_would_be_built_there(tmp_path: Path, family: BaseFamily, new: str) -> None:
    old, copy = a_set(tmp_path / "it's old", family), tmp_path / new
    assert place_finding(old) == "" and put_right(old) == ()
    shutil.copytree(old, copy)
    plan, before = read_set(copy).plan, configs(old)
    with pytest.raises(LikenessError, match=r"names .*it's old, and the set lies in .* `likeness dataset check --fix"):
        check_place(copy)
    assert put_right(copy)
    new_configs = config_files(plan, copy, regular_of(family))
    assert configs(copy) == new_configs and configs(old) == before
    assert place_finding(copy) == "" and put_right(copy) == ()
    assert not [line for line in check_set(copy) if "toml" in line or "json" in line]


def test_what_was_edited_by_hand_stays_and_is_still_told(tmp_path: Path) -> None:
    old = a_set(tmp_path / "old")
    text = (old / "train_sd15.toml").read_text()
    mine = 'pretrained_model_name_or_path = "/models/old/img/x.safetensors"\nvae = "OLD er/img/y"\n'
    (old / "train_sd15.toml").write_text(mine.replace("OLD", str(old)) + text)
    new = old.rename(tmp_path / "new")
    assert "train_sd15.toml" in put_right(new)
    assert (new / "train_sd15.toml").read_text().startswith(mine.replace("OLD", str(old)))
    assert f'output_dir = "{new}/output"' in (new / "train_sd15.toml").read_text()
    assert "train_sd15.toml: has changed" in check_set(new)
    assert not any("dataset.toml" in line for line in check_set(new))


def test_a_set_seen_by_another_way_is_in_its_place(tmp_path: Path) -> None:
    old = a_set(tmp_path / "old")
    (tmp_path / "link").symlink_to(old)
    assert place_finding(tmp_path / "link") == "" and put_right(tmp_path / "link") == ()


def test_a_set_of_another_system_is_told_and_put_right(tmp_path: Path) -> None:
    folder = a_set(tmp_path / "set")
    for name in configs(folder):
        path = folder / name
        path.write_bytes(path.read_bytes().replace(str(folder).encode(), b"C:/Users/Ada/sets/first"))
    assert "names C:/Users/Ada/sets/first, and the set lies in" in place_finding(folder)
    assert put_right(folder) and place_finding(folder) == ""


@pytest.mark.parametrize(
    "text",
    [
        'image_dir = "img/10_ohwx woman"',  # from the trainer's folder: whose, nobody knows
        'image_dir = "/elsewhere/pictures"',
        'image_dir = "/elsewhere/img/other"',  # is not in this set
        'image_dir = "\\ud800/img/10_ohwx woman"',
        "it's = = no \"TOML",
        "\0",
    ],
)
def test_other_configs_are_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "img" / "10_ohwx woman").mkdir(parents=True)
    (tmp_path / "dataset.toml").write_text(text)
    assert place_finding(tmp_path) == ""


def test_what_is_no_set_is_not_put_right(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match="is no training set"):
        put_right(tmp_path)


def test_files_that_are_no_text_are_no_configs(tmp_path: Path) -> None:
    folder = a_set(tmp_path / "set")
    (folder / "notes.toml").write_bytes(b"\xff\xfe")
    with (folder / "large.json").open("wb") as f:
        os.truncate(f.fileno(), 5 << 20)
    (folder / "folder.yaml").mkdir()
    assert place_finding(folder) == "" and json.loads((folder / "set.json").read_bytes())
