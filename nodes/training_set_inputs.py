"""The inputs and outputs of Build Training Set."""

from __future__ import annotations

from comfy_api.latest import io

from ..likeness.dataset.captioner import CAPTION_FROM
from ..likeness.dataset.words import GROUPS
from ..likeness.profile import FAMILIES
from . import host
from .judging import NONE, judge_inputs
from .types import CharacterType

NAME = "set"
TARGET = "70/20/10"
WITH_FACE, ANYTHING = "the character's face", "anything"
UNSURE = ("leave out", "take")


def inputs() -> list[io.Input]:
    """All inputs of Build Training Set."""
    return [*_pictures(), *_set(), *_advanced(), *judge_inputs(), *_words()]  # new ones last: values go by place


def _pictures() -> list[io.Input]:
    return [
        CharacterType.Input("character", tooltip="Whose set it is: trigger and class word, and who should be in them."),
        io.String.Input("name", default=NAME, tooltip="Name of the set: its folder below output/likeness/training/."),
        io.Boolean.Input(
            "dry_run",
            default=True,
            label_on="only show the plan",
            label_off="write the set",
            tooltip="On: nothing is written; look at the sheet and the report first.",
        ),
        io.Image.Input("images", optional=True, tooltip="Pictures, as a batch or a list, of any sizes."),
        io.Mask.Input(
            "masks", optional=True, tooltip="What is trained of each picture: 1 is, 0 is not. Written as alpha channel."
        ),
        io.String.Input(
            "captions", optional=True, force_input=True, tooltip="A caption for each picture: a list, or a line each."
        ),
        io.String.Input(
            "folder",
            default="",
            optional=True,
            tooltip="Also the pictures of a folder below ComfyUI's input or output folder, with their .txt captions. "
            "Names like 'outfit red dress' or 'background beach' of subfolders are used.",
        ),
    ]


def _set() -> list[io.Input]:
    return [
        io.Combo.Input(
            "family", options=list(FAMILIES), default="sd15", optional=True, tooltip="Base model that is trained on."
        ),
        io.Int.Input(
            "side", default=0, min=0, max=2048, step=64, optional=True,
            tooltip="Pictures are about that many px a side. 0: what the family trains at, 768 for sd15, else 1024.",
        ),
        io.Int.Input(
            "steps", default=0, min=0, max=1_000_000, optional=True,
            tooltip="Training steps in total; repeats and epochs follow. 0: usual for the family, 3000 for sd15.",
        ),
        io.Combo.Input(
            "shows", options=[WITH_FACE, ANYTHING], default=WITH_FACE, optional=True,
            tooltip="What a picture must show. anything: sets of backgrounds, poses or things; no face is needed.",
        ),
        io.Combo.Input(
            "unsure", options=list(UNSURE), default=UNSURE[0], optional=True,
            tooltip="Pictures whose face no encoder can judge: turned away, covered, small, drawn.",
        ),
        io.Combo.Input(
            "caption_from", options=list(CAPTION_FROM), default=CAPTION_FROM[0], optional=True,
            tooltip="Captions given or lying beside the pictures, or always a template that varies.",
        ),
        io.Combo.Input(
            "group_by", options=list(GROUPS), default=GROUPS[0], optional=True,
            tooltip="Groups are trained equally often, whatever their size. background: style_model or folder names.",
        ),
    ]  # fmt: skip


def _advanced() -> list[io.Input]:
    return [
        io.Int.Input(
            "batch_size", default=1, min=1, max=256, optional=True, advanced=True, tooltip="Pictures in one step."
        ),
        io.Int.Input(
            "repeats", default=0, min=0, max=1000, optional=True, advanced=True,
            tooltip="Of each picture in an epoch. 0: so that the steps are about ten epochs.",
        ),
        io.Float.Input(
            "upscale", default=1.0, min=1.0, max=4.0, step=0.05, optional=True, advanced=True,
            tooltip="A picture may be enlarged that much; 1: not at all.",
        ),
        io.Combo.Input(
            "alpha", options=["composite", "keep"], default="composite", optional=True, advanced=True,
            tooltip="Transparent parts: put on grey, or kept as a mask of what is trained.",
        ),
        io.String.Input(
            "choices", default="", multiline=True, optional=True, advanced=True,
            tooltip="What you decide about single pictures, a line each: 'take: a.png' or 'leave: sub/b.png'. Or JSON "
            "with captions, boxes and repeats, as in the plan.",
        ),
        io.String.Input(
            "rules", default="", multiline=True, optional=True, advanced=True,
            tooltip="Thresholds as in the plan's JSON, one a line: sharpness=80.",
        ),
        io.Boolean.Input(
            "overwrite", default=False, optional=True, advanced=True,
            tooltip="Also write over captions of the set that were changed by hand.",
        ),
        io.ClipVision.Input(
            "style_model", optional=True, tooltip="CLIP-Vision, SigLIP or DINO model: tells backgrounds apart."
        ),
    ]  # fmt: skip


def _words() -> list[io.Input]:
    return [
        io.Int.Input(
            "rank", default=0, min=0, max=1024, optional=True, advanced=True,
            tooltip="Of the LoRA, as the trainers' files ask for it. 0: what is usual for the family.",
        ),
        io.String.Input(
            "trigger", default="", optional=True, advanced=True,
            tooltip="The word that is trained; empty: the character's. Register LoRA wants the same one.",
        ),
        io.String.Input(
            "class_word", default="", optional=True, advanced=True,
            tooltip="What kind of thing it is: woman, robot. Empty: the character's; none where anything is shown.",
        ),
        io.String.Input(
            "target", default=TARGET, optional=True, advanced=True,
            tooltip="Percentages of upper body, portrait and full body that the balance is held against.",
        ),
        io.Combo.Input(
            "tagger", options=[NONE, host.AUTO, *(t.name for t in host.taggers())], default=NONE, optional=True,
            advanced=True, tooltip="A WD tagger in models/wd_tagger names what pictures show, for their captions. Best "
            "for drawn characters.",
        ),
        io.String.Input(
            "regular_folder", default="", optional=True, advanced=True,
            tooltip="Regularisation pictures: a folder of others of the class, below input or output. They are written "
            "beside the set with the class word alone.",
        ),
    ]  # fmt: skip


def outputs() -> list[io.Output]:
    return [
        io.Image.Output("sheet", display_name="sheet", tooltip="Every picture with its crop, size and verdict."),
        io.String.Output("report", display_name="report", tooltip="What is taken, what is not, and why."),
        io.String.Output("plan", display_name="plan", tooltip="The plan as JSON, with every rule and rejection."),
        io.Int.Output("count", display_name="count", tooltip="Pictures that are taken."),
        io.String.Output(
            "training_set",
            display_name="training set",
            tooltip="The set's folder below the output folder, for Load Training Set; empty after a dry run.",
        ),
    ]
