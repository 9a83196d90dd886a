from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from likeness.calibration import (
    FALSE_ACCEPT,
    STRANGERS,
    Rival,
    band_of,
    calibrate,
    copy_limit,
    leave_one_out,
    report,
    rivals_of,
    save_calibration,
    strangers,
)
from likeness.character import Character, open_character
from likeness.create import NamedImage, create_character, draft
from likeness.errors import FaceError
from likeness.faces.face import cosine, normalise
from likeness.identity import ReferenceFace
from likeness.library import Library
from likeness.profile import Calibration, Profile, Reference

from ..fakes import PIPELINE, FakeAnalyser, direction, embedding, face_picture, make_face


def character(person: int = 1, shots: int = 4, noise: float = 0.8) -> Character:
    files = [f"references/{i}.png" for i in range(shots)]
    profile = Profile(name="Ada", slug="ada", references=tuple(Reference(file=f) for f in files))
    faces = tuple(
        ReferenceFace(f, 1.0, replace(make_face(person, i), embedding=embedding(person, i, noise)))
        for i, f in enumerate(files)
    )
    return Character(profile, None, PIPELINE, faces, ())


def rival(person: int, slug: str = "bob") -> Rival:
    faces = tuple(embedding(person, i) for i in range(3))
    return Rival(slug, normalise(np.mean([normalise(f) for f in faces], axis=0)), faces)


def calibrated(c: Character, *rivals: Rival) -> Character:
    made = calibrate(c, rivals)
    return replace(c, profile=c.profile.model_copy(update={"calibrations": (made,)}))


def test_leave_one_out_holds_each_reference_against_the_mean_of_the_others() -> None:
    c = character(shots=3)
    a, b, d = (f.face.normed for f in c.faces)
    assert leave_one_out(c.faces)[0] == pytest.approx(cosine(a, (b + d) / 2), abs=1e-6)
    heavy = [replace(c.faces[0]), replace(c.faces[1], weight=3.0), replace(c.faces[2])]
    assert leave_one_out(heavy)[0] == pytest.approx(cosine(a, 3 * b + d), abs=1e-6)
    assert leave_one_out(c.faces[:1]) == []
    assert len(leave_one_out([*c.faces, replace(c.faces[0], weight=0.0)])) == 3


@pytest.mark.parametrize(("dim", "spread"), [(512, 0.072), (128, 0.100), (256, 0.100)])
def test_synthetic_strangers_lie_as_far_away_as_measured_ones_and_always_the_same(dim: int, spread: float) -> None:
    vector = np.random.default_rng(1).standard_normal(dim).astype(np.float32) * 20
    made = strangers(vector)
    assert made.shape == (STRANGERS, dim) and made.dtype == np.float32
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    found = made @ normalise(vector)
    assert found.mean() == pytest.approx(0.015, abs=1e-3) and found.std() == pytest.approx(spread, rel=0.01)
    assert (strangers(vector) == made).all()
    assert abs(float(made[0] @ made[500])) < 0.4, "they differ from one another, too"


def test_the_threshold_lies_where_both_errors_are_equal() -> None:
    made = calibrate(character(shots=5), [])
    reject = NormalDist(made.genuine_mean, made.genuine_spread).cdf(made.threshold)
    accept = 1 - NormalDist(made.impostor_mean, made.impostor_spread).cdf(made.threshold)
    assert reject == pytest.approx(accept, rel=0.05)
    assert made.false_accept <= FALSE_ACCEPT and made.false_reject == pytest.approx(reject, abs=1e-5)
    assert made.impostor_max < made.threshold < made.genuine_min


def test_references_that_hardly_agree_still_keep_strangers_out() -> None:
    made = calibrate(character(shots=4, noise=1.9), [])
    assert made.false_accept <= FALSE_ACCEPT * 1.01
    assert made.threshold >= 0.015 + 3.05 * 0.07


