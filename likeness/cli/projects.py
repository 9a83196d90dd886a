"""`likeness project` and `likeness route`: generation profiles of a production, and named checkpoints."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import LibraryError, LikenessError
from ..lora_file import fits
from ..lora_registry import load_registry
from ..lora_stack import parse_stacks
from ..paths import slug_of
from ..profile import FAMILIES, RATINGS, Profile
from ..projects import (
    QUALITIES,
    GenerationSettings,
    Project,
    assigned,
    changed_fields,
    load_project,
    new_project,
    project_slugs,
    settings_for,
    trash_project,
    update_project,
)
from ..routes import GENERAL, route_of
from .output import list_all, say, slug_named
from .places import Places
from .registry import lora_files

_TEXTS = ("checkpoint", "vae", "loras", "negative", "style", "notes")
_NUMBERS = {"steps": int, "cfg": float, "sampler": str, "scheduler": str, "width": int, "height": int, "denoise": float}
_NONE = "none"


def add_project(command: Any) -> None:
    """`likeness project new|list|show|set|assign|route|remove`; `command` adds one of them."""
    making = command("new", make_project, "make a project")
    making.add_argument("name", help='for example "Night City"')
    _fields(making)
    command("list", list_projects, "list the projects")
    showing = command("show", show_project, "show a project, and what counts for a character in it")
    showing.add_argument("name")
    showing.add_argument("--character", metavar="NAME", help="whose settings; default: nobody in particular")
    _checkpoint_options(showing)
    setting = command("set", set_project, "change a project, or one of its generation profiles; none empties a field")
    setting.add_argument("name")
    setting.add_argument("--profile", metavar="NAME", help="of this generation profile, made where there is none")
    _fields(setting)
    assigning = command("assign", assign_profile, "say which generation profile a character uses in a project")
    assigning.add_argument("name")
    assigning.add_argument("character")
    assigning.add_argument("profile", help="its name, or none for the project's own settings")
    routing = command("route", name_route, "name a checkpoint of a project, by purpose and content rating")
    routing.add_argument("name")
    routing.add_argument("route", help="what the checkpoint is called")
    routing.add_argument("--checkpoint", required=True, metavar="FILE", help="as ComfyUI lists it")
    routing.add_argument("--family", choices=FAMILIES, help="base family; default: as the file says")
    routing.add_argument("--purpose", default="", help="default: what it is called")
    routing.add_argument("--rating", choices=RATINGS, default=GENERAL)
    removing = command("remove", remove_part, "move a project to the library's .trash folder, or remove a part of it")
    removing.add_argument("name")
    part = removing.add_mutually_exclusive_group()
    part.add_argument("--profile", metavar="NAME", help="only this generation profile")
    part.add_argument("--route", metavar="NAME", help="only this named checkpoint")


def add_route(command: Any) -> None:
    """`likeness route`."""
    adding = command("route", show_route, "say which checkpoint draws a character for a purpose, at a content rating")
    adding.add_argument("name", help="the character")
    adding.add_argument("--project", metavar="NAME", help="also its named checkpoints, and its own")
    adding.add_argument("--with", dest="others", action="append", metavar="NAME", help="another character beside it")
    _checkpoint_options(adding)


def _checkpoint_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--purpose", default="", help="for example portrait; default: what the project draws with")
    parser.add_argument("--rating", default=GENERAL, help=f"content rating: {', '.join(RATINGS)}; default {GENERAL}")


def _fields(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="FILE", help="as ComfyUI lists it")
    parser.add_argument("--family", choices=[*FAMILIES, _NONE], help="base family of the checkpoint")
    parser.add_argument("--vae", metavar="FILE", help="as ComfyUI lists it; default: the checkpoint's own")
    parser.add_argument("--loras", metavar="STACK", help='for example "neon_style:0.6, rain:0.4"')
    parser.add_argument("--negative", metavar="TEXT", help="what to keep out")
    parser.add_argument("--style", metavar="TEXT", help="words for every prompt")
    parser.add_argument("--quality", choices=[*QUALITIES, _NONE], help="sets what nobody has set")
    parser.add_argument("--notes", metavar="TEXT", help="for people")
    for name in _NUMBERS:
        parser.add_argument(f"--{name}", metavar="VALUE", help="sampler setting")


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields that were given; None for one that is to be emptied."""
    values: dict[str, Any] = {}
    for key in (*_TEXTS, "family", "quality"):
        if (value := getattr(arguments, key)) is not None:
            values[key] = None if value == _NONE else value
    sampling = {}
    for key, kind in _NUMBERS.items():
        if (value := getattr(arguments, key)) is not None:
            sampling[key] = None if value == _NONE else _number(key, value, kind)
    return {**values, **({"sampling": sampling} if sampling else {})}


