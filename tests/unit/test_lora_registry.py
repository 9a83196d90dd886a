"""The LoRA registry: reading, writing, and what a scan proposes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.errors import LoraError, ProfileError
from likeness.library import Library
from likeness.lora_registry import (
    NO_NAME,
    Registry,
    RegistryEntry,
    changed_entry,
    emit_registry,
    kind_of,
    load_registry,
    parse_registry,
    scan,
    trigger_of,
    update_registry,
    without_entry,
)
from likeness.lora_words import words_of
from likeness.shared_files import LORAS, shared_path, shared_write

from ..lora_files import lora_file, notes

PORTO = RegistryEntry(name="porto", file="places/porto_v3.safetensors", family="sdxl", trigger="porto town")


def files_below(root: Path) -> dict[str, Path]:
    return {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    return tmp_path / "loras"


# ---- the file

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters=NO_NAME), min_size=1)
LINES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=50)


@given(
    name=NAMES.map(str.strip).filter(lambda n: 0 < len(n) <= 120),
    trigger=LINES,
    strength=st.floats(-10, 10),
    family=st.sampled_from([None, "sd15", "wan", "other"]),
)
def test_what_is_written_is_read_back(name: str, trigger: str, strength: float, family: str | None) -> None:
    entry = RegistryEntry(name=name, file="a/b.safetensors", family=family, trigger=trigger, strength=strength)
    registry = Registry(loras=(entry, PORTO)) if name.casefold() != "porto" else Registry(loras=(entry,))
    assert parse_registry(emit_registry(registry)) == registry
    assert parse_registry(emit_registry(Registry())) == Registry()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[loras]]\nname='a'\nfile='a.safetensors'\ntriger='x'", "loras[1].triger: no such field; did you mean `tr"),
        ("[[loras]]\nname='a'\nfile='../a.safetensors'", "loras[1].file"),
        ("[[loras]]\nname='a'\nfile='/etc/passwd'", "loras[1].file"),
        ("[[loras]]\nname='a:b'\nfile='a'", "loras[1].name: leave out"),
        ("[[loras]]\nname='a'\nfile='a'\nkind='people'", "loras[1].kind"),
        ("[[loras]]\nname='a'\nfile='a'\nstrength=nan", "loras[1].strength"),
        ("[[loras]]\nname='a'\nfile='a'\nstrength=99.0", "loras[1].strength"),
        ("[[loras]]\nname='a'\nfile='a'\n[[loras]]\nname='A'\nfile='b'", "'a' named twice"),
        ("loras = 3", "loras"),
        ("[[loras]", "not valid TOML"),
        ("x." * 50 + "y = 1", "more than 16 dots"),
    ],
)
def test_a_wrong_registry_is_told_by_file_and_field(text: str, told: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_registry(text.encode(), "loras.toml")
    assert str(caught.value).startswith("loras.toml: ") and told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_registry_is_never_written_over(library: Library) -> None:
    shared_write(library, LORAS, "", b"[[loras]")
    with pytest.raises(ProfileError):
        update_registry(library, lambda registry: registry)
    assert shared_path(library, LORAS).read_bytes() == b"[[loras]"


def test_many_entries_are_read_in_a_moment() -> None:
    registry = Registry(loras=tuple(RegistryEntry(name=f"lora {i}", file=f"d/{i}.safetensors") for i in range(3000)))
    data, begin = emit_registry(registry), time.monotonic()
    assert parse_registry(data) == registry
    assert time.monotonic() - begin < 20


# ---- changing


def test_an_entry_is_changed_renamed_and_removed_by_its_name_in_any_case(library: Library) -> None:
    update_registry(library, lambda r: changed_entry(r, "Porto", {"file": "p.safetensors", "trigger": "porto town"}))
    update_registry(library, lambda r: changed_entry(r, "PORTO", {"strength": 0.6, "kind": "background"}))
    (entry,) = load_registry(library).loras
    assert (entry.name, entry.trigger, entry.strength, entry.kind) == ("Porto", "porto town", 0.6, "background")
    update_registry(library, lambda r: changed_entry(r, "porto", {"name": "harbour"}))
    assert [e.name for e in load_registry(library).loras] == ["harbour"]
    update_registry(library, lambda r: without_entry(r, "Harbour"))
    assert load_registry(library).loras == ()


def test_a_change_of_what_is_not_there_or_to_a_taken_name_is_refused() -> None:
    registry = Registry(loras=(PORTO, RegistryEntry(name="b", file="b.safetensors")))
    with pytest.raises(LoraError, match="has no 'c': give its file"):
        changed_entry(registry, "c", {"strength": 1.0})
    with pytest.raises(LoraError, match="has 'porto' already"):
        changed_entry(registry, "b", {"name": "Porto"})
    with pytest.raises(ProfileError, match="strength"):
        changed_entry(registry, "b", {"strength": 11.0})
    with pytest.raises(LoraError, match="has no 'c'"):
        without_entry(registry, "c")


# ---- scanning


def test_a_scan_proposes_what_the_files_tell(loras: Path) -> None:
    told = notes("portorosso town, sea", "portorosso town, sunset", folder="10_x")
    lora_file(loras / "backgrounds" / "porto_v3.safetensors", "sdxl", told=told)
    lora_file(loras / "excited_expression.safetensors")
    lora_file(loras / "ada" / "ada_sd15_v1.safetensors", told=notes("adaray woman", "adaray woman, hat"))
    found = scan(Registry(), files_below(loras).items(), characters=["ada/ada_sd15_v1.safetensors"])
    shown = {e.name: (e.file, e.family, e.trigger, e.kind, e.strength) for e in found.added}
    assert shown == {
        "porto_v3": ("backgrounds/porto_v3.safetensors", "sdxl", "portorosso town", "background", 1.0),
        "excited_expression": ("excited_expression.safetensors", "sd15", "", "expression", 1.0),
        "ada_sd15_v1": ("ada/ada_sd15_v1.safetensors", "sd15", "adaray woman", "character", 1.0),
    }
    assert found.registry.loras == tuple(sorted(found.added, key=lambda e: e.name)) and not found.notes


def test_a_second_scan_changes_nothing_and_keeps_what_was_edited(loras: Path) -> None:
    lora_file(loras / "a.safetensors", told=notes("word"))
    first = scan(Registry(), files_below(loras).items()).registry
    edited = changed_entry(first, "a", {"trigger": "", "strength": 0.4, "kind": "style", "name": "mine"})
    lora_file(loras / "b.safetensors")
    second = scan(edited, files_below(loras).items())
    assert [e.name for e in second.added] == ["b"]
    assert second.registry.named("mine") == edited.named("mine")
    assert scan(second.registry, files_below(loras).items()).registry == second.registry


def test_an_entry_follows_its_file_into_another_folder_and_stays_when_the_file_is_gone(loras: Path) -> None:
    registry = Registry(loras=(PORTO, RegistryEntry(name="lost", file="lost.safetensors")))
    lora_file(loras / "new" / "porto_v3.safetensors", "sdxl")
    found = scan(registry, files_below(loras).items())
    assert [(e.name, e.file) for e in found.moved] == [("porto", "new/porto_v3.safetensors")]
    assert [e.name for e in found.gone] == ["lost"] and found.registry.named("lost") and not found.added


def test_an_entry_does_not_follow_one_of_two_files(loras: Path) -> None:
    for folder in ("x", "y"):
        lora_file(loras / folder / "porto_v3.safetensors", "sdxl")
    found = scan(Registry(loras=(PORTO,)), files_below(loras).items())
    assert found.moved == () and found.registry.named("porto") == PORTO and len(found.added) == 2


def test_files_of_one_name_get_names_of_their_own(loras: Path) -> None:
    for folder in ("x", "y", "y/x", "y/y/x"):
        lora_file(loras / folder / "A.safetensors")
    lora_file(loras / "a.safetensors")
    names = [e.name for e in scan(Registry(), files_below(loras).items()).added]
    assert len({name.casefold() for name in names}) == 5, names


def test_a_name_that_a_stack_could_not_say_is_made_one_that_it_can(loras: Path) -> None:
    lora_file(loras / "red, blue <x> y;.safetensors")
    (entry,) = scan(Registry(), files_below(loras).items()).added
    assert entry.name == "red_ blue _x_ y_" and entry.file == "red, blue <x> y;.safetensors"


def test_broken_and_odd_files_are_left_out_with_a_sentence(loras: Path) -> None:
    lora_file(loras / "good.safetensors")
    (loras / "short.safetensors").write_bytes(b"\xff" * 20)
    (loras / "a\nb.safetensors").write_bytes((loras / "good.safetensors").read_bytes())
    (loras / ("n" * 250)).write_bytes(b"x")
    found = scan(Registry(), files_below(loras).items())
    assert "good" in [e.name for e in found.added]
    assert len(found.notes) == 2 and all("\n" not in note and note.startswith("left out: ") for note in found.notes)
    assert parse_registry(emit_registry(found.registry)) == found.registry


def test_a_scan_can_be_stopped(loras: Path) -> None:
    lora_file(loras / "a.safetensors")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(Registry(), files_below(loras).items(), check=stop)


@pytest.mark.parametrize(
    ("metadata", "trigger"),
    [
        ({"modelspec.trigger_phrase": " ohwx woman "}, "ohwx woman"),
        (notes("ohwx, red coat", "ohwx, hat", "ohwx, sea"), "ohwx"),
        (notes("1girl, ohwx, hat", "1girl, ohwx"), "ohwx"),
        (notes("red coat", "hat"), ""),
        (notes(folder="10_ohwx woman"), "ohwx woman"),
        ({"ss_tag_frequency": "[1]"}, ""),
        ({"ss_tag_frequency": json.dumps({"x": {"a\nb": 2}}), "ss_dataset_dirs": '{"x": {"img_count": 2}}'}, "a b"),
        ({}, ""),
    ],
)
def test_the_trigger_is_what_the_file_tells(metadata: dict[str, str], trigger: str) -> None:
    assert trigger_of(words_of(metadata)) == trigger


@pytest.mark.parametrize(
    ("listed", "kind"),
    [
        ("portorosso_backgrounds.safetensors", "background"),
        ("excitedExpression_v2.safetensors", "expression"),
        ("poses\\jump.safetensors", "pose"),
        ("summer-dress.safetensors", "outfit"),
        ("styles/neon.safetensors", "style"),
        ("address.safetensors", "other"),
        ("composer.safetensors", "other"),
    ],
)
def test_the_kind_comes_from_whole_words_of_the_name(listed: str, kind: str) -> None:
    assert kind_of(listed) == kind
