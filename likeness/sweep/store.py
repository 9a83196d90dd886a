"""A sweep on disk: every picture with what it measured, so that a killed sweep goes on where it was.

    <output>/likeness/sweeps/<character>/<name>-<key>/
        sweep.json                  axes, seeds, prompts, and the graph that draws
        pictures/<render>.png       one picture; the name tells strengths, prompt and seed
        pictures/<render>.json      what was measured on it
        table.csv, heat_map.png, report.json
    <output>/likeness/sweeps/<character>/<name>.json    how far it is, for programs that wait

`key` is a digest of all that shapes a picture besides strengths, prompt and seed. Another checkpoint or step count is
another folder, so pictures of different graphs are never compared. Each file is written whole or not at all: the
picture first, then its measurements; a picture without them is measured again, not drawn again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .. import images
from ..errors import LikenessError
from ..files import atomic_write, make_folder, read_limited
from ..images import RGB8
from ..paths import check_slug, contained, slug_of
from .plan import Plan, Render
from .score import Measured

log = logging.getLogger(__name__)

PLACE = ("likeness", "sweeps")
PICTURES = "pictures"
_KEY_SHOWN = 8  # digits of the key in the folder's name
_MAX_JSON = 64 * 1024


@dataclass(frozen=True)
class SweepStore:
    """The folder of one sweep."""

    output: Path  # ComfyUI's output folder
    slug: str
    name: str  # what the user calls the sweep
    key: str  # sha256, hex
    judge: str  # digest of what measures; other measurements are made again from the pictures

    @property
    def relative(self) -> str:
        """The folder, from the output folder, with "/"."""
        return "/".join((*PLACE, check_slug(self.slug), f"{slug_of(self.name)}-{self.key[:_KEY_SHOWN]}"))

    @property
    def folder(self) -> Path:
        return contained(self.output, *self.relative.split("/"))

    def picture_path(self, render: Render) -> Path:
        return contained(self.folder, PICTURES, f"{render.stem}.png")

    def _result_path(self, render: Render) -> Path:
        return contained(self.folder, PICTURES, f"{render.stem}.json")

    def begin(self, plan: Plan, graph: object) -> None:
        """Write down what is about to be drawn. `graph` is any JSON value that says what `key` stands for."""
        make_folder(self.folder / PICTURES)
        self.write_json("sweep.json", {**plan.as_dict(), "key": self.key, "graph": graph})

    def save(self, render: Render, picture: RGB8, measured: Measured) -> None:
        """Keep a new picture and what it measured."""
        atomic_write(self.picture_path(render), images.encode_png(picture))
        self.save_result(render, measured)

    def save_result(self, render: Render, measured: Measured) -> None:
        """Keep what the picture, which is there, measured."""
        about = {
            "cell": dict(render.cell.values),
            "prompt": render.prompt,
            "seed": render.seed,
            "measured": asdict(measured),
            "judge": self.judge,
            "bytes": self.picture_path(render).stat().st_size,
        }
        atomic_write(self._result_path(render), _json(about))

    def results(self, renders: Iterable[Render]) -> dict[str, Measured]:
        """What is known of those pictures that are there whole, by stem."""
        found = {}
        for render in renders:
            measured = self._result(render)
            if measured is not None:
                found[render.stem] = measured
        return found

    def _result(self, render: Render) -> Measured | None:
        """None where the picture or its measurements are missing, cut short, or by another judge."""
        try:
            about = json.loads(read_limited(self._result_path(render), _MAX_JSON))
            if about["judge"] != self.judge or about["bytes"] != self.picture_path(render).stat().st_size:
                return None
            return _measured(about["measured"])
        except (LikenessError, OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def unmeasured(self, renders: Iterable[Render], known: dict[str, Measured]) -> list[Render]:
        """Pictures that are there and have no measurements by this judge."""
        return [r for r in renders if r.stem not in known and self.picture_path(r).is_file()]

    def picture(self, render: Render) -> RGB8 | None:
        """uint8 [H, W, 3]; None where it is missing or damaged, so that it is drawn again."""
        try:
            return images.read(self.picture_path(render))
        except LikenessError as error:
            log.warning("%s It is drawn again.", error)
            return None

    def tell(self, done: int, of: int, now: str = "") -> None:
        """Say how far the sweep is; `done` and `of` count pictures."""
        path = contained(self.output, *PLACE, self.slug, f"{slug_of(self.name)}.json")
        atomic_write(path, _json({"done": done, "of": of, "now": now, "folder": self.relative}))

    def write(self, name: str, data: bytes) -> None:
        atomic_write(contained(self.folder, name), data)

    def write_json(self, name: str, value: object) -> None:
        self.write(name, _json(value))


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "surrogatepass")


_KINDS: dict[str, tuple[type, ...]] = {
    "similarity": (float, int, type(None)),
    "verdict": (str,),
    "reason": (str,),
    "copy": (bool,),
    "prompt": (float, int, type(None)),
}


def _measured(values: dict[str, Any]) -> Measured:
    """ValueError, KeyError or TypeError for what `save_result` has not written."""
    if set(values) != {f.name for f in fields(Measured)}:
        raise ValueError("other fields")
    for name, kinds in _KINDS.items():
        value = values[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueError(name)
        if isinstance(value, float) and not -1.01 <= value <= 1.01:  # also NaN
            raise ValueError(name)
    return Measured(**values)
