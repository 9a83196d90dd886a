"""Consistency Report: many pictures of a character -> how consistent they are, as JSON, a page and a plot."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import io, ui

from ..likeness.character import Character
from ..likeness.errors import LikenessError
from ..likeness.images import RGB8
from ..likeness.paths import contained, slug_of
from ..likeness.picking import numbered
from ..likeness.report.chart import chart
from ..likeness.report.document import Report, about, build
from ..likeness.report.finish import (
    Files,
    files_for,
    now,
    pictures_below,
    pictures_of,
    save,
    settings_below,
)
from ..likeness.report.groups import Grouping, parse_groupings
from ..likeness.report.journal import Journal
from ..likeness.report.measure import Measured, Measures, Progress, check_verdicts, measure_batch, measure_folder
from ..likeness.report.rows import Row
from ..likeness.report.words import advice, headline
from ..likeness.score_view import report_rows
from ..likeness.scoring import Score, score_images
from ..likeness.style import style_of_character
from . import host
from .judging import judge_inputs, judge_of
from .picture_encoder import PictureEncoder
from .shown import with_scores
from .types import CharacterType, ScoresType

_TITLE = "report"
_FINISHED = re.compile(r"_(\d{5,})\.json")


class ConsistencyReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessConsistencyReport",
            display_name="Consistency Report",
            category="likeness/score",
            description="Says how consistent a batch or a folder of pictures is: consistency rate with its interval, "
            "distribution, groups such as LoRA versions against one another, the worst and the best. Writes JSON and "
            "one HTML page into output/likeness/reports.",
            search_aliases=["likeness", "face consistency", "compare lora", "rank epochs", "html report", "statistics"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=_inputs(),
            outputs=_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = "", **_: object) -> int:
        """A folder may have changed since, so it is looked at every time; known pictures cost nothing."""
        return time.time_ns() if folder else 0

    @classmethod
    def execute(
        cls,
        character: Character,
        images: torch.Tensor | None = None,
        scores: Sequence[Score] | None = None,
        folder: str = "",
        title: str = _TITLE,
        groups: str = "",
        style_model: Any = None,
        **judging: Any,
    ) -> io.NodeOutput:
        groupings, files = parse_groupings(groups.splitlines()), _next_files(character.slug, title)
        source = _source(folder.strip())
        _check_inputs(images, scores, source, style_model is not None)
        engine, judge = judge_of(character, **judging)
        style = None if style_model is None else style_of_character(character, PictureEncoder(style_model))
        measures = Measures(engine, judge, style)
        if source is None:
            named, find = _batch(measures, images, scores)
        else:
            named, find = _below(source, measures, files)
        where = "batch" if source is None else source.name
        told = about(judge, engine, title=title, source=where, made=now(), style=style)
        report = _built(told, named, groupings, source)
        save(report, files, find, _stop)
        Journal(files.journal, "").remove()
        return cls._output(report, files, source)

    @classmethod
    def _output(cls, report: Report, files: Files, source: Path | None) -> io.NodeOutput:
        below = files.html.relative_to(host.output_folder()).as_posix()
        text = "\n".join([headline(report), *advice(report), f"Written below ComfyUI's output folder: {below}"])
        host.show_text(text, cls.hidden.unique_id)
        plot = host.to_image([chart(report)])
        rate = report.tally.rate
        rows = report_rows(report.counted, report.about.band)
        served = [_served(str(row["name"]), source) for row in rows]
        shown = with_scores({"text": [text], "likeness_report": [below]}, rows, served)
        out = (text, math.nan if rate is None else rate, plot, str(files.html))
        return io.NodeOutput(*out, ui={**ui.PreviewImage(plot, cls=cls).as_dict(), **shown})


def _served(name: str, source: Path | None) -> dict[str, str] | None:
    """Where ComfyUI serves a picture of a folder; None for one of a batch."""
    if source is None:
        return None
    folder, _, file = name.rpartition("/")
    below = (source.resolve() / folder).relative_to(host.output_folder().resolve()).as_posix()
    return {"filename": file, "subfolder": "" if below == "." else below, "type": "output"}


_ITSELF = (".", "./", ".\\")  # how people name the output folder itself


def _source(folder: str) -> Path | None:
    """The folder to measure; None for "". PathError for one outside of ComfyUI's output folder."""
    if not folder:
        return None
    return host.output_folder() if folder in _ITSELF else contained(host.output_folder(), folder)


Find = Callable[[Row], RGB8 | None]


def _stop() -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


