"""A sweep as a graph draws it: what the node is asked for, the pictures that are due, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io, ui
from comfy_execution.graph_utils import GraphBuilder

from ..likeness.errors import LikenessError
from ..likeness.images import RGB8
from ..likeness.profile import Profile
from ..likeness.sweep.graph_key import describe, digest, file_names, is_link, plain_model, used_outputs
from ..likeness.sweep.plan import AXES, Plan, Render, SweepPoint
from ..likeness.sweep.report import Provenance, evidence, with_winner
from ..likeness.sweep.run import Finished, SweepRun
from ..likeness.sweep.score import Outcome
from . import host
from .sweep_values import OUTPUTS

JobType = io.Custom("LIKENESS_SWEEP_JOB")  # Job
RENDER, ROUND = "LikenessSweepRender", "LikenessSweepRound"
WRITE, REPORT = "write the winner into the profile", "only report"
CHUNK = 32  # pictures that one step adds to the graph; a chain of hundreds would slow ComfyUI's cache down
_SOURCE = "LikenessSweepValues"
_APPLY = ("LikenessApplyCharacter", "LikenessApplyCharacters")
_FOLDERS = ("checkpoints", "diffusion_models", "loras", "vae", "text_encoders", "clip_vision", "controlnet")


@dataclass(frozen=True, repr=False)
class Drawing:
    """The part of a graph that draws a sweep's pictures."""

    nodes: Any  # comfy_execution.graph.DynamicPrompt
    source: str  # id of Sweep Values
    picture: list[Any]  # link to the picture

    @property
    def rows(self) -> list[Any]:
        """The part as JSON values."""
        return describe(self.nodes.get_node, self.picture, self.source)

    @property
    def model(self) -> list[Any] | None:
        """Link to the model without the sweep's strengths."""
        return plain_model(self.nodes.get_node, self.picture, self.source)

    def stamps(self, profile: Profile) -> list[Any]:
        """(folder, name, size, time) of the model files that the part and the profile name."""
        rows = self.rows
        active = [s.lora.file for s in profile.base.values() if s.lora is not None]
        found: list[Any] = [_stamp(folder, name) for name in (*file_names(rows), *active) for folder in _FOLDERS]
        applies = any(isinstance(row, dict) and row["class_type"] in _APPLY for row in rows)
        adapters = [list(s) for s in host.file_stamps("ipadapter")] if applies else []  # "auto" may take any of them
        return [[s for s in found if s], adapters]


def _stamp(folder: str, name: str) -> list[Any] | None:
    if name not in host.listed(folder):
        return None
    about = host.find_file(folder, name, "The model file").stat()
    return [folder, name, about.st_size, about.st_mtime_ns]


def drawing_of(nodes: Any, node_id: str, plan: Plan) -> Drawing:
    """The drawing part of the graph that a Tune Strengths node stands in. LikenessError where it is not wired."""
    inputs = nodes.get_node(node_id)["inputs"]
    source = _source(nodes, inputs["sweep"][0])
    made = Drawing(nodes, source, list(inputs["image"]))
    used = {OUTPUTS[place] for place in used_outputs(nodes.get_node, made.picture, source)}
    swept = [axis.name for axis in plan.axes] if "sweep" not in used else []
    needed = [*swept, *(["seed"] if len(plan.seeds) > 1 else []), *(["prompt"] if len(plan.prompts) > 1 else [])]
    if loose := [name for name in needed if name not in used]:
        hint = " Its sweep output into Apply Character carries all strengths." if set(loose) & set(AXES) else ""
        raise LikenessError(
            f"The picture does not depend on {', '.join(loose)} of Sweep Values, so all pictures would be alike: "
            f"connect it, or give it one value only.{hint}"
        )
    return made


def _source(nodes: Any, node_id: str) -> str:
    """The Sweep Values node, behind whatever only passes its value on."""
    while nodes.get_node(node_id)["class_type"] != _SOURCE:
        links = [v for v in nodes.get_node(node_id)["inputs"].values() if is_link(v)]
        if len(links) != 1:
            raise LikenessError("Tune Strengths needs the sweep output of a Sweep Values node: connect that.")
        node_id = links[0][0]
    return node_id


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

    def step(self, cls: type[io.ComfyNode], family: str) -> io.NodeOutput:
        """The pictures that are due as an expansion of the graph, or the outcome when all are there."""
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
        try:
            written = self._written(outcome, family)
        except LikenessError as error:
            self.run.finish(outcome, self.about, f"The profile was not changed: {error}")
            raise
        made = self.run.finish(outcome, self.about, written)
        host.show_text(f"{made.report}\n\n{made.table}", self.node_id)
        return self._shown(cls, outcome, made)

    def _shown(self, cls: type[io.ComfyNode], outcome: Outcome, made: Finished) -> io.NodeOutput:
        heat_map = host.to_image([made.heat_map])
        best = host.to_image(self.run.best_pictures(outcome))
        cell = (outcome.winner or outcome.control).cell
        point = SweepPoint(self.plan, Render(cell, self.plan.prompts[0], self.plan.seeds[0]))
        told = {"text": [made.report, made.table], "likeness_sweep": [made.values]}
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


def source_key(nodes: Any, inputs: dict[str, Any], *names: str) -> str:
    """A digest of what the linked inputs of those names are made by."""
    links = [inputs.get(name) for name in names]
    return digest([describe(nodes.get_node, link, "") if is_link(link) else None for link in links])[:8]
