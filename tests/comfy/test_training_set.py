"""Build Training Set and Load Training Set in this process, and ComfyUI's own training nodes behind them."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.create import NamedImage, create_character, draft
from likeness.library import Library

from ..conftest import ROOT, load_folder
from ..fakes import FakeAnalyser, face_picture
from ..tiny_unet import write_tiny_unet
from ..unit.dataset.pictures import portrait, save, scene

NAMES = (
    "nodes.build_training_set",
    "nodes.load_training_set",
    "nodes.load_character",
    "nodes.host",
    "likeness.errors",
    "likeness.scoring",
)
FACE = (100, 80, 120)  # left, top, size


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_training_pack", ROOT)
    found = {n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_training_pack.{n}") for n in NAMES}
    found["host"].register_folders()
    return SimpleNamespace(**found)


@pytest.fixture
def home(pack: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """ComfyUI's folders, with a character."""
    paths = pack.host.folder_paths
    known = paths.folder_names_and_paths["characters"][1]
    monkeypatch.setitem(paths.folder_names_and_paths, "characters", ([str(tmp_path / "characters")], known))
    before = paths.get_output_directory(), paths.get_input_directory()
    paths.set_output_directory(str(tmp_path / "output"))
    paths.set_input_directory(str(tmp_path / "input"))
    pictures = [NamedImage(f"photo {i}", face_picture(1, i)) for i in range(3)]
    library = Library([tmp_path / "characters"])
    create_character(library, draft("Ada", trigger="adaray", class_word="woman"), pictures, FakeAnalyser())
    yield tmp_path
    paths.set_output_directory(before[0])
    paths.set_input_directory(before[1])


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255)[None]


def make(pack: SimpleNamespace, **inputs: Any) -> dict[str, Any]:
    """Outputs by id; inputs as lists, as ComfyUI gives them to a node that takes lists."""
    node = pack.build_training_set.BuildTrainingSet
    character = pack.load_character.LoadCharacter.execute("ada").result[0]
    given = {"name": "first", "dry_run": False, "shows": "anything", "class_word": "woman", **inputs}
    given = {"side": 256, "rules": "smallest=64", **given}
    lists = {key: value if isinstance(value, list) else [value] for key, value in given.items()}
    out = node.PREPARE_CLASS_CLONE({"hidden_inputs": {}}).execute(character=[character], **lists)
    return {o.id: value for o, value in zip(node.GET_SCHEMA().outputs, out.args, strict=True)}


def load(pack: SimpleNamespace, name: str, **inputs: Any) -> dict[str, Any]:
    node = pack.load_training_set.LoadTrainingSet
    out = node.PREPARE_CLASS_CLONE({"hidden_inputs": {}}).execute(name, **inputs)
    return {o.id: value for o, value in zip(node.GET_SCHEMA().outputs, out.args, strict=True)}


def scenes(*sizes: tuple[int, int]) -> list[torch.Tensor]:
    return [tensor(scene(i, width, height)) for i, (width, height) in enumerate(sizes)]


def test_a_dry_run_shows_and_writes_nothing(pack: SimpleNamespace, home: Path) -> None:
    out = make(pack, images=scenes((300, 300), (300, 400)), dry_run=True)
    assert out["count"] == 2 and out["training_set"] == "" and not (home / "output").exists()
    assert out["sheet"].shape[0] == 1 and out["sheet"].shape[3] == 3
    assert json.loads(out["plan"])["slug"] == "ada" and "2 of 2 pictures are taken" in out["report"]


