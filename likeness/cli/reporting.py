"""`likeness report`: how consistent a folder of pictures is."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from ..errors import LikenessError
from ..files import delete_file
from ..report.document import Report, about, build, to_json
from ..report.finish import Files, files_for, now, pictures_below, save, settings_below
from ..report.folder import list_pictures
from ..report.groups import parse_groupings
from ..report.journal import Journal
from ..report.measure import Measures, Progress, measure_folder
from ..report.words import advice, contest, headline
from ..style import OnnxImageEmbedder, StyleMatch, style_of_character, style_of_folder
from .datasets import Shows as Counting
from .output import say
from .places import Places
from .scoring import judge_of
from .spreading import add_ray_options, go_ahead, ray_of

REFERENCES = "references"
_SOON, _LINE = 0.1, 10.0  # seconds between two looks on a terminal, and between two lines elsewhere


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """The arguments of `likeness report` besides those of the judge."""
    parser.add_argument("folder", type=Path, help="folder of pictures, with its subfolders")
    parser.add_argument("--character", required=True, metavar="NAME", help="whom the pictures should show")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("report.json"),
        metavar="FILE",
        help="the JSON, or the page where it ends with .html; default: report.json",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="the page; default: beside the JSON")
    parser.add_argument("--title", default="Consistency report", help="of the page")
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="KEY",
        help="compare groups: folder, folder:2, lora, lora_strength, faceid_weight, checkpoint, seed, prompt (from "
        "ComfyUI's PNG files), or NAME=REGEX on the path; may be given several times",
    )
    parser.add_argument(
        "--style", metavar="DIR", help=f"also the match of background and style with this folder, or {REFERENCES!r}"
    )
    parser.add_argument("--style-model", type=Path, metavar="FILE", help="image encoder (ONNX) for --style")
    parser.add_argument("--top", type=int, default=12, metavar="N", help="thumbnails of the best and of the worst")
    parser.add_argument("--no-resume", action="store_true", help="measure all anew, whatever an earlier run has left")
    add_ray_options(parser)


def report_folder(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when nothing could be measured, 130 when it was stopped."""
    groupings = parse_groupings(arguments.group)
    files = files_for(arguments.out, arguments.html)
    if not arguments.folder.is_dir():
        raise LikenessError(f"There is no folder {arguments.folder}: check its name.")
    shows = Shows()
    try:
        engine, judge = judge_of(arguments, places, arguments.character)
        measures = Measures(engine, judge, _style(arguments, measures_engine=engine, judge=judge))
        if arguments.no_resume:
            delete_file(files.journal)
        journal = Journal(files.journal, measures.key())
        _ahead(arguments, places, measures, journal)
        measured = measure_folder(arguments.folder, measures, journal, shows)
        shows.finish()
        source = arguments.folder.resolve().name or "/"
        told = about(judge, engine, title=arguments.title, source=source, made=now(), style=measures.style)
        made = build(told, measured, groupings, settings_below(arguments.folder), max(arguments.top, 0))
        save(made, files, pictures_below(arguments.folder))
    except KeyboardInterrupt:
        return _stopped(files, shows, arguments.no_resume)
    journal.remove()
    say(arguments, _text(made, files), json.loads(to_json(made, advice(made))))
    return int(made.tally.rate is None)


def _ahead(arguments: argparse.Namespace, places: Places, measures: Measures, journal: Journal) -> None:
    """With --ray, first the faces of all pictures that no earlier run has measured."""
    if ray_of(arguments) is None:
        return
    kept = journal.of(arguments.folder).resume()
    waiting = [arguments.folder / name for name in list_pictures(arguments.folder).pictures if name not in kept]
    counting = Counting("pictures analysed")
    try:
        go_ahead(arguments, places, (measures.analyser, measures.judge.second), waiting, counting)
    finally:
        counting.finish()


def _style(arguments: argparse.Namespace, measures_engine: Any, judge: Any) -> StyleMatch | None:
    if not arguments.style:
        return None
    if arguments.style_model is None:
        raise LikenessError("--style needs an image encoder: give one with --style-model FILE.onnx.")
    embedder = OnnxImageEmbedder(arguments.style_model, arguments.provider)
    if arguments.style == REFERENCES:
        return style_of_character(judge.character, embedder)
    return style_of_folder(Path(arguments.style), embedder, measures_engine.analyse)


def _stopped(files: Files, shows: Shows, anew: bool) -> int:
    shows.finish()
    kept = f" {shows.last.done:,} of {shows.last.total:,} are done." if shows.last is not None else ""
    again = "give the same command again" + (" without --no-resume" if anew else "")
    if files.journal.exists():
        again += f" (what is done is kept in {shlex.quote(str(files.journal))})"
    print(f"likeness: stopped.{kept} To go on, {again}.", file=sys.stderr)
    return 130


def _text(made: Report, files: Files) -> str:
    lines = [headline(made), *map(contest, made.tables)]
    lines += [s for s in advice(made) if s not in lines]
    return "\n".join([*lines, f"Wrote {files.json} and {files.html}."])


class Shows:
    """How far it is: on a terminal one line that is written over, elsewhere a line now and then."""

    def __init__(self) -> None:
        self.last: Progress | None = None
        self._begun = self._shown = time.monotonic()
        self._line = False

    def __call__(self, now: Progress) -> None:
        first, self.last = self.last is None, now
        passed = time.monotonic()
        if first:
            self._begun = self._shown = passed
            if now.resumed:
                print(f"Going on: {now.resumed:,} of {now.total:,} are done already.", file=sys.stderr)
        wait = _SOON if sys.stderr.isatty() else _LINE
        if passed - self._shown >= wait:
            self._shown = passed
            self._show(self._told(now, passed - self._begun))

    def _told(self, now: Progress, seconds: float) -> str:
        rate = (now.done - now.resumed) / seconds if seconds > 0 else 0.0
        left = f", {_duration((now.total - now.done) / rate)} left" if rate > 0 else ""
        verdicts = ", ".join(f"{count:,} {name}" for name, count in sorted(now.verdicts.items()))
        broken = f", {now.left_out:,} not readable" if now.left_out else ""
        return f"{now.done:,} of {now.total:,}, {rate:.1f} a second{left}: {verdicts}{broken}"

    def _show(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K  {text}", end="", file=sys.stderr, flush=True)
            self._line = True
        else:
            print(f"  {text}", file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Leave the line free."""
        if self._line:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        self._line = False


def _duration(seconds: float) -> str:
    minutes = int(seconds + 30) // 60
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
