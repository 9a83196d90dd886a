"""Where compiled identities lie: in the character's folder, or, for one that has none, in a private folder.

    characters/<slug>/identity/<family>-<adapter>.safetensors                  made with the default recipe
    characters/<slug>/identity/<family>-<adapter>-<8 hex>.safetensors          made with another one
    <private folder>/<16 hex of the face>-<family>-<adapter>....safetensors    of blends and imported faces

The default one is the character's own and stays. The others can be made again at any time, so only the newest are
kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .assets import base_name
from .character import IDENTITY, Character
from .errors import PathError
from .files import atomic_write, delete_file
from .paths import contained

log = logging.getLogger(__name__)

KEPT_EXTRA = 8  # files of other recipes beside a character
KEPT_PRIVATE = 32  # files of characters without a folder, all together
_SUFFIX = ".safetensors"
_EXTRA = re.compile(rf"-[0-9a-f]{{8}}{re.escape(_SUFFIX)}$")


@dataclass(frozen=True)
class FaceRecipe:
    """What a compiled identity is made with, beside the face, the adapter and the image encoder."""

    combine: str = "identity"  # how several references become one: faceid.COMBINE
    negative: str = ""  # digest of the identity to steer away from, "" for nobody
    crop: int = 224  # px, edge of the face crop for the image encoder
    empty_image: str = "zero"  # what the image encoder sees for nobody: "zero" (grey) | "black"
    plus_v2: bool | None = None  # the user's word on Plus or Plus V2; None: metadata or file name tell

    @property
    def mark(self) -> str:
        """ "" for the default recipe, else "-" and 8 hex digits."""
        if self == FaceRecipe():
            return ""
        return "-" + hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class IdentityStore:
    """The compiled identities of one character."""

    folder: Path | None  # None where nothing can be kept: the folder is a link to elsewhere, say
    prefix: str  # of the file names
    passing: re.Pattern[str]  # names of files that may go
    limit: int  # how many of those are kept
    home: Path | None = None  # the character's own folder, if it has one

    def path(self, family: str, adapter: str, recipe: FaceRecipe | None = FaceRecipe()) -> Path | None:
        """Where that identity is, or would be, stored; without a recipe, the first there is of any.

        `adapter` is a name as ComfyUI lists it.
        """
        start = f"{self.prefix}{family}-{base_name(adapter).rsplit('.', 1)[0]}"
        if recipe is None:
            found = [n for n in self._names() if _EXTRA.sub(_SUFFIX, n) == start + _SUFFIX]
            return self._inside(found[0]) if found else None
        return self._inside(f"{start}{recipe.mark}{_SUFFIX}")

    def adapters(self, family: str, recipe: FaceRecipe | None = None) -> list[str]:
        """Adapters that an identity of this recipe, or of any, is stored for, as "<adapter>.safetensors", sorted."""
        start = f"{self.prefix}{family}-"
        found = [n.removeprefix(start) for n in self._names() if n.startswith(start)]
        if recipe is None:
            return list(dict.fromkeys(_EXTRA.sub(_SUFFIX, n) for n in found))
        end = recipe.mark + _SUFFIX
        found = found if recipe.mark else [n for n in found if not _EXTRA.search(n)]
        return [n.removesuffix(end) + _SUFFIX for n in found if n.endswith(end)]

    def keep(self, path: Path, data: bytes) -> None:
        """Write a compiled identity; the oldest of those that may go make room for it."""
        if self.home is not None and not self.home.is_dir():
            log.info("%s was deleted meanwhile, so %s is not kept", self.home.name, path.name)
            return
        atomic_write(path, data)
        others = [p for p in path.parent.glob(f"*{_SUFFIX}") if self.passing.search(p.name) and p != path]
        allowed = self.limit - bool(self.passing.search(path.name))
        for old in _newest_first(others)[allowed:]:
            log.info("%s makes room for newer compiled identities", old.name)
            delete_file(old)

    def _names(self) -> list[str]:
        return sorted(p.name for p in self.folder.glob(f"*{_SUFFIX}")) if self.folder else []

    def _inside(self, name: str) -> Path | None:
        try:
            return contained(self.folder, name) if self.folder else None
        except PathError as error:
            log.warning("%s", error)
            return None


def store_of(character: Character, private: Path) -> IdentityStore:
    """`private`: the folder for characters that have none of their own."""
    if character.folder is None:
        return IdentityStore(private, f"{character.identity.digest[:16]}-", re.compile(""), KEPT_PRIVATE)
    try:
        folder = contained(character.folder, IDENTITY)
    except PathError as error:
        log.warning("%s", error)
        folder = None
    return IdentityStore(folder, "", _EXTRA, KEPT_EXTRA, character.folder)


def _newest_first(paths: Sequence[Path]) -> list[Path]:
    def time(path: Path) -> int:
        try:
            return path.stat().st_mtime_ns
        except OSError:  # another program was quicker
            return 0

    return sorted(paths, key=lambda p: (-time(p), p.name))
