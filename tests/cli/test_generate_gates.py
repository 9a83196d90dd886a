"""`likeness generate`: the rating gate by every way round it, and what an option may not change in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the pretended server needs it")

from likeness.errors import LikenessError
from likeness.library import Library
from likeness.profile import BaseSettings, LoraVersion, NamedCheckpoint, Profile
from likeness.projects import new_project
from likeness.scenes.metadata import KEY, with_texts
from likeness.scenes.scene import Scene
from likeness.shared_files import PROJECTS, shared_path

from ..unit.inject.graphs import Graph, node, of_class, plain
from ..unit.remote.pretended_comfy import png
from .test_commands import PICTURES, Call, call, face_folder  # noqa: F401  fixtures
from .test_generate import DRAW, Generate, generate, server  # noqa: F401  fixtures

RATED = {"file": "sub/Café.safetensors", "family": "sd15", "rating": "explicit"}
ADULTS = "adult = true|for adult characters alone"


def rated_elsewhere(generate: Generate) -> None:  # noqa: F811
    new_project(generate.library, "City", checkpoint="a.safetensors", family="sd15", routes={"grim": RATED})


def write(tmp_path: Path, graph: Graph) -> Path:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(graph))
    return path


def ours(*characters: Any) -> Graph:
    """A workflow with our nodes that loads these characters."""
    graph = plain()
    graph["4"]["inputs"]["ckpt_name"] = "café.safetensors"
    for number, name in enumerate(characters, 20):
        graph[str(number)] = node("LikenessLoadCharacter", character=name, lora_version=0)
    applied = {"model": ["4", 0], "clip": ["4", 1], "character": ["20", 0]}
    graph["30"] = node("LikenessApplyCharacter", **applied)
    graph["3"]["inputs"]["model"] = ["30", 0]
    for number in ("6", "7"):
        graph[number]["inputs"]["clip"] = ["30", 1]
    return graph


@pytest.mark.parametrize(
    "name", ["Café.safetensors", "CAFÉ.safetensors", "Cafe\u0301.safetensors", "x\\café.safetensors"]
)
def test_leaving_the_project_out_does_not_open_its_checkpoint(generate: Generate, name: str) -> None:  # noqa: F811
    rated_elsewhere(generate)
    with pytest.raises(LikenessError, match=ADULTS):
        generate("--prompt", "x", "--no-score", "--no-check", "--checkpoint", name)
    generate.library.update("mara", lambda p: p.model_copy(update={"adult": True}))
    assert generate("--prompt", "x", "--no-score", "--no-check", "--checkpoint", name) == 0


def test_the_only_checkpoint_of_a_server_is_asked_about_too(generate: Generate) -> None:  # noqa: F811
    rated_elsewhere(generate)
    generate.server.info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [["café.safetensors"]]
    with pytest.raises(LikenessError, match=ADULTS):
        generate("--prompt", "x", "--no-score")


@pytest.mark.parametrize("written", ["café.safetensors", {"content": "café.safetensors", "image": None}])
def test_a_workflow_does_not_open_it(generate: Generate, tmp_path: Path, written: Any) -> None:  # noqa: F811
    rated_elsewhere(generate)
    generate.server.info = {}
    graph = plain()
    graph["4"]["inputs"]["ckpt_name"] = written
    with pytest.raises(LikenessError, match=ADULTS):
        generate("--workflow", write(tmp_path, graph), "--no-score", "--no-check", "--prompt", "x")


@pytest.mark.parametrize("other", ["ben", "nobody_here", ["9", 0]])
def test_everybody_whom_a_workflow_loads_has_to_be_an_adult(
    generate: Generate,  # noqa: F811
    tmp_path: Path,
    other: Any,
) -> None:
    rated_elsewhere(generate)
    generate.server.info = {}
    generate.library.update("mara", lambda p: p.model_copy(update={"adult": True}))
    generate.library.create(Profile(name="Ben", slug="ben"))
    source = write(tmp_path, ours("mara"))
    assert generate("--workflow", source, "--no-score", "--no-check") == 0
    graph = ours("mara", other)
    graph["31"] = node("LikenessScoreLikeness", images=["8", 0], character=["21", 0])
    picture = tmp_path / "two.png"
    picture.write_bytes(with_texts(png("x"), {"prompt": json.dumps(graph)}))
    with pytest.raises(LikenessError, match=ADULTS):
        generate("--again", picture, "--no-score", "--no-check", "--out", tmp_path / "a", name=None)
    generate.library.update("ben", lambda p: p.model_copy(update={"adult": True}))
    if other == "ben":
        assert generate("--again", picture, "--no-score", "--no-check", "--out", tmp_path / "a", name=None) == 0


def test_a_picture_cannot_say_where_it_is_written(
    generate: Generate,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for number, name in enumerate((str(tmp_path / "victim"), "../../victim", "..")):
        scene = Scene(name=name, seed=1, prompt="x", character="mara")
        texts = {"prompt": json.dumps(plain()), KEY: json.dumps(scene.metadata())}
        picture = tmp_path / f"{number}.png"
        picture.write_bytes(with_texts(png("x"), texts))
        words = ["--again", str(picture), "--no-score", "--no-check"]
        code = run_without_out(generate, words)
        assert code == 0
    assert not (tmp_path / "victim").exists() and not (tmp_path / "manifest.json").exists()
    assert [p.name for p in (tmp_path / "here").iterdir()] == ["again"]
    assert not (tmp_path / "here" / "manifest.json").exists()


def run_without_out(generate: Generate, words: list[str]) -> int:  # noqa: F811
    import argparse

    from likeness.cli.generating import add_generate, generate_pictures

    commands = argparse.ArgumentParser().add_subparsers()
    parser = add_generate(lambda name, function, text: commands.add_parser(name))
    parser.set_defaults(json=True, verbose=False)
    return generate_pictures(parser.parse_args([*words, "--server", generate.server.url]), generate._places)


# ---- what is drawn with


def test_the_checkpoint_of_a_generation_profile_is_taken(generate: Generate) -> None:  # noqa: F811
    special = {"portrait": {"checkpoint": "b.safetensors", "family": "sd15"}}
    new_project(generate.library, "City", profiles=special, characters={"mara": "portrait"})
    assert generate("--prompt", "x", "--project", "city", "--no-score") == 0
    assert generate.graphs[0]["1"]["inputs"]["ckpt_name"] == "b.safetensors"


@pytest.mark.parametrize("seed", ["-1", str(2**64)])
def test_a_seed_that_no_sampler_takes_is_refused(generate: Generate, seed: str) -> None:  # noqa: F811
    with pytest.raises(LikenessError, match="seed"):
        generate("--prompt", "x", "--seed", seed, "--no-score", *DRAW)


def test_more_pictures_than_fit_into_memory_are_refused(generate: Generate) -> None:  # noqa: F811
    with pytest.raises(LikenessError, match="too many"):
        generate("--prompt", "x", "--n", 200_000, "--per-scene", 10, "--no-score", *DRAW)
    with pytest.raises(LikenessError, match="too many"):
        generate("--prompt", "x" * 100_000, "--n", 5000, "--no-score", *DRAW)


@pytest.mark.parametrize("cfg", ["nan", "inf", "1e999"])
def test_a_number_that_is_none_is_refused(generate: Generate, cfg: str) -> None:  # noqa: F811
    with pytest.raises(SystemExit):
        generate("--prompt", "x", "--cfg", cfg, "--no-check", "--no-score", *DRAW)


# ---- what a workflow keeps


def texts_in(graph: Graph) -> dict[str, Any]:
    return graph[of_class(graph, "LikenessCharacterPrompt")[0]]["inputs"]


def test_a_negative_prompt_alone_goes_into_a_workflow(generate: Generate, tmp_path: Path) -> None:  # noqa: F811
    generate.server.info = {}
    assert generate("--workflow", write(tmp_path, plain()), "--negative", "fog", "--no-score", "--no-check") == 0
    assert texts_in(generate.graphs[0])["negative"] == "fog" and texts_in(generate.graphs[0])["text"] == "in a park"


def test_a_prompt_does_not_empty_the_negative_prompt(generate: Generate, tmp_path: Path) -> None:  # noqa: F811
    generate.server.info = {}
    assert generate("--workflow", write(tmp_path, plain()), "--prompt", "at sea", "--no-score", "--no-check") == 0
    (graph,) = generate.graphs
    assert graph["7"]["inputs"]["text"] == "watermark" and "at sea" in graph["6"]["inputs"]["text"]


def test_a_character_with_a_negative_prompt_can_be_drawn_without_a_place_for_it(
    generate: Generate,  # noqa: F811
    tmp_path: Path,
) -> None:
    generate.server.info = {}
    generate.library.update("mara", lambda p: p.model_copy(update={"negative": "blurry"}))
    graph = plain() | {"10": node("ConditioningZeroOut", conditioning=["6", 0])}
    graph["3"]["inputs"]["negative"] = ["10", 0]
    del graph["7"]
    source = write(tmp_path, graph)
    assert generate("--workflow", source, "--prompt", "at sea", "--no-score", "--no-check") == 0
    with pytest.raises(LikenessError, match="leave the negative text away"):
        generate("--workflow", source, "--prompt", "at sea", "--negative", "fog", "--no-score", "--no-check")


def test_another_characters_lora_gives_way(generate: Generate, tmp_path: Path) -> None:  # noqa: F811
    generate.server.info = {}
    for slug in ("mara", "ben"):
        loras = (LoraVersion(file=f"{slug}/{slug}.safetensors", version=1),)
        base = {"sd15": BaseSettings(loras=loras)}
        if slug == "ben":
            generate.library.create(Profile(name="Ben", slug=slug, base=base))
        else:
            generate.library.update(slug, lambda p, base=base: p.model_copy(update={"base": base}))  # type: ignore[misc]
    strengths = {"strength_model": 1.0, "strength_clip": 1.0}
    graph = plain()
    graph["20"] = node("LoraLoader", model=["4", 0], clip=["4", 1], lora_name="ben/ben.safetensors", **strengths)
    graph["3"]["inputs"]["model"] = ["20", 0]
    graph["6"]["inputs"]["clip"] = graph["7"]["inputs"]["clip"] = ["20", 1]
    assert generate("--workflow", write(tmp_path, graph), "--no-score", "--no-check") == 0
    assert generate.graphs[0]["20"]["inputs"]["lora_name"] == "mara/mara.safetensors"


def test_a_rated_checkpoint_of_another_character_counts(generate: Generate) -> None:  # noqa: F811
    rated = NamedCheckpoint(file="b.safetensors", family="sd15", rating="mature")
    generate.library.create(Profile(name="Ben", slug="ben", checkpoints={"night": rated}))
    with pytest.raises(LikenessError, match=ADULTS):
        generate("--prompt", "x", "--no-score", "--checkpoint", "b.safetensors")


@pytest.mark.parametrize(
    "idle", [("--only", "x"), ("--lists", "x"), ("--vary", "pose"), ("--keep", "-"), ("--per-scene", 2)]
)
def test_an_option_that_would_do_nothing_is_refused(generate: Generate, idle: tuple[Any, ...]) -> None:  # noqa: F811
    with pytest.raises(LikenessError, match=f"{idle[0]} goes with --variation"):
        generate("--variation", "sheet", *idle, "--no-score", *DRAW)
    if idle[0] != "--per-scene":
        with pytest.raises(LikenessError, match=f"{idle[0]} goes with --variation"):
            generate("--prompt", "x", *idle, "--no-score", *DRAW)


BY_FILE = [
    ("best-of", "Mara", "mine.json"),
    ("tune", "Mara", "--faceid", "0.5:1:2", "--checkpoint", "café.safetensors"),
    ("lora", "compare", "Mara", "--version", 1, "--checkpoint", "CAFÉ.safetensors"),
]


@pytest.mark.parametrize("words", BY_FILE, ids=lambda words: words[0])
def test_no_other_command_draws_with_a_rated_checkpoint(call: Call, tmp_path: Path, words: tuple[Any, ...]) -> None:  # noqa: F811
    assert call("create", "Mara", *PICTURES)[0] == 0
    new_project(Library([tmp_path / "library"]), "City", checkpoint="a.safetensors", family="sd15", routes={"g": RATED})
    write(tmp_path, ours("mara"))
    asked = [tmp_path / w if w == "mine.json" else w for w in words]
    code, _, told = call(*asked, "--server", "http://127.0.0.1:9")
    assert code == 1 and "adult = true" in told
    Library([tmp_path / "library"]).update("mara", lambda p: p.model_copy(update={"adult": True}))
    code, _, told = call(*asked, "--server", "http://127.0.0.1:9")
    assert code == 1 and "127.0.0.1:9" in told  # past the gate; nobody answers there


def test_a_checkpoint_that_a_broken_project_names_waits_until_it_is_mended(
    generate: Generate,  # noqa: F811
    tmp_path: Path,
) -> None:
    rated_elsewhere(generate)
    path = shared_path(generate.library, PROJECTS, "city")
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + "\n[broken", encoding="utf-8")
    generate.library.update("mara", lambda p: p.model_copy(update={"adult": True}))
    asked = ("--prompt", "x", "--no-score", "--no-check", "--checkpoint")
    with pytest.raises(LikenessError, match=r"(?s)may be rated.*city\.toml"):
        generate(*asked, "café.safetensors")
    assert generate(*asked, "another.safetensors", "--out", tmp_path / "other") == 0
    path.write_text(whole, encoding="utf-8")
    assert generate(*asked, "café.safetensors") == 0
