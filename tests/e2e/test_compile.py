"""Compile Identity and `likeness compile`, and characters that have no folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from likeness.cli.graphs import ApiGraph, compile_identity
from likeness.errors import ServerError

from ..faceid.random_adapter import nested, state_dict
from .conftest import ONE_THREAD, ROOT, Running
from .graph_parts import APPLY, TOMAS, add, create, draw, portrait

FILES = {f"{family}-ip-adapter-faceid-plusv2_{family}.safetensors" for family in ("sd15", "sdxl")}


@pytest.fixture(scope="module")
def ada(server: Running) -> str:
    return create(server, "Ada")


def compiled(server: Running, graph: ApiGraph) -> list[str]:
    return server.run(graph).outputs["2"]["text"][0].splitlines()


def test_every_family_with_an_adapter_is_compiled_once(server: Running, ada: str) -> None:
    first, second = compiled(server, compile_identity(ada)), compiled(server, compile_identity(ada))
    identity = server.characters / ada / "identity"
    assert {p.name for p in identity.iterdir()} == FILES
    for family, line in zip(("sd15", "sdxl"), first, strict=True):
        assert re.fullmatch(
            rf"Ada on {family}: faceid_plus_v2 ip-adapter-faceid-plusv2_{family}\.bin, {family}-\S+\.safetensors, "
            r"[\d,]+ bytes, compiled in \d+ ms",
            line,
        )
    assert [line.rsplit(", ", 1)[1] for line in second] == ["was there already"] * 2
    file = identity / sorted(FILES)[0]
    data = file.read_bytes()
    file.unlink()
    assert "compiled in" in compiled(server, compile_identity(ada))[0], "a deleted file is made again"
    assert file.read_bytes() == data


def test_a_drawing_after_it_opens_no_model_of_the_face(server: Running, ada: str) -> None:
    compiled(server, compile_identity(ada, "sd15"))
    server.forget()
    server.opened()
    draw(server, portrait(ada))
    opened = server.opened()
    assert opened.pop("torch.load") == 1, "the checkpoint, and nothing else"
    assert opened == {}


def test_the_chosen_adapter_decides_the_family(server: Running, ada: str) -> None:
    (line,) = compiled(server, compile_identity(ada, adapter="ip-adapter-faceid_sdxl.bin"))
    assert line.startswith("Ada on sdxl: faceid ip-adapter-faceid_sdxl.bin")
    with pytest.raises(ServerError, match="adapter for sdxl and the model is sd15"):
        server.run(compile_identity(ada, "sd15", "ip-adapter-faceid_sdxl.bin"))


def command(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "likeness", "compile", *words]
    return subprocess.run(call, capture_output=True, text=True, cwd=ROOT, timeout=280, env={**os.environ, **env})


def test_the_command_uses_a_running_server(server: Running, ada: str) -> None:
    ran = command("Ada", "--family", "sd15", "--server", server.url, "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["slug"] == "ada" and len(told["compiled"]) == 1
    assert "faceid_plus_v2" in told["compiled"][0]
    ran = command("nobody", "--server", server.url)
    assert ran.returncode == 1 and "nobody" in ran.stderr
    ran = command("ada", "--server", "http://127.0.0.1:9")
    assert ran.returncode == 1 and "No ComfyUI answers" in ran.stderr


def test_the_command_starts_a_comfyui_of_its_own(server: Running, comfy_path: Path, ada: str, tmp_path: Path) -> None:
    """In a ComfyUI folder that has the test's models: links to a real one, but for models/."""
    for entry in comfy_path.iterdir():
        if entry.name not in ("models", "custom_nodes", "user", "extra_model_paths.yaml"):
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "models").symlink_to(server.base / "models")
    identity = server.characters / ada / "identity"
    for file in identity.glob("*"):
        file.unlink()
    env = {**ONE_THREAD, "COMFYUI_PATH": str(tmp_path), "COMFYUI_PYTHON": sys.executable}
    ran = command("ada", **env)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("compiled in") == 2
    assert {p.name for p in identity.iterdir()} == FILES
    for file in identity.glob("*"):
        file.unlink()  # made with the whole image encoder; other tests' server has a shallow one
    ran = command("nobody", **env)
    assert ran.returncode == 1 and "No character 'nobody'" in ran.stderr and "Starting" not in ran.stderr