def test_a_list_of_pictures_of_any_sizes_becomes_a_set_and_comes_back(pack: SimpleNamespace, home: Path) -> None:
    out = make(pack, images=scenes((300, 300), (200, 330), (420, 200)))
    assert out["training_set"] == "likeness/training/ada/first"
    back = load(pack, out["training_set"])
    assert [tuple(i.shape) for i in back["images"]] == [(1, 256, 256, 3), (1, 320, 192, 3), (1, 192, 320, 3)]
    assert all(0 <= float(i.min()) and float(i.max()) <= 1 and i.dtype == torch.float32 for i in back["images"])
    assert len(back["captions"]) == 3 and all(c.startswith("adaray woman") for c in back["captions"])
    assert (back["trigger"], back["count"], back["steps"]) == ("adaray", 3, 3000)
    assert [len(load(pack, "ada/first", first=2, most=1)[k]) for k in ("images", "captions")] == [1, 1]


def test_a_batch_captions_and_a_mask(pack: SimpleNamespace, home: Path) -> None:
    batch = torch.cat(scenes((300, 300), (300, 300)))
    mask = torch.zeros(1, 300, 300)
    mask[:, :, 150:] = 1.0
    out = make(pack, images=[batch], masks=[mask], captions=["in a garden\nat the sea"], repeats=7)
    folder = home / "output" / out["training_set"]
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*") if p.is_file())
    assert {"dataset.toml", "img/7_adaray woman/0001.png", "img/7_adaray woman/0001.txt"} <= set(names)
    assert (folder / "img/7_adaray woman/0002.txt").read_text() == "adaray woman, at the sea\n"
    alpha = np.asarray(Image.open(folder / "img/7_adaray woman/0001.png"))[:, :, 3]
    assert alpha[:, :100].max() == 0 and alpha[:, -100:].min() == 255
    assert "alpha_mask = true" in (folder / "dataset.toml").read_text()


def test_a_folder_below_input_is_read_with_its_captions(pack: SimpleNamespace, home: Path) -> None:
    photos = home / "input" / "ada photos"
    photos.mkdir(parents=True)
    Image.fromarray(scene(1, 300, 300)).save(photos / "a.png")
    (photos / "a.txt").write_text("reading a book")
    out = make(pack, folder="ada photos")
    assert load(pack, out["training_set"])["captions"] == ["adaray woman, reading a book"]
    node = pack.build_training_set.BuildTrainingSet
    before = node.fingerprint_inputs(folder=["ada photos"])
    (photos / "a.txt").write_text("reading a longer book")
    assert node.fingerprint_inputs(folder=["ada photos"]) != before


@pytest.mark.parametrize("folder", ["../characters", "/etc", "gone", "input/..", "output"])
def test_a_folder_elsewhere_is_refused(pack: SimpleNamespace, home: Path, folder: str) -> None:
    (home / "input").mkdir(exist_ok=True)
    with pytest.raises(pack.errors.LikenessError):
        make(pack, folder=folder)


@pytest.mark.parametrize("name", ["", "../..", "ada/gone", "/etc", "."])
def test_a_set_elsewhere_is_refused(pack: SimpleNamespace, home: Path, name: str) -> None:
    with pytest.raises(pack.errors.LikenessError):
        load(pack, name)


