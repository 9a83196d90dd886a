"""A sweep as a graph draws it: what the node is asked for, the pictures that are due, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfy_api.latest import io, ui
from comfy_execution.graph_utils import GraphBuilder

from ..likeness.errors import LikenessError
from ..likeness.images import RGB8
from ..likeness.placeholder import placeholder
from ..likeness.profile import Profile
from ..likeness.sweep.heat_view import heat_view
from ..likeness.sweep.plan import Plan, Render, SweepPoint
from ..likeness.sweep.report import Provenance, evidence, with_winner
from ..likeness.sweep.run import Finished, SweepRun
from ..likeness.sweep.score import Outcome
from . import host
from .sweep_drawing import Drawing, check_family

JobType = io.Custom("LIKENESS_SWEEP_JOB")  # Job
RENDER, ROUND = "LikenessSweepRender", "LikenessSweepRound"
WRITE, REPORT = "write the winner into the profile", "only report"
CHUNK = 32  # pictures that one step adds to the graph; a chain of hundreds would slow ComfyUI's cache down


@dataclass(frozen=True, repr=False)
class Job:
    """One run of Tune Strengths. Passed on inside the graph."""

    run: SweepRun
    drawing: Drawing
    node_id: str  # of Tune Strengths, where progress is shown
    family: str  # base family, host.AUTO where the model tells
    write: bool
    about: Provenance

    @property
    def plan(self) -> Plan:
        return self.run.plan

    def keep(self, render: Render, pictures: Sequence[RGB8]) -> None:
        """Measure a new picture and say how far the sweep is. Raises when the user interrupts."""
        if len(pictures) != 1:
            raise LikenessError(
                f"The graph draws {len(pictures)} pictures at once: set the batch size to 1 for a sweep."
            )
        measured = self.run.keep(render, pictures[0])
        found = "not measurable" if measured.similarity is None else f"{measured.similarity:.3f}"
        done, total = self.run.done, self.run.cost
        host.show_text(f"{done} of {total}: {render.cell}, seed {render.seed}: {found}", self.node_id)
        host.progress(total)(done)

    def step(self, cls: type[io.ComfyNode], family: str, drawn: str = "") -> io.NodeOutput:
        """The pictures that are due as an expansion of the graph, or the outcome when all are there.

        `family`: that the winner is written for; `drawn`: the model's, where it has just been asked.
        """
        if self.write:  # now, not after hours of drawing
            family = check_family(self.run.measures.judge.character, self.plan, family, drawn or family)
        missing = self.run.stage().missing
        if not missing:
            return self._finish(cls, family)
        builder, after = GraphBuilder(), None
        for render in missing[:CHUNK]:  # one after the other, so that each is kept before the next is begun
            index = self.plan.renders.index(render)
            after = builder.node(RENDER, job=self, index=index, **({} if after is None else {"after": after.out(0)}))
        assert after is not None
        then = builder.node(ROUND, job=self, family=family, after=after.out(0))
        return io.NodeOutput(*(then.out(i) for i in range(5)), expand=builder.finalize())

    def ask_family(self) -> io.NodeOutput:
        """An expansion that loads the model, to know its base family."""
        builder = GraphBuilder()
        then = builder.node(ROUND, job=self, family=self.family, model=self.drawing.model)
        return io.NodeOutput(*(then.out(i) for i in range(5)), expand=builder.finalize())

    def _finish(self, cls: type[io.ComfyNode], family: str) -> io.NodeOutput:
        outcome = self.run.outcome()
        made = self.run.finish(outcome, self.about)  # first: a profile never rests on evidence that is not there
        try:
            written = self._written(outcome, family)
        except LikenessError as error:
            self.run.finish(outcome, self.about, f"The profile was not changed: {error}")
            raise
        if written:
            made = self.run.finish(outcome, self.about, written)
        host.show_text(f"{made.report}\n\n{made.table}", self.node_id)
        return self._shown(cls, outcome, made)

    def _shown(self, cls: type[io.ComfyNode], outcome: Outcome, made: Finished) -> io.NodeOutput:
        heat_map = host.to_image([made.heat_map])
        gone = placeholder(made.heat_map.shape[1], made.heat_map.shape[0], "The pictures of the winner are gone.")
        best = host.to_image(self.run.best_pictures(outcome) or [gone])
        cell = (outcome.winner or outcome.control).cell
        point = SweepPoint(self.plan, Render(cell, self.plan.prompts[0], self.plan.seeds[0]))
        heat = heat_view(outcome, self.run.findings.measured, self.run.store.relative)
        told = {"text": [made.report, made.table], "likeness_sweep": [made.values], "likeness_heat": [heat]}
        shown = {**ui.PreviewImage(heat_map, cls=cls).as_dict(), **told}
        return io.NodeOutput(heat_map, best, made.table, made.report, point, ui=shown)

    def _written(self, outcome: Outcome, family: str) -> str:
        """What was done to the profile, in one sentence; "" where nothing was asked for or won."""
        if not self.write or outcome.winner is None:
            return ""
        cell, found = outcome.winner.cell, evidence(outcome, self.about)
        slug = self.run.store.slug

        def change(profile: Profile) -> Profile:
            before = profile.settings(family).sweep
            same = found if before is None else found.model_copy(update={"date": before.date})
            return with_winner(profile, family, cell, same if same == before else found)

        host.library().update(slug, change)
        return f"The strengths of {slug} for {family} are now these, as swept; the evidence is in its profile."
