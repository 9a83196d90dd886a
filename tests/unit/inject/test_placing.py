"""Where a character goes in workflows of many shapes, what is told, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from likeness.errors import LikenessError
from likeness.inject import Insert, found_in, inject, read_workflow
from likeness.inject.remove import remove
from likeness.lora_stack import StackEntry

from .graphs import ADA, Graph, flux, node, of_class, plain, profile, sampler, wan


def refused(graph: Any, insert: Insert = ADA, info: Any = None) -> str:
    with pytest.raises(LikenessError) as error:
        inject(graph, insert, info)
    return str(error.value)


def test_the_default_workflow_gets_the_character_on_model_and_prompts_and_keeps_the_rest() -> None:
    made = inject(plain(), ADA).graph
    (load,), (applied,), (words,) = (
        of_class(made, f"Likeness{n}") for n in ("LoadCharacter", "ApplyCharacter", "CharacterPrompt")
    )
    assert made[load]["inputs"]["character"] == "ada"
    assert made[applied]["inputs"]["model"] == ["4", 0] and made[applied]["inputs"]["clip"] == ["4", 1]
    assert made["3"]["inputs"]["model"] == [applied, 0]
    assert made["6"]["inputs"] == {"text": [words, 0], "clip": [applied, 1]}
    assert made["7"]["inputs"] == {"text": [words, 1], "clip": [applied, 1]}
    assert made[words]["inputs"]["text"] == "in a park" and made[words]["inputs"]["negative"] == "watermark"
    untouched = {i: n for i, n in plain().items() if i not in ("3", "6", "7")}
    assert {i: made[i] for i in untouched} == untouched
    assert made["3"]["_meta"] == {"title": "KSampler"} and made["3"]["inputs"]["seed"] == 1


def test_every_change_is_told_in_a_sentence_that_names_the_nodes() -> None:
    told = inject(plain(), replace(ADA, seed=9)).report()
    for words in ("Load Character 10 with 'ada'", "between CheckpointLoaderSimple 4 and KSampler 3", "seed is 9"):
        assert words in told
    assert all(line.endswith(".") for line in told.splitlines())


def test_a_guider_and_its_scheduler_get_the_same_model() -> None:
    made = inject(flux(), ADA).graph
    (applied,) = of_class(made, "LikenessApplyCharacter")
    assert made["5"]["inputs"]["model"] == made["6"]["inputs"]["model"] == [applied, 0]


def test_both_models_of_a_pair_get_the_character_and_the_text_encoder_once() -> None:
    made = inject(wan(), ADA).graph
    high, low = of_class(made, "LikenessApplyCharacter")
    assert (made[high]["inputs"]["model"], made[low]["inputs"]["model"]) == (["3", 0], ["4", 0])
    assert (made["10"]["inputs"]["model"], made["11"]["inputs"]["model"]) == ([high, 0], [low, 0])
    assert made["6"]["inputs"]["clip"] == made["7"]["inputs"]["clip"] == [high, 1]


def test_patches_stay_behind_the_character_and_loras_before_it() -> None:
    graph = plain() | {
        "20": node("LoraLoader", model=["4", 0], clip=["4", 1], lora_name="a", strength_model=1, strength_clip=1),
        "21": node("ModelSamplingDiscrete", model=["20", 0], sampling="lcm", zsnr=False),
        "22": node("LoraLoaderModelOnly", model=["21", 0], lora_name="b", strength_model=1),
        "23": node("UnknownPatch", model=["22", 0]),
        "24": node("CLIPSetLastLayer", clip=["20", 1], stop_at_clip_layer=-2),
    }
    graph["3"]["inputs"]["model"] = ["23", 0]
    graph["6"]["inputs"]["clip"] = graph["7"]["inputs"]["clip"] = ["24", 0]
    made = inject(graph, ADA).graph
    (applied,) = of_class(made, "LikenessApplyCharacter")
    assert made[applied]["inputs"]["model"] == ["22", 0] and made[applied]["inputs"]["clip"] == ["20", 1]
    assert made["23"]["inputs"]["model"] == [applied, 0] and made["24"]["inputs"]["clip"] == [applied, 1]
    assert made["3"]["inputs"]["model"] == ["23", 0] and made["22"] == graph["22"]


def test_a_merge_gets_the_character_once_behind_it() -> None:
    graph = plain() | {
        "20": node("CheckpointLoaderSimple", ckpt_name="b"),
        "21": node("ModelMergeSimple", model1=["4", 0], model2=["20", 0], ratio=0.5),
    }
    graph["3"]["inputs"]["model"] = ["21", 0]
    made = inject(graph, ADA).graph
    (applied,) = of_class(made, "LikenessApplyCharacter")
    assert made[applied]["inputs"]["model"] == ["21", 0] and made["21"] == graph["21"]


def test_a_model_saved_to_a_file_is_saved_without_the_character() -> None:
    graph = plain() | {"20": node("ModelSave", model=["4", 0], filename_prefix="x")}
    assert inject(graph, ADA).graph["20"] == graph["20"]


def test_a_second_pass_on_the_same_model_shares_the_node() -> None:
    graph = plain() | {"20": sampler("4", "6", "7"), "21": node("SaveImage", images=["20", 0])}
    made = inject(graph, ADA).graph
    assert len(of_class(made, "LikenessApplyCharacter")) == len(of_class(made, "LikenessCharacterPrompt")) == 1
    assert made["20"]["inputs"]["model"] == made["3"]["inputs"]["model"]


def refiner() -> Graph:
    return plain() | {
        "20": node("CheckpointLoaderSimple", ckpt_name="sd_xl_refiner_1.0.safetensors"),
        "21": node("CLIPTextEncode", text="in a park", clip=["20", 1]),
        "22": node("CLIPTextEncode", text="watermark", clip=["20", 1]),
        "23": sampler("20", "21", "22"),
    }


def test_a_refiner_keeps_its_model_but_draws_by_the_new_prompt_and_the_report_says_so() -> None:
    made = inject(refiner(), replace(ADA, prompt="at sea"))
    assert made.graph["23"]["inputs"]["model"] == ["20", 0] and made.graph["21"]["inputs"]["clip"] == ["20", 1]
    assert made.graph["21"]["inputs"]["text"] == made.graph["6"]["inputs"]["text"] != ["21", 0]
    assert any("refiner" in note and "KSampler 23" in note for note in made.notes)


def test_a_workflow_of_a_refiner_alone_is_refused() -> None:
    graph = plain()
    graph["4"]["inputs"]["ckpt_name"] = "sd_xl_refiner_1.0.safetensors"
    assert "refiner" in refused(graph)


def test_a_prompt_that_steers_the_model_itself_does_not_wait_for_it() -> None:
    """NAG puts the negative prompt on the model: the prompt's text encoder cannot come from behind that model."""
    graph = plain() | {
        "20": node("WanNAG", model=["4", 0], conditioning=["7", 0]),
        "21": node("LoraLoaderModelOnly", model=["20", 0], lora_name="a", strength_model=1),
    }
    graph["3"]["inputs"]["model"] = ["21", 0]
    made = inject(graph, ADA)
    read_workflow(made.graph)  # no circle
    assert made.graph["3"]["inputs"]["model"][0] != made.graph["7"]["inputs"]["clip"][0]
    assert {made.graph[made.graph[i]["inputs"]["clip"][0]]["class_type"] for i in "67"} == {"LikenessApplyCharacter"}


