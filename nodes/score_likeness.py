"""Score Likeness: pictures + character -> how alike they are."""

from __future__ import annotations

import math

import torch
from comfy_api.latest import io, ui

from ..likeness import render
from ..likeness.character import Character, with_encoder
from ..likeness.faces.face import describe_engine
from ..likeness.scoring import mean_similarity, score_images, summary
from . import host
from .types import CharacterType, ScoresType, backend_input, face_model_input, provider_input


class ScoreLikeness(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessScoreLikeness",
            display_name="Score Likeness",
            category="likeness/score",
            description="Measures how alike each picture's face is to the character: cosine similarity, -1 to 1. "
            "A picture without a measurable face has no score; it does not count as zero.",
            search_aliases=["likeness", "face similarity", "face distance", "identity score", "compare face"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Image.Input("images", tooltip="Pictures to measure."),
                CharacterType.Input("character", tooltip="Whom they should show."),
                face_model_input(
                    "Face-model pack that measures. auto: the one the character was made with. Another one gives "
                    "an independent figure, since FaceID steers towards its own."
                ),
                provider_input(),
                backend_input(),
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
                    tooltip="The pictures with the measured face framed and its score.",
                ),
                io.String.Output("report", display_name="report", tooltip="One line per picture, and the mean."),
            ],
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        character: Character,
        face_model: str = host.AUTO,
        provider: str = "cpu",
        backend: str = host.BACKENDS[0],
    ) -> io.NodeOutput:
        engine = host.analyser(
            character.profile.face_model if face_model == host.AUTO else face_model, provider, backend
        )
        measured = with_encoder(character, engine)
        named = [(f"image {i}", pixels) for i, pixels in enumerate(host.to_pixels(images), 1)]
        scores = score_images(named, engine, measured.identity, measured.faces, host.progress(len(named)))
        preview = host.to_image([render.labelled(p, s) for (_, p), s in zip(named, scores, strict=True)])
        mean, report = mean_similarity(scores), f"{summary(scores)}\nFace model: {describe_engine(engine)}"
        host.show_text(report, cls.hidden.unique_id)
        shown = {"text": [report], "likeness_scores": [s.as_dict() for s in scores], "likeness_mean": [mean]}
        out = (tuple(scores), math.nan if mean is None else mean, preview, report)
        return io.NodeOutput(*out, ui={**ui.PreviewImage(preview, cls=cls).as_dict(), **shown})
