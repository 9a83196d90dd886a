"""What would have trained wrongly in silence, or lost something."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.dataset.buckets import Shape
from likeness.dataset.plan import Rules, emit_plan, parse_plan
from likeness.dataset.planning import About, Planned, plan_set
from likeness.dataset.render import render
from likeness.dataset.sources import Sources, batch_sources, folder_sources
from likeness.dataset.survey import survey
from likeness.errors import ImageError, LikenessError
from likeness.files import link_files

SHAPE = Shape.of(256)
ANYTHING = Rules(need_face=False, identity="off", smallest=64, picture_sharpness=0.0)


def noise(width: int, height: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def planned(sources: Sources) -> Planned:
    who = About("Ada", "ada", "adaray", "woman")
    return plan_set(survey(sources), who, lambda asked: "adaray woman", name="set", shape=SHAPE, rules=ANYTHING)


def test_a_mask_that_trains_nothing_is_said_and_not_trained() -> None:
    sources = batch_sources([noise(300, 300), noise(300, 300, 2)], [np.zeros((300, 300), np.uint8), None])
    plan = planned(sources).plan
    assert [i.source for i in plan.items] == ["batch/0002"]
    (left,) = plan.rejected
    assert "mask is 0 everywhere" in left.reason and "Load Image" in left.reason


def test_a_mask_outside_the_crop_stops_the_build() -> None:
    mask = np.zeros((300, 900), np.uint8)
    mask[:, :20] = 255
    sources = batch_sources([noise(900, 300)], [mask])
    item = planned(sources).plan.items[0]
    right = item.box.model_copy(update={"left": 600, "top": 100, "width": 200, "height": 100})
    with pytest.raises(ImageError, match="leaves nothing of its crop to train"):
        render(item.model_copy(update={"box": right}), sources.pictures[0], ANYTHING)


def test_a_box_that_is_not_of_its_buckets_shape_is_refused() -> None:
    plan = planned(batch_sources([noise(300, 300)])).plan
    values = json.loads(emit_plan(plan))
    values["items"][0]["box"]["height"] -= 40
    with pytest.raises(LikenessError, match="would be squeezed"):
        parse_plan(json.dumps(values).encode())


def test_a_plan_of_another_size_than_the_picture_stops_the_build(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg"):
        Image.fromarray(noise(300, 300, len(name))).save(tmp_path / name)
    sources = folder_sources(tmp_path)
    for item in planned(sources).plan.items:
        source = sources.find(item.source)
        assert render(item, source, ANYTHING).png
        with pytest.raises(ImageError, match="is no picture of 1500 x 1500 px"):
            render(item.model_copy(update={"width": 1500, "height": 1500}), source, ANYTHING)


@pytest.mark.parametrize("backdrop", [(999, 0, 0), (-5, 0, 0)])
def test_a_backdrop_is_a_colour(backdrop: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="backdrop"):
        Rules(backdrop=backdrop)


def test_a_caption_belongs_to_the_picture_of_exactly_its_name(tmp_path: Path) -> None:
    for name in ("A", "a"):
        Image.fromarray(noise(300, 300, ord(name))).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(f"caption of {name}")
    if len(list(tmp_path.iterdir())) < 4:
        pytest.skip("this file system does not tell upper from lower case")
    found = {s.name: s.caption for s in folder_sources(tmp_path).pictures}
    assert found == {"A.png": b"caption of A", "a.png": b"caption of a"}


def test_a_mask_beside_a_picture_in_capitals_is_no_picture(tmp_path: Path) -> None:
    Image.fromarray(noise(300, 300)).save(tmp_path / "DSC1.JPG")
    Image.fromarray(noise(300, 300)).save(tmp_path / "DSC1-masklabel.png")
    sources = folder_sources(tmp_path)
    assert [s.name for s in sources.pictures] == ["DSC1.JPG"] and "mask" in sources.left_out[0].reason


def test_a_link_that_a_user_put_into_a_set_stays_a_link(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "ada.safetensors").write_bytes(b"lora")
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "output").symlink_to(disk)
    (old / "logs").mkdir()
    (old / "logs" / "more").symlink_to(disk)
    (old / "logs" / "a.txt").write_text("a")
    for name in ("output", "logs"):
        link_files(old / name, new / name)
    assert (new / "output").is_symlink() and (new / "logs" / "more").is_symlink()
    assert (new / "output" / "ada.safetensors").read_bytes() == b"lora" and (new / "logs" / "a.txt").is_file()
