"""Seed, Best of N, Gate and Pick Best in a real ComfyUI with stand-in models."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from likeness.cli.graphs import ApiGraph, Files, Link, Overrides
from likeness.cli.graphs_score import best_of_n
from likeness.errors import ServerError
from likeness.remote.client import Result

from .conftest import Running
from .graph_parts import add, create, shows_text
from .test_graphs import STANDIN

FIRST = 100  # seed
SIZE = 128  # px
JUDGE = {"face_model": "standin", "drawn_faces": "measure"}  # the stand-in's pictures are noise, which is no photo


@pytest.fixture(scope="module")
def character(server: Running) -> str:
    return create(server, "Bestofn")


def with_face(nodes: ApiGraph, picture: Link) -> Link:
    """A photo seen through the picture: what stand-ins draw is noise, in which no face can be measured."""
    photo = add(nodes, "LoadImage", image="photo_1.png")
    small = add(nodes, "ImageScale", image=photo, upscale_method="area", width=SIZE, height=SIZE, crop="center")
    return add(nodes, "ImageBlend", image1=small, image2=picture, blend_factor=0.4, blend_mode="normal")


class Drawn:
    """The graph with some texts shown, and what a run of it says."""

    def __init__(self, character: str, wanted: int = 1, limit: int = 5, **best: Any) -> None:
        self.nodes = best_of_n(Files(STANDIN["sd15"], character), FIRST, Overrides(1, SIZE, SIZE), wanted, limit)
        self.best = node_of(self.nodes, "LikenessBestOfN")
        self.nodes[self.best]["inputs"]["images"] = with_face(self.nodes, self.nodes[self.best]["inputs"]["images"])
        self.nodes[self.best]["inputs"] |= {**JUDGE, **best}
        self.shown = {name: shows_text(self.nodes, [self.best, i]) for name, i in (("seeds", 1), ("attempts", 3))}
        self.shown["report"] = shows_text(self.nodes, [self.best, 4])
        self.save = node_of(self.nodes, "SaveImage")

    def history(self) -> list[str]:
        """The texts of Best of N and of the steps that it has added."""
        own = [told for node, told in self.result.outputs.items() if node.split(".")[0] == self.best]
        return [text for told in own for text in told.get("text", [])]

    def run(self, server: Running) -> dict[str, Any]:
        self.result: Result = server.run(self.nodes)
        told = {name: self.result.outputs[node]["text"][0] for name, node in self.shown.items()}
        return {**told, "saved": self.result.outputs.get(self.save, {}).get("images", [])}


def node_of(nodes: ApiGraph, class_type: str) -> str:
    return next(i for i, node in nodes.items() if node["class_type"] == class_type)


@pytest.fixture(scope="module")
def similarities(server: Running, character: str) -> list[float]:
    """Of the first eight seeds."""
    told = Drawn(character, limit=8, threshold=1.0, when_empty="pass the best").run(server)
    rows = re.findall(r"seed (\d+): .*?([-\d.]+) \(nearest", told["report"])
    assert [int(seed) for seed, _ in rows] == list(range(FIRST, FIRST + 8)), told["report"]
    return [float(value) for _, value in rows]


@pytest.fixture(scope="module")
def between(similarities: list[float]) -> float:
    """A threshold that the first seeds miss and a later one reaches."""
    records = [i for i in range(1, 8) if similarities[i] > max(similarities[:i])]
    assert records, f"the first seed is the best of {similarities}: take another FIRST"
    return (similarities[records[-1]] + max(similarities[: records[-1]])) / 2


def accepted(similarities: list[float], threshold: float) -> list[int]:
    """Places of the seeds that reach it."""
    return [i for i, value in enumerate(similarities) if value >= threshold]


def sampled(server: Running) -> int:
    """How many times a sampler has finished so far; its progress bar in the log tells the end twice."""
    return server.log.read_text(errors="replace").count("1/1 [") // 2


def test_it_stops_as_soon_as_enough_are_accepted(
    server: Running, character: str, similarities: list[float], between: float
) -> None:
    wanted = min(2, len(accepted(similarities, between)))
    last = accepted(similarities, between)[wanted - 1]
    drawn = Drawn(character, wanted, 8, threshold=between)
    told = drawn.run(server)
    assert int(told["attempts"]) == last + 1 < 8
    assert told["report"] in drawn.history(), "what was found is in the history, not only shown in passing"
    seeds = [int(s) - FIRST for s in told["seeds"].split(",")]
    assert sorted(seeds) == accepted(similarities, between)[:wanted]
    assert [similarities[s] for s in seeds] == sorted((similarities[s] for s in seeds), reverse=True)
    assert len(told["saved"]) == wanted and f"{wanted} accepted after {last + 1} attempts" in told["report"]
    best = server.picture(drawn.result, drawn.save)
    alone = Drawn(character, threshold=between)
    alone.nodes[node_of(alone.nodes, "LikenessSeed")]["inputs"]["seed"] = FIRST + seeds[0]
    assert int(alone.run(server)["attempts"]) == 1
    assert np.array_equal(server.picture(alone.result, alone.save), best), "the seed draws the picture again"


def test_a_first_attempt_that_passes_is_not_drawn_again(server: Running, character: str) -> None:
    server.forget()
    before = sampled(server)
    told = Drawn(character, threshold=0.01).run(server)
    assert told["attempts"] == "1" and told["seeds"] == str(FIRST) and len(told["saved"]) == 1
    assert sampled(server) == before + 1


def test_the_same_graph_again_draws_nothing(server: Running, character: str, between: float) -> None:
    server.forget()
    drawn = Drawn(character, threshold=between)
    first, before = drawn.run(server), sampled(server)
    assert int(first["attempts"]) > 1
    again = drawn.run(server)
    assert sampled(server) == before
    assert {drawn.best, node_of(drawn.nodes, "KSampler")} <= server.cached(drawn.result)
    assert again == first


WHEN_EMPTY = {"block downstream": 0, "pass the best": 2, "placeholder": 1}


@pytest.mark.parametrize("when_empty", WHEN_EMPTY)
def test_a_limit_without_an_accepted_picture_is_no_error(
    server: Running, character: str, similarities: list[float], when_empty: str
) -> None:
    drawn = Drawn(character, 2, 3, threshold=1.0, when_empty=when_empty)
    drawn.nodes[drawn.save]["inputs"]["images"] = [drawn.best, 0]
    told = drawn.run(server)
    assert told["attempts"] == "3" and "Only 0 of 2 wanted" in told["report"]
    assert f"Seed {FIRST + 3} goes on" in told["report"]
    assert len(told["saved"]) == WHEN_EMPTY[when_empty]
    seeds = sorted(range(3), key=lambda i: -similarities[i])[:2] if when_empty == "pass the best" else []
    assert told["seeds"] == ",".join(str(FIRST + i) for i in seeds)
    if when_empty == "placeholder":
        assert tuple(server.picture(drawn.result, drawn.save)[0, 0]) == (128, 128, 128)


def test_a_gate_after_it_saves_nothing_that_was_refused(server: Running, character: str) -> None:
    told = Drawn(character, 2, 2, threshold=1.0, when_empty="pass the best").run(server)
    assert told["saved"] == [] and len(told["seeds"].split(",")) == 2


def test_a_batch_counts_picture_by_picture(server: Running, character: str) -> None:
    drawn = Drawn(character, 3, 4, threshold=0.01)
    drawn.nodes[node_of(drawn.nodes, "EmptyLatentImage")]["inputs"]["batch_size"] = 2
    blend = drawn.nodes[drawn.nodes[drawn.best]["inputs"]["images"][0]]["inputs"]
    blend["image1"] = add(drawn.nodes, "RepeatImageBatch", image=blend["image1"], amount=2)
    told = drawn.run(server)
    assert told["attempts"] == "2" and len(told["saved"]) == 3 and "4 accepted after 2 attempts" in told["report"]
    assert set(told["seeds"].split(",")) == {str(FIRST), str(FIRST + 1)}


def test_any_graph_may_lie_in_between(server: Running, character: str) -> None:
    """A custom sampler, and a node in the middle that shows something and passes it on: such output nodes are executed
    wherever they are added, so no attempt may be added before it is needed."""
    drawn = Drawn(character, wanted=2, limit=9, threshold=0.01)
    nodes, seed = drawn.nodes, [node_of(drawn.nodes, "LikenessSeed"), 0]
    old = node_of(nodes, "KSampler")
    given = nodes[old]["inputs"]
    guided = {name: given[name] for name in ("model", "positive", "negative", "cfg")}
    custom = {
        "noise": add(nodes, "RandomNoise", noise_seed=seed),
        "guider": add(nodes, "CFGGuider", **guided),
        "sampler": add(nodes, "KSamplerSelect", sampler_name="euler"),
        "sigmas": add(nodes, "BasicScheduler", model=given["model"], scheduler="simple", steps=1, denoise=1.0),
        "latent_image": given["latent_image"],
    }
    nodes[old] = {"class_type": "SamplerCustomAdvanced", "inputs": custom, "_meta": {"title": "Sample"}}
    shown = add(nodes, "PreviewAny", source=seed)
    nodes[given["positive"][0]]["inputs"]["text"] = shown
    before = sampled(server)
    told = drawn.run(server)
    assert told["attempts"] == "2" and sampled(server) == before + 2 and len(told["saved"]) == 2
    texts = [
        out["text"][0] for i, out in drawn.result.outputs.items() if i == shown[0] or i.startswith(drawn.best + ".")
    ]
    assert sorted(text for text in texts if text.isdigit()) == [str(FIRST), str(FIRST + 1)]


def test_attempts_of_different_sizes_stop_before_more_is_drawn(server: Running, character: str) -> None:
    drawn = Drawn(character, wanted=2, limit=9, threshold=1.0)
    nodes, inputs = drawn.nodes, drawn.nodes[drawn.best]["inputs"]
    seed = [node_of(nodes, "LikenessSeed"), 0]
    nodes[seed[0]]["inputs"]["seed"] = 96  # px
    scaled = {"upscale_method": "area", "width": seed, "height": SIZE, "crop": "disabled"}
    inputs["images"] = add(nodes, "ImageScale", image=inputs["images"], **scaled)
    before = sampled(server)
    with pytest.raises(ServerError, match=r"The attempts differ in size \(96 x 128, 97 x 128\)"):
        server.run(nodes)
    assert sampled(server) <= before + 2


def test_the_internal_step_alone_says_what_to_use(server: Running) -> None:
    nodes: ApiGraph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}}
    }
    step = add(nodes, "LikenessBestOfNStep", run="x", images=["1", 0])
    add(nodes, "PreviewImage", images=step)
    with pytest.raises(ServerError, match="use Best of N"):
        server.run(nodes)


def test_wrong_wiring_is_explained(server: Running, character: str) -> None:
    by_hand = Drawn(character)
    by_hand.nodes[by_hand.best]["inputs"]["seed"] = 5
    with pytest.raises(ServerError, match="does not come from a Seed node: add a Seed node and connect it both"):
        server.run(by_hand.nodes)
    loose = Drawn(character)
    loose.nodes[node_of(loose.nodes, "KSampler")]["inputs"]["seed"] = 5
    with pytest.raises(ServerError, match="do not depend on the Seed node, so all would be alike"):
        server.run(loose.nodes)


def test_it_can_be_interrupted_and_queued_again(server: Running, character: str) -> None:
    """How much is drawn again is the cache's affair: the default one forgets most of what an expansion made."""
    server.forget()
    drawn, before = Drawn(character, limit=40, threshold=1.0), sampled(server)

    def interrupt(seconds: float) -> None:
        if sampled(server) >= before + 3:
            server.post("/interrupt", {})

    with pytest.raises(ServerError, match="it was interrupted"):
        server.client.run(drawn.nodes, 200, interrupt)
    done = sampled(server) - before
    assert 3 <= done < 40
    less = Drawn(character, limit=done, threshold=1.0)
    assert less.run(server)["attempts"] == str(done)
    drawn_twice = sampled(server) - before - done
    assert drawn_twice < done, "the first attempt at least is remembered"


