from __future__ import annotations

import pytest
import torch
from random_adapter import embedding, hidden_states, state_dict

import faceid


@pytest.fixture(scope="module")
def plain() -> faceid.Adapter:
    return faceid.read_adapter(state_dict("sd15"), name="faceid.bin")


@pytest.fixture(scope="module")
def plus() -> faceid.Adapter:
    return faceid.read_adapter(state_dict("sd15", "plus"), name="plusv2.bin")


def test_several_faces_become_one_sequence_of_each_ones_tokens(plus: faceid.Adapter) -> None:
    faces = [(embedding(i), hidden_states(i)) for i in (1, 2)]
    both = faceid.identity_tokens(
        plus, torch.cat([e for e, _ in faces]), torch.cat([h for _, h in faces]), hidden_states(9)
    )
    alone = [faceid.identity_tokens(plus, e, h, hidden_states(9)) for e, h in faces]
    assert both.base.shape == (2, 8, 768)
    for part in ("base", "shortcut"):
        expected = torch.cat([getattr(tokens, part) for tokens in alone], dim=1)
        assert torch.allclose(getattr(both, part), expected, atol=1e-5)


def test_uncond_does_not_depend_on_the_face(plain: faceid.Adapter) -> None:
    first, second = (faceid.identity_tokens(plain, embedding(i)).base for i in (1, 2))
    assert torch.equal(first[1], second[1])
    assert not torch.allclose(first[0], second[0], atol=0.1)
    assert first[1].abs().max() > 0.1  # the projection of zeros, not zeros


def test_a_low_precision_embedding_is_projected_in_float32(plain: faceid.Adapter) -> None:
    assert faceid.identity_tokens(plain, embedding().double()).base.dtype == torch.float32


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (embedding() * 20, "L2 norm 20"),
        (embedding() * 0, "L2 norm 0"),
        (embedding()[0], r"shape \[512\]; expected \[N, 512\]"),
        (embedding()[:, :256], r"shape \[1, 256\]"),
        (torch.empty(0, 512), r"shape \[0, 512\]"),
        (embedding() * float("nan"), "NaN"),
    ],
)
def test_an_embedding_that_faceid_cannot_take_is_named(plain: faceid.Adapter, bad: torch.Tensor, message: str) -> None:
    with pytest.raises(faceid.FaceIDError, match=message):
        faceid.identity_tokens(plain, bad)


@pytest.mark.parametrize(
    ("hidden", "empty", "message"),
    [
        (None, hidden_states(), "image encoder"),
        (hidden_states(), None, "image encoder"),
        (hidden_states()[:, :256], hidden_states(), r"face crop has shape \[1, 256, 1280\]"),
        (hidden_states().repeat(2, 1, 1), hidden_states(), "1 face embeddings, 2 image encodings"),
        (hidden_states(), hidden_states() / 0, "empty image holds NaN"),
    ],
)
def test_image_encodings_that_plus_cannot_take_are_named(
    plus: faceid.Adapter, hidden: torch.Tensor | None, empty: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(faceid.FaceIDError, match=message):
        faceid.identity_tokens(plus, embedding(), hidden, empty)
