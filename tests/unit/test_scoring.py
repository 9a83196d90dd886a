from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from likeness.calibration import Band
from likeness.character import Character, open_character
from likeness.errors import FaceError, LikenessError
from likeness.faces.face import Face, Pose, Quality, cosine, same_face
from likeness.identity import ReferenceFace
from likeness.images import RGB8
from likeness.library import Library
from likeness.profile import Profile, Reference
from likeness.scoring import (
    Judge,
    Look,
    Score,
    consistency_rate,
    judge_for,
    mean_similarity,
    score_images,
    summary,
    unreadable,
)

from ..fakes import PIPELINE, FakeAnalyser, empty_picture, face_picture, group_picture, make_face


def character(*shots: int) -> Character:
    files = [f"references/{i}.png" for i in range(len(shots))]
    profile = Profile(name="Ada", slug="ada", references=tuple(Reference(file=f) for f in files))
    faces = tuple(ReferenceFace(f, 1.0, make_face(1, shot)) for f, shot in zip(files, shots, strict=True))
    pipeline = replace(PIPELINE, recogniser=FakeAnalyser().pipeline.recogniser)
    return Character(profile, None, pipeline, faces, ())


ADA = character(0, 1, 2)


def judge(**options: object) -> Judge:
    return judge_for(ADA, FakeAnalyser(), **{"gate": NeverDrawn(), **options})  # type: ignore[arg-type]


def scores(*pictures: RGB8, by: Judge | None = None) -> list[Score]:
    named = [(f"image {i}", p) for i, p in enumerate(pictures)]
    return score_images(named, FakeAnalyser(), by or judge())


class AlwaysDrawn:
    references_drawn = True

    def drawn(self, face: Face) -> bool:
        return True

    def for_references(self, references: object) -> AlwaysDrawn:
        return self


class NeverDrawn(AlwaysDrawn):
    """The pictures of these tests are plain squares, which the real gate takes for drawings."""

    references_drawn = False

    def drawn(self, face: Face) -> bool:
        return False


class FixedLook:
    name = "CCIP difference"

    def __init__(self, same: bool | None) -> None:
        self.same = same

    def compare(self, picture: RGB8, face: Face | None) -> Look:
        return Look(self.name, 0.12, self.same)


def test_the_score_is_the_cosine_to_the_centroid_and_to_the_nearest_reference() -> None:
    (score,) = scores(face_picture(1, 1))
    assert score.similarity == cosine(make_face(1, 1).embedding, ADA.identity.vector)
    assert score.chosen is not None
    assert (score.chosen.nearest, score.chosen.nearest_similarity) == ("references/1.png", pytest.approx(1.0))
    assert (score.verdict, score.reason, len(score.faces)) == ("accepted", "", 1)


def test_a_picture_without_a_face_has_no_score_which_is_not_zero() -> None:
    (score,) = scores(empty_picture())
    assert score.similarity is None and score.chosen is None and score.verdict == "not measurable"
    assert "no face" in score.reason
    assert score.as_dict()["similarity"] is None


def test_a_stranger_is_rejected_and_the_character_accepted() -> None:
    same, stranger = scores(face_picture(1, 40), face_picture(2, 40))
    assert (same.verdict, stranger.verdict) == ("accepted", "rejected")
    assert same.similarity is not None and stranger.similarity is not None
    assert same.similarity > 0.5 and abs(stranger.similarity) < 0.2
    assert "below 0.350 (not calibrated)" in stranger.reason


def test_the_face_is_picked_by_identity_and_every_face_is_scored() -> None:
    (score,) = scores(group_picture([(2, 0, 0, 2, 34), (1, 0, 34, 2, 32)]))
    assert [f.verdict for f in score.faces] == ["rejected", "accepted"], "largest first"
    assert score.chosen is score.faces[1] and score.verdict == "accepted"


def test_a_tiny_face_in_the_background_does_not_speak_for_the_one_in_front() -> None:
    front, behind = make_face(2, 0, (0, 0, 64)), make_face(1, 0, (70, 0, 12))
    assert judge().score("x", [front, behind]).verdict == "rejected"
    near = make_face(1, 0, (70, 0, 31))
    score = judge().score("x", [make_face(2, 0, (0, 0, 40)), near])
    assert score.verdict == "not measurable" and "too small" in score.reason, "it may well be her"