def test_pipes_are_followed_to_where_they_are_packed() -> None:
    graph = plain() | {
        "20": node("ToBasicPipe", model=["4", 0], clip=["4", 1], vae=["4", 2], positive=["6", 0], negative=["7", 0]),
        "21": node("FromBasicPipe", basic_pipe=["20", 0]),
    }
    graph["3"]["inputs"] |= {"model": ["21", 0], "positive": ["21", 3], "negative": ["21", 4]}
    made = inject(graph, ADA).graph
    (applied,) = of_class(made, "LikenessApplyCharacter")
    assert made["20"]["inputs"]["model"] == [applied, 0] and made["3"] == graph["3"]
    assert made["6"]["inputs"]["text"][0] in of_class(made, "LikenessCharacterPrompt")


@pytest.mark.parametrize("switch", [{"any_01": 1}, {"on_true": 1, "on_false": 1}, {"input": 1}])
def test_nodes_that_pass_anything_on_are_looked_through(switch: dict[str, int]) -> None:
    graph = plain() | {
        "20": node("Some Switch", **{name: ["4", 0] for name in switch}),
        "21": node("Some Switch", any_01=["4", 1]),
        "22": node("Some Switch", any_01=["6", 0]),
    }
    graph["3"]["inputs"] |= {"model": ["20", 0], "positive": ["22", 0]}
    graph["6"]["inputs"]["clip"] = ["21", 0]
    made = inject(graph, ADA).graph
    assert made["3"]["inputs"]["model"][0] in made and len(of_class(made, "LikenessApplyCharacter")) in (1, 2)
    assert made["6"]["inputs"]["text"][0] in of_class(made, "LikenessCharacterPrompt")


