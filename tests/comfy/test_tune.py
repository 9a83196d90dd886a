"""The nodes of a sweep in this process: what they give, what they refuse, and how they add to a graph."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ..conftest import ROOT, load_folder

GRAPH: dict[str, dict[str, Any]] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "model.safetensors"}},
    "2": {"class_type": "LikenessSweepValues", "inputs": {}},
    "3": {"class_type": "LikenessApplyCharacter", "inputs": {"model": ["1", 0], "clip": ["1", 1], "sweep": ["2", 0]}},
    "4": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["3", 1], "text": ["2", 7]}},
    "5": {"class_type": "KSampler", "inputs": {"model": ["3", 0], "positive": ["4", 0], "seed": ["2", 6]}},
    "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
    "7": {"class_type": "LikenessTuneStrengths", "inputs": {"image": ["6", 0], "sweep": ["2", 0]}},
}


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_tune_pack", ROOT)
    nodes = ("host", "sweep_values", "sweep_drawing", "sweep_job", "tune_strengths")
    domain = (
        "sweep.plan",
        "sweep.run",
        "sweep.score",
        "sweep.store",
        "sweep.report",
        "sweep.graph_key",
        "errors",
        "scoring",
        "profile",
    )
    names = [*(f"nodes.{n}" for n in nodes), *(f"likeness.{n}" for n in domain)]
    found = {n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_tune_pack.{n}") for n in names}
    return SimpleNamespace(**found)


def values(pack: SimpleNamespace, **inputs: Any) -> tuple[Any, ...]:
    return pack.sweep_values.SweepValues.execute(**inputs).result


def nodes(changes: dict[str, dict[str, Any]] | None = None) -> Any:
    from comfy_execution.graph import DynamicPrompt

    graph = {i: {**node, "inputs": {**node["inputs"], **(changes or {}).get(i, {})}} for i, node in GRAPH.items()}
    return DynamicPrompt(graph)


# ---- Sweep Values


def test_sweep_values_gives_the_picture_of_its_index(pack: SimpleNamespace) -> None:
    inputs = {"lora": "0.4,0.8", "faceid_weight": "0.3", "prompts": "red\nblue", "seed": 5, "seeds": 2}
    first, last = values(pack, **inputs), values(pack, **inputs, index=7)
    assert first[1:3] == (0.4, 0.3) and first[6:8] == (5, "red") and first[8] == "lora 0.4, faceid_weight 0.3"
    assert last[1:3] == (0.8, 0.3) and last[6:8] == (6, "blue")
    assert last[0].render == last[0].plan.renders[7]
    with pytest.raises(pack.errors.LikenessError, match="pictures 0 to 7"):
        values(pack, **inputs, index=8)


def test_what_is_not_swept_has_the_balanced_presets_strength(pack: SimpleNamespace) -> None:
    from comfy_execution.graph_utils import ExecutionBlocker

    given = values(pack, lora="0.4")
    assert given[1:5] == (0.4, 0.6, 1.0, 0.0)
    assert isinstance(given[5], ExecutionBlocker), "a LoRA loader behind it says what is missing"
    assert len(given) == len(pack.sweep_values.OUTPUTS) == len(pack.sweep_values.SweepValues.GET_SCHEMA().outputs)


def test_a_strength_of_zero_is_zero(pack: SimpleNamespace) -> None:
    assert values(pack, lora="0", faceid_weight="0")[1:3] == (0.0, 0.0)


# ---- the graph that draws


def plan(pack: SimpleNamespace, **texts: Any) -> Any:
    return pack.plan.plan_of({"lora": "0.4,0.8"}, **{"prompts": "red\nblue", **texts})


def test_the_drawing_part_is_found_behind_a_reroute(pack: SimpleNamespace) -> None:
    graph = nodes({"7": {"sweep": ["8", 0]}})
    graph.original_prompt["8"] = {"class_type": "Reroute", "inputs": {"": ["2", 0]}}
    drawing = pack.sweep_drawing.drawing_of(graph, "7", plan(pack))
    assert (drawing.source, drawing.picture, drawing.model) == ("2", ["6", 0], ["1", 0])


LOOSE = {
    "no seed": ({"5": {"seed": 1}}, {}, "depend on seed of"),
    "no prompt": ({"4": {"text": "a park"}}, {}, "depend on prompt of"),
    "no strengths": ({"3": {"sweep": None}}, {}, "depend on lora of Sweep Values.*carries all strengths"),
    "nothing": ({"7": {"image": ["1", 0]}}, {}, "depend on lora, seed, prompt"),
}


@pytest.mark.parametrize("case", LOOSE)
def test_a_graph_that_would_draw_one_picture_over_and_over_is_refused(pack: SimpleNamespace, case: str) -> None:
    changes, texts, words = LOOSE[case]
    with pytest.raises(pack.errors.LikenessError, match=words):
        pack.sweep_drawing.drawing_of(nodes(changes), "7", plan(pack, **texts))


def test_one_seed_and_one_prompt_need_no_wire(pack: SimpleNamespace) -> None:
    loose = nodes({"5": {"seed": 1}, "4": {"text": "a park"}})
    assert pack.sweep_drawing.drawing_of(loose, "7", plan(pack, prompts="red", seeds=1)).source == "2"


def test_a_sweep_from_another_node_is_refused(pack: SimpleNamespace) -> None:
    with pytest.raises(pack.errors.LikenessError, match="needs the sweep output of a Sweep Values node"):
        pack.sweep_drawing.drawing_of(nodes({"7": {"sweep": ["1", 0]}}), "7", plan(pack))


# ---- the rounds


class Nobody:
    """An analyser that finds no face."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.providers = pipeline, ()

    def analyse(self, image: Any) -> tuple[()]:
        return ()


