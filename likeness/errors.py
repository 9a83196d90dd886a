"""The closed set of things that go wrong for a user.

LikenessError
├── BadNameError        a name cannot be a folder or file name
├── PathError           a path leaves the folder it belongs to
├── StorageError        a file cannot be read or written (disk full, read-only, too large)
├── ImageError          a picture cannot be decoded
├── ProfileError        profile.toml is wrong; carries every finding, not only the first
├── LibraryError        a character is missing, exists already, or its archive is not usable
├── ModelMissingError   a face model or its runtime is not installed
├── FaceError           no usable face where one is needed
├── LoraError           a LoRA file is missing, broken, or made for another base family
└── ServerError         a ComfyUI server does not answer, or refuses a graph (command line only)
    └── BadAnswerError, RefusedError, NotThereError, UnfitError (likeness.remote)

Every message is one sentence or two: what happened, which file or field, what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what sets up a checkout imports this before anything is installed
    from pydantic import ValidationError


def quoted(text: object, limit: int = 80) -> str:
    """`text` as it would stand in code, cut short: what a prompt sends must not fill the history."""
    shown = repr(text) if not isinstance(text, str) else repr(text[: limit + 1])
    return shown if len(shown) <= limit + 2 else f"{shown[:limit]}...'"


def printable(text: str) -> str:
    """One line that a terminal can show: what is unprintable in a file's name stands as code."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_fault(error: ValidationError, whole: str = "") -> str:
    """ "field: what is wrong" of the first of a value's mistakes; `whole` stands for a field where none is named."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg']}"


class LikenessError(Exception):
    """Base of every error that Likeness raises on purpose."""


class BadNameError(LikenessError):
    """A text that should become a file or folder name is not safe as one."""


class PathError(LikenessError):
    """A path would leave the folder it belongs to."""


class StorageError(LikenessError):
    """Reading or writing a file failed for a reason outside the file's contents."""


class ImageError(LikenessError):
    """Bytes are not a picture that Likeness reads."""


MAX_SHOWN = 40  # findings in a message; a made-up file can have thousands


@dataclass(frozen=True)
class Finding:
    """One mistake in a profile."""

    field: str  # dotted path as in the file, e.g. "base.sd15.strengths.start"; "" for the whole file
    problem: str  # what is wrong and what to write instead

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}" if self.field else self.problem


class ProfileError(LikenessError):
    """A profile cannot be used. `findings` holds all its mistakes."""

    def __init__(self, source: Path | str, findings: list[Finding]) -> None:
        self.source = source
        self.findings = tuple(findings)
        more = [f"and {len(findings) - MAX_SHOWN} more"] if len(findings) > MAX_SHOWN else []
        super().__init__(f"{source}: " + "; ".join([*(str(f) for f in findings[:MAX_SHOWN]), *more]))

    def __reduce__(self) -> tuple[type, tuple[Path | str, list[Finding]]]:
        return type(self), (self.source, list(self.findings))


class LibraryError(LikenessError):
    """A character is missing, exists already, or its archive is not usable."""


class ModelMissingError(LikenessError):
    """A face model, or the runtime it needs, is not installed."""


class FaceError(LikenessError):
    """No usable face where one is needed."""


class LoraError(LikenessError):
    """A LoRA file is missing, broken, or made for another base family."""


class ServerError(LikenessError):
    """A ComfyUI server does not answer, or refuses a graph."""