def test_object_info_tells_what_names_do_not() -> None:
    """A pack that calls its model "net" and its conditioning "guide"."""
    info = {
        "OddSampler": {"input": {"required": {"net": ["MODEL"], "guide": ["CONDITIONING"]}}, "output": ["LATENT"]},
        "OddEncode": {
            "input": {"required": {"words": ["STRING", {"multiline": True}], "tower": ["CLIP"]}},
            "output": ["CONDITIONING"],
        },
        "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["a"]]}}, "output": ["MODEL", "CLIP", "VAE"]},
    }
    info |= {
        name: {"input": {"required": {}}, "output": []}
        for name in ("LikenessLoadCharacter", "LikenessApplyCharacter", "LikenessCharacterPrompt")
    }
    info["LikenessApplyCharacter"]["output"] = ["MODEL", "CLIP", "STRING"]
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name="a"),
        "2": node("OddEncode", words="in a park", tower=["1", 1]),
        "3": node("OddSampler", net=["1", 0], guide=["2", 0]),
    }
    made = inject(graph, ADA, info).graph
    (applied,) = of_class(made, "LikenessApplyCharacter")
    assert made["3"]["inputs"]["net"] == [applied, 0] and made["2"]["inputs"]["tower"] == [applied, 1]
    assert "samples with a model" in refused(graph)  # by names alone


HOSTILE_INFO = [
    [],
    {"KSampler": None},
    {"KSampler": {"input": 3, "output": 4}},
    {"KSampler": {"input": {"required": []}}},
    {"KSampler": {"input": {"required": {"model": "MODEL", "seed": ["INT", 7]}}, "output": [["a"], 3]}},
]


@pytest.mark.parametrize("info", HOSTILE_INFO)
def test_object_info_of_another_form_does_no_harm(info: Any) -> None:
    try:
        inject(plain(), ADA, info)
    except LikenessError as error:
        assert "does not have" in str(error)


def test_a_server_without_the_pack_is_told_before_anything_runs() -> None:
    info = {"KSampler": {"input": {"required": {"model": ["MODEL"]}}, "output": ["LATENT"]}}
    assert "--how lora" in refused(flux(), ADA, info)


def test_a_server_whose_library_lacks_the_character_is_told() -> None:
    nodes = ("ApplyCharacter", "CharacterPrompt")
    info: dict[str, Any] = {f"Likeness{n}": {"input": {"required": {}}, "output": []} for n in nodes}
    info["LikenessApplyCharacter"]["output"] = ["MODEL", "CLIP"]
    info["LikenessLoadCharacter"] = {
        "input": {"required": {"character": ["COMBO", {"options": ["ben"]}]}},
        "output": [],
    }
    assert "no character 'ada'" in refused(plain(), ADA, info)


