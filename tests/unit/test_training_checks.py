"""`likeness train` before anything is started: what is missing or wrong is told in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from likeness.cli import train_job, trainer_checks, training
from likeness.cli.train_job import settings_of
from likeness.errors import LikenessError

from ..pretended_trainer import Setup, parsed, pretend, pretended, train

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups as POSIX has them")


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    return pretended(tmp_path, monkeypatch)


def missing(setup: Setup, what: str) -> tuple[str, ...]:
    """Takes something away; returns further words of the command line."""
    config = setup.set / "train_sd15.toml"
    if what == "set":
        return (str(setup.base / "nowhere"),)
    if what == "config":
        config.rename(setup.set / "train_wan.toml")
    elif what == "two configs":
        (setup.set / "train_sdxl.toml").write_text("")
    elif what == "config text":
        config.write_text("a = = b")
    elif what == "script":
        (setup.home / "train_network.py").unlink()
    elif what == "python":
        return ("--python", str(setup.base / "no python"))
    elif what == "python that fails":
        return ("--python", "/bin/false")
    elif what == "model":
        return ("--model", str(setup.base / "none.safetensors"))
    elif what == "model in config":
        config.write_text('dataset_config = "x"')
    elif what == "model to download":
        return ("--set", "pretrained_model_name_or_path=runwayml/stable-diffusion-v1-5")
    elif what == "model by name":
        return ("--model", "runwayml/stable-diffusion-v1-5")
    elif what == "dataset":
        (setup.set / "dataset.toml").unlink()
    elif what == "pictures":
        (setup.set / "img" / "10_adaray woman").rename(setup.set / "img" / "moved")
    elif what == "option":
        return ("--set", "max steps")
    return ()


TOLD = {
    "set": "There is no training set .*nowhere",
    "config": r"must hold one train_<family>\.toml .* there is train_wan\.toml",
    "two configs": "say --family",
    "config text": "is no valid TOML",
    "script": r"holds no train_network\.py",
    "python": "no python does not run",
    "python that fails": "is no Python that runs",
    "model": r"there is no '.*none\.safetensors'",
    "model by name": r"--model: there is no 'runwayml/stable-diffusion-v1-5'\. Nothing is downloaded: .* --model FILE",
    "model in config": "names no model to train on",
    "model to download": r"there is no 'runwayml/stable-diffusion-v1-5'\. Nothing is downloaded: .* --model FILE",
    "dataset": r"dataset_config: there is no .*dataset\.toml",
    "pictures": r"dataset\.toml names '.*10_adaray woman', which is not there",
    "option": "write it as key=value",
}


@pytest.mark.parametrize("what", TOLD)
def test_what_is_missing_is_told_before_anything_is_started(setup: Setup, what: str) -> None:
    pretend(setup, "lora()")
    words = missing(setup, what)
    arguments = parsed(setup, *words[1:]) if what == "set" else parsed(setup, *words)
    if what == "set":
        arguments.set = Path(words[0])
    with pytest.raises(LikenessError, match=TOLD[what]):
        training.train(arguments, SimpleNamespace())  # type: ignore[arg-type]
    assert not setup.about.exists()


def test_a_checkpoint_of_another_family_is_told(setup: Setup) -> None:
    key = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    save_file({key: np.zeros((640, 2048), np.float16)}, setup.base / "xl.safetensors")
    pretend(setup, "lora()")
    with pytest.raises(LikenessError, match=r"xl\.safetensors is a checkpoint for sdxl, and the set is for sd15"):
        train(setup, "--model", str(setup.base / "xl.safetensors"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


@pytest.mark.parametrize(
    ("name", "spoil", "why"),
    [
        ("zeros.safetensors", lambda path: path.write_bytes(bytes(4096)), "is no safetensors file"),
        ("none.safetensors", lambda path: path.write_bytes(b""), "is no safetensors file"),
        ("lfs.safetensors", lambda path: path.write_bytes(b"version https://git-lfs"), "is no safetensors file"),
        ("short.safetensors", cut, "is cut short"),
        ("empty.safetensors", lambda path: save_file({}, path), "holds no tensors"),
        ("zeros.ckpt", lambda path: path.write_bytes(bytes(4096)), "is no file of models"),
        ("page.pt", lambda path: path.write_bytes(b"<!doctype html>"), "is no file of models"),
    ],
)
@pytest.mark.parametrize("key", ["pretrained_model_name_or_path", "network_weights"])
def test_a_file_that_cannot_be_a_model_is_told(
    setup: Setup, key: str, name: str, spoil: Callable[[Path], object], why: str
) -> None:
    pretend(setup, "lora()")
    model = setup.base / name
    shutil.copy(setup.base / "model.safetensors", model)
    assert train(setup, "--dry-run", "--set", f"{key}={setup.base / 'model.safetensors'}") == 0
    spoil(model)
    with pytest.raises(LikenessError, match=f"^{key}: {name} {why}: download it again"):
        train(setup, "--dry-run", "--set", f"{key}={model}")


def test_small_files_of_torch_are_left_to_the_trainer(setup: Setup) -> None:
    pretend(setup, "lora()")
    for name, head in (("new.pt", b"PK\x03\x04"), ("old.pt", b"\x80\x02")):
        (setup.base / name).write_bytes(head + b"anything")
        assert train(setup, "--dry-run", "--set", f"network_weights={setup.base / name}") == 0


def test_a_folder_is_a_model_if_it_is_one_of_diffusers(setup: Setup) -> None:
    pretend(setup, "lora()")
    (setup.base / "model").mkdir()
    with pytest.raises(LikenessError, match=r"is a folder without model_index\.json"):
        train(setup, "--dry-run", "--model", str(setup.base / "model"))
    (setup.base / "model" / "model_index.json").write_text("{}")
    assert train(setup, "--dry-run", "--model", str(setup.base / "model")) == 0


def test_models_without_which_a_family_is_not_trained_are_asked_for(setup: Setup) -> None:
    (setup.set / "train_sd15.toml").rename(setup.set / "train_flux.toml")
    pretend(setup, "lora()")
    (setup.home / "train_network.py").rename(setup.home / "flux_train_network.py")
    words: list[str] = []
    for key in ("clip_l", "t5xxl", "ae"):
        with pytest.raises(LikenessError, match=f"names no {key}, and flux needs it: give it by --set {key}=FILE"):
            train(setup, "--dry-run", *words)
        words += ["--set", f"{key}={setup.base / 'model.safetensors'}"]
    assert train(setup, "--dry-run", *words) == 0


def test_paths_are_meant_from_where_one_types(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(setup, "lora()")
    monkeypatch.chdir(setup.base)
    words = ("--set", "vae=model.safetensors", "--set", "output_dir=my loras", "--model", "model.safetensors")
    job = train_job.job_of(parsed(setup, *words))
    assert f"--vae={setup.base / 'model.safetensors'}" in job.command and job.output == setup.base / "my loras"
    assert f"--pretrained_model_name_or_path={setup.base / 'model.safetensors'}" in job.command


PARSER = """
import argparse
def setup_parser():
    parser = argparse.ArgumentParser()
    for name in ("config_file", "output_dir", "output_name", "pretrained_model_name_or_path", "dataset_config"):
        parser.add_argument("--" + name)
    parser.add_argument("--max_train_steps", type=int)
    parser.add_argument("--cache_latents", action="store_true")
    return parser
