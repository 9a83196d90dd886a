"""A threshold that was set by hand, beside the calibrated one and beside what strangers reach."""

from __future__ import annotations

from dataclasses import replace

import pytest

from likeness.calibration import band_of, calibrate
from likeness.hand_set import HandSet, hand_set, notes_on
from likeness.scoring import FaceScore, Judge, Look, Score, judge_for, unreadable

from ..fakes import FakeAnalyser, make_face
from .report_pictures import NeverDrawn, ada


def judge(threshold: float | None, calibrated: bool = True) -> Judge:
    character = ada(0, 1, 2)
    if calibrated:
        made = calibrate(character, [])
        character = replace(character, profile=character.profile.model_copy(update={"calibrations": (made,)}))
    return judge_for(character, FakeAnalyser(), threshold=threshold, gate=NeverDrawn())


def score(similarity: float, accepted: bool) -> Score:
    verdict = "accepted" if accepted else "rejected"
    face = FaceScore(make_face(1), similarity, "1.png", similarity, verdict, "")  # type: ignore[arg-type]
    return Score("x", verdict, "", (face,), face)  # type: ignore[arg-type]


def test_the_calibrated_threshold_is_known_beside_one_by_hand() -> None:
    about = hand_set(judge(0.8))
    assert about is not None and about.calibrated == round(band_of(judge(0.8).character).low, 4)
    assert about.low == 0.8 and about.strangers < about.calibrated
    without = hand_set(judge(0.8, calibrated=False))
    assert without is not None and without.calibrated is None and 0.2 < without.strangers < 0.3
    assert hand_set(judge(None)) is None and hand_set(judge(None, calibrated=False)) is None


def test_it_says_how_many_the_calibrated_one_would_accept() -> None:
    decided = [(0.9, True), (0.5, False), (0.1, False), (None, True)]
    assert HandSet(0.8, 0.275, 0.24).sentences(decided) == [
        "The threshold 0.800 is set by hand; calibrated is 0.275: 3 of 4 accepted instead of 2."
    ]
    assert HandSet(0.8, None, 0.24).sentences(decided) == [] == HandSet(0.275, 0.275, 0.24).sentences(decided)
    assert HandSet(0.8, 0.275, 0.24).sentences([]) == []


def test_a_threshold_that_strangers_reach_is_named() -> None:
    (said,) = HandSet(0.2, None, 0.24).sentences([])
    assert said.startswith("The threshold 0.200 set by hand is below 0.240, which strangers reach")


def test_a_face_of_another_character_counts_as_a_stranger() -> None:
    character = judge(0.3).character
    (made,) = character.profile.calibrations
    near = made.model_copy(update={"others_max": 0.41})
    character = replace(character, profile=character.profile.model_copy(update={"calibrations": (near,)}))
    about = hand_set(judge_for(character, FakeAnalyser(), threshold=0.3, gate=NeverDrawn()))
    assert about is not None and about.strangers == pytest.approx(0.41)


def test_notes_on_scores_leave_out_what_was_not_measured() -> None:
    low = band_of(judge(None).character).low
    looked = replace(score(0.99, True).faces[0], drawn=True, look=Look("CCIP difference", 0.1, same=True))
    scores = [score(low + 0.01, False), score(low - 0.01, False), unreadable("x", "broken")]
    scores.append(Score("y", "accepted", "", (looked,), looked))
    (said,) = notes_on(judge(0.95), scores)
    assert said.endswith("2 of 3 accepted instead of 1.")
    assert notes_on(judge(None), scores) == []
