"""What the options of `likeness dataset plan` ask for, on top of an earlier set where one is planned again."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ..dataset.buckets import Shape
from ..dataset.plan import MAX_BYTES, Rules, SetPlan, Wish, parse_plan
from ..dataset.planning import About, about
from ..dataset.presets import shape_for
from ..dataset.words import parse_rules, read_wish
from ..errors import LikenessError
from ..files import read_limited
from ..profile import Profile


def rules_asked(arguments: argparse.Namespace, old: SetPlan | None) -> Rules:
    """The old set's rules, changed by what an option says."""
    if arguments.no_faces or arguments.regular:
        base = (old.rules if old else Rules()).model_copy(update={"need_face": False, "identity": "off"})
    else:
        base = old.rules if old else Rules()
    return parse_rules(arguments.rule, base)


def about_asked(arguments: argparse.Namespace, profile: Profile, old: SetPlan | None) -> About:
    """A set without faces shows a thing, which the person's class word does not name."""
    who = about(profile, arguments.trigger or (old.trigger if old else ""), arguments.class_word)
    if arguments.class_word is not None:
        return who
    if old is not None:
        return replace(who, class_word=old.class_word)
    return replace(who, class_word="") if arguments.no_faces and not arguments.regular else who


def wish_asked(arguments: argparse.Namespace, old: SetPlan | None) -> Wish:
    """A rank of another family's model is not taken over."""
    base = old.wish if old else Wish()
    family = arguments.family or base.family
    rank = base.rank if arguments.rank is None and family == base.family else arguments.rank
    same = old is not None and family == base.family
    steps, batch = (base.steps if arguments.steps is None and same else arguments.steps), arguments.batch
    return read_wish(family, steps, base.batch if batch is None else batch, rank)


def shape_asked(arguments: argparse.Namespace, old: SetPlan | None) -> Shape:
    """The old set's sizes, unless a side or another family is given."""
    family = arguments.family or (old.family if old else Wish().family)
    if old is not None and arguments.side is None and family == old.family:
        return old.shape
    return shape_for(family, arguments.side)


def kept_text(plan: SetPlan, old: SetPlan | None) -> list[str]:
    """One line: what of an earlier set was taken over."""
    if old is None:
        return []
    usual = Rules().model_dump(mode="json")
    rules = [f"{k}={v}" for k, v in plan.rules.model_dump(mode="json").items() if v != usual[k]]
    wish = f"{plan.family}, {plan.wish.steps} steps at batch {plan.wish.batch}"
    return [
        f"As in the set, where no option says otherwise: its choices and changed captions, name {plan.name!r}, "
        f"trigger {plan.trigger!r}, sizes, {wish}, rules {', '.join(rules) or 'as usual'}."
    ]


def plan_there(path: Path) -> SetPlan | None:
    """The plan that would be written over; None where there is nothing. LikenessError for a file of another kind."""
    if not path.exists():
        return None
    try:
        return parse_plan(read_limited(path, MAX_BYTES), path)
    except LikenessError as error:
        raise LikenessError(
            f"{path} is there already and is no plan, so it is left alone: give --out another name."
        ) from error


def check_sheet(path: Path | None, sources: Path) -> None:
    """LikenessError for a sheet that would be written over one of the pictures it shows."""
    if path is not None and path.exists() and path.resolve().is_relative_to(sources.resolve()):
        raise LikenessError(f"{path} is one of the pictures that are planned: give --sheet a name elsewhere.")
