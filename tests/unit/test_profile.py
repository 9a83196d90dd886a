from __future__ import annotations

import pytest
from pydantic import ValidationError

from likeness.profile import FAMILIES, BaseSettings, LoraVersion, Profile, Reference, Strengths
from likeness.profile_toml import check


def ada(**values: object) -> Profile:
    return check({"name": "Ada", "slug": "ada", **values}, "ada")


def test_a_name_and_a_slug_are_enough() -> None:
    profile = ada()
    assert (profile.schema_version, profile.references, dict(profile.base)) == (1, (), {})
    assert profile.settings("sd15").strengths.source == "preset"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_settings_also_when_the_profile_names_none(family: str) -> None:
    assert ada().settings(family) == BaseSettings()
    assert ada(base={family: {"preset": "face_forward"}}).settings(family).preset == "face_forward"


def test_the_active_lora_is_the_one_that_is_used() -> None:
    old, new = LoraVersion(file="a", version=1, active=False), LoraVersion(file="b", version=2)
    assert BaseSettings(loras=(old, new)).lora == new
    assert BaseSettings(loras=(old,)).lora is BaseSettings().lora is None


def test_a_profile_is_not_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        ada().name = "Eve"  # type: ignore[misc]


@pytest.mark.parametrize("source", ["preset", "swept", "hand"])
def test_strengths_say_where_they_came_from(source: str) -> None:
    assert Strengths(source=source).source == source  # type: ignore[arg-type]
    assert Strengths().source == "hand"


@pytest.mark.parametrize("file", ["references/001.png", "a.jpg"])
def test_a_reference_counts_fully_unless_told_otherwise(file: str) -> None:
    assert Reference(file=file).weight == 1.0
