"""What is unusual about the wish of a set, and what it comes to, in sentences."""

from __future__ import annotations

from collections.abc import Iterable

from .configs.kohya import tag_lists
from .plan import SetPlan
from .presets import PRESETS, Preset, Schedule, schedule_of
from .vram import vram_of

# How often a picture is shown: 3000 steps, the usual ones of sd15, over 20 to 30 pictures. Likeness's own choice.
_SHOWN = (100, 150)
_AIM = 120
_MANY, _FEW = 200, 50  # from where on another number of steps is proposed
_FEWEST = 500  # steps: the fewest of any preset
_ROUND = 100  # steps


def sentences(plan: SetPlan, regular: SetPlan | None = None) -> tuple[str, ...]:
    """One for each thing. LikenessError for a set without pictures."""
    preset, schedule = PRESETS[plan.family], schedule_of(plan, regular)
    found = [*_of_steps(plan, preset, schedule), *_of_regular(plan, schedule), *_of_preset(plan, preset)]
    return (*found, *_of_captions(plan, preset), *_of_memory(plan))


def shown(plan: SetPlan, schedule: Schedule, steps: int | None = None) -> float:
    """How often a picture is shown, as a mean. Regularisation pictures take their share of the steps."""
    samples = (schedule.steps if steps is None else steps) * plan.wish.batch
    return samples * plan.samples / schedule.samples / len(plan.items)


def proposed_steps(plan: SetPlan, schedule: Schedule) -> int:
    """Steps with which a picture is shown 100 to 150 times, as far as the preset has so many."""
    exact = _AIM * schedule.steps / shown(plan, schedule)
    return max(_FEWEST, min(PRESETS[plan.family].steps[2], round(exact / _ROUND) * _ROUND))


def _of_steps(plan: SetPlan, preset: Preset, schedule: Schedule) -> Iterable[str]:
    steps, pictures = schedule.steps, len(plan.items)
    low, usual, high = preset.steps
    better, times = proposed_steps(plan, schedule), shown(plan, schedule)
    if steps < low and steps < better:
        yield f"{steps} steps are few for {plan.family}: {usual} are usual."
    if steps > high * 2:
        yield f"{steps} steps are many for {plan.family}: {usual} are usual."
    if (times > _MANY and better < steps) or (times < _FEW and better > steps):
        what = "Every picture is" if len(plan.folder_names) == 1 else "By their repeats differently often, pictures are"
        yield (
            f"{what} shown about {times:.0f} times: {pictures} pictures are {_few(times)} for {steps} steps. "
            f"Try --steps {better}, about {shown(plan, schedule, better):.0f} times each; {_SHOWN[0]} to {_SHOWN[1]} "
            f"are enough as a rule."
        )


def _few(times: float) -> str:
    return "few" if times > _MANY else "many"


def _of_regular(plan: SetPlan, schedule: Schedule) -> Iterable[str]:
    if schedule.samples > plan.samples:
        before = schedule.steps * plan.wish.batch / len(plan.items)
        yield (
            f"Regularisation pictures take {schedule.samples - plan.samples} of {schedule.samples} samples: a picture "
            f"is shown about {shown(plan, schedule):.0f} times in place of {before:.0f}."
        )


def _of_preset(plan: SetPlan, preset: Preset) -> Iterable[str]:
    rank = plan.wish.rank or preset.rank
    if not preset.ranks[0] <= rank <= preset.ranks[1]:
        yield f"Rank {rank} is unusual for {plan.family}: {preset.ranks[0]} to {preset.ranks[1]} are."
    if plan.shape.side != preset.side:
        yield f"The pictures are for {plan.shape.side} px; {plan.family} is usually trained at {preset.side}."
    if not preset.trainer:
        yield f"Neither sd-scripts nor musubi-tuner trains {plan.family}: no train_{plan.family}.toml is written."


def _of_captions(plan: SetPlan, preset: Preset) -> Iterable[str]:
    """Where the captions disagree, since one rule holds for all."""
    tags, of = tag_lists(plan), len(plan.items)
    if not preset.shuffles or tags in (0, of):
        return
    if tags * 2 > of:
        yield f"The tags of all captions are shuffled: {tags} of {of} captions are lists of several tags."
    else:
        yield f"No caption is shuffled: only {tags} of {of} captions are lists of several tags."


def _of_memory(plan: SetPlan) -> Iterable[str]:
    needed = vram_of(plan)
    if needed is not None:
        yield f"The training needs {needed}."