@pytest.mark.parametrize(
    ("quality", "pose", "why"),
    [
        (Quality(31.0, 200.0, 120.0, 0.0), Pose(0, 0.5, 0), "too small (31 px"),
        (Quality(90.0, 59.0, 120.0, 0.0), Pose(0, 0.5, 0), "blurred"),
        (Quality(90.0, 200.0, 120.0, 0.0), Pose(-0.6, 0.5, 0), "turned away"),
        (Quality(90.0, 200.0, 120.0, 0.0, 0.95), Pose(0, 0.5, 0), "lower half of the face is covered"),
        (Quality(90.0, 200.0, 120.0, 0.0, 0.2), Pose(0, 0.5, 0), "upper half of the face is covered"),
    ],
)
def test_what_cannot_be_judged_is_not_measurable_and_says_why(quality: Quality, pose: Pose, why: str) -> None:
    for person in (1, 2):
        score = judge().score("x", [replace(make_face(person), quality=quality, pose=pose)])
        assert (score.verdict, score.similarity) == ("not measurable", None)
        assert why in score.reason
        assert mean_similarity([score]) is None


def test_a_profile_is_measurable_only_where_a_reference_shows_one() -> None:
    turned = replace(make_face(1, 5), pose=Pose(0.9, 0.5, 0))
    assert judge().score("x", [turned]).verdict == "not measurable"
    with_profile = replace(ADA, faces=(*ADA.faces, ReferenceFace("references/9.png", 1.0, turned)))
    assert judge_for(with_profile, FakeAnalyser(), gate=NeverDrawn()).score("x", [turned]).verdict == "accepted"
    beyond = replace(turned, pose=Pose(1.2, 0.5, 0))
    assert judge_for(with_profile, FakeAnalyser(), gate=NeverDrawn()).score("x", [beyond]).verdict == "not measurable"


@pytest.mark.parametrize("lower", [0.97, 0.1])
def test_a_character_who_always_wears_a_mask_is_measurable_with_it(lower: float) -> None:
    masked = replace(make_face(1, 5), quality=replace(make_face(1).quality, lower=lower))
    assert judge().score("x", [masked]).verdict == "not measurable"
    faces = (*ADA.faces, ReferenceFace("references/9.png", 1.0, masked))
    by = judge_for(replace(ADA, faces=faces), FakeAnalyser(), gate=NeverDrawn())
    assert by.score("x", [masked]).verdict == "accepted"


def test_a_picture_nearer_to_a_reference_than_they_are_to_one_another_is_called_a_copy() -> None:
    copy, other = scores(face_picture(1, 0), face_picture(1, 40))
    assert copy.chosen is not None and other.chosen is not None
    assert (copy.chosen.copy, other.chosen.copy) == (True, False)
    assert "references/0.png itself" in summary([copy])
    near = replace(copy, chosen=replace(copy.chosen, nearest_similarity=0.95))
    assert "a copy of references/0.png?" in summary([near])


def test_a_drawn_face_is_never_accepted_by_an_encoder_of_photos() -> None:
    (score,) = scores(face_picture(1, 0), by=judge(gate=AlwaysDrawn()))
    assert score.verdict == "not measurable" and "drawn" in score.reason
    assert score.similarity is None


def test_a_drawn_face_is_measured_only_when_asked_and_with_a_warning() -> None:
    (score,) = scores(face_picture(1, 0), by=judge(gate=AlwaysDrawn(), measure_drawn=True))
    assert score.verdict == "accepted" and score.chosen is not None and score.chosen.drawn
    assert "careful: a drawn face" in summary([score])


@pytest.mark.parametrize(("same", "verdict"), [(True, "accepted"), (False, "rejected"), (None, "not measurable")])
def test_a_drawn_face_is_judged_by_ccip_and_never_by_mere_looks(same: bool | None, verdict: str) -> None:
    by = judge(gate=AlwaysDrawn(), look=FixedLook(same))
    for picture in (face_picture(1, 0), empty_picture()):
        (score,) = scores(picture, by=by)
        assert score.verdict == verdict
        look = score.look or (score.chosen and score.chosen.look)
        assert look == Look("CCIP difference", 0.12, same)
    assert "CCIP difference 0.120" in summary(scores(face_picture(1, 0), by=by))