@pytest.mark.parametrize("when_empty", ["block downstream", "pass the best", "placeholder"])
def test_gate_and_pick_best_without_anything_to_give_succeed(server: Running, character: str, when_empty: str) -> None:
    nodes: ApiGraph = {}
    nodes["1"] = {"class_type": "EmptyImage", "inputs": {"width": SIZE, "height": SIZE, "batch_size": 2, "color": 0}}
    loaded = add(nodes, "LikenessLoadCharacter", character=character)
    scored = add(nodes, "LikenessScoreLikeness", images=["1", 0], character=loaded, threshold=1.0, **JUDGE)
    gate, _ = add(nodes, "LikenessGate", images=["1", 0], scores=scored, when_empty=when_empty)
    among = {"among": "accepted", "when_empty": when_empty, "k": 1}
    pick, _ = add(nodes, "LikenessPickBest", images=["1", 0], scores=scored, **among)
    saves = [add(nodes, "SaveImage", images=[node, 0], filename_prefix="gate")[0] for node in (gate, pick)]
    count = shows_text(nodes, [gate, 6])
    result = server.run(nodes)
    expected = 0 if when_empty == "block downstream" else 1
    assert [len(result.outputs.get(save, {}).get("images", [])) for save in saves] == [expected] * 2
    assert result.outputs[count]["text"] == ["0"]
    assert "No picture was accepted" in result.outputs[gate]["text"][0]
    assert "No picture is accepted" in result.outputs[pick]["text"][0]
