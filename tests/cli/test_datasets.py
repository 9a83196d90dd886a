"""`likeness dataset`: a folder becomes a plan, the plan a set, and the set is checked."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from likeness.cli.datasets import add_dataset
from likeness.cli.places import Places
from likeness.create import NamedImage, create_character, draft
from likeness.dataset.plan import parse_plan
from likeness.doctor import model_folders
from likeness.errors import LikenessError

from ..fakes import FakeAnalyser, face_picture
from ..unit.dataset.pictures import folder_of, save, scene


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(None, model_folders(tmp_path / "models"), tmp_path / "cache")
    pictures = [NamedImage(f"photo {i}", face_picture(1, i)) for i in range(3)]
    create_character(found.library(), draft("Ada", trigger="adaray", class_word="woman"), pictures, FakeAnalyser())
    return found


def run(places: Places, *words: object) -> int:
    parser = argparse.ArgumentParser()
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true")
    shared.add_argument("--verbose", action="store_true")

    def judging(parser: argparse.ArgumentParser) -> None:
        for name in ("face_model", "provider", "backend"):
            parser.add_argument(f"--{name.replace('_', '-')}", default="")

    add_dataset(parser.add_subparsers(), shared, judging)
    parsed = parser.parse_args(["dataset", *map(str, words)])
    return int(parsed.command(parsed, places) or 0)


@pytest.fixture
def planned(places: Places, tmp_path: Path) -> Path:
    """Three pictures of 300 px and a tiny one, planned at 256 px."""
    folder = tmp_path / "photos"
    for i in range(3):
        save(folder / f"{i}.png", scene(i, 300, 300))
    save(folder / "tiny.png", scene(9, 90, 90))
    plan = tmp_path / "plan.json"
    words = ("--character", "Ada", "--no-faces", "--side", 256, "--rule", "smallest=64", "--out", plan)
    assert run(places, "plan", folder, *words, "--sheet", tmp_path / "sheet.jpg") == 0
    return plan


def test_a_plan_says_what_is_taken_and_writes_nothing_else(
    places: Places, planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--character", "Ada", "--no-faces", "--side", 256, "--rule", "smallest=64", "--out", planned)
    assert run(places, "plan", tmp_path / "photos", *words) == 0
    told = capsys.readouterr().out
    assert "3 of 4 pictures are taken" in told and "tiny.png: upscaled" in told
    plan = parse_plan(planned.read_bytes())
    assert [r.code for r in plan.rejected] == ["upscaled"] and plan.trigger == "adaray"
    assert (tmp_path / "sheet.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert {p.name for p in tmp_path.iterdir()} == {"plan.json", "sheet.jpg", "photos", "models"}


def test_build_and_check(places: Places, planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sets" / "first"
    assert run(places, "build", planned, "--out", out) == 0
    assert run(places, "check", out) == 0 and run(places, "check", out / "set.json") == 0
    assert "as it was built" in capsys.readouterr().out
    assert run(places, "build", planned, "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    caption = next(out.rglob("0002.txt"))
    caption.write_text("a woman\n")
    assert run(places, "check", out) == 1
    assert "0002.txt: does not begin with the trigger" in capsys.readouterr().out


def test_a_moved_set_is_told_and_put_right(
    places: Places, planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sets" / "first"
    assert run(places, "build", planned, "--out", out) == 0
    moved = out.rename(tmp_path / "sets" / "moved")
    capsys.readouterr()
    assert run(places, "check", moved) == 1
    assert f"names {out}, and the set lies in {moved}: correct it by `likeness dataset" in capsys.readouterr().out
    assert run(places, "check", moved, "--fix") == 0
    assert "Wrote dataset.toml anew." in (told := capsys.readouterr().out) and "as it was built" in told
    assert run(places, "check", moved) == 0 and str(out) not in (moved / "train_sd15.toml").read_text()
    assert run(places, "build", planned, "--out", moved, "--json") == 0
    assert '"changed": false' in capsys.readouterr().out, "as a build there would write it"


def test_a_caption_written_by_hand_comes_into_the_next_plan(places: Places, planned: Path, tmp_path: Path) -> None:
    out = tmp_path / "sets" / "first"
    run(places, "build", planned, "--out", out)
    next(out.rglob("0002.txt")).write_text("adaray woman, by hand\n")
    with pytest.raises(LikenessError, match=r"0002\.txt: has changed"):
        run(places, "build", planned, "--out", out)
    words = ("--character", "Ada", "--no-faces", "--side", 256, "--rule", "smallest=64", "--out", planned)
    run(places, "plan", tmp_path / "photos", *words, "--from-set", out)
    assert run(places, "build", planned, "--out", out, "--overwrite") == 0
    assert next(out.rglob("0002.txt")).read_text() == "adaray woman, by hand\n"


def test_choices_of_a_file(places: Places, planned: Path, tmp_path: Path) -> None:
    (tmp_path / "choices.txt").write_text("take: tiny.png\nleave: 0.png\n")
    words = ("--character", "Ada", "--no-faces", "--side", 256, "--rule", "smallest=64", "--out", planned)
    run(places, "plan", tmp_path / "photos", *words, "--choices", tmp_path / "choices.txt")
    assert [i.source for i in parse_plan(planned.read_bytes()).items] == ["1.png", "2.png", "tiny.png"]
    run(places, "plan", tmp_path / "photos", *words, "--choices", planned)  # a plan holds its choices
    assert [i.source for i in parse_plan(planned.read_bytes()).items] == ["1.png", "2.png", "tiny.png"]


@pytest.mark.parametrize(
    ("text", "told"),
    [("a.png", "neither"), ("take:", "neither"), ("[{}]", "source"), ("{", "JSON"), ('[{"source": "a", "x": 1}]', "x")],
)
def test_choices_that_are_none_are_refused(places: Places, planned: Path, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "choices.txt").write_text(text)
    with pytest.raises(LikenessError, match=told):
        run(places, "plan", tmp_path / "photos", "--character", "Ada", "--choices", tmp_path / "choices.txt")


@pytest.mark.parametrize("rule", ["sharpness", "sharpnes=3", "sharpness=soft", "upscale=0.5"])
def test_a_rule_that_is_none_is_refused(places: Places, planned: Path, tmp_path: Path, rule: str) -> None:
    with pytest.raises(LikenessError):
        run(places, "plan", tmp_path / "photos", "--character", "Ada", "--no-faces", "--rule", rule)


def test_regularisation_pictures_carry_the_class_and_no_trigger(places: Places, planned: Path, tmp_path: Path) -> None:
    folder_of(tmp_path / "women", 2, first=40)
    for path in (tmp_path / "women").iterdir():
        save(path, scene(int(path.stem), 300, 300))
    regular = tmp_path / "reg.json"
    words = ("--character", "Ada", "--regular", "--side", 256, "--rule", "smallest=64", "--out", regular)
    assert run(places, "plan", tmp_path / "women", *words) == 0
    out = tmp_path / "sets" / "first"
    assert run(places, "build", planned, "--reg", regular, "--out", out) == 0
    assert {p.read_text() for p in (out / "reg" / "1_woman").glob("*.txt")} == {"woman\n"}
    assert "is_reg = true" in (out / "dataset.toml").read_text() and run(places, "check", out) == 0


def test_lint_tells_what_is_wrong_with_captions(
    places: Places, planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = json.loads(planned.read_text())
    values["items"][0]["caption"] = "a woman without the word"
    planned.write_text(json.dumps(values))
    capsys.readouterr()
    assert run(places, "lint", planned) == 1
    assert "trigger" in capsys.readouterr().out


def test_find_and_replace_becomes_choices(places: Places, planned: Path, tmp_path: Path) -> None:
    values = json.loads(planned.read_text())
    values["items"][1]["caption"] = "adaray woman, red hat"
    planned.write_text(json.dumps(values))
    assert run(places, "replace", planned, "red hat", "blue hat", "--dry-run") == 0
    assert "red hat" in planned.read_text()
    assert run(places, "replace", planned, "red hat", "blue hat") == 0
    plan = parse_plan(planned.read_bytes())
    assert plan.items[1].caption == "adaray woman, blue hat" == plan.choices[0].caption
    assert run(places, "replace", planned, "red hat", "blue hat") == 1


def test_an_empty_folder_gives_no_set(places: Places, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    plan = tmp_path / "plan.json"
    words = ("--character", "Ada", "--no-faces", "--out", plan)
    assert run(places, "plan", tmp_path / "empty", *words) == 1
    with pytest.raises(LikenessError, match="no picture"):
        run(places, "build", plan, "--out", tmp_path / "x")


def test_an_edited_caption_planned_from_the_set_is_built_without_overwrite(
    places: Places, planned: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sets" / "first"
    run(places, "build", planned, "--out", out)
    next(out.rglob("0002.txt")).write_text("adaray, by hand\n")
    run(places, "plan", tmp_path / "photos", "--character", "Ada", "--no-faces", "--from-set", out, "--out", planned)
    next(out.rglob("0001.txt")).write_text("adaray, later\n")
    with pytest.raises(LikenessError, match=r"0001\.txt: has changed .*\(1 files"):
        run(places, "build", planned, "--out", out)
    run(places, "plan", tmp_path / "photos", "--character", "Ada", "--no-faces", "--from-set", out, "--out", planned)
    assert run(places, "build", planned, "--out", out) == 0
    assert [p.read_text() for p in sorted(out.rglob("000[12].txt"))] == ["adaray, later\n", "adaray, by hand\n"]


def test_a_set_planned_again_keeps_its_settings(
    places: Places, planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "sets" / "first"
    words = ("--character", "Ada", "--no-faces", "--side", 256, "--rule", "smallest=64", "--rule", "upscale=3.0",
             "--steps", 500, "--trigger", "zz9", "--class-word", "beach", "--name", "sand",
             "--out", planned)  # fmt: skip
    run(places, "plan", photos, *words)
    first = parse_plan(planned.read_bytes())
    run(places, "build", planned, "--out", out)
    capsys.readouterr()
    run(places, "plan", photos, "--character", "Ada", "--from-set", out, "--out", planned)
    assert parse_plan(planned.read_bytes()) == first and len(first.items) == 4
    assert "upscale=3.0" in capsys.readouterr().out
    more = ("--rule", "upscale=1.0", "--steps", 600, "--trigger", "yy8", "--name", "dune")
    run(places, "plan", photos, "--character", "Ada", "--from-set", out, "--out", planned, *more)
    other = parse_plan(planned.read_bytes())
    assert (other.rules.upscale, other.rules.smallest, other.wish.steps) == (1.0, 64, 600)
    assert (other.name, other.trigger, other.class_word, other.shape) == ("dune", "yy8", "beach", first.shape)


def test_a_set_without_faces_is_not_captioned_as_the_person(
    places: Places, planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--character", "Ada", "--no-faces", "--side", 256, "--rule", "smallest=64", "--out", planned)
    run(places, "plan", tmp_path / "photos", *words)
    plan = parse_plan(planned.read_bytes())
    assert plan.class_word == "" and not any("woman" in i.caption for i in plan.items)
    told = capsys.readouterr().out
    assert "not known" not in told and "portrait" not in told
    assert "--rule upscale=" in told and "the limit is 1.00." in told


def test_captions_are_listed_where_more_is_asked_for(
    places: Places, planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos" / "1.txt").write_text("adaray, a red barn")
    words = ("--character", "Ada", "--no-faces", "--side", 256, "--rule", "smallest=64", "--out", planned)
    run(places, "plan", tmp_path / "photos", *words)
    assert "red barn" not in capsys.readouterr().out
    run(places, "plan", tmp_path / "photos", *words, "--verbose")
    assert "  0002 1.png: adaray, a red barn" in capsys.readouterr().out


def test_choices_may_hold_comments_and_an_unreadable_picture_is_named(
    places: Places, planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    choices = tmp_path / "choices.txt"
    choices.write_text("# mine\n\ntake: broken.jpg\nleave: 0.png\n")
    words = ("--character", "Ada", "--no-faces", "--side", 256, "--out", planned, "--choices", choices)
    run(places, "plan", tmp_path / "photos", *words)
    assert "broken.jpg cannot be taken, as a choice asks: " in capsys.readouterr().out
    choices.write_text("# mine\n\nkeep: 0.png\n")
    with pytest.raises(LikenessError, match=r"line 3: 'keep: 0\.png' is neither"):
        run(places, "plan", tmp_path / "photos", *words)


WORDS = ("--character", "Ada", "--no-faces", "--side", 256, "--rule", "smallest=64")


def test_a_plan_writes_over_no_picture_and_no_other_file(places: Places, planned: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    before = (photos / "0.png").read_bytes()
    with pytest.raises(LikenessError, match=r"is no plan.*give --out another name"):
        run(places, "plan", photos, *WORDS, "--out", photos / "0.png")
    with pytest.raises(LikenessError, match="one of the pictures that are planned"):
        run(places, "plan", photos, *WORDS, "--out", planned, "--sheet", photos / "0.png")
    assert (photos / "0.png").read_bytes() == before


def test_choices_of_the_plan_that_is_written_over_are_kept(
    places: Places, planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choices = tmp_path / "choices.txt"
    choices.write_text("leave: 1.png")
    run(places, "plan", tmp_path / "photos", *WORDS, "--out", planned, "--choices", choices)
    capsys.readouterr()
    run(places, "plan", tmp_path / "photos", *WORDS, "--out", planned)
    assert "The 1 choices of the plan that was there are kept." in capsys.readouterr().out
    plan = parse_plan(planned.read_bytes())
    assert [i.source for i in plan.items] == ["0.png", "2.png"]


def test_pictures_without_faces_are_not_called_checked(places: Places, planned: Path, tmp_path: Path) -> None:
    words = ("--character", "Ada", "--rule", "need_face=false", "--out", tmp_path / "other.json")
    with pytest.raises(LikenessError, match="nobody checks whom they show"):
        run(places, "plan", tmp_path / "photos", *words)
