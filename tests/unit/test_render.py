from __future__ import annotations

import numpy as np
import pytest

from likeness.render import label, labelled
from likeness.scoring import FaceScore, Score, Verdict

from ..fakes import make_face


def score(similarity: float | None) -> Score:
    if similarity is None:
        return Score("x", "not measurable", "no face was found in the picture")
    verdict: Verdict = "accepted" if similarity > 0.3 else "rejected"
    face = FaceScore(make_face(1), similarity, "references/001.png", similarity, verdict, "")
    return Score("x", verdict, "", (face,), face)


@pytest.mark.parametrize(
    ("similarity", "text"),
    [(0.5123, "0.512 accepted"), (-0.1, "-0.100 rejected"), (None, "not measurable: no face was found")],
)
def test_a_label_never_says_zero_for_what_was_not_measured(similarity: float | None, text: str) -> None:
    assert label(score(similarity)).startswith(text)
    assert "%" not in label(score(similarity))


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (64, 64), (480, 640)])
@pytest.mark.parametrize("similarity", [0.5, None])
def test_the_labelled_picture_keeps_its_size_and_the_given_one_its_pixels(
    size: tuple[int, int], similarity: float | None
) -> None:
    pixels = np.full((*size, 3), 200, dtype=np.uint8)
    before = pixels.copy()
    out = labelled(pixels, score(similarity))
    assert out.shape == pixels.shape and out.dtype == np.uint8 and out.flags.writeable
    assert (pixels == before).all()
    assert (out != before).any()


def test_the_measured_face_is_framed() -> None:
    out = labelled(np.zeros((200, 200, 3), dtype=np.uint8), score(0.5))
    left, top = 16, 16
    assert tuple(out[top, left + 5]) == (255, 204, 0)
    out = labelled(np.zeros((200, 200, 3), dtype=np.uint8), score(-0.5))
    assert tuple(out[top, left + 5]) == (230, 80, 60), "a rejected face has another colour"
    out = labelled(np.zeros((200, 200, 3), dtype=np.uint8), score(None))
    assert not (out == (255, 204, 0)).all(axis=-1).any()
