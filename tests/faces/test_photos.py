"""What the ladder makes of real photos: identities apart, turned faces upright, hard pictures named as hard."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from likeness.faces.face import Face, choose, cosine

PERSONS = ("obama", "biden", "vlado", "person_a", "person_b", "alex_lacamoire", "cgi_ai", "astronaut")
Analysed = dict[str, tuple[Face, ...]]


def test_the_34_same_person_pairs_and_the_266_others_are_apart(analysed: Analysed) -> None:
    """25 photos of 8 people, largest face each. Recorded: same .329 and more, different .181 and less."""
    faces = {n: choose(f) for n, f in analysed.items() if n.split("/")[0] in PERSONS}
    assert all(faces.values()), [n for n, f in faces.items() if f is None]
    same, different = [], []
    for (a, fa), (b, fb) in itertools.combinations(faces.items(), 2):
        assert fa is not None and fb is not None
        pair = same if a.split("/")[0] == b.split("/")[0] else different
        pair.append(cosine(fa.embedding, fb.embedding))
    assert (len(same), len(different)) == (34, 266)
    assert min(same) > 0.30
    assert max(different) < 0.20
    assert np.median(same) > 0.6


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_quarter_turn_is_undone(degrees: int, analysed: Analysed) -> None:
    upright = choose(analysed["obama/obama.jpg"])
    turned = choose(analysed[f"variants/obama_rot{degrees}.jpg"])
    assert upright is not None and turned is not None
    assert cosine(upright.embedding, turned.embedding) > 0.9
    assert f"turn{degrees}" in turned.rung
    expected = {90: 90, 180: 180, 270: -90}[degrees]
    assert abs((turned.pose.roll - expected + 180) % 360 - 180) < 5
    assert 100 < turned.quality.width < 180


@pytest.mark.parametrize("degrees", [30, 45, 135, 210])
def test_any_angle_is_undone(degrees: int, analyser: Any, photos: dict[str, Any], analysed: Analysed) -> None:
    from PIL import Image

    picture = Image.fromarray(photos["person_a/stock-emotions-a-1.jpg"])
    picture.thumbnail((700, 700))
    turned = picture.rotate(degrees, expand=True, resample=Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
    face, upright = choose(analyser.analyse(np.array(turned))), choose(analysed["person_a/stock-emotions-a-1.jpg"])
    assert face is not None and upright is not None
    assert cosine(face.embedding, upright.embedding) > 0.85
    assert face.rung.endswith("level")


@pytest.mark.parametrize(
    ("name", "lowest"),
    [("tight_crop.jpg", 0.8), ("gray.jpg", 0.88), ("lower_face_covered.jpg", 0.6), ("aligned112.png", 0.88)],
)
def test_hard_pictures_still_show_the_person(name: str, lowest: float, analysed: Analysed) -> None:
    face, known = choose(analysed[f"variants/obama_{name}"]), choose(analysed["obama/obama.jpg"])
    assert face is not None and known is not None
    assert cosine(face.embedding, known.embedding) > lowest


def test_a_tight_crop_is_found_by_the_second_size(analysed: Analysed, analyser: Any, photos: dict[str, Any]) -> None:
    assert analyser.analyse_at(photos["variants/obama_tight_crop_1024.jpg"], 640) == ()
    assert analysed["variants/obama_tight_crop_1024.jpg"][0].rung.startswith("256")


def test_blur_and_smallness_show_in_the_quality_not_in_the_score(analysed: Analysed) -> None:
    (blurred,), (small,) = analysed["variants/obama_blur.jpg"], analysed["variants/obama_face20px.jpg"]
    sharp = analysed["obama/obama.jpg"][0]
    assert sharp.quality.sharpness > 150 > 60 > blurred.quality.sharpness
    assert small.quality.width < 32 < 64 < sharp.quality.width
    assert min(blurred.score, small.score) > 0.7


def test_the_group_photo_has_29_faces_largest_first(analysed: Analysed) -> None:
    faces = analysed["multi/solvay1927.jpg"]
    assert len(faces) == 29
    assert [f.area for f in faces] == sorted((f.area for f in faces), reverse=True)
    assert len(analysed["multi/two_people.jpg"]) == 2


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png", "background.jpg"])
def test_a_picture_without_a_face_gives_nothing(name: str, analysed: Analysed) -> None:
    assert analysed[f"no_face/{name}"] == ()


def test_sprites_with_alpha_are_analysed(analysed: Analysed) -> None:
    """Drawn faces may be missed; a picture with transparency must neither fail nor show hidden pixels."""
    sprites = [faces for name, faces in analysed.items() if name.startswith("anime_")]
    assert len(sprites) == 12
    assert 8 <= sum(bool(faces) for faces in sprites) <= 12


def test_every_face_is_whole(analysed: Analysed) -> None:
    for name, face in ((n, f) for n, faces in analysed.items() for f in faces):
        assert face.embedding.shape == (512,) and face.crop.shape == (224, 224, 3), name
        assert np.isfinite([*face.box, *face.keypoints.ravel(), *face.embedding]).all(), name
        assert 0 <= face.quality.clipped <= 1 and 0.5 <= face.score <= 1, name


def test_the_session_is_opened_once_and_names_its_provider(analysed: Analysed, analyser: Any) -> None:
    assert analyser.providers == ("CPUExecutionProvider",)
