"""`likeness inject`: a character into an API-format workflow, and the library of workflows that worked."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import LikenessError, PathError
from ..files import atomic_write, read_limited
from ..inject import HOW, Found, Injected, Insert, Workflow, found_in, inject, read_workflow_file
from ..inject.families import ALL
from ..inject.saved import is_saved, load_workflow, save_workflow, saved_workflows
from ..inject.slots import all_slots
from ..library import Library
from ..lora_registry import load_registry
from ..lora_stack import parse_stack
from ..profile import FAMILIES, METHODS, PRESETS
from ..remote.client import QueueClient
from .output import list_all, say, slug_named
from .places import Places
from .rated import check_graph
from .registry import lora_files

_MAX_INFO = 64 << 20  # bytes of an /object_info


def add_inject(command: Callable[..., argparse.ArgumentParser]) -> None:
    """`likeness inject NAME WORKFLOW`."""
    parser = command("inject", inject_character, "put a character into any workflow in ComfyUI's API format")
    parser.add_argument("name", nargs="?", help="the character")
    parser.add_argument("workflow", nargs="?", help="JSON file of Workflow > Export (API), or the name of a saved one")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the workflow with the character to it")
    parser.add_argument("--save", metavar="AS", help="keep the workflow, without the character, under this name")
    parser.add_argument("--list", action="store_true", help="list the saved workflows")
    parser.add_argument("--look", action="store_true", help="only say what the workflow has")
    picture = parser.add_argument_group("the picture")
    picture.add_argument("--prompt", metavar="TEXT", help="in place of the workflow's")
    picture.add_argument("--negative", metavar="TEXT", help="in place of the workflow's")
    picture.add_argument("--seed", type=int, metavar="N", help="in place of the workflow's")
    picture.add_argument("--loras", default="", metavar="STACK", help='other LoRAs, e.g. "old_town:0.7, smile:0.5"')
    picture.add_argument("--score", action="store_true", help="add Score Likeness to the pictures that are saved")
    _place_options(parser.add_argument_group("where it goes"))


def _place_options(group: Any) -> None:
    group.add_argument("--how", choices=HOW, default="auto", help="nodes: ours; lora: the LoRA alone, by ComfyUI's own")
    group.add_argument(
        "--family",
        choices=FAMILIES,
        default="",
        metavar="FAMILY",
        help="base family of its model: " + ", ".join(FAMILIES),
    )
    group.add_argument(
        "--replace-lora",
        action="append",
        default=[],
        metavar="NODE",
        help="put the LoRA into this loader: 12, 12:lora_2",
    )
    group.add_argument(
        "--prompt-in", action="append", default=[], metavar="NODE", help="the text that shows the character"
    )
    group.add_argument("--skip", action="append", default=[], metavar="NODE", help="leave this sampler or loader alone")
    group.add_argument(
        "--load", default="", metavar="NODE", help="the Load Character to change, where there are several"
    )
    group.add_argument("--no-words", action="store_true", help="leave the character's words out of the prompts")
    group.add_argument("--method", choices=("auto", *METHODS), default="auto", help="of Apply Character")
    group.add_argument("--strengths", choices=("profile", *PRESETS), default="profile", help="of Apply Character")
    group.add_argument("--lora-version", type=int, default=0, metavar="N", help="another version of its LoRA")
    group.add_argument("--server", metavar="URL", help="ask this ComfyUI which nodes and files it has")
    group.add_argument("--object-info", type=Path, metavar="FILE", help="the same, from a file")


def inject_character(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when the character cannot be placed."""
    library = places.library()
    if arguments.list:
        return _list(arguments, library)
    if not arguments.name or not arguments.workflow:
        raise LikenessError("Say which character, and which workflow: likeness inject NAME workflow.json")
    insert = _insert(arguments, places)
    workflow, insert = _workflow(arguments, library, insert)
    info = _info(arguments)
    if arguments.look:
        return _look(arguments, workflow, found_in(workflow, info, arguments.skip, insert.family_of))
    made = inject(workflow, insert, info)
    check_graph(library, made.graph, [insert.profile] if insert.profile else ())
    lines = [made.report(), *_keep(arguments, library, workflow, insert, made)]
    shown = made.as_dict() | ({} if arguments.out else {"prompt": made.graph})
    say(arguments, "\n".join(filter(None, lines)), shown)
    return 0


