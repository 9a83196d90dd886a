"""Roles of conds, areas, and which pictures of a video a batch holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from faceid.roles import (
    CONDS_KEY,
    ROLES_KEY,
    Conds,
    NoteConds,
    NoteRoles,
    Roles,
    areas_of,
    conds_of,
    frames_of,
    roles_of,
    rows_of,
)

P, AREA, N, M, E = {"uuid": "p"}, {"uuid": "a", "area": (4, 8, 4, 0)}, {"uuid": "n"}, {"uuid": "m"}, {"uuid": "e"}
COPY = AREA  # ComfyUI copies a positive cond with an area to the other lists, uuid included
GUIDER = {  # role -> conds, as ComfyUI's guiders name them
    "positive": [P, AREA],
    "negative": [N, COPY],
    "middle": [M, COPY],
    "empty_negative_prompt": [E, COPY],
    "fourth": [{"uuid": "x"}],
    "none": None,
}
LISTS = {name[0]: conds for name, conds in GUIDER.items() if conds}


def options(lists: str, numbers: list[int] | None, uuids: list[str] | None = None) -> dict[str, Any]:
    """transformer_options where conds of these roles are computed, by their first letters."""
    noted = conds_of([LISTS[name] for name in lists], roles_of(GUIDER), (8, 8), 3)
    return {CONDS_KEY: noted, "cond_or_uncond": numbers, **({} if uuids is None else {"uuids": uuids})}


@pytest.mark.parametrize(
    ("lists", "numbers", "rows"),
    [
        ("pn", [1, 0], (1, 0)),  # CFGGuider
        ("nmp", [2, 1, 0], (0, 1, 1)),  # DualCFG
        ("pne", [0, 1, 2], (0, 1, 1)),  # PerpNeg
        ("n", [0], (1,)),
        ("p", [0, 0], (0, 0)),  # two chunks of one list
        ("ff", [0, 1], (0, 1)),  # an unknown role goes by the number
        ("pn", [], (0,)),
        ("pn", None, (0,)),
    ],
)
def test_the_face_goes_to_the_positive_prompt_alone(
    lists: str, numbers: list[int] | None, rows: tuple[int, ...]
) -> None:
    assert rows_of(options(lists, numbers), 3 * len(rows)) == rows


@pytest.mark.parametrize(
    ("uuids", "row"), [("pa", 0), ("na", 1), ("p", 0), ("n", 1), ("a", None), ("", None), ("?", None)]
)
def test_a_part_of_a_list_is_known_where_it_is_in_lists_of_one_kind(uuids: str, row: int | None) -> None:
    assert roles_of(GUIDER).row(tuple(uuids)) == row


def test_without_a_known_guider_cond_number_0_is_the_face() -> None:
    assert rows_of({"cond_or_uncond": [2, 1, 0, 0]}, 8) == (1, 1, 0, 0)


def test_tiles_that_are_sampled_together_hold_all_conds_each() -> None:
    given = options("pn", [1, 0], ["a", "p"])
    assert rows_of(given, 6) == (1, 0)  # three pictures
    assert rows_of(given, 12) == (1, 0, 1, 0)
    assert rows_of(given, 8) == (1, 0)  # no multiple: one picture more for each cond
    assert areas_of(given, (4, 8), 4)[0] == ((4, 8, 4, 0), None, (4, 8, 4, 0), None)


def test_areas_are_those_of_the_chunks_and_stay_inside_the_latent() -> None:
    assert areas_of(options("pn", [0, 0, 1], ["p", "a", "a"]), (4, 8), 3) == (
        (None, (4, 8, 4, 0), (4, 8, 4, 0)),
        (8, 8),
    )
    assert areas_of(options("pn", [0], ["p"]), (4, 8), 1) == ((), (4, 8))
    assert areas_of(options("pn", [0, 1], ["a"]), (4, 8), 2) == ((), (4, 8))  # no uuid for each
    assert areas_of({}, (4, 8), 1) == ((), (4, 8))
    big = conds_of([None, [{"uuid": 1, "area": (2147483648, 6, 2, 4)}]], Roles({}), (8, 8), 1)
    assert big.areas == {(1, 1): (6, 4, 2, 4)}


def test_the_wrappers_pass_on_what_they_note_and_change_nothing_else() -> None:
    given = {"transformer_options": {"a": 1}, "b": 2}
    x = SimpleNamespace(shape=(2, 4, 6, 8))
    seen: list[Any] = []

    class Executor:
        class_obj = SimpleNamespace(conds=GUIDER)

        def __call__(self, *args: Any) -> str:
            seen[:] = args
            return "out"

    assert NoteRoles()(Executor(), x, "t", given, 7) == "out"
    assert (seen[0], seen[1], seen[3]) == (x, "t", 7)
    noted = seen[2]
    assert noted["b"] == 2
    assert noted["transformer_options"]["a"] == 1
    assert isinstance(noted["transformer_options"][ROLES_KEY], Roles)
    lists = [GUIDER["negative"], GUIDER["positive"]]
    assert NoteConds()(Executor(), "model", lists, x, "t", noted) == "out"
    assert seen[:4] == ["model", lists, x, "t"]
    conds = seen[4]["transformer_options"][CONDS_KEY]
    assert isinstance(conds, Conds)
    assert (conds.latent, conds.images, conds.rows) == ((6, 8), 2, {0: 1, 1: 0})
    assert given == {"transformer_options": {"a": 1}, "b": 2}
    assert CONDS_KEY not in noted["transformer_options"]


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
