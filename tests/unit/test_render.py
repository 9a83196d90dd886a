from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from likeness.render import ACCEPTED, REJECTED, _text, label, labelled
from likeness.report.page_style import STYLE
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
def test_the_strip_is_below_the_picture_and_covers_none_of_it(size: tuple[int, int], similarity: float | None) -> None:
    pixels = np.full((*size, 3), 200, dtype=np.uint8)
    before = pixels.copy()
    out = labelled(pixels, score(similarity))
    assert out.shape[1:] == pixels.shape[1:] and out.shape[0] > size[0]
    assert out.dtype == np.uint8 and out.flags.writeable
    assert (pixels == before).all()
    assert similarity is not None or (out[: size[0]] == before).all(), "without a face nothing is drawn into it"
    assert (out[size[0] :] < 150).any()


def test_all_pictures_of_a_batch_stay_of_one_size() -> None:
    pixels = np.zeros((256, 256, 3), np.uint8)
    long = Score("x", "not measurable", "the face is turned away " * 4)
    assert {labelled(pixels, s).shape for s in (score(0.5), score(-0.1), score(None), long)} == {
        labelled(pixels, score(0.5)).shape
    }


@pytest.mark.parametrize("size", [96, 128, 256, 512, 1024])
def test_the_longest_reason_is_written_to_its_end(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("likeness.render.ImageDraw.ImageDraw.text", lambda self, at, text, **_: told.append(text))
    reason = (
        "the face is turned away (yaw index 0.71; up to 0.57 can be judged without a reference that shows a profile)"
    )
    labelled(np.zeros((size, size, 3), np.uint8), Score("x", "not measurable", reason))
    assert " ".join(told) == f"not measurable: {reason}"


@pytest.mark.parametrize("size", [96, 160, 256, 512])
def test_no_line_is_cut_at_the_lower_edge(size: int) -> None:
    out = labelled(np.zeros((size, size, 3), np.uint8), Score("x", "not measurable", "gyj " * 60))
    assert (out[-1, size // 2 :] == out[-1, -1]).all() and (out[-1, -1] < 50).all()
    assert (out[size:, size // 3 :] > 200).any()


def test_the_measured_face_is_framed_in_the_reports_colours() -> None:
    left, top, page = 16, 16, STYLE.replace("#", " #")
    for similarity, colour in ((0.5, ACCEPTED), (-0.5, REJECTED)):
        out = labelled(np.zeros((200, 200, 3), dtype=np.uint8), score(similarity))
        assert tuple(out[top, left + 5]) == colour
        assert "#{:02x}{:02x}{:02x}".format(*colour) in page
    out = labelled(np.zeros((200, 200, 3), dtype=np.uint8), score(None))
    assert not (out == ACCEPTED).all(axis=-1).any()


def test_a_reference_itself_is_no_copy() -> None:
    told = replace(score(0.9).faces[0], copy=True, nearest_similarity=0.999)
    assert _text(Score("x", "accepted", "", (told,), told)) == "0.900 accepted  references/001.png itself"
    told = replace(told, nearest_similarity=0.96)
    assert _text(Score("x", "accepted", "", (told,), told)) == "0.900 accepted, a copy?  nearest references/001.png"
