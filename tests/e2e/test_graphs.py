"""Every API graph that ships, pushed through a real ComfyUI's queue."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness.cli.graphs import ApiGraph
from likeness.errors import ServerError

from .conftest import ROOT, Running

API_GRAPHS = ROOT / "api_graphs"
STANDIN = {"sd15": "standin_sd15.ckpt", "sdxl": "standin_sdxl.ckpt"}

# In test_graphs_scenes.
SCENE_GRAPHS = {
    *("quick_faceid", "outfits", "backgrounds", "expressions", "base_images", "base_to_character", "character_sheet"),
    *("score_gate", "upscale", "inpaint", "sdxl", "flux2", "wan_video"),
    *(f"controlnet_{kind}" for kind in ("pose", "depth", "canny", "segmentation", "normal")),
}


def graph(name: str, family: str = "sd15", **changes: Any) -> ApiGraph:
    """A shipped graph with the stand-ins' names, small and quick; `changes` are "<class>.<input>" = value."""
    loaded: ApiGraph = json.loads((API_GRAPHS / f"{name}.json").read_text(encoding="utf-8"))
    quick = {
        "CheckpointLoaderSimple.ckpt_name": STANDIN[family],
        "EmptyLatentImage.width": 128,
        "EmptyLatentImage.height": 128,
        "KSampler.steps": 2,
        "LikenessCreateCharacter.face_model": "standin",
        "LikenessScoreLikeness.face_model": "standin",
    }
    for path, value in {**quick, **changes}.items():
        kind, name = path.split(".", 1)
        for node in loaded.values():
            if node["class_type"] == kind:
                node["inputs"][name] = value
    return loaded


@pytest.fixture(scope="module")
def character(server: Running) -> str:
    """The character that the create graph makes."""
    result = server.run(graph("create_character"))
    assert "3 in all" in result.outputs["4"]["text"][0]  # another module may have made it already
    return "my_character"


def test_all_nodes_are_registered(server: Running) -> None:
    known = server.client.object_info()
    wanted = {
        "CreateCharacter",
        "LoadCharacter",
        "ApplyCharacter",
        "FaceIDOptions",
        "CompileIdentity",
        "PlaceCharacter",
        "ApplyCharacters",
        "CharacterPrompt",
        "CharacterSampling",
        "CalibrateCharacter",
        "ScoreLikeness",
        "Gate",
        "PickBest",
        "Seed",
        "BestOfN",
        "ConsistencyReport",
        "SweepValues",
        "TuneStrengths",
    }
    assert {f"Likeness{name}" for name in wanted} <= set(known)
    assert "IMPORT FAILED" not in server.log.read_text(errors="replace")


def test_every_api_graph_file_is_tested_here() -> None:
    tested = {"create_character", "portrait", "lora_faceid_score"}
    elsewhere = {"two_characters", "best_of_n", "tune_strengths"}  # in test_two_characters, test_best_of_n, test_tune
    elsewhere |= {"training_set", "train_lora", "compare_versions"}  # in test_loop
    elsewhere |= SCENE_GRAPHS
    assert {p.stem for p in API_GRAPHS.glob("*.json")} == tested | elsewhere


def test_create_character_writes_profile_references_and_faces(server: Running, character: str) -> None:
    folder = server.characters / character
    assert sorted(p.name for p in (folder / "references").iterdir()) == ["001.png", "002.png", "003.png"]
    assert (folder / "faces" / "standin.safetensors").is_file()
    assert 'name = "My Character"' in (folder / "profile.toml").read_text(encoding="utf-8")


def test_running_create_again_adds_nothing_twice(server: Running, character: str) -> None:
    server.forget()
    result = server.run(graph("create_character"))
    assert "0 picture(s) added, 3 in all" in result.outputs["4"]["text"][0]


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_portrait_draws_from_cached_identity(server: Running, character: str, family: str) -> None:
    picture = server.picture(server.run(graph("portrait", family)))
    assert picture.shape == (128, 128, 3)
    assert picture.std() > 1
    off = {"LikenessApplyCharacter.strengths": "custom", "LikenessApplyCharacter.strengths.faceid_weight": 0.0}
    without = server.picture(server.run(graph("portrait", family, **off)))
    assert np.abs(picture.astype(int) - without.astype(int)).mean() > 1, "the identity has no effect"


