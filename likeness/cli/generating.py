"""`likeness generate`: many pictures of a character, by one ComfyUI or several.

DIR/pictures/       one picture for each scene
DIR/manifest.json   every picture with all that it takes to make it again
Called again with the same options it goes on where it was, also after a kill.
"""

from __future__ import annotations

import argparse
import math
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ..errors import FaceError, LikenessError, ModelMissingError
from ..faces.runtime import usable_module
from ..files import read_limited
from ..inject import HOW
from ..inject.saved import note_run
from ..paths import slug_of
from ..profile import METHODS, PRESETS, RATINGS
from ..remote.again import Again, again
from ..remote.generating import Found, Report, Scorer, Watch, generate
from ..remote.lane import Timing
from ..remote.manifest import Manifest
from ..scenes.names import file_name
from ..scenes.saving import same_picture
from .best_of import _count as count
from .generate_plan import VARIATIONS, plan_of
from .generate_show import Display, table
from .output import say, slug_named
from .places import Places
from .rated import check_graph
from .scoring import judge_of
from .spreading import add_ray_options, hands_of

SERVER = "http://127.0.0.1:8188"
SOME_MISSING, STOPPED = 3, 130
_EXIT = """
Exit codes: 0 every scene has a picture; 1 an error, nothing was queued or the run could not go on; 2 a wrong call;
3 some scenes have no picture, and the manifest says why; 130 stopped, and the same command goes on.
"""
_MAX_PROMPT = 4 << 20  # bytes of a prompt in a file


