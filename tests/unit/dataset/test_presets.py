"""What a training takes: every family's numbers, steps and epochs as the trainers count them, memory."""

from __future__ import annotations

import re
from collections import Counter
from math import ceil
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.dataset.buckets import Bucket, Shape, buckets_of
from likeness.dataset.plan import MAX_REPEATS, Box, Item, SetPlan, Wish
from likeness.dataset.presets import (
    EPOCHS,
    PRESETS,
    advice,
    counts_of,
    preset_for,
    repeats_for,
    schedule_of,
    shape_for,
    steps_of,
    usual_steps,
)
from likeness.dataset.vram import vram_of
from likeness.errors import LikenessError
from likeness.profile import FAMILIES, BaseFamily

BUCKETS = buckets_of(Shape())
SQUARE = Bucket(768, 768)


def item(number: int, bucket: Bucket = SQUARE, repeats: int = 1, caption: str = "ohwx woman") -> Item:
    return Item(
        source=f"{number}.png",
        sha256="0" * 64,
        width=2000,
        height=2000,
        box=Box(left=0, top=0, width=bucket.width, height=bucket.height),
        bucket_width=bucket.width,
        bucket_height=bucket.height,
        stem=f"{number:04d}",
        caption=caption,
        repeats=repeats,
    )


def plan_of(*items: Item, **values: object) -> SetPlan:
    return SetPlan(name="first", slug="ada", trigger="ohwx", class_word="woman", items=items, **values)  # type: ignore[arg-type]


items = st.lists(st.tuples(st.sampled_from(BUCKETS), st.integers(1, 12)), min_size=1, max_size=12).map(
    lambda pairs: [item(i, bucket, repeats) for i, (bucket, repeats) in enumerate(pairs, 1)]
)


# ---- presets


def test_every_family_has_a_preset() -> None:
    assert set(PRESETS) == set(get_args(BaseFamily)) == set(FAMILIES)
    assert all(preset_for(family).family == family for family in FAMILIES)


def test_sd15_has_the_numbers_that_were_chosen_for_it() -> None:
    sd15 = preset_for("sd15")
    assert (sd15.rank, sd15.alpha, sd15.rate, sd15.side, sd15.precision) == (32, 32.0, 1e-4, 768, "fp16")
    assert sd15.steps == (2000, 3000, 4000) and sd15.scheduler == "cosine"
    assert schedule_of(plan_of(item(1))).warmup == 100


def test_sdxl_has_the_numbers_that_were_chosen_for_it() -> None:
    sdxl = preset_for("sdxl")
    assert (sdxl.ranks, sdxl.side, sdxl.steps[0], sdxl.steps[2]) == ((32, 128), 1024, 1000, 3000)
    assert (sdxl.rate_at(32), sdxl.rate_at(128)) == (1e-4, 5e-5)
    assert sdxl.options["no_half_vae"] is True


@pytest.mark.parametrize("family", FAMILIES)
def test_another_rank_does_not_change_how_strongly_a_lora_acts(family: BaseFamily) -> None:
    preset = preset_for(family)
    assert preset.alpha_at(preset.rank) == preset.alpha
    assert preset.alpha_at(64) / 64 == pytest.approx(preset.alpha / preset.rank)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_preset_is_sane(family: BaseFamily) -> None:
    preset = preset_for(family)
    low, usual, high = preset.steps
    assert 0 < low < usual < high and preset.ranks[0] <= preset.rank <= preset.ranks[1]
    assert 1e-5 < preset.rate < 1e-3 and preset.source
    assert bool(preset.trainer) == bool(preset.script) == bool(preset.module)
    assert shape_for(family).side == preset.side and shape_for(family, 512).side == 512


# ---- steps, epochs, repeats


