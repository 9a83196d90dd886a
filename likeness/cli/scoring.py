"""`likeness score`, `calibrate` and `identify`: pictures against characters."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .. import images
from ..calibration import calibrate, drawn_note, report, rivals_of, save_calibration
from ..character import Character, open_character, with_encoder
from ..errors import LikenessError, printable
from ..faces.face import Analyser, describe_engine, place
from ..faces.stream import analyse_many
from ..hand_set import notes_on
from ..matching import identify
from ..scoring import Judge, Score, consistency_rate, judge_for, mean_similarity, summary, unreadable
from .output import picture_files, say, slug_named
from .places import Places


def judge_of(arguments: argparse.Namespace, places: Places, name: str) -> tuple[Analyser, Judge]:
    """The analyser and the judge that the options ask for."""
    library, slug = places.library(), slug_named(name)
    engine = places.analyser(
        arguments.face_model or library.get(slug).face_model, arguments.provider, arguments.backend
    )
    character = open_character(library, slug, lambda pack: engine)
    second = places.analyser(arguments.second, arguments.provider) if arguments.second else None
    judge = judge_for(
        character,
        engine,
        threshold=arguments.threshold,
        second=second,
        gate=places.drawn_gate(engine),
        measure_drawn=arguments.measure_drawn,
        look=places.look_for_drawn(character, arguments.provider),
    )
    return engine, judge


def score(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when nothing could be measured."""
    engine, judge = judge_of(arguments, places, arguments.name)
    scores = list(_scored(picture_files(arguments.pictures), engine, judge))
    values: dict[str, Any] = {"character": arguments.name, "mean": mean_similarity(scores)}
    notes = [*judge.notes(), *notes_on(judge, scores)]
    values |= {"consistency_rate": consistency_rate(scores), "threshold": judge.band.low, "notes": notes}
    values |= {"scores": [s.as_dict() for s in scores], "face_model": describe_engine(engine)}
    lines = [summary(scores), *notes, f"Face model: {describe_engine(engine)}"]
    say(arguments, "\n".join(lines), values)
    return int(values["mean"] is None)


def _scored(files: Sequence[Path], engine: Analyser, judge: Judge) -> Iterator[Score]:
    items = ((path, partial(images.read, path)) for path in files)
    for seen in analyse_many(items, engine):
        name = seen.key.name
        yield unreadable(name, str(seen.error)) if seen.error else judge.score(name, seen.faces, seen.picture)


def calibrate_character(arguments: argparse.Namespace, places: Places) -> None:
    library, slug = places.library(), slug_named(arguments.name)
    engine = places.analyser(
        arguments.face_model or library.get(slug).face_model, arguments.provider, arguments.backend
    )
    measured = _seen(library, slug, engine)
    rivals, problems = rivals_of(library, slug, engine, _show_progress)
    made = calibrate(measured, rivals)
    if not arguments.dry_run:
        save_calibration(library, slug, made)
    odd = [*measured.identity.advice(), *drawn_note(measured, engine)]
    lines = [report(made, measured.profile.name), *odd, *problems]
    say(arguments, "\n".join(lines), {"slug": slug, **made.model_dump(), "advice": odd, "problems": problems})


def _seen(library: Any, slug: str, engine: Analyser) -> Character:
    return with_encoder(open_character(library, slug, lambda pack: engine), engine)


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r  {done} of {total} characters", end="\r", file=sys.stderr, flush=True)


def identify_faces(arguments: argparse.Namespace, places: Places) -> int:
    """Which characters are in the pictures; exit code 1 when none was recognised."""
    engine = places.analyser(arguments.face_model, arguments.provider, arguments.backend)
    library, known, problems = places.library(), [], []
    for slug in library.slugs():
        try:
            seen = _seen(library, slug, engine)
            _ = seen.identity  # says why where there is none
            known.append(seen)
        except LikenessError as error:
            problems.append(f"{slug} was left out: {error}")
    gate = None if arguments.measure_drawn else places.drawn_gate(engine)
    rows, lines = [], []
    for path in picture_files(arguments.pictures):
        try:
            faces = engine.analyse(images.read(path))
        except LikenessError as error:
            lines.append(f"{printable(path.name)}: {error}")
            continue
        for face, found in zip(faces, identify(faces, known, gate), strict=True):
            rows.append({"picture": path.name, "box": [round(float(v), 1) for v in face.box], **found.as_dict()})
            lines.append(f"{printable(path.name)}{f', at {place(face)}' if len(faces) > 1 else ''}: {found}")
        if not faces:
            lines.append(f"{printable(path.name)}: no face was found in the picture")
    say(arguments, "\n".join([*lines, *problems]), {"faces": rows, "problems": problems})
    return int(not any(row["character"] for row in rows))
