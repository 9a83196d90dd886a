"""Place Character and Apply Characters, in a real ComfyUI."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from likeness.cli.graphs import ApiGraph, Link
from likeness.errors import ServerError

from .conftest import Running
from .graph_parts import TOMAS, add, create, draw, half_mask, portrait, shows_text
from .test_graphs import graph

CAST = "6"  # Apply Characters in the shipped graph
LEFT, RIGHT = "3", "5"  # Place Character
LORA = '[[base.sd15.loras]]\nfile = "mara_voss_sd15.safetensors"\nversion = 1\n'
FACE = "\n[base.sd15.strengths]\ncompanion_lora = 0.6\nfaceid_weight = 0.8\nlora_model = {}\nlora_clip = {}\n"


@pytest.fixture(scope="module")
def people(server: Running) -> tuple[str, str]:
    return create(server, "Ada"), create(server, "Ben", TOMAS)


@pytest.fixture(scope="module")
def with_loras(server: Running, people: tuple[str, str]) -> tuple[str, str]:
    """Two characters with a LoRA each; the file is the same, the strengths are not."""
    for slug, strength in ((create(server, "Lora1"), 1.0), (create(server, "Lora2", TOMAS), -1.0)):
        profile = server.characters / slug / "profile.toml"
        profile.write_text(profile.read_text() + LORA + FACE.format(strength, strength))
    return "lora1", "lora2"


def two(*slugs: str, steps: int = 1, **changes: Any) -> tuple[ApiGraph, str]:
    """The shipped graph; `changes` are inputs of Apply Characters."""
    nodes = graph("two_characters", **{"KSampler.steps": steps})
    for node, slug in zip(("2", "4"), slugs, strict=True):
        nodes[node]["inputs"]["character"] = slug
    nodes[CAST]["inputs"] |= changes
    report = shows_text(nodes, [CAST, 3])
    nodes["11"] = nodes.pop(next(k for k, n in nodes.items() if n["class_type"] == "SaveImage"))
    return nodes, report


def test_the_shipped_graph_draws_two_characters(server: Running, people: tuple[str, str]) -> None:
    picture, report = draw(server, two("ada", "ben"))
    assert picture.shape == (128, 128, 3) and picture.std() > 1
    for name in ("Ada", "Ben"):
        assert f"{name} on sd15: faceid_only" in report
    assert "box 0, 0, 0.5 x 1, feather 0.1: 50% of the picture, 5% of that shared with others" in report
    assert (
        report.count("companion LoRA ip-adapter-faceid-plusv2_sd15_lora.safetensors: 0.6, for the whole picture") == 1
    )
    assert "call of the UNet" not in report, "no LoRAs, no hooks"


def test_each_place_has_its_own_face_and_words(server: Running, people: tuple[str, str]) -> None:
    first, _ = draw(server, two("ada", "ben"))
    swapped, _ = draw(server, two("ben", "ada"))
    assert np.abs(first - swapped).max() > 10
    nodes, report = two("ada", "ben")
    nodes[LEFT]["inputs"]["prompt"] = "asleep, in a red armchair"
    other, _ = draw(server, (nodes, report))
    change = np.abs(other - first).mean(axis=(0, 2))
    assert change[:48].mean() > 1.5 * change[-48:].mean() > 0


def test_apply_character_twice_puts_the_companion_lora_on_once(server: Running, people: tuple[str, str]) -> None:
    nodes, first = portrait("ada")
    second = add(nodes, "LikenessLoadCharacter", character="ben")
    model = add(nodes, "LikenessApplyCharacter", model=["3", 0], clip=["3", 1], character=second, strengths="profile")
    sampler = next(n for n in nodes.values() if n["class_type"] == "KSampler")
    sampler["inputs"]["model"] = model
    told = shows_text(nodes, [model[0], 2])
    result = server.run(nodes)
    assert "0.6\n" in result.outputs[first]["text"][0]
    assert ": 0.6, which is on the model already" in result.outputs[told]["text"][0]


def everywhere(nodes: ApiGraph, place: str) -> None:
    inputs = nodes[place]["inputs"]
    nodes[place]["inputs"] = {k: v for k, v in inputs.items() if not k.startswith("where.")} | {"where": "everywhere"}


def alone(slug: str, share: float) -> tuple[ApiGraph, str]:
    """A cast of one who has the whole picture, with the words of the portrait graph."""
    nodes, report = two(slug, slug, share=share, negative="blurry, deformed")
    nodes[CAST]["inputs"]["cast"] = [LEFT, 0]
    nodes[LEFT]["inputs"]["prompt"] = portrait(slug)[0]["4"]["inputs"]["text"]
    everywhere(nodes, LEFT)
    return nodes, report


@pytest.mark.parametrize("slug", ["ada", "lora1"])
def test_one_character_everywhere_is_apply_character(server: Running, with_loras: tuple[str, str], slug: str) -> None:
    expected, _ = draw(server, portrait(slug))
    picture, report = draw(server, alone(slug, share=1.0))
    np.testing.assert_array_equal(picture, expected)
    assert "everywhere: 100% of the picture" in report and "call of the UNet" not in report


def test_loras_act_in_their_regions_only(server: Running, with_loras: tuple[str, str]) -> None:
    picture, report = draw(server, two("lora1", "lora2", share=1.0))
    assert "2 character LoRA(s) in their regions only: one more call of the UNet for each" in report
    assert "lora_faceid" in report and picture.std() > 1
    one, report = draw(server, two("lora1", "lora1", share=1.0))
    assert "1 character LoRA(s)" in report, "equal LoRAs share a call; the seam between the boxes has none"
    assert np.abs(picture - one).max() > 0
    again, _ = draw(server, two("lora1", "lora2", share=1.0))
    np.testing.assert_array_equal(picture, again)


def test_a_hooked_lora_draws_as_a_loaded_one(server: Running, with_loras: tuple[str, str]) -> None:
    """Almost the whole picture belongs to one character, through hooks, and then all of it, without."""
    loaded, _ = draw(server, alone("lora1", share=1.0))
    nodes, report = alone("lora1", share=1.0)
    nodes[LEFT]["inputs"] |= {"where": "box", "where.left": 0.0, "where.top": 0.0, "where.width": 1.0}
    nodes[LEFT]["inputs"] |= {"where.height": 1.0, "where.feather": 0.0}
    whole, _ = draw(server, (nodes, report))
    np.testing.assert_array_equal(whole, loaded)
    nodes[CAST]["inputs"]["share"] = 0.999
    hooked, told = draw(server, (nodes, report))
    assert "1 character LoRA(s)" in told
    assert np.abs(hooked - loaded).mean() < 1


def test_masks_boxes_and_everywhere_may_overlap(server: Running, people: tuple[str, str]) -> None:
    nodes, shown = two("ada", "ben")
    inputs = {k: v for k, v in nodes[LEFT]["inputs"].items() if not k.startswith("where")}
    mask: Link = half_mask(nodes)
    nodes[LEFT]["inputs"] = inputs | {"where": "mask", "where.mask": mask}
    everywhere(nodes, RIGHT)
    picture, report = draw(server, (nodes, shown))
    assert "mask: 50% of the picture, 100% of that shared with others" in report
    assert "everywhere: 100% of the picture, 50% of that shared with others" in report
    assert picture.std() > 1


def test_sdxl_draws_two_characters(server: Running, people: tuple[str, str]) -> None:
    nodes, shown = two("ada", "ben")
    for node in nodes.values():
        if node["class_type"] == "CheckpointLoaderSimple":
            node["inputs"]["ckpt_name"] = "standin_sdxl.ckpt"
    picture, report = draw(server, (nodes, shown))
    assert picture.std() > 1 and "Ben on sdxl: faceid_only" in report


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "box of no width": ({"where.width": 0.0}, "where.width"),
    "box outside": ({"where.left": 1.0}, "where.left"),
    "where": ({"where": "nowhere"}, "where is none of box, mask, everywhere"),
    "mask not connected": ({"where": "mask"}, "mask"),
    "strengths": ({"strengths": "strongest"}, "strengths is none of profile"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_places_are_named(server: Running, people: tuple[str, str], case: str) -> None:
    changes, words = REFUSED[case]
    nodes, shown = two("ada", "ben")
    nodes[LEFT]["inputs"] |= changes
    with pytest.raises(ServerError, match=words):
        draw(server, (nodes, shown))


def test_an_empty_mask_is_refused(server: Running, people: tuple[str, str]) -> None:
    nodes, shown = two("ada", "ben")
    picture = add(nodes, "LoadImage", image=TOMAS)
    inputs = {k: v for k, v in nodes[LEFT]["inputs"].items() if not k.startswith("where")}
    nodes[LEFT]["inputs"] = inputs | {"where": "mask", "where.mask": [picture[0], 1]}
    with pytest.raises(ServerError, match="mask is empty"):
        draw(server, (nodes, shown))


def test_a_share_beyond_one_is_refused(server: Running, people: tuple[str, str]) -> None:
    with pytest.raises(ServerError, match="share"):
        draw(server, two("ada", "ben", share=1.5))
