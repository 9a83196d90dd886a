from __future__ import annotations

import pytest
import torch
from random_adapter import embedding, hidden_states, state_dict

import faceid
from faceid import FaceInputs, IdentityTokens, identity_tokens

RAW = 21.5  # length of a raw embedding
NOBODY = FaceInputs(torch.zeros(1, 512), hidden_states(9))


@pytest.fixture(scope="module")
def plain() -> faceid.Adapter:
    return faceid.read_adapter(state_dict("sd15"), name="faceid.bin")


@pytest.fixture(scope="module")
def plus() -> faceid.Adapter:
    return faceid.read_adapter(state_dict("sd15", "plus"), name="plusv2.bin")


@pytest.fixture(scope="module")
def unnorm() -> faceid.Adapter:
    return faceid.read_adapter(state_dict("sdxl", "resampler", tokens=16), name="unnorm.bin")


def face(*seeds: int) -> FaceInputs:
    return FaceInputs(torch.cat([embedding(i) for i in seeds]), torch.cat([hidden_states(i) for i in seeds]))


def close(one: IdentityTokens, part: str, other: torch.Tensor) -> bool:
    return torch.allclose(getattr(one, part), other, atol=1e-5)


def test_several_faces_become_one_sequence_of_each_ones_tokens(plus: faceid.Adapter) -> None:
    both = identity_tokens(plus, face(1, 2), NOBODY)
    alone = [identity_tokens(plus, face(i), NOBODY) for i in (1, 2)]
    assert both.base.shape == (2, 1, 8, 768)
    assert both.faces == 2
    for part in ("base", "shortcut"):
        assert close(both, part, torch.cat([getattr(tokens, part) for tokens in alone], dim=2))


def test_frames_keep_the_tokens_of_each_face_apart(plus: faceid.Adapter) -> None:
    frames = identity_tokens(plus, face(1, 2, 3), NOBODY, frames=True)
    alone = [identity_tokens(plus, face(i), NOBODY) for i in (1, 2, 3)]
    assert frames.base.shape == (2, 3, 4, 768)
    assert frames.faces == 1
    for part in ("base", "shortcut"):
        assert close(frames, part, torch.cat([getattr(tokens, part) for tokens in alone], dim=1))


def test_uncond_does_not_depend_on_the_face(plain: faceid.Adapter) -> None:
    first, second = (identity_tokens(plain, FaceInputs(embedding(i))).base for i in (1, 2))
    assert torch.equal(first[1], second[1])
    assert not torch.allclose(first[0], second[0], atol=0.1)
    assert first[1].abs().max() > 0.1  # the projection of zeros, not zeros


def test_a_negative_identity_takes_the_place_of_nobody(plus: faceid.Adapter) -> None:
    """The uncond row of A against B is the cond row of B."""
    against, other = identity_tokens(plus, face(1), face(2)), identity_tokens(plus, face(2), NOBODY)
    for part in ("base", "shortcut"):
        rows = torch.stack([getattr(identity_tokens(plus, face(1), NOBODY), part)[0], getattr(other, part)[0]])
        assert close(against, part, rows)


def test_one_negative_identity_is_repeated_for_all_faces(plain: faceid.Adapter) -> None:
    three = FaceInputs(face(1, 2, 3).embedding)
    repeated = identity_tokens(plain, three, FaceInputs(embedding(4)))
    assert close(repeated, "base", identity_tokens(plain, three, FaceInputs(embedding(4).repeat(3, 1))).base)
    each = identity_tokens(plain, three, FaceInputs(face(4, 5, 6).embedding))
    assert not torch.allclose(each.base[1], repeated.base[1], atol=0.1)
    assert torch.equal(each.base[0], repeated.base[0])
    assert torch.equal(repeated.base[1, 0, :4], repeated.base[1, 0, 4:8])


def test_fifty_references_are_one_long_sequence(plain: faceid.Adapter) -> None:
    faces = FaceInputs(face(*range(50)).embedding)
    tokens = identity_tokens(plain, faces)
    assert tokens.base.shape == (2, 1, 200, 768)
    last = identity_tokens(plain, FaceInputs(embedding(49)))
    assert torch.allclose(tokens.base[:, :, -4:], last.base, atol=1e-5)


