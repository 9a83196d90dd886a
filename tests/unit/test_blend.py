from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from likeness.blend import blend, blend_report
from likeness.character import Character, open_character, with_encoder
from likeness.create import NamedImage, create_character, draft
from likeness.crops import character_crops
from likeness.errors import FaceError
from likeness.faces.face import cosine
from likeness.library import Library

from ..fakes import FakeAnalyser, face_picture, make_face


def make(library: Library, name: str, person: int, count: int, **texts: str) -> Character:
    pictures = [NamedImage(f"{i}", face_picture(person, i)) for i in range(count)]
    return create_character(library, draft(name, **texts), pictures, FakeAnalyser()).character


@pytest.fixture
def people(library: Library) -> tuple[Character, Character, Character]:
    """With one, three and five references."""
    ada = make(library, "Ada", 1, 1, trigger="adaray", class_word="woman", description="red hair")
    return ada, make(library, "Bo", 2, 3, class_word="man"), make(library, "Cleo", 3, 5, class_word="woman")


def seen_by_an_encoder(character: Character) -> np.ndarray:
    """What FaceID Plus does with the crops' hidden states, on something simpler than CLIP."""
    crops = character_crops(character).reshape(len(character.used), -1)[:, :8].astype(np.float64)
    return np.average(crops, axis=0, weights=[f.weight for f in character.used])


def steered_by(character: Character) -> np.ndarray:
    """FaceID's embedding: the weighted mean of the normed ones."""
    return np.average([f.face.normed for f in character.used], axis=0, weights=[f.weight for f in character.used])


SHARES = [(1, 1, 0), (1, 1, 1), (3, 1, 0), (0.2, 0.3, 0.5), (1e-6, 2e-6, 3e-6), (1e308, 1e308, 1e308)]


@pytest.mark.parametrize("weights", SHARES)
def test_embedding_and_crops_follow_the_shares_whatever_the_number_of_references(
    people: Sequence[Character], weights: Sequence[float]
) -> None:
    made = blend(list(zip(people, weights, strict=True)))
    shares = np.array(weights) / max(weights) / sum(w / max(weights) for w in weights)
    mixed = np.average([p.identity.vector for p in people], axis=0, weights=shares)
    np.testing.assert_allclose(made.identity.vector, mixed / np.linalg.norm(mixed), atol=2e-7)
    np.testing.assert_allclose(steered_by(made), mixed, atol=2e-7)
    crops = np.average([seen_by_an_encoder(p) for p in people], axis=0, weights=shares)
    np.testing.assert_allclose(seen_by_an_encoder(made), crops, atol=1e-9)
    assert sum(f.weight for f in made.used) == pytest.approx(1.0)


