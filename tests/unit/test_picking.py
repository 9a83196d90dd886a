from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.best_of import MAX_SEED, BestOf, next_seed
from likeness.errors import LikenessError
from likeness.picking import as_text, best, check_lengths, highest, ranking, split, verdict_at
from likeness.placeholder import GREY, placeholder
from likeness.scoring import FaceScore, Look, Score, Verdict, unreadable

from ..fakes import make_face

FACE = make_face(1)
NOBODY = unreadable("nobody", "no face was found in the picture")


def score(similarity: float, verdict: Verdict | None = None, **about: object) -> Score:
    """Accepted from 0.5 on."""
    decided: Verdict = verdict or ("accepted" if similarity >= 0.5 else "rejected")
    chosen = replace(FaceScore(FACE, similarity, "1.png", similarity, decided, ""), **about)  # type: ignore[arg-type]
    return Score("picture", decided, "", (chosen,), chosen)


def drawn(difference: float, verdict: Verdict = "accepted") -> Score:
    """Judged by its look; the cosine of a drawn face says nothing."""
    return score(0.99, verdict, drawn=True, look=Look("CCIP difference", difference, verdict == "accepted"))


def test_every_picture_is_in_one_of_the_three_lists() -> None:
    parts = split([score(0.2), NOBODY, score(0.6), score(0.9, "not measurable"), score(0.5)])
    assert (parts.accepted, parts.rejected, parts.not_measurable) == ((2, 4), (0,), (1, 3))
    assert parts.by_verdict()["rejected"] == (0,)
    assert split([]) == split([], 0.3)


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.booleans()), max_size=12),
    st.none() | st.floats(-1, 1),
    st.booleans(),
)
def test_a_ranking_has_every_picture_once_and_agrees_with_the_split(
    pictures: list[tuple[float, bool]], threshold: float | None, avoid: bool
) -> None:
    scores = [score(s) if seen else NOBODY for s, seen in pictures]
    order = ranking(scores, avoid_copies=avoid, threshold=threshold)
    parts = split(scores, threshold)
    assert sorted(order) == list(range(len(scores)))
    first = order[: len(parts.accepted)]
    assert sorted(first) == list(parts.accepted)
    assert order[len(order) - len(parts.not_measurable) :] == list(parts.not_measurable)
    found = [s.similarity for s in (scores[i] for i in first) if s.similarity is not None]
    assert found == sorted(found, reverse=True)


def test_equal_ones_keep_their_order() -> None:
    assert ranking([score(0.6), score(0.7), score(0.6), score(0.7)]) == [1, 3, 0, 2]


def test_a_rejected_picture_comes_after_an_accepted_one_that_is_less_similar() -> None:
    """Scores of two judges, with bands of their own."""
    assert ranking([score(0.4, "rejected"), score(0.3, "accepted"), score(0.9, "not measurable")]) == [1, 0, 2]


def test_copies_come_last_among_the_accepted_only_when_asked_for() -> None:
    scores = [score(0.95, copy=True), score(0.6), score(0.4)]
    assert ranking(scores) == [0, 1, 2]
    assert ranking(scores, avoid_copies=True) == [1, 0, 2]


def test_another_threshold_decides_a_measured_cosine_and_nothing_else() -> None:
    assert verdict_at(score(0.4), 0.3) == "accepted" and verdict_at(score(0.6), 0.7) == "rejected"
    assert verdict_at(score(0.4), 0.4) == "accepted", "the threshold itself is accepted"
    assert verdict_at(score(0.9, "not measurable"), 0.1) == "not measurable"
    assert verdict_at(NOBODY, -1.0) == "not measurable"
    assert verdict_at(drawn(0.5, "rejected"), 0.1) == "rejected", "its look has decided"
    assert verdict_at(score(0.4, drawn=True), 0.3) == "accepted", "a drawn face that was to be measured all the same"
    assert verdict_at(score(0.4)) == "rejected"


