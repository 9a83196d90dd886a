"""Build Training Set: pictures -> a plan that can be looked at -> a folder that every trainer reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io, ui

from ..likeness.character import Character
from ..likeness.dataset.balance import Target, balance_of, balance_text, framing_target
from ..likeness.dataset.build import build, set_folder
from ..likeness.dataset.captioner import CAPTION_FROM, captioner_for, style_for
from ..likeness.dataset.captions import texts_for
from ..likeness.dataset.configs import config_files
from ..likeness.dataset.lint import Finding, lint_plan, lint_text, rules_for
from ..likeness.dataset.plan import Rules, SetPlan, emit_plan
from ..likeness.dataset.plan_view import plan_view
from ..likeness.dataset.planning import About, Planned, about, plan_regular, plan_set
from ..likeness.dataset.presets import advice, shape_for
from ..likeness.dataset.preview import sheet, shown_in, thumbs_of
from ..likeness.dataset.sources import Sources, batch_sources, folder_sources, joined
from ..likeness.dataset.survey import Survey, survey
from ..likeness.dataset.words import GROUPS, parse_choices, parse_rules, read_wish, summary
from ..likeness.errors import LikenessError
from . import host
from .judging import NONE, judge_of
from .picture_encoder import PictureEncoder
from .training_set_inputs import TARGET, UNSURE, WITH_FACE, inputs, outputs


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
            inputs=inputs(),
            outputs=outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, folder: Any = "", regular_folder: Any = "", **_: object) -> list[str]:
        """Changes with the files of the folders."""
        names = [n[0] if isinstance(n, (list, tuple)) and n else n for n in (folder, regular_folder)]
        return [_stamp(name) if name else "" for name in names]

    @classmethod
    def execute(cls, character: list[Character], name: list[str], **lists: list[Any]) -> io.NodeOutput:
        given = {
            key: values[0] for key, values in lists.items() if values and key not in ("images", "masks", "captions")
        }
        sources = _sources(lists, given.pop("folder", ""))
        dry_run, others = given.pop("dry_run", True), given.pop("regular_folder", "").strip()
        settings = _Settings(name[0], **{key: given.pop(key) for key in _OWN if key in given})
        looked = _looked(sources, character[0], settings, given)
        problems: list[str] = []
        planned = settings.plan(looked, character[0], problems)
        regular = _regular(others, planned.plan, settings, character[0]) if others else None
        thumbs = thumbs_of(sources, [c.source for c in shown_in(planned.plan)], host.stop_if_interrupted)
        picture = host.to_image([sheet(planned.plan, thumbs)])
        report, place = _report(planned, problems, settings.target, regular), ""
        if not dry_run:
            place, written = _built(planned.plan, sources, regular, settings.overwrite)
            report = f"{written}\n{report}"
        host.show_text(report, cls.hidden.unique_id)
        out = (picture, report, emit_plan(planned.plan).decode(), len(planned.plan.items), place)
        told = {"text": [report], "likeness_plan": [plan_view(planned.plan)]}
        return io.NodeOutput(*out, ui={**ui.PreviewImage(picture, cls=cls).as_dict(), **told})


_OWN = (
    "family", "side", "steps", "batch_size", "shows", "unsure", "caption_from", "group_by", "repeats", "upscale",
    "alpha", "choices", "rules", "overwrite", "style_model", "rank", "trigger", "class_word", "target", "tagger",
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
        self, name: str, family: str = "sd15", side: int = 0, steps: int = 0, batch_size: int = 1,
        shows: str = WITH_FACE, unsure: str = UNSURE[0], caption_from: str = CAPTION_FROM[0], group_by: str = GROUPS[0],
        repeats: int = 0, upscale: float = 1.0, alpha: str = "composite", choices: str = "", rules: str = "",
        overwrite: bool = False, style_model: Any = None, rank: int = 0, trigger: str = "", class_word: str = "",
        target: str = TARGET, tagger: str = NONE,
    ) -> None:  # fmt: skip
        self.name, self.caption_from, self.overwrite, self.style_model = name, caption_from, overwrite, style_model
        self.faces = shows == WITH_FACE
        self.wish = read_wish(family, steps or None, batch_size, rank or None)
        self.trigger, self.class_word, self.tagger = trigger, class_word, tagger
        self.target = Target(framing=framing_target(target)) if target.strip() else None
        self.shape, self.repeats = shape_for(self.wish.family, side or None), repeats or None
        self.choices = parse_choices(choices)
        usual = Rules(need_face=self.faces, identity="gate" if self.faces else "off")
        own = [f"upscale={upscale}", f"alpha={alpha}", f"not_measurable={'keep' if unsure == UNSURE[1] else 'reject'}"]
        own += [] if group_by == GROUPS[0] else [f"group_by={group_by}", "even_groups=true"]
        self.rules = parse_rules([*own, *(line for line in rules.splitlines() if line.strip())], usual)

    def who(self, character: Character) -> About:
        """The character's words; a set of things has none of the person's class."""
        kind = self.class_word.strip() or (None if self.faces else "")
        return about(character.profile, self.trigger, kind)

    def plan(self, looked: Survey, character: Character, problems: list[str]) -> Planned:
        who = self.who(character)
        caption = captioner_for(who, self.caption_from, problems, style_for(self.wish.family))
        return plan_set(
            looked, who, caption, name=self.name, shape=self.shape, rules=self.rules, wish=self.wish,
            choices=self.choices, repeats=self.repeats, check=host.stop_if_interrupted,
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
    tagger = None if settings.tagger == NONE else host.tagger(settings.tagger)
    return survey(
        sources, engine, judge, embedder, tagger, progress=lambda done, of: step(done), check=host.stop_if_interrupted
    )


def _regular(folder: str, plan: SetPlan, settings: _Settings, character: Character) -> tuple[SetPlan, Sources]:
    """Others of the class, for trainers to hold the class word against. LikenessError where none can be used."""
    sources = folder_sources(host.media_folder(folder), host.stop_if_interrupted)
    step = host.progress(max(len(sources.pictures), 1))
    looked = survey(sources, progress=lambda done, of: step(done), check=host.stop_if_interrupted)
    made = plan_regular(looked, plan, settings.who(character), host.stop_if_interrupted)
    if not made.plan.items:
        raise LikenessError(f"regular_folder: no picture of {folder!r} can be used. {summary(made)}")
    return made.plan, sources


def _report(
    planned: Planned, problems: Sequence[str], target: Target | None, regular: tuple[SetPlan, Sources] | None
) -> str:
    plan = planned.plan
    if not plan.items:
        return summary(planned)
    balance = [balance_text(balance_of(plan, target))] if plan.rules.need_face else []  # of people alone
    told = [
        *problems[:20],
        *advice(plan, regular[0] if regular else None),
        lint_text(_lint(plan), len(plan.items)),
        *balance,
    ]
    return "\n".join([summary(planned), *told])


def _lint(plan: SetPlan) -> tuple[Finding, ...]:
    """What is wrong with the captions, beside the library's other characters."""
    return lint_plan(plan, rules_for(plan, [entry.profile for entry in host.library().list() if entry.profile]))


def _built(
    plan: SetPlan, sources: Sources, regular: tuple[SetPlan, Sources] | None, overwrite: bool
) -> tuple[str, str]:
    """Where the set lies below the output folder, and a sentence about it."""
    step = host.progress(max(len(plan.items), 1))
    made = build(
        plan, sources, set_folder(host.output_folder(), plan), config_files, regular=regular, overwrite=overwrite,
        progress=lambda done, of: step(done), check=host.stop_if_interrupted,
    )  # fmt: skip
    below = made.folder.relative_to(host.output_folder().resolve()).as_posix()
    return below, f"Written: {made.folder}" if made.changed else f"Nothing has changed in {made.folder}"
