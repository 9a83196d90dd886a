"""Pictures, sources and sets for the tests of training sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from likeness.dataset.buckets import Shape
from likeness.dataset.plan import Rules, SetPlan
from likeness.dataset.planning import About, Planned, ToCaption, plan_set
from likeness.dataset.sources import Sources, folder_sources
from likeness.dataset.survey import Survey, survey
from likeness.images import RGB8

from ...fakes import MARK

SMALL = Shape(side=128, steps=64, smallest=64, largest=256)  # buckets of 128 px: quick to write
ADA = About("Ada", "ada", "ohwx", "woman")
ANYTHING = Rules(need_face=False, identity="off", smallest=64, picture_sharpness=0.0)


def scene(seed: int, width: int = 160, height: int = 160) -> RGB8:
    """Shapes and grain; every seed looks different from afar, too."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(60, 200, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(width // 8, width // 2, 2)
        draw.rectangle((x, y, x + w, y + h), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    grain = rng.integers(-20, 21, (height, width, 3))
    return (np.asarray(image, dtype=np.int16) + grain).clip(0, 255).astype(np.uint8)


def portrait(seed: int, spots: Sequence[tuple[int, int, int, int, int]], width: int = 320, height: int = 320) -> RGB8:
    """A scene in which `fakes.FakeAnalyser` finds faces: (person, shot, left, top, size) each."""
    pixels = scene(seed, width, height)
    pixels[0, 0] = (MARK, len(spots), MARK)
    for i, (person, shot, left, top, size) in enumerate(spots):
        pixels[0, 1 + 2 * i] = (person, shot, 0)
        pixels[0, 2 + 2 * i] = (left, top, size)
    return pixels


def save(path: Path, pixels: RGB8, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def folder_of(path: Path, count: int, first: int = 0) -> Path:
    for i in range(count):
        save(path / f"{first + i:02d}.png", scene(first + i))
    return path


def caption(asked: ToCaption) -> str:
    return f"ohwx woman, number {asked.index}"


def planned(
    sources: Sources | Survey, rules: Rules = ANYTHING, shape: Shape = SMALL, name: str = "first", **options: object
) -> Planned:
    looked = survey(sources) if isinstance(sources, Sources) else sources
    values = {"repeats": 10, **options}
    return plan_set(looked, ADA, caption, name=name, shape=shape, rules=rules, **values)  # type: ignore[arg-type]


def plan_of(folder: Path, **options: object) -> tuple[SetPlan, Sources]:
    sources = folder_sources(folder)
    return planned(sources, **options).plan, sources  # type: ignore[arg-type]


def no_configs(plan: SetPlan, folder: Path, regular: SetPlan | None = None) -> dict[str, bytes]:
    return {"dataset.toml": b"# a stand-in\n"}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
