"""Where a face is cut out, and that nothing else of the picture changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from likeness import detail
from likeness.detail import Window
from likeness.detail_report import Outcome, Part, report_on
from likeness.faces.face import Face, Pose
from likeness.scoring import FaceScore, Look, Score

from ..fakes import make_face

numbers = st.floats(-40.0, 240.0, allow_nan=False)
sides = st.floats(1.0, 300.0, allow_nan=False)
sizes = st.tuples(st.integers(1, 200), st.integers(1, 200))
boxes = st.tuples(numbers, numbers, sides, sides).map(lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3]))
factors = st.floats(1.0, 4.0)


def face(left: float, top: float, size: float, roll: float = 0.0) -> Face:
    made = make_face(1, 0, (0, 0, 32))
    box = np.array([left, top, left + size, top + size], dtype=np.float32)
    return replace(made, box=box, pose=Pose(0.0, 0.5, roll))


def overlaps(box: detail.Rectangle, size: detail.Size) -> bool:
    return box[0] < size[0] and box[1] < size[1] and box[2] > 0 and box[3] > 0


# ---- the window


@example((0.6, 0.6, 1.6, 1.6), (9, 9), 1.0)  # a head of one pixel on two
@given(boxes, sizes, factors)
def test_a_window_lies_in_the_picture_and_holds_the_head_as_far_as_the_picture_does(
    head: detail.Rectangle, size: detail.Size, factor: float
) -> None:
    window = detail.window_around(head, size, factor)
    if window is None:
        assert not overlaps(head, size)
        return
    assert 0 <= window.left and window.left + window.width <= size[0] and window.width >= 1
    assert 0 <= window.top and window.top + window.height <= size[1] and window.height >= 1
    assert window.left <= max(head[0], 0) and window.left + window.width >= min(head[2], size[0])
    assert window.top <= max(head[1], 0) and window.top + window.height >= min(head[3], size[1])


@given(st.integers(0, 80), st.integers(0, 80), st.integers(8, 60), st.sampled_from([0.0, 80.0, -170.0]))
def test_the_head_holds_the_face_with_room_for_hair_on_every_side(left: int, top: int, size: int, roll: float) -> None:
    head = detail.head_around(face(left, top, size, roll))
    assert head[0] < left and head[1] <= top - 0.5 * size and head[2] > left + size and head[3] > top + size


def test_a_window_is_square_where_the_picture_allows_and_as_long_as_the_factor_says() -> None:
    assert detail.window_around((40, 40, 60, 70), (200, 200), 2.0) == Window(20, 25, 60, 60)
    at_the_border = detail.window_around((0, 0, 20, 30), (200, 200), 2.0)
    assert at_the_border == Window(0, 0, 60, 60), "moved into the picture, not cut"
    assert detail.window_around((0, 0, 20, 30), (50, 200), 2.0) == Window(0, 0, 50, 60), "cut where there is no more"


def test_a_head_beyond_the_edge_of_the_picture_has_a_window_of_what_is_there() -> None:
    assert detail.window_around((-30, -30, 20, 20), (16, 16), 1.0) == Window(0, 0, 16, 16)
    assert detail.window_around((16, 0, 30, 10), (16, 16), 1.0) is None
    assert detail.window_around((4, 4, 4, 9), (16, 16), 1.0) is None, "an empty box"


def test_shares_are_of_the_whole_picture() -> None:
    assert Window(20, 10, 40, 30).shares((80, 40)) == (0.25, 0.25, 0.75, 1.0)


# ---- how large it is drawn


@pytest.mark.parametrize(
    ("window", "longest", "limit", "expected"),
    [
        (Window(0, 0, 200, 200), 768, 8.0, (768, 768)),
        (Window(0, 0, 200, 100), 768, 8.0, (768, 384)),
        (Window(0, 0, 20, 20), 768, 8.0, (160, 160)),  # no more than the limit
        (Window(0, 0, 16, 3), 768, 2.0, (64, 64)),  # a UNet needs some pixels
        (Window(0, 0, 900, 901), 768, 8.0, (904, 904)),  # never shrunk
        (Window(0, 0, 101, 101), 768, 1.0, (104, 104)),
    ],
)
def test_a_window_is_enlarged_up_to_the_working_size_and_never_shrunk(
    window: Window, longest: int, limit: float, expected: tuple[int, int]
) -> None:
    drawing = detail.working_size(window, longest, limit)
    assert (drawing.width, drawing.height) == expected and not drawing.reason


@example(1, 681, 768, 2.0, 8)
@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(256, 2048), st.floats(1, 16), st.sampled_from([8, 32]))
def test_drawn_sizes_are_multiples_and_at_least_the_windows(
    width: int, height: int, longest: int, limit: float, multiple: int
) -> None:
    drawing = detail.working_size(Window(0, 0, width, height), longest, limit, multiple)
    assert drawing.width % multiple == drawing.height % multiple == 0
    assert drawing.width >= max(width, 64) and drawing.height >= max(height, 64)
    assert max(drawing.width, drawing.height) < max(longest, width, height, 64) + multiple
    assert bool(drawing.reason) == (max(width, height) > 2 * longest)


def test_a_face_that_is_large_already_is_refused_with_the_way_out() -> None:
    reason = detail.working_size(Window(0, 0, 2000, 2000), 768, 8.0).reason
    assert "2000 px" in reason and "768 px" in reason and "raise the working size" in reason


# ---- the mask


@given(boxes, sizes, st.floats(0.0, 500.0))
def test_a_mask_is_zero_outside_of_its_box_and_within_bounds(
    box: detail.Rectangle, size: detail.Size, feather: float
) -> None:
    mask = detail.soft_oval(size, box, feather)
    assert mask.shape == (size[1], size[0]) and mask.dtype == np.float32
    assert np.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= 1
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    outside = (x < box[0]) | (x > box[2]) | (y < box[1]) | (y > box[3])
    assert not mask[outside].any()


def test_a_heads_oval_holds_the_whole_face() -> None:
    """Down to the chin, at the usual feather; the corners of a detector's box hold no face."""
    found = face(100, 100, 80)
    mask = detail.soft_oval((400, 400), detail.head_around(found), 0.15 * 80)
    x, y = np.meshgrid(*[(np.arange(400) + 0.5 - 140) / 40] * 2)
    assert mask[x**2 + y**2 <= 1].min() > 0.9
    assert mask[100:180, 100:180].min() > 0.4


