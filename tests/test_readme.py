"""What the README shows is true."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

from likeness.cli.commands import _parser
from likeness.dataset.plan import Rules
from likeness.dataset.words import parse_choices
from likeness.profile_toml import emit, parse
from likeness.scenes.lists import parse_lists

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}


def test_the_profile_it_shows_is_one() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", README, re.S)
    profile = parse(example.encode())
    assert profile.settings("sd15").strengths.faceid_weight == 0.65
    assert parse(emit(profile)) == profile


def test_every_command_it_shows_can_be_called() -> None:
    shown = [line for text in PAGES.values() for line in re.findall(r"^python3 dev\.py likeness (.+)$", text, re.M)]
    assert len(shown) >= 10
    for line in shown:
        words = [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', line)]
        assert callable(_parser().parse_args(words).command), line


def test_every_file_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target.replace("%20", " ")).is_file(), target


def test_every_rule_of_a_training_set_is_explained_with_its_default() -> None:
    page = PAGES["training.md"]
    for name in Rules.model_fields:
        assert f"`{name}`" in page, name
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in page.splitlines() if line.startswith("| `")]
    for names, defaults, _ in rows:
        for name, shown in zip(re.findall(r"`(\w+)`", names), defaults.split(","), strict=True):
            value = Rules.model_fields[name].default
            assert shown.strip().strip("`") == (
                str(value).lower()
                if isinstance(value, bool)
                else f"{value:g}"
                if isinstance(value, float)
                else str(value)
            ), name


def test_the_choices_it_shows_are_some() -> None:
    text, listed = (
        re.search(r"```\n(# lines.*?)```", PAGES["training.md"], re.S),
        re.search(r"```json\n(.*?)```", PAGES["training.md"], re.S),
    )
    assert text is not None and [c.take for c in parse_choices(text[1])] == [True, False]
    assert listed is not None and parse_choices(listed[1])[1].box is not None


def test_the_value_list_and_outfit_it_shows_are_some() -> None:
    lists, outfit = re.findall(r"```toml\n(.*?)```", PAGES["scenes.md"], re.S)
    assert [e.loras for e in parse_lists(lists.encode()).outfit] == ["", "red_dress:0.3"]
    assert parse(f'schema_version = 1\nname = "A"\nslug = "a"\n{outfit}'.encode()).outfits["summer"].trigger == "rdrs"


def test_what_its_program_imports_is_there() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGES["scenes.md"], re.S)
    for node in ast.parse(program).body:
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, name.name) for name in node.names), node.module


def test_every_example_graph_is_named_and_every_number_is_one() -> None:
    numbers = {int(p.name.split()[0]) for p in (ROOT / "example_workflows").glob("*.json")}
    table = README.split("| template |")[1].split("The same graphs")[0]
    named: set[int] = set()
    for row in re.findall(r"^\| (\d[\d, to]*)", table, re.M):
        parts = [int(n) for n in re.findall(r"\d+", row)]
        named |= set(range(parts[0], parts[-1] + 1)) if "to" in row else set(parts)
    assert named == numbers
