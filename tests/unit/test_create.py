from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from likeness import images
from likeness.character import open_character
from likeness.create import NamedImage, add_references, create_character, draft
from likeness.errors import BadNameError, FaceError, LibraryError, ProfileError
from likeness.faces.face import cosine
from likeness.files import TEMP_PREFIX
from likeness.library import Library

from ..fakes import FakeAnalyser, empty_picture, face_picture, group_picture, make_face


def named(*pictures: images.RGB8) -> list[NamedImage]:
    return [NamedImage(f"photo {i + 1}", p) for i, p in enumerate(pictures)]


def contents(library: Library) -> list[str]:
    root = library.roots[0]
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if ".locks" not in p.parts and p.is_file())


def test_pictures_become_a_character_that_opens_without_a_face_model(library: Library, analyser: FakeAnalyser) -> None:
    made = create_character(
        library, draft("Ada Ray", trigger="adaray"), named(*(face_picture(1, i) for i in range(3))), analyser
    )
    assert made.added == ("references/001.png", "references/002.png", "references/003.png")
    (note,) = made.notes
    assert "look drawn" in note, "as the plain squares of these tests do"
    assert made.report() == f"Ada Ray (ada_ray): 3 picture(s) added, 3 in all\n{note}"
    character = open_character(library, "ada_ray")
    assert character.problems == () and character.identity.count == 3
    assert (character.profile.face_model, character.profile.trigger) == ("buffalo_l", "adaray")
    assert character.pipeline == analyser.pipeline and analyser.calls == 3
    assert (images.read(character.folder / "references/002.png") == face_picture(1, 1)).all()
    assert not list(library.roots[0].rglob(f"{TEMP_PREFIX}*"))


def test_one_picture_works_and_more_are_asked_for(library: Library, analyser: FakeAnalyser) -> None:
    made = create_character(library, draft("Ada"), named(face_picture(1, 0)), analyser)
    assert made.character.identity.count == 1
    assert any("3 to 5" in note for note in made.notes)


def test_no_face_at_all_writes_nothing(library: Library, analyser: FakeAnalyser) -> None:
    with pytest.raises(FaceError, match=r"No picture shows a face.*photo 1: no face was found"):
        create_character(library, draft("Ada"), named(empty_picture()), analyser)
    with pytest.raises(FaceError):
        create_character(library, draft("Ada"), [], analyser)
    assert not library.roots[0].exists()


def test_a_picture_without_a_face_is_left_out_and_named(library: Library, analyser: FakeAnalyser) -> None:
    made = create_character(library, draft("Ada"), named(face_picture(1, 0), empty_picture()), analyser)
    assert len(made.added) == 1
    assert "photo 2: no face was found, so it was left out." in made.notes


def test_the_same_picture_twice_counts_once(library: Library, analyser: FakeAnalyser) -> None:
    made = create_character(library, draft("Ada"), named(face_picture(1, 0), face_picture(1, 0)), analyser)
    assert len(made.added) == 1 and any("photo 2: the character has this picture already" in n for n in made.notes)


def test_of_two_faces_the_one_in_the_other_pictures_is_taken(library: Library, analyser: FakeAnalyser) -> None:
    both = group_picture([(2, 0, 0, 2, 40), (1, 0, 44, 2, 16)])
    made = create_character(library, draft("Ada"), named(both, face_picture(1, 1)), analyser)
    assert cosine(made.character.faces[0].face.embedding, make_face(1, 0).embedding) > 0.99
    assert any("photo 1: 2 faces; the one most like the other pictures" in n for n in made.notes)


def test_of_two_faces_alone_the_largest_is_taken_and_said_so(library: Library, analyser: FakeAnalyser) -> None:
    both = group_picture([(1, 0, 44, 2, 16), (2, 0, 0, 2, 40)])
    made = create_character(library, draft("Ada"), named(both), analyser)
    assert cosine(made.character.faces[0].face.embedding, make_face(2, 0).embedding) > 0.99
    assert any("photo 1: 2 faces; the largest was taken" in n for n in made.notes)


def test_an_intruder_among_the_pictures_is_named(library: Library, analyser: FakeAnalyser) -> None:
    people = [1, 1, 2, 1]
    made = create_character(library, draft("Ada"), named(*(face_picture(p, i) for i, p in enumerate(people))), analyser)
    assert any(n.startswith("Reference 3 (references/003.png, from ") for n in made.notes)
    assert made.character.profile.references[2].source in " ".join(made.notes)


def test_pictures_of_somebody_else_are_left_out_of_a_character(ada: Library, analyser: FakeAnalyser) -> None:
    """However many there are: several of one stranger would vouch for one another."""
    before = contents(ada)
    strangers = named(*(face_picture(9, shot) for shot in range(6)))
    made = add_references(ada, "ada", strangers, analyser)
    assert made.added == () and contents(ada) == before
    assert sum("does not look like" in note for note in made.notes) == 6
    forced = add_references(ada, "ada", strangers, analyser, unlike=True)
    assert len(forced.added) == 6


