"""TOML that `tomllib` and the `toml` package of sd-scripts and musubi-tuner read alike.

`toml` 0.10.2 ends a line wherever `str.splitlines` does, loses a text that begins with two quotation marks, stumbles
over backslash and u, and cuts lists at the commas inside their texts. What it cannot read is written another way, or
refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import LikenessError

Plain = str | bool | int | float
Value = Plain | Sequence[str] | Sequence[int] | Sequence[float]

_ENDS_LINE = "\x7f\x85\u2028\u2029"
_MISREAD = re.compile(r'"("|\Z)|.*\\[uU]', re.S)  # as the beginning of several lines, or as a character's number
_LITERAL = re.compile(r"[^'\x00-\x1f\x7f\x85\u2028\u2029]*")
_IN_LIST = re.compile(r"[\w.=+/-]+", re.ASCII)


@dataclass(frozen=True)
class Table:
    """One table: `[name]`, or `[[name]]` where there may be several; "" is the top of the file."""

    name: str
    values: Mapping[str, Value]
    several: bool = False
    remark: str = ""  # lines above it


def toml_bytes(head: str, tables: Sequence[Table]) -> bytes:
    """The file: `head` as a comment, then the tables. LikenessError for a value that TOML cannot hold."""
    blocks = [_comment(head), *(_block(t) for t in tables)]
    try:
        return "\n".join(filter(None, blocks)).encode()
    except UnicodeEncodeError:
        raise LikenessError("Half of a character is no text: correct the trigger or the name of the folder.") from None


def _block(table: Table) -> str:
    title = f"[[{table.name}]]\n" if table.several else f"[{table.name}]\n" if table.name else ""
    lines = "".join(f"{key} = {toml_value(value)}\n" for key, value in table.values.items())
    return _comment(table.remark) + title + lines


def _comment(text: str) -> str:
    """Lines of a comment; toml would end one at more characters than line feeds."""
    lines = ("".join(c if c.isprintable() else "?" for c in line) for line in text.split("\n") if text)
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def toml_value(value: Value) -> str:
    """One value. A float stays one: 1.0 is written as 1.0."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    return f"[{', '.join(map(_in_list, value))}]"


def _text(text: str) -> str:
    if not _MISREAD.match(text):
        return f'"{"".join(map(_escaped, text))}"'
    if _LITERAL.fullmatch(text):
        return f"'{text}'"
    raise LikenessError(f"sd-scripts would misread {text!r}: leave out the quotation marks and backslashes.")


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character < " " or character in _ENDS_LINE:
        return f"\\u{ord(character):04x}"
    return character


def _in_list(value: str | float) -> str:
    if isinstance(value, str) and not _IN_LIST.fullmatch(value):
        raise LikenessError(f"{value!r} cannot stand in a list of a config: use letters, digits and . = + - / only.")
    return toml_value(value)


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise LikenessError(f"{value} is no number for a config.")
    return repr(value)
