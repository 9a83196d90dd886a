"""The editor's texts in eight languages: whole, of one form, and true to the English ones."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ..conftest import ROOT, load_folder

LOCALES = ROOT / "locales"
ENGLISH = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in (LOCALES / "en").glob("*.json")}
OTHERS = ("zh", "ja", "ko", "de", "fr", "es", "ru")
PLACEHOLDER = re.compile(r"\{\w+\}")
# What users type or look for: file names, folders, values with an underscore, versions, numbers with a point.
EXACT = re.compile(
    r"[\w<>*-]+(?:[/_][\w<>.*-]+)+/?|\b\d+\.\d+\b|\.safetensors|SDXL|CLIP Text Encode|VAE Encode|Train LoRA"
)
VALUE = re.compile(r"(?:^|[.;] )(auto|[a-z]\w*(?: [a-z]\w*){0,2}): ")  # "auto: the profile's"
SCRIPTS = {"zh": "\u4e00-\u9fff", "ja": "\u3040-\u30ff\u4e00-\u9fff", "ko": "\uac00-\ud7a3", "ru": "\u0400-\u04ff"}
# Links and plurals of vue-i18n, which reads every text but a tooltip of a node as a message of its own grammar.
GRAMMAR = re.compile(r"[@{}|]")


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    else:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))


def read(language: str, name: str) -> Any:
    return json.loads((LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))


def pairs(language: str) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Where, the English text, its translation."""
    for name in ENGLISH:
        translated = dict(leaves(read(language, name)))
        for path, text in leaves(ENGLISH[name]):
            if path in translated:
                yield (name, *path), text, translated[path]


@pytest.fixture(scope="module")
def build(tool: Callable[[str], ModuleType]) -> ModuleType:
    return tool("build_locales")


def test_the_languages_and_their_files_are_those_that_the_editor_reads(build: ModuleType) -> None:
    found = {path.relative_to(LOCALES).as_posix() for path in LOCALES.rglob("*") if path.is_file()}
    names = ("commands", "main", "nodeDefs", "settings")
    assert found == {f"{language}/{name}.json" for language in ("en", *OTHERS) for name in names}
    assert build.LANGUAGES == ("en", *OTHERS)


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_every_text_and_no_other(language: str) -> None:
    for name, english in ENGLISH.items():
        found, wanted = dict(leaves(read(language, name))), dict(leaves(english))
        assert set(found) == set(wanted), f"{language}/{name}: run tools/build_locales.py"
        assert [path for path, text in found.items() if not text.strip()] == []


def test_the_files_are_what_the_scripts_and_translations_give(build: ModuleType) -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path, text in build.build(ENGLISH["nodeDefs"]).items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert wrong == [], "run tools/build_locales.py"
    assert build.missing(ENGLISH["nodeDefs"]) == {}


def test_the_panels_texts_are_found_in_its_scripts(build: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "js" / "lib").mkdir(parents=True)
    (tmp_path / "js" / "likeness.a.js").write_text(
        'const OF = { a: "from a file" };\n// t("a comment")\nset("no"); t("One \\"two\\""); t(OF[x]); at("no");\n'
        'const c = { id: "Likeness.Go", label: "Go" };\nsetting("Key", "Part", "Name", "What it is", {});\n'
    )
    (tmp_path / "js" / "lib" / "b.mjs").write_text("more(t(\n  'no'), t(\n  \"In {count}\", { count }));")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    assert set(build.panel_texts()) >= {'One "two"', "from a file", "In {count}"}
    assert not {"no", "a comment"} & set(build.panel_texts())
    assert build.commands() == {"Likeness_Go": {"label": "Go"}}
    assert build.settings() == {"Likeness_Key": {"name": "Name", "tooltip": "What it is"}}
    assert build.setting_categories() == ["Likeness", "Part"]


@pytest.mark.parametrize("language", OTHERS)
def test_placeholders_stay(language: str) -> None:
    wrong = [
        (text, other)
        for _, text, other in pairs(language)
        if sorted(set(PLACEHOLDER.findall(text))) != sorted(set(PLACEHOLDER.findall(other)))
    ]
    assert wrong == []


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_typed_or_looked_for_stays_as_it_is(language: str) -> None:
    """Values of combos, file names and folders; an input that is named in a text has the name that it is shown by."""
    shown = {text: other for _, text, other in pairs(language)}
    wrong = []
    for path, text, other in pairs(language):
        if path[-1] == "name" or path[0] != "nodeDefs":
            continue
        values = {word for found in VALUE.findall(text) for word in found.split(" and ")} - {"empty"}
        for word in {*(found.rstrip(".") for found in EXACT.findall(text)), *values}:
            if word not in other and shown.get(word, word) not in other:
                wrong.append((word, text, other))
    assert wrong == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_text_calls_a_node_by_the_name_that_it_is_shown_by(language: str) -> None:
    names = {
        node["display_name"]: read(language, "nodeDefs")[i]["display_name"] for i, node in ENGLISH["nodeDefs"].items()
    }
    wrong = []
    for _, text, other in pairs(language):
        for english, name in names.items():
            longer = [n for n in names if english in n and n != english and n in text]
            if " " in english and english in text and not longer and name not in other:
                wrong.append((english, text, other))
    assert wrong == []


@pytest.mark.parametrize("language", OTHERS)
def test_names_of_nodes_differ(language: str) -> None:
    names = [node["display_name"] for node in read(language, "nodeDefs").values()]
    assert len(set(names)) == len(names)
    for node in read(language, "nodeDefs").values():
        for kind in ("inputs", "outputs"):
            shown = [part["name"] for part in node[kind].values()]
            assert len(set(shown)) == len(shown), node["display_name"]


@pytest.mark.parametrize("language", OTHERS)
def test_a_sentence_is_translated(language: str) -> None:
    """Sentences of a language with a script of its own are written in it; in the others nothing stays as it was."""
    alphabet = re.compile(f"[{SCRIPTS[language]}]") if language in SCRIPTS else None
    sentences = [(text, other) for _, text, other in pairs(language) if len(text.split()) > 3]
    assert [other for text, other in sentences if other == text or (alphabet and not alphabet.search(other))] == []


@pytest.mark.parametrize("language", ("en", *OTHERS))
def test_the_editor_shows_names_and_descriptions_whole(language: str) -> None:
    """It reads them as messages, in which these characters mean links, plurals and values."""
    for name in ("commands", "nodeDefs", "settings"):
        texts = leaves(read(language, name))
        wrong = [text for path, text in texts if GRAMMAR.search(text) and (name, path[-1]) != ("nodeDefs", "tooltip")]
        assert wrong == []


def test_the_english_texts_are_those_of_the_nodes(comfy: Path, build: ModuleType) -> None:
    pack = load_folder("likeness_pack", ROOT)

    async def load() -> list[Any]:
        extension = await pack.comfy_entrypoint()
        await extension.on_load()
        return await extension.get_node_list()

    schemas = [node.GET_SCHEMA() for node in asyncio.run(load())]
    found = {schema.node_id: build.node_texts(schema) for schema in schemas}
    assert found == ENGLISH["nodeDefs"], "run tools/build_locales.py --schemas"
    categories = {part for schema in schemas for part in schema.category.split("/")}
    assert categories - {"likeness"} == set(build.CATEGORIES)
