"""The files for trainers say what the plan says, in a form that each of them reads; `tests/trainers` asks real ones."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.dataset.buckets import Shape, buckets_of
from likeness.dataset.configs import config_files
from likeness.dataset.configs.kohya import keep_tokens, shuffles, token_window
from likeness.dataset.configs.samples import SEED, prompt_text
from likeness.dataset.configs.toml_text import Table, toml_bytes, toml_value
from likeness.dataset.configs.yaml_text import yaml_bytes
from likeness.dataset.plan import SetPlan, Wish
from likeness.dataset.presets import PRESETS, schedule_of
from likeness.errors import LikenessError
from likeness.profile import FAMILIES

from .test_presets import item, plan_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HOME = Path("/sets/ada/first one")
STRANGE = st.text(
    st.sampled_from("\"\\'#[]{},=.:-%!&*?|>@` \t\n\x00\x1f\x7f\x85\u2028\ufeffux0é日😀aNé") | st.characters()
)


def read(plan: SetPlan, name: str, regular: SetPlan | None = None) -> dict[str, Any]:
    return tomllib.loads(config_files(plan, HOME, regular)[name].decode())


def flat(plan: SetPlan, regular: SetPlan | None = None) -> dict[str, Any]:
    """A training config as the trainer reads it, without its sections."""
    name = "musubi_train.toml" if PRESETS[plan.family].trainer == "musubi-tuner" else f"train_{plan.family}.toml"
    return {k: v for section in read(plan, name, regular).values() for k, v in section.items()}


def captioned(*captions: str, **values: object) -> SetPlan:
    return plan_of(*(item(i, caption=c) for i, c in enumerate(captions, 1)), **values)


def triggered(trigger: str, **values: object) -> SetPlan:
    return captioned(f"{trigger} woman, smiling, outdoors", **values).model_copy(update={"trigger": trigger})


# ---- which files there are


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gets_the_files_of_its_trainers(family: str) -> None:
    names = set(config_files(plan_of(item(1), wish=Wish(family=family)), HOME))
    assert {"onetrainer_concepts.json", "sample_prompts.txt"} <= names
    trainer = PRESETS[family].trainer
    assert ("dataset.toml" in names) == (trainer != "musubi-tuner")
    assert ("musubi.toml" in names) == (trainer != "sd-scripts")
    assert (f"train_{family}.toml" in names) == (trainer == "sd-scripts")
    assert ("musubi_train.toml" in names) == (trainer == "musubi-tuner")
    assert ("ai_toolkit.yaml" in names) == (family not in ("kolors", "hunyuan_video", "other"))
    assert all(re.fullmatch(r"[a-z0-9_]+\.(toml|json|yaml|txt)", name) for name in names)


def test_the_same_plan_gives_the_same_bytes_and_paths_are_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = plan_of(item(1), item(2, repeats=4))
    assert config_files(plan, Path("sets/first")) == config_files(plan, tmp_path / "sets" / "first")
    for name, data in config_files(plan, Path("sets/first")).items():
        text = data.decode()
        assert name == "sample_prompts.txt" or str(tmp_path / "sets" / "first" / "img") in text or "train" in name
        assert "\r" not in text and not text.startswith("\ufeff") and text.endswith("\n")


@pytest.mark.parametrize(("family", "steps"), [("sd15", 64), ("sdxl", 32), ("flux", 64), ("z_image", 16)])
def test_sizes_that_a_trainer_refuses_or_cuts_are_refused(family: str, steps: int) -> None:
    wish = Wish(family=family)
    assert config_files(plan_of(item(1), wish=wish, shape=Shape(steps=steps)), HOME)
    with pytest.raises(LikenessError, match=f"no multiple of {steps}"):
        config_files(plan_of(item(1), wish=wish, shape=Shape(steps=steps // 2)), HOME)


# ---- sd-scripts


def test_the_set_of_sd_scripts_says_what_the_plan_says() -> None:
    plan = plan_of(item(1), item(2, repeats=4), item(3), wish=Wish(batch=3), shape=Shape())
    told = read(plan, "dataset.toml")
    (data,) = told["datasets"]
    assert (data["resolution"], data["batch_size"], data["enable_bucket"]) == (768, 3, True)
    assert (data["min_bucket_reso"], data["max_bucket_reso"], data["bucket_reso_steps"]) == (384, 1536, 64)
    assert data["bucket_no_upscale"] is False and told["general"]["caption_extension"] == ".txt"
    assert [(s["image_dir"], s["num_repeats"], s["class_tokens"]) for s in data["subsets"]] == [
        (f"{HOME.as_posix()}/img/1_ohwx woman", 1, "ohwx woman"),
        (f"{HOME.as_posix()}/img/4_ohwx woman", 4, "ohwx woman"),
    ]


def test_folders_and_dataset_config_ask_for_the_same() -> None:
    plan = captioned("ohwx woman, smiling, outdoors, at night")
    told, folders = read(plan, "dataset.toml"), read(plan, "train_sd15.toml")["folder_mode"]
    both = {**told["general"], **told["datasets"][0]}
    assert folders.pop("resolution") == "768,768" and both.pop("resolution") == 768  # a text there, a number here
    assert folders.items() <= both.items()
    left = {key: value for key, value in both.items() if key not in folders and key not in ("subsets", "batch_size")}
    assert set(left.values()) == {False}  # what is off by default, and a flag on the command line


def test_a_training_takes_the_steps_that_were_wished() -> None:
    plan = plan_of(item(1, repeats=10), wish=Wish(steps=2500, batch=2))
    told = flat(plan)
    assert (told["max_train_steps"], told["train_batch_size"], "max_train_epochs" in told) == (2500, 2, False)
    assert (told["network_dim"], told["network_alpha"], told["learning_rate"]) == (32, 32.0, 1e-4)
    assert (told["mixed_precision"], told["gradient_checkpointing"], told["lr_scheduler"]) == ("fp16", True, "cosine")
    assert told["lr_warmup_steps"] == 100 and told["save_every_n_steps"] == schedule_of(plan).every
    assert told["metadata_trigger_phrase"] == "ohwx woman"
    assert told["dataset_config"] == f"{HOME.as_posix()}/dataset.toml"


def test_a_rank_is_taken_with_its_alpha_and_rate() -> None:
    told = flat(plan_of(item(1), wish=Wish(family="sdxl", rank=128)))
    assert (told["network_dim"], told["network_alpha"], told["learning_rate"]) == (128, 64.0, 5e-5)


def test_a_mask_in_one_picture_is_a_mask_for_all() -> None:
    plain = plan_of(item(1), item(2, repeats=4))
    masked = plan_of(item(1), item(2, repeats=4).model_copy(update={"alpha": True}))
    assert "masked_loss" not in flat(plain) and "alpha_mask" not in flat(plain)
    assert flat(masked)["masked_loss"] is True and flat(masked)["alpha_mask"] is True
    assert all(s["alpha_mask"] for s in read(masked, "dataset.toml")["datasets"][0]["subsets"])


def test_regularisation_pictures_are_a_subset_of_their_own() -> None:
    people = SetPlan(name="people", slug="reg", trigger="x", class_word="woman", items=(item(1, caption="woman"),))
    (*own, reg) = read(plan_of(item(1)), "dataset.toml", people)["datasets"][0]["subsets"]
    assert reg == {
        "image_dir": f"{HOME.as_posix()}/reg/1_woman",
        "num_repeats": 1,
        "is_reg": True,
        "class_tokens": "woman",
    }
    assert len(own) == 1 and "is_reg" not in own[0]
    assert flat(plan_of(item(1)), people)["prior_loss_weight"] == 1.0


@pytest.mark.parametrize("trigger", ["ohwx", "ohwx, the elder", "a,b,c"])
def test_as_many_parts_stay_in_front_as_the_trigger_has(trigger: str) -> None:
    assert keep_tokens(triggered(trigger)) == trigger.count(",") + 1


@pytest.mark.parametrize(
    ("captions", "shuffled"),
    [
        (["ohwx woman, smiling, outdoors"], True),
        (["ohwx woman, smiling, outdoors", "ohwx woman, portrait, red dress, at night"], True),
        (["ohwx woman, smiling, outdoors", "ohwx woman, portrait"], False),  # nothing to shuffle in one of them
        ([*["ohwx woman, smiling, outdoors"] * 6, "ohwx woman"], True),  # one short caption does not decide
        ([*["ohwx woman, smiling, outdoors"] * 6, "ohwx woman, who stands in front of a door, at night"], True),
        (["ohwx woman"], False),
        (["ohwx woman, who stands in front of a door, and looks at us"], False),
    ],
)
def test_tags_are_shuffled_and_sentences_are_not(captions: list[str], shuffled: bool) -> None:
    plan = captioned(*captions)
    assert shuffles(plan) is shuffled
    told = read(plan, "dataset.toml")["general"]
    assert told["shuffle_caption"] is shuffled and told["keep_tokens"] == 1


def test_what_text_encoders_say_is_stored_where_captions_are_not_shuffled() -> None:
    tags, words = "ohwx woman, smiling, outdoors", "ohwx woman, who stands in front of a door"
    sdxl, flux = Wish(family="sdxl"), Wish(family="flux")
    assert "cache_text_encoder_outputs" not in flat(captioned(tags, wish=sdxl))
    assert flat(captioned(words, wish=sdxl))["cache_text_encoder_outputs"] is True
    assert flat(captioned(tags, wish=flux))["cache_text_encoder_outputs"] is True
    assert read(captioned(tags, wish=flux), "dataset.toml")["general"]["shuffle_caption"] is False


def test_a_long_caption_is_not_cut_in_silence() -> None:
    short, long, longer = (f"ohwx woman, {'a little word and another, ' * n}" for n in (2, 15, 35))
    assert [token_window(captioned(c)) for c in (short, long, longer)] == [75, 150, 225]
    assert "max_token_length" not in flat(captioned(short))
    assert flat(captioned(short, long))["max_token_length"] == 150
    assert "max_token_length" not in flat(captioned(longer, wish=Wish(family="flux")))


# ---- the others


def test_the_set_of_musubi_keeps_caches_apart_and_enlarges_nothing() -> None:
    told = read(plan_of(item(1), item(2, repeats=4), wish=Wish(family="wan", batch=2)), "musubi.toml")
    assert told["general"] == {
        "resolution": [768, 768],
        "caption_extension": ".txt",
        "batch_size": 2,
        "enable_bucket": True,
        "bucket_no_upscale": True,
    }
    assert [d["num_repeats"] for d in told["datasets"]] == [1, 4]
    assert len({d["cache_directory"] for d in told["datasets"]}) == 2
    assert all(d["cache_directory"].startswith(f"{HOME.as_posix()}/cache/") for d in told["datasets"])


def test_musubi_trains_the_steps_that_were_wished() -> None:
    told = flat(plan_of(item(1, repeats=10), wish=Wish(family="qwen_image", steps=2500)))
    assert (told["max_train_steps"], told["learning_rate"], told["network_dim"]) == (2500, 5e-5, 16)
    assert told["network_module"] == "networks.lora_qwen_image"


def test_ai_toolkit_is_told_the_trigger_and_keeps_nothing_beside_the_pictures() -> None:
    yaml = pytest.importorskip("yaml")
    plan = triggered('oh "wx" 😀', wish=Wish(family="flux", steps=700))
    told = yaml.safe_load(config_files(plan, HOME)["ai_toolkit.yaml"])
    (job,) = told["config"]["process"]
    assert (told["job"], told["config"]["name"]) == ("extension", "ada_first")
    assert job["trigger_word"] == 'oh "wx" 😀' and job["train"]["steps"] == 700
    assert job["datasets"][0]["folder_path"].startswith(f"{HOME.as_posix()}/img/1_")
    assert all(d["cache_latents_to_disk"] is False and d["resolution"] == [768] for d in job["datasets"])


def test_onetrainer_moves_no_crop_and_draws_no_seed() -> None:
    data = config_files(triggered("öhwx"), HOME)["onetrainer_concepts.json"]
    concepts = json.loads(data.decode("ascii"))
    assert [c["balancing"] for c in concepts] == [1.0] and concepts[0]["seed"] == 42
    assert concepts[0]["image"] == {"enable_crop_jitter": False, "enable_random_flip": False}


# ---- sample prompts


def lines(plan: SetPlan) -> list[str]:
    text = config_files(plan, HOME)["sample_prompts.txt"].decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_samples_are_drawn_with_fixed_seeds_at_trained_sizes() -> None:
    plan = captioned("ohwx woman, smiling")
    known = {(b.width, b.height) for b in buckets_of(plan.shape)}
    drawn = lines(plan)
    assert [int(re.search(r"--d (\d+)", line)[1]) for line in drawn] == [SEED + i for i in range(5)]  # type: ignore[index]
    assert {tuple(map(int, re.search(r"--w (\d+) --h (\d+)", line).groups())) for line in drawn} <= known  # type: ignore[union-attr]
    assert all(line.startswith("ohwx woman, ") for line in drawn[:4]) and drawn[4].startswith("woman, ")
    assert all("--n " in line for line in drawn)
    flux = lines(captioned("ohwx woman, smiling", wish=Wish(family="flux")))
    assert all("--n " not in line and "--g 3.5" in line for line in flux)
    assert all("--f 1" in line for line in lines(captioned("ohwx woman", wish=Wish(family="wan"))))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ohwx woman", "ohwx woman"),
        ("n woman", "image of n woman"),  # would be the negative prompt
        ("N woman", "image of N woman"),
        ("w 5", "image of w 5"),  # would be the width
        ("w woman", "w woman"),
        ("ss woman", "image of ss woman"),
        ("#1 woman", "image of #1 woman"),  # would be a comment
        ("a --w 3 b", "a - w 3 b"),
        ("ada (saber) [x]", r"ada \(saber\) \[x\]"),  # would be weights
        (r"ada \(saber\)", r"ada \\\(saber\\\)"),
    ],
)
def test_a_prompt_that_looks_like_an_option_is_read_as_a_prompt(text: str, line: str) -> None:
    assert prompt_text(captioned("ohwx"), text) == line


def test_families_without_weights_in_prompts_get_brackets_as_they_are() -> None:
    assert prompt_text(captioned("ohwx", wish=Wish(family="flux")), "ada (saber)") == "ada (saber)"


# ---- TOML and YAML


@given(STRANGE, STRANGE, st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53), st.booleans())
def test_toml_is_read_back_as_it_was_written(text: str, remark: str, x: float, n: int, flag: bool) -> None:
    values = {"text": text, "x": x, "n": n, "flag": flag, "words": ["a=b", "c=0.5"], "last": "end"}
    try:
        data = toml_bytes(remark, [Table("one", values, remark=remark), Table("two", values, several=True)])
    except LikenessError:
        assert text.startswith('"') or re.search(r"\\[uU]", text) or any("\ud800" <= c <= "\udfff" for c in text)
        return
    assert tomllib.loads(data.decode()) == {"one": values, "two": [values]}


@given(STRANGE)
def test_no_line_of_toml_ends_where_only_some_readers_end_it(text: str) -> None:
    try:
        written = toml_bytes(text, [Table("one", {"text": text}, remark=text)]).decode()
    except LikenessError:
        return
    assert written.splitlines() == written.split("\n")[:-1]


@pytest.mark.parametrize(
    "text", [r"C:\users\new", r"\\server\share", 'a "b"', "it's", '"', '""', r"\u0041", "日本 😀", "a\tb\nc", "#", ""]
)
def test_usual_troubles_of_toml_are_written(text: str) -> None:
    assert tomllib.loads(f"k = {toml_value(text)}") == {"k": text}


def test_what_the_trainers_toml_cannot_read_is_refused() -> None:
    for text in ('""\'', "\\u\x01", "\\U'"):
        with pytest.raises(LikenessError, match="misread"):
            toml_value(text)
    for value in (["a,b"], ['"'], float("nan"), float("inf")):
        with pytest.raises(LikenessError):
            toml_value(value)
    with pytest.raises(LikenessError, match="Half of a character"):
        toml_bytes("", [Table("", {"a": "\ud800"})])


@given(STRANGE, st.floats(1e-9, 1e9).map(lambda x: round(x, 6)), st.integers(), st.booleans())
def test_yaml_is_read_back_as_it_was_written(text: str, x: float, n: int, flag: bool) -> None:
    yaml = pytest.importorskip("yaml")
    if any("\ud800" <= c <= "\udfff" for c in text):
        return
    value = {"a": {"text": text, "list": [text, n, {"x": x}], "empty": []}, "flag": flag, "none": {}}
    assert yaml.safe_load(yaml_bytes(text, value)) == value


@pytest.mark.parametrize("rate", [1e-4, 5e-5, 2e-4, 1.0, 32.0, 0.1])
def test_a_small_number_in_yaml_is_no_text(rate: float) -> None:
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(yaml_bytes("", {"lr": rate})) == {"lr": rate}
