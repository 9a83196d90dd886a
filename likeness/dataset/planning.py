"""A survey, rules and choices -> a plan. Pure: the same ones give the same plan, byte for byte."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import LikenessError
from ..paths import check_slug, slug_of
from ..profile import Profile, one_line
from .buckets import Shape, buckets_of
from .captions import never_change
from .groups import even_repeats, group_of, looks
from .measures import angle_of, expression_of, framing_of, light_of, tilt_of
from .plan import MAX_REPEATS, Box, Choice, Facts, Item, Rejected, Rules, SetPlan, Wish, check_caption
from .presets import repeats_for
from .select import Candidate, Selection, candidate, select
from .survey import Seen, Survey, unseen

MAX_NOTES = 40
_LINE = 200  # characters of a group's or a reason's text


@dataclass(frozen=True)
class About:
    """Whose set it is."""

    name: str  # display name
    slug: str
    trigger: str
    class_word: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToCaption:
    """What a captioner is asked about."""

    source: str
    facts: Facts
    index: int  # of the picture in the set, from 0: lets captions vary
    common: tuple[str, ...]  # what nearly all pictures of the set show: a caption that names it would bind to it
    existing: bytes | None  # of the caption file beside it, or a text of a graph


Captioner = Callable[[ToCaption], str]  # one line, trigger first; LikenessError where `existing` cannot be read


@dataclass(frozen=True)
class Planned:
    """A plan, and what led to it."""

    plan: SetPlan
    selection: Selection


def about(profile: Profile, trigger: str = "", class_word: str | None = None) -> About:
    """The words of a character, or those given instead; the slug's letters are the trigger where nobody has named one.

    LikenessError for words that are no line.
    """
    word = " ".join(unicodedata.normalize("NFC", _words(trigger, "trigger") or profile.trigger).split())
    notes: tuple[str, ...] = ()
    if not word:
        word = profile.slug.replace("_", "").replace("-", "")
        notes = (f"The profile has no trigger word, so {word!r} is used: write it into the profile.",)
    kind = _words(class_word, "class_word") if class_word is not None else profile.class_word
    return About(profile.name, profile.slug, word, " ".join(unicodedata.normalize("NFC", kind).split()), notes)


def _words(text: str, field: str) -> str:
    """LikenessError for what can be neither in a caption nor in a folder's name."""
    try:
        short = len(one_line(text)) <= _LINE
    except ValueError:
        short = False
    if not short:
        raise LikenessError(f"{field}: write it on one line of at most {_LINE} characters.")
    return text.strip()


def regular_captioner(who: About) -> Captioner:
    """Captions of regularisation pictures: what kind of thing the character is, never the trigger.

    LikenessError where the profile does not say it.
    """
    if not who.class_word:
        raise LikenessError(f"{who.name} has no class word, which regularisation pictures are named by: write it.")
    return lambda asked: who.class_word


def set_name(text: str) -> str:
    """A set's name as its folder's name. BadNameError."""
    return check_slug(slug_of(text))


