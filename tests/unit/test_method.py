from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from likeness.character import open_character
from likeness.create import NamedImage, create_character, draft
from likeness.errors import FaceError, LikenessError
from likeness.library import Library
from likeness.method import as_method, as_preset, check_comparable, check_strengths, method_for, preset, resolve
from likeness.profile import METHODS, PRESETS, BaseSettings, LoraVersion, Sampling, Strengths

from ..fakes import FakeAnalyser, face_picture


@pytest.mark.parametrize(
    ("has_lora", "has_faceid", "method"),
    [(True, True, "lora_faceid"), (True, False, "lora_only"), (False, True, "faceid_only"), (False, False, "img2img")],
)
def test_the_method_follows_from_what_there_is(has_lora: bool, has_faceid: bool, method: str) -> None:
    assert method_for(has_lora, has_faceid) == method
    assert resolve(BaseSettings(), "sd15", has_lora=has_lora, has_faceid=has_faceid).method == method


@pytest.mark.parametrize(
    ("name", "method", "lora", "face", "cfg", "steps", "denoise"),
    [
        ("balanced", "lora_faceid", 0.7, 0.6, 7.0, 25, 1.0),
        ("balanced", "lora_only", 0.8, None, 7.5, 30, 1.0),
        ("balanced", "faceid_only", None, 0.8, 8.0, 30, 1.0),
        ("balanced", "img2img", None, None, 7.5, 30, 0.4),
        ("face_forward", "lora_faceid", 0.7, 0.8, 7.5, 30, 1.0),
        ("double_shortcut", "lora_faceid", 0.7, 0.6, 7.0, 25, 1.0),
    ],
)
def test_the_published_presets(
    name: str, method: str, lora: float | None, face: float | None, cfg: float, steps: int, denoise: float
) -> None:
    strengths, sampling = preset(name, method)  # type: ignore[arg-type]
    if lora is not None:
        assert (strengths.lora_model, strengths.lora_clip) == (lora, lora)
    if face is not None:
        assert strengths.faceid_weight == face
    assert (sampling.cfg, sampling.steps, sampling.denoise) == (cfg, steps, denoise)
    assert (sampling.width, sampling.height, sampling.sampler, sampling.scheduler) == (768, 768, "dpmpp_2m", "karras")
    assert (strengths.start, strengths.end) == (0.0, 1.0)


@pytest.mark.parametrize("method", ["lora_faceid", "faceid_only"])
def test_double_shortcut_ties_the_shortcut_and_the_companion_to_the_weight(method: str) -> None:
    strengths, _ = preset("double_shortcut", method)  # type: ignore[arg-type]
    w = strengths.faceid_weight
    assert w > 0
    assert strengths.faceid_weight_v2 == 2 * w
    assert strengths.companion_lora == pytest.approx(0.65 * w)


@pytest.mark.parametrize(
    ("family", "size"), [("sd15", 768), ("other", 768), ("sdxl", 1024), ("flux", 1024), ("kolors", 1024)]
)
def test_a_family_draws_at_its_own_size(family: str, size: int) -> None:
    sampling = resolve(BaseSettings(), family, has_lora=False, has_faceid=False).sampling
    assert (sampling.width, sampling.height) == (size, size)


SETTINGS = BaseSettings(
    preset="face_forward",
    loras=(LoraVersion(file="a.safetensors", version=1),),
    strengths=Strengths(faceid_weight=0.33, end=0.5, source="swept"),
    sampling=Sampling(steps=12, height=640),
)


def test_an_override_beats_the_profile_and_the_profile_beats_the_preset() -> None:
    recipe = resolve(SETTINGS, "sd15", has_lora=True, has_faceid=True, overrides={"lora_model": 0.1})
    assert recipe.strengths.lora_model == 0.1  # override
    assert recipe.strengths.faceid_weight == 0.33  # profile
    assert recipe.strengths.lora_clip == 0.7  # preset
    assert (recipe.strengths.start, recipe.strengths.end) == (0.0, 0.5)
    assert (recipe.sampling.steps, recipe.sampling.height, recipe.sampling.width) == (12, 640, 768)
    assert recipe.sampling.cfg == 7.5


@pytest.mark.parametrize("field", sorted(asdict(preset("balanced", "lora_faceid")[0])))
def test_every_strength_can_be_overridden(field: str) -> None:
    value = 0.25 if field != "end" else 0.75
    recipe = resolve(SETTINGS, "sd15", has_lora=True, has_faceid=True, overrides={field: value})
    assert getattr(recipe.strengths, field) == value
    assert recipe.source == "hand"


