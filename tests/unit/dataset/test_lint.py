"""Every way in which captions train something else than is meant is told, in one sentence, with the pictures."""

from __future__ import annotations

import pytest

from likeness.dataset.captions import caption_of
from likeness.dataset.lint import SEVERITIES, Finding, LintRules, lint, lint_files, lint_plan, lint_text, rules_for
from likeness.dataset.plan import Facts, SetPlan, Wish
from likeness.dataset.planning import About
from likeness.profile import Profile

from .pictures import ADA
from .test_caption_edit import plan


def named(texts: list[str]) -> dict[str, str]:
    return {f"{i}.png": text for i, text in enumerate(texts)}


def only(findings: tuple[Finding, ...], code: str) -> Finding:
    (found,) = [f for f in findings if f.code == code]
    return found


def codes(*texts: str, who: About = ADA, **rules: object) -> set[str]:
    return {f.code for f in lint(named(list(texts)), who, LintRules(**rules))}  # type: ignore[arg-type]


SOUND = [
    f"ohwx woman, {a}, {b}" for a in ("smiling", "neutral expression") for b in ("red dress", "in a park", "portrait")
]


def test_sound_captions_have_no_finding() -> None:
    assert lint(named(SOUND), ADA) == () == lint_plan(plan(*SOUND)) == lint({}, ADA)


def test_our_own_templates_have_none_but_repetition() -> None:
    framings = ("upper body", "upper body", "upper body", "portrait", "full body")
    facts = [
        Facts(
            framing=framings[i % 5],
            angle="frontal",
            tilt="level",
            light="dark",
            expression=("smiling", "neutral")[i % 2],
        )
        for i in range(40)
    ]
    for n in (1, 5, 10, 40):
        assert codes(*(caption_of(f, ADA, i) for i, f in enumerate(facts[:n]))) <= {"duplicate"}


@pytest.mark.parametrize(
    ("caption", "code", "severity"),
    [
        ("", "empty", "error"),
        (" \t", "empty", "error"),
        ("a woman in a park", "no trigger", "error"),
        ("ohwxy woman", "no trigger", "error"),
        ("photo of ohwx woman", "trigger not first", "error"),
        ("OHWX woman", "trigger in other letters", "warning"),
        ("ohwx woman\nsmiling", "line break", "error"),
        ("ohwx woman\r\n", "line break", "error"),
        ("\ufeffohwx woman", "byte order mark", "error"),
        ("ohwx woman, {red|blue} dress", "syntax", "warning"),
        ("ohwx woman, __colour__ dress", "syntax", "warning"),
        ("ohwx woman, (smile:1.3)", "syntax", "warning"),
        ("ohwx woman, <lora:dress_v2:0.8>", "syntax", "warning"),
        ("ohwx woman ||| smiling", "syntax", "warning"),
        ("ohwx woman, [trigger]", "syntax", "warning"),
        ("ohwx woman, with Bo Diddley", "other character", "warning"),
        ("ohwx woman, ZXCV man", "other character", "warning"),
        ("ohwx woman, " + "umbrella, " * 50, "too long", "warning"),
        ("ohwx woman, hat, Hat", "said twice", "note"),
    ],
)
def test_each_fault_is_told_with_its_picture(caption: str, code: str, severity: str) -> None:
    found = lint(named([*SOUND, caption]), ADA, LintRules(others=("Bo  Diddley", "zxcv", "ohwx", "", "woman")))
    one = only(found, code)
    assert one.severity == severity and one.sources == ("6.png",) and one.text.endswith(".") and "\n" not in one.text


def test_plain_brackets_colons_and_smileys_are_no_syntax() -> None:
    assert codes("ohwx woman, star (symbol), :d, at 10:30, ^_^, {hat}, size: 1.5") == set()


def test_a_name_inside_a_word_is_nobody() -> None:
    assert "other character" not in codes("ohwx woman, bonnet, rosewood table", others=("Bo", "Rose"))
    assert "other character" in codes("ohwx woman, rose-coloured dress", others=("Rose",))


LIBRARY = (
    Profile(name="Ada", slug="ada", trigger="ohwx", class_word="woman"),
    Profile(name="Bo Diddley", slug="bo", trigger="zxcv"),
    Profile(name="Zoe", slug="zoe_x"),  # trained by the letters of its slug
    Profile(name="Her", slug="her", trigger="woman"),
)


