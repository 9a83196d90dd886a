"""YAML that every reader takes alike: blocks, texts in double quotes, floats with a point."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

Yaml = str | bool | int | float | Sequence["Yaml"] | Mapping[str, "Yaml"]


def yaml_bytes(head: str, value: Mapping[str, Yaml]) -> bytes:
    """The file: `head` as a comment, then the mapping."""
    comment = [f"# {''.join(c if c.isprintable() else '?' for c in line)}" for line in head.split("\n")]
    return ("\n".join([*comment, *_block(value, 0)]) + "\n").encode("utf-8", "replace")


def _block(value: Yaml, indent: int) -> Iterator[str]:
    space = "  " * indent
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entry(f"{space}{key}:", inner, indent)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from _entry(f"{space}-", inner, indent)


def _entry(head: str, value: Yaml, indent: int) -> Iterator[str]:
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str) and value:
        yield head
        yield from _block(value, indent + 1)
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: Yaml) -> str:
    if isinstance(value, str):
        return "".join(_escaped(c) for c in json.dumps(value, ensure_ascii=False))
    if isinstance(value, float):
        return f"{value:.1f}" if value.is_integer() else f"{value:.12f}".rstrip("0")  # 5e-05 would be a text
    return json.dumps(value)


def _escaped(character: str) -> str:
    """YAML takes what is not printable by its number only, and folds lines at more than line feeds."""
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
