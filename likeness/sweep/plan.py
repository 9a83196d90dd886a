"""What a sweep over strengths draws: axes, cells, seeds and prompts.

axis    a strength and the values it takes, or the character LoRA's file and the files it takes
cell    one value of every axis
render  one picture: a cell, a prompt, a seed
control the cell of the weakest strengths, which prompt score and variety are held against
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from ..errors import LikenessError, quoted

LORA, FACEID, SHORTCUT, START, LORA_FILE = "lora", "faceid_weight", "faceid_weight_v2", "start", "lora_file"
RANGES = {LORA: (-10.0, 10.0), FACEID: (-1.0, 5.0), SHORTCUT: (-1.0, 5.0), START: (0.0, 1.0)}  # as profile.Strengths
AXES = (*RANGES, LORA_FILE)
MAX_VALUES, MAX_CELLS, MAX_SEEDS, MAX_PROMPTS, MAX_RENDERS = 20, 400, 64, 16, 4000
MAX_SEED = 2**64 - 1  # ComfyUI's samplers take no larger one
_SHORT = {LORA: "lora", FACEID: "face", SHORTCUT: "v2", START: "start"}  # in file names
_COMMA_DECIMAL = re.compile(r"\d,\d")
_RANGE = re.compile(r"([^:]+):([^:]+):([^:]+)")

Value = float | str


@dataclass(frozen=True)
class Axis:
    """One thing that a sweep varies."""

    name: str  # of AXES
    values: tuple[Value, ...]  # numbers ascending; files in the order given

    @property
    def weakest(self) -> int:
        """Index of the weakest value: the number nearest 0, the latest start, the first file."""
        if self.name == START:
            return len(self.values) - 1
        sizes = [abs(value) if isinstance(value, float) else 0.0 for value in self.values]
        return sizes.index(min(sizes))  # below 0 a strength steers away, which is strong, too


@dataclass(frozen=True)
class Cell:
    """One value of every axis, in the order of the axes."""

    values: tuple[tuple[str, Value], ...]  # (axis, value)
    stamp: str = ""  # of the LoRA file's contents, where files are swept

    def get(self, axis: str) -> Value | None:
        return dict(self.values).get(axis)

    @property
    def strengths(self) -> dict[str, float]:
        """By the names of `profile.Strengths`; the LoRA acts as strongly on the text encoder as on the model."""
        numbers = {name: float(value) for name, value in self.values if name in RANGES}
        both = {"lora_model": numbers[LORA], "lora_clip": numbers[LORA]} if LORA in numbers else {}
        return {**both, **{name: value for name, value in numbers.items() if name != LORA}}

    @property
    def lora_file(self) -> str:
        """As listed in models/loras; "" where the files are not swept."""
        return str(self.get(LORA_FILE) or "")

    @property
    def id(self) -> str:
        """A file name that tells the values; equal values have equal ones, in whatever plan."""
        parts = [f"{_SHORT[name]}{number(value)}" for name, value in self.values if name in RANGES]
        if self.lora_file:
            parts.append(f"file-{_digest(f'{self.lora_file}{chr(0)}{self.stamp}')}")
        return "_".join(parts)

    def __str__(self) -> str:
        return ", ".join(f"{name} {number(value)}" for name, value in self.values)


@dataclass(frozen=True)
class Render:
    """One picture of a sweep."""

    cell: Cell
    prompt: str
    seed: int

    @property
    def stem(self) -> str:
        """File name without its ending; equal cells, prompts and seeds have equal ones, in whatever plan."""
        return f"{self.cell.id}_p{_digest(self.prompt)}_s{self.seed}"


@dataclass(frozen=True)
class Plan:
    """What a sweep may draw: every cell with every prompt and seed."""

    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    prompts: tuple[str, ...] = ("",)
    stamps: tuple[tuple[str, str], ...] = ()  # LoRA file -> a text that changes with its contents

    def __post_init__(self) -> None:
        _check(self)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """In the order of the axes, the last one changing fastest."""
        stamps = dict(self.stamps)
        rows = (tuple((a.name, v) for a, v in zip(self.axes, row, strict=True)) for row in self._rows())
        return tuple(Cell(row, stamps.get(str(dict(row).get(LORA_FILE)), "")) for row in rows)

    def _rows(self) -> Iterator[tuple[Value, ...]]:
        return itertools.product(*(axis.values for axis in self.axes))

    @cached_property
    def control(self) -> Cell:
        """The weakest strengths; of several LoRA files the first."""
        return min(self.cells, key=self.strength)

    def strength(self, cell: Cell) -> tuple[int, ...]:
        """Orders cells from weak to strong: steps above the weakest in all, then axis by axis."""
        steps = [abs(axis.values.index(v) - axis.weakest) for axis, (_, v) in zip(self.axes, cell.values, strict=True)]
        return (sum(steps), *steps)

    @cached_property
    def renders(self) -> tuple[Render, ...]:
        """All of them, seed by seed and cell by cell."""
        return tuple(Render(c, p, s) for s in self.seeds for c in self.cells for p in self.prompts)

    def as_dict(self) -> dict[str, object]:
        return {
            "axes": {axis.name: list(axis.values) for axis in self.axes},
            "seeds": list(self.seeds),
            "prompts": list(self.prompts),
        }


@dataclass(frozen=True)
class SweepPoint:
    """One picture's place in a sweep; what the nodes pass on."""

    plan: Plan
    render: Render

    @classmethod
    def at(cls, plan: Plan, index: int) -> SweepPoint:
        """The picture of that number, from 0, seed by seed and cell by cell. LikenessError where there is none."""
        if not 0 <= index < len(plan.renders):
            raise LikenessError(f"The sweep has pictures 0 to {len(plan.renders) - 1}, and index is {index}.")
        return cls(plan, plan.renders[index])


