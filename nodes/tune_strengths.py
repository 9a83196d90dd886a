"""Tune Strengths: a graph drawn once for every picture of a sweep, and the strengths that did best."""

from __future__ import annotations

import time
from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder

from ..likeness.character import Character
from ..likeness.errors import LikenessError
from ..likeness.profile import FAMILIES
from ..likeness.scoring import Judge
from ..likeness.sweep.graph_key import checkpoint_name, describe
from ..likeness.sweep.plan import SweepPoint
from ..likeness.sweep.report import Provenance
from ..likeness.sweep.run import Measures, Settings, SweepRun, drawing_key
from ..likeness.sweep.score import Bounds
from ..likeness.sweep.store import SweepStore
from . import host
from .judging import judge_inputs, judge_of
from .picture_measures import look_measure, prompt_measure
from .replay import replay
from .sweep_drawing import Drawing, check_drawn, check_profile, drawing_of, source_key
from .sweep_job import RENDER, REPORT, ROUND, WRITE, Job, JobType
from .sweep_values import SweepType
from .types import CharacterType

_HALVING, _FULL = "halving", "full"
_JUDGING = ("face_model", "drawn_faces", "provider", "backend")  # the other ones of Score Likeness decide no similarity
_INTERNAL = "A part of Tune Strengths, which adds it to the graph; it does nothing by itself."


