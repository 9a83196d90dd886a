"""Detail Face and Face Mask in this process: ComfyUI's sampler on a small random UNet, and faces drawn by the test."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from likeness import images as pictures

from ..conftest import ROOT, load_folder
from ..fakes import PIPELINE, FakeAnalyser, empty_picture, group_picture, make_face
from ..unit.report_pictures import ADA, BEN, NeverDrawn

NAMES = (
    "nodes.detail_face",
    "nodes.detail_drawing",
    "nodes.face_mask",
    "nodes.close_up",
    "faceid.window",
    "faceid.patch",
    "faceid.identity_rows",
    "likeness.character",
    "likeness.errors",
    "likeness.identity",
    "likeness.profile",
    "likeness.scoring",
)
SIZE = 64  # px, of the pictures
FACE = (16, 28, 32)  # left, top, size of the one face; its head leaves the first row alone, where the face is written
DRAWING = {"seed": 3, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 0.3}
Drawn = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def pack(comfy: Path) -> SimpleNamespace:
    load_folder("likeness_detail_pack", ROOT)
    found = {n.rsplit(".", 1)[1]: importlib.import_module(f"likeness_detail_pack.{n}") for n in NAMES}
    importlib.import_module("likeness_detail_pack.nodes.host").register_folders()
    return SimpleNamespace(**found)


class Eye(FakeAnalyser):
    """Reads the picture's first row; a face that is red in the middle is somebody else's, and a green one is none."""

    def analyse(self, image: pictures.RGB8) -> tuple[Any, ...]:
        found = []
        for face in super().analyse(image):
            left, top, right, bottom = (int(v) for v in face.box)
            red, green, _ = image[(top + bottom) // 2, (left + right) // 2].astype(int)
            other = make_face(BEN, 1, (left, top, right - left))
            found += [] if green > 200 else [replace(face, embedding=other.embedding) if red > 200 else face]
        return tuple(found)


def ada(pack: SimpleNamespace) -> Any:
    named = [pack.identity.ReferenceFace(f"references/{i}.png", 1.0, make_face(ADA, i)) for i in range(3)]
    pipeline = replace(PIPELINE, recogniser=FakeAnalyser().pipeline.recogniser)
    return pack.character.Character(pack.profile.Profile(name="Ada", slug="ada"), None, pipeline, tuple(named), ())


@pytest.fixture
def judged(pack: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Eye:
    """The judge of every node is this analyser."""
    engine = Eye()
    judge = pack.scoring.judge_for(ada(pack), engine, threshold=0.4, gate=NeverDrawn())
    for module in (pack.detail_face, pack.face_mask):
        monkeypatch.setattr(module, "judge_of", lambda character, **_: (engine, judge))
    return engine


@pytest.fixture
def paints(pack: SimpleNamespace, judged: Eye, monkeypatch: pytest.MonkeyPatch) -> Callable[[Drawn], list[Any]]:
    """Replaces what the model draws of a crop; returns the calls, each (crop, mask, drawing, close_up)."""

    def set_to(drawn: Drawn) -> list[Any]:
        calls: list[Any] = []

        def draw(self: Any, crop: Any, mask: Any, drawing: Any, close_up: Any, shown: Any) -> np.ndarray:
            calls.append(SimpleNamespace(crop=crop, mask=mask, drawing=drawing, close_up=close_up))
            return drawn(crop)

        monkeypatch.setattr(pack.detail_drawing.Painter, "draw", draw)
        monkeypatch.setattr(pack.detail_face, "shows", lambda *_: None)
        return calls

    return set_to


def batch(*made: pictures.RGB8) -> torch.Tensor:
    return torch.stack([torch.from_numpy(pictures.to_float(p)) for p in made])


def of_ada(shot: int = 5, *others: tuple[int, ...]) -> pictures.RGB8:
    return group_picture([(ADA, shot, *FACE), *others])


def run(node: Any, **inputs: Any) -> dict[str, Any]:
    """Outputs by id."""
    ran = node.PREPARE_CLASS_CLONE({"hidden_inputs": {}}).execute(**inputs)
    out = {output.id: value for output, value in zip(node.GET_SCHEMA().outputs, ran.args, strict=True)}
    assert ran.ui["text"] == [out["report"]]
    return out | {"ui": ran.ui}


def detailed(pack: SimpleNamespace, images: torch.Tensor, **options: Any) -> dict[str, Any]:
    kept = images.clone()
    given = {"model": SimpleNamespace(), "vae": None, "positive": [], "negative": [], "character": None}
    out = run(pack.detail_face.DetailFace, **{**given, **DRAWING, "images": images, **options})
    assert torch.equal(torch.nan_to_num(images), torch.nan_to_num(kept)), "inputs are shared and stay"
    assert out["refined"].shape == images.shape and out["mask"].shape == images.shape[:3]
    unchanged = out["mask"] == 0
    assert torch.equal(out["refined"][unchanged], images[unchanged]), "bit for bit"
    assert len(out["SCORES"]) == len(out["BEFORE"]) == len(out["ui"]["likeness_scores"]) == len(images)
    return out


def brighter(crop: np.ndarray) -> np.ndarray:
    """A new texture: light and dark stripes. A new tint would be taken off."""
    stripes = np.where(np.arange(crop.shape[1]) % 2, 0.04, -0.04)[None, :, None]
    return (crop * 0.8 + 0.1 + stripes).clip(0, 1).astype(np.float32)


def coloured(*colour: float) -> Drawn:
    return lambda crop: np.broadcast_to(np.array(colour, dtype=np.float32), crop.shape).copy()


# ---- taken, or left


def test_a_face_that_stays_alike_is_taken_and_the_rest_of_the_picture_stays(
    pack: SimpleNamespace, paints: Callable[[Drawn], list[Any]]
) -> None:
    calls = paints(brighter)
    images = batch(of_ada(), empty_picture())
    out = detailed(pack, images)
    assert len(calls) == 1
    assert float(out["mask"][0, 44, 32]) == 1.0 and not torch.equal(out["refined"][0, 44, 32], images[0, 44, 32])
    assert not out["mask"][1].any() and 0.3 < float(out["mask"][0].mean()) < 0.8
    lines = out["report"].splitlines()
    assert lines[0].startswith("1 of 2 refined")
    assert "refined, similarity" in lines[1] and "drawn at 512 x 512 (8.0 times)" in lines[1]
    assert lines[2] == "image 2 (index 1): left as it was: no face was found in the picture"
    assert out["SCORES"][0].similarity == out["BEFORE"][0].similarity


@pytest.mark.parametrize(
    ("drawn", "says"), [(coloured(1, 0, 0), "would fall"), (coloured(0, 1, 0), "not found any more")]
)
def test_a_face_that_is_less_alike_is_not_taken(
    pack: SimpleNamespace, paints: Callable[[Drawn], list[Any]], drawn: Drawn, says: str
) -> None:
    calls = paints(drawn)
    images = batch(of_ada(5), of_ada(6))
    out = detailed(pack, images)
    assert len(calls) == 2 and torch.equal(out["refined"], images) and not out["mask"].any()
    assert out["report"].splitlines()[0] == "0 of 2 refined" and out["report"].count(says) == 2
    assert [s.similarity for s in out["SCORES"]] == [s.similarity for s in out["BEFORE"]]
    taken = detailed(pack, images, tolerance=2.0)
    assert not torch.equal(taken["refined"], images) and "Nothing was checked" in taken["report"]
    before, after = (taken[name][0].similarity for name in ("BEFORE", "SCORES"))
    assert after is None or after < before - 0.1


def test_what_cannot_be_measured_is_left_with_the_reason_and_no_model_runs(
    pack: SimpleNamespace, paints: Callable[[Drawn], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = paints(brighter)
    small = group_picture([(ADA, 5, 30, 30, 4)])
    images = batch(empty_picture(), small)
    out = detailed(pack, images)
    assert calls == [] and torch.equal(out["refined"], images)
    assert "no face was found" in out["report"] and "the face is too small" in out["report"]
    detailed(pack, images, tolerance=2.0)
    assert len(calls) == 1, "unless nothing is checked"


def test_a_picture_that_is_no_numbers_is_not_taken(pack: SimpleNamespace, paints: Callable[[Drawn], list[Any]]) -> None:
    paints(lambda crop: np.full_like(crop, np.nan))
    images = batch(of_ada())
    out = detailed(pack, images, tolerance=2.0)
    assert torch.equal(out["refined"], images) and "--fp32-vae" in out["report"]


def test_a_face_larger_than_the_model_can_use_is_left(
    pack: SimpleNamespace, paints: Callable[[Drawn], list[Any]]
) -> None:
    calls = paints(brighter)
    large = torch.nn.functional.interpolate(batch(of_ada()).movedim(-1, 1), size=(640, 640)).movedim(1, -1).contiguous()
    large[0, 0, :3] = torch.tensor([[77, 1, 77], [ADA, 5, 0], [160, 200, 255]]) / 255.0
    out = detailed(pack, large, working_size=256, crop_factor=3.0)
    assert calls == [] and "640 px wide, more than 2 times the working size of 256 px" in out["report"]


# ---- which face, which part


def test_the_characters_own_face_is_drawn_or_every_face(
    pack: SimpleNamespace, paints: Callable[[Drawn], list[Any]]
) -> None:
    calls = paints(brighter)
    two = batch(group_picture([(BEN, 2, 32, 28, 32), (ADA, 5, 0, 28, 32)]))
    out = detailed(pack, two)
    assert len(calls) == 1 and out["mask"][0, 44, 16] == 1.0 and out["mask"][0, 44, 56] == 0.0
    out = detailed(pack, two, faces="every face")
    assert len(calls) == 3 and out["mask"][0, 44, 16] == 1.0 and out["mask"][0, 44, 56] == 1.0
    assert "2 faces: " in out["report"] and "strangers may have become like the character" in out["report"]


def test_a_picture_is_refined_in_a_batch_as_alone(pack: SimpleNamespace, paints: Callable[[Drawn], list[Any]]) -> None:
    paints(brighter)
    alone = detailed(pack, batch(of_ada(6)))
    both = detailed(pack, batch(of_ada(5), of_ada(6)))
    assert torch.equal(alone["refined"][0], both["refined"][1])


def test_a_window_lies_around_the_whole_head_and_is_told_to_the_conditioning(
    pack: SimpleNamespace, paints: Callable[[Drawn], list[Any]]
) -> None:
    calls = paints(brighter)
    detailed(pack, batch(of_ada()), crop_factor=1.0)
    assert calls[0].crop.shape == (*calls[0].mask.shape, 3) and calls[0].crop.shape[1] < 60
    left, top, right, bottom = (v * SIZE for v in calls[0].close_up.window)
    assert left <= 5 and top <= 9 and right >= 59 and bottom == SIZE
    assert calls[0].close_up.size == (SIZE, SIZE)


def test_transparent_pixels_and_opacity_stay(pack: SimpleNamespace, paints: Callable[[Drawn], list[Any]]) -> None:
    paints(brighter)
    images = torch.cat([batch(of_ada()), torch.ones(1, SIZE, SIZE, 1)], dim=-1)
    images[:, 40:, :, 3] = 0.0
    out = detailed(pack, images)
    assert torch.equal(out["refined"][..., 3], images[..., 3])
    assert not out["mask"][:, 40:].any() and out["mask"].any()


@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (1, 1, 1, 3), (0, 64, 64, 3)])
def test_tiny_pictures_and_none_come_through(
    pack: SimpleNamespace, paints: Callable[[Drawn], list[Any]], shape: tuple[int, ...]
) -> None:
    paints(brighter)
    assert detailed(pack, torch.zeros(shape))["refined"].shape == shape


def test_a_tiny_picture_that_is_all_face_is_drawn_whole(
    pack: SimpleNamespace, paints: Callable[[Drawn], list[Any]]
) -> None:
    calls = paints(brighter)
    tiny = np.zeros((16, 16, 3), dtype=np.uint8)
    tiny[0, :3] = [(77, 1, 77), (ADA, 5, 0), (4, 4, 8)]
    detailed(pack, batch(tiny), tolerance=2.0)
    assert calls[0].crop.shape == (16, 16, 3) and (calls[0].drawing.width, calls[0].drawing.height) == (128, 128)


def test_the_user_may_stop_between_faces(pack: SimpleNamespace, paints: Callable[[Drawn], list[Any]]) -> None:
    import comfy.model_management as management

    def stops(crop: np.ndarray) -> np.ndarray:
        management.interrupt_current_processing(True)
        return crop

    calls = paints(stops)
    try:
        with pytest.raises(management.InterruptProcessingException):
            detailed(pack, batch(of_ada(5), of_ada(6)))
    finally:
        management.interrupt_current_processing(False)
    assert len(calls) == 1


# ---- ComfyUI's own sampler


class Vae:
    """Folds 8 x 8 pixels into one of four channels, and back."""

    def spacial_compression_encode(self) -> int:
        return 8

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        assert pixels.shape[1] % 8 == pixels.shape[2] % 8 == 0 and pixels.shape[3] == 3
        small = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)
        return torch.cat([small, small.mean(dim=1, keepdim=True)], dim=1) * 2 - 1

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        large = torch.nn.functional.interpolate((latent[:, :3] + 1) / 2, scale_factor=8.0)
        return large.movedim(1, -1)


class VideoVae(Vae):
    """Latents and pictures with frames."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().encode(pixels)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return super().decode(latent)[:, None]