@pytest.mark.parametrize(
    ("extra", "source"),
    [({}, "swept"), ({"preset_name": "balanced"}, "preset"), ({"overrides": {"start": 0.1}}, "hand")],
)
def test_the_recipe_says_where_its_strengths_came_from(extra: dict, source: str) -> None:
    assert resolve(SETTINGS, "sd15", has_lora=True, has_faceid=True, **extra).source == source


def test_a_named_preset_replaces_the_profiles_strengths() -> None:
    recipe = resolve(SETTINGS, "sd15", has_lora=True, has_faceid=True, preset_name="balanced")
    assert (recipe.strengths.faceid_weight, recipe.strengths.end) == (0.6, 1.0)
    assert recipe.sampling.steps == 25
    kept = resolve(SETTINGS, "sd15", has_lora=True, has_faceid=True)
    assert kept.sampling.steps == 12


def test_a_zero_in_the_profile_is_a_value_and_not_a_gap() -> None:
    settings = BaseSettings(strengths=Strengths(faceid_weight=0.0, end=0.0), sampling=Sampling(denoise=0.0))
    recipe = resolve(settings, "sd15", has_lora=False, has_faceid=True)
    assert (recipe.strengths.faceid_weight, recipe.strengths.end, recipe.sampling.denoise) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("has_lora", "has_faceid"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_method_without_its_assets_is_refused_with_the_remedy(method: str, has_lora: bool, has_faceid: bool) -> None:
    possible = (has_lora or "lora" not in method) and (has_faceid or "faceid" not in method)
    settings = BaseSettings(method=method)  # type: ignore[arg-type]
    if possible:
        assert resolve(settings, "sd15", has_lora=has_lora, has_faceid=has_faceid).method == method
    else:
        with pytest.raises(LikenessError, match=r"needs a .*sd15.*choose method auto"):
            resolve(settings, "sd15", has_lora=has_lora, has_faceid=has_faceid)


@pytest.mark.parametrize(
    ("method", "lora", "faceid"),
    [("lora_faceid", True, True), ("lora_only", True, False), ("faceid_only", False, True), ("img2img", False, False)],
)
def test_a_recipe_says_what_it_uses(method: str, lora: bool, faceid: bool) -> None:
    recipe = resolve(BaseSettings(), "sd15", has_lora=True, has_faceid=True, method=method)  # type: ignore[arg-type]
    assert (recipe.uses_lora, recipe.uses_faceid) == (lora, faceid)


@pytest.mark.parametrize("overrides", [{"start": 0.9, "end": 0.1}, {"lora": 1.0}])
def test_a_wrong_override_is_named(overrides: dict) -> None:
    with pytest.raises(LikenessError, match=r"swap start and end|Unknown strength lora:.*known are"):
        check_strengths(preset("balanced", "lora_faceid")[0], overrides)


def test_words_of_a_graph_become_names_or_nothing() -> None:
    assert [as_preset(p) for p in PRESETS] == list(PRESETS)
    assert [as_method(m) for m in METHODS] == list(METHODS)
    assert as_preset("from profile") is as_preset(None) is as_method("auto") is as_method(None) is None


def test_a_face_that_cannot_steer_never_becomes_img2img_in_silence() -> None:
    reason = "No reference of 'ada' has a face."
    with pytest.raises(LikenessError, match=r"No reference of 'ada' has a face. Or choose method img2img"):
        resolve(BaseSettings(), "sd15", has_lora=False, has_faceid=False, no_faceid=reason)
    asked = resolve(BaseSettings(), "sd15", has_lora=False, has_faceid=False, no_faceid=reason, method="img2img")
    assert asked.method == "img2img"
    assert resolve(BaseSettings(), "sd15", has_lora=True, has_faceid=False, no_faceid=reason).method == "lora_only"


def test_faces_of_two_recognisers_are_not_used_together(ada: Library, analyser: FakeAnalyser) -> None:
    create_character(ada, draft("Bo"), [NamedImage("a", face_picture(2, 0))], FakeAnalyser("antelopev2", 1))
    one, other = open_character(ada, "ada"), open_character(ada, "bo")
    check_comparable(one, one)
    with pytest.raises(FaceError, match=r"Ada was made with face model buffalo_l and Bo with antelopev2"):
        check_comparable(one, other)
    assert other.pipeline is not None
    check_comparable(one, replace(other, pipeline=replace(other.pipeline, recogniser="")))
