"""Face Mask: where the character's face is, so that what is drawn anew leaves it alone, or is nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.utils
import numpy as np
import torch
from comfy_api.latest import io

from ..likeness import detail
from ..likeness.character import Character
from ..likeness.detail import Mask
from ..likeness.errors import LikenessError
from ..likeness.faces.face import Face, place
from ..likeness.picking import numbered
from ..likeness.scoring import Score, describe, score_images
from . import host
from .judging import judge_inputs, judge_of
from .types import CharacterType

OWN, EVERY = "the character's", "every face"
HEAD, FACE = "head", "face"
_JUDGING = ("face_model", "provider", "backend")


class FaceMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessFaceMask",
            display_name="Face Mask",
            category="likeness/picture",
            description="Masks the character's face or head, and gives the rest as a second mask, so that inpainting "
            "and redrawing keep the face.",
            search_aliases=["likeness", "face mask", "head mask", "protect face", "inpaint keep face", "face detect"],
            hidden=[io.Hidden.unique_id],
            inputs=_inputs(),
            outputs=[
                io.Mask.Output("mask", display_name="face", tooltip="1 on the face; one mask for each picture."),
                io.Mask.Output(
                    "rest",
                    display_name="rest",
                    tooltip="1 on everything else; of `edit` what is left without the face, where that is connected.",
                ),
                io.String.Output("report", display_name="report", tooltip="Where the face of each picture is."),
            ],
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        character: Character,
        part: str = HEAD,
        faces: str = OWN,
        grow: float = 0.0,
        feather: float = 0.2,
        edit: torch.Tensor | None = None,
        **judging: Any,
    ) -> io.NodeOutput:
        engine, judge = judge_of(character, **judging)
        named = [(numbered(i), pixels) for i, pixels in enumerate(host.to_pixels(images))]
        scores = score_images(named, engine, judge, host.progress(len(named)), host.stop_if_interrupted)
        size = (images.shape[2], images.shape[1])
        masks = [_mask(_chosen(score, faces), size, part, grow, feather) for score in scores]
        face = torch.from_numpy(np.stack(masks)) if masks else torch.zeros(images.shape[:3])
        rest = 1.0 - face if edit is None else _fitted(edit, face) * (1.0 - face)
        report = "\n".join(_line(score, faces) for score in scores)
        host.show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(face, rest, report, ui={"text": [report]})


def _chosen(score: Score, faces: str) -> list[Face]:
    if score.chosen is None:
        return []
    return [f.face for f in score.faces] if faces == EVERY else [score.chosen.face]


def _mask(faces: Sequence[Face], size: detail.Size, part: str, grow: float, feather: float) -> Mask:
    """[H, W]: 1 on each face, fading outwards over the feather, so that the face itself is covered whole."""
    mask = np.zeros((size[1], size[0]), dtype=np.float32)
    for face in faces:
        host.stop_if_interrupted()
        width = face.quality.width
        box = detail.head_around(face) if part == HEAD else detail.face_box(face)
        outline = detail.grown(box, (grow + feather) * width)
        window = detail.window_around(outline, size, 1.0)
        if window is not None:
            here = mask[window.rows, window.columns]
            here[...] = np.maximum(here, detail.soft_oval_in(window, outline, feather * width))
    return mask


def _fitted(edit: torch.Tensor, face: torch.Tensor) -> torch.Tensor:
    """The mask of what to edit, stretched over the pictures, one for each. LikenessError for another number."""
    edit = edit.detach().float().cpu().reshape(-1, 1, *edit.shape[-2:])
    if len(edit) not in (1, len(face)):
        raise LikenessError(f"edit has {len(edit)} masks for {len(face)} pictures: connect one, or one for each.")
    if edit.shape[-2:] != face.shape[-2:]:
        edit = comfy.utils.common_upscale(edit, face.shape[2], face.shape[1], "bilinear", "disabled")
    return edit[:, 0].clamp(0.0, 1.0).expand(len(face), -1, -1)


def _line(score: Score, faces: str) -> str:
    if score.chosen is None:
        return f"{score.name}: {score.reason or 'no face was found'}; nothing is masked"
    found = score.faces if faces == EVERY else (score.chosen,)
    where = "; ".join(f"{f.face.quality.width:.0f} px wide at {place(f.face)}" for f in found)
    return f"{score.name}: {'faces' if len(found) > 1 else 'face'} {where}; {describe(score)}"


def _inputs() -> list[Any]:
    measured = [each for each in judge_inputs() if each.id in _JUDGING]
    return [
        io.Image.Input("images", tooltip="Pictures with the character."),
        CharacterType.Input("character", tooltip="Whose face to mask: the one most like it."),
        io.Combo.Input(
            "part",
            options=[HEAD, FACE],
            default=HEAD,
            optional=True,
            tooltip="head: with hair and ears. face: from the middle of the forehead to the chin.",
        ),
        io.Combo.Input(
            "faces",
            options=[OWN, EVERY],
            default=OWN,
            optional=True,
            tooltip="the character's: the face most like it. every face: all that are found.",
        ),
        io.Float.Input(
            "grow",
            default=0.0,
            min=-0.5,
            max=2.0,
            step=0.05,
            optional=True,
            tooltip="Makes the mask larger on every side, smaller below 0; in widths of the face.",
        ),
        io.Float.Input(
            "feather",
            default=0.2,
            min=0.0,
            max=2.0,
            step=0.05,
            optional=True,
            tooltip="Over which length the mask fades outside of the face, in widths of the face.",
        ),
        io.Mask.Input(
            "edit",
            optional=True,
            tooltip="What shall be drawn anew; `rest` is this without the face. Stretched over the pictures.",
        ),
        *measured,
    ]
