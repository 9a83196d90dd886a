"""What the pictures of a sweep say about its cells: how good each is, which go on, and which one wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import LikenessError
from ..images import RGB8
from .plan import Cell, Plan, Render

# What a cell loses in likeness when none of its pictures could be measured, or all are copies. A reference that was
# drawn once more is no success of a strength, and a face that cannot be measured says nothing about it.
PENALTY = 0.2  # cosine
THUMBNAIL = 16  # px
THUMBNAILS = "thumbnail variety"
RECALLS = 2  # cells that may come back at the end
_TRIES = 2  # seeds in which a cell that nothing could be measured of may hope for another
_FLAT = 1.0  # length of a centred thumbnail, 0..255 per number, below which the picture is one colour

Vector = NDArray[np.float32]  # float32 [D], L2 norm 1, or all zeros for a picture of one colour


@dataclass(frozen=True)
class Measured:
    """One picture of a sweep."""

    similarity: float | None  # cosine to the character, -1..1; None where nothing could be measured
    verdict: str = ""  # of scoring.VERDICTS
    reason: str = ""  # why it is not accepted
    copy: bool = False  # of a reference
    prompt: float | None = None  # cosine of picture and text, -1..1; None without a model for it


@dataclass(frozen=True, repr=False)
class Findings:
    """What is known so far, by `Render.stem`."""

    measured: Mapping[str, Measured]
    looks: Mapping[str, Vector | None] = field(default_factory=dict)  # for variety; None where a model gave no number


@dataclass(frozen=True)
class Bounds:
    """How much of the control's prompt score and variety a winner may lose; shares, 0..1."""

    prompt: float = 0.05
    variety: float = 0.2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value <= 1.0:
                raise LikenessError(f"The {name} bound is {value}: give a share from 0 to 1.")


@dataclass(frozen=True)
class CellScore:
    """One cell over the seeds it was drawn with."""

    cell: Cell
    seeds: int  # how many it was drawn with
    pictures: int
    measurable: int
    copies: int  # of a reference
    likeness: float | None  # mean cosine of the measurable pictures, -1..1
    prompt: float | None  # mean cosine of picture and text
    variety: float | None  # mean distance of one prompt's pictures over seeds, 0..2; None with one seed
    spread: float | None = None  # standard deviation of the measurable pictures' cosines; None below two

    @property
    def worth(self) -> float | None:
        """Likeness less `PENALTY` times the share not measurable and the share of copies; None without likeness."""
        if self.likeness is None:
            return None
        lost = self.pictures - self.measurable + self.copies
        return self.likeness - PENALTY * lost / self.pictures


def score_cell(plan: Plan, cell: Cell, seeds: Sequence[int], findings: Findings) -> CellScore:
    """The cell over those of `seeds` that all its prompts were drawn with."""
    renders = [[Render(cell, prompt, seed).stem for seed in seeds] for prompt in plan.prompts]
    drawn = [column for column in zip(*renders, strict=True) if all(stem in findings.measured for stem in column)]
    found = [findings.measured[stem] for column in drawn for stem in column]
    similar = [m.similarity for m in found if m.similarity is not None]
    told = [m.prompt for m in found if m.prompt is not None]
    by_prompt = zip(*drawn, strict=True) if drawn else ()
    varied = [v for stems in by_prompt if (v := variety([findings.looks.get(s) for s in stems])) is not None]
    return CellScore(
        cell,
        len(drawn),
        len(found),
        len(similar),
        sum(m.copy for m in found),
        fmean(similar) if similar else None,
        fmean(told) if told and len(told) == len(found) else None,
        fmean(varied) if varied else None,
        stdev(similar) if len(similar) > 1 else None,
    )


def variety(looks: Sequence[Vector | None]) -> float | None:
    """Mean of 1 - cosine over all pairs, 0..2; None for fewer than two pictures, or where one has no vector."""
    known = [look for look in looks if look is not None]
    if len(known) < 2 or len(known) != len(looks):
        return None
    return fmean(_distance(a, b) for a, b in combinations(known, 2))


def _distance(a: Vector, b: Vector) -> float:
    return 0.0 if not a.any() and not b.any() else 1.0 - float(a @ b)  # two blank pictures do not differ


