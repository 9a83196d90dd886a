"""What the registry would get: the files, and no token that its scanner flags."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = (
    "__init__.py",
    "nodes/*.py",
    "likeness/*.py",
    "likeness/faces/*.py",
    "likeness/report/*.py",
    "likeness/sweep/*.py",
    "likeness/dataset/*.py",
    "likeness/dataset/configs/*.py",
    "faceid/*.py",
    "server/*.py",
    "likeness/scenes/*.py",
    "likeness/inject/*.py",
    "js/*.js",
    "js/*.css",
    "js/lib/*.mjs",
    "js/docs/*.md",
    "locales/*/*.json",
    "subgraphs/*.json",
    "example_workflows/*.json",
    "example_workflows/*.jpg",
    "api_graphs/*.json",
    "pyproject.toml",
    "requirements.txt",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "SECURITY.md",
)
FORBIDDEN = (
    r"\bsubprocess\b",
    r"os\.system",
    r"sqlite3",
    r"urllib\.request",
    r"\.connect\(",
    r"\.bind\(",
    r"os\.environ",
    r"__import__\(",
    r"import_module",
    r"\beval\(",
    r"\bexec\(",
    r"rm -rf",
    r"\bpickle\.load",
)


def shipped() -> list[Path]:
    """Tracked files minus .comfyignore, as comfy-cli packs them."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so the archive's file list is not known")
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    rules = [r for r in (ROOT / ".comfyignore").read_text().splitlines() if r and not r.startswith("#")]
    return [ROOT / f for f in tracked if not any(_ignored(f, rule) for rule in rules)]


def _ignored(file: str, rule: str) -> bool:
    """Rules are anchored: without the first "/" git's syntax means any folder of that name, `js/docs/` too."""
    assert rule.startswith("/"), rule
    return file.startswith(rule[1:]) if rule.endswith("/") else file == rule[1:]


def test_the_archive_holds_only_what_is_meant_to_ship() -> None:
    names = [p.relative_to(ROOT).as_posix() for p in shipped()]
    strangers = [n for n in names if not any(fnmatch.fnmatch(n, rule) for rule in ALLOWED)]
    assert strangers == []
    assert {
        "__init__.py",
        "nodes/extension.py",
        "requirements.txt",
        "example_workflows/02 Portrait from cached identity.json",
    } <= set(names)
    assert not any(n.startswith("likeness/cli/") for n in names)


@pytest.mark.parametrize("rule", FORBIDDEN)
def test_no_shipped_code_has_a_token_that_the_registry_flags(rule: str) -> None:
    code = [p for p in shipped() if p.suffix in (".py", ".js", ".mjs")]
    assert [p.relative_to(ROOT).as_posix() for p in code if re.search(rule, p.read_text(encoding="utf-8"))] == []


def test_shipped_files_are_small_and_readable() -> None:
    assert [p.name for p in shipped() if p.stat().st_size > 1_000_000] == []
    texts = [p for p in shipped() if p.suffix in (".py", ".js", ".mjs", ".md")]
    assert [p.name for p in texts if any(len(line) > 500 for line in p.read_text(encoding="utf-8").splitlines())] == []


def test_requirements_are_what_pyproject_declares() -> None:
    """Manager installs requirements.txt, the registry shows pyproject.toml: they say the same."""
    declared = re.search(r"^dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.S | re.M)
    assert declared is not None
    listed = [line.strip().strip('",').replace("'", '"') for line in declared[1].splitlines()]
    installed = (ROOT / "requirements.txt").read_text().splitlines()
    assert [r for r in listed if not r.startswith("comfyui-frontend-package")] == installed


def test_every_requirement_line_survives_the_managers_installer() -> None:
    """Each line becomes its own `pip install <line>`: comments, options and torch are not for it."""
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        marker = r'(python_version|sys_platform|platform_machine) ([<>=!]+|in|not in) "[\w. ]+"'
        assert re.fullmatch(rf"[A-Za-z0-9_.-]+(>=[\d.]+)?(; {marker}( (and|or) {marker})*)?", line), line
        assert not line.startswith("torch")


def test_no_folder_of_tests_is_a_package() -> None:
    """pytest would climb from it to the pack's own __init__.py and, in a checkout called likeness, take that for
    the package of this name."""
    assert list((ROOT / "tests").rglob("__init__.py")) == [ROOT / "tests" / "e2e" / "probe_pack" / "__init__.py"]


def test_only_notes_hold_prose_in_the_example_graphs() -> None:
    """The editor has been seen to carry one graph's note into the next graph's prompt."""
    for path in sorted((ROOT / "example_workflows").glob("*.json")):
        nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
        others = [n for n in nodes if n["type"] != "MarkdownNote"]
        assert len(nodes) == len(others) + 1
        assert [n["type"] for n in others if "##" in json.dumps(n)] == []


@pytest.mark.parametrize("number", ["08", "09"])
def test_a_graph_that_compares_or_trains_does_not_change_its_seeds_by_itself(number: str) -> None:
    (path,) = (ROOT / "example_workflows").glob(f"{number} *.json")
    text = path.read_text(encoding="utf-8")
    assert '"fixed"' in text and not re.search('"(randomize|increment|decrement)"', text)