def test_another_character_that_is_near_raises_the_threshold_above_itself() -> None:
    c = character(shots=5)
    half = normalise(0.45 * c.identity.vector + 0.89 * direction(77))
    twin = Rival("twin", half, (half,))
    alone, beside = calibrate(c, []), calibrate(c, [rival(2), twin])
    assert alone.threshold < cosine(half, c.identity.vector) < beside.threshold < beside.genuine_mean
    assert (beside.nearest_character, beside.impostor_count) == ("twin", 4)
    assert beside.margin == pytest.approx(beside.genuine_min - (beside.nearest_similarity or 0), abs=2e-4)
    assert "They are close" in report(beside, "Ada") and "no other character" in report(alone, "Ada")


def test_the_same_person_under_another_name_is_no_impostor_and_that_is_said() -> None:
    c = character(shots=5)
    double = Rival("ada_two", c.identity.vector, tuple(f.face.embedding for f in c.faces))
    made = calibrate(c, [rival(2), double])
    assert made.threshold == pytest.approx(calibrate(c, [rival(2)]).threshold)
    assert made.same_person == "ada_two" and made.impostor_count == 3
    assert made.nearest_character == rival(2).slug, "the nearest that is somebody else"
    assert "the same person under another name, and not counted: ada_two" in report(made, "Ada")


@pytest.mark.parametrize("shots", [1, 2])
def test_below_three_references_it_is_refused(shots: int) -> None:
    with pytest.raises(FaceError, match="needs 3"):
        calibrate(character(shots=shots), [])
    three = character(shots=3)
    unused = replace(three, faces=(replace(three.faces[0], weight=0.0), *three.faces[1:]))
    with pytest.raises(FaceError, match=r"2 usable reference"):
        calibrate(unused, [])


def test_references_of_three_people_are_refused() -> None:
    c = character(shots=3)
    mixed = replace(c, faces=tuple(replace(f, face=make_face(i, 0)) for i, f in enumerate(c.faces)))
    with pytest.raises(FaceError, match="no threshold can tell them apart"):
        calibrate(mixed, [])


def test_faces_of_an_unknown_recogniser_are_refused() -> None:
    with pytest.raises(FaceError, match="unknown which face model"):
        calibrate(replace(character(), pipeline=replace(PIPELINE, recogniser="")), [])


def test_few_references_that_agree_by_luck_do_not_make_the_band_narrow() -> None:
    assert calibrate(character(shots=3, noise=0.2), []).genuine_spread > 0.05


def test_a_band_counts_for_its_encoder_and_its_references_only() -> None:
    c = calibrated(character())
    assert band_of(c).source == "calibrated" and band_of(c).low == c.profile.calibrations[0].threshold
    assert "calibrated" in band_of(c).describe()
    other_encoder = replace(c, pipeline=replace(PIPELINE, recogniser="b" * 64))
    assert band_of(other_encoder).source == "not calibrated"
    other_references = replace(c, faces=c.faces[:3])
    assert "other references" in band_of(other_references).describe()
    heavier = replace(c, faces=(replace(c.faces[0], weight=2.0), *c.faces[1:]))
    assert band_of(heavier).source == "not calibrated"
    assert band_of(c, 0.6).low == 0.6 and band_of(c, 0.6).source == "set by hand"


def test_a_copy_is_nearer_than_the_nearest_pair_and_than_photos_of_one_person_usually_are() -> None:
    c = character(shots=3, noise=1.2)
    pairs = [cosine(a.face.embedding, b.face.embedding) for a in c.faces for b in c.faces if a is not b]
    assert max(pairs) < copy_limit(c) == pytest.approx(np.mean(pairs) + 0.36, abs=1e-5)
    assert copy_limit(replace(c, faces=(*c.faces, c.faces[0]))) < 0.99, "the same picture twice is no pair"
    assert copy_limit(replace(c, faces=c.faces[:1])) == 0.90


def test_references_of_one_moment_leave_room_below_a_copy() -> None:
    burst = character(shots=4, noise=0.2)
    near = max(cosine(a.face.embedding, b.face.embedding) for a in burst.faces for b in burst.faces if a is not b)
    assert 0.94 < near < copy_limit(burst) < 1.0
    assert copy_limit(character(shots=4, noise=0.45)) <= 0.94, "a mirrored copy is still seen"


