"""What a character needs to be drawn once it is compiled: a checkpoint, its LoRAs, and nothing else."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from likeness.cli.comfy import ComfyServer, link_pack
from likeness.errors import ServerError
from likeness.remote.client import QueueClient

from .conftest import CPU, ONE_THREAD, Running
from .test_graphs import graph

GONE = "raise ImportError('onnxruntime is not installed')\n"


def test_an_existing_character_is_drawn_without_onnxruntime_adapter_or_image_encoder(
    server: Running, comfy_path: Path, tmp_path: Path
) -> None:
    name = {"LikenessCreateCharacter.name": "Portable"}
    server.run(graph("create_character", **name))
    draw = graph("portrait", **{"LikenessLoadCharacter.character": "portable"})
    expected = server.picture(server.run(draw))

    models = tmp_path / "models"
    shutil.copytree(server.characters / "portable", models / "characters" / "portable")  # copied, so moved
    for folder in ("checkpoints", "loras"):
        shutil.copytree(server.base / "models" / folder, models / folder)
    for package in ("onnxruntime", "insightface"):
        (tmp_path / "hidden" / package).mkdir(parents=True)
        (tmp_path / "hidden" / package / "__init__.py").write_text(GONE)
    link_pack(tmp_path / "custom_nodes")
    env = {**ONE_THREAD, "PYTHONPATH": str(tmp_path / "hidden")}
    with ComfyServer(comfy_path, Path(sys.executable), tmp_path, CPU, env) as bare:
        client = QueueClient(bare.url)
        assert "onnxruntime is not installed" not in bare.log.read_text(errors="replace")
        running = Running(client, bare.url, tmp_path, bare.log)
        np.testing.assert_array_equal(running.picture(running.run(draw)), expected)
        score = {"LikenessLoadCharacter.character": "portable", "LikenessScoreLikeness.face_model": "auto"}
        with pytest.raises(ServerError, match="no face model pack 'standin'"):
            running.run(graph("lora_faceid_score", **score))
