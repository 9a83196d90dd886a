from __future__ import annotations

import json

import pytest

from likeness.faces.face import cosine
from likeness.identity import ReferenceFace, identity_of
from likeness.scoring import Score, mean_similarity, score_faces, score_images, summary

from ..fakes import FakeAnalyser, empty_picture, face_picture, group_picture, make_face

REFERENCES = [ReferenceFace(f"references/{i}.png", 1.0, make_face(1, i)) for i in range(3)]
IDENTITY = identity_of(REFERENCES)


def scores(*pictures: object) -> list[Score]:
    named = [(f"image {i}", p) for i, p in enumerate(pictures)]
    return score_images(named, FakeAnalyser(), IDENTITY, REFERENCES)  # type: ignore[arg-type]


def test_the_score_is_the_cosine_to_the_identity() -> None:
    (score,) = scores(face_picture(1, 1))
    assert score.similarity == cosine(make_face(1, 1).embedding, IDENTITY.vector)
    assert (score.nearest, score.nearest_similarity) == ("references/1.png", pytest.approx(1.0))
    assert (score.faces, score.reason) == (1, "")


def test_a_picture_without_a_face_has_no_score_which_is_not_zero() -> None:
    (score,) = scores(empty_picture())
    assert score.similarity is None and score.nearest is None and score.face is None
    assert "no face" in score.reason
    assert score.as_dict()["similarity"] is None


def test_a_stranger_scores_low_and_the_character_high() -> None:
    same, stranger = scores(face_picture(1, 40), face_picture(2, 40))
    assert same.similarity is not None and stranger.similarity is not None
    assert same.similarity > 0.5 and abs(stranger.similarity) < 0.2


def test_the_face_is_picked_by_identity_and_not_by_size() -> None:
    (score,) = scores(group_picture([(2, 0, 0, 2, 40), (1, 0, 44, 2, 16)]))
    assert score.faces == 2
    assert score.face is not None and float(score.face.box[0]) == 44
    assert score.similarity is not None and score.similarity > 0.5


def test_a_reference_of_weight_zero_is_never_the_nearest() -> None:
    rows = [ReferenceFace("a", 0.0, make_face(1, 0)), ReferenceFace("b", 1.0, make_face(1, 1))]
    assert score_faces("x", [make_face(1, 0)], identity_of(rows), rows).nearest == "b"


def test_the_mean_leaves_out_what_was_not_measured() -> None:
    rows = scores(face_picture(1, 0), empty_picture(), face_picture(1, 1))
    measured = [s.similarity for s in rows if s.similarity is not None]
    assert mean_similarity(rows) == pytest.approx(sum(measured) / 2)
    assert mean_similarity([rows[1]]) is None


def test_the_summary_has_a_line_a_picture_and_no_percentage() -> None:
    text = summary(scores(face_picture(1, 0), empty_picture()))
    assert "image 0: 0." in text and "image 1: not measurable" in text and "over 1 of 2" in text
    assert "%" not in text
    assert "no picture could be measured" in summary(scores(empty_picture()))


def test_a_score_for_json_is_plain_and_holds_no_embedding() -> None:
    row = scores(face_picture(1, 0))[0].as_dict()
    assert json.loads(json.dumps(row)) == row
    assert "embedding" not in row and len(json.dumps(row)) < 400


def test_progress_counts_and_can_stop_the_run() -> None:
    seen: list[int] = []

    def progress(done: int) -> None:
        seen.append(done)
        if done == 2:
            raise KeyboardInterrupt

    pictures = [("x", face_picture(1, i)) for i in range(4)]
    with pytest.raises(KeyboardInterrupt):
        score_images(pictures, FakeAnalyser(), IDENTITY, REFERENCES, progress)
    assert seen == [1, 2]
