"""Pick Best: the k pictures of a batch that are most like the character."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io

from ..likeness.picking import as_text, best, check_lengths, highest
from ..likeness.score_view import score_rows
from ..likeness.scoring import Score, Verdict
from . import host
from .selection import (
    BLOCK,
    PASS,
    PLACEHOLDER,
    blocked,
    empty_latents,
    grey,
    latent_count,
    listing,
    take,
    take_latents,
    unconnected,
    when_empty_input,
)
from .shown import small_copies, with_scores
from .types import ScoresType

_NODE = "Pick Best"
MEASURABLE, ACCEPTED = "measurable", "accepted"
_AMONG: dict[str, tuple[Verdict, ...]] = {MEASURABLE: ("accepted", "rejected"), ACCEPTED: ("accepted",)}


class PickBest(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessPickBest",
            display_name=_NODE,
            category="likeness/score",
            description="The pictures of a batch that are most like the character, best first. A picture that could "
            "not be measured is never taken for a good or a bad one.",
            search_aliases=["likeness", "top k", "best face", "best of batch", "sort by similarity", "rank images"],
            has_intermediate_output=True,  # bars are shown again when nothing had to be run
            hidden=[io.Hidden.unique_id],
            inputs=_inputs(),
            outputs=_outputs(),
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        scores: Sequence[Score],
        k: int = 1,
        among: str = MEASURABLE,
        avoid_copies: bool = False,
        when_empty: str = BLOCK,
        latents: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        check_lengths(len(images), scores, latents=latent_count(latents))
        chosen, note = best(scores, k, _AMONG[among], avoid_copies=avoid_copies), ""
        if not chosen:
            note = f"No picture is {among}."
            chosen = best(scores, k, avoid_copies=avoid_copies) if when_empty == PASS else []
            note += " The best of the others were passed." if chosen else ""
        top = highest([scores[i] for i in chosen])
        report = "\n".join([*([note] if note else []), *listing(scores, chosen)])
        host.show_text(report, cls.hidden.unique_id)
        rows = [{**row, "picked": i in chosen} for i, row in enumerate(score_rows(scores))]
        return io.NodeOutput(
            _images(images, chosen, f"{_NODE}: no picture is {among}", when_empty),
            as_text(chosen),
            math.nan if top is None else top,
            report,
            _latents(latents, chosen, when_empty),
            ui=with_scores({"text": [report]}, rows, small_copies(images, cls.hidden.unique_id)),
        )


def _images(images: torch.Tensor, chosen: Sequence[int], text: str, when_empty: str) -> Any:
    if chosen:
        return take(images, chosen)
    return grey(images, text) if when_empty == PLACEHOLDER else blocked()


def _latents(latents: dict[str, Any] | None, chosen: Sequence[int], when_empty: str) -> Any:
    if latents is None:
        return unconnected(_NODE, "latents")
    if chosen:
        return take_latents(latents, chosen)
    return empty_latents(latents) if when_empty == PLACEHOLDER else blocked()


def _inputs() -> list[Any]:
    return [
        io.Image.Input("images", tooltip="The pictures that were scored."),
        ScoresType.Input("scores", tooltip="From Score Likeness, one per picture."),
        io.Int.Input("k", default=1, min=1, max=1024, tooltip="How many pictures; fewer where there are fewer."),
        io.Combo.Input(
            "among",
            options=list(_AMONG),
            default=MEASURABLE,
            optional=True,
            tooltip="measurable: accepted pictures first, then rejected ones. accepted: only those.",
        ),
        io.Boolean.Input(
            "avoid_copies",
            default=False,
            optional=True,
            tooltip="Put pictures that may be a copy of a reference last among the accepted.",
        ),
        when_empty_input(),
        io.Latent.Input("latents", optional=True, tooltip="Latents of the same pictures, to be picked with them."),
    ]


def _outputs() -> list[Any]:
    return [
        io.Image.Output("best", display_name="best", tooltip="The pictures, best first."),
        io.String.Output(
            "indices", display_name="indices", tooltip='Which pictures of the batch these are, counted from 0: "5,0".'
        ),
        io.Float.Output(
            "similarity",
            display_name="similarity",
            tooltip="Highest cosine similarity among them, -1 to 1; NaN where none was measured.",
        ),
        io.String.Output("report", display_name="report", tooltip="One line per picture that was picked."),
        io.Latent.Output("best_latents", display_name="best latents", tooltip="Latents of the same pictures."),
    ]
