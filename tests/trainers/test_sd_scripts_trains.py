"""The real train_network.py of kohya-ss/sd-scripts makes a LoRA from the files of a set, on a narrow SD 1.5."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from likeness.dataset.configs.samples import SEED
from likeness.dataset.plan import Wish
from likeness.dataset.presets import schedule_of
from likeness.lora_file import check_whole, read_info
from likeness.lora_words import check_trigger

from .sets import make_set
from .trainer import Trainer

ON_CPU = ("--mixed_precision", "no", "--optimizer_type", "AdamW", "--max_data_loader_n_workers", "1")
STEPS = 10  # more than one epoch


@pytest.fixture(scope="module")
def trained(narrow_sd_scripts: tuple[Trainer, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A set with masks and regularisation pictures, and what its training left."""
    trainer, model, words = narrow_sd_scripts
    place = tmp_path_factory.mktemp("trained")
    wish = Wish(steps=STEPS, batch=2, rank=8)
    plan, regular, folder = make_set(place, alpha=True, regular=3, wish=wish, choices=(), repeats=1)
    ran = trainer.run(
        "train_network.py",
        *("--config_file", str(folder / "train_sd15.toml"), *ON_CPU),
        *("--pretrained_model_name_or_path", str(model), "--tokenizer_cache_dir", str(words)),
        *("--sample_every_n_steps", "100"),
    )
    return SimpleNamespace(plan=plan, regular=regular, folder=folder, ran=ran)


def output(ran: subprocess.CompletedProcess[str]) -> str:
    return f"{ran.stdout}\n{ran.stderr}"


def test_it_ends_well_and_warns_of_nothing(trained: SimpleNamespace) -> None:
    assert trained.ran.returncode == 0, trained.ran.stderr[-3000:]
    text = output(trained.ran)
    assert re.search(r"\bINFO\b", text)  # levels are shown
    lines = [line for line in text.splitlines() if re.search(r"\bWARNING\b|\bERROR\b|Traceback", line)]
    assert [line for line in lines if "Failed to get git commit" not in line] == []  # the copy has no history


def test_it_takes_as_many_steps_and_epochs_as_was_promised(trained: SimpleNamespace) -> None:
    schedule, text = schedule_of(trained.plan, trained.regular), output(trained.ran)

    def printed(what: str) -> int:
        found = re.search(rf"{re.escape(what)} / [^:]*: (\d+)", text)
        assert found, what
        return int(found[1])

    assert printed("num batches per epoch") == schedule.steps_per_epoch
    assert printed("num epochs") == schedule.epochs
    assert schedule.epochs == 2
    assert printed("total optimization steps") == schedule.steps == STEPS
    assert printed("num train images * repeats") == trained.plan.samples
    assert printed("num reg images") == len(trained.regular.items)
    assert f"{STEPS}/{STEPS}" in text


def test_the_lora_is_whole_and_tells_what_it_was_trained_on(trained: SimpleNamespace) -> None:
    lora = trained.folder / "output" / "ada_first.safetensors"
    info = check_whole(lora)
    assert info.family == "sd15" and info.changes and (info.rank, info.metadata["ss_network_alpha"]) == (8, "8.0")
    ups = {k: v for k, v in load_file(lora).items() if k.endswith("lora_up.weight")}
    assert len(ups) == 192 + 6 and all(np.any(v) for v in ups.values())  # the UNet, one layer of the text encoder
    assert info.metadata["modelspec.trigger_phrase"] == "ohwx woman"
    assert info.metadata["modelspec.title"] == "Ada"
    assert check_trigger(lora.name, read_info(lora).metadata, "ohwx") == ""
    assert info.metadata["ss_steps"] == str(STEPS)
    assert info.metadata["ss_lr_scheduler"] == "cosine" and info.metadata["ss_gradient_checkpointing"] == "True"


def test_it_draws_the_prompts_with_their_seeds_and_sizes(trained: SimpleNamespace) -> None:
    drawn = {int(p.stem.rsplit("_", 1)[1]): p for p in (trained.folder / "output" / "sample").glob("*.png")}
    assert sorted(drawn) == [SEED + i for i in range(5)]
    first = trained.plan.items[0]
    with Image.open(drawn[SEED + 3]) as image:
        assert image.size == (first.bucket_width, first.bucket_height)


def test_a_state_is_left_to_go_on_from_and_nothing_lies_in_the_set(trained: SimpleNamespace) -> None:
    output = trained.folder / "output"
    assert (output / "ada_first-state" / "train_state.json").is_file()
    inside = {p.suffix for p in (trained.folder / "img").rglob("*") if p.is_file()}
    assert inside == {".png", ".txt"}