def _check(plan: Plan) -> None:
    if not plan.axes:
        raise LikenessError(f"The sweep varies nothing: give values for at least one of {', '.join(AXES)}.")
    cells = math.prod(len(axis.values) for axis in plan.axes)
    renders = cells * len(plan.seeds) * len(plan.prompts)
    limits = (
        (len(plan.seeds), MAX_SEEDS, "seeds"),
        (len(plan.prompts), MAX_PROMPTS, "prompts"),
        (cells, MAX_CELLS, "cells"),
        (renders, MAX_RENDERS, "pictures"),
    )
    for count, most, what in limits:
        if not 1 <= count <= most:
            raise LikenessError(f"The sweep has {count} {what}: take 1 to {most}.")
    if plan.seeds[0] < 0 or plan.seeds[-1] > MAX_SEED:
        raise LikenessError(f"The seeds go from {plan.seeds[0]} to {plan.seeds[-1]}: take 0 to {MAX_SEED}.")


def plan_of(
    numbers: Mapping[str, str],
    files: str = "",
    prompts: str = "",
    seed: int = 0,
    seeds: int = 4,
    stamp: Callable[[str], str] = lambda file: "",
) -> Plan:
    """The plan that texts describe: `numbers` by axis (see `parse_values`), files and prompts one a line.

    An axis without values is not swept. `stamp` gives a text that changes with a LoRA file's contents.
    """
    axes = [Axis(name, values) for name in RANGES if (values := parse_values(numbers.get(name, ""), name))]
    if named := parse_files(files):
        axes.append(Axis(LORA_FILE, named))
    lines = tuple(dict.fromkeys(line.strip() for line in prompts.splitlines() if line.strip()))
    stamps = tuple((file, stamp(file)) for file in named)
    return Plan(tuple(axes), tuple(range(seed, seed + seeds)), lines or ("",), stamps)


def parse_values(text: str, axis: str) -> tuple[float, ...]:
    """ "0.4, 0.6, 0.8" or "0.4:1.0:4" (from, to, how many), or both -> numbers, ascending, none twice.

    "" gives (). LikenessError for anything else, or for what the strength cannot be.
    """
    if _COMMA_DECIMAL.search(text) and ";" in text:
        raise LikenessError(f"{axis}: {quoted(text)} has decimal commas: write numbers with a point, like '0.4, 0.6'.")
    parts = [part.strip() for part in re.split(r"[,;\n]", text) if part.strip()]
    values = sorted({round(value, 4) for part in parts for value in _numbers(part, axis)})
    low, high = RANGES[axis]
    if outside := [v for v in values if not low <= v <= high]:
        raise LikenessError(f"{axis}: {number(outside[0])} is outside {number(low)} to {number(high)}.")
    if len(values) > MAX_VALUES:
        raise LikenessError(f"{axis}: {len(values)} values are too many: take up to {MAX_VALUES}.")
    return tuple(values)


def _numbers(part: str, axis: str) -> list[float]:
    bad = LikenessError(
        f"{axis}: {quoted(part)} is no strength: write numbers like '0.4, 0.6, 0.8', or from:to:count like '0.4:1.0:4'."
    )
    spread = _RANGE.fullmatch(part)
    try:
        if "_" in part:  # which Python would skip
            raise bad
        found = [float(part)] if spread is None else [float(spread[1]), float(spread[2])]
        count = 1 if spread is None else int(spread[3])
    except ValueError:
        raise bad from None
    if not all(map(math.isfinite, found)):
        raise bad
    if spread is None:
        return found
    if not 2 <= count <= MAX_VALUES:
        raise LikenessError(f"{axis}: {quoted(part)} asks for {count} values: take 2 to {MAX_VALUES}.")
    first, last = found
    return [first + (last - first) * i / (count - 1) for i in range(count)]


def parse_files(text: str) -> tuple[str, ...]:
    """LoRA files, one a line, in their order, none twice."""
    named = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if len(named) > MAX_VALUES:
        raise LikenessError(f"{LORA_FILE}: {len(named)} files are too many: take up to {MAX_VALUES}.")
    return named


def number(value: Value) -> str:
    """ "0.4"; a file's name as it is."""
    return value if isinstance(value, str) else f"{round(value, 4) + 0.0:.10g}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
