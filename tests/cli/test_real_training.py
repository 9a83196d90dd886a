"""`likeness train` with the real kohya-ss/sd-scripts, on a model of its own shape made narrow.

Needs SD_SCRIPTS_PATH (a checkout) and SD_SCRIPTS_PYTHON (a Python with its requirements).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from likeness.cli import training
from likeness.cli.places import Places
from likeness.cli.train_states import newest_state, steps_of
from likeness.cli.training import add_training
from likeness.create import NamedImage, create_character, draft
from likeness.doctor import Folders
from likeness.errors import LikenessError
from likeness.library import Library
from likeness.lora_file import check_whole

from ..fakes import FakeAnalyser, face_picture

NARROWER = (  # file, its line, ours: a thirtieth of the weights, with SD 1.5's names and text width
    ("library/original_unet.py", r"^BLOCK_OUT_CHANNELS: .*$", "BLOCK_OUT_CHANNELS = (32, 64, 128, 128)"),
    ("library/model_util.py", r"^UNET_PARAMS_MODEL_CHANNELS = .*$", "UNET_PARAMS_MODEL_CHANNELS = 32"),
    ("library/model_util.py", r"^VAE_PARAMS_CH = .*$", "VAE_PARAMS_CH = 32"),
    ("library/model_util.py", r"num_hidden_layers=12", "num_hidden_layers=1"),
)
MAKE = """
import sys, torch
sys.path.insert(0, ".")
from library import model_util as m
from library.original_unet import UNet2DConditionModel
from diffusers import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel
torch.manual_seed(0)
unet = UNet2DConditionModel(**m.create_unet_diffusers_config(False))
vae = AutoencoderKL(**m.create_vae_diffusers_config())
text = CLIPTextModel(CLIPTextConfig(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=1,
    num_attention_heads=12, max_position_embeddings=77, hidden_act="quick_gelu", projection_dim=768))
m.save_stable_diffusion_checkpoint(False, sys.argv[1], text, unet, None, 0, 0, None, torch.float16, vae)
"""
TRANSFORMS = """
import numpy, torch
class Compose:
    def __init__(self, steps): self.steps = steps
    def __call__(self, x):
        for step in self.steps: x = step(x)
        return x
class ToTensor:
    def __call__(self, x): return torch.from_numpy(numpy.array(x)).permute(2, 0, 1).float() / 255
class Normalize:
    def __init__(self, mean, std): self.mean, self.std = mean[0], std[0]
    def __call__(self, x): return (x - self.mean) / self.std