def plan_set(
    survey: Survey,
    who: About,
    captioner: Captioner,
    *,
    name: str,
    shape: Shape = Shape(),  # noqa: B008 - a frozen value
    rules: Rules = Rules(),  # noqa: B008
    wish: Wish = Wish(),  # noqa: B008
    choices: Sequence[Choice] = (),
    repeats: int | None = None,
    regular: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Planned:
    """The whole set. `repeats`: None for about ten epochs in the steps wished; `regular`: regularisation pictures;
    `check`, once a picture, may raise to stop.

    LikenessError for a caption that cannot be one, or numbers that are none.
    """
    if repeats is not None and not 1 <= repeats <= MAX_REPEATS:
        raise LikenessError(f"repeats: {repeats} is not between 1 and {MAX_REPEATS}.")
    by_source = {c.source: c for c in choices}
    buckets = buckets_of(shape)
    candidates = [candidate(s, rules, buckets, _box(by_source.get(s.source), s)) for s in survey.seen]
    chosen = select(candidates, rules, by_source, check)
    facts = _facts(chosen.taken)
    usual = repeats or repeats_for(max(len(chosen.taken), 1), wish.steps, wish.batch)
    items = _Items(rules, by_source, captioner, usual).of(chosen.taken, facts)
    plan = SetPlan(
        name=set_name(name),
        character=who.name,
        slug=who.slug,
        trigger=who.trigger,
        class_word=who.class_word,
        root=survey.root,
        shape=shape,
        rules=rules,
        wish=wish,
        regular=regular,
        items=tuple(items),
        rejected=(*_unseen(survey), *chosen.rejected),
        choices=tuple(sorted(choices, key=lambda c: c.source)),
        clusters=chosen.clusters,
        notes=_notes(survey, who, by_source),
    )
    return Planned(plan, chosen)


def plan_regular(survey: Survey, plan: SetPlan, who: About, check: Callable[[], None] = lambda: None) -> Planned:
    """Regularisation pictures for `plan`: of its sizes, captioned with the class word alone, whoever they show."""
    rules = plan.rules.model_copy(update={"need_face": False, "identity": "off"})
    return plan_set(
        survey, who, regular_captioner(who), name=f"{plan.name}-reg", shape=plan.shape, rules=rules, wish=plan.wish,
        repeats=1, regular=True, check=check,
    )  # fmt: skip


def _box(choice: Choice | None, seen: Seen) -> Box | None:
    """The box that was drawn by hand. LikenessError for one outside the picture."""
    if choice is None or choice.box is None:
        return None
    if choice.box.right > seen.width or choice.box.bottom > seen.height:
        raise LikenessError(
            f"choices: the box of {seen.source} leaves the picture of {seen.width} x {seen.height} px: draw it inside."
        )
    return choice.box


def _facts(taken: Sequence[Candidate]) -> list[Facts]:
    named = looks([c.seen.look for c in taken])
    found = [_facts_of(c, look) for c, look in zip(taken, named, strict=True)]
    return [f.model_copy(update={"tags": c.seen.tags}) for f, c in zip(found, taken, strict=True)]


def _facts_of(c: Candidate, look: str) -> Facts:
    face, labels = c.seen.face, dict(c.seen.labels)
    background = labels.get("background", look)[:_LINE]
    outfit = labels.get("outfit", "")[:_LINE]
    if face is None:
        return Facts(light=light_of(c.seen.pixels.grey), outfit=outfit, background=background)
    return Facts(
        framing=framing_of(face.height, c.crop.box.height),
        angle=angle_of(face.pose),
        tilt=tilt_of(face.pose),
        expression=expression_of(face.mouth, face.pose, face.drawn, face.lower),
        light=light_of(face.brightness),
        outfit=outfit,
        background=background,
    )


@dataclass(frozen=True)
class _Items:
    """Turns what is taken into items."""

    rules: Rules
    choices: dict[str, Choice]
    captioner: Captioner
    repeats: int

    def of(self, taken: Sequence[Candidate], facts: Sequence[Facts]) -> list[Item]:
        groups = [self._group(c, f) for c, f in zip(taken, facts, strict=True)]
        usual = [self.repeats] * len(taken)
        if self.rules.even_groups and self.rules.group_by:
            usual = [min(n, MAX_REPEATS) for n in even_repeats(groups, self.repeats)]
        common = never_change(facts)
        return [
            self._item(c, ToCaption(c.seen.source, facts[i], i, common, c.seen.caption), groups[i], usual[i])
            for i, c in enumerate(taken)
        ]

    def _group(self, c: Candidate, facts: Facts) -> str:
        choice = self.choices.get(c.seen.source)
        if choice is not None and choice.group is not None:
            return choice.group
        return group_of(self.rules.group_by, facts, c.seen.folder)[:_LINE]

    def _item(self, c: Candidate, asked: ToCaption, group: str, repeats: int) -> Item:
        seen, crop, choice = c.seen, c.crop, self.choices.get(c.seen.source)
        caption = choice.caption if choice is not None and choice.caption is not None else None
        caption = caption or self.captioner(asked)
        try:
            check_caption(caption)
        except LikenessError as error:
            raise LikenessError(f"{seen.source}: {error}") from None
        verdict = seen.verdict
        return Item(
            source=seen.source,
            sha256=seen.sha256,
            width=seen.width,
            height=seen.height,
            box=crop.box,
            bucket_width=crop.bucket.width,
            bucket_height=crop.bucket.height,
            stem=f"{asked.index + 1:04d}",
            caption=caption,
            repeats=choice.repeats if choice is not None and choice.repeats is not None else repeats,
            group=group,
            similarity=None if verdict is None or verdict.similarity is None else round(verdict.similarity, 4),
            verdict="" if verdict is None else verdict.verdict,
            facts=asked.facts,
            alpha=seen.masked or (seen.transparent and self.rules.alpha == "keep"),
        )


def _unseen(survey: Survey) -> list[Rejected]:
    left_out = {x.name for x in survey.left_out}
    known, found = {s.source for s in survey.seen}, []
    for source, reason in unseen(survey):
        if source not in known:  # a folder and a link may be named twice
            known.add(source)
            code = "no picture" if source in left_out else "unreadable"
            text = f"{reason[:1].upper()}{reason[1:]}".rstrip(".")[: _LINE - 1]
            found.append(Rejected(source=source, code=code, reason=f"{text}."))  # type: ignore[arg-type]
    return found


def _notes(survey: Survey, who: About, choices: dict[str, Choice]) -> tuple[str, ...]:
    known = {s.source for s in survey.seen} | {name for name, _ in unseen(survey)}
    lost = sorted(set(choices) - known)
    bad = [f"{s.source}: {s.caption_error}" for s in survey.seen if s.caption_error]
    notes = [*who.notes, *survey.notes, *bad]
    notes += [f"{source} has a choice, but is not among the pictures any more." for source in lost]
    notes += [
        f"{source} cannot be taken, as a choice asks: {reason.rstrip('.')}."
        for source, reason in unseen(survey)
        if source in choices and choices[source].take
    ]
    more = len(notes) - MAX_NOTES
    return (*notes[:MAX_NOTES], *([f"And {more} more notes."] if more > 0 else []))
