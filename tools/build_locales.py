"""Writes locales/: the editor's texts in every language, from the English ones and tools/translations/<language>.json.

    python tools/build_locales.py              locales/ anew; says what is not translated
    python tools/build_locales.py --schemas    locales/en/nodeDefs.json first, from the nodes (needs ComfyUI)

English texts stand in one place: the nodes' schemas, and js/ (what `t("...")` is called with, commands, settings).
A translation is found by the English text, so a text that changes is no longer translated and is named. Values of
combos are never translated: graphs carry them. Exit code 1 where a language lacks a text.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from likeness.dataset.plan import RejectCode
from likeness.scoring import Verdict
from likeness.sweep.score import THUMBNAILS

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = ("en", "zh", "ja", "ko", "de", "fr", "es", "ru")
FILES = ("commands", "main", "nodeDefs", "settings")
CATEGORIES = ("character", "scenes", "picture", "score", "training")
MEASURES = ("likeness", "prompt score", THUMBNAILS)  # of the heat map, as nodes name them
TEXT = r'"((?:[^"\\]|\\.)*)"'
CALL = re.compile(r"(?<![\w.])t\(\s*" + TEXT)
LOOKED_UP = re.compile(r"(?<![\w.])t\((\w+)\[")  # t(NAMES[key]): every text of NAMES
COMMAND = re.compile(r'id:\s*"(Likeness\.\w+)",\s*label:\s*' + TEXT)
# setting("Id", "Section", "Name", "Tooltip", ...), as js/likeness.settings.js writes them
SETTING = re.compile(r"(?<![\w.])setting\(" + r",\s*".join([TEXT] * 4))

Json = dict[str, Any]


def node_texts(schema: Any) -> Json:
    """What the editor shows of a node: its entry in nodeDefs.json. A dot in an id becomes an underscore."""
    inputs = {}
    for name, given in _inputs(schema.inputs):
        label = given.display_name or name.rsplit(".")[-1]
        inputs[name.replace(".", "_")] = _without_empty({"name": label, "tooltip": given.tooltip})
    outputs = {
        str(number): _without_empty({"name": output.display_name or output.id, "tooltip": output.tooltip})
        for number, output in enumerate(schema.outputs)
    }
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": inputs,
        "outputs": outputs,
    }


def _inputs(inputs: Iterable[Any], before: str = "") -> Iterable[tuple[str, Any]]:
    """Every input with its name; those that a DynamicCombo adds are called combo.input."""
    seen = set()
    for given in inputs:
        name = before + given.id
        if name not in seen:
            yield name, given
        seen.add(name)
        for option in getattr(given, "options", None) or ():
            for inner in _inputs(getattr(option, "inputs", ()), name + "."):
                if inner[0] not in seen:
                    yield inner
                seen.add(inner[0])


def _without_empty(texts: Mapping[str, str | None]) -> Json:
    return {key: text for key, text in texts.items() if text}


def node_definitions() -> Json:
    """nodeDefs.json in English, from the schemas. Loads the pack as ComfyUI does."""
    from likeness.cli.comfy import find_comfy

    comfy = find_comfy()
    if comfy is None:
        raise SystemExit("Needs a ComfyUI: set COMFYUI_PATH, or put one at ~/comfy/ComfyUI.")
    sys.path[:] = [str(comfy), *(p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tools"))]
    from comfy.cli_args import args

    args.cpu = True
    spec = importlib.util.spec_from_file_location(
        "likeness_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    pack = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)

    async def nodes() -> list[Any]:
        extension = await pack.comfy_entrypoint()
        await extension.on_load()
        return await extension.get_node_list()

    schemas = [node.GET_SCHEMA() for node in asyncio.run(nodes())]
    return {schema.node_id: node_texts(schema) for schema in schemas}


def _scripts() -> list[str]:
    files = [*sorted((ROOT / "js").glob("*.js")), *sorted((ROOT / "js" / "lib").glob("*.mjs"))]
    comment = re.compile(r"^\s*(//|/?\*).*$", re.MULTILINE)
    return [comment.sub("", file.read_text(encoding="utf-8")) for file in files]


def _text(literal: str) -> str:
    """The text of a JavaScript literal in double quotes."""
    return json.loads(f'"{literal}"')


def panel_texts() -> list[str]:
    """Every text that js/ asks for: with t("..."), from a table of its own, or by a value that nodes send."""
    found = {*get_args(Verdict), *get_args(RejectCode), *MEASURES}
    for script in _scripts():
        found.update(map(_text, CALL.findall(script)))
        for name in LOOKED_UP.findall(script):
            table = re.search(rf"const {name} = [\[{{](.*?)[\]}}];", script, re.DOTALL)
            found.update(map(_text, re.findall(TEXT, table[1]) if table else ()))
    return sorted(found - {""})


def commands() -> Json:
    """commands.json in English."""
    found = {name: label for script in _scripts() for name, label in COMMAND.findall(script)}
    return {name.replace(".", "_"): {"label": _text(label)} for name, label in sorted(found.items())}


def _settings() -> list[tuple[str, str, str, str]]:
    """Id, section, name and tooltip of every setting."""
    found = (SETTING.findall(script) for script in _scripts())
    return sorted(tuple(map(_text, texts)) for texts in chain.from_iterable(found))  # type: ignore[misc]


def settings() -> Json:
    """settings.json in English."""
    return {f"Likeness_{name}": {"name": label, "tooltip": tooltip} for name, _, label, tooltip in _settings()}


def setting_categories() -> list[str]:
    """The headings that settings stand under."""
    return sorted({"Likeness", *(section for _, section, _, _ in _settings())})


def english(definitions: Json) -> dict[str, Json]:
    """All files in English, by name."""
    texts = panel_texts()
    main = {
        "nodeCategories": {name: name for name in CATEGORIES},
        "settingsCategories": {name.replace(".", "_"): name for name in setting_categories()},
        "likeness": {text: text for text in texts},
    }
    return {"commands": commands(), "main": main, "nodeDefs": definitions, "settings": settings()}


def texts_of(value: Any) -> Iterable[str]:
    """Every text in a file, in order."""
    if isinstance(value, str):
        yield value
    else:
        for inner in value.values():
            yield from texts_of(inner)


def translated(value: Any, words: Mapping[str, str]) -> Any:
    """The same file in another language. What has no translation is left out, and the editor shows the English."""
    if isinstance(value, str):
        return words.get(value)
    inner = {key: translated(part, words) for key, part in value.items()}
    return {key: part for key, part in inner.items() if part is not None and part != {}}


def translations(language: str) -> dict[str, str]:
    return json.loads((ROOT / "tools" / "translations" / f"{language}.json").read_text(encoding="utf-8"))


def written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def build(definitions: Json) -> dict[Path, str]:
    """Every file of locales/ with what it holds."""
    source = english(definitions)
    files = {}
    for language in LANGUAGES:
        words = None if language == "en" else translations(language)
        for name in FILES:
            value = source[name] if words is None else translated(source[name], words)
            files[ROOT / "locales" / language / f"{name}.json"] = written(value)
    return files


def missing(definitions: Json) -> dict[str, list[str]]:
    """The English texts that a language has no translation for, and those that it translates for nobody."""
    wanted = dict.fromkeys(text for value in english(definitions).values() for text in texts_of(value))
    lacking = {}
    for language in LANGUAGES[1:]:
        words = translations(language)
        lacking[language] = [text for text in wanted if text not in words]
        lacking[f"{language}, not needed"] = [text for text in words if text not in wanted]
    return {language: texts for language, texts in lacking.items() if texts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemas", action="store_true", help="read the nodes' texts anew; needs ComfyUI")
    parser.add_argument("--prune", action="store_true", help="remove translations that no text asks for")
    arguments = parser.parse_args()
    source = ROOT / "locales" / "en" / "nodeDefs.json"
    definitions = node_definitions() if arguments.schemas else json.loads(source.read_text(encoding="utf-8"))
    if arguments.prune:
        _prune(definitions)
    for file, text in build(definitions).items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    lacking = missing(definitions)
    for language, texts in lacking.items():
        print(f"{language}:", *texts, sep="\n    ")
    return 1 if lacking else 0


def _prune(definitions: Json) -> None:
    wanted = dict.fromkeys(text for value in english(definitions).values() for text in texts_of(value))
    for language in LANGUAGES[1:]:
        words = translations(language)
        kept = {text: words[text] for text in wanted if text in words}
        (ROOT / "tools" / "translations" / f"{language}.json").write_text(written(kept), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
