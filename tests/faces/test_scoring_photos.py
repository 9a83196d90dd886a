"""Verdicts on real photos, by a real face model; recorded rates are those of benchmarks/accuracy.py."""

from __future__ import annotations

import pytest

from likeness.calibration import Rival, calibrate
from likeness.character import Character
from likeness.faces.analyser import OnnxAnalyser
from likeness.faces.drawn import gate_for
from likeness.faces.face import Face, choose
from likeness.identity import ReferenceFace
from likeness.profile import Profile
from likeness.scoring import Judge, judge_for

Analysed = dict[str, tuple[Face, ...]]
PEOPLE = ("obama", "vlado", "person_a", "person_b", "cgi_ai")
HELD_BACK = 1  # the last picture of each person is no reference


def files_of(analysed: Analysed, person: str) -> list[str]:
    return sorted(name for name in analysed if name.startswith(f"{person}/") and "partial" not in name)


@pytest.fixture(scope="module")
def judges(analysed: Analysed, analyser: OnnxAnalyser) -> dict[str, Judge]:
    """One calibrated judge per person, each the others' rival."""
    people = {p: _character(p, analysed, analyser) for p in PEOPLE}
    judged = {}
    for name, person in people.items():
        rivals = [
            Rival(o, c.identity.vector, tuple(f.face.embedding for f in c.used)) for o, c in people.items() if o != name
        ]
        made = calibrate(person, rivals)
        known = Character(
            person.profile.model_copy(update={"calibrations": (made,)}), None, person.pipeline, person.faces, ()
        )
        judged[name] = judge_for(known, analyser, gate=gate_for(analyser))
    return judged


def _character(name: str, analysed: Analysed, analyser: OnnxAnalyser) -> Character:
    files = files_of(analysed, name)
    chosen = {f: choose(analysed[f]) for f in (files[:-HELD_BACK] if len(files) > 3 else files)}
    faces = tuple(ReferenceFace(f, 1.0, face) for f, face in chosen.items() if face is not None)
    return Character(Profile(name=name, slug="person"), None, analyser.pipeline, faces, ())


@pytest.mark.parametrize("person", PEOPLE)
def test_a_photo_held_back_is_accepted_and_everybody_else_rejected(
    person: str, judges: dict[str, Judge], analysed: Analysed
) -> None:
    judge = judges[person]
    assert judge.band.source == "calibrated" and 0.2 < judge.band.low < 0.5
    own = files_of(analysed, person)[-HELD_BACK:]
    assert [judge.score(f, analysed[f]).verdict for f in own] == ["accepted"] * len(own)
    others = [
        f for p in ("biden", "alex_lacamoire", "astronaut", *PEOPLE) if p != person for f in files_of(analysed, p)
    ]
    assert {judge.score(f, analysed[f]).verdict for f in others} <= {"rejected", "not measurable"}


@pytest.mark.parametrize(
    ("variant", "why"),
    [("face20px.jpg", "too small"), ("blur.jpg", "blurred"), ("lower_face_covered.jpg", "lower half")],
)
def test_a_spoilt_picture_of_the_character_is_not_measurable_rather_than_rejected(
    variant: str, why: str, judges: dict[str, Judge], analysed: Analysed
) -> None:
    for person in ("obama", "person_a"):
        score = judges[person].score(variant, analysed[f"variants/obama_{variant}"])
        assert (score.verdict, score.similarity) == ("not measurable", None) and why in score.reason


@pytest.mark.parametrize("turn", ["rot90", "rot180", "rot270", "gray", "tight_crop", "aligned112"])
def test_a_turned_grey_or_tightly_cut_picture_is_measured(
    turn: str, judges: dict[str, Judge], analysed: Analysed
) -> None:
    name = next(f for f in analysed if f.startswith(f"variants/obama_{turn}."))
    score = judges["obama"].score(turn, analysed[name])
    assert score.verdict == "accepted", score.reason


def test_a_picture_without_a_person_is_not_measurable(judges: dict[str, Judge], analysed: Analysed) -> None:
    for name in (f for f in analysed if f.startswith("no_face/")):
        assert judges["obama"].score(name, analysed[name]).verdict == "not measurable"


def test_a_drawn_character_is_never_called_the_same_person(analysed: Analysed, analyser: OnnxAnalyser) -> None:
    sprites = [f for f in analysed if f.startswith("anime_") and analysed[f]]
    assert len(sprites) >= 8
    faces = tuple(ReferenceFace(f, 1.0, choose(analysed[f])) for f in sprites if "sylvie_blue" in f)  # type: ignore[arg-type]
    drawn = Character(Profile(name="Sylvie", slug="sylvie"), None, analyser.pipeline, faces, ())
    by = judge_for(drawn, analyser, gate=gate_for(analyser))
    without = judge_for(drawn, analyser, measure_drawn=True)
    assert [without.score(f, analysed[f]).verdict for f in sprites if "lucy" in f] == ["accepted", "accepted"], (
        "what the gate is for: two other characters would pass"
    )
    for f in sprites:
        score = by.score(f, analysed[f])
        assert score.verdict == "not measurable" and "drawn" in score.reason


def test_photos_are_not_taken_for_drawings(analysed: Analysed, analyser: OnnxAnalyser) -> None:
    gate = gate_for(analyser)
    photos = [f for f in analysed if not f.startswith(("anime_", "no_face/", "variants/"))]
    flagged = [f for f in photos for face in analysed[f][:1] if gate.drawn(face)]
    assert flagged == []