def test_a_feather_is_as_long_as_it_says_and_shortened_where_there_is_no_room() -> None:
    row = detail.soft_oval((200, 200), (0, 0, 200, 200), 30.0)[100]
    rising = row[:100]
    assert (np.diff(rising) >= 0).all()
    assert 28 <= int(((rising > 0) & (rising < 1)).sum()) <= 32
    assert detail.soft_oval((21, 21), (0, 0, 21, 21), 500.0)[10, 10] > 0.99


def test_the_edge_of_the_picture_does_not_fade() -> None:
    mask = detail.soft_oval((64, 64), (-40, -40, 40, 40), 10.0)
    assert mask[0, 0] == 1.0 and mask[63, 63] == 0.0


def test_a_windows_mask_is_the_part_of_the_pictures() -> None:
    box, window = (10.0, 12.0, 50.0, 60.0), Window(5, 8, 40, 60)
    whole = detail.soft_oval((80, 80), box, 9.0)
    np.testing.assert_allclose(detail.soft_oval_in(window, box, 9.0), whole[window.rows, window.columns], atol=1e-6)


# ---- back into the picture


@given(boxes, sizes, factors, st.sampled_from([1, 3, 4]), st.integers(0, 2**32 - 1))
def test_pixels_outside_the_mask_stay_bit_for_bit(
    head: detail.Rectangle, size: detail.Size, factor: float, channels: int, seed: int
) -> None:
    window = detail.window_around(head, size, factor)
    if window is None:
        return
    numbers = np.random.default_rng(seed)
    picture = numbers.random((size[1], size[0], channels), dtype=np.float32)
    picture[0, 0, 0] = np.nan  # whatever it held
    given_in = picture.copy()
    mask = detail.soft_oval_in(window, head, 5.0)
    drawn = numbers.random((window.height, window.width, 3), dtype=np.float32)
    out = detail.pasted(picture, drawn, mask, window)
    touched = np.zeros(picture.shape[:2], dtype=bool)
    touched[window.rows, window.columns] = mask > 0
    assert out.shape == picture.shape and out.dtype == np.float32
    assert out[~touched].tobytes() == picture[~touched].tobytes()
    assert picture.tobytes() == given_in.tobytes(), "the input is shared and stays"
    assert np.isfinite(out[touched]).all()
    if channels == 4:
        assert out[:, :, 3].tobytes() == picture[:, :, 3].tobytes()


