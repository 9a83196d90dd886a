"""Character Sheet: a character from all sides -> prompts, seeds and names, one for each picture."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..likeness.character import Character
from ..likeness.dataset.balance import BACKGROUNDS, OUTFITS, Target, balance_of, framing_target
from ..likeness.dataset.plan import parse_plan
from ..likeness.scenes.lists import parse_lines
from ..likeness.scenes.sheet import LEAST, MOST, USUAL, Look, sheet_from, sheet_of
from . import host
from .scene_outputs import lists_out, report_of, scene_outputs, seed_inputs, text_inputs
from .types import CharacterType

FRAMING = "70/20/10"


class CharacterSheet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessCharacterSheet",
            display_name="Character Sheet",
            category="likeness/scenes",
            description="A character from all sides: front, three-quarter, profile and back, near and far, with "
            "expressions and light, no two pictures the same. For a first look, or for a training set.",
            search_aliases=["likeness", "model sheet", "turnaround", "training images", "angles", "expressions"],
            hidden=[io.Hidden.unique_id],
            inputs=_inputs(),
            outputs=scene_outputs(),
        )

    @classmethod
    def execute(
        cls,
        character: Character,
        pictures: int = USUAL,
        framing: str = FRAMING,
        outfits: str = "",
        backgrounds: str = "",
        plan: str = "",
        **words: Any,
    ) -> io.NodeOutput:
        target = Target(framing=framing_target(framing))
        look = Look(outfits=_texts(outfits, "outfits"), backgrounds=_texts(backgrounds, "backgrounds"))
        if (plan or "").strip():
            found = balance_of(parse_plan(plan.encode("utf-8", "replace"), "plan"), target)
            scenes = sheet_from(character.profile, found.wanted, look=look, **words) if found.wanted else ()
            first = f"The training set lacks {len(scenes) or 'no'} picture{'' if len(scenes) == 1 else 's'}."
            first = "\n".join([first, *found.remarks])
        else:
            scenes = sheet_of(character.profile, pictures, target, look=look, **words)
            first = f"A sheet of {len(scenes)} pictures."
        report = report_of(scenes, first)
        host.show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(*lists_out(scenes, report))


def _texts(lines: str, where: str) -> tuple[str, ...]:
    return tuple(entry.text for entry in parse_lines(lines, where))


def _inputs() -> list[io.Input]:
    return [
        CharacterType.Input("character", tooltip="From Load Character."),
        io.Int.Input(
            "pictures",
            default=USUAL,
            min=LEAST,
            max=MOST,
            tooltip="7 to 10 for a first look, 30 for a training set.",
        ),
        io.String.Input(
            "framing",
            default=FRAMING,
            optional=True,
            tooltip="Percentages of upper body, portrait and full body.",
        ),
        *text_inputs("picture"),
        *seed_inputs(),
        io.String.Input(
            "outfits",
            default="\n".join(OUTFITS),
            multiline=True,
            optional=True,
            advanced=True,
            tooltip="Clothes to take turns, one a line. Empty: not said. A LoRA learns an outfit that is in most "
            "pictures as a part of the person.",
        ),
        io.String.Input(
            "backgrounds",
            default="\n".join(BACKGROUNDS),
            multiline=True,
            optional=True,
            advanced=True,
            tooltip="Backgrounds to take turns, one a line, as in a prompt: in a park. Empty: not said.",
        ),
        io.String.Input(
            "plan",
            default="",
            optional=True,
            force_input=True,
            tooltip="From Build Training Set: instead of a sheet, the pictures that this set lacks.",
        ),
    ]