class TuneStrengths(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessTuneStrengths",
            display_name="Tune Strengths",
            category="likeness/score",
            description="Draws the graph between Sweep Values and the picture once for every picture that the sweep "
            "needs, scores each, and finds the strengths that are most alike without losing prompt or variety. A sweep "
            "that was stopped goes on where it was.",
            search_aliases=["likeness", "tuner", "sweep", "xy plot", "find best strength", "rank lora epochs"],
            is_output_node=True,
            enable_expand=True,
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=_inputs(),
            outputs=_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> int:
        """Looks every time: pictures may have been deleted. A sweep that is done costs a moment."""
        return time.time_ns()

    @classmethod
    def execute(
        cls,
        image: list[Any],
        sweep: SweepPoint,
        character: Character,
        name: str = "strengths",
        mode: str = _HALVING,
        write: str = REPORT,
        family: str = host.AUTO,
        prompt_bound: float = 0.05,
        variety_bound: float = 0.2,
        clip: Any = None,
        clip_vision: Any = None,
        **judging: Any,
    ) -> io.NodeOutput:
        nodes, node_id = cls.hidden.dynprompt, cls.hidden.unique_id
        drawing = drawing_of(nodes, node_id, sweep.plan)
        inputs = nodes.get_node(node_id)["inputs"]
        check_drawn(drawing, describe(nodes.get_node, inputs["character"], ""))
        _check_writing(write, family, character, drawing)
        engine, judge = judge_of(character, **judging)
        prompt, no_prompt = prompt_measure(clip, clip_vision, source_key(nodes, inputs, "clip", "clip_vision"))
        measures = Measures(engine, judge, prompt, look_measure(clip_vision))
        key = drawing_key(character, sweep.plan, drawing.rows, drawing.stamps(character))
        store = SweepStore(host.output_folder(), character.slug, name, key, measures.key)
        store.begin(sweep.plan, drawing.rows)
        settings = Settings(Bounds(prompt_bound, variety_bound), mode == _FULL)
        run = SweepRun(sweep.plan, store, measures, settings)
        run.catch_up(host.progress(run.cost))
        job = Job(run, drawing, node_id, family, write == WRITE, _provenance(judge, store, drawing, no_prompt))
        return job.ask_family() if job.write and drawing.model is not None else job.step(cls, family)


def _check_writing(write: str, family: str, character: Character, drawing: Drawing) -> None:
    """LikenessError for what could not be written after hours of drawing."""
    if write != WRITE:
        return
    if character.folder is None:
        raise LikenessError(
            f"{character.profile.name} lies in no library, so nothing can be written into its profile: choose {REPORT}."
        )
    check_profile(drawing, character)
    if family == host.AUTO and drawing.model is None:
        raise LikenessError("The graph does not tell which base family is drawn with: choose it under family.")


def _provenance(judge: Judge, store: SweepStore, drawing: Drawing, no_prompt: str) -> Provenance:
    own = (
        ""
        if drawing.appliers
        else (
            "The graph draws without Apply Character, so strengths that are not swept may be others than the profile's."
        )
    )
    notes = (*judge.notes(), *filter(None, (no_prompt, own)))
    return Provenance(judge.encoder, judge.conditions, checkpoint_name(drawing.rows), store.relative, notes)


class SweepRender(io.ComfyNode):
    """One picture: first its part of the graph is added, then the picture is measured and kept."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=RENDER,
            display_name="Sweep Render (internal)",
            category="likeness/score",
            description=_INTERNAL,
            search_aliases=["likeness"],
            is_dev_only=True,
            enable_expand=True,
            hidden=[io.Hidden.dynprompt],
            inputs=[
                JobType.Input("job", tooltip="The sweep."),
                io.Int.Input("index", default=0, min=0, max=10**6, tooltip="Which picture of the sweep."),
                io.Image.Input("image", optional=True, tooltip="The picture, once it is drawn."),
                io.AnyType.Input("after", optional=True, tooltip="What must be kept before this one is begun."),
            ],
            outputs=[io.Int.Output("kept", display_name="kept", tooltip="The index, once the picture is kept.")],
        )

    @classmethod
    def execute(cls, job: Job, index: int, image: torch.Tensor | None = None, after: object = None) -> io.NodeOutput:
        if image is not None:
            job.keep(job.plan.renders[index], host.to_pixels(image))
            return io.NodeOutput(index)
        builder, drawing = GraphBuilder(), job.drawing
        picture = replay(cls.hidden.dynprompt, drawing.source, drawing.picture, {"index": index}, builder)
        kept = builder.node(RENDER, job=job, index=index, image=picture)
        return io.NodeOutput(kept.out(0), expand=builder.finalize())


class SweepRound(io.ComfyNode):
    """After some pictures: the next ones, or the outcome."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=ROUND,
            display_name="Sweep Round (internal)",
            category="likeness/score",
            description=_INTERNAL,
            search_aliases=["likeness"],
            is_dev_only=True,
            enable_expand=True,
            inputs=[
                JobType.Input("job", tooltip="The sweep."),
                io.String.Input("family", default=host.AUTO, tooltip="Base family that the winner is written for."),
                io.Model.Input("model", optional=True, tooltip="Tells the base family."),
                io.AnyType.Input("after", optional=True, tooltip="What must be kept before this is decided."),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(cls, job: Job, family: str, model: Any = None, after: object = None) -> io.NodeOutput:
        return job.step(cls, family, "" if model is None else host.family_of(model))


def _inputs() -> list[Any]:
    return [
        io.Image.Input(
            "image",
            lazy=True,
            raw_link=True,
            tooltip="The picture that the graph after Sweep Values draws, one at a time.",
        ),
        SweepType.Input("sweep", tooltip="From the Sweep Values node that this graph begins with."),
        CharacterType.Input("character", tooltip="Whom the pictures should show."),
        io.String.Input(
            "name",
            default="strengths",
            optional=True,
            tooltip="Name of the sweep: its folder in output/likeness/sweeps/<character>.",
        ),
        io.Combo.Input(
            "mode",
            options=[_HALVING, _FULL],
            default=_HALVING,
            optional=True,
            tooltip="halving: after each seed the better half of the cells goes on, under half of the pictures from "
            "four seeds on. full: every cell with every seed.",
        ),
        io.Combo.Input(
            "write",
            options=[REPORT, WRITE],
            default=REPORT,
            optional=True,
            tooltip="Whether the winning strengths go into the character's profile, with the evidence.",
        ),
        io.Combo.Input(
            "family",
            options=[host.AUTO, *FAMILIES],
            default=host.AUTO,
            optional=True,
            advanced=True,
            tooltip="Base family that they are written for. auto: that of the graph's model.",
        ),
        io.Float.Input(
            "prompt_bound",
            default=0.05,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            tooltip="Share of the weakest cell's prompt score that the winner may lose. Needs clip and clip_vision.",
        ),
        io.Float.Input(
            "variety_bound",
            default=0.2,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            tooltip="Share of the weakest cell's variety over seeds that the winner may lose.",
        ),
        io.Clip.Input("clip", optional=True, tooltip="Text encoder, for how well pictures follow the prompt."),
        io.ClipVision.Input("clip_vision", optional=True, tooltip="Its image encoder, for prompt score and variety."),
        *(given for given in judge_inputs() if given.id in _JUDGING),
    ]


def _outputs() -> list[Any]:
    return [
        io.Image.Output(
            "heat_map", display_name="heat map", tooltip="Likeness, prompt score and variety of each cell."
        ),
        io.Image.Output("best", display_name="best pictures", tooltip="The winner's pictures, else the control's."),
        io.String.Output("table", display_name="table", tooltip="One line a cell, best first."),
        io.String.Output("report", display_name="report", tooltip="The winner, and the rule that chose it."),
        SweepType.Output(
            "WINNER",
            display_name="winner",
            tooltip="The winning strengths, for Apply Character's sweep input; the weakest ones where nothing won.",
        ),
    ]
