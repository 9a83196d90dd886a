"""Example graphs 10 and on, pushed through a real ComfyUI's queue with stand-in models."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.cli.graphs import ApiGraph
from likeness.errors import ServerError
from likeness.remote.client import Result

from .conftest import ROOT, Running
from .graph_parts import create
from .test_graphs import graph

PERSON = "scene_person"
SMALL, MASKED = "small.png", "masked.png"  # 96 px; the second has a hole below, which LoadImage takes for a mask
PAINTED = 48  # px: the first row of that hole
CONTROLS = ("pose", "depth", "canny", "segmentation", "normal")
STANDINS = {
    "LikenessLoadCharacter.character": PERSON,
    "LikenessCreateCharacter.name": "Quick person",
    "LoadImage.image": SMALL,
    "EmptyLatentImage.width": 64,
    "EmptyLatentImage.height": 64,
    "KSampler.steps": 1,
    "ControlNetLoader.control_net_name": "standin_controlnet_sd15.pth",
    "LoadMoGeModel.model_name": "standin_moge.safetensors",
    "MoGeInference.resolution_level": 0,
    "UpscaleModelLoader.model_name": "standin_4x.pth",
    "ImageScaleToTotalPixels.megapixels": 0.02,
    "CLIPLoader.clip_name": "standin_t5_base.bin",
    "LikenessDetailFace.working_size": 256,
    "LikenessDetailFace.steps": 1,
    "LikenessBuildTrainingSet.face_model": "standin",
    "LikenessScoreLikeness.drawn_faces": "measure",
    "LikenessDetailFace.drawn_faces": "measure",
}
TWO = "one: a red dress\ntwo: a blue coat"  # entries of a list
CHANGES: dict[str, dict[str, Any]] = {
    "outfits": {"LikenessCharacterVariations.outfit": TWO},
    "backgrounds": {"LikenessCharacterVariations.background": TWO},
    "expressions": {"LikenessCharacterVariations.expression": TWO},
    "character_sheet": {"LikenessCharacterSheet.pictures": 7},
    "base_images": {"LikenessBaseProposals.count": 2},
    "base_to_character": {"LikenessCreateCharacter.name": "Base person"},
    "quick_faceid": {"LoadImage.image": "photo_1.png", "EmptyLatentImage.batch_size": 2},
    "score_gate": {"EmptyLatentImage.batch_size": 2},
    "inpaint": {"LoadImage.image": MASKED},
    "flux2": {
        "UNETLoader.unet_name": "standin_flux2.safetensors",
        "VAELoader.vae_name": "taef2",
        "Flux2Scheduler.steps": 1,
        "Flux2Scheduler.width": 128,
        "Flux2Scheduler.height": 128,
        "EmptyFlux2LatentImage.width": 128,
        "EmptyFlux2LatentImage.height": 128,
    },
    "wan_video": {
        "UNETLoader.unet_name": "standin_wan.safetensors",
        "VAELoader.vae_name": "standin_wan_vae.ckpt",
        "EmptyHunyuanLatentVideo.width": 64,
        "EmptyHunyuanLatentVideo.height": 64,
        "EmptyHunyuanLatentVideo.length": 5,
    },
}
PICTURES = (
    "quick_faceid",
    "base_to_character",
    *(f"controlnet_{kind}" for kind in CONTROLS),
    "upscale",
    "inpaint",
    "flux2",
)


def scene(name: str, **changes: Any) -> ApiGraph:
    family = "sdxl" if name == "sdxl" else "sd15"
    return graph(name, family, **{**STANDINS, **CHANGES.get(name, {}), **changes})


def node(nodes: ApiGraph, kind: str, title: str = "") -> str:
    """Id of the one node of a class, with that title where there are several."""
    (found,) = (i for i, n in nodes.items() if n["class_type"] == kind and title in ("", n["_meta"]["title"]))
    return found


def files(server: Running, result: Result, node_id: str) -> list[bytes]:
    """The files that a node wrote, whole."""
    return [server.client.fetch(image) for image in result.outputs[node_id]["images"]]


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def drawn(server: Running, nodes: ApiGraph, kind: str = "SaveImage", title: str = "") -> np.ndarray:
    """The first picture of a node, int [H, W, 3]."""
    return pixels(files(server, server.run(nodes), node(nodes, kind, title))[0])


def report(result: Result, nodes: ApiGraph, kind: str) -> str:
    return result.outputs[node(nodes, kind)]["text"][0]


@pytest.fixture(scope="module")
def person(server: Running) -> str:
    """A character with LoRAs for Flux.2 and Wan, the models and pictures that these graphs want."""
    for script in ("standins_pictures.py", "standins_models.py"):
        command = [sys.executable, ROOT / "tools" / script, "--out", server.base / "models"]
        subprocess.run(command, check=True, capture_output=True)
    photo = Image.open(server.base / "input" / "photo_1.png").convert("RGB").resize((96, 96))
    photo.save(server.base / "input" / SMALL)
    seen = Image.new("L", photo.size, 255)
    seen.paste(0, (0, PAINTED, 96, 96))
    photo.putalpha(seen)
    photo.save(server.base / "input" / MASKED)
    create(server, "Scene_person")
    profile = server.characters / PERSON / "profile.toml"
    loras = (f'[[base.{f}.loras]]\nfile = "mara_voss_{f}.safetensors"\nversion = 1\n' for f in ("flux2", "wan"))
    profile.write_text(profile.read_text() + "\n" + "\n".join(loras))
    return PERSON


SCENES = ("outfits", "backgrounds", "expressions", "base_images")


@pytest.mark.parametrize("name", SCENES)
def test_every_scene_of_a_list_is_drawn_once_and_again_alike(server: Running, person: str, name: str) -> None:
    nodes = scene(name)
    result = server.run(nodes)
    kept = node(nodes, "LikenessSaveScene")
    made = [pixels(data) for data in files(server, result, kept)]
    assert len(made) == 2 and not np.array_equal(*made)
    names = [image["filename"] for image in result.outputs[kept]["images"]]
    assert len(set(names)) == 2
    server.forget()
    again = [pixels(data) for data in files(server, server.run(nodes), kept)]
    assert all(np.array_equal(one, other) for one, other in zip(made, again, strict=True))


def test_a_list_is_scored_in_one_table(server: Running, person: str) -> None:
    nodes = scene("outfits")
    result = server.run(nodes)
    assert len(result.outputs[node(nodes, "LikenessScoreLikeness")]["likeness_scores"]) == 2


def test_an_outfit_brings_its_lora(server: Running, person: str) -> None:
    dressed = f"one: a red dress | loras=mara_voss_sd15:0.9\n{TWO.splitlines()[1]}"
    plain, with_lora = scene("outfits"), scene("outfits", **{"LikenessCharacterVariations.outfit": dressed})
    before, after = (
        [pixels(d) for d in files(server, server.run(n), node(n, "LikenessSaveScene"))] for n in (plain, with_lora)
    )
    assert np.abs(before[0] - after[0]).mean() > 0.5 and np.array_equal(before[1], after[1])


def test_a_sheet_is_planned_as_a_training_set(server: Running, person: str) -> None:
    nodes = scene("character_sheet")
    result = server.run(nodes)
    assert len(result.outputs[node(nodes, "LikenessSaveScene")]["images"]) == 7
    assert len(result.outputs[node(nodes, "LikenessScoreLikeness")]["likeness_scores"]) == 7
    assert "7" in report(result, nodes, "LikenessBuildTrainingSet")
    assert not (server.base / "output" / "likeness" / "training" / PERSON / "sheet").exists(), "a plan alone"


def test_a_base_image_becomes_a_character_and_detail_never_costs_likeness(server: Running, person: str) -> None:
    nodes = scene("base_to_character")
    result = server.run(nodes)
    base = pixels((server.base / "input" / SMALL).read_bytes())
    kept = pixels(files(server, result, node(nodes, "SaveImage"))[0])
    (score,) = result.outputs[node(nodes, "LikenessScoreLikeness")]["likeness_scores"]
    assert score["similarity"] > 0.97 and np.array_equal(kept, base), "what noise draws is less like the picture"
    assert (server.characters / "base_person" / "references" / "001.png").is_file()
    anyhow = drawn(server, scene("base_to_character", **{"LikenessDetailFace.tolerance": 2.0}))
    assert np.abs(anyhow - base).max() > 0, "the face is drawn where nothing is checked"


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_seed_gives_the_same_bytes(server: Running, person: str, name: str) -> None:
    nodes = scene(name)
    saving = node(nodes, "SaveImage")
    first = files(server, server.run(nodes), saving)
    server.forget()
    assert files(server, server.run(nodes), saving) == first
    assert all(pixels(data).std() > 1 for data in first)


def test_sdxl_draws_the_same_picture_again(server: Running, person: str) -> None:
    """Without loading it anew, which takes long: an input that KSampler does not know makes ComfyUI run it again."""
    nodes = scene("sdxl")
    first = server.run(nodes)
    assert len(first.outputs[node(nodes, "LikenessScoreLikeness")]["likeness_scores"]) == 1
    nodes[node(nodes, "KSampler")]["inputs"]["again"] = 1
    second = server.run(nodes)
    assert node(nodes, "KSampler") not in server.cached(second)
    pair = [pixels(files(server, result, node(nodes, "SaveImage"))[0]) for result in (first, second)]
    assert pair[0].std() > 1 and np.array_equal(*pair)


def test_one_photo_is_enough_to_try_faceid(server: Running, person: str) -> None:
    nodes = scene("quick_faceid")
    result = server.run(nodes)
    assert len(result.outputs[node(nodes, "LikenessScoreLikeness")]["likeness_scores"]) == 2
    assert (server.characters / "quick_person" / "references" / "001.png").is_file()
    assert not (server.characters / "quick_person" / "references" / "002.png").exists()
    off = {"LikenessApplyCharacter.strengths": "custom", "LikenessApplyCharacter.strengths.faceid_weight": 0.0}
    steered, plain = drawn(server, nodes), drawn(server, scene("quick_faceid", **off))
    assert np.abs(steered - plain).mean() > 1, "the face has no effect"


@pytest.mark.parametrize("kind", CONTROLS)
def test_a_controlnet_steers_the_picture_beside_the_face(server: Running, person: str, kind: str) -> None:
    name = f"controlnet_{kind}"
    steered, plain = (drawn(server, scene(name, **{"ControlNetApplyAdvanced.strength": s})) for s in (1.0, 0.0))
    assert np.abs(steered - plain).mean() > 0.5, "the ControlNet has no effect"
    off = {"LikenessApplyCharacter.strengths": "custom", "LikenessApplyCharacter.strengths.faceid_weight": 0.0}
    faceless = drawn(server, scene(name, **{"ControlNetApplyAdvanced.strength": 1.0, **off}))
    assert np.abs(steered - faceless).mean() > 0.5, "the face has no effect beside the ControlNet"


def test_the_maps_are_what_their_controlnets_read(server: Running, person: str) -> None:
    seen = {kind: drawn(server, scene(f"controlnet_{kind}"), "PreviewImage", "The map") for kind in CONTROLS}
    photo = pixels((server.base / "input" / SMALL).read_bytes())
    assert np.array_equal(seen["pose"], photo) and np.array_equal(seen["segmentation"], photo), "ready maps pass"
    assert set(np.unique(seen["canny"])) == {0, 255}
    assert np.ptp(seen["depth"], axis=2).max() == 0, "grey"
    assert np.ptp(seen["normal"], axis=2).max() > 0, "coloured"


def test_normals_have_red_to_the_left(server: Running, person: str) -> None:
    """Mirroring photo and map turns red around, and only red."""
    nodes = scene("controlnet_normal")
    shown = drawn(server, nodes, "PreviewImage", "The map")
    render = node(nodes, "MoGeRender")
    (last,) = (i for i, n in nodes.items() if n["inputs"].get("image") == [render, 0])
    (geometry,) = (n for n in nodes.values() if n["class_type"] == "MoGeInference")
    nodes[node(nodes, "PreviewImage", "The map")]["inputs"]["images"] = [render, 0]
    mirrored = drawn(server, nodes, "PreviewImage", "The map")
    assert np.array_equal(mirrored[:, ::-1], shown)
    assert geometry["inputs"]["image"][0] != last and nodes[geometry["inputs"]["image"][0]]["class_type"] == "ImageFlip"


def test_only_accepted_pictures_are_saved(server: Running, person: str) -> None:
    nodes = scene("score_gate")
    result = server.run(nodes)
    scores = result.outputs[node(nodes, "LikenessScoreLikeness")]["likeness_scores"]
    accepted = sum(score["verdict"] == "accepted" for score in scores)
    saved = result.outputs.get(node(nodes, "SaveImage"), {"images": []})["images"]
    assert (len(scores), len(saved)) == (2, accepted)
    passing = scene("score_gate", **{"LikenessGate.when_empty": "pass the best"})
    assert len(files(server, server.run(passing), node(passing, "SaveImage"))) == max(accepted, 1)


def test_an_enlarged_picture_is_scored_before_and_after(server: Running, person: str) -> None:
    nodes = scene("upscale")
    result = server.run(nodes)
    picture = pixels(files(server, result, node(nodes, "SaveImage"))[0])
    assert picture.shape == (144, 144, 3), "96 px, four times, then 0.02 megapixels"
    for title in ("Score before", "Score after"):
        assert len(result.outputs[node(nodes, "LikenessScoreLikeness", title)]["likeness_scores"]) == 1


def test_only_the_painted_part_changes_and_the_face_in_it_stays(server: Running, person: str) -> None:
    changed = drawn(server, scene("inpaint"))
    photo = pixels((server.base / "input" / SMALL).read_bytes())
    different = np.abs(changed - photo).max(axis=2) > 0
    grown = 8  # px, by Grow Mask
    assert not different[: PAINTED - grown].any()
    assert not different[PAINTED:70, 36:60].any(), "the lower half of the face"
    assert different[-20:, :16].mean() > 0.9, "the shoulder"


def test_flux2_is_drawn_by_lora_and_reference_without_faceid(server: Running, person: str) -> None:
    nodes = scene("flux2")
    result = server.run(nodes)
    assert "lora_only" in server.log.read_text(errors="replace") and "flux2" in server.log.read_text(errors="replace")
    assert len(result.outputs[node(nodes, "LikenessScoreLikeness")]["likeness_scores"]) == 1
    picture = drawn(server, nodes)
    without_lora = drawn(server, scene("flux2", **{"LikenessLoadCharacter.lora_version": -1}))
    assert np.abs(picture - without_lora).mean() > 0.3, "the LoRA has no effect"
    for title in ("Reference", "Reference, negative"):
        reference = node(nodes, "ReferenceLatent", title)
        for other in nodes.values():
            for key, value in other["inputs"].items():
                if value == [reference, 0]:
                    other["inputs"][key] = nodes[reference]["inputs"]["conditioning"]
    assert np.abs(picture - drawn(server, nodes)).mean() > 0.3, "the reference has no effect"


def test_every_frame_of_a_video_is_scored_and_the_best_one_kept(server: Running, person: str) -> None:
    """The video file itself differs from run to run: x264 does not promise the same bytes for the same frames."""
    nodes = scene("wan_video")
    results = [server.run(nodes)]
    server.forget()
    results.append(server.run(nodes))
    (video,) = files(server, results[0], node(nodes, "SaveVideo"))
    assert video[4:8] == b"ftyp", "an mp4"
    for kind in ("LikenessScoreLikeness", "SaveImage"):  # all frames, and the best one
        one, other = (files(server, result, node(nodes, kind)) for result in results)
        assert [pixels(data).tolist() for data in one] == [pixels(data).tolist() for data in other]
    scores = results[0].outputs[node(nodes, "LikenessScoreLikeness")]
    assert len(scores["likeness_scores"]) == len(scores["images"]) == 5
    other = drawn(server, scene("wan_video", **{"KSampler.seed": 2}))
    assert not np.array_equal(other, pixels(files(server, results[0], node(nodes, "SaveImage"))[0]))


def test_a_video_wants_a_lora_and_says_so(server: Running, person: str) -> None:
    with pytest.raises(ServerError, match="lora_only"):
        server.run(scene("wan_video", **{"LikenessLoadCharacter.lora_version": -1}))
