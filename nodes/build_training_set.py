"""Build Training Set: pictures -> a plan that can be looked at -> a folder that every trainer reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io, ui

from ..likeness.character import Character
from ..likeness.dataset.balance import balance_of, balance_text
from ..likeness.dataset.build import build, set_folder
from ..likeness.dataset.captioner import CAPTION_FROM, captioner_for, style_for
from ..likeness.dataset.captions import texts_for
from ..likeness.dataset.configs import config_files
from ..likeness.dataset.lint import Finding, lint_plan, lint_text, rules_for
from ..likeness.dataset.plan import Rules, SetPlan, emit_plan
from ..likeness.dataset.planning import Planned, about, plan_set
from ..likeness.dataset.presets import advice, shape_for
from ..likeness.dataset.preview import sheet, shown_in, thumbs_of
from ..likeness.dataset.sources import Sources, batch_sources, folder_sources, joined
from ..likeness.dataset.survey import Survey, survey
from ..likeness.dataset.words import GROUPS, parse_choices, parse_rules, read_wish, summary
from ..likeness.errors import LikenessError
from ..likeness.profile import FAMILIES
from . import host
from .judging import judge_inputs, judge_of
from .picture_encoder import PictureEncoder
from .types import CharacterType

NAME = "set"
WITH_FACE, ANYTHING = "the character's face", "anything"
UNSURE = ("leave out", "take")


class BuildTrainingSet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessBuildTrainingSet",
            display_name="Build Training Set",
            category="likeness/training",
            description="Picks the pictures that show the character, crops them around the head to the exact sizes "
            "that trainers use, captions them, and writes a folder for sd-scripts, musubi-tuner, ai-toolkit, "
            "OneTrainer and Train LoRA. With dry run on it only shows what it would do.",
            search_aliases=[
                "likeness",
                "kohya",
                "lora dataset",
                "prepare training images",
                "bucket crop",
                "dreambooth",
            ],
            is_output_node=True,
            is_input_list=True,
            hidden=[io.Hidden.unique_id],
            inputs=_inputs(),
            outputs=_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, folder: Any = "", **_: object) -> str:
        """Changes with the files of the folder."""
        name = folder[0] if isinstance(folder, (list, tuple)) else folder
        return _stamp(name) if name else ""

    @classmethod
    def execute(cls, character: list[Character], name: list[str], **lists: list[Any]) -> io.NodeOutput:
        given = {
            key: values[0] for key, values in lists.items() if values and key not in ("images", "masks", "captions")
        }
        sources = _sources(lists, given.pop("folder", ""))
        dry_run = given.pop("dry_run", True)
        settings = _Settings(name[0], **{key: given.pop(key) for key in _OWN if key in given})
        looked = _looked(sources, character[0], settings, given)
        problems: list[str] = []
        planned = settings.plan(looked, character[0], problems)
        thumbs = thumbs_of(sources, [c.source for c in shown_in(planned.plan)], host.stop_if_interrupted)
        picture = host.to_image([sheet(planned.plan, thumbs)])
        report, place = _report(planned, problems), ""
        if not dry_run:
            place, written = _built(planned.plan, sources, settings.overwrite)
            report = f"{written}\n{report}"
        host.show_text(report, cls.hidden.unique_id)
        out = (picture, report, emit_plan(planned.plan).decode(), len(planned.plan.items), place)
        return io.NodeOutput(*out, ui={**ui.PreviewImage(picture, cls=cls).as_dict(), "text": [report]})


_OWN = (
    "family", "side", "steps", "batch_size", "shows", "unsure", "caption_from", "group_by", "repeats", "upscale",
    "alpha", "choices", "rules", "overwrite", "style_model",
)  # fmt: skip


def _stamp(name: str) -> str:
    """Changes with every file below a folder; "" where there is none."""
    try:
        found = [(str(p), p.stat()) for p in sorted(host.media_folder(name).rglob("*")) if p.is_file()]
    except (LikenessError, OSError):
        return ""
    return str(hash(tuple((path, about.st_size, about.st_mtime_ns) for path, about in found)))


class _Settings:
    """What the inputs say about the set; all but the character and the judge."""

    def __init__(
        self, name: str, family: str = "sd15", side: int = 0, steps: int = 3000, batch_size: int = 1,
        shows: str = WITH_FACE, unsure: str = UNSURE[0], caption_from: str = CAPTION_FROM[0], group_by: str = GROUPS[0],
        repeats: int = 0, upscale: float = 1.0, alpha: str = "composite", choices: str = "", rules: str = "",
        overwrite: bool = False, style_model: Any = None,
    ) -> None:  # fmt: skip
        self.name, self.caption_from, self.overwrite, self.style_model = name, caption_from, overwrite, style_model
        self.faces = shows == WITH_FACE
        self.wish = read_wish(family, steps, batch_size)
        self.shape, self.repeats = shape_for(self.wish.family, side or None), repeats or None
        self.choices = parse_choices(choices)
        usual = Rules(need_face=self.faces, identity="gate" if self.faces else "off")
        own = [f"upscale={upscale}", f"alpha={alpha}", f"not_measurable={'keep' if unsure == UNSURE[1] else 'reject'}"]
        own += [] if group_by == GROUPS[0] else [f"group_by={group_by}", "even_groups=true"]
        self.rules = parse_rules([*own, *(line for line in rules.splitlines() if line.strip())], usual)

    def plan(self, looked: Survey, character: Character, problems: list[str]) -> Planned:
        who = about(character.profile)
        caption = captioner_for(who, self.caption_from, problems, style_for(self.wish.family))
        return plan_set(
            looked, who, caption, name=self.name, shape=self.shape, rules=self.rules, wish=self.wish,
            choices=self.choices, repeats=self.repeats,
        )  # fmt: skip


def _sources(lists: dict[str, list[Any]], folder: str) -> Sources:
    """What is connected, and what lies in the folder. LikenessError where there is neither."""
    pictures = [p for batch in lists.get("images") or [] if batch is not None for p in host.to_layers(batch)]
    masks = [m for batch in lists.get("masks") or [] if batch is not None for m in host.to_alpha(batch)]
    texts = list(lists.get("captions") or [])  # a blank one has its place: that picture has none
    if any(text and text.strip() for text in texts) and not pictures:
        raise LikenessError("Captions need pictures: connect images, or put .txt files beside those of the folder.")
    if len(texts) == 1:
        texts = list(texts_for(texts[0], len(pictures))) if texts[0] and texts[0].strip() else []
    connected = batch_sources(pictures, masks, texts)
    if folder.strip():
        return joined(folder_sources(host.media_folder(folder), host.stop_if_interrupted), connected)
    if not pictures:
        raise LikenessError(
            "Build Training Set has no pictures: connect images, or name a folder below input or output."
        )
    return connected


def _looked(sources: Sources, character: Character, settings: _Settings, judging: dict[str, Any]) -> Survey:
    engine, judge = judge_of(character, **judging) if settings.faces else (None, None)
    embedder = None if settings.style_model is None else PictureEncoder(settings.style_model)
    step = host.progress(max(len(sources.pictures), 1))
    return survey(
        sources, engine, judge, embedder, progress=lambda done, of: step(done), check=host.stop_if_interrupted
    )


def _report(planned: Planned, problems: Sequence[str]) -> str:
    plan = planned.plan
    if not plan.items:
        return summary(planned)
    balance = [balance_text(balance_of(plan))] if plan.rules.need_face else []  # of people alone
    told = [*problems[:20], *advice(plan), lint_text(_lint(plan), len(plan.items)), *balance]
    return "\n".join([summary(planned), *told])


def _lint(plan: SetPlan) -> tuple[Finding, ...]:
    """What is wrong with the captions, beside the library's other characters."""
    return lint_plan(plan, rules_for(plan, [entry.profile for entry in host.library().list() if entry.profile]))


def _built(plan: SetPlan, sources: Sources, overwrite: bool) -> tuple[str, str]:
    """Where the set lies below the output folder, and a sentence about it."""
    step = host.progress(max(len(plan.items), 1))
    made = build(
        plan, sources, set_folder(host.output_folder(), plan), config_files, overwrite=overwrite,
        progress=lambda done, of: step(done), check=host.stop_if_interrupted,
    )  # fmt: skip
    below = made.folder.relative_to(host.output_folder().resolve()).as_posix()
    return below, f"Written: {made.folder}" if made.changed else f"Nothing has changed in {made.folder}"


def _inputs() -> list[io.Input]:
    return [*_pictures(), *_set(), *_advanced(), *(i for i in judge_inputs())]


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
            "steps", default=3000, min=1, max=1_000_000, optional=True,
            tooltip="Training steps in total; repeats and epochs follow.",
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


def _outputs() -> list[io.Output]:
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