def test_what_faceid_is_given_follows_the_shares(people: Sequence[Character]) -> None:
    """Through the projection's own mean, of normed embeddings and of raw ones (Portrait unnorm)."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from faceid.combine import FaceInputs, combine

    made = blend(list(zip(people, (0.5, 0.2, 0.3), strict=True)))
    weights = [f.weight for f in made.used]
    for name in ("normed", "embedding"):
        rows = torch.from_numpy(np.stack([getattr(f.face, name) for f in made.used]))
        given = combine(FaceInputs(rows, None), weights).embedding[0].numpy()
        assert cosine(given, made.identity.vector) > 1 - 1e-7, name


def test_equal_shares_are_equally_like_one_photo_and_five(people: Sequence[Character]) -> None:
    ada, _, cleo = people
    made = blend([(ada, 1), (cleo, 1)])
    alike = [cosine(made.identity.vector, p.identity.vector) for p in (ada, cleo)]
    assert alike[0] == pytest.approx(alike[1], abs=1e-6) and alike[0] > 0.68


def test_plain_references_would_not_share_equally(people: Sequence[Character]) -> None:
    """Why `identity.blend_faces` does not simply mix the references."""
    ada, _, cleo = people
    plain = sum(np.mean([f.face.normed for f in p.used], axis=0) for p in (ada, cleo))
    assert cosine(plain, ada.identity.vector) - cosine(plain, cleo.identity.vector) > 0.1


@pytest.mark.parametrize("weight", [1, 0.3, 10])
def test_all_for_one_is_that_one(people: Sequence[Character], weight: float) -> None:
    for person in people:
        made = blend([(p, weight if p is person else 0) for p in people])
        assert made.identity.digest == person.identity.digest
        assert (made.identity.vector == person.identity.vector).all()
        assert [f.weight for f in made.used] == [f.weight for f in person.used]
        assert all(a.face is b.face for a, b in zip(made.used, person.used, strict=True))


def test_a_share_near_all_is_nearly_that_one(people: Sequence[Character]) -> None:
    ada, bo, _ = people
    made = blend([(ada, 1e-9), (bo, 1)])
    assert cosine(made.identity.vector, bo.identity.vector) > 1 - 1e-7
    np.testing.assert_allclose(seen_by_an_encoder(made), seen_by_an_encoder(bo), atol=1e-6)


def test_order_does_not_matter(people: Sequence[Character]) -> None:
    pairs = list(zip(people, (0.5, 0.2, 0.3), strict=True))
    assert len({blend(list(order)).digest for order in itertools.permutations(pairs)}) == 1


def test_how_blends_are_nested_does_not_matter(people: Sequence[Character]) -> None:
    ada, bo, cleo = people
    flat = blend([(ada, 0.25), (bo, 0.25), (cleo, 0.5)])
    for nested in (
        blend([(blend([(ada, 1), (bo, 1)]), 1), (cleo, 1)]),
        blend([(cleo, 2), (blend([(bo, 7), (ada, 7)]), 2)]),
        blend([(blend([(ada, 1), (cleo, 2)]), 3), (bo, 1)]),
        blend([(blend([(ada, 1), (bo, 1)]), 1), (blend([(cleo, 1)]), 1)]),
    ):
        assert nested.digest == flat.digest
        assert [p.share for p in nested.parts] == [0.25, 0.25, 0.5]


def test_a_character_that_stands_twice_counts_twice(people: Sequence[Character]) -> None:
    ada, bo, _ = people
    assert blend([(ada, 1), (bo, 1), (ada, 1)]).digest == blend([(ada, 2), (bo, 1)]).digest
    assert blend([(ada, 1), (ada, 3)]).identity.digest == ada.identity.digest


def test_weights_of_the_references_count_within_their_character(library: Library) -> None:
    make(library, "Ada", 1, 1)
    make(library, "Bo", 2, 2)
    library.update(
        "bo",
        lambda p: p.model_copy(
            update={"references": (p.references[0].model_copy(update={"weight": 3.0}), p.references[1])}
        ),
    )
    ada, bo = open_character(library, "ada"), open_character(library, "bo")
    assert [f.weight for f in blend([(ada, 1), (bo, 1)]).faces] == [0.5, 0.375, 0.125]
    left_out = replace(bo, faces=(bo.faces[0], replace(bo.faces[1], weight=0.0)))
    assert [f.weight for f in blend([(ada, 1), (left_out, 1)]).faces] == [0.5, 0.5]


def test_raw_embeddings_have_one_length_so_raw_means_follow_the_shares_too(people: Sequence[Character]) -> None:
    ada, bo, _ = people
    long = replace(bo, faces=tuple(replace(f, face=replace(f.face, embedding=f.face.embedding * 3)) for f in bo.faces))
    made = blend([(ada, 1), (long, 1)])
    lengths = [float(np.linalg.norm(f.face.embedding)) for f in made.used]
    mean = (
        np.linalg.norm(ada.faces[0].face.embedding) + np.mean([np.linalg.norm(f.face.embedding) for f in long.used])
    ) / 2
    assert lengths == pytest.approx([float(mean)] * 4, rel=1e-6)


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf, -0.1, None, "x", 10**400])
def test_a_weight_that_is_none_is_refused(people: Sequence[Character], weight: float) -> None:
    with pytest.raises(FaceError, match=r"weight of 'Bo' in the blend is .*: give a number, 0 or more"):
        blend([(people[0], 1.0), (people[1], weight)])


@pytest.mark.parametrize("weights", [(0, 0), (), (0.0,)])
def test_nobody_is_refused(people: Sequence[Character], weights: Sequence[float]) -> None:
    with pytest.raises(FaceError, match="All weights of the blend are 0"):
        blend(list(zip(people, weights, strict=False)))


def test_different_recognisers_are_refused_and_named(people: Sequence[Character], library: Library) -> None:
    other = with_encoder(people[1], FakeAnalyser("auraface", dialect=2))
    with pytest.raises(FaceError, match=r"different recognisers .*ada by buffalo_l, bo by auraface"):
        blend([(people[0], 1), (other, 1)])
    assert blend([(people[0], 1), (other, 0)]).identity.digest == people[0].identity.digest


def test_a_character_without_a_face_is_refused(people: Sequence[Character]) -> None:
    with pytest.raises(FaceError, match="'bo' has no face embedding"):
        blend([(people[0], 1), (replace(people[1], faces=(), pipeline=None), 1)])


def test_a_blend_has_a_face_and_nothing_else_of_its_own(people: Sequence[Character]) -> None:
    ada, bo, cleo = people
    made = blend([(bo, 1), (ada, 1)])
    assert (made.profile.name, made.slug, made.folder) == ("Ada + Bo", "ada_bo", None)
    assert (made.profile.trigger, made.profile.description, made.profile.class_word) == ("", "", "")
    assert made.profile.base == {} and made.profile.references == () and made.reference_image() is None
    assert made.profile.face_model == "buffalo_l" and made.has_crops
    assert [f.file for f in made.faces][:2] == ["ada/references/001.png", "bo/references/001.png"]
    assert blend([(ada, 1), (cleo, 1)]).profile.class_word == "woman"


def test_the_people_of_a_blend_are_no_outliers(people: Sequence[Character]) -> None:
    assert blend([(p, 1) for p in people]).identity.outliers == ()


def test_many_long_names_still_make_a_name(library: Library, people: Sequence[Character]) -> None:
    long = [
        replace(people[0], profile=people[0].profile.model_copy(update={"name": f"{i}" * 80, "slug": f"{i}" * 64}))
        for i in range(9)
    ]
    made = blend([(c, 1) for c in long])
    assert len(made.profile.name) == 80 and len(made.slug) == 64 and len(made.parts) == 9


def test_the_report_says_shares_and_similarities(people: Sequence[Character]) -> None:
    ada, bo, _ = people
    lines = blend_report(blend([(ada, 3), (bo, 1)])).splitlines()
    assert lines[0].startswith("Ada: share 0.75, similarity to the blend 0.9")
    assert lines[1].startswith("Bo: share 0.25, similarity to the blend 0.3")


def test_another_encoder_sees_the_blend_with_its_own_eyes(people: Sequence[Character]) -> None:
    made = blend([(people[0], 1), (people[1], 1)])
    other = FakeAnalyser("auraface", dialect=2)
    seen = with_encoder(made, other)
    assert seen.pipeline == other.pipeline and other.calls == 4
    for person in (1, 2):
        assert cosine(seen.identity.vector, make_face(person, 9, dialect=2).embedding) > 0.35
    assert with_encoder(made, FakeAnalyser()) is made
    assert "Ada + Bo" not in repr(made) and "ada_bo" in repr(made)
