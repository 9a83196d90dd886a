from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from likeness import images
from likeness.character import faces_path, lost_references, open_character, state_digest, with_encoder
from likeness.errors import BadNameError, FaceError, ModelMissingError, StorageError
from likeness.faces.codec import decode_faces
from likeness.faces.face import Analyser, cosine
from likeness.files import atomic_write
from likeness.library import Library

from ..fakes import FakeAnalyser, empty_picture, face_picture, make_face


def never(pack: str) -> Analyser:
    pytest.fail(f"the face model {pack!r} was asked for")


def replace_picture(library: Library, file: str, pixels: images.RGB8) -> None:
    atomic_write(library.folder("ada") / file, images.encode_png(pixels))


def faces_file(library: Library) -> Path:
    return library.folder("ada") / "faces" / "buffalo_l.safetensors"


def test_a_complete_character_needs_no_face_model(ada: Library) -> None:
    character = open_character(ada, "ada", never)
    assert character.slug == "ada" and character.identity.count == 3 and character.problems == ()


def test_a_lost_picture_keeps_its_face(ada: Library) -> None:
    (ada.folder("ada") / "references/001.png").unlink()
    assert open_character(ada, "ada", never).identity.count == 3


@pytest.mark.parametrize("damage", [b"", b"garbage" * 100, None])
def test_a_damaged_faces_file_is_computed_again(ada: Library, damage: bytes | None) -> None:
    path = faces_file(ada)
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]) if damage is None else damage)
    analyser = FakeAnalyser()
    character = open_character(ada, "ada", lambda pack: analyser)
    assert analyser.calls == 3 and character.identity.count == 3 and character.problems == ()
    assert decode_faces(path.read_bytes()) is not None
    assert open_character(ada, "ada", never).identity.digest == character.identity.digest


def test_a_damaged_faces_file_without_a_face_model_names_every_picture(ada: Library) -> None:
    faces_file(ada).write_bytes(b"garbage")
    character = open_character(ada, "ada")
    assert not character.has_identity and character.pipeline is None
    assert [p.split()[0] for p in character.problems] == [f"references/00{i}.png" for i in (1, 2, 3)]
    with pytest.raises(FaceError, match=r"'ada' has no face embedding.*references/001\.png"):
        _ = character.identity


def test_a_face_model_that_is_missing_is_a_problem_and_no_crash(ada: Library) -> None:
    faces_file(ada).unlink()

    def missing(pack: str) -> Analyser:
        raise ModelMissingError(f"{pack} is not installed.")

    assert open_character(ada, "ada", missing).problems == ("buffalo_l is not installed.",)


def test_a_replaced_picture_is_analysed_anew(ada: Library) -> None:
    replace_picture(ada, "references/002.png", face_picture(1, 20)[:60])
    analyser = FakeAnalyser()
    character = open_character(ada, "ada", lambda pack: analyser)
    assert analyser.calls == 1
    assert cosine(character.faces[1].face.embedding, make_face(1, 20).embedding) > 0.999
    assert open_character(ada, "ada", never).identity.digest == character.identity.digest


def test_the_face_of_a_replaced_picture_is_not_used_any_more(ada: Library) -> None:
    replace_picture(ada, "references/002.png", empty_picture()[:60])
    for analyse in (None, lambda pack: FakeAnalyser()):
        character = open_character(ada, "ada", analyse)
        assert [f.file for f in character.faces] == ["references/001.png", "references/003.png"]
        assert len(character.problems) == 1 and character.problems[0].startswith(("references/002.png", "002.png"))