def codes_of(made: SetPlan) -> set[str]:
    return {f.code for f in lint_plan(made, rules_for(made, LIBRARY))}


@pytest.mark.parametrize("word", ["Bo Diddley", "ZXCV", "Zoe", "zoex"])
def test_names_and_trigger_words_of_the_library_are_other_characters(word: str) -> None:
    made = plan(*SOUND, f"ohwx woman, beside {word}")
    assert only(lint_plan(made, rules_for(made, LIBRARY)), "other character").sources == ("6.png",)
    assert lint_plan(made, rules_for(made)) == ()


def test_neither_the_set_s_own_character_nor_a_word_of_every_sentence_is_another() -> None:
    assert codes_of(plan(*SOUND, "ohwx woman, Ada with her dog")) == set()


def test_a_set_is_judged_by_how_its_family_is_trained() -> None:
    long = "ohwx woman, who walks along a river, " + ", ".join(f"past the {n}th boat of the day" for n in range(10))
    made = plan(*SOUND, long)
    assert codes_of(made) == {"too long"}
    assert codes_of(made.model_copy(update={"wish": Wish(family="flux")})) == set()
    assert not rules_for(plan(long)).shuffle and rules_for(plan(*(f"{c}, hat" for c in SOUND))).shuffle
    assert rules_for(made.model_copy(update={"trigger": "ohwx, ada"})).keep_tokens == 2


def test_a_trait_in_four_of_five_captions_binds() -> None:
    captions = [f"ohwx woman, {'Red Hair, ' if i < 8 else ''}{w}" for i, w in enumerate("abcdefghij")]
    one = only(lint(named(captions), ADA), "binds")
    assert "'red hair' stands in 8 of 10 captions" in one.text and "trait" in one.text and len(one.sources) == 8
    assert codes(*captions, share=0.81) == set() == codes(*captions, allowed=("red hair",))
    assert codes(*captions[:9]) == set()  # 8 of 9: below ten it must be all, chance does the rest


def test_a_word_is_told_beside_its_phrase_where_it_stands_in_more_captions() -> None:
    captions = [f"ohwx woman, {'dark' if i < 8 else 'wet'} braid, {w}" for i, w in enumerate("abcdefghij")]
    told = [f.text.split("'")[1] for f in lint(named(captions), ADA)]
    assert told == ["braid", "dark braid"]  # and not "dark", which only stands there


def test_a_phrase_of_prose_binds_whatever_stands_around_it() -> None:
    ends = ("in a park", "at home", "on a boat", "by the sea", "under trees", "at night")
    captions = [f"ohwx woman with a long red braid {end}." for end in ends]
    assert "'long red braid' stands in 6 of 6" in only(lint(named(captions), ADA), "binds").text


def test_captions_of_one_long_text_are_not_told_word_by_word() -> None:
    same = "ohwx woman " + " ".join(f"word{i}" for i in range(60))
    found = [f for f in lint(named([same] * 6), ADA) if f.code == "binds"]
    assert len(found) == 21 and found[-1].text.startswith("37 more phrases stand in most captions")


def test_the_subject_never_binds_nor_do_small_words() -> None:
    captions = [f"ohwx woman, the woman with her {w} is in the {v}" for w, v in zip("abcdef", "ghijkl", strict=True)]
    assert codes(*captions) == set()
    assert codes("ohwx woman", *["ohwx woman, a hat"] * 3) <= {"duplicate"}  # four pictures say nothing


def test_shuffling_needs_the_trigger_kept() -> None:
    assert "shuffled trigger" in codes(*SOUND, shuffle=True, keep_tokens=0)
    assert "shuffled trigger" in codes(*SOUND, tag_dropout=0.1, keep_tokens=0)
    assert codes(*SOUND, keep_tokens=0) == set() == codes(*SOUND, shuffle=True)
    two = About("Ada", "ada", "ohwx, ada", "woman")
    assert (
        "set keep_tokens to 2"
        in only(lint({"a": "ohwx, ada woman, hat"}, two, LintRules(shuffle=True)), "shuffled trigger").text
    )