def thumbnail(picture: RGB8) -> Vector:
    """uint8 [H, W, 3] -> float32 [768], L2 norm 1: 16 x 16, each colour less its mean; zeros for one colour."""
    small = Image.fromarray(picture).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    centred = np.asarray(small, dtype=np.float32)
    vector = (centred - centred.mean(axis=(0, 1))).ravel()
    length = float(np.linalg.norm(vector))
    return (vector / length if length > _FLAT else np.zeros_like(vector)).astype(np.float32)


def broken_bounds(row: CellScore, control: CellScore, bounds: Bounds) -> list[str]:
    """What the cell lost too much of, one phrase each; what is not known of the control is not asked."""
    pairs = (("prompt score", row.prompt, control.prompt, bounds.prompt),)
    pairs += (("variety", row.variety, control.variety, bounds.variety),)
    broken = []
    for name, value, before, bound in pairs:
        if before is None:
            continue
        least = before - bound * abs(before)
        if value is None and row.seeds >= control.seeds:  # a figure that is missing has not kept its bound
            broken.append(f"{name} is not known")
        elif value is not None and value < least - 1e-9:
            broken.append(f"{name} {value:.3f} is below {least:.3f}")
    return broken


def ranked(plan: Plan, rows: Sequence[CellScore], control: CellScore, bounds: Bounds) -> list[CellScore]:
    """Best first: measurable before not, inside the bounds before outside, then by worth, then the weaker."""

    def key(row: CellScore) -> tuple[object, ...]:
        worth = row.worth
        outside = bool(broken_bounds(row, control, bounds))
        return (worth is None, outside, -(round(worth, 6) if worth is not None else 0.0), plan.strength(row.cell))

    return sorted(rows, key=key)


