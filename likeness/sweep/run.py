"""A sweep under way: pictures come in, are measured and kept, and the next ones are asked for.

Who draws them is no concern of this module: a graph that expands itself, a program, a test.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from .. import images
from ..character import Character
from ..faces.face import Analyser, normalise
from ..images import RGB8
from ..profile import BaseSettings
from ..scoring import Judge
from ..style import ImageEmbedder
from .graph_key import digest
from .heat_map import heat_map
from .plan import LORA_FILE, Plan, Render
from .report import Provenance, as_json, lost_pictures, measured_of, report, table, table_csv
from .score import (
    THUMBNAILS,
    Bounds,
    Findings,
    Measured,
    Outcome,
    Stage,
    Vector,
    cost,
    judge_sweep,
    stage,
    thumbnail,
)
from .store import SweepStore


class PromptMeasure(Protocol):
    """How well a picture follows a text."""

    name: str  # of the model; changes with it

    def score(self, picture: RGB8, prompt: str) -> float:
        """Cosine of picture and text, -1..1."""
        ...


@dataclass(frozen=True)
class Settings:
    """How a sweep is judged."""

    bounds: Bounds = field(default_factory=Bounds)
    full: bool = False  # every cell with every seed, instead of halving


@dataclass(frozen=True, repr=False)
class Measures:
    """What measures the pictures of a sweep."""

    analyser: Analyser
    judge: Judge
    prompt: PromptMeasure | None = None
    look: ImageEmbedder | None = None  # for variety; thumbnails without one

    @property
    def variety(self) -> str:
        """What variety is measured by."""
        return THUMBNAILS if self.look is None else f"variety by {self.look.name}"

    @property
    def key(self) -> str:
        """Changes with whatever could change a measurement."""
        made, judge = self.analyser.pipeline, self.judge
        prompt = "" if self.prompt is None else self.prompt.name
        identity = judge.character.identity.digest
        rules = (judge.band.low, judge.copy_limit, judge.measure_drawn)
        return digest(made.detector, made.recogniser, identity, *rules, prompt)


def drawing_key(character: Character, plan: Plan, graph: object, stamps: object = ()) -> str:
    """sha256, hex, of all that shapes the pictures besides what the plan varies.

    `graph`: JSON rows of the drawing nodes; `stamps`: of the files that they are drawn from.
    """
    swept = {name for cell in plan.cells[:1] for name in cell.strengths}
    return digest(shape_of(character, swept, any(axis.name == LORA_FILE for axis in plan.axes)), graph, stamps)


def shape_of(character: Character, swept: Set[str] = frozenset(), sweeps_loras: bool = False) -> list[object]:
    """JSON values of all in a character that shapes a picture.

    Words for people, earlier sweeps and calibrations do not, nor do the strengths that a sweep sets: `swept`, and the
    LoRA where files are swept.
    """
    profile = character.profile.model_dump(mode="json", exclude={"notes", "calibrations"})
    for settings in profile["base"].values():
        settings.pop("sweep", None)
        settings["strengths"] = {k: v for k, v in settings["strengths"].items() if k not in {*swept, "source"}}
        loras = settings.pop("loras")
        if not sweeps_loras:  # one that waits draws nothing
            settings["loras"] = [version["file"] for version in loras if version["active"]]
    profile["base"] = {family: settings for family, settings in profile["base"].items() if _differs(settings)}
    return [profile, character.identity.digest if character.has_identity else ""]


def _differs(settings: dict[str, object]) -> bool:
    """Whether base settings say anything, so that a family which a sweep has added changes no key."""
    usual = BaseSettings()
    chosen = settings.get("method") != usual.method or settings.get("preset") != usual.preset
    return chosen or any(_says(value) for key, value in settings.items() if key not in ("method", "preset"))


def _says(value: object) -> bool:
    return any(_says(v) for v in value.values()) if isinstance(value, dict) else value not in (None, [], ())


@dataclass(repr=False)
class SweepRun:
    """One sweep. Not to be shared by threads."""

    plan: Plan
    store: SweepStore
    measures: Measures
    settings: Settings = Settings()
    _measured: dict[str, Measured] = field(default_factory=dict, init=False)
    _looks: dict[str, Vector | None] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._measured = self.store.results(self.plan.renders)

    def catch_up(self, progress: Callable[[int], None] = lambda done: None) -> int:
        """Measure pictures that are there without measurements; returns how many. `progress` may raise to stop."""
        waiting = self.store.unmeasured(self.plan.renders, self._measured)
        for done, render in enumerate(waiting, 1):
            picture = self.store.picture(render)
            if picture is not None:
                measured = self._measure(render, picture)
                self.store.save_result(render, measured)
                self._know(render, picture, measured)
            progress(done)
        return len(waiting)

    def keep(self, render: Render, picture: RGB8) -> Measured:
        """Take in a new picture."""
        measured = self._measure(render, picture)
        self.store.save(render, picture, measured)
        self._know(render, picture, measured)
        self.store.tell(self.done, self.cost, str(render.cell))
        return measured

    def _measure(self, render: Render, picture: RGB8) -> Measured:
        score = self.measures.judge.score(render.stem, self.measures.analyser.analyse(picture), picture)
        told = self.measures.prompt
        prompt = None if told is None or not render.prompt else told.score(picture, render.prompt)
        return measured_of(score, prompt, self.measures.judge.measure_drawn)

    def _know(self, render: Render, picture: RGB8, measured: Measured) -> None:
        self._measured[render.stem] = measured
        embedder = self.measures.look
        look = thumbnail(picture) if embedder is None else normalise(embedder.embed([picture])[0])
        self._looks[render.stem] = look if np.isfinite(look).all() else None

    @property
    def findings(self) -> Findings:
        return Findings(self._measured, self._looks)

    @property
    def cost(self) -> int:
        """Pictures that the sweep needs, as far as that is known: cells that come back are not counted before."""
        return max(cost(self.plan, self.settings.full), self.done)

    @property
    def done(self) -> int:
        """Pictures of the plan that are there."""
        return len(self._measured)

    def stage(self) -> Stage:
        """The round that is due, and its missing pictures."""
        self._look_at_all()
        return stage(self.plan, self.findings, self.settings.bounds, self.settings.full)

    def _look_at_all(self) -> None:
        """The looks of pictures from an earlier run; one that is damaged or gone after all counts as not drawn."""
        for render in self.plan.renders:
            if render.stem not in self._measured:
                continue
            there = self.store.picture_path(render).is_file()
            if there and render.stem in self._looks:
                continue
            picture = self.store.picture(render) if there else None
            if picture is None:
                del self._measured[render.stem]
                self._looks.pop(render.stem, None)
            else:
                self._know(render, picture, self._measured[render.stem])

    def outcome(self) -> Outcome:
        """What is found so far."""
        self._look_at_all()
        return judge_sweep(self.plan, self.findings, self.settings.bounds, self.settings.full, self.measures.variety)

    def best_pictures(self, outcome: Outcome) -> list[RGB8]:
        """The winner's pictures, or the control's where nothing won; all of one size; [] where they are gone."""
        cell = (outcome.winner or outcome.control).cell
        renders = [r for r in self.plan.renders if r.cell == cell and r.stem in self._measured]
        found = [p for r in renders if (p := self.store.picture(r)) is not None]
        return [p for p in found if p.shape == found[0].shape]

    def finish(self, outcome: Outcome, about: Provenance, written: str = "") -> Finished:
        """Write table, heat map and report beside the pictures."""
        about = replace(about, notes=(*lost_pictures(self._measured.values()), *about.notes))
        made = Finished(
            heat_map(outcome), table(outcome), report(outcome, about, written), as_json(outcome, about, written)
        )
        self.store.write("table.csv", table_csv(outcome))
        self.store.write("heat_map.png", images.encode_png(made.heat_map))
        self.store.write_json("report.json", made.values)
        self.store.tell(self.cost, self.cost, "done")
        return made


@dataclass(frozen=True, repr=False)
class Finished:
    """What a finished sweep shows."""

    heat_map: RGB8
    table: str
    report: str
    values: dict[str, object]  # the report for programs