def _keep(
    arguments: argparse.Namespace, library: Library, workflow: Workflow, insert: Insert, made: Injected
) -> list[str]:
    """Write what was asked for; says what was written."""
    told = []
    if arguments.out:
        atomic_write(arguments.out, (json.dumps(made.document, indent=2) + "\n").encode())
        told.append(f"Wrote {arguments.out}.")
    if arguments.save:
        saved = save_workflow(library, arguments.save, workflow, insert)
        told.append(f"Saved the workflow as {saved.slug}: likeness inject NAME {saved.slug}")
    return told or ["Nothing was written: give -o FILE, or --save AS."]


def _insert(arguments: argparse.Namespace, places: Places) -> Insert:
    library, slug = places.library(), slug_named(arguments.name)
    registry = load_registry(library)
    stack = parse_stack(arguments.loras, registry, lora_files(places), arguments.family) if arguments.loras else ()
    return Insert(
        slug,
        library.get(slug),
        how=arguments.how,
        family=arguments.family,
        prompt=arguments.prompt,
        negative=arguments.negative,
        seed=arguments.seed,
        words=not arguments.no_words,
        prompt_in=tuple(arguments.prompt_in),
        replace=tuple(arguments.replace_lora),
        skip=tuple(arguments.skip),
        load=arguments.load,
        loras=stack,
        score=arguments.score,
        method=arguments.method,
        strengths=arguments.strengths,
        lora_version=arguments.lora_version,
        known_loras=known_loras(library),
        family_of=partial(family_of, places),
    )


def family_of(places: Places, model: str) -> str | None:
    """As `Places.family_of`; None for a name that leaves its folder, too."""
    with suppress(PathError):  # a workflow may name anything
        return places.family_of(model)
    return None


def known_loras(library: Library) -> frozenset[str]:
    """The LoRA files of all characters, with "/" between folders."""
    profiles = [entry.profile for entry in library.list() if entry.profile is not None]
    versions = [version for p in profiles for settings in p.base.values() for version in settings.loras]
    return frozenset(version.file.replace("\\", "/") for version in versions)


def _workflow(arguments: argparse.Namespace, library: Library, insert: Insert) -> tuple[Workflow, Insert]:
    """The file of that name, else the saved workflow, whose settings count where the command line says nothing."""
    path = Path(arguments.workflow)
    if path.is_file():
        if arguments.out and arguments.out.exists() and arguments.out.samefile(path):
            raise LikenessError(f"{path} is the workflow itself: give another name for -o, so that it is kept.")
        return read_workflow_file(path), insert
    if path.suffix or not is_saved(library, arguments.workflow):
        saved = ", ".join(saved_workflows(library)) or "none"
        raise LikenessError(f"There is no file {path}, and no saved workflow of that name; saved is {saved}.")
    found = load_workflow(library, arguments.workflow)
    return found.workflow, found.settings.over(insert)


def _info(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if arguments.server:
        return QueueClient(arguments.server).object_info()
    if arguments.object_info is None:
        return None
    try:
        told = json.loads(read_limited(arguments.object_info, _MAX_INFO))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise LikenessError(f"{arguments.object_info} is not what ComfyUI answers at /object_info: fetch it again.")
    return told


def _list(arguments: argparse.Namespace, library: Library) -> int:
    def look(slug: str) -> tuple[str, dict[str, Any]]:
        saved = load_workflow(library, slug)
        told = f"{len(saved.workflow.nodes):>4} nodes, {saved.runs} pictures, saved {saved.saved[:10]}"
        return told, {key: getattr(saved, key) for key in ("name", "runs", "last_run", "saved")}

    text, rows = list_all(saved_workflows(library), look)
    say(arguments, text or "No workflow is saved: likeness inject NAME workflow.json --save AS", rows)
    return 0


def _look(arguments: argparse.Namespace, workflow: Workflow, found: Found) -> int:
    """What the workflow has, with the ids that the options take."""
    families = {" or ".join(sorted(told.likely)) for told in found.told.values() if told.likely != ALL}
    rows = {
        "models": [str(node) for node in found.checkpoints],
        "base family": sorted(families),
        "LoRAs": [f"{slot.address}: {slot.file}" for slot in all_slots(workflow)],
        "samplers": [f"{s.node}{': ' + s.why_not if s.why_not else ''}" for s in found.samplers],
        "samplers that cannot be followed": [str(node) for node in found.hidden],
        "prompts": [f"{e.role}: {e.node}, {', '.join(e.texts) or 'no text'}" for e in found.prompts],
    }
    text = "\n".join(
        line for title, lines in rows.items() if lines for line in (f"{title}:", *(f"  {r}" for r in lines))
    )
    say(arguments, text or "Nothing that draws.", rows)
    return 0
