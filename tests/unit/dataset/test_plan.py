"""A plan is a value: equal bytes for equal values, errors that name the field, folder names that every system takes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.dataset.plan import Box, Choice, Item, Rejected, SetPlan, emit_plan, folder_name, parse_plan
from likeness.errors import LikenessError
from likeness.paths import check_relative, is_reserved

SHA = "0" * 64


def item(number: int = 1, **changes: object) -> Item:
    values = {
        "source": f"{number}.png", "sha256": SHA, "width": 800, "height": 800,
        "box": Box(left=0, top=0, width=800, height=800), "bucket_width": 768, "bucket_height": 768,
        "stem": f"{number:04d}", "caption": "ohwx woman",
    }  # fmt: skip
    return Item(**{**values, **changes})  # type: ignore[arg-type]


def plan(*items: Item, **changes: object) -> SetPlan:
    return SetPlan(
        **{"name": "first", "slug": "ada", "trigger": "ohwx", "class_word": "woman", "items": items, **changes}
    )  # type: ignore[arg-type]


def test_a_plan_comes_back_from_its_bytes() -> None:
    made = plan(
        item(1),
        item(2, repeats=5, group="red"),
        rejected=(Rejected(source="x.png", code="no face", reason="No face was found."),),
        choices=(Choice(source="1.png", take=True, caption="ohwx woman, smiling"),),
    )
    assert parse_plan(emit_plan(made)) == made
    assert emit_plan(parse_plan(emit_plan(made))) == emit_plan(made)


def test_a_plan_holds_no_time() -> None:
    assert not {"time", "date", "created"} & set(json.loads(emit_plan(plan(item()))))


WRONG = {
    "a bucket that is none": (("items", 0, "bucket_width"), 760, "no bucket"),
    "a box outside": (("items", 0, "box", "left"), 10, "leaves the picture"),
    "a stem that sd-scripts reads into": (("items", 0, "stem"), "a_b_c_d_e", "stem"),
    "no repeats": (("items", 0, "repeats"), 0, "repeats"),
    "a number as text": (("items", 0, "repeats"), "3", "repeats"),
    "a caption of two lines": (("items", 0, "caption"), "ohwx\nwoman", "one line"),
    "a caption with a byte order mark": (("items", 0, "caption"), "\ufeffohwx", "byte order mark"),
    "a blank caption": (("items", 0, "caption"), "  ", "blank"),
    "an unknown field": (("items", 0, "colour"), "red", "colour"),
    "a side that is none": (("shape", "side"), 7, "shape"),
    "a later version": (("schema_version",), 2, "schema_version"),
    "a set's name that leaves its folder": (("name",), "../x", "name"),
    "no trigger": (("trigger",), "", "trigger"),
    "an infinite threshold": (("rules", "sharpness"), 1e999, "sharpness"),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_a_wrong_plan_is_refused_with_the_field(case: str) -> None:
    path, value, told = WRONG[case]
    values = json.loads(emit_plan(plan(item())))
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(LikenessError, match=told):
        parse_plan(json.dumps(values).encode())


def test_a_source_and_a_stem_appear_once() -> None:
    with pytest.raises(ValueError, match="appears twice"):
        plan(item(1), item(1, source="2.png"))
    with pytest.raises(ValueError, match="appears twice"):
        plan(item(1), rejected=(Rejected(source="1.png", code="blurred", reason="x."),))


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"name": 1}'])
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(LikenessError):
        parse_plan(junk)


def test_there_is_a_folder_for_each_number_of_repeats() -> None:
    made = plan(item(1, repeats=10), item(2, repeats=3), item(3, repeats=10))
    assert made.folder_names == ((3, "3_ohwx woman"), (10, "10_ohwx woman"))
    assert made.folder_of(made.items[1]) == "3_ohwx woman" and made.samples == 23


@pytest.mark.parametrize(
    ("trigger", "class_word", "name"),
    [
        ("ohwx", "woman", "10_ohwx woman"),
        ("ohwx", "", "10_ohwx"),
        ("my_char", "girl", "10_my_char girl"),
        ("a/b\\c:d", "x*y?", "10_a b c d x y"),
        ("Zoë", "wömän", "10_Zoe woman"),
        ("アダ", "女性", "10_ada"),
        ("con", "", "10_con"),
        ("v1.5.png", "", "10_v1 5 png"),
        ("  ", "..", "10_ada"),
    ],
)
def test_odd_triggers_make_plain_folders(trigger: str, class_word: str, name: str) -> None:
    assert folder_name(10, trigger, class_word, "ada") == name


@given(st.text(max_size=300), st.text(max_size=300), st.integers(1, 1000))
def test_every_folder_name_is_read_back_as_its_repeats_on_every_system(trigger: str, word: str, repeats: int) -> None:
    name = folder_name(repeats, trigger, word, "ada")
    assert int(name.split("_")[0]) == repeats  # as sd-scripts reads it
    assert check_relative(f"img/{name}/0001.png") and not is_reserved(name) and len(name) <= 120