def _next_files(slug: str, title: str) -> Files:
    """The first number after all finished reports of that title: one that was interrupted goes on under its own."""
    folder, stem = host.output_folder() / "likeness" / "reports" / slug, slug_of(title)
    taken = [_FINISHED.fullmatch(p.name.removeprefix(stem)) for p in folder.glob(f"{stem}_*.json")]
    number = max((int(match[1]) for match in taken if match), default=0) + 1
    return files_for(folder / f"{stem}_{number:05d}.json")


def _check_inputs(
    images: torch.Tensor | None, scores: Sequence[Score] | None, folder: Path | None, style: bool
) -> None:
    """LikenessError for a call that names no pictures, or two kinds of them, or no pictures for the style."""
    if folder is None and images is None and scores is None:
        raise LikenessError("Consistency Report has no pictures: connect images, or name a folder below output.")
    if folder is not None and (images is not None or scores is not None):
        raise LikenessError("Consistency Report takes a folder or connected pictures: clear one of the two.")
    if images is not None and scores is not None and len(images) != len(scores):
        raise LikenessError(
            f"There are {len(images)} images and {len(scores)} scores: connect those of the same batch."
        )
    if style and images is None and scores is not None:
        raise LikenessError("The style is compared by the pictures: connect the images of these scores, too.")


def _batch(measures: Measures, images: torch.Tensor | None, scores: Sequence[Score] | None) -> tuple[Measured, Find]:
    pictures = [] if images is None else host.to_pixels(images)
    if scores is None:
        named = [(numbered(i), pixels) for i, pixels in enumerate(pictures)]
        scores = score_images(named, measures.analyser, measures.judge, host.progress(len(named)))
    else:
        check_verdicts(scores, measures.judge.band.low)
    measured = measure_batch(scores, pictures, measures.style, _stop)
    return measured, pictures_of([s.name for s in scores], pictures)


def _below(folder: Path, measures: Measures, files: Files) -> tuple[Measured, Find]:
    bars: list[Callable[[int], None]] = []  # at most one, made when the number is known

    def progress(now: Progress) -> None:
        if not bars:
            bars.append(host.progress(max(now.total, 1)))
        bars[0](now.done)

    measured = measure_folder(folder, measures, Journal(files.journal, measures.key()), progress, _stop)
    return measured, pictures_below(folder)


def _built(told: Any, measured: Measured, groupings: Sequence[Grouping], folder: Path | None) -> Report:
    if folder is None:
        return build(told, measured, groupings, check=_stop)
    return build(told, measured, groupings, settings_below(folder), check=_stop)


def _inputs() -> list[io.Input]:
    return [
        CharacterType.Input("character", tooltip="Whom the pictures should show."),
        io.Image.Input("images", optional=True, tooltip="A batch of pictures. Leave it open to measure a folder."),
        ScoresType.Input(
            "scores",
            optional=True,
            tooltip="From Score Likeness of the same batch, so that it is not measured twice. Give this node the same "
            "threshold and face model: verdicts that contradict them are refused.",
        ),
        io.String.Input(
            "folder",
            default="",
            optional=True,
            tooltip="Or a folder below ComfyUI's output folder, with its subfolders; a dot is that folder itself. "
            "A run that was interrupted goes on where it was.",
        ),
        io.String.Input(
            "title", default=_TITLE, optional=True, tooltip="Title of the page; its files are named after it."
        ),
        io.String.Input(
            "groups",
            default="",
            multiline=True,
            optional=True,
            tooltip="What to compare in a folder, one a line: folder, folder:2, lora, lora_strength, faceid_weight, "
            "checkpoint, seed, prompt, or NAME=REGEX on the file's path. Settings are known of PNG files that ComfyUI "
            "saved, and of the pictures of a sweep.",
        ),
        io.ClipVision.Input(
            "style_model",
            optional=True,
            tooltip="CLIP-Vision, SigLIP or DINO model: also how well background and style match the references. "
            "A close-up without background is left out of it.",
        ),
        *judge_inputs(),
    ]


def _outputs() -> list[io.Output]:
    return [
        io.String.Output("report", display_name="report", tooltip="What it means, in sentences."),
        io.Float.Output(
            "consistency_rate",
            display_name="consistency rate",
            tooltip="Accepted / measurable, 0 to 1; NaN when nothing could be measured.",
        ),
        io.Image.Output("plot", display_name="plot", tooltip="Histogram of the similarity, with the accept band."),
        io.String.Output("path", display_name="path", tooltip="The HTML page; the JSON file lies beside it."),
    ]
