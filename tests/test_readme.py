"""What the README shows is true."""

from __future__ import annotations

import re
from pathlib import Path

from likeness.cli.commands import _parser
from likeness.profile_toml import emit, parse

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_profile_it_shows_is_one() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", README, re.S)
    profile = parse(example.encode())
    assert profile.settings("sd15").strengths.faceid_weight == 0.65
    assert parse(emit(profile)) == profile


def test_every_command_it_shows_can_be_called() -> None:
    shown = re.findall(r"^python3 dev\.py likeness (.+)$", README, re.M)
    assert len(shown) >= 10
    for line in shown:
        words = [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', line)]
        assert callable(_parser().parse_args(words).command), line


def test_every_file_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target.replace("%20", " ")).is_file(), target
