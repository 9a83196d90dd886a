"""`likeness lora`: the LoRA versions of a character, registered, listed, activated, compared."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..assets import FACEID_FAMILIES, choose_adapter, find_listed
from ..character import open_character
from ..compare import candidate_of, newest_waiting
from ..errors import LikenessError, ModelMissingError, ServerError
from ..files import make_folder
from ..library import Library
from ..lora_versions import (
    NONE,
    Registered,
    Shelf,
    Terms,
    activate,
    facts_of,
    family_with,
    find_version,
    from_file,
    register,
)
from ..profile import FAMILIES, LoraVersion
from ..remote.client import QueueClient
from .comfy import find_python, has_gpu
from .graphs import ApiGraph, Files, Overrides
from .graphs_compare import PROMPTS, Trial, compare_node, compare_versions
from .output import say, slug_named
from .own_server import own_server, show_seconds
from .places import Places
from .rated import check_graph
from .tuning import _checkpoint

_SECONDS = 24 * 3600.0
_WEIGHTS = (".safetensors", ".pt", ".bin", ".ckpt")


def add_lora(command: Any) -> None:
    """`likeness lora register|list|activate|compare`; `command` adds one of them."""
    adding = command("register", register_lora, "take a trained LoRA in as a version of a character")
    adding.add_argument("file", type=Path, help="the .safetensors file, or its name in models/loras")
    adding.add_argument("--character", required=True, metavar="NAME", help="whose version it becomes")
    adding.add_argument("--family", choices=FAMILIES, help="base family; default: as the file says")
    adding.add_argument("--any-trigger", action="store_true", help="also one that was trained on another trigger")
    adding.add_argument("--activate", action="store_true", help="draw with it from now on")
    adding.add_argument("--name", default="", help="of its file; default: character and base family")
    adding.add_argument("--training-set", default="", metavar="TEXT", help="what it was trained on, for people")
    adding.add_argument("--steps", type=int, metavar="COUNT", help="trained steps, where the file does not tell")
    command("list", list_loras, "list the LoRA versions of a character").add_argument("name", help="the character")
    choosing = command("activate", activate_lora, "choose the LoRA version that draws a character")
    choosing.add_argument("name", help="the character")
    choosing.add_argument("version", help="its number, or none to draw without a LoRA")
    choosing.add_argument("--family", choices=FAMILIES, help="where the number is on several")
    _compare_options(
        command("compare", compare_lora, "draw a character with and without a version, and keep the better")
    )


def _compare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the character")
    parser.add_argument("--version", type=int, default=0, help="default: the newest that is not active")
    parser.add_argument("--family", choices=FAMILIES, help="where the number is on several")
    parser.add_argument("--report-only", action="store_true", help="leave what draws the character as it is")
    parser.add_argument("--server", metavar="URL", help="a ComfyUI that runs; without it one is started")
    parser.add_argument("--seeds", type=int, default=4, metavar="COUNT", help="for each prompt; default 4")
    parser.add_argument("--seed", type=int, default=1, metavar="FIRST", help="the first seed; default 1")
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="a scene; may be given several times")
    parser.add_argument("--face-model", metavar="PACK", help="face model that measures; default: the character's")
    parser.add_argument("--measure-drawn", action="store_true", help="give drawn faces a verdict all the same")
    parser.add_argument("--checkpoint", metavar="FILE", help="checkpoint to draw with, as ComfyUI lists it")
    parser.add_argument("--adapter", default="auto", metavar="FILE", help="FaceID adapter, as ComfyUI lists it")
    parser.add_argument("--steps", type=int, help="sampling steps; default: the character's")
    parser.add_argument("--size", type=int, metavar="PX", help="width and height; default: the character's")
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder of the ComfyUI that is started")


# ---- registering


def register_lora(arguments: argparse.Namespace, places: Places) -> None:
    named = os.path.isfile(arguments.file)  # noqa: PTH113 - a name that is too long is no file, too
    path = arguments.file if named else _listed_path(places, str(arguments.file))
    made = register_file(
        places,
        slug_named(arguments.character),
        path,
        arguments.family,
        name=arguments.name,
        training_set=arguments.training_set,
        steps=arguments.steps,
        any_trigger=arguments.any_trigger,
        activate=arguments.activate,
    )
    values = {"family": made.family, "known": made.known, "notes": made.notes, **made.version.model_dump(mode="json")}
    say(arguments, made.report(), values)


def register_file(places: Places, slug: str, path: Path, family: str | None, **terms: Any) -> Registered:
    """A file as a version of a character."""
    library = places.library()
    library.get(slug)  # says what is there before a large file is read
    terms["draws_without"] = lambda base: draws_without_lora(places, library, slug, base)
    return register(library, slug, from_file(path), shelf_of(places), Terms(family=family, **terms))


def shelf_of(places: Places) -> Shelf:
    """LoRAs as ComfyUI lists them; new ones go to the first folder."""
    roots = places.folders.loras

    def find(name: str) -> Path | None:
        try:
            return _listed_path(places, name)
        except ModelMissingError:
            return None

    return Shelf(roots[0], find)


def _listed_path(places: Places, name: str) -> Path:
    """A file below models/loras. ModelMissingError where there is none of that name."""
    roots = places.folders.loras
    found = {p.relative_to(root).as_posix(): p for root in reversed(roots) for p in _weights(root)}
    return found[find_listed(name, list(found), "The LoRA", "loras", [str(r) for r in roots])]


def _weights(root: Path) -> list[Path]:
    return [p for p in sorted(root.rglob("*")) if p.suffix.lower() in _WEIGHTS] if root.is_dir() else []


def draws_without_lora(places: Places, library: Library, slug: str, family: str) -> bool:
    """Whether FaceID can draw the face on that family."""
    if family not in FACEID_FAMILIES or not open_character(library, slug).has_identity:
        return False
    adapters = [p.name for root in places.folders.ipadapter for p in _weights(root)]
    compiled = list((library.folder(slug) / "identity").glob(f"{family}-*.safetensors"))
    return choose_adapter(adapters, family) is not None or bool(compiled)


# ---- listing and choosing


def list_loras(arguments: argparse.Namespace, places: Places) -> None:
    profile = places.library().get(slug_named(arguments.name))
    shelf, lines, rows = shelf_of(places), [], []
    for family, settings in profile.base.items():
        for v in settings.loras:
            there = shelf.find(v.file) is not None
            rows.append({"family": family, "there": there, **v.model_dump(mode="json")})
            lines += _lines(family, v, there)
    about = f"{profile.name} ({profile.slug}), trigger {profile.trigger or '-'}"
    none = f"{about}: no LoRA version. Add one with `likeness lora register FILE --character {profile.slug}`."
    say(arguments, "\n".join([about, *lines]) if lines else none, rows)


def _lines(family: str, v: LoraVersion, there: bool) -> list[str]:
    state = "active" if v.active else "-"
    lines = [f"  {family:8} v{v.version:<4} {state:8} {v.file}{'' if there else '  (the file is not there)'}"]
    lines += [f"      {facts}"] if (facts := facts_of(v)) else []
    if c := v.comparison:
        rates = ["not measurable" if r is None else f"{r:.2f}" for r in (c.rate, c.against_rate)]
        p = "" if c.p is None else f", p = {c.p:.3f}"
        lines.append(
            f"      compared {c.date[:10]}: consistency {rates[0]} against {rates[1]} of {c.against}, {c.pictures} "
            f"pictures each{p}, by {c.face_model}{', took over' if c.switched else ''}"
        )
    return lines


def activate_lora(arguments: argparse.Namespace, places: Places) -> None:
    try:
        number = NONE if arguments.version == "none" else int(arguments.version.removeprefix("v"))
    except ValueError:
        raise LikenessError(f"{arguments.version!r} is no version: give its number, or none.") from None
    library, slug = places.library(), slug_named(arguments.name)
    if number != NONE:
        saved = library.get(slug)
        version = find_version(saved, family_with(saved, number, arguments.family), number)
        _listed_path(places, version.file)  # says what is there instead
    profile, family = activate(library, slug, number, arguments.family)
    lora = profile.settings(family).lora
    what = "without a LoRA" if lora is None else f"with version {lora.version}, {lora.file}"
    values = {"family": family, "version": None if lora is None else lora.version}
    say(arguments, f"{profile.name} is drawn {what} on {family} from now on.", values)


# ---- comparing


def compare_lora(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when the version is not better."""
    slug = slug_named(arguments.name)
    if arguments.server:
        shown = _compared(QueueClient(arguments.server), arguments, slug, arguments.version, places)
    else:
        profile = places.library().get(slug)
        asked = arguments.version or newest_waiting(profile, arguments.family)[0]
        number, _ = candidate_of(profile, asked, arguments.family)
        shown = _on_own_server(arguments, slug, number, places)
    told = shown["likeness_comparison"][0]
    say(arguments, "\n".join(shown["text"]), told)
    return int(not (told["switched"] or (arguments.report_only and "would take over" in told["verdict"])))


