"""What the editor shows of a plan: one small row per picture, taken or left out, and where the sheet shows it."""

from __future__ import annotations

from .plan import Item, Rejected, SetPlan
from .preview import THUMB, places, sheet_size, shown_in

MOST = 400  # rows
_CAPTION = 300  # characters

Shown = dict[str, object]


def plan_view(plan: SetPlan) -> Shown:
    """Plain values for JSON. Those that the sheet shows come first, in its order."""
    on_sheet = places(plan)
    first = shown_in(plan)
    others = [c for c in (*plan.items, *plan.rejected) if c.source not in on_sheet]
    rows = [_row(cell, on_sheet.get(cell.source)) for cell in (*first, *others)[:MOST]]
    return {
        "name": plan.name,
        "taken": len(plan.items),
        "left_out": len(plan.rejected),
        "codes": plan.counts,
        "samples": plan.samples,
        "sheet": {"size": list(sheet_size(len(first))), "thumb": THUMB},
        "rows": rows,
    }


def _row(cell: Item | Rejected, at: tuple[int, int] | None) -> Shown:
    place = {"source": cell.source, "at": None if at is None else list(at)}
    if isinstance(cell, Rejected):
        return {**place, "code": cell.code, "text": cell.reason, "of": cell.of}
    return {
        **place,
        "code": "",
        "text": cell.caption[:_CAPTION],
        "file": cell.stem,
        "width": cell.bucket_width,
        "height": cell.bucket_height,
        "repeats": cell.repeats,
        "verdict": cell.verdict,
        "similarity": None if cell.similarity is None else round(cell.similarity, 4),
    }
