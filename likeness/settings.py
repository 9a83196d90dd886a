"""What a user has set for all of Likeness, in one JSON file that no server serves."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from .errors import LikenessError, first_fault
from .files import atomic_write, locked, read_limited
from .profile import Line, Value

log = logging.getLogger(__name__)
_MAX_BYTES = 64 * 1024


class Settings(Value):
    """Every field has its default where the file does not name it."""

    face_model: Line = ""  # pack for new characters; "" is the best installed
    provider: Literal["cpu", "auto", "cuda"] = "cpu"  # where face models run
    keep_crops: bool = True  # False: of a face only vectors are stored, not its aligned picture
    delete_for_good: bool = False  # False: what is deleted in the panel goes to the library's trash


def read_settings(path: Path) -> Settings:
    """The defaults where there is no file, or none that can be read; the log says so."""
    if not path.is_file():
        return Settings()
    try:
        return Settings.model_validate_json(read_limited(path, _MAX_BYTES))
    except (ValidationError, LikenessError) as error:
        log.warning("%s cannot be used, so the defaults count: %s", path, error)
        return Settings()


def change_settings(path: Path, values: dict[str, Any]) -> Settings:
    """Write the named fields and keep the others, also those that another program writes now.

    LikenessError names the field that is wrong.
    """
    with locked(path.with_suffix(".lock")):
        try:
            made = Settings.model_validate({**read_settings(path).model_dump(), **values})
        except ValidationError as error:
            raise LikenessError(f"{first_fault(error)}.") from None
        atomic_write(path, (json.dumps(made.model_dump(), indent=1) + "\n").encode())
    return made
