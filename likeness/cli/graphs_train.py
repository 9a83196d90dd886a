"""The graphs that close the loop: photos -> training set -> LoRA -> a version of the character that must be better."""

from __future__ import annotations

from typing import Any

from .graphs import ApiGraph, Files, Graph, Link, Overrides, applied, drawn_picture, worded
from .graphs_compare import PROMPTS, Trial, compare_versions

JUDGING: dict[str, Any] = {
    "face_model": "auto",
    "threshold": 0.0,
    "second_face_model": "none",
    "drawn_faces": "not measurable",
    "provider": "cpu",
    "backend": "likeness",
}
PHOTOS = "my_photos"  # folder below ComfyUI's input folder
SET = "my_character/set"  # below output/likeness/training/
# Train LoRA's alpha is 1 whatever the rank, so its update is 1/rank of what kohya's alpha = rank gives; the node's own
# rate, five times kohya's usual one, makes up for some of it.
RANK, RATE = 16, 5e-4
_FILES, _OVERRIDES = Files(), Overrides()


def training_set(files: Files = _FILES, folder: str = PHOTOS, **options: Any) -> ApiGraph:
    """Photos of a folder -> a plan to look at; with dry_run off, a training set."""
    g = Graph()
    loaded = g.add("LikenessLoadCharacter", "Load Character", character=files.character, lora_version=0)
    inputs = {
        "name": "set",
        "dry_run": True,
        "folder": folder,
        "family": "sd15",
        "side": 0,
        "steps": 0,
        "shows": "the character's face",
        "unsure": "leave out",
        "caption_from": "files, then template",
        "group_by": "nothing",
        "batch_size": 1,
        "repeats": 0,
        "upscale": 1.0,
        "alpha": "composite",
        "choices": "",
        "rules": "",
        "overwrite": False,
        "rank": 0,
        "trigger": "",
        "class_word": "",
        "target": "70/20/10",
        "tagger": "none",
        "regular_folder": "",
        **JUDGING,
        **options,
    }
    g.add("LikenessBuildTrainingSet", "Build Training Set", character=[loaded, 0], **inputs)
    return g.nodes


def train_lora(
    files: Files = _FILES, set_name: str = SET, seed: int = 1, overrides: Overrides = _OVERRIDES, **options: Any
) -> ApiGraph:
    """A training set -> ComfyUI's own Train LoRA -> a version that waits -> a picture drawn with it."""
    g = Graph()
    checkpoint = g.add("CheckpointLoaderSimple", "Checkpoint", ckpt_name=files.checkpoint)
    loaded = g.add("LikenessLoadCharacter", "Load Character", character=files.character, lora_version=0)
    pictures = g.add("LikenessLoadTrainingSet", "Load Training Set", training_set=set_name, first=1, most=256)
    trained = _trained(g, checkpoint, pictures, options)
    registered = g.add(
        "LikenessRegisterLoRA",
        "Register LoRA",
        character=[loaded, 0],
        lora="none",
        output_file="",
        trained=[trained, 0],
        family="auto",
        trigger="must be the profile's",
        activate=False,
        name="",
        training_set=[pictures, 5],
        steps=[trained, 2],
    )
    picture = _with_version(g, files, checkpoint, [registered, 1], seed, overrides)
    g.add("SaveImage", "Save", images=picture, filename_prefix="likeness/version")
    return g.nodes


def _trained(g: Graph, checkpoint: str, pictures: str, options: dict[str, Any]) -> str:
    """Id of the Train LoRA node."""
    dataset = g.add(
        "MakeTrainingDataset",
        "Make Training Dataset",
        images=[pictures, 0],
        vae=[checkpoint, 2],
        clip=[checkpoint, 1],
        texts=[pictures, 1],
    )
    buckets = g.add("ResolutionBucket", "Resolution Bucket", latents=[dataset, 0], conditioning=[dataset, 1])
    inputs = {
        "model": [checkpoint, 0],
        "latents": [buckets, 0],
        "positive": [buckets, 1],
        "batch_size": 1,
        "grad_accumulation_steps": 1,
        "steps": [pictures, 3],
        "learning_rate": RATE,
        "rank": RANK,
        "optimizer": "AdamW",
        "loss_function": "MSE",
        "seed": 0,
        "training_dtype": "bf16",
        "lora_dtype": "bf16",
        "quantized_backward": False,
        "algorithm": "LoRA",
        "gradient_checkpointing": True,
        "checkpoint_depth": 1,
        "offloading": False,
        "existing_lora": "[None]",
        "bucket_mode": True,
        "bypass_mode": False,
        **options,
    }
    return g.add("TrainLoraNode", "Train LoRA", **inputs)


def _with_version(g: Graph, files: Files, checkpoint: str, character: Link, seed: int, overrides: Overrides) -> Link:
    """A picture of the character as the version draws it."""
    model = applied(g, [checkpoint, 0], [checkpoint, 1], character, files)
    positive, negative = worded(g, [model, 1], character, PROMPTS[0])
    return drawn_picture(
        g,
        character,
        [[model, 0], positive, negative],
        [checkpoint, 2],
        seed,
        overrides,
        adapter=files.adapter,
    )


def compare_shown(pictures: int = 4) -> ApiGraph:
    """The comparison as an example: one prompt, one seed, whose batch has the same noise on both sides."""
    inputs = {"family": "auto", "write": "switch if it is better", **JUDGING}
    nodes = compare_versions(_FILES, Trial(1, (1,), PROMPTS[:1], inputs), _OVERRIDES)
    for node in nodes.values():
        if node["class_type"] == "EmptyLatentImage":
            node["inputs"]["batch_size"] = pictures
    return nodes
