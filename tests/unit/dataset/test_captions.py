"""Captions are one line with the trigger first, vary from picture to picture, and never name what never changes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.dataset.caption_tokens import LIMIT, estimate_tokens, limit_of
from likeness.dataset.captions import (
    FORMS,
    Style,
    caption_of,
    captions_of,
    clean_caption,
    is_identity,
    keep_tokens,
    never_change,
    read_caption,
    starts_with_trigger,
    subject_of,
    tags_of,
    texts_for,
    with_trigger,
)
from likeness.dataset.plan import Facts, check_caption
from likeness.dataset.planning import About
from likeness.errors import LikenessError
from likeness.profile import Profile

from .pictures import ADA

PARK = Facts(
    framing="portrait",
    angle="three-quarter left",
    tilt="looking up",
    expression="smiling",
    light="dark",
    outfit="red dress",
    background="a park",
    tags=("1girl", "solo", "blue eyes", "long hair", "smile", "earrings", "ohwx", "umbrella"),
)
facts = st.builds(
    Facts,
    framing=st.sampled_from(["", "portrait", "upper body", "full body"]),
    angle=st.sampled_from(["", "frontal", "profile left", "three-quarter right"]),
    tilt=st.sampled_from(["", "level", "looking down"]),
    expression=st.sampled_from(["", "smiling", "neutral"]),
    light=st.sampled_from(["", "bright", "even"]),
    outfit=st.sampled_from(["", "red dress", "wearing a coat", "outfit 2"]),
    background=st.sampled_from(["", "a park", "in a street", "background 3"]),
    tags=st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20), max_size=40).map(
        tuple
    ),
)


@given(facts, st.integers(0, 10_000), st.sampled_from(FORMS))
def test_a_template_is_one_line_with_the_subject_first_and_always_the_same(f: Facts, index: int, form: str) -> None:
    style = Style(form)  # type: ignore[arg-type]
    caption = caption_of(f, ADA, index, style)
    assert check_caption(caption) == caption and caption.startswith("ohwx woman")
    assert starts_with_trigger(caption, ADA) and caption == caption_of(f, ADA, index, style)
    assert clean_caption(caption) == caption or any(not t.isascii() for t in f.tags)


@given(facts, st.integers(0, 100))
def test_a_template_fits_into_the_tokens_by_leaving_out_tags(f: Facts, index: int) -> None:
    assert estimate_tokens(caption_of(f, ADA, index)) <= LIMIT


def test_tags_give_way_to_what_was_measured_the_last_ones_first() -> None:
    many = PARK.model_copy(update={"tags": tuple(f"striped umbrella {i}" for i in range(40))})
    caption = caption_of(many, ADA, 0)
    assert "portrait" in caption and "striped umbrella 0" in caption and "striped umbrella 39" not in caption
    assert LIMIT - 8 <= estimate_tokens(caption) <= LIMIT


def test_pictures_that_show_the_same_get_captions_that_differ() -> None:
    captions = [caption_of(PARK, ADA, i) for i in range(12)]
    assert len(set(captions)) >= 9
    words = Counter(tag for c in captions for tag in tags_of(c)[1:])
    del words["earrings"], words["umbrella"]  # a tagger's words have no other wording
    assert max(words.values()) < 0.8 * len(captions)
    assert len({tags_of(c)[1] for c in captions}) > 4  # nor do they come in one order


def test_wordings_are_mixed_in_every_way() -> None:
    two = Facts(framing="portrait", expression="smiling")
    assert len({frozenset(tags_of(caption_of(two, ADA, i))) for i in range(9)}) == 9


def test_nothing_is_said_twice() -> None:
    f = Facts(framing="portrait", light="dark", tags=("Dim light", "low light", "head and shoulders", "hat", "Hat"))
    for i in range(9):
        tags = [t.casefold() for t in tags_of(caption_of(f, ADA, i))]
        assert len(set(tags)) == len(tags)


def test_everything_that_is_known_and_varies_is_named() -> None:
    caption = caption_of(PARK, ADA, 0)
    for words in (
        "portrait",
        "three-quarter view facing left",
        "looking up",
        "smiling",
        "dim light",
        "red dress",
        "a park",
    ):
        assert words in caption
    assert caption_of(Facts(), ADA, 3) == "ohwx woman"


def test_left_and_right_are_never_mixed_up() -> None:
    for i in range(30):
        assert "right" not in caption_of(Facts(angle="profile left"), ADA, i)
        assert "left" not in caption_of(Facts(angle="three-quarter right"), ADA, i)
        assert "left" in caption_of(Facts(angle="profile left"), ADA, i)


def test_identity_and_what_was_said_already_are_left_out_of_a_taggers_words() -> None:
    for i in range(6):
        tags = tags_of(caption_of(PARK, ADA, i))
        assert {"earrings", "umbrella"} <= set(tags)
        assert not {"1girl", "solo", "blue eyes", "long hair", "ohwx", "smile"} & set(tags)
    assert "long hair" in caption_of(PARK, ADA, 0, Style(keep=("Long Hair",)))


@pytest.mark.parametrize(
    "tag",
    ["blue eyes", "long hair", "very long hair", "light brown hair", "dark skin", "1girl", "2boys", "multiple girls",
     "freckles", "mole under eye", "scar on face", "facial hair", "beard", "blunt bangs", "cat ears", "large breasts",
     "heterochromia", "Blonde Hair", "male focus", "solo"],
)  # fmt: skip
def test_what_never_changes_about_a_person_is_known(tag: str) -> None:
    assert is_identity(tag)


@pytest.mark.parametrize(
    "tag",
    ["red dress", "closed eyes", "hair ribbon", "ponytail", "hair flower", "white background", "eyewear", "smile",
     "sitting", "looking at viewer", "black footwear", "wet hair", "brown coat", "tailcoat", "skin tight"],
)  # fmt: skip
def test_what_does_change_is_not(tag: str) -> None:
    assert not is_identity(tag)


def test_clusters_have_no_words() -> None:
    assert caption_of(Facts(outfit="outfit 2", background="background 12"), ADA, 0) == "ohwx woman"


def test_a_sentence_ends_with_a_full_stop_and_names_the_same() -> None:
    caption = caption_of(PARK, ADA, 0, Style("sentence"))
    assert caption == (
        "ohwx woman, smiling, looking up, wearing red dress. Portrait, three-quarter view facing left, dim light, "
        "a park in the background, earrings, umbrella."
    )


def test_phrases_can_be_left_out_of_all_captions() -> None:
    style = Style(leave_out=("Umbrella", "red dress", "wearing red dress", "in red dress"))
    assert all("umbrella" not in c and "dress" not in c for c in (caption_of(PARK, ADA, i, style) for i in range(6)))


def test_what_stands_in_most_pictures_is_found_and_then_left_out() -> None:
    one = Facts(outfit="red dress", background="a park", tags=("brooch", "hat"))
    hatless = Facts(tags=("Brooch",))
    other = Facts(outfit="red dress", background="a street", tags=("Brooch",))
    found = never_change([one, other, one, other, one])
    assert {"brooch", "red dress", "wearing red dress"} <= set(found)
    assert not any("park" in f or "hat" in f for f in found)
    for i in range(6):
        caption = caption_of(one, ADA, i, Style(leave_out=found))
        assert "brooch" not in caption and "dress" not in caption and "hat" in caption and "park" in caption
    assert "brooch" in never_change([hatless] * 4 + [Facts()]) and not never_change([hatless] * 4 + [Facts()] * 2)
    assert never_change([one] * 4) == ()


@pytest.mark.parametrize("who", [ADA, Profile(name="Ada", slug="ada", trigger=" ohwx ", class_word="woman")])
def test_the_subject_is_trigger_and_class_word(who: About | Profile) -> None:
    assert subject_of(who) == "ohwx woman" and keep_tokens(who) == 1


def test_a_trigger_with_a_comma_needs_more_tokens_kept() -> None:
    assert keep_tokens(About("Ada", "ada", "ohwx, ada", "woman")) == 2
    assert keep_tokens(About("", "", "", "")) == 1


READ = {
    "plain": (b"ohwx woman, smiling", "ohwx woman, smiling"),
    "a byte order mark": (b"\xef\xbb\xbfohwx, smiling\n", "ohwx, smiling"),
    "line ends of Windows": (b"ohwx, one\r\n", "ohwx, one"),
    "old line ends of the Mac": (b"ohwx, one\rtwo\r", "ohwx, one, two"),
    "a blank first line": (b"\n \nohwx, below", "ohwx, below"),
    "a wrapped sentence": (b"ohwx in a park,\nsmiling at\n the camera.", "ohwx in a park, smiling at the camera."),
    "a tag on each line": (b"ohwx woman\nsmiling\nred dress", "ohwx woman, smiling, red dress"),
    "one line twice": (b"ohwx smiling\nohwx smiling\n", "ohwx smiling"),
    "variations": (b"ohwx woman, smiling\nOhwx woman, laughing", "ohwx woman, smiling"),
    "Spanish in Latin-1": ("ohwx, ¿qué? ¡olé!".encode("latin-1"), "ohwx, ¿qué? ¡olé!"),
    "Latin-1": ("ohwx, café à la crème".encode("latin-1"), "ohwx, café à la crème"),
    "quotation marks of Windows": ("ohwx, “Ada’s” hat".encode("cp1252"), "ohwx, “Ada’s” hat"),
    "UTF-16": ("ohwx, größe".encode("utf-16"), "ohwx, größe"),
    "UTF-16, big end first": (b"\xfe\xff" + "ohwx, größe".encode("utf-16-be"), "ohwx, größe"),
    "Cyrillic in UTF-8": ("ohwx, привет".encode(), "ohwx, привет"),
    "tabs and blanks": ("ohwx,\t smiling \u00a0 broadly ".encode(), "ohwx, smiling broadly"),
    "signs that nobody sees": ("oh\u200bwx, smi\u00adling\u2060".encode(), "ohwx, smiling"),
    "an accent of its own": ("ohwx, cafe\u0301".encode(), "ohwx, café"),
    "an emoji of several": ("ohwx, 👩\u200d🚀".encode(), "ohwx, 👩\u200d🚀"),
    "a line separator": ("ohwx,\u2028smiling\u0085here".encode(), "ohwx, smiling, here"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "text"), READ.values(), ids=READ)
def test_a_file_however_it_was_saved_becomes_one_clean_line(data: bytes, text: str) -> None:
    assert read_caption(data) == text


REFUSED = {
    "no bytes": (b"", "is empty"),
    "blanks": (b" \r\n\t\n", "is empty"),
    "only a byte order mark": (b"\xef\xbb\xbf", "is empty"),
    "Cyrillic of Windows": ("ohwx, привет, мир".encode("cp1251"), "save it as UTF-8"),
    "one Ukrainian word": ("ohwx, їх".encode("cp1251"), "save it as UTF-8"),
    "Cyrillic beside Latin": ("ohwxпривет".encode("cp1251"), "save it as UTF-8"),
    "Chinese": ("ohwx, 你好".encode("gbk"), "save it as UTF-8"),
    "one Chinese letter": ("ohwx, 中".encode("gbk"), "save it as UTF-8"),
    "Japanese": ("ohwx, こんにちは".encode("shift-jis"), "save it as UTF-8"),
    "UTF-16 cut short": (b"\xff\xfeo\x00h\x00w", "save it as UTF-8"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "save it"),
    "zeros": (b"ohwx\x00\x00", "control characters"),
    "a terminal's colours": (b"ohwx, \x1b[31mred", "control characters"),
    "100,000 characters": (b"ohwx, " + b"very " * 20_000, "2,000 are the most"),
}


@pytest.mark.parametrize(("data", "why"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_no_caption_is_refused_in_one_sentence(data: bytes, why: str) -> None:
    with pytest.raises(LikenessError, match=why) as told:
        read_caption(data)
    assert str(told.value).endswith(".") and "\n" not in str(told.value)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_whatever_bytes_come_out_are_a_caption_and_stay_one(data: bytes) -> None:
    try:
        text = read_caption(data)
    except LikenessError:
        return
    assert check_caption(text) == text == text.strip() and "\ufeff" not in text
    assert read_caption(text.encode()) == text


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("ohwx woman, smiling", "ohwx woman, smiling"),
        ("ohwx smiling in a park", "ohwx smiling in a park"),
        ("OHWX woman,  smiling", "ohwx woman, smiling"),
        ("ohwxy, smiling", "ohwx woman, ohwxy, smiling"),
        ("smiling, ohwx woman, park", "ohwx woman, smiling, park"),
        ("smiling, Ohwx", "ohwx woman, smiling"),
        ("photo of ohwx woman in a park", "ohwx woman, photo of ohwx woman in a park"),
        ("a woman in a garden", "ohwx woman, a woman in a garden"),
    ],
)
def test_the_trigger_comes_first(caption: str, expected: str) -> None:
    assert with_trigger(caption, ADA) == expected == with_trigger(expected, ADA)


def test_without_a_trigger_nothing_is_put_before() -> None:
    assert with_trigger("a woman", About("Ada", "ada", "", "woman")) == "a woman"


def test_a_text_of_a_graph_is_for_all_pictures_or_has_a_line_for_each() -> None:
    assert texts_for("smiling\n", 3) == ("smiling",) * 3
    assert texts_for("one\n\ntwo\r\n", 2) == ("one", "two")
    assert captions_of(texts_for("one\ntwo", 2), ADA) == ("ohwx woman, one", "ohwx woman, two")
    with pytest.raises(LikenessError, match="2 lines for 3 pictures"):
        texts_for("one\ntwo", 3)
    with pytest.raises(LikenessError, match="0 lines"):
        texts_for(" \n", 3)


def test_models_with_a_language_model_read_more() -> None:
    assert limit_of("sd15") == limit_of("sdxl") == 75 < limit_of("flux")


def test_no_template_calls_a_portrait_a_close_up() -> None:
    said = {caption_of(Facts(framing="portrait"), ADA, index) for index in range(30)}
    assert len(said) == 3 and not any("close-up" in caption for caption in said)