@pytest.fixture
def job(pack: SimpleNamespace, tmp_path: Path) -> Callable[..., Any]:
    """A job over 40 cells and a graph; nothing on the pictures can be measured."""

    def job(graph: Any = None, texts: str = "0:1:20", **fields: Any) -> Any:
        from likeness_tune_pack.likeness.faces.face import Pipeline

        big = pack.plan.plan_of({"lora": texts, "faceid_weight": "0.2,0.4"}, prompts="red", seeds=1)
        profile = pack.profile.Profile(name="Ada", slug="ada")
        character = SimpleNamespace(identity=SimpleNamespace(digest="i"), profile=profile)
        limits = {"band": SimpleNamespace(low=0.3), "copy_limit": 0.9, "measure_drawn": False}
        judge = SimpleNamespace(character=character, **limits)
        judge.score = lambda name, faces, picture: pack.scoring.Score(name, "not measurable", "no face")
        measures = pack.run.Measures(Nobody(Pipeline("p", "d" * 64, "a" * 64)), judge)
        store = pack.store.SweepStore(tmp_path, "ada", "s", "f" * 64, measures.key)
        settings = pack.run.Settings(pack.score.Bounds(1, 1), True)
        drawing = pack.sweep_drawing.Drawing(graph or nodes(), "2", ["6", 0])
        about = pack.report.Provenance("p", False, "", store.relative)
        run = pack.run.SweepRun(big, store, measures, settings)
        return replace(pack.sweep_job.Job(run, drawing, "7", "sd15", False, about), **fields)

    return job


def test_a_step_adds_a_chain_of_some_pictures_and_a_look_at_what_is_next(
    pack: SimpleNamespace, job: Callable[..., Any]
) -> None:
    made = job().step(pack.tune_strengths.SweepRound, "sd15")
    added = list(made.expand.values())
    assert [n["class_type"] for n in added] == ["LikenessSweepRender"] * 32 + ["LikenessSweepRound"]
    assert [n["inputs"]["index"] for n in added[:-1]] == list(range(32))
    ids = list(made.expand)
    assert "after" not in added[0]["inputs"]
    assert all(n["inputs"]["after"] == [before, 0] for n, before in zip(added[1:], ids, strict=False))
    assert [link[0] for link in made.result] == [ids[-1]] * 5


def test_pictures_that_are_there_are_not_added(pack: SimpleNamespace, job: Callable[..., Any]) -> None:
    first = job()
    for render in first.plan.renders[:30]:
        first.run.keep(render, np.zeros((8, 8, 3), np.uint8))
    added = job().step(pack.tune_strengths.SweepRound, "sd15").expand
    assert [n["inputs"].get("index") for n in added.values()] == [*range(30, 40), None]


