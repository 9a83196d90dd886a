from __future__ import annotations

import pickle

import pytest

from likeness import errors
from likeness.errors import Finding, LikenessError, ProfileError


def test_every_error_is_a_likeness_error() -> None:
    own = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert len(own) >= 11
    assert all(issubclass(e, LikenessError) for e in own)


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        (Finding("base.sd15", "is wrong"), "base.sd15: is wrong"),
        (Finding("", "is no profile"), "is no profile"),
    ],
)
def test_a_finding_names_its_field(finding: Finding, text: str) -> None:
    assert str(finding) == text


def test_a_profile_error_names_the_file_and_every_finding() -> None:
    error = ProfileError("ada/profile.toml", [Finding("name", "is missing"), Finding("slug", "is missing")])
    assert str(error) == "ada/profile.toml: name: is missing; slug: is missing"


def test_a_profile_error_survives_another_process() -> None:
    error = ProfileError("p.toml", [Finding("name", "is missing")])
    back = pickle.loads(pickle.dumps(error))
    assert (back.source, back.findings, str(back)) == (error.source, error.findings, str(error))


def test_thousands_of_findings_are_kept_but_not_all_printed() -> None:
    error = ProfileError("p.toml", [Finding(f"field{i}", "is wrong") for i in range(1500)])
    assert len(error.findings) == 1500
    assert "field0: is wrong" in str(error) and str(error).endswith("; and 1460 more")