def test_calibrating_in_a_library_sees_the_others_and_is_saved_once_per_encoder(tmp_path: Path) -> None:
    library = Library([tmp_path])
    for person, name in ((1, "Ada"), (2, "Bob")):
        pictures = [NamedImage(f"{i}.png", face_picture(person, i)) for i in range(3)]
        create_character(library, draft(name, name.lower()), pictures, FakeAnalyser())
    (library.roots[0] / "broken").mkdir()
    (library.roots[0] / "broken" / "profile.toml").write_text("name = ")
    engine = FakeAnalyser()
    rivals, problems = rivals_of(library, "ada", engine)
    assert [(r.slug, len(r.faces)) for r in rivals] == [("bob", 3)]
    assert len(problems) == 1 and "broken was left out" in problems[0]
    ada = open_character(library, "ada", lambda pack: engine)
    for _ in range(2):
        save_calibration(library, "ada", calibrate(ada, rivals))
    (stored,) = library.get("ada").calibrations
    save_calibration(library, "ada", stored.model_copy(update={"recogniser": "c" * 64}))
    assert len(library.get("ada").calibrations) == 2
    assert stored.nearest_character == "bob" and stored.reference_count == 3 and stored.date and stored.tool
    assert band_of(open_character(library, "ada")).source == "calibrated"


def reference(file: str, face_embedding: np.ndarray) -> ReferenceFace:
    return ReferenceFace(file, 1.0, replace(make_face(1, 0), embedding=face_embedding))


def with_copy(c: Character, like: int = 0) -> Character:
    """With one reference more that is nearly the same picture as another."""
    vector = c.faces[like].face.normed + 0.1 * direction(5, 5)
    return replace(c, faces=(*c.faces, reference("references/copy.png", 20 * normalise(vector))))


def test_a_reference_in_two_files_does_not_switch_the_copy_warning_off() -> None:
    c = character(shots=5)
    assert copy_limit(with_copy(c)) == pytest.approx(copy_limit(c), abs=0.02) and copy_limit(with_copy(c)) < 0.97


def test_one_photo_in_three_files_is_no_three_references() -> None:
    c = character(shots=2)
    with pytest.raises(FaceError, match=r"4 usable.*2 of them nearly the same picture"):
        calibrate(with_copy(replace(with_copy(c), faces=with_copy(c).faces), 1), [])
    with_third = with_copy(character(shots=3))
    assert calibrate(with_third, []).genuine_mean == pytest.approx(calibrate(character(shots=3), []).genuine_mean)


def test_one_more_photo_of_the_person_under_another_name_is_no_impostor() -> None:
    c = character(shots=5)
    twin = embedding(1, 77)
    made = calibrate(c, [Rival("again", normalise(twin), (twin,))])
    assert made.same_person == "again" and made.threshold == calibrate(c, []).threshold


def test_a_look_alike_does_not_shut_the_characters_own_pictures_out() -> None:
    c = character(shots=5)
    near = normalise(0.44 * c.identity.vector + np.sqrt(1 - 0.44**2) * direction(8, 8))
    made = calibrate(c, [Rival("near", near, (near,))])
    assert made.threshold <= made.genuine_mean - 2 * made.genuine_spread + 1e-3
    assert made.false_reject < 0.03


def test_the_last_digits_of_an_embedding_the_order_and_all_weights_alike_change_no_band() -> None:
    c = calibrated(character(shots=4))
    noisy = tuple(
        replace(f, weight=2.0, face=replace(f.face, embedding=f.face.embedding * np.float32(1 + 1e-6))) for f in c.faces
    )
    assert band_of(replace(c, faces=noisy[::-1])).source == "calibrated"
    assert band_of(replace(c, faces=(reference(c.faces[0].file, embedding(1, 9)), *c.faces[1:]))).stale


def test_a_threshold_that_was_edited_into_nonsense_is_refused() -> None:
    made = calibrate(character(), [])
    for wrong in (-0.5, 0.99):
        with pytest.raises(ValueError, match="calibrate again"):
            Calibration(**{**made.model_dump(), "threshold": wrong})


def test_references_of_two_people_are_refused_with_their_files() -> None:
    ada, ben = character(1, 3), character(2, 3)
    renamed = tuple(replace(f, file=f"references/b{i}.png") for i, f in enumerate(ben.faces))
    with pytest.raises(FaceError, match=r"look like 2 people \(references/.*b0.png"):
        calibrate(replace(ada, faces=(*ada.faces, *renamed)), [])