def with_blend(adapter: str = "auto") -> tuple[ApiGraph, str]:
    nodes, report = portrait("ada", adapter=adapter)
    other = add(nodes, "LikenessLoadCharacter", character="ben")
    weights = {"weight_1": 1.0, "weight_2": 1.0}
    made = add(nodes, "LikenessBlendCharacters", character_1=["2", 0], character_2=other, **weights)
    for node in nodes.values():
        if "character" in node["inputs"] and node["class_type"] != "LikenessLoadCharacter":
            node["inputs"]["character"] = made
    return nodes, report


def private(server: Running) -> set[str]:
    return {p.name for p in server.base.glob("user/__likeness/identity/*.safetensors")}


def test_a_blend_is_compiled_once_in_a_private_place(server: Running, ada: str) -> None:
    create(server, "Ben", TOMAS)
    before = private(server)
    picture, report = draw(server, with_blend())
    assert "faceid_plus_v2" in report
    (new,) = private(server) - before
    assert re.fullmatch(r"[0-9a-f]{16}-sd15-ip-adapter-faceid-plusv2_sd15\.safetensors", new)
    server.forget()
    server.opened()
    again, _ = draw(server, with_blend())
    np.testing.assert_array_equal(again, picture)
    assert set(server.opened()) == {"torch.load"}
    assert np.abs(picture - draw(server, portrait("ada"))[0]).max() > 0


def test_a_face_from_a_file_takes_an_adapter_that_needs_no_picture(server: Running, ada: str) -> None:
    saved, _ = portrait("ada")
    nodes: ApiGraph = {"2": saved["2"]}
    add(nodes, "LikenessSaveFaceEmbedding", character=["2", 0], name="ada_face")
    server.run(nodes)

    def from_file(adapter: str) -> tuple[ApiGraph, str]:
        nodes, report = portrait("ada", adapter=adapter)
        face = add(nodes, "LikenessLoadFaceEmbedding", face="ada_face.safetensors", name="")
        nodes[APPLY]["inputs"]["character"] = face  # the words stay Ada's
        return nodes, report

    picture, report = draw(server, from_file("auto"))
    assert "faceid ip-adapter-faceid_sd15.bin" in report and picture.std() > 1
    plain, _ = draw(server, portrait("ada", adapter="ip-adapter-faceid_sd15.bin"))
    assert np.abs(picture - plain).max() <= 2, "the same face, as numbers"
    with pytest.raises(ServerError, match="came without a picture"):
        draw(server, from_file("ip-adapter-faceid-plusv2_sd15.bin"))


UNNORM = "ip-adapter-faceid-portrait_sdxl_unnorm.bin"


def test_portrait_unnorm_reads_the_raw_embedding(server: Running, ada: str) -> None:
    made = nested(state_dict("sdxl", "resampler", tokens=16, hidden=(320,) * 70))
    path = server.base / "models" / "ipadapter" / UNNORM
    torch.save(made, path)
    try:
        picture, report = draw(server, portrait(ada, "sdxl", adapter=UNNORM))
        assert f"faceid_portrait_unnorm {UNNORM}: weight 0.8" in report and "companion" not in report
        assert np.abs(picture - draw(server, portrait(ada, "sdxl"))[0]).max() > 0
        nodes = {"2": portrait(ada)[0]["2"]}
        add(nodes, "LikenessSaveFaceEmbedding", character=["2", 0], name="flat", embedding="normed")
        server.run(nodes)
        nodes, shown = portrait(ada, "sdxl", adapter=UNNORM)
        nodes[APPLY]["inputs"]["character"] = add(nodes, "LikenessLoadFaceEmbedding", face="flat.safetensors", name="")
        with pytest.raises(ServerError, match="Give the raw embedding"):
            draw(server, (nodes, shown))
    finally:
        path.unlink()
