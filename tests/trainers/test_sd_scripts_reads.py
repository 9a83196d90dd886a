"""kohya-ss/sd-scripts' own parsers, config loader and dataset classes read what we write, and see what we meant."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from likeness.dataset.buckets import Shape
from likeness.dataset.configs import config_files
from likeness.dataset.configs.samples import SEED, sampling_of, scenes_of
from likeness.dataset.configs.toml_text import Table, Value, toml_bytes
from likeness.dataset.plan import Box, Item, SetPlan, Wish
from likeness.dataset.presets import PRESETS, counts_of, schedule_of
from likeness.errors import LikenessError

from .sets import make_set, sentence
from .trainer import Trainer

FAMILIES = [p.family for p in PRESETS.values() if p.trainer == "sd-scripts"]
PROMPTS = {"sd-scripts": "library.train_util", "musubi-tuner": "musubi_tuner.training.sampling_prompts"}
ITEM = Item(
    source="a.png",
    sha256="0" * 64,
    width=704,
    height=832,
    box=Box(left=0, top=0, width=704, height=832),
    bucket_width=704,
    bucket_height=832,
    stem="0001",
    caption="ohwx woman",
)
STRANGE = "\"\\'#[]{},=.u0xnUt \t\n\r\v\f\x1c\x85\u2028é日😀ab-_/:\x7f\x01\u3000("
ALWAYS = "no regularization images"  # sd-scripts warns of sets without them, whatever they are


def read(trainer: Trainer, folder: Path, family: str = "sd15", by_folders: bool = False) -> dict:
    question = {"script": PRESETS[family].script.removesuffix(".py"), "config": str(folder / f"train_{family}.toml")}
    if by_folders:
        question["img"] = str(folder / "img")
        question["reg"] = str(folder / "reg") if (folder / "reg").is_dir() else ""
    return trainer.ask("read_set.py", question)


def check(seen: dict, plan: SetPlan, regular: SetPlan | None) -> None:
    """The trainer sees every picture as it was planned, at its own size, as often as it was promised."""
    (data,) = seen["datasets"]
    assert [w for w in seen["warnings"] if ALWAYS not in w] == []
    assert any(ALWAYS in w for w in seen["warnings"]) == (regular is None)
    own = {i.stem: i for i in plan.items}
    shown = {Path(i["path"]).stem: i for i in data["images"] if not i["is_reg"]}
    assert set(shown) == set(own)
    for stem, image in shown.items():
        item = own[stem]
        assert (image["caption"], image["repeats"]) == (item.caption, item.repeats)
        assert tuple(image["bucket"]) == tuple(image["size"]) == (item.bucket_width, item.bucket_height)
        assert image["as_it_is"]
    counts = counts_of(plan.items, regular.items if regular else ())
    assert data["buckets"] == {f"{b.width}x{b.height}": n for b, n in counts.items()}
    assert seen["steps"] == schedule_of(plan, regular).steps_per_epoch


@pytest.mark.parametrize("by_folders", [False, True], ids=["by dataset.toml", "by folders"])
@pytest.mark.parametrize("batch", [1, 4])
def test_it_reads_a_set_as_it_was_planned(sd_scripts: Trainer, tmp_path: Path, by_folders: bool, batch: int) -> None:
    plan, _, folder = make_set(tmp_path, wish=Wish(steps=40, batch=batch))
    assert Counter(i.repeats for i in plan.items) == {3: 4, 2: 1, 7: 1}
    assert len({i.bucket for i in plan.items}) > 2
    seen = read(sd_scripts, folder, by_folders=by_folders)
    check(seen, plan, None)
    for image in seen["datasets"][0]["images"]:
        assert image["class_tokens"] == "ohwx woman"
        assert len(image["told"]) > 1 and all(t.startswith("ohwx woman, ") for t in image["told"])


@pytest.mark.parametrize("by_folders", [False, True], ids=["by dataset.toml", "by folders"])
@pytest.mark.parametrize("regular", [2, 5])
def test_masks_and_regularisation_pictures_arrive(
    sd_scripts: Trainer, tmp_path: Path, by_folders: bool, regular: int
) -> None:
    plan, reg, folder = make_set(tmp_path, alpha=True, regular=regular, wish=Wish(steps=40, batch=2))
    seen = read(sd_scripts, folder, by_folders=by_folders)
    check(seen, plan, reg)
    (data,) = seen["datasets"]
    alpha = {i.stem: i.alpha for i in plan.items}
    own = [i for i in data["images"] if not i["is_reg"]]
    assert any(alpha.values()) and not all(alpha.values())
    assert all(i["masked"] and (i["least_alpha"] == 0) == alpha[Path(i["path"]).stem] for i in own)
    assert sum(i["repeats"] for i in data["images"] if i["is_reg"]) == plan.samples
    assert all(i["told"] == ["woman"] for i in data["images"] if i["is_reg"])


def test_sentences_are_not_shuffled(sd_scripts: Trainer, tmp_path: Path) -> None:
    plan, _, folder = make_set(tmp_path, captioner=sentence)
    seen = read(sd_scripts, folder)
    check(seen, plan, None)
    assert all(i["told"] == [i["caption"]] for i in seen["datasets"][0]["images"])


@pytest.mark.parametrize("by_folders", [False, True], ids=["by dataset.toml", "by folders"])
@pytest.mark.parametrize(
    ("trigger", "class_word"),
    [('ohwx, the "elder"', "woman"), ("アダ 😀", "女性"), ("n'o\\w [x] #1", ""), ("10_ohwx_a_b_c", "per_son")],
)
def test_a_strange_trigger_stays_whole_and_first(
    sd_scripts: Trainer, tmp_path: Path, by_folders: bool, trigger: str, class_word: str
) -> None:
    plan, _, folder = make_set(tmp_path / 'a "b" [é]\'s #', trigger=trigger, class_word=class_word)
    seen = read(sd_scripts, folder, by_folders=by_folders)
    check(seen, plan, None)
    images = seen["datasets"][0]["images"]
    assert all(t.startswith(f"{plan.class_tokens}, ") for i in images for t in i["told"])
    assert by_folders or {i["class_tokens"] for i in images} == {plan.class_tokens}


@pytest.mark.parametrize(
    ("family", "side", "steps"), [("sdxl", 1024, 64), ("sdxl", 512, 32), ("flux", 512, 64), ("sd15", 768, 64)]
)
def test_the_sizes_of_other_families_are_its_buckets(
    sd_scripts: Trainer, tmp_path: Path, family: str, side: int, steps: int
) -> None:
    big = Shape.of(side, steps)
    plan, _, folder = make_set(tmp_path, wish=Wish(family=family, steps=100), shape=big, choices=())
    check(read(sd_scripts, folder, family), plan, None)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_of_a_training_config_is_an_option_of_its_script(
    sd_scripts: Trainer, tmp_path: Path, family: str
) -> None:
    plan, _, folder = make_set(tmp_path, wish=Wish(family=family, rank=96))
    long = plan.items[0].model_copy(update={"caption": "ohwx woman, " + "a much too long word, " * 40, "alpha": True})
    one = plan.items[0].model_copy(update={"caption": "ohwx woman"})
    configs = []
    for number, first in enumerate((plan.items[0], long, one)):
        made = plan.model_copy(update={"items": (first, *plan.items[1:])})
        configs.append(tmp_path / f"{number}.toml")
        configs[-1].write_bytes(config_files(made, folder)[f"train_{family}.toml"])
    question = {"script": PRESETS[family].script[:-3], "configs": [str(c) for c in configs]}
    question["files"] = PRESETS[family].files
    for told in sd_scripts.ask("parse_config.py", question):
        assert (told["unknown"], told["wrong"]) == ([], {}) and told["keys"] > 40


def test_a_mistake_in_a_training_config_would_be_seen(sd_scripts: Trainer, tmp_path: Path) -> None:
    config = tmp_path / "x.toml"
    config.write_text(
        '[a]\nlerning_rate = 1.0\nresolution = 768\nlr_scheduler = "cosine"\nsdpa = "yes"\n'
        'mixed_precision = "fp61"\nmax_train_steps = "3"\nnetwork_dim = 4.5\n'
    )
    (told,) = sd_scripts.ask("parse_config.py", {"script": "train_network", "configs": [str(config)], "files": []})
    assert told["unknown"] == ["lerning_rate"]
    assert set(told["wrong"]) == {"resolution", "sdpa", "mixed_precision", "max_train_steps", "network_dim"}


@pytest.mark.parametrize("family", ["sd15", "flux", "z_image"])
def test_sample_prompts_are_read_whole_whatever_they_begin_with(
    sd_scripts: Trainer, tmp_path: Path, request: pytest.FixtureRequest, family: str
) -> None:
    by = request.getfixturevalue("musubi") if PRESETS[family].trainer == "musubi-tuner" else sd_scripts
    files, plans = [], []
    for trigger in (
        "ohwx",
        "n",
        "w 5",
        "s 3",
        "d 1",
        "ss",
        "#1",
        "a --n b",
        "x -- y",
        "f 1",
        "l .5",
        "ada (one) [two]",
    ):
        item = ITEM.model_copy(update={"caption": f"{trigger}, -- a --w 3 (b) \\(c\\)"})
        plans.append(SetPlan(name="first", slug="ada", trigger=trigger, class_word="woman", items=(item,)))
        plans[-1] = plans[-1].model_copy(update={"wish": Wish(family=family)})
        files.append(tmp_path / f"{len(files)}.txt")
        files[-1].write_bytes(config_files(plans[-1], tmp_path)["sample_prompts.txt"])
    asked = {"module": PROMPTS[PRESETS[family].trainer], "files": [str(f) for f in files], "weights": family == "sd15"}
    for plan, prompts in zip(plans, by.ask("read_prompts.py", asked), strict=True):
        texts = [f"{plan.class_tokens}, {scene}" for scene in scenes_of(plan)] + [plan.items[0].caption]
        for prompt, text in zip(prompts, texts, strict=False):
            assert prompt["prompt"].removeprefix("image of ") == text.replace(" --", " - ")
        assert [p["seed"] for p in prompts] == [SEED + i for i in range(5)]
        assert (prompts[3]["width"], prompts[3]["height"]) == (704, 832)
        assert {p.get("negative_prompt") for p in prompts} == {sampling_of(plan).negative or None}
        known = {"prompt", "negative_prompt", "width", "height", "seed", "sample_steps", "enum"}
        assert all(set(p) - known <= {"scale", "guidance_scale", "cfg_scale"} for p in prompts)


def test_its_toml_package_reads_what_tomllib_reads(sd_scripts: Trainer, tmp_path: Path) -> None:
    rng, tables, refused = random.Random(1), [], 0
    for number in range(3000):
        text = "".join(rng.choice(STRANGE) for _ in range(rng.randint(0, 9)))
        values: dict[str, Value] = {"text": text, "x": rng.random(), "list": ["a=b", "c"], "n": number}
        try:
            toml_bytes("", [Table("", values)])
        except LikenessError:
            refused += 1
        else:
            tables.append(Table(f"t{number}", values, several=number % 2 == 0, remark=text))
    assert refused < 60
    file = tmp_path / "x.toml"
    file.write_bytes(toml_bytes("a strange file", tables))
    seen = sd_scripts.ask("read_toml.py", str(file))
    assert seen == {t.name: [dict(t.values)] if t.several else dict(t.values) for t in tables}
