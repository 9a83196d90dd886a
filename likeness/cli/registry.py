"""`likeness registry` and `likeness lora-stack`: LoRAs by name, and what a stack of them means."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..library import Library
from ..lora_registry import (
    LORA_KINDS,
    Registry,
    RegistryEntry,
    Scanned,
    changed_entry,
    described,
    load_registry,
    scan,
    update_registry,
    without_entry,
)
from ..lora_stack import joined_triggers, parse_stack
from ..profile import FAMILIES
from .loras import _weights
from .output import say
from .places import Places

_SHOWN = 20


def add_registry(command: Any) -> None:
    """`likeness registry scan|list|set|remove`; `command` adds one of them."""
    scanning = command("scan", scan_loras, "add every LoRA file that the registry does not have; entries stay")
    scanning.add_argument("--dry-run", action="store_true", help="only say it")
    listing = command("list", list_registry, "list the LoRA registry")
    listing.add_argument("--family", choices=FAMILIES, help="only those of a base family")
    listing.add_argument("--kind", choices=LORA_KINDS, help="only those of a kind")
    setting = command("set", set_entry, "change an entry of the LoRA registry, or add one")
    setting.add_argument("name", help="what LoRA stacks call it")
    setting.add_argument("--file", help="as ComfyUI lists it; needed for a new entry")
    setting.add_argument("--rename", metavar="NAME", help="another name")
    setting.add_argument("--family", choices=[*FAMILIES, "unknown"], help="base family; unknown: its file decides")
    setting.add_argument("--trigger", metavar="WORDS", help="words that are joined to a prompt")
    setting.add_argument("--strength", type=float, help="where a stack gives none")
    setting.add_argument("--kind", choices=LORA_KINDS)
    setting.add_argument("--notes", help="for people")
    removing = command("remove", remove_entry, "remove an entry of the LoRA registry; its file stays")
    removing.add_argument("name")


def add_lora_stack(command: Any) -> None:
    """`likeness lora-stack`."""
    adding = command("lora-stack", show_stack, "say which LoRAs a stack means, and what a prompt becomes with it")
    adding.add_argument("stack", help='for example "portorosso_backgrounds:0.7, excited_expression:0.6"')
    adding.add_argument("--family", choices=FAMILIES, default="", help="base family of the model")
    adding.add_argument("--prompt", default="", metavar="TEXT", help="what the trigger words are joined to")


def lora_files(places: Places) -> dict[str, Path]:
    """Files below models/loras by the name that ComfyUI lists; of two, the first folder's."""
    roots = reversed(places.folders.loras)
    return {path.relative_to(root).as_posix(): path for root in roots for path in _weights(root)}


def scan_loras(arguments: argparse.Namespace, places: Places) -> None:
    library, files = places.library(), lora_files(places)
    own = own_loras(library)
    found: list[Scanned] = []

    def scanned(registry: Registry) -> Registry:
        found.append(scan(registry, files.items(), own))
        return found[0].registry

    if arguments.dry_run:
        scanned(load_registry(library))
    else:
        update_registry(library, scanned)
    values = {key: [row(e) for e in getattr(found[0], key)] for key in ("added", "moved", "gone")}
    say(arguments, "\n".join(_scan_lines(found[0], arguments.dry_run)), {**values, "notes": found[0].notes})


def own_loras(library: Library) -> set[str]:
    """LoRA files of the characters themselves."""
    profiles = [entry.profile for entry in library.list() if entry.profile]
    return {version.file for p in profiles for settings in p.base.values() for version in settings.loras}


def _scan_lines(found: Scanned, dry: bool) -> list[str]:
    head = f"{len(found.added)} added, {len(found.registry.loras)} in all" + (" (nothing was written)" if dry else "")
    lines = [head, *(f"  + {described(e)}" for e in found.added[:_SHOWN])]
    lines += [f"  and {len(found.added) - _SHOWN} more"] if len(found.added) > _SHOWN else []
    lines += [f"  moved: {e.name} to {e.file}" for e in found.moved]
    lines += [f"  not there: {e.name}, {e.file}" for e in found.gone]
    return lines + [f"  {note}" for note in found.notes]


def row(entry: RegistryEntry) -> dict[str, Any]:
    return entry.model_dump(mode="json")


def list_registry(arguments: argparse.Namespace, places: Places) -> None:
    entries = [
        e
        for e in load_registry(places.library()).loras
        if arguments.family in (None, e.family) and arguments.kind in (None, e.kind)
    ]
    text = "\n".join(described(e) for e in entries)
    say(
        arguments,
        text or "No such LoRA in the registry. Add files with `likeness registry scan`.",
        list(map(row, entries)),
    )


def set_entry(arguments: argparse.Namespace, places: Places) -> None:
    fields = ("file", "family", "trigger", "strength", "kind", "notes")
    given = {key: value for key in fields if (value := getattr(arguments, key)) is not None}
    given |= {"family": None} if given.get("family") == "unknown" else {}
    given |= {"name": arguments.rename} if arguments.rename is not None else {}
    made = update_registry(places.library(), lambda registry: changed_entry(registry, arguments.name, given))
    entry = made.named(given.get("name", arguments.name))
    assert entry is not None  # just written
    say(arguments, described(entry), row(entry))


def remove_entry(arguments: argparse.Namespace, places: Places) -> None:
    update_registry(places.library(), lambda registry: without_entry(registry, arguments.name))
    say(arguments, f"Removed {arguments.name} from the registry; its file stays.", {"removed": arguments.name})


def show_stack(arguments: argparse.Namespace, places: Places) -> None:
    notes: list[str] = []
    registry = load_registry(places.library())
    entries = parse_stack(arguments.stack, registry, lora_files(places), arguments.family, notes)
    prompt = joined_triggers(arguments.prompt, entries)
    lines = [f"{e}{f', trigger {chr(34)}{e.triggers[0]}{chr(34)}' if e.triggers else ''}" for e in entries]
    lines += [*notes, *([f"prompt: {prompt}"] if prompt else [])]
    rows = [{**vars(e), "triggers": list(e.triggers)} for e in entries]
    say(arguments, "\n".join(lines) or "The stack is empty.", {"loras": rows, "prompt": prompt, "notes": notes})
