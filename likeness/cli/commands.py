"""The `likeness` command: arguments in, text or JSON out, exit code 0, 1 for an error, 2 for a wrong call."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .. import __version__, images
from ..archive import export_zip, import_zip
from ..assets import FACEID_FAMILIES
from ..blend import common_pipeline
from ..calibration import stale_for
from ..character import lost_references, open_character
from ..create import NamedImage, add_references, create_character, draft
from ..doctor import examine
from ..errors import LikenessError
from ..exchange import FORMATS, load_face, write_face_embedding, write_reactor_model
from ..faces.face import cosine, describe_engine
from ..files import atomic_write
from ..method import method_for
from ..paths import slug_of
from .best_of import add_options as best_of_options
from .best_of import best_of
from .compiling import compile_character
from .datasets import add_dataset
from .demo import demo
from .embedding import add_embed
from .generating import add_generate
from .injecting import add_inject
from .loras import add_lora
from .output import picture_files, say, slug_named
from .places import Places, places_of
from .projects import add_project, add_route
from .registry import add_lora_stack, add_registry
from .reporting import add_report_options, report_folder
from .scoring import calibrate_character, identify_faces, score
from .training import add_training
from .tuning import add_tune_options, tune_character
from .value_lists import add_lists


def run(arguments: Sequence[str]) -> int:
    """Run one command line."""
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if parsed.verbose else logging.WARNING, format="%(message)s")
    try:
        return int(parsed.command(parsed, places_of(parsed)) or 0)
    except LikenessError as error:
        print(f"likeness: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `likeness list | head`
        sys.stdout = open(os.devnull, "w")
        return 0
    except KeyboardInterrupt:
        print("likeness: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--library",
        metavar="DIR",
        help="folder of characters; model files stay where COMFYUI_PATH says. Default: models/characters there",
    )
    shared.add_argument("--face-models", metavar="DIR", help="an `insightface` folder to search first")
    shared.add_argument("--verbose", action="store_true", help="say what is opened and compiled")
    shared.add_argument("--json", action="store_true", help="print JSON for programs")
    parser = argparse.ArgumentParser(prog="likeness", description="Keeps a character's face the same.")
    parser.add_argument("--version", action="version", version=f"likeness {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, help_text: str, among: Any = commands) -> argparse.ArgumentParser:
        sub = among.add_parser(name, parents=[shared], help=help_text, description=help_text)
        sub.set_defaults(command=function)
        return sub

    def group(name: str, help_text: str) -> Any:
        sub = commands.add_parser(name, help=help_text, description=help_text)
        return partial(command, among=sub.add_subparsers(required=True, metavar="ACTION"))

    create = command("create", _create, "make a character from photos, or add photos to one")
    create.add_argument("name", help='its name, for example "Ada Ray"')
    create.add_argument("photos", nargs="+", type=Path, help="pictures, or folders of pictures")
    create.add_argument("--add", action="store_true", help="add to a character that exists")
    create.add_argument(
        "--unlike", action="store_true", help="with --add: also faces that do not look like the character"
    )
    create.add_argument("--trigger", default="", metavar="WORD", help="the word its LoRA was or will be trained on")
    create.add_argument("--class-word", default="", metavar="WORD", help="what it is: woman, man, robot")
    create.add_argument("--description", default="", metavar="TEXT", help="looks to mention in every prompt")
    create.add_argument("--negative", default="", metavar="TEXT", help="joined to every negative prompt")
    _face_options(create)

    command("list", _list, "list the characters")
    command("show", _show, "show one character").add_argument("name")
    scored = command("score", score, "measure how alike pictures are to a character")
    scored.add_argument("name")
    scored.add_argument("pictures", nargs="+", type=Path, help="pictures, or folders of pictures")
    _judge_options(scored)
    _face_options(add_embed(command))
    _judge_options(add_generate(command))
    retrying = command("best-of", best_of, "queue a graph with other seeds until enough pictures are accepted")
    best_of_options(retrying)
    _judge_options(retrying)
    reporting = command("report", report_folder, "say how consistent a folder of pictures is, as JSON and a web page")
    add_report_options(reporting)
    _judge_options(reporting)
    calibrating = command("calibrate", calibrate_character, "find from which similarity on a picture shows a character")
    calibrating.add_argument("name")
    calibrating.add_argument("--dry-run", action="store_true", help="only say it; leave the profile as it is")
    _face_options(calibrating)
    identifying = command("identify", identify_faces, "say which characters of the library are in pictures")
    identifying.add_argument("pictures", nargs="+", type=Path, help="pictures, or folders of pictures")
    _face_options(identifying)
    _drawn_option(identifying)
    rename = command("rename", _rename, "rename a character")
    rename.add_argument("name")
    rename.add_argument("new_name")
    command("trash", _trash, "move a character to the library's .trash folder").add_argument("name")
    export = command("export", _export, "write a character to one .zip file")
    export.add_argument("name")
    export.add_argument("file", type=Path)
    imported = command("import", _import, "add the character in a .zip file")
    imported.add_argument("file", type=Path)
    imported.add_argument("--name", help="another name for it")
    face = command("export-face", _export_face, "write a character's face as one embedding; it identifies a person")
    face.add_argument("name")
    face.add_argument("file", type=Path)
    face.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="reactor: a face model for ReActor")
    face.add_argument("--normed", action="store_true", help="of length 1, for programs that want it so")
    inspect = command("inspect-face", _inspect_face, "say what a face file holds, ours, ReActor's or a plain embedding")
    inspect.add_argument("file", type=Path)
    inspect.add_argument("--like", metavar="NAME", help="also how alike it is to this character")
    compiling = command("compile", compile_character, "make a character's face ready for a FaceID adapter, by ComfyUI")
    compiling.add_argument("name")
    compiling.add_argument(
        "--family", choices=["auto", *FACEID_FAMILIES], default="auto", help="base family; auto: all with an adapter"
    )
    compiling.add_argument("--adapter", default="auto", metavar="FILE", help="FaceID adapter as ComfyUI lists it")
    compiling.add_argument(
        "--server", metavar="URL", help="a ComfyUI that runs, e.g. http://127.0.0.1:8188; without it one is started"
    )
    add_tune_options(command("tune", tune_character, "find the strengths that draw a character most alike, by ComfyUI"))
    add_dataset(commands, shared, _judge_options)
    add_training(command)
    add_lora(group("lora", "the LoRA versions of a character: register, list, activate, compare"))
    add_inject(command)
    add_project(group("project", "what the pictures of a production share, and which character uses which settings"))
    add_route(command)
    add_lists(group("lists", "value lists: what outfit, background, pose, expression, camera and light can be"))
    add_registry(group("registry", "LoRAs by name: family, trigger, strength, kind"))
    add_lora_stack(command)
    command("doctor", _doctor, "say what is missing, where it was looked for, and what to do")
    demonstration = command("demo", demo, "run the sample character end to end")
    demonstration.add_argument("--out", type=Path, default=Path("demo"), help="folder for picture, score and report")
    demonstration.add_argument("--checkpoint", help="checkpoint to draw with, as ComfyUI lists it")
    return parser


def _face_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--face-model", default="", metavar="PACK", help="face-model pack, for example buffalo_l")
    parser.add_argument("--provider", choices=["cpu", "auto", "cuda"], default="cpu", help="where it runs")
    runs = "what runs it: Likeness, or the insightface package where that is installed"
    parser.add_argument("--backend", choices=["likeness", "insightface"], default="likeness", help=runs)


def _drawn_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--measure-drawn", action="store_true", help="give drawn faces a verdict, too, with a warning")


def _judge_options(parser: argparse.ArgumentParser) -> None:
    _face_options(parser)
    parser.add_argument(
        "--threshold", type=float, metavar="COSINE", help="accept from this similarity on; default: the calibrated one"
    )
    _drawn_option(parser)
    parser.add_argument("--second", metavar="PACK", help="also by this face-model pack, for an independent figure")


def _create(arguments: argparse.Namespace, places: Places) -> None:
    library, slug = places.library(), slug_of(arguments.name)
    pictures, unreadable = [], []
    for path in picture_files(arguments.photos):
        try:
            pictures.append(NamedImage(path.name, images.read(path)))
        except LikenessError as error:
            unreadable.append(str(error))
    if not pictures:
        given = ", ".join(map(str, arguments.photos))
        raise LikenessError(" ".join(unreadable) or f"There is no PNG, JPEG or WebP picture in {given}.")
    if arguments.add:
        profile = library.get(slug)
        engine = places.analyser(arguments.face_model or profile.face_model, arguments.provider, arguments.backend)
        made = add_references(library, slug, pictures, engine, unlike=arguments.unlike)
    else:
        texts = {k: getattr(arguments, k) for k in ("trigger", "class_word", "description", "negative")}
        profile = draft(arguments.name, slug, **texts)
        engine = places.analyser(arguments.face_model, arguments.provider, arguments.backend)
        made = create_character(library, profile, pictures, engine)
    report = "\n".join([made.report(), *unreadable])
    values = {
        "slug": slug,
        "added": made.added,
        "notes": [*made.notes, *unreadable],
        "folder": str(made.character.folder),
    }
    values["face_model"] = describe_engine(engine)
    say(arguments, f"{report}\nFace model: {describe_engine(engine)}\nSaved in {made.character.folder}", values)


def _list(arguments: argparse.Namespace, places: Places) -> None:
    rows, lines = [], []
    for entry in places.library().list():
        if entry.profile is None:
            lines.append(f"{entry.slug:24} broken: {entry.error}")
            rows.append({"slug": entry.slug, "error": str(entry.error)})
            continue
        families = ", ".join(entry.profile.base) or "no base settings"
        lines.append(f"{entry.slug:24} {entry.profile.name}: {len(entry.profile.references)} reference(s), {families}")
        rows.append({"slug": entry.slug, "name": entry.profile.name, "references": len(entry.profile.references)})
    where = ", ".join(str(r) for r in places.folders.characters)
    say(arguments, "\n".join(lines) or f"No characters in {where}. Make one with `likeness create`.", rows)


def _show(arguments: argparse.Namespace, places: Places) -> None:
    opened = open_character(places.library(), slug_named(arguments.name))
    profile = opened.profile
    values: dict[str, Any] = {
        "profile": profile.model_dump(mode="json"),
        "folder": str(opened.folder),
        "problems": opened.problems,
    }
    lines = [f"{profile.name} ({profile.slug}) in {opened.folder}"]
    lines += [
        f"trigger {profile.trigger or '-'}, class word {profile.class_word or '-'}, face model "
        f"{profile.face_model or '-'}"
    ]
    lost = set(lost_references(opened))
    for f in opened.faces:
        gone = "; the picture is gone, its face is kept" if f.file in lost else ""
        source = f" ({f.source})" if f.source else ""
        lines.append(f"  {f.file}{source}: weight {f.weight:g}, face {f.face.quality.width:.0f} px wide{gone}")
    for family, settings in profile.base.items():
        method = method_for(settings.lora is not None, opened.has_identity)
        lines.append(
            f"{family}: {settings.method if settings.method != 'auto' else method}, "
            f"{len(settings.loras)} LoRA version(s)"
        )
    for c in profile.calibrations:
        stale = stale_for(c, opened)
        lines.append(f"{c.face_model}: accepted from {c.threshold:.3f} on, calibrated {c.date}{stale and f'. {stale}'}")
    lines += opened.problems
    if opened.has_identity:
        lines += opened.identity.advice()
        values["outliers"] = [str(o) for o in opened.identity.outliers]
    say(arguments, "\n".join(lines), values)


def _rename(arguments: argparse.Namespace, places: Places) -> None:
    profile = places.library().rename(slug_named(arguments.name), arguments.new_name)
    say(arguments, f"Renamed {arguments.name} to {profile.slug}.", {"slug": profile.slug})


def _trash(arguments: argparse.Namespace, places: Places) -> None:
    target = places.library().trash(slug_named(arguments.name))
    say(arguments, f"Moved {arguments.name} to {target}. Move the folder back to restore it.", {"folder": str(target)})


def _export(arguments: argparse.Namespace, places: Places) -> None:
    data = export_zip(places.library(), slug_named(arguments.name))
    atomic_write(arguments.file, data)
    say(arguments, f"Wrote {arguments.file} ({len(data):,} bytes).", {"file": str(arguments.file), "bytes": len(data)})


def _import(arguments: argparse.Namespace, places: Places) -> None:
    profile = import_zip(places.library(), arguments.file, arguments.name)
    say(arguments, f"Added {profile.name} as {profile.slug}.", {"slug": profile.slug})


def _export_face(arguments: argparse.Namespace, places: Places) -> None:
    character = open_character(places.library(), slug_named(arguments.name))
    reactor = arguments.format == "reactor"
    data = write_reactor_model(character) if reactor else write_face_embedding(character, arguments.normed)
    atomic_write(arguments.file, data)
    text = f"Wrote {arguments.file}. It identifies a person: share it only with their consent."
    say(arguments, text, {"file": str(arguments.file), "bytes": len(data)})


def _inspect_face(arguments: argparse.Namespace, places: Places) -> None:
    face = load_face(arguments.file)
    values: dict[str, Any] = {
        "embeddings": len(face.faces),
        "face_model": face.profile.face_model or None,
        "notes": face.notes,
    }
    lines = [f"{arguments.file}: {len(face.faces)} embedding(s), face model {face.profile.face_model or 'unknown'}"]
    if arguments.like:
        other = open_character(places.library(), slug_named(arguments.like))
        common_pipeline([face, other])  # FaceError where the two cannot be compared
        values["similarity"] = round(cosine(face.identity.vector, other.identity.vector), 4)
        lines.append(f"similarity to {other.profile.name}: {values['similarity']:.3f}")
    say(arguments, "\n".join([*lines, *face.notes]), values)


def _doctor(arguments: argparse.Namespace, places: Places) -> int:
    checks = examine(places.folders, drawing=places.base is not None)
    comfy = "No ComfyUI found (COMFYUI_PATH, this pack's folder, ~/comfy/ComfyUI)"
    if places.base:
        comfy = f"ComfyUI at {places.comfy}" if places.comfy else f"Base directory of a ComfyUI at {places.base}"
    values = {"comfyui": str(places.comfy), "checks": [vars(c) for c in checks]}
    say(arguments, "\n".join([comfy, *map(str, checks)]), values)
    return int(any(c.status == "missing" for c in checks))
