"""Detail Face and Face Mask in a real ComfyUI with stand-in models: what they draw is noise, so no face survives it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from likeness.cli.graphs import ApiGraph, Link
from likeness.errors import ServerError

from .conftest import Running
from .graph_parts import add, create, shows_text
from .test_graphs import STANDIN

JUDGE = {"face_model": "standin", "drawn_faces": "measure"}  # the sample is drawn
PHOTO = "photo_1.png"


@pytest.fixture(scope="module")
def character(server: Running) -> str:
    return create(server, "Detailed")


class Drawn:
    """A picture of the character, Detail Face, and what a run says."""

    def __init__(self, character: str, **detail: Any) -> None:
        self.nodes: ApiGraph = {"1": {"class_type": "LoadImage", "inputs": {"image": PHOTO}}}
        loaded = add(self.nodes, "CheckpointLoaderSimple", ckpt_name=STANDIN["sd15"])
        who = add(self.nodes, "LikenessLoadCharacter", character=character)
        applied = add(
            self.nodes,
            "LikenessApplyCharacter",
            **{"model": loaded, "clip": [loaded[0], 1], "character": who, "strengths": "profile"},
        )
        words = [add(self.nodes, "CLIPTextEncode", clip=[applied[0], 1], text=t) for t in ("natural skin", "blurry")]
        self.detail = add(
            self.nodes,
            "LikenessDetailFace",
            **{
                **{"images": ["1", 0], "model": applied, "vae": [loaded[0], 2], "character": who},
                **{"positive": words[0], "negative": words[1], "seed": 7, "steps": 2, "cfg": 2.0},
                **{"sampler_name": "euler", "scheduler": "normal", "denoise": 0.3, "working_size": 256},
                **JUDGE,
                **detail,
            },
        )
        mask = add(self.nodes, "MaskToImage", mask=[self.detail[0], 1])
        self.saved = [self._saves(link) for link in (["1", 0], self.detail, mask)]
        self.report = shows_text(self.nodes, [self.detail[0], 4])

    def _saves(self, link: Link) -> str:
        return str(add(self.nodes, "SaveImage", images=link, filename_prefix="likeness/detail")[0])

    def run(self, server: Running) -> tuple[list[np.ndarray], str]:
        """Photo, refined picture and mask, int [H, W, 3] each, and the report."""
        result = server.run(self.nodes)
        pictures = [server.picture(result, node).astype(int) for node in self.saved]
        return pictures, result.outputs[self.report]["text"][0]


def test_a_face_that_is_less_alike_is_left_as_it_was(server: Running, character: str) -> None:
    (photo, refined, mask), report = Drawn(character, tolerance=0.0).run(server)
    np.testing.assert_array_equal(refined, photo)
    assert mask.max() == 0
    assert report.startswith("0 of 1 refined") and "left as it was: the " in report


def test_without_a_check_the_face_is_taken_and_nothing_else(server: Running, character: str) -> None:
    drawn = Drawn(character, tolerance=2.0)
    (photo, refined, mask), report = drawn.run(server)
    changed = np.abs(refined - photo).max(axis=2)
    assert changed.max() > 10 and 0 < (mask > 0).mean() < 0.9
    rows, columns = np.nonzero(mask[:, :, 0])
    top, left = max(rows.min() - 2, 0), max(columns.min() - 2, 0)
    changed[top : rows.max() + 3, left : columns.max() + 3] = 0  # a file has 8 bits a pixel, and loses faint ones
    assert changed.max() == 0
    assert report.startswith("1 of 1 refined") and "Nothing was checked" in report
    server.forget()
    again, _ = drawn.run(server)
    np.testing.assert_array_equal(again[1], refined)
    other, _ = Drawn(character, tolerance=2.0, seed=8).run(server)
    assert np.abs(other[1] - refined).max() > 0


def test_a_sampler_that_comfyui_does_not_have_is_refused_before_anything_runs(server: Running, character: str) -> None:
    with pytest.raises(ServerError, match="sampler_name"):
        Drawn(character, sampler_name="no_such_sampler").run(server)


def face_mask(nodes: ApiGraph, picture: Link, character: str, **options: Any) -> Link:
    who = add(nodes, "LikenessLoadCharacter", character=character)
    about = {"images": picture, "character": who, "face_model": "standin"}
    return add(nodes, "LikenessFaceMask", **about, **options)


def redrawn(nodes: ApiGraph, picture: Link, where: Link | None, denoise: float) -> Link:
    """The picture drawn anew, where a mask says so."""
    loaded = add(nodes, "CheckpointLoaderSimple", ckpt_name=STANDIN["sd15"])
    latent = add(nodes, "VAEEncode", pixels=picture, vae=[loaded[0], 2])
    if where is not None:
        latent = add(nodes, "SetLatentNoiseMask", samples=latent, mask=where)
    words = add(nodes, "CLIPTextEncode", clip=[loaded[0], 1], text="a red coat")
    settings = {"seed": 1, "steps": 1, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": denoise}
    sampled = add(nodes, "KSampler", model=loaded, positive=words, negative=words, latent_image=latent, **settings)
    return add(nodes, "VAEDecode", samples=sampled, vae=[loaded[0], 2])


def shown(nodes: ApiGraph, link: Link) -> str:
    return str(add(nodes, "SaveImage", images=link, filename_prefix="likeness/kept")[0])


def test_a_part_is_edited_and_the_face_kept(server: Running, character: str) -> None:
    """Core nodes alone draw and paste; Face Mask takes the face out of what was painted."""
    nodes: ApiGraph = {"1": {"class_type": "LoadImage", "inputs": {"image": PHOTO}}}
    small = add(nodes, "ImageScale", image=["1", 0], upscale_method="area", width=256, height=256, crop="center")
    everything = add(nodes, "SolidMask", value=1.0, width=64, height=64)
    mask = face_mask(nodes, small, character, edit=everything)
    rest = [mask[0], 1]
    drawn = redrawn(nodes, small, rest, 1.0)
    kept = add(nodes, "ImageCompositeMasked", destination=small, source=drawn, mask=rest, x=0, y=0, resize_source=False)
    ids = [shown(nodes, link) for link in (small, kept, add(nodes, "MaskToImage", mask=mask))]
    result = server.run(nodes)
    before, after, face = (server.picture(result, node).astype(int) for node in ids)
    covered = face[:, :, 0] == 255
    assert 0.02 < covered.mean() < 0.9
    np.testing.assert_array_equal(after[covered], before[covered])
    assert np.abs(after - before)[face[:, :, 0] == 0].mean() > 5


def test_a_picture_is_enlarged_and_the_face_kept(server: Running, character: str) -> None:
    nodes: ApiGraph = {"1": {"class_type": "LoadImage", "inputs": {"image": PHOTO}}}
    large = add(nodes, "ImageScale", image=["1", 0], upscale_method="bicubic", width=384, height=384, crop="center")
    mask = face_mask(nodes, large, character, part="face", grow=0.1)
    drawn = redrawn(nodes, large, None, 0.4)
    kept = add(nodes, "ImageCompositeMasked", destination=drawn, source=large, mask=mask, x=0, y=0, resize_source=False)
    ids = [shown(nodes, link) for link in (large, kept, add(nodes, "MaskToImage", mask=mask))]
    result = server.run(nodes)
    before, after, face = (server.picture(result, node).astype(int) for node in ids)
    assert after.shape == (384, 384, 3)
    np.testing.assert_array_equal(after[face[:, :, 0] == 255], before[face[:, :, 0] == 255])
    assert np.abs(after - before)[face[:, :, 0] == 0].mean() > 1
