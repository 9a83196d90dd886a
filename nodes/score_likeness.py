"""Score Likeness: pictures + character -> how alike they are."""

from __future__ import annotations

import math
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..likeness import render
from ..likeness.character import Character
from ..likeness.faces.face import describe_engine
from ..likeness.hand_set import notes_on
from ..likeness.picking import numbered
from ..likeness.score_view import score_row
from ..likeness.scoring import consistency_rate, mean_similarity, score_images, summary
from . import host
from .judging import judge_inputs, judge_of
from .types import CharacterType, ScoresType


class ScoreLikeness(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessScoreLikeness",
            display_name="Score Likeness",
            category="likeness/score",
            description="Measures how alike each picture's face is to the character, cosine similarity -1 to 1, and "
            "says accepted, rejected or not measurable, with the reason.",
            search_aliases=["likeness", "face similarity", "face distance", "identity score", "compare face"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Image.Input("images", tooltip="Pictures to measure."),
                CharacterType.Input("character", tooltip="Whom they should show."),
                *judge_inputs(),
            ],
            outputs=[
                ScoresType.Output(
                    "SCORES", display_name="scores", tooltip="One score per picture, for nodes that work with scores."
                ),
                io.Float.Output(
                    "mean",
                    display_name="mean",
                    tooltip="Mean similarity of the measurable pictures; NaN when there is none.",
                ),
                io.Image.Output(
                    "preview",
                    display_name="preview",
                    tooltip="The pictures with their faces framed, and the verdict on the measured one below.",
                ),
                io.String.Output("report", display_name="report", tooltip="One line per picture, and the mean."),
                io.Float.Output(
                    "consistency_rate",
                    display_name="consistency rate",
                    tooltip="Accepted / measurable, 0 to 1; NaN when nothing could be measured.",
                ),
            ],
        )

    @classmethod
    def execute(cls, images: torch.Tensor, character: Character, **options: Any) -> io.NodeOutput:
        engine, judge = judge_of(character, **options)
        named = [(numbered(i), pixels) for i, pixels in enumerate(host.to_pixels(images))]
        scores = score_images(named, engine, judge, host.progress(len(named)), host.stop_if_interrupted)
        preview = (
            images
            if not named
            else host.to_image([render.labelled(p, s) for (_, p), s in zip(named, scores, strict=True)])
        )
        mean, rate = mean_similarity(scores), consistency_rate(scores)
        notes = [*judge.notes(), *notes_on(judge, scores)]
        report = "\n".join([summary(scores), *notes, f"Face model: {describe_engine(engine)}"])
        host.show_text(report, cls.hidden.unique_id)
        rows = [{**s.as_dict(), **score_row(s)} for s in scores]
        shown = {"text": [report], "likeness_scores": rows, "likeness_mean": [mean]}
        out = (tuple(scores), _or_nan(mean), preview, report, _or_nan(rate))
        return io.NodeOutput(*out, ui={**ui.PreviewImage(preview, cls=cls).as_dict(), **shown})


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