def test_shuffling_takes_sentences_apart_and_keeps_what_it_is_told() -> None:
    prose = "ohwx woman walks through a park with a dog, smiling, in the evening."
    assert "shuffled sentence" in codes(prose, shuffle=True) and "shuffled sentence" not in codes(prose)
    kept = only(lint(named(SOUND), ADA, LintRules(shuffle=True, keep_tokens=3)), "kept in place")
    assert kept.severity == "note" and len(kept.sources) == 6


def test_a_choice_is_only_noted_where_the_trainer_takes_choices() -> None:
    found = lint({"a": "ohwx woman, {red|blue} dress"}, ADA, LintRules(wildcards=True))
    assert only(found, "syntax").severity == "note"


def test_a_callers_own_tokenizer_is_believed() -> None:
    assert codes("ohwx woman, hat", count=lambda text: 76) == {"too long"}
    one = only(lint({"a": "ohwx woman"}, ADA, LintRules(count=lambda text: 76)), "too long")
    assert codes("ohwx woman, hat", count=lambda text: 75) == set()
    assert "perhaps" not in one.text and "76 in the longest" in one.text
    assert codes("ohwx woman, " + "umbrella, " * 50 + "hat", tokens=225) <= {"said twice"}


def test_captions_that_are_all_alike_are_a_warning_and_two_of_many_a_note() -> None:
    assert only(lint(named(["ohwx woman"] * 6), ADA), "duplicate").severity == "warning"
    two = only(lint(named([*SOUND, SOUND[0]]), ADA), "duplicate")
    assert two.severity == "note" and two.sources == ("0.png", "6.png")


FILES = {
    "bom.txt": (b"\xef\xbb\xbfohwx woman, one", "byte order mark"),
    "wide.txt": ("ohwx woman, two".encode("utf-16"), "byte order mark"),
    "latin.txt": ("ohwx woman, café".encode("latin-1"), "encoding"),
    "kyrillic.txt": ("ohwx, привет".encode("cp1251"), "encoding"),
    "empty.txt": (b"", "empty"),
    "blanks.txt": (b"\r\n ", "empty"),
    "blank first.txt": (b"\nohwx woman, three", "line break"),
    "bom and blank first.txt": (b"\xef\xbb\xbf\nohwx woman, four", "line break"),
    "several.txt": (b"ohwx woman, five\nsmiling", "line break"),
    "wide and of Windows.txt": ("ohwx woman, two\r\n".encode("utf-16"), "encoding"),
    "zeros.txt": (b"ohwx\x00", "encoding"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_judged_by_their_bytes(name: str) -> None:
    data, code = FILES[name]
    found = lint_files({"good.txt": b"ohwx woman, hat\n", "windows.txt": b"ohwx woman, cap\r\n", name: data}, ADA)
    assert {f.severity for f in found} == {"error"} and all(f.sources == (name,) for f in found)
    assert code in {f.code for f in found}
    assert ("line break" in {f.code for f in found}) == (code == "line break")


def test_a_blank_first_line_is_told_as_such_behind_a_mark_too() -> None:
    for data in (b"\n\nohwx woman", b"\xef\xbb\xbf \nohwx woman"):
        assert "blank line" in only(lint_files({"a.txt": data}, ADA), "line break").text


def test_sound_files_have_no_finding_and_what_they_say_is_looked_at() -> None:
    assert lint_files({"a.txt": b"ohwx woman, hat\n", "b.txt": b"ohwx woman\r\n"}, ADA) == ()
    assert {f.code for f in lint_files({"a.txt": b"a hat"}, ADA)} == {"no trigger"}


def test_findings_come_errors_first_and_read_well() -> None:
    found = lint(named([*SOUND, SOUND[0], "", "OHWX woman", *["a hat"] * 7]), ADA)
    assert [SEVERITIES.index(f.severity) for f in found] == sorted(SEVERITIES.index(f.severity) for f in found)
    text = lint_text(found, 16, shown=2)
    assert text.startswith("16 captions: 2 errors, 2 warnings.")
    assert "7 captions without the trigger word 'ohwx'" in text and "and 5 more" in text
    assert lint_text((), 1) == "1 caption: nothing to change."
