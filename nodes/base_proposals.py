"""Base Proposals: a description -> different looks to choose a new character's first picture from."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..likeness.scenes.proposals import FRAME, MOST, USUAL, proposals_of
from . import host
from .scene_outputs import lists_out, report_of, scene_outputs, seed_inputs, text_inputs


class BaseProposals(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessBaseProposals",
            display_name="Base Proposals",
            category="likeness/scenes",
            description="Different looks for a description, before there is any picture of the character: each varies "
            "what the description does not say. Give the one you like to Create Character.",
            search_aliases=["likeness", "new character", "base image", "character design", "concept", "proposals"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.String.Input(
                    "description",
                    default="a woman with green eyes",
                    multiline=True,
                    tooltip="Who is to be drawn. What it says of hair, age, face, eyes and clothes is in every "
                    "proposal; the rest differs.",
                ),
                io.Int.Input("count", default=USUAL, min=1, max=MOST, tooltip="Proposals."),
                *text_inputs("proposal"),
                *seed_inputs(),
                io.String.Input(
                    "frame",
                    default=FRAME,
                    multiline=True,
                    optional=True,
                    advanced=True,
                    tooltip="How it is shown. A face seen from the front, without shadows, is the best reference.",
                ),
            ],
            outputs=scene_outputs(),
        )

    @classmethod
    def execute(cls, description: str, count: int = USUAL, **words: Any) -> io.NodeOutput:
        scenes = proposals_of(description, count, **words)
        looks = [f"{k}: {', '.join(scene.values.values())}" for k, scene in enumerate(scenes, 1)]
        report = report_of(scenes, "\n".join(looks))
        host.show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(*lists_out(scenes, report))
