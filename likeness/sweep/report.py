"""What a sweep has found, in words, as a table, and as the strengths and the evidence of a profile."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from pydantic import ValidationError

from .. import __version__
from ..errors import LikenessError
from ..profile import BaseSettings, LoraVersion, Profile, Strengths, SweepEvidence
from ..scoring import Score
from .plan import LORA_FILE, Cell, number
from .score import CellScore, Measured, Outcome, broken_bounds

_MAX_VERSION = 9999


def measured_of(score: Score, prompt: float | None = None, drawn_too: bool = False) -> Measured:
    """What counts of a picture's score; `prompt` is a cosine.

    What is no number counts as not known. A drawn face under an encoder of photos has no similarity, unless asked for.
    """
    chosen, prompt = score.chosen, _finite(prompt)
    if chosen is not None and chosen.drawn and not drawn_too:
        reason = score.reason or "a drawn face, which no face model measures"
        return Measured(None, "not measurable", reason, False, prompt)
    similarity = _finite(score.similarity)
    if similarity is None and score.similarity is not None:
        return Measured(None, "not measurable", "the face model gave no number", False, prompt)
    return Measured(similarity, score.verdict, score.reason, chosen is not None and chosen.copy, prompt)


def _finite(value: float | None) -> float | None:
    """Rounded; None for what is no number, which a model that overflows gives."""
    return round(value, 6) if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Provenance:
    """Who measured, and on what."""

    face_model: str
    conditioned: bool  # the face model also steers FaceID
    checkpoint: str = ""
    folder: str = ""  # of the evidence, below the output folder
    notes: tuple[str, ...] = ()  # what to know before believing the numbers, one sentence each


def table(outcome: Outcome) -> str:
    """One line a cell, best first, for people."""
    head = ["", *(axis.name for axis in outcome.plan.axes), "likeness", "measurable", "copies", "prompt"]
    rows = [[*head, "variety", "seeds", ""]]
    for i, row in enumerate(outcome.rows, 1):
        rows.append([str(i), *(number(value) for _, value in row.cell.values), *_numbers(row), remark(outcome, i, row)])
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.rjust(w) for text, w in zip(row[:-1], widths, strict=False)) + f"  {row[-1]}".rstrip()
        for row in rows
    )


def _numbers(row: CellScore) -> list[str]:
    return [
        _text(row.likeness),
        f"{row.measurable}/{row.pictures}",
        str(row.copies),
        _text(row.prompt),
        _text(row.variety),
        str(row.seeds),
    ]


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def remark(outcome: Outcome, place: int, row: CellScore) -> str:
    """Why the cell is where it is."""
    parts = []
    if outcome.winner is not None and row.cell == outcome.winner.cell:
        parts.append("winner")
    if row.cell == outcome.control.cell:
        parts.append("control")
    if place > outcome.finalists:
        parts.append(f"out after {row.seeds} seed{'s' if row.seeds > 1 else ''}" if row.seeds else "not drawn")
    if not row.measurable and row.pictures:
        parts.append("nothing measurable")
    return "; ".join([*parts, *broken_bounds(row, outcome.control, outcome.bounds)])


def table_csv(outcome: Outcome) -> bytes:
    """The table for spreadsheets, UTF-8."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    names = ["likeness", "worth", "pictures", "measurable", "copies", "prompt_score", "variety", "spread", "seeds"]
    rows.writerow(["place", *(axis.name for axis in outcome.plan.axes), *names, "remark"])
    for i, row in enumerate(outcome.rows, 1):
        values = _as_dict(row)
        cells = [values[name] for name in names]
        rows.writerow([i, *(_safe(number(v)) for _, v in row.cell.values), *cells, remark(outcome, i, row)])
    return out.getvalue().encode("utf-8", "replace")


def _safe(text: str) -> str:
    """A file's name that a spreadsheet would take for a formula stands behind a quote."""
    return f"'{text}" if text[:1] in "=+@" else text


