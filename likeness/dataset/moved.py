"""A set that was copied or moved: its configs name their folder, since trainers take other paths from their own."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from ..errors import LikenessError, StorageError
from ..files import atomic_write, read_limited
from ..paths import inside
from .configs.kohya import path_in
from .configs.toml_text import toml_value
from .set_folder import emit_set, read_set, read_set_quietly, set_lock
from .sources import SET_FILE

_CONFIGS = ("*.toml", "*.yaml", "*.json")
_MAX_CONFIG = 4 << 20  # bytes
_QUOTED = re.compile(r"""("(?:[^"\\\n]|\\.)*")|'([^'\n]*)'""")  # in TOML, YAML and JSON
_IN_A_SET = re.compile(r"((?:/|[A-Za-z]:/).*)/((?:img|reg)/[^/]+|(?:dataset|musubi)\.toml)")  # an absolute path


def place_finding(folder: Path) -> str:
    """What is wrong with where the set lies, for people; "" for nothing."""
    for name, text in _configs(folder).items():
        for place in _others(text, folder):
            command = shlex.join(["likeness", "dataset", "check", "--fix", str(folder)])
            return f"{name}: names {place}, and the set lies in {folder.absolute()}: correct it by `{command}`"
    return ""


def check_place(folder: Path) -> None:
    """LikenessError where a config names another folder: a trainer would take the pictures of the other set."""
    if finding := place_finding(folder):
        raise LikenessError(f"{finding}.")


def put_right(folder: Path) -> tuple[str, ...]:
    """Write the configs with the folder that the set lies in; returns their names. What else was edited stays.

    LikenessError for no set, and for a folder that a config cannot name.
    """
    read_set(folder)  # completes a build that was killed
    with set_lock(folder):
        known, changed = read_set_quietly(folder), _corrected(folder)
        digests = dict(known.files)
        for name, (before, after) in changed.items():
            atomic_write(inside(folder, name), after)
            if digests.get(name) == _digest(before):  # else it was edited, and is still told
                digests[name] = _digest(after)
        if changed:
            atomic_write(folder / SET_FILE, emit_set(known.plan, digests))
    return tuple(changed)


def _corrected(folder: Path) -> dict[str, tuple[bytes, bytes]]:
    """Config -> its bytes, and those with the folder that the set lies in; without those that name no other."""
    here, texts = path_in(folder), _configs(folder)
    if not toml_value(here).startswith('"'):
        raise LikenessError(f"A config cannot name {folder}: move the set to a folder with a plainer name.")
    others = {place for text in texts.values() for place in _others(text, folder)}
    made = {}
    for name, text in texts.items():
        new = text
        for place in sorted(others, key=len, reverse=True):
            new = _replaced(name, new, place, here)
        if new != text:
            made[name] = (text.encode(), new.encode())
    return made


def _configs(folder: Path) -> dict[str, str]:
    """Name -> text. A file that is no text, or too large for one, is no config."""
    found = {}
    for path in (p for rule in _CONFIGS for p in sorted(folder.glob(rule)) if p.name != SET_FILE and p.is_file()):
        try:
            found[path.name] = read_limited(path, _MAX_CONFIG).decode("utf-8")
        except (StorageError, UnicodeDecodeError):
            continue
    return found


def _others(text: str, folder: Path) -> Iterator[str]:
    """Folders that a config names and that are not `folder`, for what lies in `folder` as well."""
    for doubly, singly in _QUOTED.findall(text):
        found = _IN_A_SET.fullmatch(_plain(doubly) if doubly else singly)
        if found and (folder / found[2]).exists() and not _is_same(found[1], folder):
            yield found[1]


def _plain(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return ""


def _is_same(place: str, folder: Path) -> bool:
    try:
        return Path(place).samefile(folder)
    except (OSError, ValueError):  # is not there
        return False


def _replaced(name: str, text: str, old: str, new: str) -> str:
    """In quotation marks, as the file writes it, and in a remark, which has none."""
    form = json.dumps if name.endswith(".json") else toml_value
    before, after = form(old)[1:-1], form(new)[1:-1]
    text = re.sub(rf"(?<=[\"']){re.escape(before)}(?=/)", lambda _: after, text)
    return re.sub(rf"(?<== ){re.escape(old)}(?=/)", lambda _: new, text)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