if __name__ == "__main__":
    raise SystemExit("a dry run has started the training")
"""


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("max_train_steps=500", None),
        ("cache_latents=true", None),
        ("max_train_steps=abc", "refuses an option of --set: argument --max_train_steps: invalid int value: 'abc'"),
        ("nonsense=5", "refuses an option of --set: unrecognized arguments: --nonsense=5"),
        ("help=true", "does not start with"),
        ("cache_latents=5", "argument --cache_latents: ignored explicit argument '5'"),
    ],
)
def test_the_trainers_own_parser_is_asked_about_options(setup: Setup, option: str, why: str | None) -> None:
    (setup.home / "train_network.py").write_text(PARSER)
    if why is None:
        assert train(setup, "--dry-run", "--set", option) == 0
        return
    with pytest.raises(LikenessError, match=why):
        train(setup, "--dry-run", "--set", option)


def test_a_name_in_the_config_that_the_trainer_would_ignore_is_told(setup: Setup) -> None:
    (setup.home / "train_network.py").write_text(PARSER)
    config = setup.set / "train_sd15.toml"
    config.write_text(config.read_text() + "[mine]\nmax_train_step = 9\n")
    with pytest.raises(LikenessError, match=r"train_sd15\.toml: train_network\.py knows no option 'max_train_step'"):
        train(setup, "--dry-run")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("import no_such_package", r"ModuleNotFoundError: No module named 'no_such_package'; .* -m pip install -r req"),
        (
            "raise RuntimeError('operator torchvision::nms does not exist')",
            r"RuntimeError: operator torchvision::nms .*; its torch and torchvision do not fit each other",
        ),
        ("raise SystemExit", "it says nothing"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "it says nothing"),
    ],
)
def test_a_trainer_that_does_not_even_start_is_told(setup: Setup, line: str, why: str) -> None:
    (setup.home / "train_network.py").write_text(f"{line}\n{PARSER}")
    with pytest.raises(LikenessError, match=rf"train_network\.py does not start with .*: {why}") as caught:
        train(setup, "--dry-run")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


def test_a_trainer_that_is_too_slow_to_tell_is_started(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_checks, "_SECONDS", 3.0)
    (setup.home / "train_network.py").write_text(f"import time\ntime.sleep(30)\n{PARSER}")
    assert train(setup, "--dry-run") == 0


def test_a_python_without_a_folder_is_taken_from_the_path(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(setup, "lora()")
    (setup.base / "bin").mkdir()
    (setup.base / "bin" / "python-of-it").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(setup.base / "bin"))
    command = train_job.job_of(parsed(setup, "--python", "python-of-it")).command
    assert command[0] == str(setup.base / "bin" / "python-of-it")
    with pytest.raises(LikenessError, match="there is no 'python-of-another' on PATH"):
        train_job.job_of(parsed(setup, "--python", "python-of-another"))


def test_a_set_for_musubi_names_its_config_and_trainer(setup: Setup) -> None:
    (setup.set / "train_sd15.toml").rename(setup.set / "musubi_train.toml")
    with pytest.raises(LikenessError, match=r"sd-scripts does not train .* musubi-tuner.* .*musubi_train\.toml"):
        train(setup)


def test_a_missing_package_hides_no_other_mistake(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_checks, "_NEEDS", ("no_such_package",))
    pretend(setup, "lora()")
    with pytest.raises(LikenessError, match="cannot be a file's name"):
        train(setup, "--set", "output_name=a/b")
    with pytest.raises(LikenessError, match=r"-m pip install -r requirements\.txt` in .*sd scripts"):
        train(setup)


@pytest.mark.parametrize(
    ("lacks", "torch", "commands"),
    [
        (["toml"], "2.6.0", "`P -r requirements.txt`"),
        (["torchvision"], "2.6.0", "`P torch==2.6.0 torchvision`"),
        (
            ["torchvision", "toml"],
            "2.6.0+cu124",
            "`P torch==2.6.0+cu124 torchvision --index-url https://download.pytorch.org/whl/cu124`, then "
            "`P -r requirements.txt`",
        ),
        (["torch", "torchvision"], "", "`P torch torchvision` (as pytorch.org says for your GPU)"),
    ],
)
def test_torch_and_torchvision_are_installed_so_that_they_fit(lacks: list[str], torch: str, commands: str) -> None:
    pip = "`'/a b/python' -m pip install"
    assert trainer_checks._install("/a b/python", lacks, torch) == commands.replace("`P", pip)


def test_a_set_that_was_copied_is_not_trained_on_the_other_ones_pictures(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(setup, "lora()")
    arguments = parsed(setup)
    arguments.set = setup.base / "copy of it"
    shutil.copytree(setup.set, arguments.set)
    with pytest.raises(LikenessError, match=r"dataset\.toml: names .*first set, and .* lies in .*copy of it.*--fix"):
        train_job.job_of(arguments)
    arguments.options = [f"dataset_config={setup.set / 'dataset.toml'}"]
    assert train_job.job_of(arguments).folder == arguments.set, "that is what was asked for"


def test_a_lora_that_will_be_written_over_is_told(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(setup, "lora()")
    assert train(setup) == 0 and "written over" not in capsys.readouterr().err
    assert train(setup, "--dry-run") == 0
    assert "first set_sd15.safetensors of an earlier training will be written over" in capsys.readouterr().err


def test_a_full_disk_is_told(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_job.shutil, "disk_usage", lambda place: SimpleNamespace(free=1 << 30))
    pretend(setup, "lora()")
    with pytest.raises(LikenessError, match=r"Only 1\.0 GB are free"):
        train(setup)


def test_a_python_without_the_packages_is_told(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_checks, "_NEEDS", ("json", "no_such_package"))
    pretend(setup, "lora()")
    with pytest.raises(LikenessError, match=r"lacks .*no_such_package.*never in ComfyUI's"):
        train(setup)


def test_an_optimizer_that_needs_a_package_is_told(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_checks, "_BYTES", "no_such_package")
    pretend(setup, "lora()")
    with pytest.raises(LikenessError, match=r"lacks no_such_package: .*Or .* --set optimizer_type=AdamW"):
        train(setup, "--dry-run", "--set", "optimizer_type=AdamW8bit")
    assert train(setup, "--dry-run", "--set", "optimizer_type=AdamW") == 0


def test_a_dry_run_starts_nothing(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(setup, "lora()")
    assert train(setup, "--dry-run") == 0
    assert "--config_file" in capsys.readouterr().out and not setup.about.exists()


def test_the_characters_name_is_taken_from_the_set(setup: Setup) -> None:
    pretend(setup, "lora()")
    assert train_job.job_of(parsed(setup)).slug == "ada", "by the folder"
    for told in ({"slug": "eve"}, {"plan": {"slug": "eve"}}):
        (setup.set / "set.json").write_text(json.dumps(told))
        assert train_job.job_of(parsed(setup)).slug == "eve"
    (setup.set / "set.json").write_text("[")
    assert train_job.job_of(parsed(setup)).slug == "ada"
    assert train_job.job_of(parsed(setup, "--character", "zoe")).slug == "zoe"


def test_sections_of_the_config_are_only_for_reading(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('a = 1\n[one]\nb = "x"\n[two]\nc = [1]\n')
    assert settings_of(tmp_path / "x.toml") == {"a": 1, "b": "x", "c": [1]}