def _trial(arguments: argparse.Namespace, number: int) -> Trial:
    if not 1 <= arguments.seeds <= 64 or arguments.seed < 0:
        raise LikenessError(f"--seeds {arguments.seeds} --seed {arguments.seed}: take 1 to 64 seeds from 0 on.")
    inputs: dict[str, Any] = {"family": arguments.family, "face_model": arguments.face_model}
    inputs["write"] = "only report" if arguments.report_only else None
    inputs["drawn_faces"] = "measure" if arguments.measure_drawn else None
    prompts = [" ".join(p.split()) for p in arguments.prompt] if arguments.prompt else PROMPTS
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    return Trial(number, seeds, prompts, {key: value for key, value in inputs.items() if value is not None})


def graph_for(arguments: argparse.Namespace, slug: str, number: int, checkpoint: str) -> ApiGraph:
    overrides = Overrides(arguments.steps, arguments.size, arguments.size)
    return compare_versions(Files(checkpoint, slug, adapter=arguments.adapter), _trial(arguments, number), overrides)


def _compared(
    client: QueueClient,
    arguments: argparse.Namespace,
    slug: str,
    number: int,
    places: Places,
    waiting: Callable[[float], None] = show_seconds,
) -> dict[str, Any]:
    """What the Compare Versions node shows."""
    if number == 0:
        raise LikenessError(
            "Say which version to compare by --version: what the server's profile has is not known here."
        )
    graph = graph_for(arguments, slug, number, arguments.checkpoint or _checkpoint(client))
    check_graph(places.library(), graph)
    outputs = client.run(graph, _SECONDS, waiting).outputs
    shown = outputs.get(compare_node(graph), {})
    if "likeness_comparison" not in shown:
        raise ServerError("The graph ran, and Compare Versions showed nothing: is another Likeness installed there?")
    return shown


def _on_own_server(arguments: argparse.Namespace, slug: str, number: int, places: Places) -> dict[str, Any]:
    python = find_python(places.comfy) if places.comfy else None
    if places.comfy is None or python is None:
        raise LikenessError(
            "Comparing needs a ComfyUI, and none was found (COMFYUI_PATH, the folder this pack sits in, "
            "~/comfy/ComfyUI): start one and give its address with --server."
        )
    output = make_folder((arguments.out or places.comfy / "output").resolve())
    print(f"Starting ComfyUI at {places.comfy} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        roots = [root.resolve() for root in places.folders.characters]
        gpu = has_gpu(python)
        with own_server(places.comfy, python, Path(folder), roots, places.folders, gpu, output) as server:
            return _compared(QueueClient(server.url), arguments, slug, number, places)