@pytest.fixture(scope="module")
def unets(comfy: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("detail_unets", ROOT / "tests" / "faceid" / "comfy_unet.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def unet(unets: ModuleType) -> Any:
    return unets.small_model("sd15")


def words(seed: int, **about: Any) -> list[Any]:
    return [[torch.randn(1, 77, 768, generator=torch.Generator().manual_seed(seed)), about]]


def sampled(pack: SimpleNamespace, unet: Any, images: torch.Tensor, **options: Any) -> dict[str, Any]:
    given = {"model": unet, "vae": Vae(), "positive": words(1), "negative": words(2), "working_size": 256}
    return detailed(pack, images, **given | {"upscale_limit": 2.0, "tolerance": 2.0} | options)


def test_the_sampler_draws_within_the_mask_and_the_same_seed_gives_the_same_bytes(
    pack: SimpleNamespace, judged: Eye, unet: Any
) -> None:
    images = batch(of_ada())
    first, again = (sampled(pack, unet, images)["refined"] for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, images)
    assert not torch.equal(sampled(pack, unet, images, seed=4)["refined"], first)
    stronger = sampled(pack, unet, images, denoise=0.9)["refined"]
    assert (stronger - images).abs().mean() != (first - images).abs().mean()


def test_beyond_the_mask_the_sampler_draws_nothing(pack: SimpleNamespace, unet: Any) -> None:
    painter = pack.detail_drawing.Painter(unet, Vae(), words(1), words(2), 3, 2, 2.0, "euler", "normal", 0.6)
    crop = batch(of_ada())[0].numpy()
    mask = np.zeros((SIZE, SIZE), dtype=np.float32)
    mask[:, :20] = 0.01
    drawing = SimpleNamespace(width=128, height=128)
    drawn, kept = (painter.draw(crop, m, drawing, close_up(pack), lambda *_: None) for m in (mask, mask * 0))
    assert np.abs(drawn - kept)[:, :20].max() > 0.05, "however faintly it is blended in"
    np.testing.assert_allclose(drawn[:, 32:], kept[:, 32:], atol=1e-5)


def test_a_video_vae_and_a_linked_progress_bar_work(
    pack: SimpleNamespace, judged: Eye, unet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.utils

    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: seen.append((value, total)))
    images = batch(of_ada(5), of_ada(6))
    sampled(pack, unet, images, vae=VideoVae())
    values = [value for value, _ in seen]
    assert values == sorted(values) and seen[-1] == (2 + 2 * (2 + 1), 2 + 2 * (2 + 1))


def test_the_user_may_stop_while_a_face_is_drawn(
    pack: SimpleNamespace, judged: Eye, unet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as management

    steps: list[int] = []

    def shows(bar: Any, done: int, model: Any) -> Callable[..., None]:
        def step(number: int, *_: Any) -> None:
            steps.append(number)
            management.interrupt_current_processing(True)

        return step

    monkeypatch.setattr(pack.detail_face, "shows", shows)
    try:
        with pytest.raises(management.InterruptProcessingException):
            sampled(pack, unet, batch(of_ada()), steps=9)
    finally:
        management.interrupt_current_processing(False)
    assert steps == [0]


# ---- what belongs to the whole picture


def close_up(pack: SimpleNamespace, picture: int = 0) -> Any:
    """The right half of the lower half of a picture of 64 x 32 px."""
    return pack.close_up.CloseUp((0.5, 0.5, 1.0, 1.0), (64, 32), picture)


def test_masks_of_prompts_are_cut_and_prompts_from_elsewhere_left_out(pack: SimpleNamespace) -> None:
    left, right = torch.zeros(1, 8, 16), torch.zeros(1, 8, 16)
    left[..., :8], right[..., 8:] = 1.0, 1.0
    place = close_up(pack)
    conds = [*words(1, mask=left), *words(2, mask=right, mask_strength=0.5)]
    (kept,) = place.conditioning(conds)
    assert kept[0] is conds[1][0] and kept[1]["mask"].shape == (1, 4, 8) and kept[1]["mask"].min() == 1
    assert kept[1]["mask_strength"] == 0.5 and "Masks of prompts" in next(iter(place.notes))
    assert conds[1][1]["mask"].shape == (1, 8, 16), "the input stays"
    (alone,) = place.conditioning(words(1, mask=left))
    assert "mask" not in alone[1], "a face without any prompt would be noise"


def test_a_mask_for_each_picture_gives_this_pictures(pack: SimpleNamespace) -> None:
    masks = torch.arange(1.0, 4.0)[:, None, None].expand(3, 8, 16)
    for picture, expected in ((0, 1.0), (2, 3.0), (9, 3.0)):
        (cond,) = close_up(pack, picture).conditioning(words(1, mask=masks))
        assert cond[1]["mask"].shape == (1, 4, 8) and cond[1]["mask"].unique().tolist() == [expected]


@pytest.mark.parametrize(
    ("area", "expected"),
    [
        (("percentage", 1.0, 0.5, 0.0, 0.5), ("percentage", 1.0, 1.0, 0.0, 0.0)),
        (("percentage", 0.5, 0.5, 0.25, 0.25), ("percentage", 0.5, 0.5, 0.0, 0.0)),
        ((4, 2, 0, 6), ("percentage", 1.0, 0.5, 0.0, 0.5)),  # of 4 x 8 latent pixels
        (("percentage", 0.5, 0.5, 0.0, 0.0), None),
    ],
)
def test_areas_of_prompts_are_cut(pack: SimpleNamespace, area: tuple[Any, ...], expected: Any) -> None:
    other = words(9)
    kept = close_up(pack).conditioning([*words(1, area=area), *other])
    assert len(kept) == (1 if expected is None else 2)
    if expected is not None:
        assert kept[0][1]["area"][0] == "percentage"
        np.testing.assert_allclose(kept[0][1]["area"][1:], expected[1:], atol=1e-6)


def test_a_controlnets_picture_is_cut_once_and_the_chain_before_it(pack: SimpleNamespace) -> None:
    from comfy.controlnet import ControlNet

    def control(value: float) -> Any:
        made = ControlNet(torch.nn.Linear(1, 1), load_device=torch.device("cpu"))
        ramp = torch.arange(64.0)[None, None, None].expand(1, 3, 32, 64) + value
        return made.set_cond_hint(ramp, 0.7, (0.0, 0.5))

    first, last = control(0.0), control(100.0)
    last.set_previous_controlnet(first)
    place = close_up(pack)
    positive, negative = (place.conditioning(words(i, control=last))[0][1]["control"] for i in (1, 2))
    assert positive is negative is not last
    assert positive.cond_hint_original.shape == (1, 3, 16, 32) and float(positive.cond_hint_original[0, 0, 0, 0]) == 132
    assert float(positive.previous_controlnet.cond_hint_original[0, 0, 0, 0]) == 32
    assert positive.strength == 0.7 and positive.timestep_percent_range == (0.0, 0.5)
    assert last.cond_hint_original.shape == (1, 3, 32, 64) and last.previous_controlnet is first


def test_a_control_picture_of_another_shape_is_cropped_as_comfyui_does_and_then_cut(pack: SimpleNamespace) -> None:
    from comfy.controlnet import ControlNet

    square = torch.arange(64.0)[None, None, :, None].expand(1, 3, 64, 64)
    made = ControlNet(torch.nn.Linear(1, 1), load_device=torch.device("cpu")).set_cond_hint(square)
    hint = close_up(pack).conditioning(words(1, control=made))[0][1]["control"].cond_hint_original
    assert hint.shape == (1, 3, 16, 32) and float(hint[0, 0, 0, 0]) == 32, "rows 16 to 48 are the picture's"


def test_what_cannot_be_cut_is_left_out_and_said(pack: SimpleNamespace) -> None:
    place = close_up(pack)
    about = {"control": object(), "gligen": ("position", None, []), "concat_latent_image": 1, "pooled_output": 2}
    (cond,) = place.conditioning(words(1, **about))
    assert cond[1] == {"pooled_output": 2}
    told = " ".join(place.notes)
    assert "ControlNet" in told and "GLIGEN" in told and "inpainting" in told


def face_model(pack: SimpleNamespace, unet: Any, mask: torch.Tensor | None) -> Any:
    identity = pack.identity_rows.IdentityRows("0", SimpleNamespace(), mask)
    model = unet.clone()
    model.add_wrapper_with_key("apply_model", "likeness", pack.patch.StepWrapper(identity, 0.1, 0.9))
    model.add_wrapper_with_key("apply_model", "other", print)
    return model


def held(model: Any) -> list[Any]:
    return model.wrappers["apply_model"]["likeness"]


def test_the_face_of_a_model_acts_in_the_crop_where_it_acts_in_the_picture(pack: SimpleNamespace, unet: Any) -> None:
    mask = torch.zeros(2, 8, 16)
    mask[0, :, 12:], mask[1] = 1.0, 0.5
    model, place = face_model(pack, unet, mask), close_up(pack)
    (cut,) = held(place.model(model))
    assert cut.identity.mask.shape == (1, 4, 8) and cut.identity.mask[0, 0].tolist() == [0] * 4 + [1] * 4
    assert (cut.identity.name, cut.start, cut.end) == ("0", 0.1, 0.9)
    assert held(model)[0].identity.mask is mask, "the model that came in stays"
    (second,) = held(close_up(pack, 1).model(model))
    assert second.identity.mask.unique().tolist() == [0.5]
    assert "face masks were cut" in next(iter(place.notes))


def test_a_model_without_face_masks_is_taken_as_it_is(pack: SimpleNamespace, unet: Any) -> None:
    place = close_up(pack)
    for model in (unet, face_model(pack, unet, None)):
        assert place.model(model) is model
    assert not place.notes


# ---- Face Mask


def masked(pack: SimpleNamespace, images: torch.Tensor, **options: Any) -> dict[str, Any]:
    out = run(pack.face_mask.FaceMask, images=images, character=None, **options)
    assert out["mask"].shape == out["rest"].shape == images.shape[:3]
    return out


def test_a_face_mask_covers_the_face_and_the_rest_is_everything_else(pack: SimpleNamespace, judged: Eye) -> None:
    out = masked(pack, batch(of_ada(), empty_picture()))
    left, top, size = FACE
    assert out["mask"][0, top : top + size, left : left + size].min() == 1.0
    assert float(out["mask"][0, 2, 60]) == 0.0 and not out["mask"][1].any()
    assert torch.equal(out["mask"] + out["rest"], torch.ones(2, SIZE, SIZE))
    face = masked(pack, batch(of_ada()), part="face", feather=0.0)["mask"]
    assert 0 < face.mean() < out["mask"][0].mean() and not face[0, :top].any()
    lines = out["report"].splitlines()
    assert "face 32 px wide at x 32, y 44" in lines[0] and "nothing is masked" in lines[1]


def test_a_grown_mask_is_larger_and_a_shrunk_one_smaller(pack: SimpleNamespace, judged: Eye) -> None:
    sizes = [float(masked(pack, batch(of_ada()), grow=g)["mask"].mean()) for g in (-0.3, 0.0, 0.1, 9.0)]
    assert sizes == sorted(set(sizes)) and sizes[-1] == 1.0


def test_every_face_or_the_characters(pack: SimpleNamespace, judged: Eye) -> None:
    two = batch(group_picture([(BEN, 2, 36, 24, 20), (ADA, 5, 4, 28, 16)]))
    own, every = (masked(pack, two, faces=f, part="face")["mask"][0] for f in ("the character's", "every face"))
    assert own[36, 12] == 1 and own[34, 46] == 0 and every[36, 12] == every[34, 46] == 1


def test_a_face_too_small_to_measure_is_masked_all_the_same(pack: SimpleNamespace, judged: Eye) -> None:
    out = masked(pack, batch(group_picture([(ADA, 5, 30, 30, 4)])))
    assert out["mask"].max() == 1.0 and "too small" in out["report"]


def test_the_face_is_taken_out_of_what_shall_be_edited(pack: SimpleNamespace, judged: Eye) -> None:
    images = batch(of_ada(), of_ada(6))
    edit = torch.zeros(1, 32, 32)
    edit[:, :, :16] = 1.0
    out = masked(pack, images, edit=edit)
    assert out["rest"][:, 2, 2].tolist() == [1, 1] and out["rest"][:, 2, 60].tolist() == [0, 0]
    assert float((out["rest"] * (out["mask"] == 1)).max()) == 0.0
    with pytest.raises(pack.errors.LikenessError, match="3 masks for 2 pictures"):
        masked(pack, images, edit=torch.ones(3, SIZE, SIZE))


@pytest.mark.parametrize("shape", [(0, 64, 64, 3), (1, 16, 16, 3), (1, 16, 16, 4)])
def test_no_pictures_and_tiny_ones_give_masks(pack: SimpleNamespace, judged: Eye, shape: tuple[int, ...]) -> None:
    assert not masked(pack, torch.zeros(shape))["mask"].any()