def _number(key: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise LikenessError(f"--{key} {text!r} is no number: give one, or {_NONE} to leave it open.") from None


def make_project(arguments: argparse.Namespace, places: Places) -> None:
    values = {key: value for key, value in _with_family(_given(arguments), places).items() if value is not None}
    if "sampling" in values:
        values["sampling"] = {k: v for k, v in values["sampling"].items() if v is not None}
    project = new_project(places.library(), arguments.name, **values)
    say(arguments, f"Made project {project.slug}.", _values(project))


def _values(project: Project) -> dict[str, Any]:
    return project.model_dump(mode="json")


def list_projects(arguments: argparse.Namespace, places: Places) -> None:
    library = places.library()

    def look(slug: str) -> tuple[str, dict[str, Any]]:
        project = load_project(library, slug)
        facts = f"{project.quality}, {project.checkpoint or 'no checkpoint'}, {len(project.characters)} character(s)"
        return f"{project.name}: {facts}", {key: getattr(project, key) for key in ("name", "quality", "checkpoint")}

    text, rows = list_all(project_slugs(library), look)
    say(arguments, text or "No projects. Make one with `likeness project new`.", rows)


def show_project(arguments: argparse.Namespace, places: Places) -> None:
    library = places.library()
    project = load_project(library, arguments.name)
    profile = library.get(slug_named(arguments.character)) if arguments.character else None
    lines, values = _about(project), _values(project)
    default = settings_for(project, profile, "other").checkpoint
    family = "other"
    if default or arguments.purpose or arguments.rating != GENERAL:
        route = route_of(profile, project, arguments.purpose, arguments.rating)
        family = route.family or places.family_of(route.checkpoint) or family
        lines.append(f"draws with {route.why}")
        values["route"] = route.as_dict()
    settings = settings_for(project, profile, family)
    values["settings"] = settings.as_dict()
    lines += [*_settings_lines(settings), *_lora_lines(settings, places)]
    say(arguments, "\n".join(lines), values)


def _lora_lines(settings: GenerationSettings, places: Places) -> list[str]:
    notes: list[str] = []
    try:
        registry = load_registry(places.library())
        entries = parse_stacks(settings.loras, registry, lora_files(places), settings.family, notes)
    except LikenessError as error:
        return [f"  problem: {error}"]
    return [*(f"  LoRA {entry}" for entry in entries), *(f"  note: {note}" for note in notes)]


def _with_family(given: dict[str, Any], places: Places) -> dict[str, Any]:
    """With the base family of a checkpoint that is named without one: everything else goes by it."""
    checkpoint = given.get("checkpoint")
    return {**given, "family": _family_of(places, checkpoint, given.get("family"))} if checkpoint else given


def _family_of(places: Places, checkpoint: str, said: str | None) -> str:
    """LikenessError where neither the user nor the file tells, or each something else."""
    told = places.family_of(checkpoint)
    if said is None and told is None:
        raise LikenessError(
            f"{checkpoint} does not tell its base family: say it by --family, or put the .safetensors file into "
            f"{places.folders.checkpoints[0]}."
        )
    if said is not None and told is not None and not fits(told, said):
        raise LikenessError(f"{checkpoint} is a checkpoint for {told}, not for {said}: leave --family out.")
    return said or str(told)


def _about(project: Project) -> list[str]:
    lines = [f"{project.name} ({project.slug}), quality {project.quality}"]
    lines += [f"  {k}: {value}" for k in ("family", *_TEXTS) if (value := getattr(project, k))]
    for name, special in project.profiles.items():
        users = [slug for slug, used in project.characters.items() if used == name]
        set_there = special.model_dump(mode="json", exclude_defaults=True)
        set_there |= set_there.pop("sampling", {})
        facts = ", ".join(f"{k} {v}" for k, v in set_there.items()) or "as the project"
        lines.append(f"  profile {name} (used by {', '.join(users) or 'nobody'}): {facts}")
    for name, route in project.routes.items():
        lines.append(f"  route {name}: {route.file} ({route.family}), {route.purpose or name}, rated {route.rating}")
    return lines


def _settings_lines(settings: GenerationSettings) -> list[str]:
    shown = {key: settings.as_dict()[key] for key in settings.origins}
    return [f"  {key} {value} ({settings.origin(key)})" for key, value in shown.items()]


def set_project(arguments: argparse.Namespace, places: Places) -> None:
    given = _with_family(_given(arguments), places)
    if not given and not arguments.profile:
        raise LikenessError("Nothing to set: give a field, for example --steps 30.")
    name = slug_of(arguments.profile) if arguments.profile else ""
    project = update_project(places.library(), arguments.name, lambda p: changed_fields(p, given, name))
    say(arguments, "\n".join(_about(project)), _values(project))


def assign_profile(arguments: argparse.Namespace, places: Places) -> None:
    library = places.library()
    profile = library.get(slug_named(arguments.character))
    name = None if arguments.profile == _NONE else arguments.profile
    project = update_project(library, arguments.name, lambda p: assigned(p, profile.slug, name))
    what = f"generation profile {name}" if name else "the project's own settings"
    say(arguments, f"{profile.name} uses {what} in {project.slug}.", {"character": profile.slug, "profile": name})


def name_route(arguments: argparse.Namespace, places: Places) -> None:
    family = _family_of(places, arguments.checkpoint, arguments.family)
    row = {"file": arguments.checkpoint, "family": family, "purpose": arguments.purpose, "rating": arguments.rating}
    name = slug_of(arguments.route)

    def named(project: Project) -> Project:
        return changed_fields(project, {"routes": {**_values(project)["routes"], name: row}})

    project = update_project(places.library(), arguments.name, named)
    say(arguments, f"Route {name} of {project.slug}: {arguments.checkpoint}, rated {arguments.rating}.", row)


def remove_part(arguments: argparse.Namespace, places: Places) -> None:
    library, part = places.library(), "profiles" if arguments.profile else "routes"
    name = arguments.profile or arguments.route
    if name is None:
        target = trash_project(library, arguments.name)
        say(arguments, f"Moved {arguments.name} to {target}.", {"file": str(target)})
        return

    def without(project: Project) -> Project:
        there = _values(project)[part]
        if name not in there:
            raise LibraryError(
                f"Project {project.slug!r} has no {part[:-1]} {name!r}; there: {', '.join(there) or 'none'}."
            )
        if part == "profiles" and (users := [c for c, used in project.characters.items() if used == name]):
            raise LibraryError(f"Generation profile {name!r} is used by {', '.join(users)}: assign another one first.")
        return changed_fields(project, {part: {k: v for k, v in there.items() if k != name}})

    project = update_project(library, arguments.name, without)
    say(arguments, f"Removed {part[:-1]} {name} from {project.slug}.", _values(project))


def show_route(arguments: argparse.Namespace, places: Places) -> None:
    library = places.library()
    people: list[Profile] = [library.get(slug_named(name)) for name in [arguments.name, *(arguments.others or [])]]
    project = load_project(library, arguments.project) if arguments.project else None
    route = route_of(people[0], project, arguments.purpose, arguments.rating, people)
    say(arguments, route.why, {**route.as_dict(), "purpose": arguments.purpose, "rating": arguments.rating})
