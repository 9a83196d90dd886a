"""What `likeness generate` is to draw: the scenes that the options ask for, and the graph of each."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from ..assets import base_name
from ..errors import LikenessError, ServerError
from ..inject import Insert, found_in, inject, read_workflow_file
from ..inject.saved import is_saved, load_workflow
from ..library import Library
from ..lora_registry import load_registry
from ..lora_stack import StackEntry, parse_stacks
from ..profile import NamedCheckpoint, Profile
from ..projects import GenerationSettings, Project, generation_profile, load_project, settings_for
from ..prompt import join
from ..remote.checks import NodeClasses
from ..remote.client import ClientOf, QueueClient
from ..remote.generating import GraphOf
from ..routes import GENERAL, Route, check_rating, route_of
from ..scenes.lists import DEFAULTS, load_lists
from ..scenes.names import numbered, part_of
from ..scenes.scene import SEEDS, Scene, check_seed, checked_text, scene_for, seed_for
from ..scenes.sheet import USUAL as SHEET_SIZE
from ..scenes.sheet import sheet_of
from ..scenes.variations import MAX_CHARACTERS, MAX_SCENES, MODES, scenes_of
from .graphs import Overrides
from .graphs_scene import Drawing, scene_graph
from .injecting import family_of, known_loras
from .places import Places
from .rated import check_file, check_graph

SHEET = "sheet"
VARIATIONS = (*MODES, SHEET)
_ANSWER = 30.0  # s, for what a server has
_NAME_WORDS = 6  # of the prompt, in the names of its pictures


@dataclass(frozen=True)
class Plan:
    """What is to be drawn."""

    scenes: tuple[Scene, ...]
    graph_of: GraphOf = field(repr=False)
    settings: dict[str, Any] = field(default_factory=dict)  # for the manifest
    notes: tuple[str, ...] = ()
    saved: str = ""  # slug of the saved workflow that draws it


def plan_of(arguments: argparse.Namespace, places: Places, slug: str, client_of: ClientOf = QueueClient) -> Plan:
    """LikenessError for options that do not go together, and for names that are not there."""
    library = places.library()
    profile = library.get(slug)
    project = load_project(library, arguments.project) if arguments.project else None
    check_rating((profile,), arguments.rating)
    if arguments.workflow:
        return _injected(arguments, places, profile, project, client_of)
    listed = _Listed(arguments.server, client_of)
    route = _route(arguments, profile, project)
    checkpoint = route.checkpoint or _only_checkpoint(listed)
    check_file(library, checkpoint, (profile,))
    route = replace(route, family=route.family or family_of(places, checkpoint) or _only_family(profile))
    settings = settings_for(project, profile, route.family or "other") if project else None
    drawing = _drawing(arguments, slug, checkpoint, route, settings)
    scenes = _scenes(arguments, library, profile, settings)
    loras_of = _loras(arguments, library, profile, route.family, settings, listed)
    for scene in scenes:
        loras_of(scene.loras)  # a name that is unknown is told before anything is queued
    about = {"checkpoint": checkpoint, "family": route.family, "route": route.as_dict()}
    about |= {"project": project.slug if project else ""}
    notes = [route.why] if route.why else []
    return Plan(scenes, lambda scene: scene_graph(drawing, scene, loras_of(scene.loras)), about, tuple(notes))


# ---- scenes


def _scenes(
    arguments: argparse.Namespace, library: Library, profile: Profile, settings: GenerationSettings | None
) -> tuple[Scene, ...]:
    text = join(settings.style, arguments.prompt) if settings else arguments.prompt
    negative = join(settings.negative, arguments.negative) if settings else arguments.negative
    mode, seeds = arguments.variation, SEEDS[int(arguments.same_seed)]
    words: dict[str, Any] = {"text": text, "negative": negative, "seed": arguments.seed, "seeds": seeds}
    _check_together(arguments, mode)
    if mode == SHEET:
        return sheet_of(profile, arguments.n or SHEET_SIZE, **words)
    if mode:
        lists = load_lists(library, arguments.lists) if arguments.lists else DEFAULTS
        more = {"count": arguments.n, "per_scene": arguments.per_scene, "only": arguments.only}
        if arguments.vary:
            more["vary"] = arguments.vary
        return scenes_of(profile, lists, mode, keep=arguments.keep, **words, **more)
    check_seed(arguments.seed, seeds)
    text, negative = checked_text(text, "--prompt"), checked_text(negative, "--negative")
    pictures = (arguments.n or 1) * arguments.per_scene
    if pictures > MAX_SCENES or pictures * (len(text) + len(negative)) > MAX_CHARACTERS:
        most = min(MAX_SCENES, MAX_CHARACTERS // max(1, len(text) + len(negative)))
        raise LikenessError(
            f"--n {arguments.n or 1:,}: {pictures:,} pictures of {len(text) + len(negative):,} characters each are too "
            f"many; {most:,} are the most."
        )
    name = part_of(" ".join(arguments.prompt.split()[:_NAME_WORDS]) or profile.slug)
    names = [numbered(name, k) for k in range(1, pictures + 1)]
    drawn = [seed_for(arguments.seed, each, seeds, k) for k, each in enumerate(names, 1)]
    return tuple(scene_for(profile, each, s, text, negative) for each, s in zip(names, drawn, strict=True))


def _check_together(arguments: argparse.Namespace, mode: str | None) -> None:
    """LikenessError for an option that would do nothing: nobody should wait for pictures that do not come."""
    idle = [o for o in ("lists", "only", "vary", "keep") if getattr(arguments, o) and mode in (None, SHEET)]
    idle += ["per-scene"] if mode == SHEET and arguments.per_scene > 1 else []
    if idle:
        raise LikenessError(f"--{idle[0]} goes with --variation {', '.join(MODES)}: leave it out here.")


# ---- checkpoint and LoRAs


def _route(arguments: argparse.Namespace, profile: Profile, project: Project | None) -> Route:
    """An empty one where nobody names a checkpoint."""
    if arguments.checkpoint:
        return _by_hand(arguments, profile, project)
    asked = arguments.route or arguments.rating != GENERAL
    special = generation_profile(project, profile)[1].checkpoint if project else None
    if asked or profile.checkpoints or (project and (project.checkpoint or special or project.routes)):
        return route_of(profile, project, arguments.route, arguments.rating)
    return Route("", "", "")


def _by_hand(arguments: argparse.Namespace, profile: Profile, project: Project | None) -> Route:
    """The family as whoever names that file says; `check_file` asks for what its rating asks for."""
    file = base_name(arguments.checkpoint).casefold()
    named: list[NamedCheckpoint] = [*profile.checkpoints.values(), *(project.routes.values() if project else ())]
    known = [c for c in named if base_name(c.file).casefold() == file]
    return Route(arguments.checkpoint, known[0].family if known else "", "")


def _only_family(profile: Profile) -> str:
    return str(next(iter(profile.base))) if len(profile.base) == 1 else ""


class _Listed:
    """What the first server that answers has; it is asked when somebody wants to know."""

    def __init__(self, servers: Sequence[str], client_of: ClientOf) -> None:
        self._servers, self._client_of = servers, client_of

    @cached_property
    def classes(self) -> NodeClasses:
        errors = []
        for server in self._servers:
            try:
                return NodeClasses(self._client_of(server, _ANSWER).object_info())
            except ServerError as error:
                errors.append(str(error))
        raise ServerError(" ".join(errors))

    @cached_property
    def loras(self) -> tuple[str, ...]:
        return self.classes.listed("LoraLoader", "lora_name")


def _only_checkpoint(listed: _Listed) -> str:
    there = listed.classes.listed("CheckpointLoaderSimple", "ckpt_name")
    if len(there) == 1:
        return there[0]
    told = f"the server has {', '.join(there[:8])}{' and more' if len(there) > 8 else ''}" if there else "it has none"
    raise LikenessError(
        "No checkpoint is named: give --checkpoint, or name one under [checkpoints] in the character's profile; "
        f"{told}."
    )


def _loras(
    arguments: argparse.Namespace,
    library: Library,
    profile: Profile,
    family: str,
    settings: GenerationSettings | None,
    listed: _Listed,
) -> Callable[[str], tuple[StackEntry, ...]]:
    """The LoRAs of a scene by its own stack: the project's, those of the command line, its own."""
    shared = [*(settings.loras if settings else ()), arguments.loras]
    registry = load_registry(library)

    @cache
    def of(stack: str) -> tuple[StackEntry, ...]:
        texts = [text for text in (*shared, stack) if text.strip()]
        if not texts:
            return ()
        return without_own(parse_stacks(texts, registry, listed.loras, family), profile)

    return of


