from __future__ import annotations

import pytest

from likeness.profile import Profile
from likeness.prompt import negative, positive


def profile(**values: str) -> Profile:
    return Profile(name="Ada", slug="ada", **values)


@pytest.mark.parametrize(
    ("values", "text", "expected"),
    [
        ({"trigger": "adaray", "class_word": "woman"}, "in a park", "adaray woman, in a park"),
        ({"trigger": "adaray"}, "", "adaray"),
        ({"class_word": "woman"}, "in a park", "woman, in a park"),
        ({}, "in a park", "in a park"),
        ({"description": "red hair,"}, ", in a park", "red hair, in a park"),
        ({"trigger": "adaray", "description": "red hair"}, "in a park", "adaray, red hair, in a park"),
        ({"trigger": "adaray"}, "a photo of adaray, smiling", "a photo of adaray, smiling"),
        ({"trigger": "adaray"}, "portrait of Adaray\nin a park", "portrait of Adaray\nin a park"),
        ({"trigger": "adaray"}, "(adaray:1.2), smiling", "(adaray:1.2), smiling"),
        ({"trigger": " adaray "}, "adaray.", "adaray."),
        ({"trigger": "ada"}, "adaptive light", "ada, adaptive light"),
        ({"trigger": "ada"}, "in canada", "ada, in canada"),
        ({"trigger": "a.a"}, "aba", "a.a, aba"),
        ({"trigger": "  ", "class_word": "woman"}, "in a park", "woman, in a park"),
    ],
)
def test_the_character_comes_before_the_users_text_and_only_once(values: dict, text: str, expected: str) -> None:
    assert positive(profile(**values), text) == expected


@pytest.mark.parametrize(
    ("own", "text", "expected"),
    [("", "", ""), ("blurry", "", "blurry"), ("blurry", "text", "blurry, text"), ("", "text", "text")],
)
def test_negatives_are_joined(own: str, text: str, expected: str) -> None:
    assert negative(profile(negative=own), text) == expected
