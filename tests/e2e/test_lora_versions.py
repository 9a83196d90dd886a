"""Training, registering and comparing inside a real ComfyUI, and `likeness lora compare` through its queue."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from likeness import images
from likeness.cli import loras
from likeness.cli.graphs import ApiGraph, Files, Link, Overrides
from likeness.cli.graphs_compare import Trial, compare_node, compare_versions
from likeness.errors import ServerError
from likeness.library import Library
from likeness.lora_file import check_whole

from ..conftest import ROOT
from .conftest import PHOTOS, Running
from .graph_parts import TOMAS, create, portrait, shows_text
from .test_graphs import STANDIN

LORA = "mara_voss_sd15.safetensors"
MEASURED = {"drawn_faces": "measure", "face_model": "standin"}  # the sample is drawn


def add(nodes: ApiGraph, class_type: str, **inputs: Any) -> Link:
    """Add a node, the first one, too; returns a link to its first output."""
    node_id = str(max(map(int, nodes), default=0) + 1)
    nodes[node_id] = {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}
    return [node_id, 0]


def register(server: Running, slug: str, **inputs: Any) -> tuple[ApiGraph, Any]:
    nodes: ApiGraph = {}
    character = add(nodes, "LikenessLoadCharacter", character=slug)
    return nodes, add(nodes, "LikenessRegisterLoRA", character=character, **inputs)


def settings(server: Running, slug: str) -> Any:
    return Library([server.characters]).get(slug).settings("sd15")


def shown(result: Any, link: Any, what: str = "text") -> Any:
    return result.outputs[link[0]][what][0]


@pytest.fixture(scope="module")
def slug(server: Running) -> str:
    """A character with one version that waits."""
    made = create(server, "Versions")
    nodes, node = register(server, made, lora=LORA)
    told = shown(server.run(nodes), node)
    assert "became version 1 of Versions on sd15, inactive" in told
    return made


def test_a_registered_version_waits_and_draws_only_where_it_is_asked_for(server: Running, slug: str) -> None:
    assert settings(server, slug).lora is None
    drawn = {}
    for version in (0, 1, -1):
        nodes, report = portrait(slug)
        loaded = next(n for n in nodes.values() if n["class_type"] == "LikenessLoadCharacter")
        loaded["inputs"]["lora_version"] = version
        result = server.run(nodes)
        drawn[version] = (server.picture(result), result.outputs[report]["text"][0])
    assert "faceid_only" in drawn[0][1] and "lora_faceid" in drawn[1][1] and "v1:" in drawn[1][1]
    assert np.array_equal(drawn[0][0], drawn[-1][0]) and not np.array_equal(drawn[0][0], drawn[1][0])


def test_a_missing_version_stops_the_graph(server: Running, slug: str) -> None:
    nodes, _ = portrait(slug)
    next(n for n in nodes.values() if n["class_type"] == "LikenessLoadCharacter")["inputs"]["lora_version"] = 9
    with pytest.raises(ServerError, match="no LoRA version 9; there is 1 on sd15"):
        server.run(nodes)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"lora": LORA, "family": "sdxl"}, "is a LoRA for sd15, not for sdxl"),
        ({"output_file": "../models/loras/x.safetensors"}, "leaves the folder"),
        ({}, "Give one of lora, output_file, trained"),
    ],
)
def test_what_cannot_be_registered_stops_the_graph(
    server: Running, slug: str, inputs: dict[str, Any], words: str
) -> None:
    nodes, _ = register(server, slug, **inputs)
    with pytest.raises(ServerError, match=words):
        server.run(nodes)


def test_core_trains_a_lora_that_is_registered_and_draws(server: Running, slug: str) -> None:
    """Pictures -> Train LoRA -> Register LoRA -> Apply Character -> Compare Versions, in one graph."""
    trainee = create(server, "Trainee")
    nodes: ApiGraph = {}
    checkpoint = add(nodes, "CheckpointLoaderSimple", ckpt_name=STANDIN["sd15"])
    picture = add(nodes, "LoadImage", image="photo_1.png")
    small = add(nodes, "ImageScale", image=picture, upscale_method="area", width=64, height=64, crop="center")
    latents = add(nodes, "VAEEncode", pixels=small, vae=[checkpoint[0], 2])
    words = add(nodes, "CLIPTextEncode", clip=[checkpoint[0], 1], text="a photo of a woman")
    lora = add(
        nodes, "TrainLoraNode", model=checkpoint, latents=latents, positive=words, batch_size=1,
        grad_accumulation_steps=1, steps=2, learning_rate=0.01, rank=2, optimizer="AdamW", loss_function="MSE", seed=1,
        training_dtype="fp32", lora_dtype="fp32", quantized_backward=False, algorithm="LoRA",
        gradient_checkpointing=False, checkpoint_depth=1, offloading=False, existing_lora="[None]", bucket_mode=False,
        bypass_mode=False,
    )  # fmt: skip
    character = add(nodes, "LikenessLoadCharacter", character=trainee)
    taken = add(
        nodes, "LikenessRegisterLoRA", character=character, trained=lora, steps=[lora[0], 2], training_set="one photo"
    )
    drawn = []
    for who in ([taken[0], 0], [taken[0], 1]):
        given = {"model": checkpoint, "clip": [checkpoint[0], 1], "character": who, "strengths": "profile"}
        applied = add(nodes, "LikenessApplyCharacter", **given)
        size = add(nodes, "EmptyLatentImage", width=64, height=64, batch_size=2)
        sampled = add(
            nodes, "KSampler", model=applied, positive=words, negative=words, latent_image=size, seed=3, steps=1,
            cfg=5.0, sampler_name="euler", scheduler="normal", denoise=1.0,
        )  # fmt: skip
        drawn.append(add(nodes, "VAEDecode", samples=sampled, vae=[checkpoint[0], 2]))
    compared = add(
        nodes, "LikenessCompareVersions", present=drawn[0], candidate=drawn[1], character=[taken[0], 0],
        version=[taken[0], 2], **MEASURED,
    )  # fmt: skip
    report = shows_text(nodes, [taken[0], 4])
    result = server.run(nodes)
    assert "became version 1 of Trainee on sd15, inactive" in result.outputs[report]["text"][0]
    (version,) = settings(server, trainee).loras
    assert (version.steps, version.rank, version.training_set) == (2, 2, "one photo")
    info = check_whole(server.base / "models" / "loras" / version.file)
    assert info.changes and info.metadata["likeness.family"] == "sd15"
    assert version.comparison is not None and version.comparison.pictures == 2
    assert shown(result, compared, "likeness_comparison")["against"] == "faceid_only"


def batch(nodes: ApiGraph, *pictures: str) -> Any:
    link = None
    for name in pictures:
        one = add(nodes, "LoadImage", image=name)
        link = one if link is None else add(nodes, "ImageBatch", image1=link, image2=one)
    return link


def test_a_version_with_a_higher_rate_takes_over(server: Running) -> None:
    made = create(server, "Better")
    nodes, node = register(server, made, lora=LORA)
    server.run(nodes)
    for name in (*PHOTOS, TOMAS):
        shutil.copy(ROOT / "sample" / "pictures" / name, server.base / "input" / name)

    def comparison(present: tuple[str, ...], candidate: tuple[str, ...], **more: Any) -> tuple[ApiGraph, Any]:
        graph: ApiGraph = {}
        character = add(graph, "LikenessLoadCharacter", character=made)
        pair = {"present": batch(graph, *present), "candidate": batch(graph, *candidate)}
        given = {**pair, "character": character, "threshold": 0.52, **MEASURED, **more}
        return graph, add(graph, "LikenessCompareVersions", **given)

    graph, node = comparison(("photo_1.png", TOMAS), (TOMAS, "photo_2.png"))
    told = shown(server.run(graph), node, "likeness_comparison")
    assert (told["rate"], told["against_rate"], told["switched"]) == (0.5, 0.5, False)
    graph, node = comparison((TOMAS, TOMAS), ("photo_1.png", PHOTOS[0]), write="only report")
    told = shown(server.run(graph), node, "likeness_comparison")
    assert told["rate"] > told["against_rate"] and not told["switched"] and settings(server, made).lora is None
    graph, node = comparison((TOMAS, TOMAS), ("photo_1.png", PHOTOS[0]), seeds="1, 2")
    result = server.run(graph)
    assert shown(result, node, "likeness_comparison")["switched"] and settings(server, made).lora.version == 1
    assert "Version 1 takes over from faceid_only" in shown(result, node)
    assert settings(server, made).lora.comparison.seeds == "1, 2"
    nodes, report = portrait(made)
    assert "lora_faceid" in server.run(nodes).outputs[report]["text"][0], "and it draws from now on"


def test_the_commands_graph_draws_and_compares_both_ways(
    server: Running, slug: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files, size = Files(STANDIN["sd15"], slug), Overrides(1, 64, 64)
    graph = compare_versions(files, Trial(1, (1, 2), ("in a park",), MEASURED), size)
    result = server.run(graph)
    told = result.outputs[compare_node(graph)]["likeness_comparison"][0]
    assert (told["version"], told["pictures"], told["seeds"], told["against"]) == (1, 2, "1, 2", "faceid_only")
    (picture, *_) = result.outputs[compare_node(graph)]["images"]
    assert images.decode(server.client.fetch(picture)).shape[1] == 2 * 64, "pairs side by side"
    arguments = argparse.Namespace(
        name=slug, version=1, family="sd15", report_only=True, server=server.url, seeds=1, seed=5, prompt=["on a hill"],
        face_model="standin", measure_drawn=True, checkpoint=STANDIN["sd15"], adapter="auto", steps=1, size=64,
        out=None, json=True,
    )  # fmt: skip
    places: Any = SimpleNamespace(library=lambda: Library([server.characters]))
    loras.compare_lora(arguments, places)
    assert json.loads(capsys.readouterr().out)["seeds"] == "5"


def test_nothing_is_left_over(server: Running) -> None:
    assert list(Path(server.base / "models" / "loras").rglob(".likeness-*")) == []