def test_only_the_character_is_taken(pack: SimpleNamespace, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge_of(character: Any, **judging: Any) -> Any:
        return FakeAnalyser(), pack.scoring.judge_for(character, FakeAnalyser(), measure_drawn=True)

    monkeypatch.setattr(pack.build_training_set, "judge_of", judge_of)
    images = [tensor(portrait(i, [(person, i, *FACE)])) for i, person in enumerate((1, 2, 1))]
    rules = "smallest=64\nface_width=30\ndarkest=0\nbrightest=255"
    out = make(pack, images=images, shows="the character's face", rules=rules)
    assert out["count"] == 2 and "batch/0002: not the person" in out["report"]
    again = make(pack, images=images, shows="the character's face", rules=rules, choices="take: batch/0002")
    assert again["count"] == 3


def test_nothing_to_train_on_is_said(pack: SimpleNamespace, home: Path) -> None:
    with pytest.raises(pack.errors.LikenessError, match="no pictures"):
        make(pack)
    with pytest.raises(pack.errors.LikenessError, match="every one was left out"):
        make(pack, images=scenes((100, 100)))


class Vae:
    """Four channels at an eighth of the size."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)
        return torch.cat([small, small.mean(1, keepdim=True)], 1)


class Clip:
    """Seventy-seven random vectors for a text."""

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, text: str) -> list[Any]:
        return [[torch.randn(1, 77, 768, generator=torch.manual_seed(len(text))), {"pooled_output": None}]]


def test_train_lora_of_comfyui_trains_a_unet_from_the_set(pack: SimpleNamespace, home: Path) -> None:
    """Make Training Dataset, Resolution Bucket and Train LoRA are ComfyUI's own; so are the UNet and its training."""
    import comfy.sd
    from comfy_extras.nodes_dataset import MakeTrainingDataset, ResolutionBucket
    from comfy_extras.nodes_train import TrainLoraNode

    out = make(pack, images=scenes((300, 300), (310, 300), (200, 330)), rules="smallest=64\nduplicates=keep")
    back = load(pack, out["training_set"])
    latents, texts = MakeTrainingDataset.execute(back["images"], [Vae()], [Clip()], back["captions"]).args
    latents, positive = ResolutionBucket.execute(latents, texts).args
    assert sorted(tuple(latent["samples"].shape) for latent in latents) == [(1, 4, 40, 24), (2, 4, 32, 32)]
    model = comfy.sd.load_diffusion_model(str(write_tiny_unet(home / "models" / "unet.safetensors")))
    options = {"batch_size": 1, "grad_accumulation_steps": 1, "steps": 3, "learning_rate": 1e-4, "rank": 4, "seed": 1}
    options |= {"optimizer": "AdamW", "loss_function": "MSE", "training_dtype": "fp32", "lora_dtype": "fp32"}
    options |= {"algorithm": "LoRA", "existing_lora": "[None]", "checkpoint_depth": 1, "bucket_mode": True}
    options |= dict.fromkeys(("quantized_backward", "gradient_checkpointing", "offloading", "bypass_mode"), False)
    trained = TrainLoraNode.execute(
        model=[model], latents=latents, positive=positive, **{key: [value] for key, value in options.items()}
    )
    lora, losses, steps = trained.args
    assert steps == 3 and len(losses["loss"]) >= 3 and all(math.isfinite(v) for v in losses["loss"])
    assert any(key.startswith("diffusion_model.") for key in lora)


def test_words_rank_and_steps_of_the_inputs_reach_the_trainers_files(pack: SimpleNamespace, home: Path) -> None:
    words = {"trigger": "zoe", "class_word": "robot", "rank": 64, "family": "sdxl"}
    out = make(pack, images=scenes((300, 300), (300, 400)), **words)
    folder = home / "output" / out["training_set"]
    assert [p.name for p in (folder / "img").iterdir()] == ["100_zoe robot"]
    train = (folder / "train_sdxl.toml").read_text()
    assert "network_dim = 64" in train and "max_train_steps = 2000" in train  # what is usual for sdxl


def test_a_folder_of_others_becomes_regularisation_pictures(pack: SimpleNamespace, home: Path) -> None:
    for i in range(2):
        save(home / "input" / "women" / f"{i}.png", scene(30 + i, 300, 300))
    given = {"images": scenes((300, 300), (300, 400)), "regular_folder": "women"}
    out = make(pack, **given)
    folder = home / "output" / out["training_set"] / "reg" / "1_woman"
    assert {p.read_text().strip() for p in folder.glob("*.txt")} == {"woman"} and len(list(folder.iterdir())) == 4
    assert "Regularisation pictures take" in out["report"]
    with pytest.raises(pack.errors.LikenessError, match="class word"):
        make(pack, class_word="", **given)


def test_a_tagger_that_is_not_there_is_named(pack: SimpleNamespace, home: Path) -> None:
    with pytest.raises(pack.errors.LikenessError, match=r"no WD tagger .*models/wd_tagger"):
        make(pack, images=scenes((300, 300)), tagger="auto")