def as_sd_scripts_counts(own: list[Item], regular: list[Item], batch: int) -> int:
    """Steps of one epoch, as `DreamBoothDataset` and `make_buckets` come to them."""
    repeats = {("own", i.stem): i.repeats for i in own}
    train, n, first = sum(repeats.values()), 0, True
    while regular and n < train:
        for info in regular:
            if first:
                repeats["reg", info.stem] = 1
            else:
                repeats["reg", info.stem] += 1
            n += 1
            if n >= train:
                break
        first = False
    sizes = {("own", i.stem): i.bucket for i in own} | {("reg", i.stem): i.bucket for i in regular}
    buckets: dict[Bucket, int] = {}
    for key, count in repeats.items():
        buckets[sizes[key]] = buckets.get(sizes[key], 0) + count
    return sum(ceil(count / batch) for count in buckets.values())


@given(items, st.one_of(st.just([]), items), st.integers(1, 8), st.integers(1, 500))
def test_steps_are_counted_as_the_trainer_counts_them(
    own: list[Item], regular: list[Item], batch: int, steps: int
) -> None:
    plan = plan_of(*own, wish=Wish(batch=batch, steps=steps))
    schedule = schedule_of(plan, plan_of(*regular) if regular else None)
    assert schedule.steps_per_epoch == as_sd_scripts_counts(own, regular, batch)
    assert schedule.steps == steps
    assert (schedule.epochs - 1) * schedule.steps_per_epoch < steps <= schedule.epochs * schedule.steps_per_epoch
    assert schedule.samples == plan.samples * (2 if regular else 1)
    assert 0 <= schedule.warmup <= steps / 10 and 1 <= schedule.every <= steps


def test_regularisation_pictures_are_drawn_by_their_names_whatever_order_a_plan_has() -> None:
    wide, tall = Bucket(832, 704), Bucket(704, 832)
    assert counts_of([item(1)], [item(2, wide), item(1, tall)]) == Counter({SQUARE: 1, tall: 1})


def test_a_batch_holds_pictures_of_one_bucket() -> None:
    wide, tall = Bucket(832, 704), Bucket(704, 832)
    counts = counts_of([item(1, wide, 3), item(2, wide, 2), item(3, tall, 1)])
    assert counts == Counter({wide: 5, tall: 1})
    assert [steps_of(counts, batch) for batch in (1, 2, 4, 8)] == [6, 4, 3, 2]


def test_musubi_counts_each_number_of_repeats_on_its_own() -> None:
    pictures = (item(1, repeats=3), item(2, repeats=2))
    wish = Wish(batch=4)
    assert schedule_of(plan_of(*pictures, wish=wish)).steps_per_epoch == 2  # 5 of one bucket
    musubi = plan_of(*pictures, wish=wish.model_copy(update={"family": "z_image"}))
    assert schedule_of(musubi).steps_per_epoch == 2  # 3 and 2
    more = plan_of(item(1, repeats=3), item(2, repeats=1), wish=musubi.wish)
    assert schedule_of(more).steps_per_epoch == 2  # 3 and 1, where sd-scripts has 4 in 1
    assert schedule_of(more, plan_of(item(9))).samples == 4  # without the regularisation pictures


@given(st.integers(1, 2000), st.integers(1, 20_000), st.integers(1, 16))
def test_repeats_give_about_the_usual_number_of_epochs(pictures: int, steps: int, batch: int) -> None:
    repeats = repeats_for(pictures, steps, batch)
    assert 1 <= repeats <= MAX_REPEATS
    exact = steps * batch / (pictures * EPOCHS)
    assert abs(repeats - exact) <= 0.5 or repeats in (1, MAX_REPEATS)


@pytest.mark.parametrize(("pictures", "steps", "repeats"), [(30, 3000, 10), (20, 2000, 10), (100, 1000, 1), (3, 40, 1)])
def test_repeats_of_usual_sets(pictures: int, steps: int, repeats: int) -> None:
    assert repeats_for(pictures, steps) == repeats


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(LikenessError):
        repeats_for(0, 100)
    with pytest.raises(LikenessError, match="no picture"):
        schedule_of(plan_of())


