"""What an injection may not leave out without a word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from likeness.errors import LikenessError
from likeness.inject import inject
from likeness.inject.kinds import Kinds
from likeness.inject.workflow import read_workflow
from likeness.lora_stack import StackEntry

from .graphs import ADA, Graph, node, plain, profile

HAS = replace(ADA, profile=profile("sd15"))
TOWN = StackEntry("town.safetensors", 0.7, 0.7, ("portorosso town",))


@pytest.mark.parametrize("linked", [False, True])
def test_trigger_words_of_the_stack_come_with_a_prompt_that_has_the_characters_words(linked: bool) -> None:
    graph = plain()
    if linked:
        graph |= {"20": node("PrimitiveString", value="in a park")}
        graph["6"]["inputs"]["text"] = ["20", 0]
    prompt = None if linked else "adaray at sea"
    made = inject(graph, replace(HAS, words=False, prompt=prompt, loras=(TOWN,)))
    value = made.graph["6"]["inputs"]["text"]
    if linked:
        assert made.graph[value[0]]["inputs"]["string_b"] == "portorosso town"
    else:
        assert value == "adaray at sea, portorosso town"
    assert made.graph["7"]["inputs"]["text"] == "watermark"


def stack(switch: str = "Off", **more: object) -> Graph:
    graph = plain()
    graph["20"] = node("CR LoRA Stack", switch_1="On", lora_name_1="style.safetensors", model_weight_1=1.0,
                       clip_weight_1=1.0, switch_2=switch, lora_name_2="character_lora.safetensors",
                       model_weight_2=1.0, clip_weight_2=1.0)  # fmt: skip
    graph["20"]["inputs"] |= more
    graph["21"] = node("CR Apply LoRA Stack", model=["4", 0], clip=["4", 1], lora_stack=["20", 0])
    graph["3"]["inputs"]["model"] = ["21", 0]
    graph["6"]["inputs"]["clip"] = graph["7"]["inputs"]["clip"] = ["21", 1]
    return graph


def test_a_place_that_is_switched_off_is_switched_on() -> None:
    made = inject(stack(), HAS)
    inputs = made.graph["20"]["inputs"]
    assert (inputs["switch_2"], inputs["lora_name_2"]) == ("On", "ada/ada_sd15_v1.safetensors")
    assert inputs["lora_name_1"] == "style.safetensors" and inject(made.graph, HAS).graph == made.graph


def test_a_place_behind_those_that_are_counted_is_refused() -> None:
    with pytest.raises(LikenessError, match="uses 1 of its LoRAs"):
        inject(stack("On", lora_count=1), HAS)
    assert inject(stack("On", lora_count=2), HAS).how == "replace"


def test_settings_that_nodes_of_ours_keep_are_told() -> None:
    ours = inject(plain(), HAS).graph
    notes = inject(ours, replace(HAS, method="lora_only")).notes
    assert any("keep their method" in note for note in notes)


@pytest.mark.parametrize("most", [float("inf"), float("nan")])
def test_a_largest_seed_that_is_no_number_is_none(most: float) -> None:
    workflow = read_workflow(plain())
    info = {"KSampler": {"input": {"required": {"seed": ["INT", {"max": most}]}}, "output": ["LATENT"]}}
    assert Kinds(workflow, info).limit(workflow.nodes["3"], "seed") is None
