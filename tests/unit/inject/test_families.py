"""The base family of a workflow by what it shows, and what of a character can go on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from likeness.errors import LikenessError
from likeness.inject import found_in, inject, read_workflow
from likeness.inject.families import family_of_name
from likeness.lora_stack import StackEntry

from .graphs import ADA, Graph, flux, node, of_class, plain, profile, sampler

FACE = replace(ADA, profile=profile())  # a face, no LoRA


def unnamed(**more: Any) -> Graph:
    """The default workflow with a checkpoint whose name says nothing."""
    graph = plain() | more
    graph["4"]["inputs"]["ckpt_name"] = "mine.safetensors"
    return graph


def refused(graph: Graph, insert: Any) -> str:
    with pytest.raises(LikenessError) as error:
        inject(graph, insert)
    return str(error.value)


def likely(graph: Graph) -> set[str]:
    return set().union(*(told.likely for told in found_in(read_workflow(graph)).told.values()))


def on_the_way(class_type: str, **inputs: Any) -> Graph:
    """With a node between prompt and sampler, or model and sampler."""
    graph = unnamed()
    if "model" in inputs:
        graph["20"] = node(class_type, **(inputs | {"model": ["4", 0]}))
        graph["3"]["inputs"]["model"] = ["20", 0]
    else:
        graph["20"] = node(class_type, **(inputs | {"conditioning": ["6", 0]}))
        graph["3"]["inputs"]["positive"] = ["20", 0]
    return graph


def with_loader(kind: str, loader: str = "CLIPLoader") -> Graph:
    graph = unnamed()
    graph["20"] = node(loader, clip_name="text_encoder.safetensors", type=kind)
    graph["6"]["inputs"]["clip"] = graph["7"]["inputs"]["clip"] = ["20", 0]
    return graph


@pytest.mark.parametrize(
    "graph",
    [
        on_the_way("FluxGuidance", guidance=3.5),
        on_the_way("ModelSamplingFlux", model=1, max_shift=1.15),
        on_the_way("ModelSamplingSD3", model=1, shift=3),
        on_the_way("ModelSamplingAuraFlow", model=1, shift=3),
        with_loader("wan"),
        with_loader("qwen_image"),
        with_loader("lumina2"),
        with_loader("krea2"),
        with_loader("flux", "DualCLIPLoader"),
        unnamed(**{"5": node("EmptySD3LatentImage", width=64, height=64, batch_size=1)}),
        unnamed(**{"5": node("EmptyHunyuanLatentVideo", width=64, height=64, length=5, batch_size=1)}),
        unnamed() | {"4": node("CheckpointLoaderSimple", ckpt_name="flux1-dev-fp8.safetensors")},
        unnamed() | {"4": node("CheckpointLoaderSimple", ckpt_name="v2-1_768-ema-pruned.ckpt")},
        unnamed()
        | {"4": node("UnetLoaderGGUF", unet_name="Flux2\\flux-2-klein-9b-Q8_0.gguf"), "20": node("CLIPLoader")},
    ],
)
def test_a_face_alone_is_refused_where_the_workflow_shows_a_model_without_faceid(graph: Graph) -> None:
    graph["6"]["inputs"]["clip"] = graph["6"]["inputs"]["clip"] if graph["4"]["class_type"][0] == "C" else ["20", 0]
    graph["7"]["inputs"]["clip"] = graph["6"]["inputs"]["clip"]
    assert "and FaceID does not exist for it" in refused(graph, FACE)


@pytest.mark.parametrize(
    "graph",
    [
        plain(),
        unnamed() | {"4": node("CheckpointLoaderSimple", ckpt_name="juggernautXL_v9.safetensors")},
        on_the_way("CLIPSetLastLayer"),
        on_the_way("ModelSamplingDiscrete", model=1, sampling="lcm"),
    ],
)
def test_a_face_goes_on_a_unet(graph: Graph) -> None:
    assert of_class(inject(graph, FACE).graph, "LikenessApplyCharacter")


def test_families_that_it_can_be_are_named_where_they_are_few() -> None:
    guided = refused(on_the_way("FluxGuidance", guidance=3.5), FACE)
    assert "Ada has no LoRA for chroma, flux, flux2 or hunyuan_video, and FaceID does not exist for it" in guided
    assert "no LoRA for this kind of model" in refused(on_the_way("ModelSamplingSD3", model=1, shift=3), FACE)
    assert "no LoRA for qwen_image," in refused(with_loader("qwen_image"), FACE)


def test_an_unknown_family_is_told_with_what_to_do() -> None:
    (note,) = [n for n in inject(unnamed(), FACE).notes if "base family" in n]
    assert "CheckpointLoaderSimple 4" in note and "--family" in note
    assert not [n for n in inject(unnamed(), replace(FACE, family="sd15")).notes if "base family" in n]
    assert not [n for n in inject(on_the_way("CLIPTextEncodeSDXL"), FACE).notes if "base family" in n]


def test_a_family_that_a_name_alone_tells_is_said_and_the_user_knows_better() -> None:
    graph = unnamed() | {"4": node("CheckpointLoaderSimple", ckpt_name="fluxlike_anime.safetensors")}
    assert "no LoRA for flux, and FaceID does not exist for it" in refused(graph, FACE)
    made = inject(graph, replace(ADA, profile=profile("flux")))
    assert any("fluxlike_anime.safetensors was taken for flux by its name" in note for note in made.notes)
    assert inject(graph, replace(FACE, family="sd15")).how == "nodes"


def test_the_header_of_a_file_that_is_here_counts_more_than_its_name() -> None:
    def family_of(file: str) -> str | None:
        return {"v1-5.safetensors": "flux"}.get(file)

    assert "no LoRA for flux, and FaceID does not exist for it" in refused(plain(), replace(FACE, family_of=family_of))
    assert "are for flux, not for sd15" in refused(plain(), replace(FACE, family_of=family_of, family="sd15"))


def test_a_latent_counts_less_than_a_name_because_comfyui_fits_it() -> None:
    graph = plain() | {"5": node("EmptySD3LatentImage", width=64, height=64, batch_size=1)}
    assert likely(graph) == {"sd15"}


def test_what_another_model_has_drawn_before_says_nothing() -> None:
    """A picture of Flux, drawn over by another model."""
    graph = flux() | {
        "20": node("CheckpointLoaderSimple", ckpt_name="mine.safetensors"),
        "21": node("CLIPTextEncode", text="in a park", clip=["20", 1]),
        "22": node("VAEEncode", pixels=["12", 0], vae=["20", 2]),
        "23": sampler("20", "21", "21") | {},
    }
    graph["23"]["inputs"]["latent_image"] = ["22", 0]
    told = found_in(read_workflow(graph)).told
    assert told["1", 0].likely == {"flux"} and "sdxl" in told["20", 0].likely
    both = refused(graph, FACE)
    assert "UNETLoader 1" in both and "CheckpointLoaderSimple 20" not in both
    assert inject(graph, replace(FACE, skip=("5",))).graph["23"]["inputs"]["model"] != ["20", 0]


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("v1-5-pruned-emaonly.safetensors", "sd15"),
        ("sd_xl_base_1.0.safetensors", "sdxl"),
        ("RealVisXL_V3.0.safetensors", "sdxl"),
        ("sd3_medium_incl_clips_t5xxlfp8.safetensors", "sd3"),
        ("sd3.5_large.safetensors", "sd3"),
        ("flux1-krea-dev.safetensors", "flux"),
        ("flux-2-klein-9b-Q8_0.gguf", "flux2"),
        ("Chroma1-HD.safetensors", "chroma"),
        ("qwen_image_edit_2509_fp8_e4m3fn.safetensors", "qwen_image"),
        ("z_image_turbo_bf16.safetensors", "z_image"),
        ("ZImageTurbo\\moodyProMix.safetensors", "z_image"),
        ("wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", "wan"),
        ("hunyuan_video_t2v_720p_bf16.safetensors", "hunyuan_video"),
        ("hunyuanimage2.1_bf16.safetensors", "other"),
        ("512-inpainting-ema.safetensors", "other"),
        ("krea2_turbo.safetensors", "other"),
        ("dreamshaper_8.safetensors", ""),
        ("Realistic_Vision_V5.1.safetensors", ""),
        ("cardosAnimated_v20.safetensors", ""),
        ("swan_lake_v2.safetensors", ""),
    ],
)
def test_names_of_files_tell_a_family_or_nothing(name: str, family: str) -> None:
    assert family_of_name(name) == family


# ---- method and stack


@pytest.mark.parametrize("how", ["lora", "replace"])
@pytest.mark.parametrize("method", ["faceid_only", "lora_faceid", "img2img"])
def test_a_method_that_would_be_ignored_is_refused(how: Any, method: str) -> None:
    graph = plain() | {"20": node("LoraLoaderModelOnly", "character", model=["4", 0], lora_name="a", strength_model=1)}
    graph["3"]["inputs"]["model"] = ["20", 0]
    insert = replace(ADA, profile=profile("sd15"), how=how)
    assert "leave --method out" in refused(graph, replace(insert, method=method))
    assert inject(graph, replace(insert, method="lora_only")).how == how


@pytest.mark.parametrize(
    ("method", "families", "told"),
    [
        ("faceid_only", ("flux",), "FaceID does not exist for flux, so the method faceid_only cannot be"),
        ("lora_faceid", ("flux",), "FaceID does not exist for flux, so the method lora_faceid cannot be"),
        ("lora_only", ("sdxl",), "no LoRA for flux"),
    ],
)
def test_a_method_that_the_model_cannot_have_is_refused(method: str, families: tuple[str, ...], told: str) -> None:
    assert told in refused(flux(), replace(ADA, profile=profile(*families), method=method))


def test_other_loras_that_cannot_be_placed_or_fit_another_model_are_refused() -> None:
    stack = (StackEntry("town.safetensors", 0.7, 0.7, family="sdxl"),)
    told = refused(flux(), replace(ADA, profile=profile("flux"), loras=stack))
    assert "town.safetensors is a LoRA for sdxl, but UNETLoader 1 is flux" in told
    graph = plain() | {"20": node("LoraLoaderModelOnly", "character", model=["4", 0], lora_name="a", strength_model=1)}
    graph["3"]["inputs"]["model"] = ["20", 0]
    assert "leave --loras out" in refused(graph, replace(ADA, profile=profile("sd15"), loras=stack))


# ---- another character into our nodes


def test_a_character_without_a_lora_is_not_swapped_into_a_model_without_faceid() -> None:
    graph = inject(flux(), replace(ADA, profile=profile("flux"))).graph
    assert inject(graph, replace(ADA, character="ben", profile=profile("flux", slug="ben"))).how == "swap"
    assert "no LoRA for flux, and FaceID does not exist for it" in refused(
        graph, replace(ADA, character="ben", profile=profile(slug="ben"))
    )


# ---- merges


@pytest.mark.parametrize("with_it", ["model1", "model2"])
@pytest.mark.parametrize("merge", ["ModelMergeSimple", "ModelMergeSD1", "Any Switch (rgthree)"])
def test_a_merge_with_the_character_on_one_of_its_models_gets_it_on_the_other(with_it: str, merge: str) -> None:
    graph = inject(plain(), ADA).graph
    (applied,) = of_class(graph, "LikenessApplyCharacter")
    without = "model1" if with_it == "model2" else "model2"
    graph |= {
        "50": node("CheckpointLoaderSimple", ckpt_name="sd15_b.safetensors"),
        "51": node(merge, **{with_it: [applied, 0], without: ["50", 0]}, ratio=0.5),
        "52": node("LoraLoaderModelOnly", model=["51", 0], lora_name="a", strength_model=1),
    }
    graph["3"]["inputs"]["model"] = ["52", 0]
    assert not found_in(read_workflow(graph)).samplers[0].has_character
    made = inject(graph, ADA)
    (added,) = set(of_class(made.graph, "LikenessApplyCharacter")) - {applied}
    assert made.graph["51"]["inputs"][without] == [added, 0] and made.graph["51"]["inputs"][with_it] == [applied, 0]
    assert made.graph[added]["inputs"]["model"] == ["50", 0] and made.graph["52"] == graph["52"]
    assert inject(made.graph, ADA).changes == () and not any("text encoder" in note for note in made.notes)


@pytest.mark.parametrize("merge", ["ModelMergeAdd", "ModelMergeSubtract"])
def test_what_a_sum_takes_from_its_second_model_stays_without_the_character(merge: str) -> None:
    graph = inject(plain(), ADA).graph
    (applied,) = of_class(graph, "LikenessApplyCharacter")
    graph |= {
        "50": node("CheckpointLoaderSimple", ckpt_name="sd15_b.safetensors"),
        "51": node(merge, model1=[applied, 0], model2=["50", 0]),
    }
    graph["3"]["inputs"]["model"] = ["51", 0]
    assert inject(graph, ADA).changes == ()