@pytest.mark.parametrize("ids", [("12:3", "12:4"), ("a b", "ünïcode"), ("999999999999999999999", "-1"), ("10", "010")])
def test_ids_of_any_kind_stay_and_new_ones_are_free(ids: tuple[str, str]) -> None:
    graph = plain()
    graph[ids[0]] = graph.pop("4")
    graph[ids[1]] = node("PreviewImage", images=["8", 0])
    for edges in graph.values():
        for name, value in edges["inputs"].items():
            if isinstance(value, list) and value[0] == "4":
                edges["inputs"][name] = [ids[0], value[1]]
    made = inject(graph, ADA)
    assert set(made.graph) == set(graph) | set(made.added) and not set(graph) & set(made.added)
    assert remove(made.graph) == graph


def test_a_link_to_a_node_that_is_not_there_is_told_and_left() -> None:
    graph = plain()
    graph["9"]["inputs"]["caption"] = ["404", 0]
    made = inject(graph, ADA)
    assert any("404" in note for note in made.notes) and made.graph["9"] == graph["9"]


def test_a_sampler_whose_model_is_not_there_is_refused() -> None:
    graph = plain()
    graph["3"]["inputs"]["model"] = ["404", 0]
    assert "nothing that could draw" in refused(graph)


def test_a_text_encoder_without_a_link_to_its_model_is_refused() -> None:
    graph = plain()
    graph["1"] = node("UNETLoader", unet_name="a", weight_dtype="default")
    graph["3"]["inputs"]["model"] = ["1", 0]
    del graph["6"]["inputs"]["clip"], graph["7"]["inputs"]["clip"]
    assert "has no text encoder linked" in refused(graph)


def test_a_model_of_a_packs_own_kind_is_refused_and_its_lora_places_are_named() -> None:
    graph = {
        "1": node("WanVideoModelLoader", model="wan.safetensors", lora=["2", 0]),
        "2": node("WanVideoLoraSelect", lora="none", strength=1.0),
        "3": node("WanVideoTextEncode", positive_prompt="walking", negative_prompt="static", t5=["9", 0]),
        "4": node("WanVideoSampler", model=["1", 0], text_embeds=["3", 0], seed=1, cfg=1),
        "9": node("LoadWanVideoT5TextEncoder", model_name="t5"),
    }
    told = refused(graph)
    assert "WanVideoSampler 4" in told and "--replace-lora: 2:lora (none)" in told


def test_a_workflow_without_a_sampler_is_refused() -> None:
    graph = {"1": node("LoadImage", image="a.png"), "2": node("SaveImage", images=["1", 0])}
    assert "nothing that could draw a character (it has LoadImage and SaveImage)" in refused(graph)


def test_a_sampler_can_be_left_alone_where_it_has_a_model_of_its_own() -> None:
    graph = plain() | {"20": node("CheckpointLoaderSimple", ckpt_name="b"), "21": sampler("20", "6", "7")}
    for skipped in ("20", "21"):
        made = inject(graph, replace(ADA, skip=(skipped,)))
        assert made.graph["21"]["inputs"]["model"] == ["20", 0] and any("KSampler 21" in n for n in made.notes)


def test_a_sampler_on_a_shared_loader_can_be_left_alone_and_on_a_shared_patch_it_cannot() -> None:
    graph = plain() | {"20": sampler("4", "6", "7")}
    assert inject(graph, replace(ADA, skip=("20",))).graph["20"]["inputs"]["model"] == ["4", 0]
    graph["21"] = node("ModelSamplingDiscrete", model=["4", 0], sampling="eps", zsnr=False)
    graph["3"]["inputs"]["model"] = graph["20"]["inputs"]["model"] = ["21", 0]
    assert "KSampler 20 cannot be left alone" in refused(graph, replace(ADA, skip=("20",)))


def test_nothing_is_done_where_a_part_cannot_be_placed_and_every_reason_is_told() -> None:
    told = refused(plain(), replace(ADA, skip=("77",), prompt_in=("78",), load="79"))
    assert all(number in told for number in ("77", "78", "79"))


# ---- what the character has


def test_a_model_that_the_character_has_nothing_for_is_refused() -> None:
    assert "no LoRA for flux, and FaceID does not exist" in refused(flux(), replace(ADA, profile=profile("sdxl")))
    assert "neither a reference picture nor a LoRA" in refused(plain(), replace(ADA, profile=profile(references=())))


