"""Sweeps over made pictures, for the tests of sweeps on disk and in a profile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from likeness.character import Character
from likeness.images import RGB8
from likeness.scoring import judge_for
from likeness.sweep.plan import Plan, Render, plan_of
from likeness.sweep.report import Provenance
from likeness.sweep.run import Measures, Settings, SweepRun
from likeness.sweep.score import Bounds
from likeness.sweep.store import SweepStore

from ..fakes import FakeAnalyser, empty_picture, face_picture

PLAN = plan_of({"lora": "0.4,0.7,1", "faceid_weight": "0.2,0.6,1"}, prompts="red\nblue", seed=1, seeds=4)
KEY = "f" * 64
ABOUT = Provenance("buffalo_l", True, "model.safetensors", "likeness/sweeps/ada/strengths-ffffffff")


class Killed(BaseException):
    """What no handler of errors catches."""


class Artist:
    """Draws the pictures that a sweep asks for, and counts them."""

    def __init__(self) -> None:
        self.drawn: list[str] = []

    def draw(self, render: Render) -> RGB8:
        """Nobody where both strengths are at their highest; else the character, a shot for each render."""
        self.drawn.append(render.stem)
        shot = PLAN.renders.index(render) % 250 if render in PLAN.renders else 251
        strong = render.cell.strengths.get("lora_model") == render.cell.strengths.get("faceid_weight") == 1.0
        return empty_picture(shot) if strong else face_picture(1, shot)


def runs_of(output: Path, character: Character, analyser: FakeAnalyser) -> Callable[..., SweepRun]:
    """Makes sweeps of one character that write below `output`."""

    def make(plan: Plan = PLAN, key: str = KEY, full: bool = False, threshold: float | None = None) -> SweepRun:
        judge = judge_for(character, analyser, threshold=threshold, measure_drawn=True)  # plain squares look drawn
        measures = Measures(analyser, judge)
        store = SweepStore(output, "ada", "strengths", key, measures.key)
        return SweepRun(plan, store, measures, Settings(Bounds(1, 1), full))

    return make


def go_on(run: SweepRun, artist: Artist) -> SweepRun:
    """What a graph does."""
    run.store.begin(run.plan, ["graph"])
    run.catch_up()
    while missing := run.stage().missing:
        for render in missing:
            run.keep(render, artist.draw(render))
    return run
