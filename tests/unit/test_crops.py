from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from likeness.blend import blend
from likeness.character import Character, open_character
from likeness.create import NamedImage, create_character, draft
from likeness.crops import character_crops
from likeness.errors import FaceError
from likeness.faces.align import align, move, similarity
from likeness.library import Library
from likeness.removal import duplicate

from ..fakes import FakeAnalyser, face_picture


@pytest.fixture
def character(ada: Library) -> Character:
    ada.update(
        "ada",
        lambda p: p.model_copy(
            update={"references": (p.references[0].model_copy(update={"weight": 0.0}), *p.references[1:])}
        ),
    )
    return open_character(ada, "ada")


def test_the_stored_crops_of_the_used_references(character: Character) -> None:
    crops = character_crops(character)
    assert (crops.shape, crops.dtype) == ((2, 224, 224, 3), np.uint8)
    assert all((a == f.face.crop).all() for a, f in zip(crops, character.faces[1:], strict=True))


def test_wide_crops_come_from_the_pictures_and_the_stored_points(character: Character) -> None:
    crops = character_crops(character, 256)
    assert (crops.shape, crops.dtype) == ((2, 256, 256, 3), np.uint8)
    for crop, shot in zip(crops, (1, 2), strict=True):
        assert (crop == align(face_picture(1, shot), character.faces[shot].face.keypoints, 256)).all()


def test_the_wide_crop_is_the_same_face_further_away(character: Character) -> None:
    """The eyes of a 256 px crop are 16 px further right than in twice the recogniser's 112 px frame."""
    points = character.faces[1].face.keypoints
    apart = move(points, similarity(points, 256)) - move(points, similarity(points, 224))
    assert np.allclose(apart, [[16, 0]] * 5, atol=1e-4)


def test_a_blends_crops_follow_its_faces(library: Library, character: Character) -> None:
    pictures = [NamedImage("b", face_picture(2, 0))]
    other = create_character(library, draft("Bo"), pictures, FakeAnalyser()).character
    made = blend([(other, 1), (character, 1)])
    for size in (224, 256):
        expected = np.concatenate([character_crops(character, size), character_crops(other, size)])
        assert [f.file.split("/")[0] for f in made.used] == ["ada", "ada", "bo"]
        assert (character_crops(made, size) == expected).all()


def test_a_lost_picture_is_named_where_it_is_needed(ada: Library, character: Character) -> None:
    (ada.folder("ada") / "references/002.png").unlink()
    assert len(character_crops(open_character(ada, "ada"))) == 2
    with pytest.raises(FaceError, match=r"256 px crop needs the reference picture, and references/002.png of 'Ada'"):
        character_crops(open_character(ada, "ada"), 256)
    (ada.folder("ada") / "references/002.png").write_bytes(b"no picture")
    with pytest.raises(FaceError, match=r"002.png .*use the 224 px crop"):
        character_crops(character, 256)


def test_faces_without_a_picture_have_no_crop(character: Character) -> None:
    unseen = replace(character.faces[1].face, crop=None, box=np.zeros(4, np.float32))
    bare = replace(character.faces[1], face=unseen)
    for size in (224, 256):
        with pytest.raises(FaceError, match="'Ada' came without a picture, so an image encoder"):
            character_crops(replace(character, faces=(bare,)), size)
        with pytest.raises(FaceError, match="has no face embedding"):
            character_crops(replace(character, faces=()), size)


def test_a_face_of_which_only_the_vector_is_kept_is_cut_out_of_its_reference_again(
    ada: Library, character: Character
) -> None:
    duplicate(Library(ada.roots, keeps_crops=lambda: False), "ada", "Bare")
    bare = open_character(ada, "bare")
    assert all(f.face.crop is None for f in bare.faces) and bare.has_crops
    assert character_crops(bare).shape == character_crops(character).shape
    (ada.folder("bare") / "references/002.png").unlink()
    assert not open_character(ada, "bare").has_crops


def test_other_sizes_do_not_exist(character: Character) -> None:
    with pytest.raises(ValueError, match="224 or 256 px wide, not 336"):
        character_crops(character, 336)
