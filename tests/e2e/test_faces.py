"""Blended characters and face files through a real ComfyUI's queue."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save

from likeness.cli.graphs import ApiGraph
from likeness.errors import ServerError

from .conftest import Running
from .test_graphs import graph


@pytest.fixture(scope="module")
def people(server: Running) -> tuple[str, str]:
    """Two characters, with three references and with one."""
    server.run(graph("create_character"))
    one: ApiGraph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo_3.png"}},
        "2": {
            "class_type": "LikenessCreateCharacter",
            "inputs": {"images.image0": ["1", 0], "name": "Second", "face_model": "standin"},
        },
    }
    server.run(one)
    return "my_character", "second"


def blended(people: tuple[str, str], weights: tuple[float, float], name: str, **save_inputs: str) -> ApiGraph:
    return {
        "1": {"class_type": "LikenessLoadCharacter", "inputs": {"character": people[0]}},
        "2": {"class_type": "LikenessLoadCharacter", "inputs": {"character": people[1]}},
        "3": {
            "class_type": "LikenessBlendCharacters",
            "inputs": {
                "character_1": ["1", 0],
                "weight_1": weights[0],
                "character_2": ["2", 0],
                "weight_2": weights[1],
            },
        },
        "4": {
            "class_type": "LikenessSaveFaceEmbedding",
            "inputs": {"character": ["3", 0], "name": name, **save_inputs},
        },
    }


def test_a_blend_is_saved_loaded_and_scored(server: Running, people: tuple[str, str]) -> None:
    result = server.run(blended(people, (1.0, 1.0), "Between"))
    assert "between.safetensors" in result.outputs["4"]["text"][0]
    file = server.base / "models" / "face_embeddings" / "between.safetensors"
    assert load(file.read_bytes())["embedding"].shape == (512,)
    scored: ApiGraph = {
        "1": {"class_type": "LikenessLoadFaceEmbedding", "inputs": {"face": "between.safetensors", "name": "Both"}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "photo_3.png"}},
        "3": {
            "class_type": "LikenessScoreLikeness",
            "inputs": {
                "images": ["2", 0],
                "character": ["1", 0],
                "face_model": "standin",
                "drawn_faces": "measure",
            },
        },
    }
    (score,) = server.run(scored).outputs["3"]["likeness_scores"]
    assert len(score["faces"]) == 1 and score["similarity"] > 0.5


def test_all_for_one_saves_that_one(server: Running, people: tuple[str, str]) -> None:
    """The order of the two does not matter either: the bytes are the same."""
    folder = server.base / "models" / "face_embeddings"
    server.run(blended(people, (1.0, 0.0), "First"))
    server.run(blended((people[1], people[0]), (0.0, 1.0), "Also first"))
    assert (folder / "first.safetensors").read_bytes() == (folder / "also_first.safetensors").read_bytes()


def test_another_face_is_not_overwritten_unless_told(server: Running, people: tuple[str, str]) -> None:
    server.run(blended(people, (1.0, 0.0), "Kept"))
    with pytest.raises(ServerError, match="holds another face"):
        server.run(blended(people, (0.0, 1.0), "Kept"))
    server.run(blended(people, (0.0, 1.0), "Kept", if_exists="replace"))


def test_a_name_from_a_prompt_is_no_path(server: Running, people: tuple[str, str]) -> None:
    with pytest.raises(ServerError, match="looks like a path"):
        server.run(blended(people, (1.0, 1.0), "../../custom_nodes/x"))


def test_reactor_is_given_buffalo_ls_embeddings_only(server: Running, people: tuple[str, str]) -> None:
    with pytest.raises(ServerError, match="ReActor needs embeddings of buffalo_l"):
        server.run(blended(people, (1.0, 1.0), "For ReActor", format="reactor"))


def test_faces_of_reactor_are_listed_and_face_files_are_not_served(server: Running) -> None:
    folder = server.base / "models" / "reactor" / "faces"
    folder.mkdir(parents=True, exist_ok=True)
    vector = np.random.default_rng(1).standard_normal(512).astype(np.float32)
    (folder / "theirs.safetensors").write_bytes(save({"embedding": vector}))
    face = server.client.object_info()["LikenessLoadFaceEmbedding"]["input"]["required"]["face"]
    assert "theirs.safetensors" in face[1]["options"]
    for kind in ("output", "input", "temp"):
        with pytest.raises(OSError, match="HTTP Error 40"):
            server.get(f"/view?type={kind}&filename=theirs.safetensors&subfolder=../models/reactor/faces")


def drawn(server: Running, source: ApiGraph, node: str) -> np.ndarray:
    """A portrait of the character that `node` of `source` gives; float [H, W, 3]."""
    portrait = graph("portrait")
    for name, about in source.items():
        links = {k: [f"from{v[0]}", v[1]] if isinstance(v, list) else v for k, v in about["inputs"].items()}
        portrait[f"from{name}"] = {**about, "inputs": links}
    for about in portrait.values():
        about["inputs"] = {k: [f"from{node}", 0] if v == ["2", 0] else v for k, v in about["inputs"].items()}
    return server.picture(server.run(portrait)).astype(float)


def test_a_blend_and_a_face_file_are_drawn(server: Running, people: tuple[str, str]) -> None:
    """The blend with Plus V2 from its people's crops, the file, which has none, with plain FaceID."""
    alone = [drawn(server, blended(people, w, "Drawn", if_exists="replace"), "3") for w in ((1.0, 0.0), (0.0, 1.0))]
    loaded = drawn(server, {"1": {"class_type": "LikenessLoadCharacter", "inputs": {"character": people[0]}}}, "1")
    assert (alone[0] == loaded).all(), "all for one is that one, to the pixel"
    between = drawn(server, blended(people, (1.0, 1.0), "Drawn", if_exists="replace"), "3")
    apart = np.abs(alone[0] - alone[1]).mean()
    assert apart > 0 and all(0 < np.abs(between - one).mean() < apart for one in alone)
    file: ApiGraph = {
        "1": {"class_type": "LikenessLoadFaceEmbedding", "inputs": {"face": "drawn.safetensors", "name": ""}}
    }
    assert np.abs(drawn(server, file, "1") - between).mean() > 0
    assert "faceid ip-adapter-faceid_sd15.bin" in server.log.read_text(errors="replace")
