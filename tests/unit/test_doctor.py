from __future__ import annotations

import pytest

import likeness.doctor
from likeness.doctor import Check, Folders, examine
from likeness.library import Library
from likeness.profile import Profile
from likeness.profile_toml import parse

LORA = '[base.sd15]\nloras = [{ file = "gone.safetensors", version = 1 }]\n'


def of_characters(checks: list[Check]) -> list[Check]:
    return [c for c in checks if c.subject in ("ada", "ben", "eve", "broken", "characters")]


@pytest.fixture
def folders(library: Library) -> Folders:
    for slug in ("ada", "ben", "eve"):
        library.save(Profile(name=slug.title(), slug=slug))
    library.save(parse(f'schema_version = 1\nname = "Eve"\nslug = "eve"\n{LORA}'.encode()))
    broken = library.roots[0] / "broken"
    broken.mkdir()
    (broken / "profile.toml").write_text("name = 3")
    return Folders(characters=library.roots)


def test_of_many_characters_only_some_faces_are_read_and_a_line_says_so(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = list[str](), likeness.doctor.open_character
    monkeypatch.setattr(likeness.doctor, "open_character", lambda lib, slug: (opened.append(slug), real(lib, slug))[1])
    told = [str(c) for c in of_characters(examine(folders, most=1))]
    assert opened == ["ada"]
    assert any("of 3 more only the profiles were read" in line and "likeness doctor" in line for line in told)
    assert of_characters(examine(folders)) != told and opened == ["ada", "ada", "ben", "eve"]


def test_what_a_profile_lacks_is_told_whether_its_face_is_read_or_not(folders: Folders) -> None:
    missing = [[c for c in of_characters(examine(folders, most=most)) if c.status == "missing"] for most in (None, 0)]
    assert missing[0] == missing[1] and {c.subject for c in missing[0]} == {"broken", "eve"}
