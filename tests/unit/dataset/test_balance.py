"""What a set shows is counted, what it lacks is asked for, and the prompts fill the gaps."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.dataset.balance import (
    FRAMING,
    Balance,
    Row,
    Target,
    Wanted,
    balance,
    balance_of,
    balance_text,
    framing_target,
)
from likeness.dataset.plan import Facts
from likeness.errors import LikenessError

from .pictures import ADA
from .test_caption_edit import plan

MEASURED = ("framing", "angle", "tilt", "expression", "light")
facts = st.builds(
    Facts,
    framing=st.sampled_from(["", "portrait", "upper body", "full body"]),
    angle=st.sampled_from(["", "frontal", "profile left", "three-quarter right"]),
    tilt=st.sampled_from(["", "level", "looking down"]),
    expression=st.sampled_from(["", "smiling", "neutral"]),
    light=st.sampled_from(["", "bright", "even"]),
    outfit=st.sampled_from(["", "red dress", "casual clothes"]),
    background=st.sampled_from(["", "in a park", "background 2"]),
)


def of(facts: list[Facts], target: Target | None = None) -> Balance:
    return balance(facts, [1] * len(facts), ADA, target)


def row(found: Balance, facet: str, value: str) -> Row:
    (one,) = [r for r in found.of(facet) if r.value == value]
    return one


def framed(upper: int, portrait: int, full: int) -> list[Facts]:
    counts = {"upper body": upper, "portrait": portrait, "full body": full}
    return [Facts(framing=f) for f, n in counts.items() for _ in range(n)]  # type: ignore[arg-type]


def test_counts_and_shares_are_of_pictures_and_what_is_trained_counts_repeats() -> None:
    found = balance(framed(3, 1, 0), [10, 10, 10, 30], ADA)
    assert row(found, "framing", "upper body").count == 3 and row(found, "framing", "upper body").share == 0.75
    assert row(found, "framing", "upper body").trained == row(found, "framing", "portrait").trained == 0.5


def test_the_default_target_is_seventy_twenty_ten() -> None:
    assert (
        FRAMING == {"upper body": 0.7, "portrait": 0.2, "full body": 0.1} == pytest.approx(framing_target("70/20/10"))
    )
    found = of(framed(14, 4, 2))
    assert [r.missing for r in found.of("framing")] == [0, 0, 0] and found.remarks[0].startswith("The angle")


def test_what_is_missing_fills_the_set_up_to_its_size() -> None:
    found = of(framed(0, 40, 0))
    assert {r.value: r.missing for r in found.of("framing")} == {"portrait": 0, "upper body": 28, "full body": 4}
    assert found.remarks[0].startswith("Portrait: 100% of the pictures, where 20% is the target")
    small = of(framed(7, 2, 0))  # fewer than a set should have
    assert {r.value: r.missing for r in small.of("framing")} == {"portrait": 2, "upper body": 7, "full body": 2}


def test_a_little_less_than_the_target_is_no_gap() -> None:
    assert row(of(framed(60, 25, 15)), "framing", "upper body").missing == 0
    assert row(of(framed(50, 30, 20)), "framing", "upper body").missing == 20
    assert row(of(framed(95, 5, 0)), "framing", "full body").missing == 10


def test_the_target_can_be_set() -> None:
    target = Target(pictures=0, framing=framing_target("40 / 30/ 30%"), angle={}, tilt={}, expression={}, light={})
    assert row(of(framed(4, 3, 3), target), "framing", "full body").missing == 0
    assert row(of(framed(7, 2, 1), target), "framing", "full body").missing == 2


@pytest.mark.parametrize("text", ["", "70/20", "70/20/20", "a/b/c", "-10/100/10", "nan/50/50", "inf/0/0"])
def test_a_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(LikenessError, match="no target: write the percentages"):
        framing_target(text)


@pytest.mark.parametrize(
    "wrong", [{"angle": {"frontal": 1.2}}, {"light": {"dark": -0.1}}, {"most_of_one": 0.0}, {"pictures": -1}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(LikenessError):
        Target(**wrong)  # type: ignore[arg-type]


def test_what_was_not_measured_is_neither_there_nor_missing() -> None:
    seen = [Facts(framing="upper body", expression="smiling")] * 20 + [Facts(framing="upper body")] * 80
    expression = {r.value: r.missing for r in of(seen).of("expression")}
    assert expression == {"smiling": 0, "neutral": 4, "": 0}  # a fifth of the 20 that tell


def test_a_set_without_faces_misses_nothing_and_says_what_is_not_known() -> None:
    found = of([Facts(light="even", background="a park")] * 5 + [Facts(light="dark", background="a street")] * 5)
    assert not [r for r in found.rows if r.facet in ("framing", "angle") and r.missing]
    assert "The framing is not known of any picture." in found.remarks
    assert {w.label for w in found.wanted} == {"upper body, bright"}


def test_one_outfit_in_most_pictures_is_told_and_others_asked_for() -> None:
    dressed = [Facts(outfit="red dress")] * 9 + [Facts(outfit="Sportswear")]
    found = of(dressed, Target(framing={}))
    assert any("'red dress' is in 9 of 10 pictures" in r for r in found.remarks)
    assert sum(w.count for w in found.wanted) == 8  # 9 of 18 are half
    words = " ".join(w.prompt for w in found.wanted)
    assert "wearing formal clothes" in words and "sportswear" not in words and "red dress" not in words
    assert not of([Facts(outfit="red dress")] * 4, Target(framing={})).wanted  # four say nothing


def test_no_pictures_give_prompts_for_a_whole_set() -> None:
    found = of([])
    assert sum(w.count for w in found.wanted) == 20 and found.remarks == ()
    assert Counter(
        p for w in found.wanted for p in ("full body", "portrait") for _ in range(w.count) if w.label.startswith(p)
    ) == {
        "full body": 2,
        "portrait": 4,
    }
    assert len({w.prompt for w in found.wanted}) > 12


def test_prompts_begin_with_the_subject_and_say_what_is_missing() -> None:
    target = Target(
        pictures=10, framing={"full body": 1.0}, angle={"profile left": 0.2}, tilt={}, expression={}, light={}
    )
    found = of([Facts(framing="full body", angle="frontal")] * 10, target)
    assert found.wanted == (
        Wanted(
            "full body, profile left", "ohwx woman, full body, from head to toe, profile from the side, facing left", 2
        ),
    )


@given(st.lists(facts, max_size=30), st.integers(0, 40))
def test_added_pictures_fill_every_gap_that_they_were_asked_for(seen: list[Facts], size: int) -> None:
    found = of(seen, Target(pictures=size))
    asked = {r.value: r.missing for r in found.rows if r.missing}
    given_ = Counter(part for w in found.wanted for part in w.label.split(", ") for _ in range(w.count))
    if sum(w.count for w in found.wanted) < 60:
        assert all(given_[value] >= count for value, count in asked.items())
    assert all(w.count > 0 and w.prompt.startswith("ohwx woman, ") for w in found.wanted)
    for w in found.wanted:  # what could not be measured afterwards is not asked for
        seldom = {"smiling", "neutral", "looking up", "looking down"} & set(w.label.split(", "))
        assert not (seldom and ("profile" in w.label or "full body" in w.label))


@given(st.lists(facts, max_size=30))
def test_each_facet_counts_every_picture_once(seen: list[Facts]) -> None:
    found = of(seen)
    for facet in (*MEASURED, "outfit", "background"):
        assert sum(r.count for r in found.of(facet)) == len(seen)
    assert balance_text(found)


def test_a_round_is_never_endless() -> None:
    found = of([Facts(framing="portrait")] * 2000)
    assert sum(w.count for w in found.wanted) == 60 and "Prompts are given for 60 pictures" in found.remarks[-1]
    mixed = Counter(w.label.split(",")[0] for w in found.wanted for _ in range(w.count))
    assert mixed["full body"] == pytest.approx(7.5, abs=1.5)  # of 1,400 and 200, mixed evenly


def test_a_plan_is_balanced_by_its_items() -> None:
    made = plan("ohwx woman")
    item = made.items[0].model_copy(update={"facts": Facts(framing="portrait"), "repeats": 5})
    found = balance_of(made.model_copy(update={"items": (item,)}))
    assert found.pictures == 1 and row(found, "framing", "portrait").trained == 1.0


def test_the_text_has_a_line_for_each_value_and_ends_with_the_prompts() -> None:
    lines = balance_text(of([*framed(9, 9, 0), Facts(framing="portrait", angle="frontal")])).splitlines()
    assert lines[0] == "19 pictures"
    assert any(line.split() == ["portrait", "10", "53%", "53%", "20%"] for line in lines)
    assert any(line.split() == ["full", "body", "0", "0%", "0%", "10%", "2"] for line in lines)
    assert any(line.split()[:3] == ["not", "known", "18"] for line in lines)
    assert lines[-1].startswith("  1 x ohwx woman, ") and all(line == line.rstrip() for line in lines)
