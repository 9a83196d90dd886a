"""Tags are counted once a caption; find and replace gives choices and never takes the trigger away."""

from __future__ import annotations

import pytest

from likeness.dataset.caption_edit import TagCount, count_tags, replace_captions, tag_table
from likeness.dataset.plan import Box, Choice, Item, SetPlan
from likeness.errors import LikenessError


def plan(*captions: str, choices: tuple[Choice, ...] = ()) -> SetPlan:
    items = [
        Item(
            source=f"{i}.png", sha256="0" * 64, width=800, height=800, box=Box(left=0, top=0, width=800, height=800),
            bucket_width=768, bucket_height=768, stem=f"{i + 1:04d}", caption=caption,
        )
        for i, caption in enumerate(captions)
    ]  # fmt: skip
    return SetPlan(name="first", slug="ada", trigger="ohwx", class_word="woman", items=tuple(items), choices=choices)


def after(made: SetPlan, *how: str, **more: bool) -> dict[str, str | None]:
    return {c.source: c.caption for c in replace_captions(made, *how, **more).choices}  # type: ignore[arg-type]


def test_a_tag_counts_once_for_each_caption_whatever_its_capitals() -> None:
    found = count_tags(["ohwx, Red dress, red dress", "ohwx, red dress", "ohwx,, smile ", ""])
    assert found == (TagCount("ohwx", 3, 0.75), TagCount("red dress", 2, 0.5), TagCount("smile", 1, 0.25))
    assert count_tags([]) == ()


def test_the_table_has_the_most_frequent_first_and_says_what_it_leaves_out() -> None:
    lines = tag_table([f"ohwx, tag {i}" for i in range(9)], rows=3).splitlines()
    assert lines[1].split() == ["9", "100%", "ohwx"] and lines[-1] == "and 7 more tags" and len(lines) == 5


def test_a_whole_tag_is_replaced_and_no_part_of_another() -> None:
    made = plan("ohwx woman, Red Hat, red hat box", "ohwx woman, hat")
    assert after(made, "red hat", "green cap") == {"0.png": "ohwx woman, green cap, red hat box"}
    assert after(made, "red hat", "green cap", case=True) == {}


def test_a_tag_is_removed_and_what_then_stands_twice_is_kept_once() -> None:
    made = plan("ohwx woman, smile, hat", "ohwx woman, hat, cap")
    assert after(made, "smile", "") == {"0.png": "ohwx woman, hat"}
    assert after(made, "cap", "Hat") == {"1.png": "ohwx woman, hat"}


def test_tags_in_a_row_are_one_find() -> None:
    made = plan("ohwx woman, a, b, c", "ohwx woman, a, c, b")
    assert after(made, "a, b", "d, e") == {"0.png": "ohwx woman, d, e, c"}


def test_text_is_replaced_wherever_it_stands_as_it_is_written() -> None:
    made = plan("ohwx woman wearing a Red.*Hat", "ohwx woman, red.*hats, hat")
    assert after(made, "red.*hat", r"\1 cap", "text") == {  # type: ignore[arg-type]
        "0.png": r"ohwx woman wearing a \1 cap",
        "1.png": r"ohwx woman, \1 caps, hat",
    }
    assert after(plan("ohwx woman, hat, cap"), "hat", "", "text") == {"0.png": "ohwx woman, cap"}  # type: ignore[arg-type]


def test_other_choices_are_kept_and_only_captions_that_change_become_choices() -> None:
    made = plan(
        "ohwx woman, hat", "ohwx woman", choices=(Choice(source="0.png", repeats=3), Choice(source="z", take=False))
    )
    found = replace_captions(made, "hat", "cap")
    assert found.choices == (
        Choice(source="0.png", repeats=3, caption="ohwx woman, cap"),
        Choice(source="z", take=False),
    )
    assert [(c.source, c.before, c.after) for c in found.changes] == [("0.png", "ohwx woman, hat", "ohwx woman, cap")]
    assert made.items[0].caption == "ohwx woman, hat"


@pytest.mark.parametrize(("find", "find_in"), [("ohwx woman", "tags"), ("ohwx", "text")])
def test_the_trigger_cannot_be_replaced(find: str, find_in: str) -> None:
    with pytest.raises(LikenessError, match="take the trigger word 'ohwx' from the beginning of 2 captions"):
        replace_captions(plan("ohwx woman, hat", "ohwx woman"), find, "cap", find_in)  # type: ignore[arg-type]


def test_the_class_word_can() -> None:
    assert after(plan("ohwx woman, hat"), "ohwx woman", "ohwx person") == {"0.png": "ohwx person, hat"}


@pytest.mark.parametrize(
    ("find", "put", "find_in", "why"),
    [
        ("", "x", "text", "nothing to look for"),
        (" , ", "x", "tags", "no tag"),
        ("hat", "x" * 3000, "text", "2,000"),
        ("hat", "a\x07b", "text", "control"),
    ],
)
def test_what_gives_no_caption_is_refused(find: str, put: str, find_in: str, why: str) -> None:
    with pytest.raises(LikenessError, match=why):
        replace_captions(plan("ohwx woman, hat"), find, put, find_in)  # type: ignore[arg-type]