def _as_dict(row: CellScore) -> dict[str, object]:
    return {
        "cell": dict(row.cell.values),
        "likeness": _rounded(row.likeness),
        "worth": _rounded(row.worth),
        "pictures": row.pictures,
        "measurable": row.measurable,
        "copies": row.copies,
        "prompt_score": _rounded(row.prompt),
        "variety": _rounded(row.variety),
        "spread": _rounded(row.spread),
        "seeds": row.seeds,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def report(outcome: Outcome, about: Provenance, written: str = "") -> str:
    """For people: winner, rule, what to know, where the pictures are."""
    drawn, grid = outcome.pictures, len(outcome.plan.renders)
    lines = [_winner_line(outcome), *_runner_up(outcome), *_best_out(outcome), outcome.rule()]
    lines.append(f"{drawn} pictures of {len(outcome.plan.cells)} cells; the full grid has {grid} ({drawn / grid:.0%}).")
    copies = sum(row.copies for row in outcome.rows)
    if copies:
        lines.append(
            f"{copies} picture(s) are so near to one reference that they are copies of it, or the reference itself."
        )
    lost = drawn - sum(row.measurable for row in outcome.rows)
    if lost:
        lines.append(f"{lost} picture(s) could not be measured; they lower their cells and are not zero.")
    lines += about.notes
    return "\n".join([*lines, *([written] if written else []), f"Pictures and table: {about.folder}"])


def _winner_line(outcome: Outcome) -> str:
    row = outcome.winner
    if row is None:
        return f"No winner: {outcome.no_winner}. The profile stays as it is."
    against = f"control {_text(outcome.control.likeness)}"
    return f"Winner: {row.cell}, likeness {_text(row.likeness)} ({against}), over {row.pictures} pictures."


def _runner_up(outcome: Outcome) -> list[str]:
    """How far the winner is ahead, beside how much its own pictures differ."""
    won = outcome.winner
    others = [row for row in outcome.rows[: outcome.finalists] if won is not None and row.cell != won.cell]
    if won is None or won.spread is None or not others:
        return []
    second = f"Second of the finalists: {others[0].cell}, likeness {_text(others[0].likeness)}"
    return [f"{second}; the winner's own pictures spread by {won.spread:.3f} (standard deviation)."]


def _best_out(outcome: Outcome) -> list[str]:
    """The cell put out early that was most alike so far: over fewer seeds, which is why it could be wrong."""
    out = [row for row in outcome.rows[outcome.finalists :] if row.likeness is not None]
    best = max(out, key=lambda row: row.likeness or 0.0, default=None)
    if best is None or (
        outcome.winner is not None and (best.likeness or 0.0) < (outcome.winner.likeness or 0.0) - 0.05
    ):
        return []
    seeds = f"{best.seeds} seed{'s' if best.seeds > 1 else ''}"
    return [f"Most alike of the cells put out: {best.cell}, likeness {_text(best.likeness)} over {seeds}."]


def lost_pictures(measured: Iterable[Measured]) -> list[str]:
    """Why pictures could not be measured, in one sentence; [] where all could."""
    why = Counter(m.reason.split(" (")[0] for m in measured if m.similarity is None)
    told = ", ".join(f"{count} times {reason or 'no reason given'}" for reason, count in why.most_common(5))
    return [f"Not measurable: {told}."] if told else []


def as_json(outcome: Outcome, about: Provenance, written: str = "") -> dict[str, object]:
    """The report for programs; no embedding."""
    return {
        "winner": None if outcome.winner is None else _as_dict(outcome.winner),
        "control": _as_dict(outcome.control),
        "finalists": outcome.finalists,
        "mode": _mode(outcome),
        "rule": outcome.rule(),
        "conditions_not_asked": outcome.dropped,
        "bounds": vars(outcome.bounds),
        "variety_measure": outcome.variety_measure,
        "pictures": outcome.pictures,
        "full_grid": len(outcome.plan.renders),
        "plan": outcome.plan.as_dict(),
        "cells": [_as_dict(row) for row in outcome.rows],
        "face_model": about.face_model,
        "face_model_also_conditioned": about.conditioned,
        "checkpoint": about.checkpoint,
        "folder": about.folder,
        "notes": list(about.notes),
        "written": written,
    }


def _mode(outcome: Outcome) -> str:
    return "full" if outcome.full else "halving"


def evidence(outcome: Outcome, about: Provenance) -> SweepEvidence:
    """What the profile keeps. LikenessError without a winner."""
    row, control, plan = outcome.winner, outcome.control, outcome.plan
    if row is None or row.likeness is None:
        raise LikenessError(f"The sweep has no winner: {outcome.no_winner}.")
    return SweepEvidence(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool=f"likeness {__version__}",
        rule=outcome.rule(),
        checkpoint=_line(about.checkpoint),
        mode="full" if outcome.full else "halving",
        cells=len(plan.cells),
        renders=outcome.pictures,
        seeds=len(plan.seeds),
        prompts=len(plan.prompts),
        likeness=round(row.likeness, 4),
        control_likeness=_rounded(control.likeness),
        measurable=round(row.measurable / row.pictures, 4),
        copies=row.copies,
        prompt_score=_rounded(row.prompt),
        control_prompt_score=_rounded(control.prompt),
        variety=_rounded(row.variety),
        control_variety=_rounded(control.variety),
        variety_measure=_line(outcome.variety_measure),
        face_model=_line(about.face_model),
        conditioned=about.conditioned,
        folder=about.folder,
    )


def _line(text: str) -> str:
    """As a profile takes it: a file's name may hold anything."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def swept_strengths(profile: Profile, family: str, cell: Cell) -> Strengths:
    """The profile's strengths for one family with the cell's. LikenessError where they cannot stand together."""
    before = profile.settings(family).strengths
    try:
        return Strengths(**{**before.model_dump(), **cell.strengths, "source": "swept"})
    except ValidationError as error:
        raise LikenessError(
            f"The profile cannot take {cell}: {error.errors()[0]['msg'].removeprefix('Value error, ')}. "
            f"Sweep other values, or change the strengths of {profile.slug} for {family}."
        ) from error


def with_winner(profile: Profile, family: str, cell: Cell, found: SweepEvidence) -> Profile:
    """The profile with the winner's strengths for one family, as swept; its LoRA file becomes the active version."""
    settings, strengths = profile.settings(family), swept_strengths(profile, family, cell)
    changes: Mapping[str, object] = {"strengths": strengths, "sweep": found}
    if cell.get(LORA_FILE):
        changes = {**changes, "loras": _with_active(settings, cell.lora_file)}
    return profile.model_copy(update={"base": {**profile.base, family: settings.model_copy(update=changes)}})


def _with_active(settings: BaseSettings, file: str) -> tuple[LoraVersion, ...]:
    """The versions with this file active, as a new version where it is none yet."""
    known = any(v.file == file for v in settings.loras)
    versions = tuple(v.model_copy(update={"active": v.file == file}) for v in settings.loras)
    if known:
        return versions
    newest = max((v.version for v in versions), default=0)
    if newest >= _MAX_VERSION:
        raise LikenessError(f"LoRA {file} cannot be added: version {newest} is the last number there is.")
    return (*versions, LoraVersion(file=file, version=newest + 1, notes="Added by a sweep over LoRA files."))
