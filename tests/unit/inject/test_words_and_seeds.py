"""The character's words in prompts of many forms, LoRA places of templates, and seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from likeness.errors import LikenessError
from likeness.inject import Insert, inject

from .graphs import ADA, Graph, flux, node, of_class, plain, profile, sampler, wan

LORA = replace(ADA, profile=profile("sd15", description="red hair"), how="lora")


def refused(graph: Any, insert: Insert = ADA, info: Any = None) -> str:
    with pytest.raises(LikenessError) as error:
        inject(graph, insert, info)
    return str(error.value)


def text_of(graph: Graph, encoder: str, name: str = "text") -> Any:
    """The text that a Character Prompt gives to an encoder."""
    words, output = graph[encoder]["inputs"][name]
    assert graph[words]["class_type"] == "LikenessCharacterPrompt"
    return graph[words]["inputs"][("text", "negative")[output]]


# ---- prompts


def test_a_linked_text_goes_through_character_prompt() -> None:
    graph = plain() | {"20": node("PrimitiveStringMultiline", value="in a park")}
    graph["6"]["inputs"]["text"] = ["20", 0]
    made = inject(graph, ADA).graph
    assert text_of(made, "6") == ["20", 0] and made["20"] == graph["20"]


def test_a_prompt_given_replaces_typed_and_linked_texts() -> None:
    graph = plain() | {"20": node("PrimitiveStringMultiline", value="in a park")}
    graph["6"]["inputs"]["text"] = ["20", 0]
    made = inject(graph, replace(ADA, prompt="at sea", negative="fog")).graph
    assert (text_of(made, "6"), text_of(made, "7")) == ("at sea", "fog")


@pytest.mark.parametrize(
    ("between", "name"),
    [
        (node("FluxGuidance", guidance=3.5, conditioning=["6", 0]), 0),
        (node("ControlNetApply", conditioning=["6", 0], control_net=["90", 0], image=["91", 0], strength=1), 0),
        (node("ReferenceLatent", conditioning=["6", 0], latent=["5", 0]), 0),
        (node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["6", 0]), 0),
        (node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], control_net=["90", 0]), 0),
        (node("InpaintModelConditioning", positive=["6", 0], negative=["7", 0], vae=["4", 2]), 0),
        (node("UnknownConditioner", conditioning=["6", 0]), 0),
    ],
    ids=lambda value: value["class_type"] if isinstance(value, dict) else "",
)
def test_a_prompt_is_found_through_other_conditioning(between: dict[str, Any], name: int) -> None:
    graph = plain() | {"20": between}
    graph["3"]["inputs"]["positive"] = ["20", name]
    made = inject(graph, ADA).graph
    assert (text_of(made, "6"), text_of(made, "7")) == ("in a park", "watermark") and made["20"] == between


def test_crossed_outputs_of_a_controlnet_do_not_swap_the_prompts() -> None:
    """Output 0 is the positive one, whatever the sampler takes it for."""
    graph = plain() | {
        "20": node("ControlNetApplyAdvanced", positive=["7", 0], negative=["6", 0], control_net=["90", 0])
    }
    graph["3"]["inputs"] |= {"positive": ["20", 1], "negative": ["20", 0]}
    made = inject(graph, ADA).graph
    assert made["6"]["inputs"]["text"][1] == 0 and made["7"]["inputs"]["text"][1] == 1


def test_only_the_leading_part_of_a_concatenation_takes_the_words() -> None:
    graph = plain() | {
        "20": node("CLIPTextEncode", text="film grain", clip=["4", 1]),
        "21": node("ConditioningConcat", conditioning_to=["6", 0], conditioning_from=["20", 0]),
    }
    graph["3"]["inputs"]["positive"] = ["21", 0]
    made = inject(graph, ADA).graph
    assert text_of(made, "6") == "in a park" and made["20"]["inputs"]["text"] == "film grain"
    assert made["20"]["inputs"]["clip"] == made["6"]["inputs"]["clip"]


def test_an_encoder_with_two_texts_gets_the_words_in_both() -> None:
    graph = flux()
    graph["3"] = node("CLIPTextEncodeFlux", clip=["2", 0], clip_l="in a park", t5xxl="walking in a park", guidance=3.5)
    made = inject(graph, ADA).graph
    assert (text_of(made, "3", "clip_l"), text_of(made, "3", "t5xxl")) == ("in a park", "walking in a park")


def test_a_negative_that_is_zeroed_out_is_left_and_a_wish_for_one_refused() -> None:
    graph = plain() | {"20": node("ConditioningZeroOut", conditioning=["6", 0])}
    graph["3"]["inputs"]["negative"] = ["20", 0]
    made = inject(graph, ADA).graph
    assert made["20"] == graph["20"] and text_of(made, "6") == "in a park"
    assert "no negative prompt" in refused(graph, replace(ADA, negative="fog"))
    assert "no negative prompt" in refused(flux(), replace(ADA, negative="fog"))


def test_a_prompt_that_is_zeroed_out_is_refused_unless_no_words_are_wanted() -> None:
    graph = plain() | {"20": node("ConditioningZeroOut", conditioning=["6", 0])}
    graph["3"]["inputs"]["positive"] = ["20", 0]
    assert "--no-words" in refused(graph)
    assert of_class(inject(graph, replace(ADA, words=False)).graph, "LikenessApplyCharacter")
    assert "your prompt could go into" in refused(graph, replace(ADA, words=False, prompt="at sea"))


def regions() -> Graph:
    graph = plain() | {
        "20": node("CLIPTextEncode", text="a dog", clip=["4", 1]),
        "21": node("ConditioningSetArea", conditioning=["6", 0], width=64, height=64, x=0, y=0, strength=1),
        "22": node("ConditioningSetMask", conditioning=["20", 0], mask=["90", 0], strength=1, set_cond_area="default"),
        "23": node("ConditioningCombine", conditioning_1=["21", 0], conditioning_2=["22", 0]),
    }
    graph["3"]["inputs"]["positive"] = ["23", 0]
    return graph


def test_of_prompts_for_parts_of_the_picture_one_has_to_be_chosen() -> None:
    told = refused(regions())
    assert "CLIPTextEncode 6 'in a park' and CLIPTextEncode 20 'a dog'" in told and "--prompt-in" in told
    made = inject(regions(), replace(ADA, prompt_in=("6",), prompt="at sea")).graph
    assert text_of(made, "6") == "at sea" and made["20"]["inputs"]["text"] == "a dog"


def test_a_prompt_cannot_be_put_where_there_is_none() -> None:
    assert "there is CLIPTextEncode 6 'in a park'" in refused(plain(), replace(ADA, prompt_in=("7",)))


def test_ten_thousand_words_are_taken_as_they_are() -> None:
    words = "word " * 10_000
    made = inject(plain(), replace(ADA, prompt=words))
    assert text_of(made.graph, "6") == words and len(made.report()) < 2000


def test_words_are_written_once_where_none_of_our_nodes_is_wanted() -> None:
    once = inject(plain(), LORA)
    assert once.graph["6"]["inputs"]["text"] == "adaray woman, red hair, in a park"
    twice = inject(once.graph, LORA)
    assert twice.graph == once.graph and twice.changes == ()


def test_words_are_joined_to_a_linked_text_by_comfyuis_own_node() -> None:
    graph = plain() | {"20": node("PrimitiveStringMultiline", value="in a park")}
    graph["6"]["inputs"]["text"] = ["20", 0]
    once = inject(graph, LORA).graph
    (joined,) = of_class(once, "StringConcatenate")
    assert once[joined]["inputs"] == {"string_a": "adaray woman, red hair", "string_b": ["20", 0], "delimiter": ", "}
    assert inject(once, LORA).graph == once


def test_the_prompt_alone_can_be_set() -> None:
    made = inject(plain(), replace(ADA, words=False, prompt="at sea")).graph
    assert made["6"]["inputs"]["text"] == "at sea" and not of_class(made, "LikenessCharacterPrompt")


# ---- places for a LoRA


def template(title: str = "Character LoRA", file: str = "someone.safetensors") -> Graph:
    loader = node(
        "LoraLoader", title, model=["4", 0], clip=["4", 1], lora_name=file, strength_model=1.0, strength_clip=0.9
    )
    graph = plain() | {"20": loader}
    graph["3"]["inputs"]["model"] = ["20", 0]
    graph["6"]["inputs"]["clip"] = graph["7"]["inputs"]["clip"] = ["20", 1]
    return graph


HAS = replace(ADA, profile=profile("sd15"))


@pytest.mark.parametrize(
    ("graph", "insert"),
    [
        (template(), HAS),
        (template("Load LoRA", "character_lora.safetensors"), HAS),
        (template("Load LoRA", "%character%"), HAS),
        (
            template("Load LoRA", "ben\\ben_v1.safetensors"),
            replace(HAS, known_loras=frozenset({"ben/ben_v1.safetensors"})),
        ),
        (template("Load LoRA"), replace(HAS, replace=("20",))),
        (template("Load LoRA"), replace(HAS, replace=("20:lora_name",))),
    ],
)
def test_a_loader_that_is_meant_for_a_character_gets_its_lora_and_nothing_is_added(
    graph: Graph, insert: Insert
) -> None:
    made = inject(graph, insert)
    assert made.how == "replace" and made.added == ()
    inputs = made.graph["20"]["inputs"]
    assert (inputs["lora_name"], inputs["strength_model"], inputs["strength_clip"]) == (
        "ada/ada_sd15_v1.safetensors",
        0.8,
        0.8,
    )
    assert made.graph["6"]["inputs"]["text"] == "adaray woman, in a park" and "it was" in made.report()
    assert inject(made.graph, insert).graph == made.graph


def test_any_other_lora_stays() -> None:
    made = inject(template("Add detail"), HAS)
    assert made.how == "nodes" and made.graph["20"] == template("Add detail")["20"]


OTHERS = {
    "power": (
        node(
            "Power Lora Loader (rgthree)",
            model=["4", 0],
            clip=["4", 1],
            lora_1={"on": False, "lora": "a", "strength": 1.0},
            lora_2={"on": True, "lora": "b", "strength": 1.0},
        ),
        {"on": True, "lora": "ada/ada_sd15_v1.safetensors", "strength": 0.8},
        "lora_2",
    ),
    "stack": (
        node(
            "CR LoRA Stack Loader",
            model=["4", 0],
            clip=["4", 1],
            lora_name_1="a",
            model_weight_1=1.0,
            clip_weight_1=1.0,
            lora_name_2="None",
            model_weight_2=1.0,
            clip_weight_2=1.0,
        ),
        "ada/ada_sd15_v1.safetensors",
        "lora_name_2",
    ),
}


@pytest.mark.parametrize("pack", OTHERS)
def test_one_place_of_several_in_another_packs_loader_is_filled(pack: str) -> None:
    loader, expected, name = OTHERS[pack]
    graph = template() | {"20": loader}
    made = inject(graph, replace(HAS, replace=(f"20:{name}",))).graph
    assert made["20"]["inputs"][name] == expected
    assert {k: v for k, v in made["20"]["inputs"].items() if "1" in k} == {
        k: v for k, v in loader["inputs"].items() if "1" in k
    }
    assert f"20:{name}" in refused(graph, replace(HAS, replace=("20",)))


def test_a_loader_that_some_samplers_do_not_pass_is_refused() -> None:
    graph = template() | {"30": sampler("4", "6", "7")}
    assert "KSampler 30 does not pass through that loader" in refused(graph, HAS)
    pair = wan()
    insert = replace(ADA, profile=profile("wan"), replace=("3",))
    assert "KSamplerAdvanced 13" in refused(pair, insert) and "4:lora_name" in refused(pair, insert)
    made = inject(pair, replace(insert, replace=("3", "4")))
    assert [made.graph[i]["inputs"]["lora_name"] for i in "34"] == ["ada/ada_wan_v1.safetensors"] * 2


def test_a_lora_is_not_put_on_one_model_twice() -> None:
    graph = template() | {
        "21": node("LoraLoaderModelOnly", "Character 2", model=["20", 0], lora_name="b", strength_model=1.0)
    }
    graph["3"]["inputs"]["model"] = ["21", 0]
    assert "would get the LoRA 2 times" in refused(graph, HAS)
    loaded = template("Load LoRA", "ada/ada_sd15_v1.safetensors")
    assert "loads the character's LoRA already" in refused(loaded, replace(HAS, how="nodes"))


def test_a_place_that_is_none_is_answered_with_those_there_are() -> None:
    assert "there is 20:lora_name ('someone.safetensors')" in refused(template(), replace(HAS, replace=("6",)))
    assert "the workflow has none" in refused(plain(), replace(HAS, replace=("6",)))


def test_a_wrapper_packs_models_take_the_lora_and_the_words_in_their_own_nodes() -> None:
    graph = {
        "1": node("WanVideoModelLoader", model="high", lora=["2", 0]),
        "2": node("WanVideoLoraSelect", lora="light", strength=1.0, prev_lora=["5", 0]),
        "5": node("WanVideoLoraSelect", lora="none", strength=1.0),
        "3": node("WanVideoTextEncode", positive_prompt="walking", negative_prompt="static", t5=["9", 0]),
        "4": node("WanVideoSampler", model=["1", 0], text_embeds=["3", 0], seed=1, cfg=1),
        "9": node("LoadWanVideoT5TextEncoder", model_name="t5"),
    }
    made = inject(graph, replace(ADA, profile=profile("wan"), replace=("5",), seed=8)).graph
    assert made["5"]["inputs"]["lora"] == "ada/ada_wan_v1.safetensors" and made["2"] == graph["2"]
    assert made["3"]["inputs"]["positive_prompt"] == "adaray woman, walking"
    assert made["3"]["inputs"]["negative_prompt"] == "blurry, static" and made["4"]["inputs"]["seed"] == 8


# ---- seeds


def test_seeds_that_differed_still_differ_and_equal_ones_stay_equal() -> None:
    graph = plain() | {"20": sampler("4", "6", "7"), "21": sampler("4", "6", "7")}
    graph["21"]["inputs"]["seed"] = 99
    made = inject(graph, replace(ADA, seed=2**64 - 1))
    assert [made.graph[i]["inputs"]["seed"] for i in ("3", "20", "21")] == [2**64 - 1, 2**64 - 1, 0]
    assert made.seeds == {"3.seed": 2**64 - 1, "20.seed": 2**64 - 1, "21.seed": 0}


def test_a_seed_behind_links_is_set_where_the_number_stands() -> None:
    graph = plain() | {"20": node("PrimitiveInt", value=5), "21": node("Seed (rgthree)", seed=["20", 0])}
    graph["3"]["inputs"]["seed"] = ["21", 0]
    made = inject(graph, replace(ADA, seed=7)).graph
    assert made["20"]["inputs"]["value"] == 7 and made["3"]["inputs"]["seed"] == ["21", 0]


def test_a_computed_seed_gives_way_to_a_number() -> None:
    graph = plain() | {"20": node("RandomMath", a=["5", 0])}
    graph["3"]["inputs"]["seed"] = ["20", 0]
    assert inject(graph, replace(ADA, seed=7)).graph["3"]["inputs"]["seed"] == 7


def test_the_noise_of_a_custom_sampler_is_seeded_and_a_sampler_without_noise_is_not() -> None:
    assert inject(flux(), replace(ADA, seed=3)).graph["7"]["inputs"]["noise_seed"] == 3
    made = inject(wan(), replace(ADA, seed=3)).graph
    assert (made["12"]["inputs"]["noise_seed"], made["13"]["inputs"]["noise_seed"]) == (3, 0)


def test_a_seed_that_a_node_does_not_take_is_refused() -> None:
    info: dict[str, Any] = {
        f"Likeness{n}": {"input": {}, "output": []} for n in ("LoadCharacter", "ApplyCharacter", "CharacterPrompt")
    }
    info["LikenessApplyCharacter"]["output"] = ["MODEL", "CLIP", "STRING"]
    info["KSampler"] = {"input": {"required": {"seed": ["INT", {"max": 1000}]}}, "output": ["LATENT"]}
    assert "seeds up to 1,000" in refused(plain(), replace(ADA, seed=1001), info)