def test_faces_that_cannot_be_stored_are_used_all_the_same(ada: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    faces_file(ada).unlink()

    def full(path: Path, data: bytes) -> None:
        raise StorageError("Could not write: the disk is full.")

    monkeypatch.setattr("likeness.character.atomic_write", full)
    analyser = FakeAnalyser()
    character = open_character(ada, "ada", lambda pack: analyser)
    assert character.identity.count == 3 and character.pipeline == analyser.pipeline
    assert character.problems == ("Could not write: the disk is full.",)


def test_another_recogniser_under_the_same_name_replaces_all_faces_when_one_is_missing(ada: Library) -> None:
    replace_picture(ada, "references/002.png", face_picture(1, 20)[:60])
    other = FakeAnalyser(dialect=4)
    character = open_character(ada, "ada", lambda pack: other)
    assert other.calls == 3 and character.pipeline == other.pipeline
    assert character.identity.outliers == ()


def test_faces_stored_meanwhile_by_another_program_are_kept(ada: Library) -> None:
    replace_picture(ada, "references/001.png", face_picture(1, 20)[:60])

    class Slow(FakeAnalyser):
        def analyse(self, image: images.RGB8):  # type: ignore[no-untyped-def]
            from likeness.create import NamedImage, add_references

            if self.calls == 0:
                add_references(ada, "ada", [NamedImage("new", face_picture(1, 9))], FakeAnalyser())
            return super().analyse(image)

    open_character(ada, "ada", lambda pack: Slow())
    assert open_character(ada, "ada", never).identity.count == 4


def test_a_profile_written_by_hand_finds_the_faces_that_were_stored(ada: Library) -> None:
    ada.update("ada", lambda p: p.model_copy(update={"face_model": ""}))
    assert open_character(ada, "ada", never).identity.count == 3


def test_a_face_model_name_is_no_path(ada: Library) -> None:
    ada.update("ada", lambda p: p.model_copy(update={"face_model": "../../outside"}))
    with pytest.raises(BadNameError):
        open_character(ada, "ada")


def test_a_weight_of_zero_leaves_a_picture_out_of_the_identity(ada: Library) -> None:
    ada.update(
        "ada",
        lambda p: p.model_copy(
            update={"references": tuple(r.model_copy(update={"weight": 0.0}) for r in p.references)}
        ),
    )
    character = open_character(ada, "ada", never)
    assert len(character.faces) == 3 and not character.has_identity
    assert isinstance(character.digest, str)


def test_the_picture_to_show_is_the_one_with_the_largest_weight(ada: Library) -> None:
    assert (open_character(ada, "ada").reference_image() == face_picture(1, 0)).all()
    heavy = {"references/003.png": 2.0}
    ada.update(
        "ada",
        lambda p: p.model_copy(
            update={"references": tuple(r.model_copy(update={"weight": heavy.get(r.file, 1.0)}) for r in p.references)}
        ),
    )
    assert (open_character(ada, "ada").reference_image() == face_picture(1, 2)).all()
    ada.update("ada", lambda p: p.model_copy(update={"references": ()}))
    assert open_character(ada, "ada").reference_image() is None


def test_another_encoder_sees_the_character_with_its_own_eyes(ada: Library) -> None:
    character = open_character(ada, "ada")
    same, other = FakeAnalyser(), FakeAnalyser("auraface", dialect=2)
    assert with_encoder(character, same) is character and same.calls == 0
    seen = with_encoder(character, other)
    assert seen.pipeline == other.pipeline and seen.identity.count == 3
    assert cosine(seen.identity.vector, make_face(1, 9, dialect=2).embedding) > 0.5


EDITS = {
    "profile": lambda lib: lib.update("ada", lambda p: p.model_copy(update={"trigger": "other"})),
    "faces": lambda lib: faces_file(lib).write_bytes(b"x"),
    "faces gone": lambda lib: faces_file(lib).unlink(),
    "another pack": lambda lib: faces_path(lib.folder("ada"), "other").write_bytes(b"x"),
    "picture replaced": lambda lib: replace_picture(lib, "references/001.png", face_picture(3, 3)[:50]),
    "picture gone": lambda lib: (lib.folder("ada") / "references/001.png").unlink(),
    "profile gone": lambda lib: (lib.folder("ada") / "profile.toml").unlink(),
}


@pytest.mark.parametrize("edit", EDITS)
def test_the_state_changes_with_an_edit(ada: Library, edit: str) -> None:
    before = state_digest(ada, "ada")
    EDITS[edit](ada)
    assert state_digest(ada, "ada") != before


def test_the_state_stays_without_one(ada: Library) -> None:
    before = state_digest(ada, "ada")
    open_character(ada, "ada", never)
    ada.save(ada.get("ada"))
    for path in ada.folder("ada").rglob("*"):
        os.utime(path, (1, 1))
    (ada.folder("ada") / "identity").mkdir()
    (ada.folder("ada") / "identity" / "sd15.safetensors").write_bytes(b"compiled")
    assert state_digest(ada, "ada") == before


def test_the_digest_of_what_shapes_a_picture(ada: Library) -> None:
    before = open_character(ada, "ada").digest
    assert open_character(ada, "ada").digest == before
    ada.update("ada", lambda p: p.model_copy(update={"description": "red hair"}))
    assert open_character(ada, "ada").digest != before


def test_a_character_of_no_folder(ada: Library) -> None:
    """A blend, or an embedding from a file: everything that asks for its pictures gets a clear answer."""
    opened = open_character(ada, "ada")
    loose = replace(opened, folder=None)
    assert loose.reference_image() is None and lost_references(loose) == []
    assert with_encoder(loose, FakeAnalyser()) is loose
    with pytest.raises(FaceError, match="'Ada' came without a picture"):
        with_encoder(loose, FakeAnalyser("auraface", dialect=2))
    assert loose.digest == opened.digest


def test_whether_every_used_face_has_its_crop(ada: Library) -> None:
    opened = open_character(ada, "ada")
    unseen = replace(opened.faces[0].face, crop=None, box=np.zeros(4, np.float32))  # of no picture that is known
    bare = replace(opened.faces[0], face=unseen)
    assert opened.has_crops and opened.used == opened.faces
    assert not replace(opened, faces=(bare, *opened.faces[1:])).has_crops
    assert replace(opened, faces=(replace(bare, weight=0.0), *opened.faces[1:])).has_crops
    assert not replace(opened, faces=()).has_crops
