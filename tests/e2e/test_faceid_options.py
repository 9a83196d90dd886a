"""FaceID Options and the mask of Apply Character, in a real ComfyUI."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness.cli.graphs import ApiGraph
from likeness.errors import ServerError

from .conftest import ROOT, Running
from .graph_parts import APPLY, TOMAS, add, create, draw, half_mask, portrait, with_options

FACE_ALONE = {"strengths": "custom", "strengths.faceid_weight": 1.0, "strengths.companion_lora": 0.0}
CLIP_VISION = "clip_vision/CLIP-ViT-H-14-laion2B-s32B-b79K.bin"
OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "combine": ({"combine": "concat"}, r"combine concat \(3 faces\)"),
    "average": ({"combine": "average"}, "combine average"),
    "type": ({"weight_type": "ease in"}, "type ease in"),
    "layers": ({"layer_weights": "3:1, 6:0.5"}, "layers 3:1, 6:0.5"),
    "scaling": ({"embeds_scaling": "K+V"}, r"scaling K\+V"),
    "frames": ({"frame_weights": "0.2"}, "weights for 1 pictures"),
    "negative": ({"negative": "ben"}, "away from Ben"),
    "plus": ({"plus_v2": "plus"}, r"faceid_plus \(by user\)"),
    "match": ({"match_ipadapter_plus": True}, "as IPAdapter_plus draws"),
}


@pytest.fixture(scope="module")
def people(server: Running) -> tuple[str, str]:
    return create(server, "Ada"), create(server, "Ben", TOMAS)


def stored(server: Running, slug: str) -> set[str]:
    return {p.name for p in (server.characters / slug / "identity").glob("*.safetensors")}


def test_options_left_alone_change_nothing(server: Running, people: tuple[str, str]) -> None:
    plain, report = draw(server, portrait("ada"))
    same, told = draw(server, with_options("ada"))
    np.testing.assert_array_equal(plain, same)
    assert report == told
    assert "faceid_plus_v2 (by file name) ip-adapter-faceid-plusv2_sd15.bin: weight 0.8, weight_v2 1" in told


def test_every_option_changes_the_picture_and_is_told(server: Running, people: tuple[str, str]) -> None:
    pictures = {"none": draw(server, portrait("ada"))[0]}
    for name, (options, words) in OPTIONS.items():
        pictures[name], report = draw(server, with_options("ada", **options))
        assert re.search(words, report), (name, report)
    for a in pictures:
        for b in pictures:
            assert a == b or np.abs(pictures[a] - pictures[b]).max() > 0, (a, b)
    extra = {n for n in stored(server, "ada") if re.search(r"-[0-9a-f]{8}\.safetensors$", n)}
    made_anew = ("combine", "average", "negative", "plus", "match")
    assert len(extra) == len(made_anew), "weights, layers and scaling need no file of their own"


def test_a_weight_may_be_negative(server: Running, people: tuple[str, str]) -> None:
    def drawn(weight: float) -> np.ndarray:
        picture, report = draw(server, portrait("ada", **{**FACE_ALONE, "strengths.faceid_weight": weight}))
        assert f"weight {weight:g}" in report
        return picture

    towards, off, away = drawn(0.5), drawn(0.0), drawn(-0.5)
    assert min(np.abs(away - off).max(), np.abs(away - towards).max()) > 2


def test_another_recipe_is_compiled_once(server: Running, people: tuple[str, str]) -> None:
    first, _ = draw(server, with_options("ada", combine="weighted"))
    server.forget()
    server.opened()
    again, _ = draw(server, with_options("ada", combine="weighted"))
    np.testing.assert_array_equal(first, again)
    opened = server.opened()
    assert opened.pop("torch.load") == 1, "the checkpoint, and nothing else"
    assert opened == {}


def test_per_image_gives_each_picture_of_a_batch_a_face(server: Running, people: tuple[str, str]) -> None:
    nodes, report = with_options("ada", combine="per image")
    for node in nodes.values():
        if node["class_type"] == "EmptyLatentImage":
            node["inputs"]["batch_size"] = 2
    result = server.run(nodes)
    assert "combine per image (3 pictures)" in result.outputs[report]["text"][0]
    assert len(result.outputs["11"]["images"]) == 2


def masked(right: bool) -> tuple[ApiGraph, str]:
    """The portrait with the face in one half; with `right`, also put into the other half by a second node."""
    nodes, shown = portrait("ada", **FACE_ALONE)
    left = half_mask(nodes)
    nodes[APPLY]["inputs"]["mask"] = left
    if right:
        second = add(nodes, "LikenessApplyCharacter", **nodes[APPLY]["inputs"])
        nodes[second[0]]["inputs"] |= {"model": [APPLY, 0], "mask": add(nodes, "InvertMask", mask=left)}
        for node in nodes.values():
            if node["class_type"] in ("KSampler", "LikenessCharacterSampling"):
                node["inputs"]["model"] = second
    return nodes, shown


def test_a_mask_limits_the_face_to_its_region(server: Running, people: tuple[str, str]) -> None:
    """Two halves make the whole. How little gets over the edge of a layer is measured in tests/faceid."""
    off, _ = draw(server, portrait("ada", **{**FACE_ALONE, "strengths.faceid_weight": 0.0}))
    whole, _ = draw(server, portrait("ada", **FACE_ALONE))
    left, report = draw(server, masked(right=False))
    both, _ = draw(server, masked(right=True))
    assert "mask: the face acts in 50% of the picture" in report
    changed = np.abs(left - off).mean(axis=(0, 2))  # by column; the UNet itself carries changes over the edge
    assert changed[:48].mean() > changed[-48:].mean() > 0
    np.testing.assert_allclose(both, whole, atol=2)
    assert np.abs(left - whole).max() > 10


def test_an_empty_mask_is_refused_with_its_usual_cause(server: Running, people: tuple[str, str]) -> None:
    nodes, shown = portrait("ada")
    picture = add(nodes, "LoadImage", image=TOMAS)
    nodes[APPLY]["inputs"]["mask"] = [picture[0], 1]
    with pytest.raises(ServerError, match=r"attention mask is empty.*without transparency"):
        draw(server, (nodes, shown))


def other_encoder(folder: Path) -> bytes:
    """A stand-in encoder with other numbers."""
    script = ROOT / "tools" / "make_standins.py"
    command = [sys.executable, script, "--out", folder, "--what", "clip_vision", "--seed", "8"]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / CLIP_VISION).read_bytes()


def test_a_replaced_image_encoder_compiles_again_and_a_lost_one_changes_nothing(
    server: Running, people: tuple[str, str], tmp_path: Path
) -> None:
    encoder = server.base / "models" / CLIP_VISION
    data, identity = encoder.read_bytes(), server.characters / "ada" / "identity"
    file = identity / "sd15-ip-adapter-faceid-plusv2_sd15.safetensors"
    first, _ = draw(server, portrait("ada"))
    made = file.read_bytes()
    try:
        encoder.unlink()
        np.testing.assert_array_equal(draw(server, portrait("ada"))[0], first)
        assert file.read_bytes() == made
        encoder.write_bytes(other_encoder(tmp_path))
        assert np.abs(draw(server, portrait("ada"))[0] - first).max() > 0
        assert file.read_bytes() != made
    finally:
        encoder.write_bytes(data)
    np.testing.assert_allclose(draw(server, portrait("ada"))[0], first, atol=2)  # encoded anew


def test_changed_references_compile_again(server: Running, people: tuple[str, str]) -> None:
    first, _ = draw(server, with_options("ada", combine="average"))
    profile = server.characters / "ada" / "profile.toml"
    before = profile.read_bytes()
    try:
        first_out = before.replace(b"weight = 1.0", b"weight = 0.0", 1)
        assert first_out != before
        profile.write_bytes(first_out)
        fewer, _ = draw(server, with_options("ada", combine="average"))
    finally:
        profile.write_bytes(before)
    assert np.abs(first - fewer).max() > 0
    np.testing.assert_allclose(draw(server, with_options("ada", combine="average"))[0], first, atol=2)


def test_without_the_adapter_a_stored_recipe_draws_and_another_says_what_is_missing(
    server: Running, people: tuple[str, str]
) -> None:
    expected, _ = draw(server, with_options("ben", match_ipadapter_plus=True))
    adapters, away = server.base / "models" / "ipadapter", server.base / "models" / "adapters_away"
    adapters.rename(away)
    adapters.mkdir()
    try:
        np.testing.assert_array_equal(draw(server, with_options("ben", match_ipadapter_plus=True))[0], expected)
        with pytest.raises(ServerError, match="models/ipadapter has no FaceID adapter for sd15"):
            draw(server, with_options("ben", negative="ada"))
    finally:
        adapters.rmdir()
        away.rename(adapters)


def test_sdxl_under_match_takes_the_wide_crop_from_the_pictures(server: Running, people: tuple[str, str]) -> None:
    plain, _ = draw(server, portrait("ben", "sdxl"))
    matched, report = draw(server, with_options("ben", "sdxl", match_ipadapter_plus=True))
    assert "as IPAdapter_plus draws" in report
    assert np.abs(plain - matched).max() > 0
    picture = server.characters / "ben" / "references" / "001.png"
    data = picture.read_bytes()
    picture.unlink()
    try:
        for file in (server.characters / "ben" / "identity").glob("sdxl-*-????????.safetensors"):
            file.unlink()
        server.forget()
        with pytest.raises(ServerError, match="256 px crop needs the reference picture"):
            draw(server, with_options("ben", "sdxl", match_ipadapter_plus=True))
    finally:
        picture.write_bytes(data)


REFUSED = {
    "weight type": ({"weight_type": "strongest"}, "weight_type"),
    "combine": ({"combine": "median"}, "combine"),
    "layers": ({"layer_weights": "three:1"}, "layer_weights: 'three:1' does not start with a number"),
    "frames": ({"frame_weights": "0, a lot"}, "frame_weights: 'a lot' is not a number"),
    "layer out of range": ({"layer_weights": "16:1"}, "sd15 has the layers 0 to 15"),
    "composition": ({"weight_composition": 9.0}, "weight_composition"),
    "v2": ({"plus_v2": "yes"}, "plus_v2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_options_are_named(server: Running, people: tuple[str, str], case: str) -> None:
    options, words = REFUSED[case]
    with pytest.raises(ServerError, match=words):
        draw(server, with_options("ada", **options))