def without_own(entries: Sequence[StackEntry], profile: Profile) -> tuple[StackEntry, ...]:
    """Without the character's own LoRAs, which Apply Character puts on."""
    own = {base_name(version.file).casefold() for base in profile.base.values() for version in base.loras}
    return tuple(entry for entry in entries if base_name(entry.file).casefold() not in own)


def _drawing(
    arguments: argparse.Namespace, slug: str, checkpoint: str, route: Route, settings: GenerationSettings | None
) -> Drawing:
    """What is said on the command line counts before the project, and that before the character's own settings."""
    numbers: dict[str, Any] = {}
    if settings:
        numbers = {k: getattr(settings, k) for k in ("steps", "cfg", "sampler", "scheduler", "width", "height")}
    width, height = arguments.size or (None, None)
    said = {k: getattr(arguments, k) for k in ("steps", "cfg", "sampler", "scheduler")}
    numbers |= {k: v for k, v in {**said, "width": width, "height": height}.items() if v is not None}
    more = {"adapter": arguments.adapter, "method": arguments.method, "strengths": arguments.preset}
    own_vae = settings.vae if settings and route.default else None
    return Drawing(slug, checkpoint, arguments.vae or own_vae, numbers=Overrides(**numbers), **more)


# ---- somebody's own workflow


