"""Several references: every way to combine them against golden_reference.py, and what is refused."""

from __future__ import annotations

import golden_reference as golden
import numpy as np
import pytest
import torch
from golden_reference import array, relative
from random_adapter import embedding, hidden_states, state_dict

import faceid
from faceid import COMBINE, FaceInputs, combine

TOLERANCE = 1e-6
WEIGHTS = [1.0, 0.25, 3.0]


def faces(count: int, image: bool = True, length: float = 1.0) -> FaceInputs:
    """Faces of one person: alike, and each a little different."""
    mixed = torch.cat([embedding(0) + 0.4 * embedding(i) for i in range(1, count + 1)])
    hidden = torch.cat([hidden_states(i) for i in range(count)]) if image else None
    return FaceInputs(length * mixed / mixed.norm(dim=-1, keepdim=True), hidden)


@pytest.mark.parametrize("count", [1, 2, 3, 50])
@pytest.mark.parametrize("mode", COMBINE)
def test_every_mode_equals_its_formula(mode: str, count: int) -> None:
    given = faces(count, image=count < 50)
    weights = (WEIGHTS * count)[:count] if mode in ("identity", "weighted") else None
    for used in (None, weights):
        found = combine(given, used, mode)
        assert relative(found.embedding, golden.combined(array(given.embedding), mode, used)) < TOLERANCE
        image_mode = "weighted" if mode == "identity" else mode
        if given.hidden is None or found.hidden is None:
            assert given.hidden is found.hidden
            continue
        assert relative(found.hidden, golden.combined(array(given.hidden), image_mode, used)) < TOLERANCE


# Of three seeded faces at these weights: norm and first number of the embedding, mean magnitude of the encoding.
RECORDED = {
    "identity": [1.0, 0.05565851, 0.3670653],
    "weighted": [0.9694624, 0.05395883, 0.3670653],
    "average": [0.9524679, 0.06550253, 0.2714799],
    "norm average": [11.2599, 0.5644396, 0.2837692],
    "add": [2.857404, 0.1965076, 0.8144396],
    "subtract": [0.4531367, 0.007827625, 0.5828044],
}


@pytest.mark.parametrize("mode", RECORDED)
def test_modes_equal_recorded_numbers(mode: str) -> None:
    found = combine(faces(3), WEIGHTS, mode)
    assert found.hidden is not None
    numbers = [float(found.embedding.norm()), float(found.embedding[0, 0]), float(found.hidden.abs().mean())]
    assert numbers == pytest.approx(RECORDED[mode], rel=2e-6)


@pytest.mark.parametrize("mode", COMBINE)
def test_a_single_face_stays_as_it_is(mode: str) -> None:
    given = faces(1)
    found = combine(given, [0.3], mode)
    assert torch.equal(found.embedding, given.embedding)
    assert torch.equal(found.hidden, given.hidden)


@pytest.mark.parametrize("length", [1.0, 21.5])
def test_an_identity_is_as_long_as_its_faces(length: float) -> None:
    found = combine(faces(5, length=length))
    assert found.embedding.shape == (1, 512)
    assert float(found.embedding.norm()) == pytest.approx(length, rel=1e-6)
    assert float(combine(faces(5, length=length), mode="average").embedding.norm()) < 0.999 * length


def test_equal_weights_are_no_weights_and_their_size_means_nothing() -> None:
    given = faces(4)
    for mode in ("identity", "weighted"):
        plain = combine(given, mode=mode).embedding
        assert torch.allclose(combine(given, [2.5] * 4, mode).embedding, plain, atol=1e-7)
    by_weight = [combine(given, w, "weighted").embedding for w in ([1, 2, 3, 4], [10, 20, 30, 40])]
    assert torch.allclose(*by_weight, atol=1e-7)
    assert torch.equal(combine(given, [1, 2, 3, 4], "average").embedding, combine(given, mode="average").embedding)


@pytest.mark.parametrize("mode", ["identity", "weighted", "average", "norm average", "add"])
def test_the_order_of_faces_does_not_matter(mode: str) -> None:
    given = faces(6, image=False)
    turned = FaceInputs(given.embedding.flip(0))
    assert torch.allclose(combine(given, mode=mode).embedding, combine(turned, mode=mode).embedding, atol=1e-6)


