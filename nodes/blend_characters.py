"""Blend Characters: two or more characters -> one whose face lies between theirs."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..likeness.blend import blend, blend_report
from . import host
from .types import CharacterType

PAIRS = 4  # a blend may itself be blended, so there is no limit


class BlendCharacters(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessBlendCharacters",
            display_name="Blend Characters",
            category="likeness/character",
            description="A new face between those of two or more characters, by weight. The blend has no LoRA and no "
            "trigger word; it works where a FaceID adapter does. Blend a blend for more than four.",
            search_aliases=["likeness", "mix faces", "merge characters", "face blend", "average face"],
            hidden=[io.Hidden.unique_id],
            inputs=[part for number in range(1, PAIRS + 1) for part in _pair(number)],
            outputs=[
                CharacterType.Output("CHARACTER", display_name="character", tooltip="The blend; it is not saved."),
                io.String.Output(
                    "report", display_name="report", tooltip="Shares, and how alike each is to the blend."
                ),
            ],
        )

    @classmethod
    def execute(cls, **pairs: Any) -> io.NodeOutput:
        numbered = [(pairs.get(f"character_{n}"), pairs.get(f"weight_{n}", 1.0)) for n in range(1, PAIRS + 1)]
        made = blend([(character, weight) for character, weight in numbered if character is not None])
        report = blend_report(made)
        host.show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(made, report)


def _pair(number: int) -> tuple[io.Input, io.Input]:
    character, weight = f"character_{number}", f"weight_{number}"
    more = number > 2
    tip = "Share of this character: its weight over the sum of all, however many references it has. 0 leaves it out."
    return (
        CharacterType.Input(character, optional=more, tooltip="A character, or a blend."),
        io.Float.Input(weight, default=1.0, min=0.0, max=10.0, step=0.05, optional=more, tooltip=tip),
    )