def test_a_second_run_opens_no_model_of_the_face(server: Running, character: str) -> None:
    server.run(graph("portrait"))
    server.forget()
    server.opened()
    server.run(graph("portrait", **{"KSampler.seed": 99}))
    opened = server.opened()
    assert opened.pop("torch.load") == 1, "the checkpoint, and nothing else"
    assert opened == {}, "face-model sessions, CLIP-Vision loads, adapter files, network"


def test_lora_and_faceid_together_with_a_score(server: Running, character: str) -> None:
    create = {"LikenessCreateCharacter.lora": "mara_voss_sd15.safetensors"}
    server.run(graph("create_character", **create))
    result = server.run(graph("lora_faceid_score"))
    (score,) = result.outputs["12"]["likeness_scores"]
    assert len(score["faces"]) == 1 and -1.0 <= score["face"]["similarity"] <= 1.0
    assert (
        result.outputs["12"]["likeness_mean"] == [score["similarity"]]
        or abs(result.outputs["12"]["likeness_mean"][0] - score["similarity"]) < 1e-3
    )
    assert "lora_faceid" in server.log.read_text(errors="replace")


def test_strengths_changed_three_times_and_back_give_the_same_bytes(server: Running, character: str) -> None:
    def draw(weight: float) -> bytes:
        custom = {
            "LikenessApplyCharacter.strengths": "custom",
            "LikenessApplyCharacter.strengths.faceid_weight": weight,
        }
        return server.picture(server.run(graph("portrait", **custom))).tobytes()

    first = draw(0.5)
    others = [draw(w) for w in (0.9, 0.2, 1.4)]
    server.forget()
    assert draw(0.5) == first
    assert len({first, *others}) == 4


