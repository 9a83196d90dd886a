"""Value lists as text and as files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.errors import LibraryError, LikenessError, ProfileError
from likeness.library import TRASH, Library
from likeness.profile import Outfit, Profile
from likeness.scenes.lists import (
    DEFAULTS,
    FACETS,
    MAX_ENTRIES,
    Entry,
    Lists,
    emit_lists,
    list_names,
    load_lists,
    outfits_of,
    parse_lines,
    parse_lists,
    save_lists,
)

LINE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=80).filter(str.strip)


def test_there_are_five_outfits_backgrounds_and_poses_and_some_of_the_others() -> None:
    assert [len(DEFAULTS.of(facet)) for facet in FACETS[:3]] == [5, 5, 5]
    assert all(len(DEFAULTS.of(facet)) >= 5 for facet in FACETS)


@pytest.mark.parametrize(
    ("line", "name", "text"),
    [
        ("red dress: a red summer dress", "red dress", "a red summer dress"),
        ("a red summer dress", "a red summer dress", "a red summer dress"),
        ("  a red dress,  ", "a red dress", "a red dress"),
        ("(red dress:1.2), straw hat", "(red dress:1.2), straw hat", "(red dress:1.2), straw hat"),
        ("(red dress:1.2), note: big", "(red dress:1.2), note: big", "(red dress:1.2), note: big"),
        ("at 10:30 in the morning", "at 10:30 in the morning", "at 10:30 in the morning"),
        ("赤いドレス: a red dress", "赤いドレス", "a red dress"),
        ("tabs\tinside", "tabs inside", "tabs inside"),
    ],
)
def test_what_stands_before_a_colon_and_a_space_is_the_name(line: str, name: str, text: str) -> None:
    (entry,) = parse_lines(line)
    assert (entry.name, entry.text) == (name, text)


def test_a_trigger_and_loras_may_follow_the_text() -> None:
    (entry,) = parse_lines("silk: a silk robe | trigger=slkrb | loras=silk:0.7, robe:0.4")
    assert entry == Entry(name="silk", text="a silk robe", trigger="slkrb", loras="silk:0.7, robe:0.4")
    (other,) = parse_lines("red | blue")
    assert other.text == "red | blue"


def test_blank_lines_and_remarks_are_passed_over_and_doubles_taken_once() -> None:
    found = parse_lines("# clothes\n\na coat\r\nA  COAT\n   \ncoat: a coat\n")
    assert [e.text for e in found] == ["a coat"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("coat: a wool coat\nCoat: a rain coat", "lines 1 and 2"),
        ("a coat\na\x07dress", "line 2"),
        ("a dress with a \ud800", "line 1"),
        ("\n".join(f"coat {n}" for n in range(MAX_ENTRIES + 1)), "2000"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_list_and_line(text: str, said: str) -> None:
    with pytest.raises(LikenessError, match="outfit list") as told:
        parse_lines(text, "outfit list")
    assert said in str(told.value)


def test_a_text_of_ten_thousand_words_is_an_entry() -> None:
    text = "word " * 9999 + "end"
    (entry,) = parse_lines(text)
    assert entry.text == text and len(entry.name) < 100
    assert parse_lines(entry.line()) == (entry,)


@given(st.lists(st.builds(Entry, name=LINE, text=LINE, trigger=st.just(""), loras=st.just("")), max_size=5))
def test_a_file_gives_back_what_was_written(entries: list[Entry]) -> None:
    unique = {e.name.casefold(): e for e in entries}
    lists = Lists(name="Mine", outfit=tuple(unique.values()))
    assert parse_lists(emit_lists(lists)) == lists


def test_the_text_of_a_list_gives_its_entries_back() -> None:
    for facet in FACETS:
        assert parse_lines(DEFAULTS.text(facet)) == DEFAULTS.of(facet)
    odd = Entry(name="silk", text="a silk robe: white", trigger="slk", loras="silk:0.7")
    assert parse_lines(odd.line()) == (odd,)


def test_the_characters_own_outfits_come_first_and_once() -> None:
    own = {"silk": Outfit(text="a silk robe", trigger="slk"), "coat": Outfit(text="a coat")}
    profile = Profile(name="Ada", slug="ada", outfits=own)
    others = parse_lines("a hat\nA coat\na silk robe")
    assert [(e.name, e.trigger) for e in outfits_of(profile, others)] == [
        ("silk", "slk"),
        ("coat", ""),
        ("a hat", ""),
        ("a silk robe", ""),
    ]


def test_lists_are_saved_by_name_and_what_they_replace_goes_to_the_trash(library: Library) -> None:
    first, second = Lists(outfit=parse_lines("a coat")), Lists(outfit=parse_lines("a hat"))
    path = save_lists(library, "Summer Looks", first)
    assert path.relative_to(library.roots[0]).as_posix() == "_shared/lists/summer_looks.toml"
    assert load_lists(library, "summer_looks").outfit == first.outfit
    assert list_names(library) == ["summer_looks"]
    assert library.slugs() == []
    with pytest.raises(LibraryError, match="summer_looks"):
        save_lists(library, "Summer Looks", second, replace=False)
    assert load_lists(library, "Summer Looks").outfit == first.outfit
    save_lists(library, "Summer Looks", second)
    assert load_lists(library, "Summer Looks").outfit == second.outfit
    assert "a coat" in next((library.roots[0] / TRASH).glob("*.toml")).read_text(encoding="utf-8")


def test_saving_the_same_again_changes_nothing(library: Library) -> None:
    save_lists(library, "mine", DEFAULTS)
    save_lists(library, "mine", DEFAULTS, replace=False)
    assert not (library.roots[0] / TRASH).exists()


def test_a_list_that_is_not_there_is_told_with_those_that_are(library: Library) -> None:
    save_lists(library, "winter", DEFAULTS)
    with pytest.raises(LibraryError, match="winter"):
        load_lists(library, "summer")


@pytest.mark.parametrize("name", ["../evil", "", "/etc/passwd", "con", "日本"])
def test_a_name_that_is_no_file_name_is_refused(library: Library, name: str) -> None:
    with pytest.raises(LikenessError):
        save_lists(library, name, DEFAULTS)
    assert list_names(library) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[outfit]]\nname = "a"\ntext = "b"\n[[outfit]]\nname = "A"\ntext = "c"', "named twice"),
        ('[[outfit]]\nname = "a"', "outfit.*text.*missing"),
        ('[[outfits]]\nname = "a"\ntext = "b"', "did you mean `outfit`"),
        ("[[outfit]\n", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_told_with_its_field(text: str, said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        parse_lists(text.encode())


@pytest.mark.parametrize("field", ["lorass", "lora", "Triggers", "triger"])
def test_a_misspelt_field_is_told_and_not_drawn(field: str) -> None:
    with pytest.raises(LikenessError, match=rf"line 2: '{field}' is no field of an entry: write trigger"):
        parse_lines(f"a: b\nsilk: a silk dress | {field}=red_dress:0.3")
    assert parse_lines("odd: day | night = 3")[0].text == "day | night = 3"