def test_a_family_that_the_loaders_contradict_is_refused() -> None:
    assert "are for flux, not for wan" in refused(flux(), replace(ADA, family="wan"))


def test_faceid_is_said_not_to_exist_where_the_lora_draws_alone() -> None:
    made = inject(flux(), replace(ADA, profile=profile("flux")))
    assert any("FaceID does not exist for flux" in note for note in made.notes)


def test_another_face_in_the_workflow_is_told() -> None:
    graph = plain() | {"20": node("ApplyPulid", model=["4", 0], pulid=["30", 0])}
    graph["3"]["inputs"]["model"] = ["20", 0]
    assert any("ApplyPulid 20 puts another face in" in note for note in inject(graph, ADA).notes)


# ---- LoRA alone


def test_without_our_nodes_the_lora_goes_on_model_and_text_encoder_and_the_words_into_the_text() -> None:
    made = inject(plain(), replace(ADA, profile=profile("sd15"), how="lora")).graph
    (added,) = of_class(made, "LoraLoader")
    assert made[added]["inputs"]["lora_name"] == "ada/ada_sd15_v1.safetensors" and made["3"]["inputs"]["model"] == [
        added,
        0,
    ]
    assert made["6"]["inputs"] == {"text": "adaray woman, in a park", "clip": [added, 1]}
    assert made["7"]["inputs"]["text"] == "blurry, watermark"
    assert not [n for n in made.values() if n["class_type"].startswith("Likeness")]


def test_a_model_without_a_text_encoder_takes_the_lora_alone() -> None:
    graph = plain() | {
        "4": node("MZ_KolorsUNETLoader", unet_name="kolors"),
        "6": node("MZ_ChatGLM3", text="in a park", chatglm3_model=["20", 0]),
        "7": node("MZ_ChatGLM3", text="watermark", chatglm3_model=["20", 0]),
        "20": node("MZ_ChatGLM3Loader", chatglm3_checkpoint="a"),
    }
    assert "No CLIP was found" in refused(graph, replace(ADA, profile=profile("kolors")))
    made = inject(graph, replace(ADA, profile=profile("kolors"), how="lora")).graph
    assert made["3"]["inputs"]["model"][0] in of_class(made, "LoraLoaderModelOnly")


def test_the_lora_of_an_unknown_family_is_asked_for() -> None:
    graph = plain()
    graph["4"]["inputs"]["ckpt_name"] = "mine.safetensors"
    told = refused(graph, replace(ADA, profile=profile("sd15", "sdxl"), how="lora"))
    assert "sd15 and sdxl" in told and "--family" in told
    made = inject(graph, replace(ADA, profile=profile("sd15", "sdxl"), how="lora", family="sdxl"))
    assert "ada_sdxl_v1" in made.report()


def test_a_stack_goes_before_the_character_and_its_trigger_words_into_the_prompt() -> None:
    stack = (StackEntry("town.safetensors", 0.7, 0.5, ("old town",)), StackEntry("smile.safetensors", 0.4, 0.4))
    made = inject(plain(), replace(ADA, loras=stack)).graph
    first, second = of_class(made, "LoraLoader")
    (applied,), (words,) = of_class(made, "LikenessApplyCharacter"), of_class(made, "LikenessCharacterPrompt")
    assert made[first]["inputs"]["model"] == ["4", 0] and made[second]["inputs"]["clip"] == [first, 1]
    assert made[applied]["inputs"]["model"] == [second, 0] and made[words]["inputs"]["text"] == "in a park, old town"


# ---- workflows that have our nodes


def test_in_a_workflow_with_our_nodes_the_character_is_changed_there() -> None:
    first = inject(plain(), ADA).graph
    made = inject(first, replace(ADA, character="ben", prompt="at sea"))
    assert made.how == "swap" and made.added == ()
    (load,), (words,) = of_class(made.graph, "LikenessLoadCharacter"), of_class(made.graph, "LikenessCharacterPrompt")
    assert made.graph[load]["inputs"]["character"] == "ben" and made.graph[words]["inputs"]["text"] == "at sea"