def kept(count: int) -> int:
    """How many of `count` cells go on to the next seed: half, but never fewer than the control and one other."""
    return min(count, max(2, count // 2))


@dataclass(frozen=True)
class Stage:
    """Where a sweep stands."""

    alive: tuple[Cell, ...]  # cells of this round; of the last round the finalists
    round: int  # from 1
    missing: tuple[Render, ...]  # pictures of this round that are not there; () when the sweep is done


def stage(plan: Plan, findings: Findings, bounds: Bounds, full: bool = False) -> Stage:
    """The round that is due, from what is known. One seed a round; after each the weaker half of the cells is out.

    The control stays to the end, since the bounds are relative to it. A round that told nothing puts no cell out; two
    of them end the sweep. Where the last round leaves only the control inside the bounds, cells that were out come
    back, `RECALLS` of them at most. `full`: every cell gets every seed.
    """
    alive, out = plan.cells, {}
    for number, seed in enumerate(plan.seeds, 1):
        missing = _missing(plan, alive, (seed,), findings)
        if missing:
            return Stage(alive, number, missing)
        if full:
            continue
        seeds = plan.seeds[:number]
        rows = [score_cell(plan, cell, seeds, findings) for cell in alive]
        if all(row.likeness is None for row in rows):
            if number == _TRIES:
                return Stage(alive, number, ())
        elif number < len(plan.seeds):
            chosen = _survivors(plan, rows, bounds)
            out |= {cell: seeds for cell in alive if cell not in chosen}
            alive = chosen
    return Stage(alive, len(plan.seeds), ()) if full else _recalled(plan, alive, out, findings, bounds)


def _missing(plan: Plan, cells: Iterable[Cell], seeds: Sequence[int], findings: Findings) -> tuple[Render, ...]:
    renders = (Render(cell, prompt, seed) for seed in seeds for cell in cells for prompt in plan.prompts)
    return tuple(r for r in renders if r.stem not in findings.measured)


def _survivors(plan: Plan, rows: Sequence[CellScore], bounds: Bounds) -> tuple[Cell, ...]:
    """The better half of the cells that told something, and those that may with another seed; in their order."""
    control = next(row for row in rows if row.cell == plan.control)
    untold = [row.cell for row in rows if row.likeness is None and row.seeds < _TRIES]
    told = ranked(plan, [row for row in rows if row.cell not in untold], control, bounds)
    best = [row.cell for row in told][: kept(len(told))]
    if plan.control not in (*best, *untold):
        best[-1] = plan.control
    return tuple(row.cell for row in rows if row.cell in best or row.cell in untold)


def _recalled(
    plan: Plan, alive: tuple[Cell, ...], out: Mapping[Cell, Sequence[int]], findings: Findings, bounds: Bounds
) -> Stage:
    """The last round with those cells that a rival inside the bounds is looked for among.

    `out`: the seeds that each cell had been drawn with when it was put out, which alone decide who comes back.
    """

    def rival(cell: Cell, seeds: Sequence[int]) -> CellScore | None:
        """The cell's row, where it was measurable and inside the bounds."""
        row, control = (score_cell(plan, c, seeds, findings) for c in (cell, plan.control))
        return row if row.worth is not None and not broken_bounds(row, control, bounds) else None

    spare = [(cell, row) for cell, seeds in out.items() if (row := rival(cell, seeds)) is not None]
    spare.sort(key=lambda pair: (-len(out[pair[0]]), -(pair[1].worth or 0.0), plan.strength(pair[0])))
    others = [cell for cell in alive if cell != plan.control]
    back: tuple[Cell, ...] = ()
    missing: tuple[Render, ...] = ()
    for cell, _ in spare[:RECALLS]:
        if missing or any(rival(other, plan.seeds) for other in (*others, *back)):
            break
        back = (*back, cell)
        missing = _missing(plan, (cell,), plan.seeds, findings)
    return Stage((*alive, *back), len(plan.seeds), missing)


def cost(plan: Plan, full: bool = False) -> int:
    """Pictures that the whole sweep draws."""
    alive, total = len(plan.cells), 0
    for _ in plan.seeds:
        total, alive = total + alive, alive if full else kept(alive)
    return total * len(plan.prompts)


@dataclass(frozen=True)
class Outcome:
    """What a finished sweep has found."""

    plan: Plan
    bounds: Bounds
    full: bool
    variety_measure: str
    rows: tuple[CellScore, ...]  # finalists first, best first; then the others, the longer drawn first
    finalists: int
    control: CellScore
    winner: CellScore | None  # None where nothing could win; `no_winner` says why

    @property
    def dropped(self) -> list[str]:
        """Conditions that could not be asked."""
        known = (("prompt score", self.control.prompt), ("variety", self.control.variety))
        return [name for name, value in known if value is None]

    @property
    def pictures(self) -> int:
        return sum(row.pictures for row in self.rows)

    @property
    def no_winner(self) -> str:
        """Why nothing won, in a few words; "" where something did."""
        if self.winner is not None:
            return ""
        if len(self.rows) == 1:
            return "one cell alone, nothing to compare it with"
        if all(row.likeness is None for row in self.rows):
            return "nothing could be measured"
        if self.control.likeness is None:
            return "no finalist inside the bounds could be measured"
        return "every finalist but the control is outside the bounds or not measurable"

    def rule(self) -> str:
        """How the winner was chosen, in one sentence."""
        conditions = {
            "prompt score": f"whose prompt score is at least {1 - self.bounds.prompt:.0%} of the control's",
            "variety": f"whose {self.variety_measure} is at least {1 - self.bounds.variety:.0%} of the control's",
        }
        asked = [text for name, text in conditions.items() if name not in self.dropped]
        unknown = f" ({' and '.join(self.dropped)} not known and not asked)" if self.dropped else ""
        return (
            f"The winner has the highest likeness of the {self.finalists} finalists"
            f"{' ' + ' and '.join(asked) if asked else ''}{unknown}, where likeness is the mean similarity of the "
            f"measurable pictures, less {PENALTY:g} times the share that was not measurable and less {PENALTY:g} times "
            f"the share of copies of a reference; the control is the weakest cell ({self.control.cell}), and of equal "
            "cells the weaker one wins."
        )


def judge_sweep(
    plan: Plan, findings: Findings, bounds: Bounds, full: bool = False, variety_measure: str = THUMBNAILS
) -> Outcome:
    """The outcome of what was drawn; of a sweep that is not done the outcome so far."""
    now = stage(plan, findings, bounds, full)
    rows = [score_cell(plan, cell, plan.seeds, findings) for cell in plan.cells]
    control = next(row for row in rows if row.cell == plan.control)
    alive = set(now.alive)
    finalists = ranked(plan, [row for row in rows if row.cell in alive], control, bounds)
    out = [row for row in rows if row.cell not in alive]
    others = sorted(ranked(plan, out, control, bounds), key=lambda row: -row.seeds)
    sound = [row for row in finalists if row.worth is not None and not broken_bounds(row, control, bounds)]
    # Halving has seen too little of the others to write the weakest strengths down as the best.
    alone = [row.cell for row in sound] == [plan.control] and (not full or len(rows) == 1)
    winner = None if alone or not sound else sound[0]
    return Outcome(plan, bounds, full, variety_measure, (*finalists, *others), len(finalists), control, winner)