def test_a_schedule_says_when_its_last_epoch_ends_early() -> None:
    assert str(schedule_of(plan_of(item(1, repeats=10), wish=Wish(steps=30)))) == "30 steps: 3 epochs of 10"
    told = str(schedule_of(plan_of(item(1, repeats=10), wish=Wish(steps=31))))
    assert told == "31 steps: 4 epochs of 10, the last one in part"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"wish": Wish(steps=100)}, "100 steps are few"),
        ({"wish": Wish(steps=50_000)}, "50000 steps are many"),
        ({"wish": Wish(steps=3000)}, "shown about 3000 times"),
        ({"wish": Wish(family="sdxl", rank=8)}, "Rank 8 is unusual"),
        ({"wish": Wish(family="sdxl")}, "sdxl is usually trained at 1024"),
        ({"wish": Wish(family="kolors")}, "Neither sd-scripts nor musubi-tuner trains kolors"),
    ],
)
def test_what_is_unusual_is_said(values: dict[str, object], said: str) -> None:
    assert any(said in line for line in advice(plan_of(item(1), **values)))


def pictures(count: int, caption: str = "ohwx woman, smiling, outdoors") -> list[Item]:
    return [item(i, caption=caption) for i in range(1, count + 1)]


def test_of_a_usual_wish_only_the_memory_is_told() -> None:
    (told,) = advice(plan_of(*pictures(30)))
    assert re.fullmatch(r"The training needs about \d+ GB of GPU memory \(an estimate\)\.", told)


def test_few_pictures_get_a_number_of_steps_that_needs_no_further_advice() -> None:
    told = "\n".join(advice(plan_of(*pictures(7))))
    assert "shown about 429 times: 7 pictures are few for 3000 steps. Try --steps 800, about 114 times each" in told
    assert len(advice(plan_of(*pictures(7), wish=Wish(steps=800)))) == 1  # the memory


def test_many_pictures_get_no_more_steps_than_the_preset_has() -> None:
    told = "\n".join(advice(plan_of(*pictures(200))))
    assert "shown about 15 times: 200 pictures are many for 3000 steps. Try --steps 4000" in told


def test_regularisation_pictures_halve_how_often_a_picture_is_shown() -> None:
    told = "\n".join(advice(plan_of(*pictures(7)), plan_of(*pictures(3))))
    assert "take 7 of 14 samples: a picture is shown about 214 times in place of 429" in told
    assert "Try --steps 1700, about 121 times" in told


@pytest.mark.parametrize(("lists", "said"), [(6, "tags of all captions are shuffled: 6 of 7"), (2, "only 2 of 7")])
def test_captions_that_disagree_are_told(lists: int, said: str) -> None:
    short = [item(i, caption="ohwx woman") for i in range(lists + 1, 8)]
    assert said in "\n".join(advice(plan_of(*pictures(lists), *short)))
    assert said not in "\n".join(advice(plan_of(*pictures(7))))


def test_a_wish_without_steps_takes_the_familys() -> None:
    assert (usual_steps("sd15"), usual_steps("sdxl")) == (3000, 2000)


# ---- memory


def test_memory_grows_with_size_batch_and_rank() -> None:
    def most(side: int = 768, **wish: object) -> float:
        shape = shape_for("sd15", side)
        square = Bucket(side, side)
        found = vram_of(plan_of(item(1, square), shape=shape, wish=Wish(**wish)))  # type: ignore[arg-type]
        assert found is not None
        return found.training

    assert most() < most(1024) and most() < most(batch=4) and most() < most(rank=128)


def test_memory_is_called_an_estimate_and_near_what_the_trainers_docs_say() -> None:
    def told(family: BaseFamily) -> float:
        found = vram_of(plan_of(item(1), wish=Wish(family=family), shape=Shape()))
        assert found is not None and "estimate" in str(found)
        return found.most

    assert 3 < told("sd15") < 8 and 6 < told("sdxl") < 12 and 12 < told("flux") < 24
    assert vram_of(plan_of(item(1), wish=Wish(family="wan"))) is None  # not counted: no number is better than a guess
