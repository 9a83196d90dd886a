"""FaceID Options: what most graphs leave alone about a face, in one socket."""

from __future__ import annotations

from dataclasses import dataclass

from comfy_api.latest import io

from ..faceid import (
    COMBINE,
    EMBEDS_SCALING,
    WEIGHT_TYPES,
    Controls,
    PatchError,
    parse_frame_weights,
    parse_layer_weights,
)
from ..likeness.character import Character
from ..likeness.identity_store import FaceRecipe
from ..likeness.method import StrengthValues
from . import host
from .types import CharacterType, OptionsType

PER_IMAGE = "per image"
PLUS, PLUS_V2 = "plus", "plus_v2"
_WIDE_CROP = 256  # px, what IPAdapter_plus gives SDXL adapters


@dataclass(frozen=True)
class FaceIDOptions:
    """Everything about a face but its strengths. The default is what Apply Character does without options."""

    combine: str = COMBINE[0]
    weight_type: str = WEIGHT_TYPES[0]
    weight_composition: float = 1.0
    layer_weights: tuple[tuple[int, float], ...] = ()
    frame_weights: tuple[float, ...] = ()
    embeds_scaling: str = EMBEDS_SCALING[0]
    negative: Character | None = None  # a face to steer away from
    plus_v2: bool | None = None  # the user's word; None: the adapter's metadata or name tell
    match_ipadapter_plus: bool = False

    def recipe(self, family: str) -> FaceRecipe:
        """What the compiled identity depends on."""
        wide = self.match_ipadapter_plus and family == "sdxl"
        return FaceRecipe(
            combine=self.combine,
            negative=self.negative.identity.digest if self.negative else "",
            crop=_WIDE_CROP if wide else FaceRecipe.crop,
            empty_image="black" if self.match_ipadapter_plus else FaceRecipe.empty_image,
            plus_v2=self.plus_v2,
        )

    def controls(self, strengths: StrengthValues) -> Controls:
        """What the patch depends on."""
        return Controls(
            weight=strengths.faceid_weight,
            weight_v2=strengths.faceid_weight_v2,
            start=strengths.start,
            end=strengths.end,
            weight_type=self.weight_type,
            weight_composition=self.weight_composition,
            layer_weights=self.layer_weights,
            frame_weights=self.frame_weights,
            embeds_scaling=self.embeds_scaling,
            match_ipadapter_plus=self.match_ipadapter_plus,
        )

    def describe(self) -> str:
        """What differs from the default, for reports; "" when nothing does."""
        parts = []
        for field, label in (("combine", "combine"), ("weight_type", "type"), ("embeds_scaling", "scaling")):
            if getattr(self, field) != getattr(DEFAULTS, field):
                parts.append(f"{label} {getattr(self, field)}")
        if self.weight_composition != 1.0:
            parts.append(f"composition {self.weight_composition:g}")
        if self.layer_weights:
            parts.append("layers " + ", ".join(f"{layer}:{weight:g}" for layer, weight in self.layer_weights))
        if self.frame_weights:
            parts.append(f"weights for {len(self.frame_weights)} pictures")
        if self.negative is not None:
            parts.append(f"away from {self.negative.profile.name}")
        if self.match_ipadapter_plus:
            parts.append("as IPAdapter_plus draws")
        return ", ".join(parts)


DEFAULTS = FaceIDOptions()


class FaceIDOptionsNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessFaceIDOptions",
            display_name="FaceID Options",
            category="likeness/character",
            description="How references become one face, in which layers and pictures it acts, and whom it steers away "
            "from. For Apply Character, Place Character and Compile Identity.",
            search_aliases=["likeness", "weight type", "combine embeds", "embeds scaling", "ipadapter advanced"],
            inputs=[*_plain_inputs(), *_advanced_inputs()],
            outputs=[OptionsType.Output("OPTIONS", display_name="options", tooltip="For an options input.")],
        )

    @classmethod
    def validate_inputs(cls, frame_weights: str | None = "", layer_weights: str | None = "") -> bool | str:
        """A text that cannot be read is refused before anything is loaded; linked texts are None here."""
        try:
            parse_frame_weights(frame_weights or "")
            parse_layer_weights(layer_weights or "")
        except PatchError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        combine: str = COMBINE[0],
        weight_type: str = WEIGHT_TYPES[0],
        negative: Character | None = None,
        frame_weights: str = "",
        weight_composition: float = 1.0,
        layer_weights: str = "",
        embeds_scaling: str = EMBEDS_SCALING[0],
        plus_v2: str = host.AUTO,
        match_ipadapter_plus: bool = False,
    ) -> io.NodeOutput:
        options = FaceIDOptions(
            combine,
            weight_type,
            weight_composition,
            parse_layer_weights(layer_weights),
            parse_frame_weights(frame_weights),
            embeds_scaling,
            negative,
            None if plus_v2 == host.AUTO else plus_v2 == PLUS_V2,
            match_ipadapter_plus,
        )
        return io.NodeOutput(options)


def _plain_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "combine",
            options=list(COMBINE),
            default=COMBINE[0],
            optional=True,
            tooltip="How the references become one face. identity: their weighted mean, as Score Likeness measures it. "
            "concat: all side by side, for a few good photos. per image: picture 1 of a batch gets reference 1, and so "
            "on. The others are IPAdapter_plus's.",
        ),
        io.Combo.Input(
            "weight_type",
            options=list(WEIGHT_TYPES),
            default=WEIGHT_TYPES[0],
            optional=True,
            tooltip="How the weight is shared out among the layers. linear: evenly. weak/strong: less or more in the "
            "input, middle or output blocks. style and composition: only in the layers that carry these.",
        ),
        CharacterType.Input(
            "negative", optional=True, tooltip="A face to steer away from; the negative prompt gets it."
        ),
        io.String.Input(
            "frame_weights",
            default="",
            optional=True,
            tooltip="Factor of the weight for each picture of a batch or video: 0, 0.5, 1, or keyframes 0:0, 15:1 with "
            "straight lines between. The last one repeats. Empty: all alike.",
        ),
    ]


def _advanced_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "weight_composition",
            default=1.0,
            min=-1.0,
            max=5.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="Weight in the composition layers, for weight type style and composition.",
        ),
        io.String.Input(
            "layer_weights",
            default="",
            optional=True,
            advanced=True,
            tooltip="Factor of the weight by layer, in the place of the weight type: 3:1, 6:0.5. Layers are 0 to 15 on "
            "SD 1.5 and 0 to 10 on SDXL, in the order of execution; those left out are off.",
        ),
        io.Combo.Input(
            "embeds_scaling",
            options=list(EMBEDS_SCALING),
            default=EMBEDS_SCALING[0],
            optional=True,
            advanced=True,
            tooltip="What the weight multiplies. V only: the face attention's output. The others are IPAdapter_plus's; "
            "at weights above 1 they follow the prompt more.",
        ),
        io.Combo.Input(
            "plus_v2",
            options=[host.AUTO, PLUS, PLUS_V2],
            default=host.AUTO,
            optional=True,
            advanced=True,
            tooltip="FaceID Plus and Plus V2 files have identical contents. auto: by metadata or file name. Set it for "
            "a file whose name does not tell.",
        ),
        io.Boolean.Input(
            "match_ipadapter_plus",
            default=False,
            optional=True,
            advanced=True,
            tooltip="Draw as IPAdapter_plus does, to make old pictures again: middle block off, black empty image, "
            "256 px crop on SDXL.",
        ),
    ]