def test_a_name_that_is_taken_is_refused_before_any_picture_is_analysed(ada: Library, analyser: FakeAnalyser) -> None:
    before, calls = contents(ada), analyser.calls
    with pytest.raises(LibraryError, match="exists already"):
        create_character(ada, draft("Ada"), named(face_picture(5, 5)), analyser)
    assert (contents(ada), analyser.calls) == (before, calls)


@pytest.mark.parametrize(
    ("name", "extra", "error"),
    [("", {}, BadNameError), ("../x", {}, BadNameError), ("Ada", {"slug": "../x"}, ProfileError), ("Ada",
     {"trigger": "a\nb"}, ProfileError),
     ("Ada", {"colour": "red"}, ProfileError), ("A" * 90, {}, ProfileError)],
)  # fmt: skip
def test_a_draft_with_a_bad_text_is_refused(name: str, extra: dict, error: type) -> None:
    with pytest.raises(error):
        draft(name, **extra)


def test_a_slug_can_be_given_where_the_name_has_no_letters() -> None:
    assert (draft("黒猫", slug="kuro").name, draft("黒猫", slug="kuro").slug) == ("黒猫", "kuro")


def test_more_pictures_join_the_ones_there_are(ada: Library, analyser: FakeAnalyser) -> None:
    calls = analyser.calls
    made = add_references(ada, "ada", named(face_picture(1, 7), face_picture(1, 0), empty_picture()), analyser)
    assert made.added == ("references/004.png",)
    assert analyser.calls == calls + 2
    assert any("photo 2: the character has this picture already" in n for n in made.notes)
    again = open_character(ada, "ada")
    assert [f.file for f in again.faces] == [f"references/00{i}.png" for i in (1, 2, 3, 4)] and again.problems == ()


def test_adding_nothing_usable_is_no_error_and_changes_nothing(ada: Library, analyser: FakeAnalyser) -> None:
    before = contents(ada)
    made = add_references(ada, "ada", named(empty_picture()), analyser)
    assert made.added == () and len(made.notes) == 1 and contents(ada) == before


def test_an_added_group_picture_gives_the_character_and_not_the_largest(ada: Library, analyser: FakeAnalyser) -> None:
    made = add_references(ada, "ada", named(group_picture([(2, 0, 0, 2, 40), (1, 9, 44, 2, 16)])), analyser)
    assert cosine(made.character.faces[3].face.embedding, make_face(1, 9).embedding) > 0.99


def test_a_number_once_used_is_not_used_again(ada: Library, analyser: FakeAnalyser) -> None:
    ada.update("ada", lambda p: p.model_copy(update={"references": p.references[:1]}))
    made = add_references(ada, "ada", named(face_picture(1, 8)), analyser)
    assert made.added == ("references/004.png",)
    assert [f.file for f in open_character(ada, "ada").faces] == ["references/001.png", "references/004.png"]


def test_lost_pictures_do_not_lend_their_names_to_new_ones(ada: Library, analyser: FakeAnalyser) -> None:
    for picture in (ada.folder("ada") / "references").iterdir():
        picture.unlink()
    made = add_references(ada, "ada", named(face_picture(1, 8)), analyser)
    assert made.added == ("references/004.png",) and made.character.identity.count == 4


@pytest.mark.parametrize("damage", ["gone", "broken"])
def test_a_lost_reference_does_not_keep_others_out(ada: Library, analyser: FakeAnalyser, damage: str) -> None:
    lost = ada.folder("ada") / "references/002.png"
    lost.unlink() if damage == "gone" else lost.write_bytes(b"x" * lost.stat().st_size)
    made = add_references(ada, "ada", named(face_picture(1, 8)), analyser)
    assert made.added == ("references/004.png",)


def test_another_face_model_takes_over_the_whole_character(ada: Library) -> None:
    other = FakeAnalyser("antelopev2", dialect=3)
    made = add_references(ada, "ada", named(face_picture(1, 8)), other)
    character = open_character(ada, "ada")
    assert character.profile.face_model == "antelopev2" and character.pipeline == other.pipeline
    assert character.problems == () and made.character.identity.count == 4
    assert cosine(character.faces[0].face.embedding, make_face(1, 0, dialect=3).embedding) > 0.99
    assert character.identity.outliers == ()


def test_pixels_are_kept_as_they_were_given(library: Library, analyser: FakeAnalyser, tmp_path: Path) -> None:
    picture = face_picture(1, 3)
    before = picture.copy()
    create_character(library, draft("Ada"), named(picture), analyser)
    assert (picture == before).all()
    assert np.array_equal(images.read(library.folder("ada") / "references/001.png"), before)