def test_numbers_that_are_none_do_not_leave_the_mask() -> None:
    window, mask = Window(0, 0, 2, 1), np.array([[0.0, 1.0]], dtype=np.float32)
    drawn = np.full((1, 2, 3), np.nan, dtype=np.float32)
    out = detail.pasted(np.zeros((1, 2, 3), dtype=np.float32), drawn, mask, window)
    assert (out[0, 0] == 0).all() and not detail.usable(drawn)


def test_where_the_mask_is_one_the_drawn_pixels_are_taken() -> None:
    window, mask = Window(1, 1, 2, 2), np.ones((2, 2), dtype=np.float32)
    drawn = np.full((2, 2, 3), 0.25, dtype=np.float32)
    out = detail.pasted(np.ones((4, 4, 3), dtype=np.float32), drawn, mask, window)
    assert (out[1:3, 1:3] == 0.25).all() and out.sum() == 12 * 3 + 4 * 3 * 0.25


def test_what_is_transparent_is_seen_on_grey_and_stays() -> None:
    picture = np.zeros((2, 2, 4), dtype=np.float32)
    picture[0, 0] = (1.0, 0.0, 0.0, 1.0)
    rgb, opacity = detail.seen(picture, Window(0, 0, 2, 1))
    assert rgb.tolist() == [[[1, 0, 0], [0.5, 0.5, 0.5]]] and opacity.tolist() == [[1, 0]]
    grey, whole = detail.seen(np.full((2, 2, 1), 0.2, dtype=np.float32), Window(0, 0, 2, 2))
    assert grey.shape == (2, 2, 3) and whole.min() == 1


def texture(seed: int = 0, size: int = 96) -> np.ndarray:
    """Soft shapes with fine grain, float32 [size, size, 3]."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.random((size // 12, size // 12, 3)), np.ones((12, 12, 1)))
    return (0.3 + 0.4 * coarse + rng.normal(0, 0.02, (size, size, 3))).clip(0, 1).astype(np.float32)


def seam(out: np.ndarray, before: np.ndarray, mask: np.ndarray) -> float:
    """How much the colours differ on the blended edge, of 255."""
    edge = (mask > 0.2) & (mask < 0.8)
    return float(np.abs((out - before)[edge].mean(axis=0)).max() * 255)


def test_a_tint_of_the_encoder_is_taken_off() -> None:
    before = texture()
    mask = detail.soft_oval((96, 96), (8, 8, 88, 88), 20.0)
    tinted = (before + np.array([0.05, -0.03, 0.02], dtype=np.float32)).clip(0, 1)
    window = Window(0, 0, 96, 96)
    plain = detail.pasted(before, tinted, mask, window)
    better = detail.pasted(before, detail.matched(tinted, before, mask), mask, window)
    assert seam(plain, before, mask) > 5 and seam(better, before, mask) < 0.2


def test_new_texture_without_a_tint_keeps_its_colours() -> None:
    before = texture()
    mask = detail.soft_oval((96, 96), (8, 8, 88, 88), 20.0)
    grain = np.random.default_rng(5).normal(0, 0.05, before.shape).astype(np.float32)
    drawn = (before + grain).clip(0, 1)
    assert float(np.abs(detail.matched(drawn, before, mask) - drawn).max() * 255) < 1.0


def test_a_tint_is_taken_off_to_a_limit_and_only_where_there_is_an_edge() -> None:
    before, drawn = np.zeros((8, 8, 3), dtype=np.float32), np.full((8, 8, 3), 0.5, dtype=np.float32)
    half = np.full((8, 8), 0.5, dtype=np.float32)
    np.testing.assert_allclose(detail.matched(drawn, before, half), 0.4, atol=1e-6)
    np.testing.assert_array_equal(detail.matched(drawn, before, np.ones((8, 8), dtype=np.float32)), drawn)


# ---- the likeness


def scored(
    similarity: float = 0.6,
    verdict: str = "accepted",
    *,
    second: float | None = None,
    look: Look | None = None,
    at: float = 10.0,
    reason: str = "",
) -> Score:
    chosen = FaceScore(face(at, 10, 30), similarity, "1.png", similarity, verdict, reason, second=second, look=look)
    return Score("image 1 (index 0)", verdict, reason, (chosen,), chosen)


NOBODY = Score("image 1 (index 0)", "not measurable", "no face was found in the picture")
BLURRED = scored(0.1, "not measurable", reason="the face is blurred")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (scored(0.6), scored(0.59), ""),
        (scored(0.6), scored(0.9), ""),
        (scored(0.6), scored(0.57), "would fall from 0.600 to 0.570"),
        (scored(0.36), scored(0.345, "rejected", reason="below"), "no longer be accepted: below"),
        (scored(0.3, "rejected"), scored(0.29, "rejected"), ""),
        (scored(0.6), NOBODY, "not found any more"),
        (scored(0.6), scored(0.6, at=200.0), "not found any more"),
        (scored(0.6), BLURRED, "could not be measured any more: the face is blurred"),
        (scored(0.6, second=0.5), scored(0.6, second=0.49), ""),
        (scored(0.6, second=0.5), scored(0.7, second=0.4), "second encoder's similarity would fall from 0.500 to 0.4"),
        (scored(0.6, second=0.5), scored(0.7), "from 0.500 to nothing"),
    ],
)
def test_a_face_is_taken_unless_it_is_less_alike(before: Score, after: Score, says: str) -> None:
    reason = detail.lost(before, after, 0.02)
    assert says in reason and bool(reason) == bool(says)
    assert detail.lost(before, after, 2.0) == "", "2 checks nothing"


def test_a_look_decides_where_faces_cannot() -> None:
    same, other = Look("CCIP difference", 0.1, True), Look("CCIP difference", 0.3, False)
    before = scored(0.1, look=same)
    assert detail.lost(before, scored(0.0, look=same), 0.02) == ""
    assert "look" in detail.lost(before, scored(0.1, "rejected", look=other), 0.02)
    assert detail.lost(scored(0.1, "rejected", look=other), scored(0.0, "rejected", look=other), 0.02) == ""


def test_the_face_that_is_compared_is_the_one_at_the_same_place() -> None:
    """Somebody else's face may have become the most similar one."""
    elsewhere = scored(0.9, at=200.0).chosen
    here = scored(0.3, "rejected").chosen
    assert elsewhere is not None and here is not None
    after = Score("image 1 (index 0)", "accepted", "", (elsewhere, here), elsewhere)
    assert "from 0.600 to 0.300" in detail.lost(scored(0.6), after, 0.02)


