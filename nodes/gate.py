"""Likeness Gate: scored pictures -> those that were accepted, those that were not, those that nobody can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io

from ..likeness.picking import Split, as_text, best, check_lengths, numbered, split, verdict_at
from ..likeness.score_view import score_rows
from ..likeness.scoring import Score
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
    mask_count,
    take,
    take_latents,
    unconnected,
    when_empty_input,
    zeros,
)
from .shown import small_copies, with_scores
from .types import ScoresType

_NODE = "Likeness Gate"
_PARTS = (("accepted", "accepted"), ("rejected", "rejected"), ("not_measurable", "not measurable"))


class LikenessGate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessGate",
            display_name=_NODE,
            category="likeness/score",
            description="Splits scored pictures into accepted, rejected and not measurable. Where there are none, "
            "what comes after it does not run, and the prompt still succeeds.",
            search_aliases=[
                "likeness",
                "filter images",
                "face gate",
                "reject bad faces",
                "split batch",
                "quality gate",
            ],
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
        when_empty: str = BLOCK,
        threshold: float = 0.0,
        latents: dict[str, Any] | None = None,
        masks: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        check_lengths(len(images), scores, latents=latent_count(latents), masks=mask_count(masks))
        wanted = threshold or None
        parts = split(scores, wanted)
        given, note = _given(parts, scores, when_empty, wanted)
        lists = [given.accepted, given.rejected, given.not_measurable]
        counts = [len(parts.accepted), len(parts.rejected), len(parts.not_measurable)]
        report = _report(scores, counts, wanted, note)
        host.show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(
            *(_images(images, part, name, when_empty) for part, (_, name) in zip(lists, _PARTS, strict=True)),
            *map(as_text, lists),
            *counts,
            report,
            *(_latents(latents, part, when_empty) for part in lists),
            *(_masks(masks, part, when_empty) for part in lists),
            ui=with_scores({"text": [report]}, score_rows(scores, wanted), small_copies(images, cls.hidden.unique_id)),
        )


def _given(parts: Split, scores: Sequence[Score], when_empty: str, threshold: float | None) -> tuple[Split, str]:
    """What the outputs carry, each picture once, and a sentence about it: one that was refused may pass as accepted."""
    if parts.accepted:
        return parts, ""
    if when_empty != PASS or not scores:
        grey_one, stops = "a grey picture stands for it", "what comes after that output does not run"
        then = grey_one if when_empty == PLACEHOLDER else stops
        return parts, f"No picture was accepted: {then}."
    (first,) = best(scores, 1, threshold=threshold)
    passed = f"the best one, {numbered(first)}, was passed although it is {verdict_at(scores[first], threshold)}"
    others = (tuple(i for i in part if i != first) for part in (parts.rejected, parts.not_measurable))
    return Split((first,), *others), f"No picture was accepted: {passed}."


def _images(images: torch.Tensor, part: Sequence[int], name: str, when_empty: str) -> Any:
    if part:
        return take(images, part)
    return grey(images, f"{_NODE}: no picture was {name}") if when_empty == PLACEHOLDER else blocked()


def _latents(latents: dict[str, Any] | None, part: Sequence[int], when_empty: str) -> Any:
    if latents is None:
        return unconnected(_NODE, "latents")
    if part:
        return take_latents(latents, part)
    return empty_latents(latents) if when_empty == PLACEHOLDER else blocked()


def _masks(masks: torch.Tensor | None, part: Sequence[int], when_empty: str) -> Any:
    if masks is None:
        return unconnected(_NODE, "masks")
    if part:
        return take(masks, part)
    return zeros(masks) if when_empty == PLACEHOLDER else blocked()


def _report(scores: Sequence[Score], counts: Sequence[int], threshold: float | None, note: str) -> str:
    total = ", ".join(f"{count} {name}" for count, (_, name) in zip(counts, _PARTS, strict=True))
    marks = ["" if verdict_at(s, threshold) == s.verdict else f", here {verdict_at(s, threshold)}" for s in scores]
    decided = [] if threshold is None else [f"Decided anew at {threshold:.3f}; the lines below are as scored."]
    return "\n".join([total, *([note] if note else []), *decided, *listing(scores, range(len(scores)), marks)])


def _inputs() -> list[Any]:
    return [
        io.Image.Input("images", tooltip="The pictures that were scored."),
        ScoresType.Input("scores", tooltip="From Score Likeness, one per picture."),
        when_empty_input(
            " pass the best concerns the accepted output alone: the picture that passes leaves the output that it "
            "belongs to, and empty others are blocked."
        ),
        io.Float.Input(
            "threshold",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            tooltip="Another cosine to accept from, without measuring again. 0: as scored. What is not measurable "
            "stays so, and so do drawn faces that their look decided.",
        ),
        io.Latent.Input("latents", optional=True, tooltip="Latents of the same pictures, to be split with them."),
        io.Mask.Input("masks", optional=True, tooltip="Masks of the same pictures, to be split with them."),
    ]


def _outputs() -> list[Any]:
    def each(output: Any, suffix: str, about: str, passing: tuple[str, str] = ("", "")) -> list[Any]:
        """One output for each verdict; `passing`: what is added for the accepted one, and for the others."""
        return [
            output(
                f"{key}{suffix}",
                display_name=f"{name}{suffix.replace('_', ' ')}",
                tooltip=about.format(name) + passing[name != "accepted"],
            )
            for key, name in _PARTS
        ]

    passing = (
        " Where there are none, pass the best gives the best of the others.",
        " One that passes as the best is in the accepted output instead.",
    )
    return [
        *each(io.Image.Output, "", "The pictures that are {}, in the order they came.", passing),
        *each(
            io.String.Output,
            "_indices",
            'Which pictures of the batch the {} output carries, counted from 0, for example "0,2,5".',
        ),
        *each(
            io.Int.Output,
            "_count",
            "How many pictures have the verdict {}, whatever passes: with pass the best, the picture that passes still "
            "counts by its own verdict.",
        ),
        io.String.Output("report", display_name="report", tooltip="How many of each, and one line per picture."),
        *each(io.Latent.Output, "_latents", "Latents of the pictures that the {} output carries."),
        *each(io.Mask.Output, "_masks", "Masks of the pictures that the {} output carries."),
    ]
