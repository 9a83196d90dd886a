"""bytes <-> Profile, and the hardened reading and the writing of TOML that other shared files use too.

Reading collects every mistake of a file into one ProfileError. Writing is the inverse:
`parse(emit(p)) == p` for every profile.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import Finding, ProfileError
from .profile import SCHEMA_VERSION, Profile, Reference

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 128 * 1024
_MAX_DOTS = 16  # tomllib needs quadratic time for a dotted key: 40 KB of "a.a.a" took 6.4 s
_MAX_PROSE_DOTS = 250  # in a comment, or a line of a multi-line string
_TOO_LARGE = f"larger than {MAX_BYTES // 1024} KB: shorten the notes, the description and the lists"
_STRINGS = re.compile(r'"(?:[^"\\\n]|\\.)*("?)|\'[^\'\n]*(\'?)')  # closed or not: one that can fail is quadratic
_HEADER = "# A character of Likeness. Likeness rewrites this file: keep remarks in `notes`, comments are lost.\n"

M = TypeVar("M", bound=BaseModel)
Migration = Callable[[dict[str, Any]], dict[str, Any]]
MIGRATIONS: Mapping[int, Migration] = {}  # from that version to the next


def parse(data: bytes, source: Path | str = "profile.toml") -> Profile:
    """The profile in `data`. Raises ProfileError with all findings, never anything else."""
    return check(migrate(read_table(data, source, too_large=_TOO_LARGE), source), source)


def check(table: Mapping[str, Any], source: Path | str) -> Profile:
    """The profile with these values, as `parse` reads them from a file."""
    return check_as(Profile, table, source)


def check_as(model: type[M], table: Mapping[str, Any], source: Path | str) -> M:
    """The value of `model`, a frozen strict one, with what a TOML file holds. ProfileError with all findings."""
    try:
        return model.model_validate_json(json.dumps(table, default=lambda value: [str(value)]))
    except ValidationError as error:
        raise ProfileError(source, [_finding(e, model) for e in error.errors()]) from None
    except (RecursionError, ValueError):
        raise ProfileError(source, [Finding("", f"nested too deeply to be a {model.__name__.lower()}")]) from None


def read_table(
    data: bytes, source: Path | str, limit: int = MAX_BYTES, too_large: str = "larger than {limit} KB: shorten it"
) -> dict[str, Any]:
    """A TOML file that may come from anywhere, of up to `limit` bytes. ProfileError for anything else."""

    def fail(problem: str) -> ProfileError:
        return ProfileError(source, [Finding("", problem)])

    if len(data) > limit:
        raise fail(too_large.format(limit=limit >> 10))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fail(f"not UTF-8 text at byte {error.start}: save it as UTF-8") from None
    if number := _dotted_line(text):
        raise fail(f"line {number} has more than {_MAX_DOTS} dots outside quotes: write tables as [a.b]")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise fail(f"not valid TOML: {error}") from None
    except (RecursionError, ValueError, OverflowError):
        raise fail("not valid TOML: nested too deeply, or a number too long") from None


def _dotted_line(text: str) -> int:
    """Number of the first line with too many dots to be a key, 0 if there is none.

    A comment can pretend that prose begins, so prose has a bound of its own.
    """
    prose = False
    for number, line in enumerate(text.split("\n"), 1):  # splitlines() would also cut inside strings, at U+2028
        dots = _STRINGS.sub(lambda m: "" if m[1] or m[2] else m[0], line).count(".")
        if dots > (_MAX_PROSE_DOTS if prose or line.lstrip().startswith("#") else _MAX_DOTS):
            return number
        prose ^= (line.count('"""') + line.count("'''")) % 2 == 1
    return 0


def migrate(
    table: dict[str, Any],
    source: Path | str,
    steps: Mapping[int, Migration] = MIGRATIONS,
    current: int = SCHEMA_VERSION,
) -> dict[str, Any]:
    """Bring a parsed file to schema `current`, one version at a time."""
    version = table.get("schema_version", current)
    if not isinstance(version, int) or isinstance(version, bool) or version < min([current, *steps]):
        problem = f"{_short(version)} is not a schema version: write schema_version = {current}"
        raise ProfileError(source, [Finding("schema_version", problem)])
    if version > current:
        problem = f"{_short(version)} was written by a newer Likeness (this one reads up to {current}): update Likeness"
        raise ProfileError(source, [Finding("schema_version", problem)])
    while version < current:
        table, version = steps[version](table) | {"schema_version": version + 1}, version + 1
    return table


def _finding(error: Any, model: type[BaseModel]) -> Finding:
    place, kind = [p for p in error["loc"] if p != "[key]"], error["type"]
    path = "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")
    if kind == "extra_forbidden":
        known = _fields_at(model, place[:-1])
        near = difflib.get_close_matches(str(place[-1]), known, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
        return Finding(path, f"no such field; {hint}")
    if kind == "missing":
        return Finding(path, "is missing: add it")
    given = "" if isinstance(error["input"], (dict, list)) else f", not {_short(error['input'])}"
    if kind == "value_error":
        return Finding(path, str(error["ctx"]["error"]))
    message = error["msg"][0].lower() + error["msg"][1:]
    return Finding(path, message.replace("input should", "should") + given)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write out a number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(model: type[BaseModel], place: list[Any]) -> list[str]:
    """Field names that the model at `place` inside `model` knows."""
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            model = _inner(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model inside `tuple[X, ...]`, `dict[K, X]` or `X | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        if found := _inner(part):
            return found
    return None


def emit(profile: Profile, source: Path | str = "profile.toml") -> bytes:
    """The profile as TOML. Fields that hold their default are left out, apart from the first few.

    ProfileError when it could not be read back: `model_copy(update=...)` checks nothing.
    """
    check(profile.model_dump(), source)
    values = profile.model_dump(mode="json", exclude_defaults=True)
    if profile.references:  # the weight is what people come to change, so it is always there
        values["references"] = [_reference(r) for r in profile.references]
    head = {key: getattr(profile, key) for key in ("schema_version", "name", "slug", "trigger", "class_word")}
    lines = emit_table({**head, **{k: v for k, v in values.items() if k not in head}})
    data = (_HEADER + "\n".join(lines).strip() + "\n").encode()
    if len(data) > MAX_BYTES:
        raise ProfileError(source, [Finding("", _TOO_LARGE)])
    return data


def _reference(reference: Reference) -> dict[str, Any]:
    shown = {"file": reference.file, "weight": reference.weight, "source": reference.source}
    return {key: value for key, value in shown.items() if value != ""}


def emit_table(values: Mapping[str, Any]) -> list[str]:
    """Lines of TOML for a model's `model_dump(mode="json")`; what is None is left out."""
    return _table(values, ())


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    nested = {k: v for k, v in values.items() if isinstance(v, dict) or (isinstance(v, list) and v)}
    lines += [f"{_key(k)} = {_scalar(v)}" for k, v in values.items() if k not in nested and v is not None]
    for key, value in nested.items():
        name = (*path, key)
        dotted = ".".join(_key(p) for p in name)
        for row in value if isinstance(value, list) else [value]:
            needless = isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values())
            header = f"[[{dotted}]]" if isinstance(value, list) else f"[{dotted}]"
            lines += [*([] if needless else ["", header]), *_table(row, name)]
    return lines


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _scalar(text)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return "[]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