def test_what_cannot_be_measured_is_not_drawn_unless_nothing_is_checked() -> None:
    assert detail.unchecked(scored(), 0.02) == ""
    assert detail.unchecked(BLURRED, 0.02) == "the face is blurred" and detail.unchecked(BLURRED, 2.0) == ""
    assert detail.unchecked(NOBODY, 0.02) == detail.unchecked(NOBODY, 2.0) == "no face was found in the picture"


# ---- the report


def outcome(after: Score | None, reason: str = "") -> Outcome:
    part = Part(face(10, 10, 30), detail.Drawing(768, 768, 4.2))
    return Outcome(scored(0.6, second=0.5), (part,), reason, after)


def test_the_report_says_what_became_of_each_picture() -> None:
    refined, kept = outcome(scored(0.62, second=0.51)), outcome(scored(0.2), "the similarity would fall")
    lines = report_on([refined, kept], ["A note."], 0.02).splitlines()
    assert lines[0] == "1 of 2 refined; mean similarity of these 0.600 before, 0.620 after"
    assert "refined, similarity 0.600 to 0.620, second encoder 0.500 to 0.510" in lines[1]
    assert "drawn at 768 x 768 (4.2 times)" in lines[1]
    assert lines[2].endswith("left as it was: the similarity would fall") and lines[3] == "A note."


def test_the_score_that_goes_on_is_of_the_picture_that_goes_on() -> None:
    assert outcome(scored(0.62)).score.similarity == 0.62
    assert outcome(scored(0.2), "it would fall").score.similarity == 0.6
    assert outcome(None, "too large").score.similarity == 0.6


def test_the_report_warns_where_nothing_was_checked_or_many_were_drawn() -> None:
    assert "Nothing was checked" in report_on([outcome(scored())], [], 2.0)
    two = Outcome(scored(), (Part(face(1, 1, 9), detail.Drawing(64, 64, 1.0)),) * 2, "", scored())
    assert "strangers" in report_on([two], [], 0.02) and "strangers" not in report_on([outcome(scored())], [], 0.02)
    assert report_on([], [], 0.02) == "0 of 0 refined"