"""
IN_AN_EPOCH = 4  # steps: two pictures, two repeats, batch 1
SHORT = {
    "max_train_steps": "3",
    "mixed_precision": "no",
    "optimizer_type": "AdamW",
    "network_dim": "4",
    "network_alpha": "4",
    "network_module": "networks.lora",
    "max_data_loader_n_workers": "0",
    "cache_latents": "true",
    "save_model_as": "safetensors",
    "seed": "1",
    "learning_rate": "1e-2",
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory, comfy_path: Path) -> SimpleNamespace:
    """A narrow copy of the checkout, its Python, a model and a tokenizer."""
    home, python = os.environ.get("SD_SCRIPTS_PATH"), os.environ.get("SD_SCRIPTS_PYTHON")
    if not home or not python:
        pytest.skip("no sd-scripts: set SD_SCRIPTS_PATH and SD_SCRIPTS_PYTHON")
    base = tmp_path_factory.mktemp("sd_scripts")
    copy = base / "sd-scripts"
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns(".git", "docs", "tests", "__pycache__"))
    for file, line, ours in NARROWER:
        text, count = re.subn(line, ours, (copy / file).read_text(encoding="utf-8"), flags=re.M)
        assert count, f"{file} has changed"
        (copy / file).write_text(text, encoding="utf-8")
    if subprocess.run([python, "-c", "import torchvision"], capture_output=True, check=False).returncode:
        (copy / "torchvision").mkdir()  # of which it uses three small classes
        (copy / "torchvision" / "__init__.py").write_text("from . import transforms\n")
        (copy / "torchvision" / "transforms.py").write_text(TRANSFORMS)
    model = base / "narrow.safetensors"
    subprocess.run([python, "-c", MAKE, model], cwd=copy, check=True, capture_output=True)
    words = base / "tokenizer" / "openai_clip-vit-large-patch14"
    shutil.copytree(comfy_path / "comfy" / "sd1_tokenizer", words)
    told = json.loads((words / "tokenizer_config.json").read_text())
    (words / "tokenizer_config.json").write_text(json.dumps({**told, "model_max_length": 77}))
    return SimpleNamespace(home=copy, python=python, model=model, words=base / "tokenizer")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    folders = Folders(characters=(tmp_path / "characters",), loras=(tmp_path / "loras",))
    pictures = [NamedImage(f"photo {i}", face_picture(1, i)) for i in range(3)]
    create_character(Library(folders.characters), draft("Ada", trigger="adaray"), pictures, FakeAnalyser())
    return Places(None, folders, tmp_path / "cache")


def make_set(folder: Path, scripts: SimpleNamespace, pictures: int = 2) -> Path:
    images = folder / "img" / "2_adaray woman"
    images.mkdir(parents=True)
    for i in range(pictures):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(images / f"{i}.png")
        (images / f"{i}.txt").write_text(f"adaray woman, picture {i}\n")
    subset = f'image_dir = {json.dumps(str(images))}\nnum_repeats = 2\ncaption_extension = ".txt"\n'
    (folder / "dataset.toml").write_text(
        f"[[datasets]]\nresolution = 64\nbatch_size = 1\n[[datasets.subsets]]\n{subset}"
    )
    config = {
        "pretrained_model_name_or_path": scripts.model,
        "dataset_config": folder / "dataset.toml",
        "tokenizer_cache_dir": scripts.words,
    }
    lines = "".join(f"{key} = {json.dumps(str(value))}\n" for key, value in config.items())
    (folder / "train_sd15.toml").write_text(lines)
    return folder


def train(folder: Path, scripts: SimpleNamespace, places: Places, *words: str) -> int:
    parser = argparse.ArgumentParser()

    def command(name: str, function: Callable[..., int], text: str) -> argparse.ArgumentParser:
        parser.add_argument("--json", action="store_true")
        return parser

    add_training(command)
    options = [w for key, value in SHORT.items() for w in ("--set", f"{key}={value}")]
    given = [str(folder), "--sd-scripts", str(scripts.home), "--python", scripts.python, *options, *words]
    return training.train(parser.parse_args(given), places)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_real_training_ends_in_a_registered_version(
    scripts: SimpleNamespace, places: Places, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_set(tmp_path / "ada" / "first", scripts)
    assert train(folder, scripts, places, "--register") == 0
    (version,) = places.library().get("ada").settings("sd15").loras
    assert (version.version, version.rank, version.alpha, version.steps) == (1, 4, 4.0, 3)
    assert (version.base_model, version.training_set) == ("narrow.safetensors", "first")
    info = check_whole(tmp_path / "loras" / version.file)
    assert info.changes and info.family == "sd15"
    out, err = capfd.readouterr()
    assert "step 3 of 3, loss" in err and "became version 1 of Ada on sd15, active" in out
    places.library().update("ada", lambda p: p.model_copy(update={"trigger": "someone"}))
    (folder / "output" / "first_sd15.safetensors").rename(folder / "output" / "kept.safetensors")
    with pytest.raises(LikenessError, match=r"trained on .*adaray woman.*without the profile's trigger 'someone'"):
        train(folder, scripts, places, "--register")


def test_it_is_stopped_and_goes_on(
    scripts: SimpleNamespace, places: Places, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, states = make_set(tmp_path / "ada" / "long", scripts), ("--set", "save_state=true")
    every = (*states, "--set", "save_every_n_steps=2")

    def stop() -> None:
        end = time.monotonic() + 120
        while newest_state(folder / "output", "long_sd15") is None and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(os.getpid(), 2)

    watcher = threading.Thread(target=stop)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        train(folder, scripts, places, *every, "--set", "max_train_steps=100000")
    watcher.join()
    assert "Go on from long_sd15-step" in capfd.readouterr().err
    for more in (3, 5):  # the second time from a state that the trainer has numbered anew
        done = steps_done(folder, "long_sd15")
        time.sleep(1.1)  # a log for each, named by the second
        assert train(folder, scripts, places, *states, "--resume", "--set", f"max_train_steps={done + more}") == 0
        assert check_whole(folder / "output" / "long_sd15.safetensors").rank == 4
        assert f"skipping {done} steps".encode() in max((folder / "logs").glob("*.log")).read_bytes()
        assert done + more <= steps_done(folder, "long_sd15") < done + more + IN_AN_EPOCH
        assert f"step {steps_done(folder, 'long_sd15')} of" in capfd.readouterr().err


def steps_done(folder: Path, name: str) -> int:
    state = newest_state(folder / "output", name)
    assert state is not None
    return steps_of(state, folder / "logs", "sd15") or 0


def test_a_set_without_pictures_is_no_success_although_the_trainer_says_so(
    scripts: SimpleNamespace, places: Places, tmp_path: Path
) -> None:
    folder = make_set(tmp_path / "ada" / "empty", scripts, pictures=0)
    with pytest.raises(LikenessError, match=r"found no pictures|ended with status"):
        train(folder, scripts, places)
