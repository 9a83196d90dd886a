"""Laws that hold for workflows of any shape, on graphs that Hypothesis makes up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from likeness.errors import LikenessError
from likeness.inject import Insert, found_in, inject, read_workflow
from likeness.inject.remove import remove

from .graphs import ADA, Graph, node, of_class

MODEL_INPUTS = ("model", "model1", "model2", "any_01", "any_02")


@st.composite
def workflows(draw: st.DrawFn) -> Graph:
    """Loaders, then LoRAs, patches, merges and switches on each other, then encoders and samplers on those."""
    graph: Graph = {"latent": node("EmptyLatentImage", width=8, height=8, batch_size=1)}
    models: list[list[Any]] = []
    clips: list[list[Any]] = []
    for i in range(draw(st.integers(1, 3))):
        graph[f"l{i}"] = node("CheckpointLoaderSimple", ckpt_name=f"{i}.safetensors")
        models.append([f"l{i}", 0])
        clips.append([f"l{i}", 1])
    for i in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(["lora", "lora model", "patch", "merge", "switch", "clip patch", "unknown"]))
        model, other, clip = (draw(st.sampled_from(among)) for among in (models, models, clips))
        key = draw(st.sampled_from([f"{i + 1}", f"1{i}:2"]))
        match kind:
            case "lora":
                graph[key] = node(
                    "LoraLoader", model=model, clip=clip, lora_name="a", strength_model=1, strength_clip=1
                )
                clips.append([key, 1])
            case "lora model":
                graph[key] = node("LoraLoaderModelOnly", model=model, lora_name="a", strength_model=1)
            case "patch":
                graph[key] = node("ModelSamplingDiscrete", model=model, sampling="lcm", zsnr=False)
            case "merge":
                graph[key] = node("ModelMergeSimple", model1=model, model2=other, ratio=0.5)
            case "switch":
                graph[key] = node("Any Switch (rgthree)", any_01=model, any_02=other)
            case "unknown":
                graph[key] = node("SomethingNew", model=model, amount=1)
            case _:
                graph[key] = node("CLIPSetLastLayer", clip=clip, stop_at_clip_layer=-2)
                clips.append([key, 0])
                continue
        models.append([key, 0])
    for i in range(draw(st.integers(1, 3))):
        for role in ("p", "n"):
            graph[f"{role}{i}"] = node(
                "CLIPTextEncode", text=draw(st.text(max_size=5)), clip=draw(st.sampled_from(clips))
            )
        positive: list[Any] = [f"p{i}", 0]
        if draw(st.booleans()):
            graph[f"g{i}"] = node("FluxGuidance", conditioning=positive, guidance=3.5)
            positive = [f"g{i}", 0]
        graph[f"s{i}"] = node("KSampler", model=draw(st.sampled_from(models)), positive=positive, negative=[f"n{i}", 0],
                              latent_image=["latent", 0], seed=draw(st.integers(0, 2**64 - 1)))  # fmt: skip
        graph[f"d{i}"] = node("VAEDecode", samples=[f"s{i}", 0], vae=["l0", 2])
        graph[f"o{i}"] = node("SaveImage", images=[f"d{i}", 0], filename_prefix="x")
    return graph


def ways(graph: Graph, node_id: str, inputs: tuple[str, ...]) -> Iterator[int]:
    """How often each way from a node back to a loader passes Apply Character."""
    held = graph[node_id]["inputs"]
    links = [held[name] for name in inputs if isinstance(held.get(name), list)]
    mine = int(graph[node_id]["class_type"] == "LikenessApplyCharacter")
    if not links:
        yield mine
    for link in links:
        yield from (mine + count for count in ways(graph, link[0], inputs))


@given(workflows())
def test_every_sampler_and_every_prompt_gets_the_character_exactly_once(graph: Graph) -> None:
    made = inject(graph, ADA).graph
    for sampler in of_class(made, "KSampler"):
        assert set(ways(made, sampler, MODEL_INPUTS)) == {1}
    for encoder in of_class(made, "CLIPTextEncode"):
        passed = set(ways(made, made[encoder]["inputs"]["clip"][0], ("clip",)))
        assert passed == {1}
        words, output = made[encoder]["inputs"]["text"]
        told = made[words]["inputs"][("text", "negative")[output]]
        assert made[words]["class_type"] == "LikenessCharacterPrompt" and told == graph[encoder]["inputs"]["text"]


@given(workflows())
def test_all_else_is_as_it_was(graph: Graph) -> None:
    made = inject(graph, ADA)
    for node_id, before in graph.items():
        after = made.graph[node_id]
        changed = {name for name in before["inputs"] if after["inputs"][name] != before["inputs"][name]}
        assert set(after["inputs"]) == set(before["inputs"]) and after["class_type"] == before["class_type"]
        assert all(after["inputs"][name][0] in made.added for name in changed)
        assert changed <= {"model", "clip", "text"}
    assert set(made.graph) - set(graph) == set(made.added)


@given(workflows())
def test_twice_is_once_and_taking_it_out_gives_the_workflow_back(graph: Graph) -> None:
    once = inject(graph, ADA).graph
    twice = inject(once, ADA)
    assert twice.graph == once and twice.changes == ()
    assert remove(once) == graph


@given(workflows(), st.integers(0, 2**64 - 1))
def test_the_same_wish_gives_the_same_workflow(graph: Graph, seed: int) -> None:
    insert = Insert("ada", seed=seed, prompt="at sea", score=True)
    assert json.dumps(inject(graph, insert).graph) == json.dumps(inject(json.dumps(graph), insert).graph)
    seeds = [n["inputs"]["seed"] for n in graph.values() if n["class_type"] == "KSampler"]
    now = list(inject(graph, insert).seeds.values())
    assert len(set(now)) == len(set(seeds)) and now[0] == seed


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    "model clip positive negative text seed noise guider pipe lora_name strength_model lora_1 any_01 conditioning "
    "images samples x".split()
)
CLASSES = st.sampled_from(
    "KSampler CLIPTextEncode CheckpointLoaderSimple LoraLoader CFGGuider FaceDetailer LikenessLoadCharacter "
    "LikenessApplyCharacter LikenessCharacterPrompt WanVideoSampler Switch ConditioningConcat ToBasicPipe New".split()
)


@st.composite
def anything(draw: st.DrawFn) -> dict[str, Any]:
    ids = [str(i) for i in range(draw(st.integers(1, 8)))]
    links = st.tuples(st.sampled_from([*ids, "404"]), st.integers(0, 3)).map(list)
    nodes = st.fixed_dictionaries(
        {"class_type": CLASSES, "inputs": st.dictionaries(NAMES, links | VALUES, max_size=6)},
        optional={"_meta": VALUES},
    )
    return {i: draw(nodes) for i in ids}


@given(anything(), st.booleans())
def test_whatever_is_given_is_placed_or_refused_in_words(graph: dict[str, Any], score: bool) -> None:
    before = json.dumps(graph)
    try:
        made = inject(graph, Insert("ada", seed=3, prompt="at sea", score=score))
    except LikenessError as error:
        assert 20 < len(str(error)) < 5000
    else:
        found = found_in(read_workflow(made.graph))
        assert all(s.has_character or s.why_not for s in found.samplers)
    assert json.dumps(graph) == before


@given(VALUES)
def test_whatever_json_is_read_or_refused_in_words(value: Any) -> None:
    try:
        read_workflow(json.dumps(value))
    except LikenessError as error:
        assert len(str(error)) < 500