def test_drawn_faces_rank_by_their_look_after_those_with_a_cosine() -> None:
    assert ranking([drawn(0.17), drawn(0.05), score(0.5), drawn(0.3, "rejected"), score(0.1)]) == [2, 1, 0, 4, 3]
    assert highest([drawn(0.05)]) is None and highest([drawn(0.05), score(0.2), score(0.1)]) == 0.2


def test_the_best_are_as_many_as_there_are_of_the_wanted_verdicts() -> None:
    scores = [NOBODY, score(0.2), score(0.8), score(0.6)]
    assert best(scores, 2) == [2, 3] and best(scores, 9) == [2, 3, 1, 0]
    assert best(scores, 9, ("accepted", "rejected")) == [2, 3, 1]
    assert best([NOBODY], 1, ("accepted",)) == [] and as_text([2, 0]) == "2,0" and as_text([]) == ""


def test_lengths_that_differ_are_named() -> None:
    check_lengths(1, [NOBODY], latents=None, masks=1)
    with pytest.raises(LikenessError, match="2 pictures but 1 scores"):
        check_lengths(2, [NOBODY])
    with pytest.raises(LikenessError, match="1 pictures but 3 masks: connect the masks"):
        check_lengths(1, [NOBODY], latents=1, masks=3)


def test_a_placeholder_is_grey_and_says_something() -> None:
    picture = placeholder(64, 48, "no picture was accepted")
    assert picture.shape == (48, 64, 3) and tuple(picture[0, 0]) == (GREY,) * 3
    assert (picture != GREY).any()
    assert placeholder(1, 1, "tiny").shape == (1, 1, 3)


def test_after_the_highest_seed_comes_zero() -> None:
    assert next_seed(7) == 8 and next_seed(7, 0) == 7 and next_seed(MAX_SEED) == 0 and next_seed(MAX_SEED - 1, 3) == 1


def attempts(wanted: int, limit: int, *scores: Score) -> BestOf[int]:
    """One picture per attempt; the picture is its seed."""
    state: BestOf[int] = BestOf(wanted, limit)
    for seed, one in enumerate(scores):
        assert not state.done, "no attempt is made after the last one"
        state = state.add(seed, [(one, seed)])
    return state


def test_it_stops_when_enough_are_accepted() -> None:
    assert attempts(1, 9, score(0.9)).done
    state = attempts(2, 9, score(0.2), score(0.7), NOBODY)
    assert not state.done
    state = state.add(3, [(score(0.8), 3)])
    assert state.done and state.attempts == 4 and [k.seed for k in state.chosen(True)] == [3, 1]
    assert state.outcome() == "2 accepted after 4 attempts; 2 wanted."
    assert len(state.report().splitlines()) == 5


def test_it_stops_at_the_limit_and_has_the_best_of_what_there_is() -> None:
    state = attempts(3, 4, score(0.2), score(0.7), NOBODY, score(0.3))
    assert state.done and [k.seed for k in state.chosen(True)] == [1]
    assert [k.seed for k in state.chosen(False)] == [1, 3, 0]
    assert state.outcome() == "Only 1 of 3 wanted were accepted in 4 attempts, which is the limit."
    assert attempts(1, 1, NOBODY).chosen(True) == ()


def test_no_more_pictures_are_kept_than_wanted() -> None:
    state: BestOf[int] = BestOf(2, 50)
    for seed in range(50):
        state = state.add(seed, [(score(0.4 * seed / 50), seed)] * 3)
        assert len(state.kept) == 2
    assert state.accepted == 0 and [k.seed for k in state.kept] == [49, 49] and len(state.lines) == 150


def test_several_pictures_of_one_attempt_count_each() -> None:
    state: BestOf[str] = BestOf(2, 5)
    state = state.add(7, [(score(0.6), "a"), (score(0.9), "b"), (score(0.7), "c")])
    assert state.done and state.accepted == 3 and [k.picture for k in state.chosen(True)] == ["b", "c"]
