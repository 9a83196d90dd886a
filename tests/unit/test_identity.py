from __future__ import annotations

import numpy as np
import pytest

from likeness.errors import FaceError
from likeness.faces.face import cosine, normalise
from likeness.identity import OUTLIER, ReferenceFace, find_outliers, identity_of, raw_length, weighted_mean

from ..fakes import make_face


def references(people: list[int], weights: list[float] | None = None) -> list[ReferenceFace]:
    weights = weights or [1.0] * len(people)
    return [
        ReferenceFace(f"references/{i + 1:03d}.png", w, make_face(p, i))
        for i, (p, w) in enumerate(zip(people, weights, strict=True))
    ]


def test_the_identity_is_the_mean_of_the_normed_embeddings() -> None:
    faces = references([1, 1, 1])
    expected = normalise(sum(normalise(f.face.embedding).astype(np.float64) for f in faces) / 3)
    assert identity_of(faces).vector == pytest.approx(expected, abs=1e-7)
    assert np.linalg.norm(identity_of(faces).vector) == pytest.approx(1.0, abs=1e-6)


def test_a_long_embedding_does_not_count_more() -> None:
    short, long = make_face(1, 0).normed, make_face(1, 1).normed
    faces = [ReferenceFace("a", 1.0, make_face(1, 0)), ReferenceFace("b", 1.0, make_face(1, 1))]
    object.__setattr__(faces[1].face, "embedding", faces[1].face.embedding * 50)
    assert identity_of(faces).vector == pytest.approx(weighted_mean([short, long], [1, 1]), abs=1e-6)


@pytest.mark.parametrize("weight", [0.5, 2.0, 7.0])
def test_a_weight_counts_as_that_many_pictures(weight: float) -> None:
    a, b = make_face(1, 0).normed, make_face(1, 1).normed
    expected = normalise(a.astype(np.float64) + weight * b.astype(np.float64))
    assert identity_of(references([1, 1], [1.0, weight])).vector == pytest.approx(expected, abs=1e-6)


def test_a_weight_of_zero_leaves_a_picture_out() -> None:
    with_it, without = references([1, 1, 2], [1, 1, 0]), references([1, 1])
    assert (identity_of(with_it).vector == identity_of(without).vector).all()
    assert (identity_of(with_it).count, identity_of(with_it).digest) == (2, identity_of(without).digest)


@pytest.mark.parametrize("faces", [[], references([1], [0.0])])
def test_nobody_has_no_identity(faces: list[ReferenceFace]) -> None:
    with pytest.raises(FaceError, match="add a reference"):
        identity_of(faces)


@pytest.mark.parametrize(("count", "asks"), [(1, True), (2, True), (3, False), (5, False)])
def test_one_reference_works_and_three_to_five_are_asked_for(count: int, asks: bool) -> None:
    identity = identity_of(references([1] * count))
    assert identity.count == count
    assert any("3 to 5" in line for line in identity.advice()) is asks


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("person", [1, 2, 3])
def test_a_clean_set_has_no_outlier(count: int, person: int) -> None:
    assert find_outliers(references([person] * count)) == []


@pytest.mark.parametrize("count", range(4, 9))
@pytest.mark.parametrize("place", [0, 2, -1])
def test_an_intruder_is_named_with_its_picture_and_number(count: int, place: int) -> None:
    people = [1] * count
    people[place] = 2
    (outlier,) = identity_of(references(people)).outliers
    number = place % count + 1
    assert (outlier.number, outlier.file) == (number, f"references/{number:03d}.png")
    assert outlier.similarity < OUTLIER
    text = "\n".join(identity_of(references(people)).advice())
    assert f"Reference {number} (references/{number:03d}.png)" in text and f"{outlier.similarity:.2f}" in text


def test_two_intruders_are_both_found_in_the_order_of_the_profile() -> None:
    assert [o.number for o in find_outliers(references([1, 3, 1, 1, 2, 1]))] == [2, 5]


def test_a_picture_left_out_is_not_judged_and_keeps_its_number() -> None:
    assert [o.number for o in find_outliers(references([9, 1, 1, 1, 2], [0, 1, 1, 1, 1]))] == [5]


def test_of_two_that_differ_neither_is_blamed() -> None:
    assert find_outliers(references([1, 2])) == []


def test_the_mean_of_three_is_nearer_than_one_picture() -> None:
    probe = make_face(1, 50)
    one, three = identity_of(references([1])).vector, identity_of(references([1, 1, 1])).vector
    assert cosine(probe.embedding, three) > cosine(probe.embedding, one)


def test_the_digest_changes_with_what_shapes_the_picture_and_only_then() -> None:
    base = identity_of(references([1, 1])).digest
    assert identity_of(references([1, 1])).digest == base
    assert identity_of(references([1, 1], [1.0, 1.5])).digest != base
    assert identity_of(references([1, 2])).digest != base
    other_crop = references([1, 1])
    object.__setattr__(other_crop[0].face, "crop", other_crop[0].face.crop + 1)
    assert identity_of(other_crop).digest != base
    no_crop = references([1, 1])
    object.__setattr__(no_crop[0].face, "crop", None)
    assert identity_of(no_crop).digest not in (base, identity_of(other_crop).digest)


def test_the_raw_length_is_that_of_the_raw_embeddings_by_weight() -> None:
    faces = references([1, 1, 1], [1.0, 3.0, 0.0])
    for face, length in zip(faces, (10, 20, 1000), strict=True):
        object.__setattr__(face.face, "embedding", face.face.normed * np.float32(length))
    assert raw_length(faces) == pytest.approx(17.5)
    object.__setattr__(faces[0].face, "embedding", faces[0].face.normed)
    assert raw_length(faces) == pytest.approx(20)
    assert raw_length(faces[:1]) == 1.0


def test_five_hundred_references_that_agree_on_nothing_are_judged_quickly() -> None:
    """Every one is an outlier in its turn; the work must not grow with the third power."""
    crowd = [ReferenceFace(f"references/{i:03d}.png", 1.0, make_face(i, 0)) for i in range(500)]
    assert len(find_outliers(crowd)) > 400