def _injected(
    arguments: argparse.Namespace, places: Places, profile: Profile, project: Project | None, client_of: ClientOf
) -> Plan:
    """Every scene put into the workflow; without a prompt or a variation its own texts stay."""
    library = places.library()
    saved = load_workflow(library, arguments.workflow) if is_saved(library, arguments.workflow) else None
    path = Path(arguments.workflow)
    if saved is None and not path.is_file():
        raise LikenessError(f"There is no workflow {arguments.workflow}, neither a file nor a saved one.")
    for option in ("checkpoint", "vae", "steps", "cfg", "sampler", "scheduler", "size"):
        if getattr(arguments, option) is not None:
            raise LikenessError(f"--{option} goes with our own graph: set it in the workflow.")
    if arguments.route or arguments.rating != GENERAL:
        raise LikenessError("--route and --rating choose a checkpoint, but the workflow has its own: leave them out.")
    workflow = saved.workflow if saved else read_workflow_file(path)
    family = saved.settings.family if saved else _only_family(profile)
    settings = settings_for(project, profile, family or "other") if project else None
    listed = _Listed(arguments.server, client_of)
    scenes = _scenes(arguments, library, profile, settings)
    loras_of = _loras(arguments, library, profile, family, settings, listed)
    own_words = not (arguments.prompt or arguments.variation or settings)
    info, known = listed.classes.info, known_loras(library)
    asked = bool(arguments.negative or (settings and settings.negative))
    takes_negative = asked or any(e.role == "negative" for e in found_in(workflow, info).prompts)

    def insert_of(scene: Scene) -> Insert:
        words: dict[str, Any] = {"negative": arguments.negative or None}
        if not own_words:  # the workflow's negative prompt stays where nobody has words for it, or there is no place
            words = {"prompt": scene.prompt, "negative": (scene.negative if takes_negative else "") or None}
        words |= {"words": own_words, "seed": scene.seed, "loras": loras_of(scene.loras), "known_loras": known}
        words |= {"family_of": partial(family_of, places)}
        insert = Insert(
            profile.slug, profile, arguments.how, method=arguments.method, strengths=arguments.preset, **words
        )
        return saved.settings.over(insert) if saved else insert

    first = inject(workflow, insert_of(scenes[0]), info)
    check_graph(library, first.graph, (profile,))
    about = {"workflow": arguments.workflow, "how": first.how, "family": family}
    told = (*first.changes, *first.notes)
    slug = saved.slug if saved else ""
    return Plan(scenes, lambda scene: inject(workflow, insert_of(scene), info).graph, about, told, slug)
