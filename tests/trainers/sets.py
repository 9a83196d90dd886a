"""Training sets as users build them, small ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from likeness.dataset.buckets import Shape
from likeness.dataset.build import build
from likeness.dataset.configs import config_files
from likeness.dataset.plan import Choice, Rules, SetPlan, Wish
from likeness.dataset.planning import About, Captioner, ToCaption, plan_set
from likeness.dataset.sources import Sources, folder_sources
from likeness.dataset.survey import survey

from ..unit.dataset.pictures import save, scene

SHAPE = Shape(side=128, steps=64, smallest=64, largest=256)
RULES = Rules(need_face=False, identity="off", smallest=64, picture_sharpness=0.0, alpha="keep", backdrop=(90, 90, 90))
SIZES = ((160, 160), (300, 150), (150, 300), (200, 190), (170, 260), (161, 163))  # of the photos
DETAILS = ("smiling", "outdoors", "red dress", "at night")


def tags(trigger: str, class_word: str) -> partial[str]:
    return partial(_tags, f"{trigger} {class_word}".strip())


def _tags(who: str, asked: ToCaption) -> str:
    return f"{who}, portrait, {DETAILS[asked.index % len(DETAILS)]}, number {asked.index}"


def sentence(asked: ToCaption) -> str:
    return f"ohwx woman, who is standing in front of a door number {asked.index}, and looks at the one who looks"


def photos(folder: Path, times: int = 1, alpha: bool = False, first: int = 0, count: int = len(SIZES)) -> Path:
    """`times`: how many times as large as `SIZES`."""
    for i in range(count):
        width, height = SIZES[i % len(SIZES)]
        pixels = scene(first + i, width * times, height * times)
        save(folder / f"{i}.png", _half_seen(pixels) if alpha and i % 2 else pixels)
    return folder


def _half_seen(pixels: np.ndarray) -> np.ndarray:
    alpha = np.full(pixels.shape[:2], 255, dtype=np.uint8)
    alpha[:, : alpha.shape[1] // 3] = 0
    return np.dstack([pixels, alpha])


def make_set(
    place: Path,
    *,
    trigger: str = "ohwx",
    class_word: str = "woman",
    captioner: Captioner | None = None,
    alpha: bool = False,
    regular: int = 0,
    wish: Wish = Wish(steps=40),  # noqa: B008 - a frozen value
    shape: Shape = SHAPE,
    choices: tuple[Choice, ...] = (Choice(source="0.png", repeats=7), Choice(source="3.png", repeats=2)),
    repeats: int = 3,
) -> tuple[SetPlan, SetPlan | None, Path]:
    """(plan, plan of the regularisation pictures, folder of the built set)."""
    who = About("Ada", "ada", trigger, class_word)
    folder = place / "out" / "ada" / "first set"
    times = -(-shape.side // SHAPE.side)
    own = photos(place / "photos", times, alpha)
    plan, sources = _plan(own, who, captioner or tags(trigger, class_word), choices, wish, shape, repeats)
    reg: tuple[SetPlan, Sources] | None = None
    if regular:
        anybody = About("", "reg", class_word, class_word)
        reg = _plan(
            photos(place / "others", times, first=50, count=regular), anybody, lambda _: class_word, (), wish, shape, 1
        )
    build(plan, sources, folder, config_files, regular=reg)
    return plan, reg[0] if reg else None, folder


def _plan(
    photos: Path,
    who: About,
    captioner: Captioner,
    choices: Sequence[Choice],
    wish: Wish,
    shape: Shape,
    repeats: int,
) -> tuple[SetPlan, Sources]:
    sources = folder_sources(photos)
    made = plan_set(
        survey(sources),
        who,
        captioner,
        name="first",
        shape=shape,
        rules=RULES,
        wish=wish,
        choices=choices,
        repeats=repeats,
    )
    assert not made.plan.rejected, made.plan.rejected
    return made.plan, sources