def test_a_photographed_character_is_not_judged_by_its_look() -> None:
    (score,) = scores(empty_picture(), by=judge(look=FixedLook(True)))
    assert score.verdict == "not measurable" and score.look is None
    (score,) = scores(face_picture(2, 0), by=judge(look=FixedLook(True)))
    assert score.verdict == "rejected" and score.chosen is not None and score.chosen.look is None


def test_the_encoder_that_steers_is_flagged_and_a_second_one_gives_its_own_figure() -> None:
    assert any("also steers FaceID" in note for note in judge().notes())
    second = FakeAnalyser("auraface", dialect=3)
    parts = replace(
        ADA, folder=None, pipeline=replace(PIPELINE, recogniser=""), faces=ADA.faces
    )  # of an unknown recogniser: taken as they are
    by = judge_for(parts, FakeAnalyser(), second=second, gate=NeverDrawn())
    assert not by.conditions
    by = replace(by, second_vector=make_face(1, 0, dialect=3).embedding)
    score = by.score("x", FakeAnalyser().analyse(face_picture(1, 0)), face_picture(1, 0))
    assert score.chosen is not None and score.chosen.second == pytest.approx(1.0, abs=1e-5)


def test_a_second_encoder_that_is_the_first_is_refused() -> None:
    with pytest.raises(LikenessError, match="no independent figure"):
        judge(second=FakeAnalyser("copy_of_it"))


def test_faces_of_two_encoders_are_the_same_where_their_boxes_overlap() -> None:
    here, moved, elsewhere = make_face(1, 0, (10, 10, 40)), make_face(2, 0, (14, 10, 40)), make_face(1, 0, (60, 10, 40))
    assert same_face(here, [elsewhere, moved]) is moved
    assert same_face(here, [elsewhere]) is None and same_face(here, []) is None


def test_a_threshold_set_by_hand_replaces_the_band() -> None:
    assert judge().band.source == "not calibrated"
    by = judge(threshold=0.99)
    assert by.band == Band(0.99, "set by hand")
    assert scores(face_picture(1, 40), by=by)[0].verdict == "rejected"
    with pytest.raises(LikenessError, match="no cosine"):
        judge(threshold=65)


def test_a_character_without_a_face_cannot_be_judged() -> None:
    with pytest.raises(FaceError, match="no face embedding"):
        judge_for(replace(ADA, faces=()), FakeAnalyser())


def test_a_reference_of_weight_zero_is_never_the_nearest() -> None:
    rows = (ReferenceFace("a", 0.0, make_face(1, 0)), ReferenceFace("b", 1.0, make_face(1, 1)))
    score = judge_for(replace(ADA, faces=rows), FakeAnalyser(), gate=NeverDrawn()).score("x", [make_face(1, 0)])
    assert score.chosen is not None and score.chosen.nearest == "b"


def test_mean_and_rate_leave_out_what_was_not_measured() -> None:
    rows = scores(face_picture(1, 0), empty_picture(), face_picture(2, 1))
    measured = [s.similarity for s in rows if s.similarity is not None]
    assert len(measured) == 2 and mean_similarity(rows) == pytest.approx(sum(measured) / 2)
    assert consistency_rate(rows) == 0.5
    assert mean_similarity([rows[1]]) is None and consistency_rate([rows[1]]) is None


def test_the_summary_has_a_line_a_picture_and_no_percentage() -> None:
    text = summary([*scores(face_picture(1, 40), empty_picture(), face_picture(2, 0)), unreadable("x.png", "damaged")])
    assert "image 0: accepted, 0." in text and "image 1: not measurable: no face" in text
    assert "x.png: not measurable: damaged" in text
    assert "over 2 of 4; 1 accepted, 1 rejected, 2 not measurable" in text
    assert "%" not in text
    assert "no picture could be measured" in summary(scores(empty_picture()))


def test_a_score_for_json_is_plain_and_holds_no_embedding() -> None:
    row = scores(face_picture(1, 0))[0].as_dict()
    assert json.loads(json.dumps(row)) == row
    assert "embedding" not in json.dumps(row) and len(json.dumps(row)) < 1200


