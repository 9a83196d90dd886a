"""The library of workflows that worked: each with the settings that put a character into it.

A file can be sent to POST /prompt as it is:

    {"prompt": <the graph, without the character>, "extra_data": {"likeness_workflow": {"name", "settings", ...}}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any

from ..errors import BadNameError, LibraryError, quoted
from ..library import Library
from ..shared_files import WORKFLOWS, missing, shared_names, shared_read, shared_slug, shared_update, shared_write
from .insert import HOW, Insert
from .workflow import Workflow, read_workflow

_KEY = "likeness_workflow"
_LISTS = ("prompt_in", "replace", "skip")
_TEXTS = ("how", "family", "load", "method", "strengths")


@dataclass(frozen=True)
class Settings:
    """What of an Insert belongs to the workflow, not to the character or the picture."""

    how: str = "auto"
    family: str = ""
    words: bool = True
    prompt_in: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    load: str = ""
    method: str = "auto"
    strengths: str = "profile"

    def over(self, insert: Insert) -> Insert:
        """`insert` with these settings where it says nothing else."""
        plain = Settings()
        mine = {k: v for k, v in self.__dict__.items() if getattr(insert, k) == getattr(plain, k)}
        return replace(insert, **mine)


@dataclass(frozen=True)
class SavedWorkflow:
    """One workflow of the library."""

    slug: str
    name: str
    workflow: Workflow
    settings: Settings
    saved: str = ""  # ISO 8601
    runs: int = 0  # pictures it has drawn since
    last_run: str = ""  # ISO 8601


def settings_of(insert: Insert) -> Settings:
    return Settings(**{key: getattr(insert, key) for key in Settings.__dataclass_fields__})


def save_workflow(library: Library, name: str, workflow: Workflow, insert: Insert) -> SavedWorkflow:
    """Keep a workflow, as it was before the character, under a name; one of that name is replaced."""
    slug = shared_slug(WORKFLOWS, name)
    made = SavedWorkflow(slug, name, workflow, settings_of(insert), _now())
    shared_write(library, WORKFLOWS, slug, _emit(made))
    return made


def load_workflow(library: Library, name: str) -> SavedWorkflow:
    """LibraryError where there is none of that name, naming those that are there."""
    slug = shared_slug(WORKFLOWS, name)
    data = shared_read(library, WORKFLOWS, slug)
    if data is None:
        raise missing(library, WORKFLOWS, slug)
    return _read(slug, data)


def saved_workflows(library: Library) -> list[str]:
    """Slugs of all that are saved."""
    return shared_names(library, WORKFLOWS)


def is_saved(library: Library, name: str) -> bool:
    try:
        return shared_slug(WORKFLOWS, name) in saved_workflows(library)
    except BadNameError:
        return False


def note_run(library: Library, slug: str, pictures: int = 1) -> None:
    """Count pictures that a saved workflow has drawn."""

    def counted(data: bytes | None) -> bytes:
        if data is None:
            raise missing(library, WORKFLOWS, slug)
        was = _read(slug, data)
        return _emit(replace(was, runs=was.runs + pictures, last_run=_now()))

    shared_update(library, WORKFLOWS, slug, counted)


def _emit(saved: SavedWorkflow) -> bytes:
    about = {"name": saved.name, "settings": asdict(saved.settings), "saved": saved.saved, "runs": saved.runs}
    about |= {"last_run": saved.last_run} if saved.last_run else {}
    document = {"prompt": dict(saved.workflow.graph), "extra_data": {_KEY: about}}
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def _read(slug: str, data: bytes) -> SavedWorkflow:
    workflow = read_workflow(data, f"The saved workflow {slug!r}")
    extra = workflow.document.get("extra_data")
    about = extra.get(_KEY) if isinstance(extra, Mapping) else None
    about = about if isinstance(about, Mapping) else {}
    name, runs = about.get("name"), about.get("runs")
    return SavedWorkflow(
        slug,
        name if isinstance(name, str) and name else slug,
        workflow,
        _settings(about.get("settings"), slug),
        _text(about.get("saved")),
        runs if isinstance(runs, int) and not isinstance(runs, bool) and runs >= 0 else 0,
        _text(about.get("last_run")),
    )


def _settings(given: Any, slug: str) -> Settings:
    """LibraryError for settings not of the form that is written, since they decide where the character goes."""
    if given is None:
        return Settings()
    wrong = []
    values: dict[str, Any] = {}
    for key, value in given.items() if isinstance(given, Mapping) else [("settings", given)]:
        texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if key in _LISTS and texts:
            values[key] = tuple(value)
        elif (key in _TEXTS and isinstance(value, str) and (key != "how" or value in HOW)) or (
            key == "words" and isinstance(value, bool)
        ):
            values[key] = value
        else:
            wrong.append(str(key))
    if wrong:
        raise LibraryError(
            f"The saved workflow {slug!r} has settings that are not understood, {quoted(', '.join(wrong))}: save it "
            "again."
        )
    return Settings(**values)


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= 40 else ""


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
