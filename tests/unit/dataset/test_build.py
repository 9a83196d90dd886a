"""A build gives the same bytes for the same plan, leaves the originals alone, and loses nothing that is not its own."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.dataset.build import build, set_folder
from likeness.dataset.plan import Choice, Rules
from likeness.dataset.planning import plan_set, regular_captioner
from likeness.dataset.set_folder import captions_by_hand, check_set, read_set, set_lock, stage_of
from likeness.dataset.sources import batch_sources, folder_sources
from likeness.dataset.survey import survey
from likeness.errors import BadNameError, ImageError, LikenessError, PathError, StorageError
from likeness.paths import check_relative

from .pictures import ADA, ANYTHING, SMALL, folder_of, no_configs, plan_of, planned, save, scene, tree


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "photos", 4)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "training" / "ada" / "first"


def make(photos: Path, out: Path, **options: object) -> dict[str, bytes]:
    plan, sources = plan_of(photos, **{k: v for k, v in options.items() if k in ("rules", "choices", "repeats")})
    rest = {k: v for k, v in options.items() if k not in ("rules", "choices", "repeats")}
    build(plan, sources, out, no_configs, **rest)  # type: ignore[arg-type]
    return tree(out)


def test_a_set_holds_pictures_captions_and_what_is_needed_to_make_it_again(photos: Path, out: Path) -> None:
    files = make(photos, out)
    images = [f"img/10_ohwx woman/000{i}.{end}" for i in (1, 2, 3, 4) for end in ("png", "txt")]
    assert set(files) == {*images, "dataset.toml", "set.json", "sheet.jpg"}
    assert files["img/10_ohwx woman/0002.txt"] == b"ohwx woman, number 1\n"
    assert check_set(out) == ()
    assert read_set(out).plan.root == str(photos)


def test_the_same_plan_gives_the_same_bytes(photos: Path, out: Path) -> None:
    first = make(photos, out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert make(photos, out) == first
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before  # not even written again
    assert make(photos, out.parent.parent / "other" / "first") == first


def test_one_thread_gives_what_many_give(photos: Path, out: Path) -> None:
    assert make(photos, out, workers=1) == make(photos, out.with_name("again"), workers=7)


def test_the_originals_are_never_touched(photos: Path, out: Path) -> None:
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in photos.rglob("*")}
    make(photos, out)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in photos.rglob("*")} == before


def test_stale_caches_do_not_survive(photos: Path, out: Path) -> None:
    first = make(photos, out)
    images = out / "img" / "10_ohwx woman"
    for name in ("0001_0128x0128_sd.npz", "0001.npz", "metadata_cache.json"):
        (images / name).write_bytes(b"latents of a crop that is no more")
    (out / "cache").mkdir()
    (out / "cache" / "0001_sd.safetensors").write_bytes(b"musubi's")
    assert any("0001.npz" in line for line in check_set(out))
    assert make(photos, out) == first


def test_what_a_trainer_has_put_beside_it_survives(photos: Path, out: Path) -> None:
    make(photos, out)
    (out / "output" / "sample").mkdir(parents=True)
    (out / "output" / "ada-000003.safetensors").write_bytes(b"a LoRA")
    (out / "output" / "sample" / "1.png").write_bytes(b"a sample")
    (out / "notes.txt").write_text("mine")
    save(photos / "99.png", scene(99))
    files = make(photos, out)
    assert files["output/ada-000003.safetensors"] == b"a LoRA" and files["notes.txt"] == b"mine"
    assert files["output/sample/1.png"] == b"a sample" and "img/10_ohwx woman/0005.png" in files
    assert not list(out.parent.glob(".likeness-*"))


def test_only_the_caches_of_trainers_go(photos: Path, out: Path) -> None:
    first = make(photos, out)
    images = out / "img" / "10_ohwx woman"
    (images / "_latent_cache").mkdir()
    (images / "_latent_cache" / "0001.safetensors").write_bytes(b"of ai-toolkit")
    (images / ".aitk_size.json").write_text("{}")
    (out / "embeddings.npz").write_bytes(b"a user's own numbers")
    assert make(photos, out) == {**first, "embeddings.npz": b"a user's own numbers"}
    (out / "cache").mkdir()
    (out / "cache" / "notes.md").write_text("mine")
    with pytest.raises(LikenessError, match=r"cache/notes\.md"):
        make(photos, out)


def test_what_is_written_while_the_pictures_are_rendered_is_not_lost(photos: Path, out: Path) -> None:
    before = make(photos, out)
    save(photos / "99.png", scene(99))
    changed = out / "img" / "10_ohwx woman" / "0002.txt"

    def edit(done: int, of: int) -> None:
        changed.write_text("ohwx woman, in a red dress\n")

    with pytest.raises(LikenessError, match=r"0002\.txt: has changed"):
        make(photos, out, progress=edit)
    assert changed.read_text() == "ohwx woman, in a red dress\n" and set(tree(out)) == set(before)

    def add(done: int, of: int) -> None:
        (changed.parent / "mine.png").write_bytes(b"new")

    changed.write_bytes(before["img/10_ohwx woman/0002.txt"])
    with pytest.raises(LikenessError, match=r"mine\.png"):
        make(photos, out, progress=add)
    assert (changed.parent / "mine.png").exists()


def test_a_folder_of_somebody_else_is_refused(photos: Path, out: Path) -> None:
    save(out / "holiday.png", scene(9))
    with pytest.raises(LikenessError, match="no training set"):
        make(photos, out)
    assert set(tree(out)) == {"holiday.png"}


def test_a_picture_that_somebody_put_into_the_set_is_not_deleted(photos: Path, out: Path) -> None:
    make(photos, out)
    save(out / "img" / "10_ohwx woman" / "mine.png", scene(9))
    before = tree(out)
    with pytest.raises(LikenessError, match=r"mine\.png"):
        make(photos, out)
    assert tree(out) == before
    assert any("mine.png" in line for line in check_set(out))


def test_a_caption_changed_by_hand_is_not_lost(photos: Path, out: Path) -> None:
    make(photos, out)
    changed = out / "img" / "10_ohwx woman" / "0002.txt"
    changed.write_text("ohwx woman, in a red dress\n")
    with pytest.raises(LikenessError, match=r"0002\.txt: has changed"):
        make(photos, out)
    kept = captions_by_hand(out)
    assert kept == {"01.png": "ohwx woman, in a red dress"}
    choices = [Choice(source=source, caption=caption) for source, caption in kept.items()]
    files = make(photos, out, choices=choices, overwrite=True)
    assert files["img/10_ohwx woman/0002.txt"] == b"ohwx woman, in a red dress\n"


def test_a_name_of_ours_that_somebody_took_is_not_overwritten(photos: Path, out: Path) -> None:
    plan, sources = plan_of(photos)
    build(plan, sources, out, lambda plan, folder, regular: {})
    (out / "dataset.toml").write_text("mine")
    with pytest.raises(LikenessError, match=r"dataset\.toml"):
        build(plan, sources, out, no_configs)
    assert (out / "dataset.toml").read_text() == "mine"


def test_a_picture_that_changed_since_the_plan_is_refused(photos: Path, out: Path) -> None:
    plan, sources = plan_of(photos)
    save(photos / "01.png", scene(77))
    with pytest.raises(ImageError, match=r"01\.png has changed"):
        build(plan, sources, out, no_configs)
    assert not out.exists() and not list(out.parent.glob(".likeness-*.new"))


def test_a_picture_that_is_gone_is_refused(photos: Path, out: Path) -> None:
    plan, _ = plan_of(photos)
    (photos / "01.png").unlink()
    with pytest.raises(StorageError, match=r"01\.png"):
        build(plan, folder_sources(photos), out, no_configs)


def test_a_set_of_no_pictures_is_refused(photos: Path, out: Path) -> None:
    with pytest.raises(LikenessError, match="no face"):
        make(photos, out, rules=Rules(smallest=64, upscale=4.0))


def test_one_that_is_stopped_leaves_the_old_set(photos: Path, out: Path) -> None:
    before = make(photos, out)
    save(photos / "99.png", scene(99))

    def stop(done: int, of: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(photos, out, progress=stop)
    assert tree(out) == before and not list(out.parent.glob(".likeness-*.new"))


def test_it_stops_in_less_than_half_a_second(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "large"
    for i in range(12):
        save(folder / f"{i}.png", scene(i, 1200, 1200), compress_level=1)
    plan, sources = plan_of(folder)
    stop = threading.Event()
    threading.Timer(0.15, stop.set).start()
    asked: list[float] = []

    def check() -> None:
        if stop.is_set():
            asked.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        for _ in range(100):
            build(plan, sources, out, no_configs, check=check)
            remove(out)
    assert time.monotonic() - asked[0] < 0.5


def remove(out: Path) -> None:
    (out / "set.json").unlink()
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def test_only_one_builds_at_a_time(photos: Path, out: Path) -> None:
    make(photos, out)
    save(photos / "99.png", scene(99))
    results: list[BaseException | None] = []

    def other() -> None:
        try:
            make(photos, out)
            results.append(None)
        except LikenessError as error:
            results.append(error)

    with set_lock(out):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert isinstance(results[0], StorageError) and "still using" in str(results[0])


def test_what_a_killed_build_left_is_removed(photos: Path, out: Path) -> None:
    files = make(photos, out)
    save(stage_of(out) / "img" / "10_ohwx woman" / "0001.png", scene(3))
    assert read_set(out).files and tree(out) == files
    assert not stage_of(out).exists()


def test_every_rejection_can_be_taken_back(photos: Path, out: Path) -> None:
    save(photos / "tiny.png", scene(60, 100, 100))
    plan, sources = plan_of(photos)
    assert [(r.source, r.code) for r in plan.rejected] == [("tiny.png", "upscaled")]
    again = planned(sources, choices=[Choice(source="tiny.png", take=True), Choice(source="00.png", take=False)]).plan
    assert [i.source for i in again.items] == ["01.png", "02.png", "03.png", "tiny.png"]
    assert [(r.source, r.code) for r in again.rejected] == [("00.png", "by hand")]
    assert build(again, sources, out, no_configs).plan == again


def test_masks_become_alpha_and_files_for_onetrainer(out: Path) -> None:
    mask = np.zeros((160, 160), dtype=np.uint8)
    mask[:, 80:] = 255
    sources = batch_sources([scene(1), scene(2)], [mask])
    plan = planned(sources).plan
    build(plan, sources, out, no_configs)
    pixels = np.asarray(Image.open(out / "img" / "10_ohwx woman" / "0001.png"))
    assert pixels.shape == (128, 128, 4)
    assert (pixels[:, :56, 3] == 0).all() and (pixels[:, -56:, 3] == 255).all()
    assert pixels[:, :56, :3].std() > 10  # a mask hides nothing: the picture is whole below it
    label = np.asarray(Image.open(out / "masks" / "10_ohwx woman" / "0001-masklabel.png"))
    assert (label[:, :, 0] == pixels[:, :, 3]).all()
    assert check_set(out) == ()


def test_regularisation_pictures_lie_in_a_folder_of_their_own(photos: Path, out: Path, tmp_path: Path) -> None:
    plan, sources = plan_of(photos)
    others = folder_sources(folder_of(tmp_path / "women", 2, first=30))
    with_trigger = planned(others).plan
    with pytest.raises(LikenessError, match="trigger word 'ohwx'"):
        build(plan, sources, out, no_configs, regular=(with_trigger, others))
    made = plan_set(survey(others), ADA, regular_captioner(ADA), name="r", shape=SMALL, rules=ANYTHING)
    regular = (made.plan, others)
    build(plan, sources, out, no_configs, regular=regular)
    assert {n for n in tree(out) if n.startswith("reg/")} == {
        f"reg/1_woman/000{i}.{end}" for i in (1, 2) for end in ("png", "txt")
    }


def test_check_says_what_differs(photos: Path, out: Path) -> None:
    make(photos, out)
    images = out / "img" / "10_ohwx woman"
    save(images / "0001.png", scene(1, 100, 100))
    (images / "0002.txt").write_bytes(b"\xef\xbb\xbfa woman\r\n")
    (images / "0003.txt").unlink()
    told = "\n".join(check_set(out))
    assert "0001.png: has changed" in told and "100 x 100 px and its bucket 128 x 128" in told
    assert "0002.txt: does not begin with the trigger" in told and "byte order mark" in told
    assert "0003.txt: is missing" in told


def test_check_of_no_set_says_so(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match=r"no set\.json|has no set"):
        check_set(tmp_path)


def test_a_set_json_that_names_files_elsewhere_reads_nothing_there(photos: Path, out: Path) -> None:
    make(photos, out)
    values = json.loads((out / "set.json").read_text())
    values["files"]["../../../photos/00.png"] = "0" * 64
    (out / "set.json").write_text(json.dumps(values))
    with pytest.raises(PathError):
        check_set(out)


@pytest.mark.parametrize("name", ["../x", "", "con", "a/b"])
def test_a_sets_name_is_a_folders_name(photos: Path, name: str) -> None:
    with pytest.raises(BadNameError):
        plan_of(photos, name=name)


def test_a_set_lies_below_the_output_folder(photos: Path, tmp_path: Path) -> None:
    plan, _ = plan_of(photos, name="My first set")
    assert set_folder(tmp_path, plan) == tmp_path / "likeness" / "training" / "ada" / "my_first_set"
    assert all(check_relative(name) for name in ("set.json", *(n for _, n in plan.folder_names)))


def test_a_jpeg_that_is_decoded_smaller_shows_the_same(tmp_path: Path, out: Path) -> None:
    """Where a photo shrinks to less than half, its codec does half of the work."""
    smooth = np.asarray(Image.fromarray(scene(5, 60, 60)).resize((1200, 1200), Image.Resampling.BICUBIC))
    save(tmp_path / "photos" / "x.jpg", smooth, quality=95)
    plan, sources = plan_of(tmp_path / "photos", rules=ANYTHING)
    build(plan, sources, out, no_configs)
    written = np.asarray(Image.open(out / "img" / "10_ohwx woman" / "0001.png"), dtype=np.float64)
    exact = np.asarray(Image.fromarray(smooth).resize((128, 128), Image.Resampling.LANCZOS), dtype=np.float64)
    assert np.abs(written - exact).mean() < 2.0