def generate_pictures(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 3 where some scenes have no picture, 130 where somebody stopped it."""
    arguments.server = [url for row in arguments.server or [[SERVER]] for url in row]
    if arguments.again:
        return _make_again(arguments, places)
    if not arguments.name:
        raise LikenessError("Name the character to draw, or a picture to make again with --again.")
    slug = slug_named(arguments.name)
    out = arguments.out or Path("generated") / slug
    arguments.prompt = _text(arguments.prompt)
    display = Display()
    with hands_of(arguments, places) as hands:
        plan = plan_of(arguments, places, slug, hands.client_of)
        scorer = _scorer(arguments, places, slug, display)
        look = hands.look_for(scorer, out)
        if arguments.verbose:
            for note in plan.notes:
                display.line(note)
        with _noted(places, plan.saved, display) as watch:
            manifest = _drawn(
                display,
                out,
                lambda: generate(
                    slug,
                    plan.scenes,
                    arguments.server,
                    out,
                    graph_of=plan.graph_of,
                    scorer=scorer,
                    best_of=arguments.best_of,
                    check=not arguments.no_check,
                    settings=plan.settings,
                    watch=watch,
                    timing=_timing(arguments),
                    client_of=hands.client_of,
                    look=look,
                ),
            )
    if manifest is None:
        return STOPPED
    say(arguments, table(manifest, out), {"folder": str(out), **manifest.as_dict()})
    return 0 if manifest.complete else SOME_MISSING


@contextmanager
def _noted(places: Places, saved: str, display: Display) -> Iterator[Watch]:
    """The display; what it is shown that a saved workflow has drawn is written down there in the end."""
    drawn = 0

    def watch(report: Report) -> None:
        nonlocal drawn
        if isinstance(report, Found) and not report.earlier:
            drawn += len(report.pictures)
        display(report)

    try:
        yield watch
    finally:
        try:
            if saved and drawn:
                note_run(places.library(), saved, drawn)
        except LikenessError as error:  # somebody has removed it meanwhile: the pictures are there all the same
            display.line(str(error))


def _drawn(display: Display, out: Path, draw: Callable[[], Manifest]) -> Manifest | None:
    """None where somebody stopped it."""
    try:
        with _stopped_by_a_signal():
            return draw()
    except KeyboardInterrupt:
        display.line(f"Stopped. What was drawn is in {out}; the same command goes on from there.")
        return None
    finally:
        display.close()


@contextmanager
def _stopped_by_a_signal() -> Iterator[None]:
    """SIGTERM is taken as Ctrl-C, so that our prompts leave the servers' queues then, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _timing(arguments: argparse.Namespace) -> Timing:
    return replace(Timing(), patience=arguments.patience, job=arguments.longest)


def _text(prompt: str) -> str:
    """ "@FILE" is read from there: a long prompt does not fit on every command line."""
    if not prompt.startswith("@"):
        return prompt
    try:
        return read_limited(Path(prompt[1:]), _MAX_PROMPT).decode("utf-8").strip()
    except UnicodeDecodeError:
        raise LikenessError(f"{prompt[1:]} is no text in UTF-8.") from None


def _scorer(arguments: argparse.Namespace, places: Places, slug: str, display: Display) -> Scorer | None:
    """None with --no-score, and where there is nothing to measure with and nobody has asked for it."""
    if arguments.no_score:
        return None
    try:
        scorer = Scorer(*judge_of(arguments, places, slug))
        if not arguments.ray:  # its workers look at the pictures
            usable_module()
        return scorer
    except (ModelMissingError, FaceError) as error:
        if arguments.best_of > 1 or arguments.threshold is not None:
            raise
        display.line(f"Nothing is scored: {error}")
        return None


# ---- a picture made again


def _make_again(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 0 when it was drawn, whether its bytes are the same or not."""
    found = again(arguments.again)
    name = arguments.name or found.scene.character
    check_graph(places.library(), found.graph, [places.library().get(slug_named(name))] if arguments.name else ())
    out = arguments.out or Path("again") / file_name(found.scene.name)  # a picture may call its scene a path
    display = Display()
    slug = slug_named(name) if name else slug_of(found.scene.name[:40] or "picture")
    with hands_of(arguments, places) as hands:
        scorer = _scorer(arguments, places, slug_named(name), display) if name else None
        look = hands.look_for(scorer, out)
        manifest = _drawn(
            display,
            out,
            lambda: generate(
                slug,
                [found.scene],
                arguments.server,
                out,
                graph_of=found.graph_of,
                metadata_of=lambda scene: found.metadata,
                scorer=scorer,
                check=not arguments.no_check,
                settings={"again": arguments.again},
                watch=display,
                timing=_timing(arguments),
                own_names=found.own_names,
                client_of=hands.client_of,
                look=look,
            ),
        )
    if manifest is None:
        return STOPPED
    same, text = _compared(found, manifest, out)
    say(arguments, f"{table(manifest, out)}\n{text}", {"folder": str(out), "same_bytes": same, **manifest.as_dict()})
    return 0 if manifest.complete else SOME_MISSING


def _compared(found: Again, manifest: Manifest, out: Path) -> tuple[bool | None, str]:
    if not found.sha256 or not manifest.chosen:
        return None, "There is nothing to compare it with."
    if any(p.sha256 == found.sha256 for p in manifest.chosen):
        return True, f"The same bytes as {found.file}."
    if found.path and any(same_picture(found.path, out / p.file) for p in manifest.chosen):
        return False, f"The same picture as {found.file}, not the same bytes: ComfyUI told other metadata about it."
    return False, (
        f"Not the same bytes as {found.file}: another version of ComfyUI, a pack or torch, another GPU, or files of "
        "the same name that have changed since."
    )


# ---- options


def add_generate(command: Any) -> argparse.ArgumentParser:
    """`command(name, function, help)` gives the parser of a new command."""
    parser = command("generate", generate_pictures, "draw many pictures of a character, by one ComfyUI or several")
    parser.epilog = _EXIT.strip()
    parser.add_argument("name", nargs="?", default="", help="the character")
    _scene_options(parser.add_argument_group("what to draw"))
    _drawing_options(parser.add_argument_group("what to draw it with"))
    _run_options(parser.add_argument_group("servers and files"))
    add_ray_options(parser, draws=True)
    return cast(argparse.ArgumentParser, parser)


def _scene_options(group: Any) -> None:
    group.add_argument("--prompt", default="", metavar="TEXT", help="the scene; @FILE reads it from a file")
    group.add_argument("--negative", default="", metavar="TEXT", help="what to keep out, beside the character's own")
    group.add_argument("--variation", choices=VARIATIONS, help="vary it on purpose; sheet: a character sheet")
    group.add_argument("--lists", metavar="NAME", help="a saved value list; default: the built-in lists")
    group.add_argument("--only", default="", metavar="NAMES", help="of a variation only these, with patterns like red*")
    group.add_argument("--vary", default="", metavar="FACETS", help="of a grid or a random sample: outfit, pose, ...")
    group.add_argument(
        "--keep",
        default="",
        metavar="WORDS",
        help="what stays the same; '-' for nothing; default for outfits: "
        "white background, full body; without the background where --prompt names a place",
    )
    group.add_argument("--n", type=count, metavar="N", help="pictures; of a variation: scenes (default: all)")
    group.add_argument("--per-scene", type=count, default=1, metavar="N", help="pictures of each scene")
    group.add_argument("--seed", type=int, default=0, help="where the scenes' seeds come from; default 0")
    group.add_argument("--same-seed", action="store_true", help="one seed for all scenes, to compare one thing")
    group.add_argument(
        "--best-of", type=count, default=1, metavar="N", help="up to N seeds for a scene until one is accepted"
    )
    group.add_argument("--again", metavar="PICTURE", help="make this picture again: a PNG, or DIR/manifest.json#SCENE")


def _drawing_options(group: Any) -> None:
    group.add_argument(
        "--checkpoint", metavar="FILE", help="as ComfyUI lists it; default: by --route, profile, project"
    )
    group.add_argument("--project", metavar="NAME", help="a project of the library")
    group.add_argument("--route", default="", metavar="PURPOSE", help="the checkpoint that is named for this purpose")
    group.add_argument("--rating", choices=RATINGS, default=RATINGS[0], help="content rating of the checkpoint")
    group.add_argument("--loras", default="", metavar="STACK", help='more LoRAs, like "town:0.7, smile:0.6"')
    group.add_argument("--workflow", metavar="FILE", help="put it into your own graph: a file, or a saved one's name")
    group.add_argument("--how", choices=HOW, default=HOW[0], help="how the character goes into --workflow")
    group.add_argument("--method", choices=("auto", *METHODS), default="auto", help="LoRA, FaceID, or both")
    group.add_argument("--preset", choices=("profile", *PRESETS), default="profile", help="strengths")
    group.add_argument("--adapter", default="auto", metavar="FILE", help="FaceID adapter, as ComfyUI lists it")
    group.add_argument("--vae", metavar="FILE", help="as ComfyUI lists it; default: the checkpoint's own")
    group.add_argument("--steps", type=int, help="sampling steps; default: the character's, as all below")
    group.add_argument("--cfg", type=_number)
    group.add_argument("--sampler", metavar="NAME", help="as ComfyUI names it")
    group.add_argument("--scheduler", metavar="NAME", help="as ComfyUI names it")
    group.add_argument("--size", type=_size, metavar="WxH", help="px, for example 832x1216")


def _run_options(group: Any) -> None:
    group.add_argument(
        "--server", nargs="+", action="append", metavar="URL", help=f"one ComfyUI or several; default {SERVER}"
    )
    group.add_argument("--out", type=Path, metavar="DIR", help="default: generated/NAME")
    group.add_argument("--no-score", action="store_true", help="do not measure the pictures")
    group.add_argument("--no-check", action="store_true", help="queue without looking at what the servers have")
    group.add_argument(
        "--patience", type=float, default=600.0, metavar="S", help="seconds to wait for a server when none answers"
    )
    group.add_argument("--longest", type=float, default=3600.0, metavar="S", help="seconds that one graph may run")


def _number(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise argparse.ArgumentTypeError(f"{text} is no number")
    return value


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{2,5})x(\d{2,5})", text.strip().lower().replace("×", "x"))
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is no size: write it like 832x1216")
    return int(found[1]), int(found[2])
