"""Attack: a name in a workflow, a route or a profile is really a path.

Every widget string of a node can come from a hostile web page through POST /prompt. CVE-2026-123790
(ComfyUI-Easy-Use) checked the folder before the file name was joined to it, and so let anybody
overwrite another pack's `__init__.py`. Here the final path is checked, after links are resolved, in
a real tree with a link that leads out and a sibling whose name begins like the root's.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from likeness.errors import BadNameError, PathError
from likeness.library import Library
from likeness.paths import check_slug, contained, inside, slug_of

from .. import strategies

GENERATED = 18_000

KNOWN = [
    "..", ".", "", "/", "//", "../", "..\\", "../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/passwd",
    "C:\\Windows", "C:x",
    "\\\\server\\share\\x", "//server/share/x", "\\\\?\\C:\\x", "\\\\.\\pipe\\x", "file:///etc/passwd", "a/../../b",
    "a/..", "a/./..",
    "....//....//x", "..;/x", "%2e%2e/%2e%2e/x", "%2e%2e%2f", "..%2f..%2fx", "..%c0%afx", "%00", "x\0.png",
    "x.png\0.exe",
    "..\0", "x:ads", "profile.toml:evil:$DATA", "x::$INDEX_ALLOCATION", "NUL", "nul.txt", "CON", "com1", "LPT9.png",
    "aux ",
    "x.", "x ", "x...", " x", "-rf", "~", "~root/x", "$HOME", "%APPDATA%", "`id`", "x;id", "x\nname = 'y'", "x\r\ny",
    "\u202egnp.exe",
    "\uff0e\uff0e/x", "\u2025/x", "\u2215etc", "link/x", "link", "link/../../x", "../base-evil/x", "base-evil",
    "../base/x",
    "../custom_nodes/other/__init__.py", "custom_nodes/other/__init__.py/..", "A" * 300, "a/" * 200 + "x",
    "x" * 5000, ".locks", ".trash",
]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for folder in ("base/sub", "base-evil", "outside"):
        (home / folder).mkdir(parents=True)
    (home / "base" / "link").symlink_to(home / "outside")
    (home / "base" / "sub" / "up").symlink_to(home)
    (home / "base" / "loop").symlink_to(home / "base" / "loop")
    return home / "base"


def by_slug(base: Path, text: str) -> Path:
    return contained(base, check_slug(text))


def by_name(base: Path, text: str) -> Path:
    return contained(base, slug_of(text))


def by_library(base: Path, text: str) -> Path:
    return Library([base]).folder(text)


def by_two_parts(base: Path, text: str) -> Path:
    """The shape of CVE-2026-123790: a good folder and a bad file name."""
    return contained(base, "sub", text)


WAYS: list[Callable[[Path, str], Path]] = [by_slug, by_name, by_library, by_two_parts, contained, inside]


def escapes(base: Path, text: str) -> list[str]:
    """The ways in which `text` leads out of `base`; every refusal must be one of our errors."""
    found = []
    root = os.path.realpath(base)
    for way in WAYS:
        try:
            final = os.path.realpath(way(base, text))
        except (BadNameError, PathError):
            continue
        if final == root or not final.startswith(root + os.sep):
            found.append(way.__name__)
    return found


@pytest.mark.parametrize("text", KNOWN, ids=lambda t: repr(t)[:40])
def test_a_known_attack_leads_nowhere(base: Path, text: str) -> None:
    assert escapes(base, text) == []


@pytest.mark.parametrize(
    "text", [t for t in KNOWN if t not in ("link", "base-evil", "-rf")], ids=lambda t: repr(t)[:40]
)
def test_a_known_attack_is_no_folder_name(text: str) -> None:
    with pytest.raises(BadNameError):
        check_slug(text)


@settings(max_examples=2_000, deadline=None)
@given(strategies.hostile_names)
def test_drawn_names_lead_nowhere(base: Path, text: str) -> None:
    assert escapes(base, text) == []


def test_18000_generated_names_lead_nowhere(base: Path) -> None:
    rng, accepted = random.Random(1), 0
    pieces = [*strategies._TRICKS, "up", "loop", "x", "001.png", "-", "_", "b", "é"]
    for _ in range(GENERATED):
        glue = rng.choice(["", "/", "\\", "/./", "//"])
        text = glue.join(rng.choice(pieces) for _ in range(rng.randint(1, 5)))
        assert escapes(base, text) == [], text
        try:
            contained(base, text)
            accepted += 1
        except PathError:
            pass
    assert accepted > GENERATED // 20  # the rule refuses what leads out, not everything


def test_the_tree_of_this_test_can_tell_an_escape(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "WAYS", [lambda base, text: base / text])
    caught = [text for text in KNOWN if "\0" not in text and len(text) < 200 and escapes(base, text)]
    assert len(caught) >= 10