def test_nothing_that_is_shown_holds_an_embedding() -> None:
    by = judge()
    (score,) = scores(face_picture(1, 0))
    number = f"{float(np.abs(make_face(1, 0).embedding).max()):.3f}"
    for shown in (repr(by), repr(score)):
        assert "array" not in shown.replace("box=array", "") and number not in shown


def test_progress_counts_and_can_stop_the_run() -> None:
    seen: list[int] = []

    def progress(done: int) -> None:
        seen.append(done)
        if done == 2:
            raise KeyboardInterrupt

    pictures = [("x", face_picture(1, i)) for i in range(4)]
    with pytest.raises(KeyboardInterrupt):
        score_images(pictures, FakeAnalyser(), judge(), progress)
    assert seen == [1, 2]


def test_where_looks_decided_there_is_no_similarity_of_identity() -> None:
    (score,) = scores(face_picture(1, 0), by=judge(gate=AlwaysDrawn(), look=FixedLook(True)))
    assert score.verdict == "accepted" and score.similarity is None and score.as_dict()["similarity"] is None
    assert mean_similarity([score]) is None and "mean" not in summary([score])


class Wrapped(FakeAnalyser):
    """The first encoder in another file."""

    def __init__(self) -> None:
        super().__init__("wrapped")
        self._pipeline = replace(self._pipeline, recogniser="e" * 64)


def test_a_second_encoder_that_puts_faces_where_the_first_does_is_refused(ada: Library) -> None:
    known = open_character(ada, "ada")
    with pytest.raises(LikenessError, match=r"gives the same embeddings as buffalo_l .cosine 1.00"):
        judge_for(known, FakeAnalyser(), second=Wrapped(), gate=NeverDrawn())
    assert judge_for(known, FakeAnalyser(), second=FakeAnalyser("other", 3), gate=NeverDrawn()).second is not None


def test_a_name_cannot_forge_a_line_of_the_report() -> None:
    (score,) = scores(face_picture(1, 0))
    (line, _) = summary([replace(score, name="a\nb.png: accepted, 0.999 \x1b[2J \udcff")]).splitlines()
    assert line.startswith("a\\nb.png") and "\\x1b" in line and line.isprintable()


def test_looks_decide_nothing_of_a_photographed_character_or_a_blurred_face() -> None:
    drawn = judge(gate=AlwaysDrawn(), look=FixedLook(True))
    blurred = replace(make_face(2, 0), quality=Quality(60.0, 5.0, 120.0, 0.0))
    assert drawn.score("x", [blurred], face_picture(2, 0)).verdict == "not measurable"

    class DrawnFaceOfAPhoto(AlwaysDrawn):
        references_drawn = False

    photo = judge(gate=DrawnFaceOfAPhoto(), look=FixedLook(True))
    (score,) = scores(face_picture(2, 0), by=photo)
    assert score.verdict == "not measurable" and score.chosen is not None and score.chosen.look is not None


def test_the_encoder_that_steers_is_named_whichever_place_it_has(ada: Library) -> None:
    known, other = open_character(ada, "ada"), FakeAnalyser("other", 3)
    first = judge_for(known, FakeAnalyser(), second=other, gate=NeverDrawn()).notes()
    assert any("buffalo_l also steers FaceID" in note and "other does not" in note for note in first)
    second = judge_for(known, other, second=FakeAnalyser(), gate=NeverDrawn()).notes()
    assert any("buffalo_l also steers FaceID" in note and "other does not" in note for note in second)
    neither = judge_for(known, other, gate=NeverDrawn()).notes()
    assert not any("steers" in note for note in neither)


def test_a_judge_names_references_that_are_unlike_the_others_and_covered_ones() -> None:
    odd = replace(ADA, faces=(*ADA.faces, ReferenceFace("references/odd.png", 1.0, make_face(9, 0))))
    assert any("odd.png" in note for note in judge_for(odd, FakeAnalyser(), gate=NeverDrawn()).notes())
    face = make_face(1, 0)
    masked = replace(face, quality=replace(face.quality, lower=0.95))
    covered = replace(ADA, faces=(ReferenceFace("references/0.png", 1.0, masked), *ADA.faces[1:]))
    assert any("covered faces are measured" in n for n in judge_for(covered, FakeAnalyser(), gate=NeverDrawn()).notes())