def test_a_render_adds_the_drawing_part_with_its_index(
    pack: SimpleNamespace, job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = nodes()
    monkeypatch.setattr(pack.tune_strengths.SweepRender, "hidden", SimpleNamespace(dynprompt=graph))
    made = pack.tune_strengths.SweepRender.execute(job(graph), 5)
    kinds = {n["class_type"]: n["inputs"] for n in made.expand.values()}
    assert set(kinds) == {GRAPH[i]["class_type"] for i in "23456"} | {"LikenessSweepRender"}
    assert kinds["LikenessSweepValues"]["index"] == 5 and kinds["VAEDecode"]["vae"] == ["1", 2]
    kept = kinds["LikenessSweepRender"]
    assert kept["index"] == 5 and made.expand[kept["image"][0]]["class_type"] == "VAEDecode"


def test_a_picture_is_kept_by_its_index_and_several_at_once_are_refused(
    pack: SimpleNamespace, job: Callable[..., Any]
) -> None:
    now = job()
    assert pack.tune_strengths.SweepRender.execute(now, 3, torch.zeros(1, 8, 8, 3)).result == (3,)
    assert now.run.store.picture_path(now.plan.renders[3]).is_file() and now.run.done == 1
    with pytest.raises(pack.errors.LikenessError, match="draws 2 pictures at once"):
        pack.tune_strengths.SweepRender.execute(now, 4, torch.zeros(2, 8, 8, 3))


def test_an_interrupt_stops_after_a_picture_that_is_kept(
    pack: SimpleNamespace, job: Callable[..., Any], comfy: Path
) -> None:
    import comfy.model_management as management

    now = job()
    management.interrupt_current_processing(True)
    try:
        with pytest.raises(management.InterruptProcessingException):
            now.keep(now.plan.renders[0], [np.zeros((8, 8, 3), np.uint8)])
    finally:
        management.interrupt_current_processing(False)
    assert job().run.done == 1


def test_a_sweep_without_a_winner_writes_nothing_and_gives_the_control(
    pack: SimpleNamespace, job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = job(texts="0.1,0.2", write=True)
    for render in now.plan.renders:
        now.run.keep(render, np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setattr(pack.sweep_job.ui, "PreviewImage", lambda image, cls: SimpleNamespace(as_dict=lambda: {}))
    made = now.step(pack.tune_strengths.SweepRound, "sd15")
    heat_map, best, table, report, point = made.result
    assert heat_map.ndim == best.ndim == 4 and best.shape[0] == 1 and "nothing measurable" in table
    assert "No winner" in report and point.render.cell == now.plan.control
    assert json.dumps(made.ui["likeness_sweep"])


def test_what_could_not_be_written_is_told_before_anything_is_drawn(pack: SimpleNamespace) -> None:
    check, write = pack.tune_strengths._check_writing, pack.sweep_job.WRITE
    blend = SimpleNamespace(folder=None, profile=SimpleNamespace(name="Blend"))
    kept = SimpleNamespace(folder=Path("x"), slug="ada", profile=SimpleNamespace(name="Ada", base={}))
    unknown = pack.sweep_drawing.Drawing(nodes({"3": {"model": ["2", 1]}}), "2", ["6", 0])
    with pytest.raises(pack.errors.LikenessError, match="lies in no library"):
        check(write, "sd15", blend, unknown)
    with pytest.raises(pack.errors.LikenessError, match="choose it under family"):
        check(write, "auto", kept, unknown)
    check(write, "sd15", kept, unknown)
    check("only report", "auto", blend, unknown)


def character(pack: SimpleNamespace, **settings: Any) -> Any:
    profile = pack.profile.Profile(name="Ada", slug="ada", base={"sd15": pack.profile.BaseSettings(**settings)})
    return SimpleNamespace(slug="ada", profile=profile, has_identity=False)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"strengths": "face_forward"}, "draws with strengths 'face_forward'.*set its strengths to profile"),
        ({"strengths": "custom", "strengths.lora_model": 0.9}, "draws with strengths 'custom'"),
        ({"strengths": "profile", "method": "faceid_only"}, "draws with method faceid_only"),
    ],
)
def test_a_winner_is_not_written_beside_settings_that_it_was_not_drawn_with(
    pack: SimpleNamespace, inputs: dict[str, Any], words: str
) -> None:
    drawing = pack.sweep_drawing.Drawing(nodes({"3": inputs}), "2", ["6", 0])
    with pytest.raises(pack.errors.LikenessError, match=words):
        pack.sweep_drawing.check_profile(drawing, character(pack))
    tried = nodes({"3": {"character": ["8", 0]}})
    tried.original_prompt["8"] = {"class_type": "LikenessLoadCharacter", "inputs": {"lora_version": 2}}
    with pytest.raises(pack.errors.LikenessError, match="draws with LoRA version 2"):
        pack.sweep_drawing.check_profile(pack.sweep_drawing.Drawing(tried, "2", ["6", 0]), character(pack))
    as_told = pack.sweep_drawing.Drawing(nodes({"3": {"strengths": "profile", "method": "faceid_only"}}), "2", ["6", 0])
    pack.sweep_drawing.check_profile(as_told, character(pack, method="faceid_only"))