def test_the_same_picture_twice_is_the_picture_once() -> None:
    once = faces(1)
    twice = FaceInputs(once.embedding.repeat(2, 1), once.hidden.repeat(2, 1, 1))
    for mode in ("identity", "weighted", "average"):
        assert relative(combine(twice, mode=mode).embedding, once.embedding) < TOLERANCE


def test_a_coordinate_that_is_zero_everywhere_gives_zero() -> None:
    given = faces(3)
    given.embedding[:, 7] = 0
    given.hidden[:, 100] = 0
    found = combine(given, mode="norm average")
    assert found.embedding[0, 7] == 0 and not found.hidden[0, 100].any()
    assert relative(found.embedding, golden.combined(array(given.embedding), "norm average")) < TOLERANCE


def test_what_is_given_is_not_changed_and_other_dtypes_are_taken() -> None:
    given = faces(3)
    before = given.embedding.clone()
    for mode in COMBINE:
        combine(given, mode=mode)
    assert torch.equal(given.embedding, before)
    assert combine(FaceInputs(given.embedding.double(), given.hidden.half())).hidden.dtype == torch.float32


one = faces(2)
BAD = {
    "mode": (one, None, "mean", "cannot be combined by 'mean'"),
    "no face": (FaceInputs(torch.empty(0, 512)), None, "identity", r"shape \[0, 512\]"),
    "one row": (FaceInputs(embedding()[0]), None, "identity", r"shape \[512\]; expected \[N, 512\]"),
    "narrow": (FaceInputs(embedding()[:, :256]), None, "identity", r"shape \[1, 256\]"),
    "NaN": (FaceInputs(one.embedding * float("nan")), None, "identity", "face embedding holds NaN"),
    "image NaN": (FaceInputs(one.embedding, one.hidden / 0), None, "add", "image encoding of the face holds NaN"),
    "image shape": (FaceInputs(one.embedding, one.hidden[:, 1:]), None, "add", r"shape \[2, 256, 1280\]"),
    "images": (FaceInputs(one.embedding, one.hidden[:1]), None, "add", "2 face embeddings and 1 image encodings"),
    "few weights": (one, [1.0], "identity", "2 faces and 1 weights"),
    "weight 0": (one, [1.0, 0.0], "identity", "leave out faces of weight 0"),
    "weight below 0": (one, [1.0, -1.0], "weighted", "leave out faces of weight 0"),
    "weight NaN": (one, [1.0, float("nan")], "weighted", "all others are > 0"),
    "opposites": (
        FaceInputs(torch.cat([embedding(), -embedding()])),
        None,
        "identity",
        "cancel each other out",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_combined_gets_one_clear_sentence(case: str) -> None:
    given, weights, mode, message = BAD[case]
    with pytest.raises(faceid.FaceIDError, match=message) as caught:
        combine(given, weights, mode)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


# what adapters make of combined faces


@pytest.mark.parametrize("mode", COMBINE)
def test_every_mode_reaches_the_tokens(mode: str) -> None:
    adapter = faceid.read_adapter(state_dict("sd15"), name="a.bin")
    reference = golden.Reference(state_dict("sd15"))
    given = faces(3, image=False)
    tokens = faceid.identity_tokens(adapter, combine(given, mode=mode), frames=mode == "per image")
    rows = [reference.tokens(e) for e in golden.combined(array(given.embedding), mode)]
    nobody = reference.tokens(golden.array(torch.zeros(512)))
    if mode == "per image":
        assert tokens.base.shape == (2, 3, 4, 768) and tokens.faces == 1
        expected = [rows, [nobody] * 3]
    else:
        assert tokens.base.shape == (2, 1, 4 * len(rows), 768) and tokens.faces == len(rows)
        expected = [[np.concatenate(rows)], [np.concatenate([nobody] * len(rows))]]
    assert relative(tokens.base, np.array(expected)) < 5e-6


@pytest.mark.parametrize("count", [2, 50])
@pytest.mark.parametrize("mode", ["add", "subtract", "norm average"])
def test_sums_and_differences_of_faces_pass_the_check_of_lengths(mode: str, count: int) -> None:
    """Their length says nothing: a sum of fifty faces is as long as a raw embedding."""
    normed = faceid.read_adapter(state_dict("sd15"), name="a.bin")
    assert torch.isfinite(faceid.identity_tokens(normed, combine(faces(count, image=False), mode=mode)).base).all()