def test_portrait_unnorm_reads_the_length_of_the_embedding(unnorm: faceid.Adapter) -> None:
    one, other = (identity_tokens(unnorm, FaceInputs(length * embedding())) for length in (RAW, 25.0))
    assert one.base.shape == (2, 1, 16, 2048)
    assert not torch.allclose(one.base[0], other.base[0], atol=1e-3)
    assert torch.equal(one.base[1], other.base[1])


def test_a_low_precision_embedding_is_projected_in_float32(plain: faceid.Adapter) -> None:
    assert identity_tokens(plain, FaceInputs(embedding().double())).base.dtype == torch.float32


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (embedding() * 20, "face embedding has L2 norm 20"),
        (embedding() * 0, "L2 norm 0"),
        (embedding()[0], r"shape \[512\]; expected \[N, 512\]"),
        (embedding()[:, :256], r"shape \[1, 256\]"),
        (torch.empty(0, 512), r"shape \[0, 512\]"),
        (embedding() * float("nan"), "NaN"),
    ],
)
def test_an_embedding_that_faceid_cannot_take_is_named(plain: faceid.Adapter, bad: torch.Tensor, message: str) -> None:
    with pytest.raises(faceid.FaceIDError, match=message):
        identity_tokens(plain, FaceInputs(bad))


@pytest.mark.parametrize("mode", ["", "identity", "weighted", "average"])
def test_a_raw_embedding_is_refused_however_it_was_combined(plain: faceid.Adapter, mode: str) -> None:
    with pytest.raises(faceid.FaceIDError, match=r"L2 norm 21.5; FaceID takes normed ones"):
        identity_tokens(plain, FaceInputs(RAW * embedding(), combined=mode))


@pytest.mark.parametrize("length", [1.0, 0.0, 0.7])
def test_portrait_unnorm_refuses_normed_embeddings(unnorm: faceid.Adapter, length: float) -> None:
    with pytest.raises(faceid.FaceIDError, match=r"unnorm.bin takes it as the recogniser gives it.*Give the raw"):
        identity_tokens(unnorm, FaceInputs(length * embedding()))


def test_a_negative_identity_is_checked_like_a_face(plain: faceid.Adapter, unnorm: faceid.Adapter) -> None:
    one = FaceInputs(embedding(1))
    with pytest.raises(faceid.FaceIDError, match=r"negative face embedding has L2 norm 21.5"):
        identity_tokens(plain, one, FaceInputs(RAW * embedding()))
    with pytest.raises(faceid.FaceIDError, match=r"negative face embedding has L2 norm 1; unnorm.bin"):
        identity_tokens(unnorm, FaceInputs(RAW * embedding()), FaceInputs(embedding()))
    with pytest.raises(faceid.FaceIDError, match="negative face embedding holds NaN"):
        identity_tokens(plain, one, FaceInputs(embedding() / 0))
    with pytest.raises(faceid.FaceIDError, match="1 faces and 2 negative ones"):
        identity_tokens(plain, one, FaceInputs(face(1, 2).embedding))
    assert torch.equal(
        identity_tokens(plain, one, FaceInputs(torch.zeros(1, 512))).base, identity_tokens(plain, one).base
    )


@pytest.mark.parametrize(
    ("hidden", "empty", "message"),
    [
        (None, hidden_states(), "image encoder"),
        (hidden_states(), None, "image encoder"),
        (hidden_states()[:, :256], hidden_states(), r"image encoding of the face has shape \[1, 256, 1280\]"),
        (hidden_states().repeat(2, 1, 1), hidden_states(), "1 face embeddings and 2 image encodings"),
        (hidden_states(), hidden_states() / 0, "image encoding of the negative face holds NaN"),
    ],
)
def test_image_encodings_that_plus_cannot_take_are_named(
    plus: faceid.Adapter, hidden: torch.Tensor | None, empty: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(faceid.FaceIDError, match=message):
        identity_tokens(plus, FaceInputs(embedding(), hidden), FaceInputs(torch.zeros(1, 512), empty))


def test_plus_needs_to_be_told_what_nobody_looks_like(plus: faceid.Adapter) -> None:
    with pytest.raises(faceid.FaceIDError, match="of the empty image"):
        identity_tokens(plus, face(1))