@pytest.mark.parametrize(("output", "tried"), [(0, False), (1, True)])
def test_a_winner_is_not_written_beside_a_version_that_was_only_tried(
    pack: SimpleNamespace, output: int, tried: bool
) -> None:
    graph = nodes({"3": {"character": ["9", output]}})
    graph.original_prompt["8"] = {"class_type": "LikenessLoadCharacter", "inputs": {"character": "ada"}}
    graph.original_prompt["9"] = {
        "class_type": "LikenessRegisterLoRA",
        "inputs": {"character": ["8", 0], "name": "of a file"},
    }
    drawing = pack.sweep_drawing.Drawing(graph, "2", ["6", 0])
    assert drawing.slugs == ["ada"]
    if not tried:
        return pack.sweep_drawing.check_profile(drawing, character(pack))
    with pytest.raises(pack.errors.LikenessError, match="the LoRA version of Register LoRA's candidate"):
        pack.sweep_drawing.check_profile(drawing, character(pack))


def test_a_winner_is_written_for_the_family_that_was_drawn(pack: SimpleNamespace) -> None:
    check, ada = pack.sweep_drawing.check_family, character(pack, strengths=pack.profile.Strengths(end=0.5))
    late = pack.plan.plan_of({"start": "0.2,0.7"})
    assert check(ada, plan(pack), "auto", "sdxl") == "sdxl"
    assert check(ada, plan(pack), "flux", "other") == "flux", "a model that has no name here may be what the user says"
    with pytest.raises(pack.errors.LikenessError, match="draws with a sd15 model, and family says sdxl"):
        check(ada, plan(pack), "sdxl", "sd15")
    with pytest.raises(pack.errors.LikenessError, match="comes after end"):
        check(ada, late, "auto", "sd15")


def test_the_character_that_is_judged_is_the_one_that_is_drawn(pack: SimpleNamespace) -> None:
    graph = nodes({"3": {"character": ["8", 0]}})
    for node_id, slug in (("8", "ada"), ("9", "ben"), ("10", "ada")):
        graph.original_prompt[node_id] = {"class_type": "LikenessLoadCharacter", "inputs": {"character": slug}}
    drawing = pack.sweep_drawing.Drawing(graph, "2", ["6", 0])

    def judged(node_id: str) -> Any:
        return pack.graph_key.describe(graph.get_node, [node_id, 0], "")

    pack.sweep_drawing.check_drawn(drawing, judged("10"))
    with pytest.raises(pack.errors.LikenessError, match="judges ben, and the graph draws ada"):
        pack.sweep_drawing.check_drawn(drawing, judged("9"))
    pack.sweep_drawing.check_drawn(pack.sweep_drawing.Drawing(nodes(), "2", ["6", 0]), judged("9"))


def test_the_key_follows_pictures_models_and_other_characters(
    pack: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "style_models", ([str(tmp_path)], {".safetensors"}))
    folder_paths.filename_list_cache.pop("style_models", None)
    (tmp_path / "look.safetensors").write_bytes(b"1")
    graph = nodes({"3": {"style": "look.safetensors", "character": ["8", 0], "picture": ["9", 0]}})
    graph.original_prompt["8"] = {"class_type": "LikenessLoadCharacter", "inputs": {"character": "ben"}}
    graph.original_prompt["9"] = {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "is_changed": ["first"]}
    ben = [character(pack)]
    monkeypatch.setattr(pack.sweep_drawing, "open_character", lambda library, slug: ben[0])
    monkeypatch.setattr(pack.host, "library", lambda: None)
    for folder in ("ipadapter", "loras", "clip_vision"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([], set()))

    def stamps() -> str:
        return json.dumps(
            pack.sweep_drawing.Drawing(graph, "2", ["6", 0]).stamps(
                SimpleNamespace(slug="ada", profile=pack.profile.Profile(name="Ada", slug="ada"))
            )
        )

    before = stamps()
    assert stamps() == before
    graph.original_prompt["9"]["is_changed"] = ["second"]
    other_picture = stamps()
    (tmp_path / "look.safetensors").write_bytes(b"22")
    other_model = stamps()
    ben[0] = character(pack, strengths=pack.profile.Strengths(faceid_weight=0.3))
    assert len({before, other_picture, other_model, stamps()}) == 4
    graph.original_prompt["9"]["is_changed"] = [float("nan")]
    assert stamps() == stamps(), "a node that is never the same twice says nothing"


def test_one_half_of_a_clip_gives_no_prompt_score_and_says_so(pack: SimpleNamespace) -> None:
    measure = importlib.import_module("likeness_tune_pack.nodes.picture_measures").prompt_measure
    assert measure(None, None, "k") == (None, "")
    assert measure(object(), None, "k")[1] == "No prompt score: it needs clip_vision, too."
    assert measure(None, object(), "k")[1] == "No prompt score: it needs clip, too."