def test_an_edited_profile_runs_again_and_an_unchanged_one_does_not(server: Running, character: str) -> None:
    load = "2"
    server.run(graph("portrait"))
    assert load in server.cached(server.run(graph("portrait")))
    profile = server.characters / character / "profile.toml"
    before = profile.read_bytes()
    try:
        profile.write_bytes(
            before + b'description = "blue hair"\n' if b"[" not in before else b'description = "x"\n' + before
        )
        assert load not in server.cached(server.run(graph("portrait")))
    finally:
        profile.write_bytes(before)


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "name is a path": ("create_character", {"LikenessCreateCharacter.name": "../evil"}, "looks like a path"),
    "no name": ("create_character", {"LikenessCreateCharacter.name": " "}, "has no name"),
    "character exists": ("create_character", {"LikenessCreateCharacter.if_exists": "stop"}, "exists already"),
    "adapter of another family": (
        "portrait",
        {"LikenessApplyCharacter.adapter": "ip-adapter-faceid_sdxl.bin"},
        "sd15",
    ),
    "start after end": (
        "portrait",
        {
            "LikenessApplyCharacter.strengths": "custom",
            "LikenessApplyCharacter.strengths.start": 0.8,
            "LikenessApplyCharacter.strengths.end": 0.2,
        },
        "swap start and end",
    ),
    "method without its asset": ("portrait", {"LikenessApplyCharacter.method": "lora_only"}, "needs a character LoRA"),
    "unknown strengths": ("portrait", {"LikenessApplyCharacter.strengths": "strongest"}, "double_shortcut"),
    "unknown character": ("portrait", {"LikenessLoadCharacter.character": "../../etc"}, "etc"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_sentence(server: Running, character: str, case: str) -> None:
    name, changes, words = BAD[case]
    if "method" in case:
        changes = {**changes, "LikenessLoadCharacter.character": plain_character(server)}
    with pytest.raises(ServerError, match=words):
        server.run(graph(name, **changes))


def plain_character(server: Running) -> str:
    """A character without a LoRA."""
    server.run(graph("create_character", **{"LikenessCreateCharacter.name": "Plain"}))
    return "plain"


def test_nothing_is_written_outside_the_library(server: Running, character: str) -> None:
    assert not (server.base / "models" / "evil").exists() and not list(server.base.rglob("evil*"))


BROKEN_PROFILES = {
    "missing LoRA": (
        '[[base.sd15.loras]]\nfile = "gone_v1.safetensors"\nversion = 1\n',
        "gone_v1.safetensors' is not in models/loras",
    ),
    "LoRA of another family": (
        '[[base.sd15.loras]]\nfile = "mara_voss_sdxl.safetensors"\nversion = 1\n',
        "LoRA for sdxl, but the model is sd15",
    ),
    "missing adapter": (
        '[base.sd15.faceid]\nadapter = "gone.bin"\n',
        "gone.bin' is not in models/ipadapter",
    ),
    "unknown sampler": ('[base.sd15.sampling]\nsampler = "fastest"\n', "sampling.sampler is 'fastest'"),
    "two mistakes": (
        "[base.sd15.strengths]\nstart = 7\nfaceid_wight = 1\n",
        "strengths.start: .*; .*did you mean `faceid_weight`",
    ),
    "no TOML": ("[[[", "not valid TOML"),
}


@pytest.mark.parametrize("case", BROKEN_PROFILES)
def test_a_broken_profile_is_named_with_field_and_remedy(server: Running, character: str, case: str) -> None:
    text, words = BROKEN_PROFILES[case]
    slug = plain_character(server)
    profile = server.characters / slug / "profile.toml"
    before = profile.read_bytes()
    try:
        profile.write_bytes(before + text.encode())
        with pytest.raises(ServerError, match=words):
            server.run(graph("portrait", **{"LikenessLoadCharacter.character": slug}))
    finally:
        profile.write_bytes(before)


def test_a_missing_companion_lora_is_rebuilt_from_the_adapter(server: Running, character: str) -> None:
    """It carries the same numbers, so the picture is the same."""
    seed = {"KSampler.seed": 5}
    expected = server.picture(server.run(graph("portrait", **seed)))
    lora = server.base / "models" / "loras" / "ip-adapter-faceid-plusv2_sd15_lora.safetensors"
    hidden = lora.with_suffix(".hidden")
    lora.rename(hidden)
    try:
        server.forget()
        rebuilt = server.picture(server.run(graph("portrait", **seed)))
    finally:
        hidden.rename(lora)
    np.testing.assert_allclose(rebuilt.astype(int), expected.astype(int), atol=1)
    assert "rebuilt from the adapter" in server.log.read_text(errors="replace")


def test_a_character_of_lora_and_words_alone_can_be_drawn(server: Running, character: str) -> None:
    folder = server.characters / "words"
    folder.mkdir()
    lora = '[[base.sd15.loras]]\nfile = "mara_voss_sd15.safetensors"\nversion = 1\n'
    (folder / "profile.toml").write_text(
        f'schema_version = 1\nname = "Words"\nslug = "words"\ntrigger = "mara"\n{lora}'
    )
    picture = server.picture(server.run(graph("portrait", **{"LikenessLoadCharacter.character": "words"})))
    assert picture.std() > 1
    assert "Words on sd15: lora_only" in server.log.read_text(errors="replace")


def test_a_replaced_adapter_is_compiled_again(server: Running, character: str) -> None:
    name = "swapped.bin"
    adapters = server.base / "models" / "ipadapter"
    choose = {"LikenessApplyCharacter.adapter": name}
    try:
        (adapters / name).write_bytes((adapters / "ip-adapter-faceid_sd15.bin").read_bytes())
        first = server.picture(server.run(graph("portrait", **choose)))
        (adapters / name).write_bytes((adapters / "ip-adapter-faceid-plusv2_sd15.bin").read_bytes())
        with pytest.raises(ServerError, match="Plus"):  # the name does not tell Plus from Plus V2
            server.run(graph("portrait", **choose))
        assert first.std() > 1
    finally:
        (adapters / name).unlink()


def test_a_character_whose_face_is_lost_is_not_drawn_as_a_stranger(server: Running, character: str) -> None:
    """Neither in silence, nor from a cache once the face is back."""
    slug = plain_character(server)
    folder, draw = server.characters / slug, {"LikenessLoadCharacter.character": slug}
    expected = server.picture(server.run(graph("portrait", **draw)))
    packs, away = server.base / "models" / "insightface", server.base / "models" / "insightface_away"
    faces = folder / "faces" / "standin.safetensors"
    stored = faces.read_bytes()
    faces.unlink()
    packs.rename(away)
    try:
        with pytest.raises(ServerError, match=r"No reference of 'plain' has a face that can be used.*face model pack"):
            server.run(graph("portrait", **draw))
    finally:
        away.rename(packs)
    np.testing.assert_array_equal(server.picture(server.run(graph("portrait", **draw))), expected)
    assert faces.read_bytes() == stored, "the same faces, computed again"


def test_without_an_adapter_the_user_is_told_where_to_put_one(server: Running, character: str, tmp_path: Path) -> None:
    slug = plain_character(server)
    draw = graph("portrait", **{"LikenessLoadCharacter.character": slug})
    server.run(draw)
    adapters, compiled = server.base / "models" / "ipadapter", server.characters / slug / "identity"
    shutil.copytree(adapters, tmp_path / "adapters")
    shutil.copytree(compiled, tmp_path / "compiled")
    try:
        for file in [*adapters.iterdir(), *compiled.iterdir()]:
            file.unlink()
        with pytest.raises(ServerError, match="models/ipadapter has no FaceID adapter for sd15"):
            server.run(draw)
    finally:
        shutil.copytree(tmp_path / "adapters", adapters, dirs_exist_ok=True)
        shutil.copytree(tmp_path / "compiled", compiled, dirs_exist_ok=True)


def test_nothing_shown_about_a_failure_holds_an_embedding(server: Running, character: str) -> None:
    """ComfyUI writes the inputs of a failed node into its history."""
    draw = graph("portrait", **{"LikenessLoadCharacter.character": plain_character(server)})
    for node in draw.values():
        if node["class_type"] == "LikenessApplyCharacter":
            node["inputs"]["method"] = "lora_only"
    prompt_id = server.client.queue(draw)
    history: dict[str, Any] = {}
    while not history:
        history = server.get(f"/history/{prompt_id}")
    told = json.dumps(history)
    assert "execution_error" in told and "Character('plain', 3 faces)" in told
    assert "array(" not in told and "embedding" not in told.replace("face embedding", "")


def test_creating_runs_once_and_again_only_after_an_edit(server: Running, character: str) -> None:
    create = graph("create_character", **{"LikenessCreateCharacter.name": "Once"})
    server.run(create)
    assert "4" in server.cached(server.run(create))
    profile = server.characters / "once" / "profile.toml"
    profile.write_bytes(profile.read_bytes().replace(b'class_word = "person"', b'class_word = "robot"'))
    assert "4" not in server.cached(server.run(create))
    assert "4" in server.cached(server.run(create))
    shutil.rmtree(server.characters / "once")
    assert "3 picture(s) added, 3 in all" in server.run(create).outputs["4"]["text"][0]


def test_a_lost_picture_does_not_stop_drawing(server: Running, character: str) -> None:
    slug = plain_character(server)
    draw = graph("portrait", **{"LikenessLoadCharacter.character": slug})
    expected = server.picture(server.run(draw))
    picture = server.characters / slug / "references" / "001.png"
    data = picture.read_bytes()
    picture.unlink()
    try:
        server.forget()
        np.testing.assert_array_equal(server.picture(server.run(draw)), expected)
    finally:
        picture.write_bytes(data)


def test_a_lora_that_does_not_fit_leaves_nothing_behind(server: Running, character: str) -> None:
    (server.base / "models" / "loras" / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    bad = {"LikenessCreateCharacter.name": "Never", "LikenessCreateCharacter.lora": "cut.safetensors"}
    with pytest.raises(ServerError, match=r"cut\.safetensors is no"):
        server.run(graph("create_character", **bad))
    assert not (server.characters / "never").exists()
