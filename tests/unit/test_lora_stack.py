"""LoRA stacks as people write them."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.errors import LikenessError, LoraError
from likeness.lora_registry import Registry, RegistryEntry
from likeness.lora_stack import MAX_LORAS, MAX_TEXT, StackEntry, joined_triggers, parse_stack, parse_stacks

PORTO = RegistryEntry(
    name="portorosso_backgrounds",
    file="places/porto_v3.safetensors",
    family="sdxl",
    trigger="portorosso town, sea",
    strength=0.8,
    kind="background",
)
EXCITED = RegistryEntry(name="excited expression", file="exc.safetensors", trigger="excited")
REGISTRY = Registry(loras=(PORTO, EXCITED))
LISTED = [
    "places/porto_v3.safetensors",
    "exc.safetensors",
    "a/x.safetensors",
    "b/x.safetensors",
    "Q.safetensors",
    "q.safetensors",
    "win\\dow.pt",
    "film.grain.v2.safetensors",
    "7.safetensors",
]


def strengths(text: str, family: str = "sdxl") -> list[tuple[str, float, float]]:
    return [(e.file, e.strength, e.clip_strength) for e in parse_stack(text, REGISTRY, LISTED, family)]


def refused(text: str, family: str = "sdxl") -> str:
    with pytest.raises(LoraError) as caught:
        parse_stack(text, REGISTRY, LISTED, family)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


# ---- what can be written


def test_the_way_it_is_asked_for_works() -> None:
    (one, two) = parse_stack("portorosso_backgrounds:0.7, excited expression:0.6", REGISTRY, LISTED, "sdxl")
    assert one == StackEntry(PORTO.file, 0.7, 0.7, ("portorosso town, sea",), "background", "sdxl")
    assert two == StackEntry("exc.safetensors", 0.6, 0.6, ("excited",), "other", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exc", ("exc.safetensors", 1.0, 1.0)),
        ("portorosso_backgrounds", (PORTO.file, 0.8, 0.8)),
        ("PortoRosso_Backgrounds: .5", (PORTO.file, 0.5, 0.5)),
        ("porto_v3", (PORTO.file, 0.8, 0.8)),
        ("places/porto_v3.safetensors:1", (PORTO.file, 1.0, 1.0)),
        ("places\\porto_v3:1", (PORTO.file, 1.0, 1.0)),
        ("exc:0.7:0.5", ("exc.safetensors", 0.7, 0.5)),
        ("exc:-1.5:0", ("exc.safetensors", -1.5, 0.0)),
        ("<lora:exc:0.7>", ("exc.safetensors", 0.7, 0.7)),
        ("<LORA: exc : 0.7 : 0.5 >", ("exc.safetensors", 0.7, 0.5)),
        ("<lora:exc>", ("exc.safetensors", 1.0, 1.0)),
        ("<lora:exc:0.7:te=0.2>", ("exc.safetensors", 0.7, 0.2)),
        ("<lora:exc:unet=0.3:te=0>", ("exc.safetensors", 0.3, 0.0)),
        ("<lyco:exc:0.3>", ("exc.safetensors", 0.3, 0.3)),
        ("dow", ("win\\dow.pt", 1.0, 1.0)),
        ("win/dow.pt", ("win\\dow.pt", 1.0, 1.0)),
        ("film.grain.v2", ("film.grain.v2.safetensors", 1.0, 1.0)),
        ("b/x:0.1", ("b/x.safetensors", 0.1, 0.1)),
        ("Q", ("Q.safetensors", 1.0, 1.0)),
        ("q", ("q.safetensors", 1.0, 1.0)),
        ("7:0.5", ("7.safetensors", 0.5, 0.5)),
    ],
)
def test_a_lora_can_be_written_in_many_ways(text: str, expected: tuple[str, float, float]) -> None:
    assert strengths(text) == [expected]


def test_commas_semicolons_lines_tags_and_remarks_separate() -> None:
    text = "# of the town\nexc:0.5; b/x:0.1,,\r\n  # no: portorosso\n<lora:Q:1><lora:porto_v3:0.2>,"
    assert [file for file, *_ in strengths(text)] == ["exc.safetensors", "b/x.safetensors", "Q.safetensors", PORTO.file]
    assert strengths("") == strengths(" ,\n;\n # x") == []


@given(model=st.floats(-10, 10).map(lambda x: round(x, 4)), clip=st.floats(-10, 10).map(lambda x: round(x, 4)))
def test_strengths_are_taken_as_they_are(model: float, clip: float) -> None:
    assert strengths(f"exc:{model:.4f}:{clip:.4f}") == [("exc.safetensors", model, clip)]


# ---- what is refused


def test_an_unknown_name_is_answered_with_the_nearest_names() -> None:
    assert refused("portoroso_background:0.7") == (
        "There is no LoRA 'portoroso_background'; the nearest name is 'portorosso_backgrounds'."
    )
    assert "'excited expression'" in refused("exited_expression") and "'film.grain.v2'" in refused("grain")
    assert refused("zzzzzzzz").endswith("no name is near it.")
    with pytest.raises(LoraError, match="are empty"):
        parse_stack("a", Registry(), [])


def test_a_name_of_several_files_names_them() -> None:
    assert refused("x:0.4") == "'x' can be 'a/x.safetensors' or 'b/x.safetensors': write it as it is listed."
    with pytest.raises(LoraError, match=r"'q' can be 'Q\.a' or 'Q\.b'"):
        parse_stack("q", Registry(), ["Q.a", "Q.b"])


def test_a_file_with_several_entries_is_asked_for_by_entry() -> None:
    registry = Registry(loras=(EXCITED, RegistryEntry(name="calm", file="exc.safetensors", trigger="calm")))
    with pytest.raises(LoraError, match="'exc' is registered as 'excited expression' or 'calm'"):
        parse_stack("exc", registry, LISTED)
    notes: list[str] = []
    (entry,) = parse_stack("calm:0.5, excited expression:0.5", registry, LISTED, notes=notes)
    assert entry.triggers == ("calm", "excited") and entry.strength == 0.5 and len(notes) == 1


def test_a_registered_file_that_has_moved_is_found_and_one_that_is_gone_is_told() -> None:
    (entry,) = parse_stack("portorosso_backgrounds", REGISTRY, ["elsewhere/porto_v3.safetensors"])
    assert entry.file == "elsewhere/porto_v3.safetensors"
    with pytest.raises(LoraError, match=r"is places/porto_v3\.safetensors in the registry, which is not in models/lor"):
        parse_stack("portorosso_backgrounds", REGISTRY, ["other.safetensors"])


def test_twice_with_the_same_strength_is_once_and_with_others_is_refused() -> None:
    notes: list[str] = []
    (entry,) = parse_stack("exc:0.5, excited expression:0.5", REGISTRY, LISTED, "", notes)
    assert entry.strength == 0.5 and notes == ["exc.safetensors stands in the stack twice: taken once"]
    assert "twice, with 0.5:0.5 and 0.6:0.6: write it once" in refused("exc:0.5, exc:0.6")
    assert "twice" in refused("exc:0.5, exc:0.5:0.4")


def test_another_base_family_is_refused_where_it_is_known() -> None:
    assert refused("porto_v3:1", "sd15") == (
        "'porto_v3' is a LoRA for sdxl, but the model is sd15: choose one trained on sd15, or another checkpoint."
    )
    for family in ("", "other", "sdxl"):
        assert strengths("porto_v3", family)
    assert strengths("exc", "wan"), "what the registry does not tell, the file decides"


@pytest.mark.parametrize("number", ["nan", "inf", "1e3", "0x1", "10.01", "-11", "٠.٥", "", "1_0", "strong", "1" * 5000])
def test_a_strength_is_a_plain_number_within_bounds(number: str) -> None:
    assert "is no strength" in refused(f"exc:{number}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exc:1:2:3", "more than two strengths"),
        ("<lora:exc:1:2:3>", "more than two strengths"),
        ("<lora:exc:1:lbw=MIDD>", "'lbw' is not supported"),
        (":0.7", "has no name"),
        ("<lora::0.7>", "has no name"),
        ("<lora:exc:0.7", "is no LoRA"),
        ("a photo of <lora:exc:0.7> ada", "There is no LoRA 'a photo of'"),
        ("exc:0,5", "point instead of the comma"),
        ("../../etc/passwd:1", "There is no LoRA"),
        ("n" * 401, "too long a name"),
        ("x\0y", "There is no LoRA"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(text: str, told: str) -> None:
    assert told in refused(text)


def test_long_stacks_are_refused_before_they_cost_anything() -> None:
    assert f"at most {MAX_TEXT:,}" in refused("a," * MAX_TEXT)
    assert f"at most {MAX_LORAS}" in refused(",".join(f"n{i}" for i in range(MAX_LORAS + 1)))
    listed = [f"folder/{i:05d}_a_lora_of_a_rather_long_name.safetensors" for i in range(10_000)]
    begin = time.monotonic()
    with pytest.raises(LoraError, match="no LoRA"):
        parse_stack("q" * 400, Registry(), listed)
    for evil in ("<" * MAX_TEXT, "<lora:" * 3000, ":" * MAX_TEXT, "<lora:a " * 2000, "#" * MAX_TEXT):
        try:
            parse_stack(evil, REGISTRY, LISTED)
        except LoraError:
            pass
    assert time.monotonic() - begin < 20


@given(st.text(max_size=200))
def test_any_text_is_a_stack_or_a_clear_error(text: str) -> None:
    try:
        entries = parse_stack(text, REGISTRY, LISTED, "sdxl")
    except LikenessError:
        return
    assert all(math.isfinite(e.strength) and e.file in LISTED for e in entries)


# ---- several stacks, and triggers


def test_of_several_stacks_the_later_one_sets_the_strength() -> None:
    notes: list[str] = []
    made = parse_stacks(["exc:0.5, Q", "exc:0, x:1".replace("x:1", "a/x:1")], REGISTRY, LISTED, "", notes)
    assert [(e.file, e.strength) for e in made] == [
        ("exc.safetensors", 0.0),
        ("Q.safetensors", 1.0),
        ("a/x.safetensors", 1.0),
    ]
    assert notes == ["exc.safetensors: model 0, clip 0, in place of 0.5 and 0.5"]


def test_each_trigger_word_is_joined_once() -> None:
    entries = parse_stack("porto_v3, exc", REGISTRY, LISTED)
    assert joined_triggers("ada, in a park", entries) == "ada, in a park, portorosso town, sea, excited"
    assert joined_triggers("Excited at the SEA,", entries) == "Excited at the SEA, portorosso town"
    assert joined_triggers("", entries) == "portorosso town, sea, excited"
    again = joined_triggers("ada", entries)
    assert joined_triggers(again, entries) == again
    assert joined_triggers("seaside", entries).startswith("seaside, portorosso town, sea"), "a part of a word is none"


def test_a_prompt_without_anything_to_join_stays_as_it_is() -> None:
    prompt = " (excited:1.2), "
    assert joined_triggers(prompt, parse_stack("exc", REGISTRY, LISTED)) == prompt
    assert joined_triggers(prompt, parse_stack("porto_v3:0", REGISTRY, LISTED)) == prompt, "strength 0 adds no word"


def test_a_prompt_of_ten_thousand_words_keeps_all_of_them() -> None:
    prompt = " ".join(f"word{i}" for i in range(10_000))
    begin = time.monotonic()
    assert joined_triggers(prompt, parse_stack("exc", REGISTRY, LISTED)) == f"{prompt}, excited"
    assert time.monotonic() - begin < 5
