"""Compare Versions: pictures of the present method and of a LoRA version -> which one draws the character."""

from __future__ import annotations

import math
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..likeness import render
from ..likeness.character import Character, open_character
from ..likeness.compare import Circumstances, candidate_of, check_pairs, compare, pairs, settle
from ..likeness.errors import LikenessError
from ..likeness.faces.face import describe_engine
from ..likeness.profile import FAMILIES
from ..likeness.scoring import describe, score_images
from . import faceid_files, host
from .judging import judge_inputs, judge_of
from .types import CharacterType

SWITCH, REPORT = "switch if it is better", "only report"


class CompareVersions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessCompareVersions",
            display_name="Compare Versions",
            category="likeness/training",
            description="Scores pictures of a character as it is drawn now, and pictures of the same seeds with a LoRA "
            "version. Where the version's consistency rate is higher, the profile draws with it from now on; otherwise "
            "it stays, and says why.",
            search_aliases=["likeness", "compare lora", "a/b test", "better lora", "auto switch"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=_inputs(),
            outputs=_outputs(),
        )

    @classmethod
    def execute(
        cls,
        present: torch.Tensor,
        candidate: torch.Tensor,
        character: Character,
        version: int = 0,
        family: str = host.AUTO,
        write: str = SWITCH,
        seeds: str = "",
        **options: Any,
    ) -> io.NodeOutput:
        if character.folder is None:
            raise LikenessError(f"{character.profile.name!r} lies in no library, so it has no versions: save it first.")
        library = host.library()
        number, base = candidate_of(library.get(character.slug), version, None if family == host.AUTO else family)
        sides = [host.to_pixels(batch) for batch in (present, candidate)]
        check_pairs(*sides)
        engine, judge = judge_of(character, **options)
        named = [
            (f"{what} {i}", pixels)
            for what, side in zip(("present", "version"), sides, strict=True)
            for i, pixels in enumerate(side, 1)
        ]
        scores = score_images(named, engine, judge, host.progress(len(named)), host.stop_if_interrupted)
        count = len(sides[0])
        outcome = compare(scores[:count], scores[count:])
        about = Circumstances(
            character.profile,
            faceid_files.find(character, base, any_recipe=True).usable,
            engine.pipeline.pack,
            judge.conditions,
            seeds,
        )
        settled = settle(library, number, base, outcome, about, write == SWITCH)
        labelled = [render.labelled(pixels, score) for (_, pixels), score in zip(named, scores, strict=True)]
        preview = host.to_image(pairs(labelled[:count], labelled[count:]))
        lines = [settled.comparison.verdict, *(f"{s.name}: {describe(s)}" for s in scores), *judge.notes()]
        report = "\n".join([*lines, f"Face model: {describe_engine(engine)}"])
        host.show_text(settled.comparison.verdict, cls.hidden.unique_id)
        told = {"version": number, "family": base, **settled.comparison.model_dump(mode="json")}
        shown = {**ui.PreviewImage(preview, cls=cls).as_dict(), "text": [report], "likeness_comparison": [told]}
        rates = [math.nan if side.rate is None else side.rate for side in (outcome.candidate, outcome.present)]
        return io.NodeOutput(
            open_character(library, character.slug), settled.switched, *rates, preview, report, ui=shown
        )


def _inputs() -> list[Any]:
    return [
        io.Image.Input("present", tooltip="Pictures of the character as it is drawn now, one for each seed."),
        io.Image.Input(
            "candidate",
            tooltip="Pictures with the version, of the same seeds and prompts in the same order: from Load Character "
            "with lora_version, or from Register LoRA's candidate.",
        ),
        CharacterType.Input(
            "character", tooltip="The character as it is saved, with which the present ones were drawn."
        ),
        io.Int.Input(
            "version",
            default=0,
            min=0,
            max=9999,
            optional=True,
            tooltip="Number of the version that drew the candidate's pictures, for example Register LoRA's. 0: the "
            "only one that is not active.",
        ),
        io.Combo.Input(
            "family",
            options=[host.AUTO, *FAMILIES],
            default=host.AUTO,
            optional=True,
            advanced=True,
            tooltip="Base family of the version. auto: the only one that has it.",
        ),
        io.Combo.Input(
            "write",
            options=[SWITCH, REPORT],
            default=SWITCH,
            optional=True,
            tooltip="Whether the profile draws with a version that has won. The evidence is kept with it anyway.",
        ),
        io.String.Input(
            "seeds",
            default="",
            optional=True,
            advanced=True,
            tooltip="The seeds of the pictures, for people; kept with the evidence.",
        ),
        *judge_inputs(),
    ]


def _outputs() -> list[Any]:
    return [
        CharacterType.Output("CHARACTER", display_name="character", tooltip="The character as it is now saved."),
        io.Boolean.Output(
            "switched", display_name="switched", tooltip="Whether the profile draws with it from now on."
        ),
        io.Float.Output(
            "rate", display_name="rate", tooltip="Consistency rate of the version, 0 to 1; NaN for nothing measurable."
        ),
        io.Float.Output(
            "present_rate", display_name="present rate", tooltip="Consistency rate of the present method; or NaN."
        ),
        io.Image.Output(
            "preview", display_name="preview", tooltip="Each pair with its verdicts, the present one left."
        ),
        io.String.Output("report", display_name="report", tooltip="The verdict with its reasons, and every picture."),
    ]
