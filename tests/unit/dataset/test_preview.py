"""The sheet shows what will be trained: below each picture its path and its caption, and no line is cut by a frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from likeness.dataset.plan import Facts, Rejected
from likeness.dataset.preview import _CELL_H, _CELL_W, _TEXT, THUMB, _font, _lines, sheet

from .pictures import folder_of, plan_of

LONG = "ohwx woman, " + ", ".join(f"striped umbrella {i}" for i in range(30))


def test_an_item_shows_its_caption_although_facts_are_known(tmp_path: Path) -> None:
    item = plan_of(folder_of(tmp_path, 1))[0].items[0]
    shown = item.model_copy(update={"facts": Facts(framing="portrait"), "source": "deep/in/a.png"})
    assert _lines(shown)[1] == "deep/in/a.png"
    assert shown.caption in _lines(shown) and "portrait" not in " ".join(_lines(shown))


def test_of_a_long_path_the_end_is_shown(tmp_path: Path) -> None:
    item = plan_of(folder_of(tmp_path, 1))[0].items[0]
    path = _lines(item.model_copy(update={"source": f"{'far/' * 40}a.png"}))[1]
    assert path.startswith("...") and path.endswith("/a.png") and _font(_TEXT).getlength(path) <= _CELL_W - 16


def test_every_line_of_a_cell_lies_above_its_frame(tmp_path: Path) -> None:
    item = plan_of(folder_of(tmp_path, 1))[0].items[0]
    full = item.model_copy(update={"caption": LONG, "verdict": "accepted", "similarity": 0.5})
    gone = Rejected(source="a.png", code="duplicate", reason=LONG[:190], of="b.png")
    for cell in (full, gone):
        lines = _lines(cell)
        assert len(lines) == 6 and THUMB + 10 + len(lines) * (_TEXT + 2) + 4 <= _CELL_H


def test_another_caption_gives_another_sheet(tmp_path: Path) -> None:
    plan = plan_of(folder_of(tmp_path, 1))[0]
    other = plan.model_copy(update={"items": (plan.items[0].model_copy(update={"caption": "ohwx woman, jumping"}),)})
    assert not np.array_equal(sheet(plan, {}), sheet(other, {}))
