"""Photos become a set, and the set trains a LoRA in ComfyUI's own Train LoRA: all in one real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import Image
from safetensors import safe_open

from likeness.cli.graphs import ApiGraph

from ..tiny_unet import write_tiny_unet
from .conftest import Running

CHECKPOINT = "standin_sd15.ckpt"


@pytest.fixture(scope="module")
def ready(server: Running, comfy: Any) -> Running:
    """With a character, a UNet that a CPU can train, and photos in a folder of their own."""
    write_tiny_unet(server.base / "models" / "diffusion_models" / "tiny.safetensors")
    photos = server.base / "input" / "mara"
    photos.mkdir(exist_ok=True)
    for n in (1, 2, 3):
        image = Image.open(server.base / "input" / f"photo_{n}.png").convert("RGB")
        image.resize((300, 300 + 40 * n)).save(photos / f"{n}.png")
    server.run(
        {
            "1": {"class_type": "LoadImage", "inputs": {"image": "photo_1.png"}},
            "2": {
                "class_type": "LikenessCreateCharacter",
                "inputs": {"images.image0": ["1", 0], "name": "Mara Set", "trigger": "mrvss", "class_word": "woman"},
            },
            "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 1]}},
        }
    )
    return server


def built(**inputs: Any) -> ApiGraph:
    values = {
        "character": ["1", 0], "name": "first", "dry_run": False, "folder": "mara", "side": 256, "shows": "anything",
        "rules": "smallest=64", "choices": "", **inputs,
    }  # fmt: skip
    return {
        "1": {"class_type": "LikenessLoadCharacter", "inputs": {"character": "mara_set"}},
        "2": {"class_type": "LikenessBuildTrainingSet", "inputs": values},
    }


def trained() -> ApiGraph:
    options: dict[str, Any] = {"batch_size": 1, "grad_accumulation_steps": 1, "steps": 2, "learning_rate": 1e-4}
    options |= {"rank": 4, "seed": 1, "optimizer": "AdamW", "loss_function": "MSE", "training_dtype": "fp32"}
    options |= {"lora_dtype": "fp32", "algorithm": "LoRA", "existing_lora": "[None]", "checkpoint_depth": 1}
    options |= dict.fromkeys(("quantized_backward", "gradient_checkpointing", "offloading", "bypass_mode"), False)
    options |= {"bucket_mode": True}
    return {
        **built(),
        "3": {"class_type": "LikenessLoadTrainingSet", "inputs": {"training_set": ["2", 4]}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "5": {
            "class_type": "MakeTrainingDataset",
            "inputs": {"images": ["3", 0], "vae": ["4", 2], "clip": ["4", 1], "texts": ["3", 1]},
        },
        "6": {"class_type": "ResolutionBucket", "inputs": {"latents": ["5", 0], "conditioning": ["5", 1]}},
        "7": {"class_type": "UNETLoader", "inputs": {"unet_name": "tiny.safetensors", "weight_dtype": "default"}},
        "8": {
            "class_type": "TrainLoraNode",
            "inputs": {"model": ["7", 0], "latents": ["6", 0], "positive": ["6", 1], **options},
        },
        "9": {"class_type": "SaveLoRA", "inputs": {"lora": ["8", 0], "prefix": "loras/mara_set", "steps": ["8", 2]}},
    }


def test_a_dry_run_shows_a_sheet_and_writes_nothing(ready: Running) -> None:
    result = ready.run(built(dry_run=True, name="dry"))
    assert "3 of 3 pictures are taken" in result.outputs["2"]["text"][0]
    assert ready.client.fetch(result.outputs["2"]["images"][0])[:4] == b"\x89PNG"
    assert not (ready.base / "output" / "likeness" / "training" / "mara_set" / "dry").exists()


def test_photos_become_a_set_that_train_lora_trains_on(ready: Running) -> None:
    ready.run(trained())
    folder = ready.base / "output" / "likeness" / "training" / "mara_set" / "first"
    plan = json.loads((folder / "set.json").read_text())["plan"]
    assert len(plan["items"]) == 3 and plan["trigger"] == "mrvss"
    (lora,) = (ready.base / "output" / "loras").glob("mara_set_2_steps_*.safetensors")
    with safe_open(lora, "np") as file:
        assert any(key.startswith("diffusion_model.") for key in file.keys())


def test_only_faces_of_the_character_are_taken_by_the_face_model(ready: Running) -> None:
    """Stand-in face models find faces where there are none: what counts is that the gate ran and gave its reasons."""
    result = ready.run(built(dry_run=True, name="gate", shows="the character's face"))
    assert "pictures are taken" in result.outputs["2"]["text"][0]