@pytest.mark.parametrize("graph", [plain, flux, wan, refiner])
def test_putting_a_character_in_twice_changes_nothing_more(graph: Any) -> None:
    once = inject(graph(), replace(ADA, seed=4, score=True)).graph
    twice = inject(once, replace(ADA, seed=4, score=True))
    assert twice.graph == once and twice.changes == () and "already" in " ".join(twice.notes)


def test_a_lora_behind_our_node_does_not_hide_it() -> None:
    graph = inject(plain(), ADA).graph
    (applied,) = of_class(graph, "LikenessApplyCharacter")
    graph["50"] = node("LoraLoaderModelOnly", model=[applied, 0], lora_name="a", strength_model=1)
    graph["3"] = sampler("50", "6", "7")
    assert len(of_class(inject(graph, ADA).graph, "LikenessApplyCharacter")) == 1


def test_a_sampler_that_was_left_out_gets_the_same_character() -> None:
    graph = inject(plain(), ADA).graph | {
        "50": node("CheckpointLoaderSimple", ckpt_name="b"),
        "51": sampler("50", "6", "7"),
    }
    made = inject(graph, ADA).graph
    assert len(of_class(made, "LikenessApplyCharacter")) == 2 and len(of_class(made, "LikenessLoadCharacter")) == 1


def test_of_two_characters_the_one_to_change_is_asked_for() -> None:
    graph = inject(plain(), ADA).graph | {"90": node("LikenessLoadCharacter", character="cy", lora_version=0)}
    assert "--load, 10 (ada) and 90 (cy)" in refused(graph, replace(ADA, character="ben"))
    made = inject(graph, replace(ADA, character="ben", load="90")).graph
    assert (made["10"]["inputs"]["character"], made["90"]["inputs"]["character"]) == ("ada", "ben")


def test_a_face_that_is_not_loaded_by_name_is_not_changed() -> None:
    graph = inject(plain(), ADA).graph
    graph["10"] = node("LikenessLoadFaceEmbedding", file="a.safetensors")
    assert "LikenessLoadFaceEmbedding 10" in refused(graph)


def test_training_is_not_drawing() -> None:
    graph = plain() | {"20": node("TrainLoraNode", model=["4", 0], positive=["6", 0], latents=["5", 0])}
    assert inject(graph, ADA).graph["20"] == graph["20"]


# ---- options


def test_the_score_is_measured_on_what_is_saved() -> None:
    made = inject(plain() | {"20": node("PreviewImage", images=["8", 0])}, replace(ADA, score=True)).graph
    (score,), (load,) = of_class(made, "LikenessScoreLikeness"), of_class(made, "LikenessLoadCharacter")
    assert made[score]["inputs"] == {"images": ["8", 0], "character": [load, 0]}


@pytest.mark.parametrize(
    "bad",
    [
        {"how": "x"},
        {"family": "x"},
        {"method": "x"},
        {"strengths": "x"},
        {"seed": -1},
        {"seed": 2**64},
        {"character": "../x"},
        {"character": "ben", "profile": profile()},
        {"prompt": "x" * 1_000_001},
    ],
    ids=lambda bad: "-".join(bad),
)
def test_a_wish_that_is_none_is_refused(bad: dict[str, Any]) -> None:
    assert len(refused(plain(), replace(ADA, **bad))) < 400


def test_taking_the_character_out_again_leaves_the_workflow_as_it_was() -> None:
    for graph in (plain(), flux(), wan(), refiner()):
        assert remove(inject(graph, replace(ADA, score=True)).graph) == graph


def test_what_a_workflow_has_is_found() -> None:
    found = found_in(read_workflow(wan()))
    assert [n.id for n in found.checkpoints] == ["1", "2"] and [n.id for n in found.loras] == ["3", "4"]
    assert [s.node.id for s in found.samplers] == ["12", "13"]
    assert {(e.node.id, e.role) for e in found.prompts} == {("6", "positive"), ("7", "negative")}
    assert [told.sure for told in found.told.values()] == [{"wan"}, {"wan"}]
