"""Place Character: where in the picture a character is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..faceid import PatchError
from ..faceid.masks import check_mask
from ..faceid.regions import Box, box_mask
from ..likeness.character import Character
from . import on_model
from .faceid_options import DEFAULTS, FaceIDOptions
from .types import CastType, CharacterType, options_input

MASK, BOX, EVERYWHERE = "mask", "box", "everywhere"
MAX_CAST = 16  # each costs a part of every step


@dataclass(frozen=True)
class Placement:
    """One character of a cast."""

    character: Character
    where: str  # for reports
    mask: Tensor | None = field(repr=False)  # float32 [F, H, W] in 0..1; None: everywhere
    prompt: str
    strengths: Mapping[str, Any]  # as the widget gives them
    options: FaceIDOptions


def _where_input() -> io.DynamicCombo.Input:
    edge = "as a share of the picture: 0 is its {} edge, 1 the other."
    shares = [
        io.Float.Input("left", default=0.0, min=0.0, max=0.99, step=0.01, tooltip="Left edge " + edge.format("left")),
        io.Float.Input("top", default=0.0, min=0.0, max=0.99, step=0.01, tooltip="Top edge " + edge.format("top")),
        io.Float.Input(
            "width", default=0.5, min=0.01, max=1.0, step=0.01, tooltip="Width as a share of the picture's."
        ),
        io.Float.Input(
            "height", default=1.0, min=0.01, max=1.0, step=0.01, tooltip="Height as a share of the picture's."
        ),
        io.Float.Input(
            "feather",
            default=0.1,
            min=0.0,
            max=0.5,
            step=0.01,
            optional=True,
            tooltip="Length over which the edge fades, as a share of the picture; half of it lies inside the box.",
        ),
    ]
    mask = io.Mask.Input("mask", tooltip="White where the character is; stretched over the picture.")
    options = [
        io.DynamicCombo.Option(BOX, shares),
        io.DynamicCombo.Option(MASK, [mask]),
        io.DynamicCombo.Option(EVERYWHERE, []),
    ]
    tip = "box: a rectangle. mask: a painted shape. everywhere: the whole picture. Regions may overlap."
    return io.DynamicCombo.Input("where", options=options, tooltip=tip)


class PlaceCharacter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessPlaceCharacter",
            display_name="Place Character",
            category="likeness/character",
            description="Gives a character a place in the picture and words of its own. Chain one node for each "
            "character through cast, then connect Apply Characters.",
            search_aliases=["likeness", "regional prompt", "two characters", "multiple characters", "attention mask"],
            inputs=[
                CharacterType.Input("character", tooltip="From Load Character."),
                _where_input(),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    tooltip="What this character does and wears. Its trigger, class word and description are added.",
                ),
                on_model.strengths_input(),
                CastType.Input("cast", optional=True, tooltip="The characters placed before, from Place Character."),
                options_input(),
            ],
            outputs=[CastType.Output("CAST", display_name="cast", tooltip="All characters placed so far.")],
        )

    @classmethod
    def execute(
        cls,
        character: Character,
        prompt: str,
        where: dict[str, Any] | None = None,
        strengths: dict[str, Any] | None = None,
        cast: tuple[Placement, ...] = (),
        options: FaceIDOptions | None = None,
    ) -> io.NodeOutput:
        chosen = on_model.known_strengths(strengths)
        if len(cast or ()) >= MAX_CAST:
            raise PatchError(f"This would be character {MAX_CAST + 1}; up to {MAX_CAST} can be placed. Take one out.")
        described, mask = region(where)
        placement = Placement(character, described, mask, prompt, chosen, options or DEFAULTS)
        return io.NodeOutput((*(cast or ()), placement))


def region(where: dict[str, Any] | None) -> tuple[str, Tensor | None]:
    """What a report calls the region, and its mask."""
    chosen = dict(where or {})
    kind = chosen.pop("where", None)
    if kind == EVERYWHERE:
        return EVERYWHERE, None
    if kind == BOX:
        box = Box(**chosen)
        feather = f", feather {box.feather:g}" if box.feather else ""
        return f"box {box.left:g}, {box.top:g}, {box.width:g} x {box.height:g}{feather}", box_mask(box)[None]
    if kind == MASK:
        return MASK, check_mask(chosen["mask"])
    raise PatchError(f"where is none of {BOX}, {MASK}, {EVERYWHERE}: choose one of these.")
