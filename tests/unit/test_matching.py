from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from likeness import matching
from likeness.character import Character
from likeness.errors import FaceError
from likeness.faces.face import Pose
from likeness.identity import ReferenceFace
from likeness.matching import identify, match
from likeness.profile import Profile

from ..fakes import PIPELINE, make_face


def someone(person: int) -> Character:
    faces = tuple(ReferenceFace(f"references/{i}.png", 1.0, make_face(person, i)) for i in range(3))
    return Character(Profile(name=f"P{person}", slug=f"p{person}"), None, PIPELINE, faces, ())


@pytest.mark.parametrize("block", [1, 50, 16 * 1024 * 1024])
def test_matching_gives_what_one_product_gives_whatever_the_block(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "BLOCK", block)
    rng = np.random.default_rng(5)
    faces, people = rng.standard_normal((37, 16)).astype(np.float32), rng.standard_normal((9, 16)).astype(np.float32)
    unit = [v / np.linalg.norm(v.astype(np.float64), axis=1, keepdims=True) for v in (faces, people)]
    all_of_them = unit[0] @ unit[1].T
    found = match(faces, people)
    assert (found.best == all_of_them.argmax(1)).all()
    ranked = np.sort(all_of_them, axis=1)
    assert np.allclose(found.similarity, ranked[:, -1], atol=1e-6)
    assert np.allclose(found.margin, ranked[:, -1] - ranked[:, -2], atol=1e-6)


def test_one_character_has_no_second_and_no_face_is_no_error() -> None:
    people = np.ones((1, 4), np.float32)
    assert np.isinf(match(np.ones((2, 4), np.float32), people).margin).all()
    assert len(match(np.empty((0, 4), np.float32), people).best) == 0


def test_other_lengths_and_no_characters_are_refused() -> None:
    with pytest.raises(FaceError, match="different face models"):
        match(np.ones((2, 4), np.float32), np.ones((1, 5), np.float32))
    with pytest.raises(FaceError, match="no character"):
        match(np.ones((2, 4), np.float32), np.empty((0, 4), np.float32))


def test_a_face_is_identified_a_stranger_and_a_turned_face_are_not() -> None:
    people = [someone(1), someone(2)]
    her, him, stranger = identify([make_face(1, 9), make_face(2, 9), make_face(3, 9)], people)
    assert (her.slug, him.slug, stranger.slug) == ("p1", "p2", "")
    assert "below 0.350" in stranger.reason and stranger.as_dict()["character"] is None
    (turned,) = identify([replace(make_face(1, 9), pose=Pose(0.8, 0.5, 0))], people)
    assert turned.slug == "" and turned.nearest == "p1" and "turned away" in turned.reason


def test_a_face_between_two_characters_is_nobody() -> None:
    middle = make_face(1, 0).embedding + make_face(2, 0).embedding
    (found,) = identify([replace(make_face(1), embedding=middle)], [someone(1), someone(2)])
    assert found.slug == "" and "nearer than to the second" in found.reason
