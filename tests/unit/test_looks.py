"""Looks of drawn characters: which part of a picture counts, against what, and who decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness.character import Character, open_character
from likeness.errors import FaceError
from likeness.faces.face import Face
from likeness.faces.scrfd import NOTHING, Detections
from likeness.images import RGB8, encode_png
from likeness.library import Library
from likeness.looks import HEAD, LOWER, CcipLook, EmbeddingLook, head_of, look_for
from likeness.profile import Profile, Reference

from ..fakes import make_face

RED, GREEN, BLUE = (250, 20, 20), (20, 250, 20), (20, 20, 250)


def plain(colour: tuple[int, int, int], size: int = 90) -> RGB8:
    return np.full((size, size, 3), colour, np.uint8)


def marked(colour: tuple[int, int, int], spot: tuple[int, int, int]) -> RGB8:
    """A grey picture with a coloured square: left, top, size."""
    picture, (left, top, size) = plain((128, 128, 128)), spot
    picture[top : top + size, left : left + size] = colour
    return picture


class MeanColour:
    """An encoder of its mean colour, from which mid grey is taken. `shown` keeps what it was given."""

    name = "mean colour"

    def __init__(self) -> None:
        self.shown: list[RGB8] = []

    def embed(self, pictures: Sequence[RGB8]) -> Any:
        self.shown += pictures
        return np.stack([p.mean(axis=(0, 1)) - 128 for p in pictures]).astype(np.float32)


class FakeCcip(MeanColour):
    name, threshold = "made up", 0.2

    def features(self, pictures: Sequence[RGB8]) -> Any:
        return self.embed(pictures)

    def differences(self, features: Any) -> Any:
        return np.abs(features[:, None] - features[None]).mean(axis=2) / 255


class FakeYunet:
    def __init__(self, *box: float) -> None:
        self._box = box

    def find(self, picture: RGB8) -> Detections:
        if not self._box:
            return NOTHING
        return Detections(np.array([self._box], np.float32), np.zeros((1, 5, 2), np.float32), np.ones(1, np.float32))


def character(folder: Path, *pictures: RGB8 | None, weights: Sequence[float] = ()) -> Character:
    """One reference per picture; None for one that is gone."""
    references = []
    (folder / "references").mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
        file = f"references/{i:03d}.png"
        references.append(Reference(file=file, weight=weights[i] if weights else 1.0))
        if picture is not None:
            (folder / file).write_bytes(encode_png(picture))
    return Character(Profile(name="Ada", slug="ada", references=tuple(references)), folder, None, (), ())


def test_the_head_is_a_square_of_three_faces_a_little_below_the_face() -> None:
    picture = np.zeros((400, 600, 3), np.uint8)
    picture[..., 0] = np.arange(400)[:, None] // 2
    picture[..., 1] = np.arange(600)[None] // 3
    head = head_of(picture, np.array([200, 100, 240, 150], np.float32))
    side, middle = HEAD * 50, (220, 125 + LOWER * 50)
    assert head.shape == (side, side, 3)
    assert int(head[0, 0, 0]) == int(middle[1] - side / 2) // 2
    assert int(head[0, 0, 1]) == int(middle[0] - side / 2) // 3


def test_a_head_at_the_border_is_cut_and_one_outside_leaves_the_whole_picture() -> None:
    picture = plain(RED)
    assert head_of(picture, np.array([80, 80, 100, 100], np.float32)).shape == (25, 30, 3)
    assert head_of(picture, np.array([500, 500, 540, 540], np.float32)).shape == picture.shape
    assert head_of(picture, None) is picture


def test_ccip_accepts_up_to_its_threshold(tmp_path: Path) -> None:
    look = CcipLook(character(tmp_path, plain(RED), plain(RED)), FakeCcip())  # type: ignore[arg-type]
    same, other = look.compare(plain((240, 20, 20)), None), look.compare(plain(BLUE), None)
    assert (same.name, same.same, same.value) == ("CCIP difference", True, pytest.approx(10 / 3 / 255, abs=1e-4))
    assert (other.same, other.value) == (False, pytest.approx(460 / 3 / 255, abs=1e-4))


def test_one_odd_reference_decides_neither_for_nor_against(tmp_path: Path) -> None:
    look = CcipLook(character(tmp_path, plain(RED), plain(RED), plain(BLUE)), FakeCcip())  # type: ignore[arg-type]
    assert look.compare(plain(RED), None).same is True
    assert look.compare(plain(BLUE), None).same is False


def test_a_look_similarity_has_its_encoders_name_and_decides_nothing(tmp_path: Path) -> None:
    look = EmbeddingLook(character(tmp_path, plain(RED), plain((200, 40, 40))), MeanColour())
    near, far = look.compare(plain((220, 30, 30)), None), look.compare(plain(GREEN), None)
    assert (near.name, near.same, far.same) == ("look similarity (mean colour)", None, None)
    assert near.value > 0.99 > 0.1 > far.value


def test_only_the_head_of_the_picture_counts_where_a_face_or_yunet_tells_it(tmp_path: Path) -> None:
    ada = character(tmp_path, plain(RED))
    picture = marked(RED, (30, 35, 30))
    face = replace(make_face(1), box=np.array([40, 42, 50, 52], np.float32))
    without, found = FakeCcip(), FakeCcip()
    assert CcipLook(ada, without).compare(picture, None).same is False  # type: ignore[arg-type]
    assert CcipLook(ada, without).compare(picture, face).same is True  # type: ignore[arg-type]
    by_yunet = CcipLook(ada, found, lambda: FakeYunet(40, 42, 50, 52))  # type: ignore[arg-type, return-value]
    assert by_yunet.compare(picture, None).same is True
    assert found.shown[-1].shape == (30, 30, 3)


def test_where_nobody_sees_a_head_the_whole_picture_counts(tmp_path: Path) -> None:
    ccip = FakeCcip()
    look = CcipLook(character(tmp_path, plain(RED)), ccip, lambda: FakeYunet())  # type: ignore[arg-type, return-value]
    look.compare(plain(RED, 70), None)
    assert ccip.shown[-1].shape == (70, 70, 3)


def test_a_reference_is_cut_by_the_face_that_is_stored_with_it(ada: Library) -> None:
    ccip = FakeCcip()
    CcipLook(open_character(ada, "ada"), ccip).compare(plain(RED), None)  # type: ignore[arg-type]
    assert [p.shape for p in ccip.shown[:3]] == [(64, 64, 3)] * 3  # three faces of 32 px, as far as 64 px reach


def test_references_are_read_once_and_not_before_they_are_needed(tmp_path: Path) -> None:
    ccip = FakeCcip()
    look = CcipLook(character(tmp_path, plain(RED), plain(RED)), ccip)  # type: ignore[arg-type]
    assert ccip.shown == []
    for _ in range(3):
        look.compare(plain(RED), None)
    assert len(ccip.shown) == 2 + 3


def test_a_missing_reference_is_left_out_with_a_note(tmp_path: Path) -> None:
    look = CcipLook(character(tmp_path, plain(RED), None), FakeCcip())  # type: ignore[arg-type]
    assert look.compare(plain(RED), None).same is True
    (note,) = look.notes
    assert "without references/001.png" in note and "no such file" in note


def test_without_any_readable_reference_it_says_so(tmp_path: Path) -> None:
    look = EmbeddingLook(character(tmp_path, None), MeanColour())
    with pytest.raises(FaceError, match="No reference picture of 'ada' can be read"):
        look.compare(plain(RED), None)


def test_references_of_weight_zero_do_not_count(tmp_path: Path) -> None:
    look = CcipLook(character(tmp_path, plain(RED), plain(BLUE), weights=(0.0, 1.0)), FakeCcip())  # type: ignore[arg-type]
    assert look.compare(plain(BLUE), None).value == pytest.approx(0, abs=1e-6)


def test_ccip_comes_before_the_encoder_and_nothing_comes_of_nothing(tmp_path: Path) -> None:
    ada, ccip, encoder = character(tmp_path, plain(RED)), FakeCcip(), MeanColour()
    assert isinstance(look_for(ada, ccip=ccip, embedder=encoder), CcipLook)  # type: ignore[arg-type]
    assert isinstance(look_for(ada, embedder=encoder), EmbeddingLook)
    assert look_for(ada) is None


def test_a_character_without_pictures_has_no_look(tmp_path: Path) -> None:
    ccip: Any = FakeCcip()
    assert look_for(replace(character(tmp_path, plain(RED)), folder=None), ccip=ccip) is None
    assert look_for(character(tmp_path / "other", plain(RED), weights=(0.0,)), ccip=ccip) is None


def test_a_face_without_a_place_is_looked_for(tmp_path: Path) -> None:
    ccip = FakeCcip()
    nowhere: Face = replace(make_face(1), box=np.zeros(4, np.float32))
    look = CcipLook(character(tmp_path, plain(RED)), ccip, lambda: FakeYunet(40, 40, 50, 50))  # type: ignore[arg-type, return-value]
    look.compare(plain(RED), nowhere)
    assert ccip.shown[-1].shape == (30, 30, 3)


class Overflowing(MeanColour):
    """Gives no numbers for blue pictures, as an encoder in half precision may."""

    name = "half"

    def embed(self, pictures: Sequence[RGB8]) -> Any:
        vectors = super().embed(pictures)
        vectors[[bool((p == BLUE).all()) for p in pictures]] = (np.nan, np.inf, 1)
        return vectors


class OverflowingCcip(Overflowing, FakeCcip):
    name = "half"


@pytest.mark.parametrize("kind", ["ccip", "embedding"])
def test_a_look_without_numbers_is_not_known(tmp_path: Path, kind: str) -> None:
    def look(character: Character) -> Any:
        return CcipLook(character, OverflowingCcip()) if kind == "ccip" else EmbeddingLook(character, Overflowing())  # type: ignore[arg-type]

    red = look(character(tmp_path, plain(RED)))
    assert red.compare(plain(RED), None) is not None and red.notes == ()
    assert red.compare(plain(BLUE), None) is None
    assert red.compare(plain(BLUE), None) is None
    (note,) = red.notes
    assert "no finite numbers" in note
    mixed = look(character(tmp_path / "mixed", plain(RED), plain(BLUE)))
    assert mixed.compare(plain(RED), None).value == red.compare(plain(RED), None).value, "one reference is enough"
    assert len(mixed.notes) == 1
    none = look(character(tmp_path / "none", plain(BLUE)))
    assert none.compare(plain(RED), None) is None
