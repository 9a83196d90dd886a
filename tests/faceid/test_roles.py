"""Roles of conds, areas, and which pictures of a video a batch holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from faceid.roles import CONDS_KEY, Conds, NoteRoles, areas_of, conds_of, frames_of, rows_of

GUIDERS = {  # role -> uuids, as ComfyUI's guiders name their conds
    "positive": [{"uuid": "p"}, {"uuid": "p2", "area": (4, 8, 4, 0)}],
    "negative": [{"uuid": "n"}],
    "middle": [{"uuid": "m"}],
    "empty_negative_prompt": [{"uuid": "e"}],
    "fourth": [{"uuid": "x"}],
    "none": None,
}


def options(numbers: list[int] | None, uuids: list[str] | None = None) -> dict[str, Any]:
    made = {CONDS_KEY: conds_of(GUIDERS, (8, 8))}
    return {**made, "cond_or_uncond": numbers, **({} if uuids is None else {"uuids": uuids})}


@pytest.mark.parametrize(
    ("numbers", "uuids", "rows"),
    [
        ([1, 0], ["n", "p"], (1, 0)),
        ([2, 1, 0], ["p", "m", "n"], (0, 1, 1)),  # DualCFG numbers its negative first
        ([0], ["n"], (1,)),
        ([2], ["e"], (1,)),
        ([0, 0, 1], ["p", "p2", "n"], (0, 0, 1)),
        ([0, 1], ["x", "x"], (0, 1)),  # an unknown role goes by the number
        ([0, 1], ["?", "p"], (0, 0)),
        ([0, 1], ["p"], (0, 1)),  # no uuid for each
        ([0, 1], None, (0, 1)),
        ([], None, (0,)),
        (None, None, (0,)),
    ],
)
def test_the_face_goes_to_the_positive_prompt_alone(
    numbers: list[int] | None, uuids: list[str] | None, rows: tuple[int, ...]
) -> None:
    assert rows_of(options(numbers, uuids)) == rows


def test_without_a_known_guider_cond_number_0_is_the_face() -> None:
    assert rows_of({"cond_or_uncond": [2, 1, 0, 0], "uuids": ["p"] * 4}) == (1, 1, 0, 0)


def test_areas_are_those_of_the_chunks_and_stay_inside_the_latent() -> None:
    assert areas_of(options([0, 0], ["p", "p2"]), (4, 8)) == ((None, (4, 8, 4, 0)), (8, 8))
    assert areas_of(options([0], ["p"]), (4, 8)) == ((), (4, 8))
    assert areas_of({}, (4, 8)) == ((), (4, 8))
    big = conds_of({"positive": [{"uuid": 1, "area": (2147483648, 6, 2, 4)}]}, (8, 8))
    assert big.areas == {1: (6, 4, 2, 4)}


def test_the_wrapper_passes_the_conds_on_and_changes_nothing_else() -> None:
    given = {"transformer_options": {"a": 1}, "b": 2}
    x = SimpleNamespace(shape=(2, 4, 6, 8))
    seen: list[Any] = []

    class Executor:
        class_obj = SimpleNamespace(conds=GUIDERS)

        def __call__(self, *args: Any) -> str:
            seen.extend(args)
            return "out"

    assert NoteRoles()(Executor(), x, "t", given, 7) == "out"
    assert given == {"transformer_options": {"a": 1}, "b": 2}
    assert (seen[0], seen[1], seen[3]) == (x, "t", 7)
    assert seen[2]["b"] == 2
    conds = seen[2]["transformer_options"].pop(CONDS_KEY)
    assert seen[2]["transformer_options"] == {"a": 1}
    assert isinstance(conds, Conds)
    assert conds.latent == (6, 8)


@pytest.mark.parametrize(
    ("given", "frames"),
    [
        ({}, (0, 1, 2)),
        ({"ad_params": {"sub_idxs": [4, 5, 6], "full_length": 9}}, (4, 5, 6)),
        ({"ad_params": {"sub_idxs": None, "full_length": 3}}, (0, 1, 2)),
        ({"ad_params": None}, (0, 1, 2)),
        ({"context_window": SimpleNamespace(dim=0, index_list=[8, 0, 1])}, (8, 0, 1)),
        ({"context_window": SimpleNamespace(dim=0, index_list=[5, 6], causal_anchor_index=4)}, (4, 5, 6)),
        ({"context_window": SimpleNamespace(dim=2, index_list=[8, 9, 10])}, (0, 1, 2)),
        ({"ad_params": {"sub_idxs": [4, 5]}}, (0, 1, 2)),  # not this batch's
    ],
)
def test_pictures_of_a_context_window_keep_their_number(given: dict[str, Any], frames: tuple[int, ...]) -> None:
    assert frames_of(given, 3) == frames
