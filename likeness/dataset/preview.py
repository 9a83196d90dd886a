"""A plan as one picture: every original with its crop, its bucket and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import ceil

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import LikenessError
from ..images import RGB8
from .plan import Item, Rejected, SetPlan
from .render import thumbnail
from .sources import Source, Sources
from .workers import in_order

MAX_CELLS = 96
THUMB = 168  # px
_CELL_W, _CELL_H, _GAP, _HEAD = 188, 270, 8, 56  # px; room for six lines below the picture
_CAPTION_LINES = 3
_TEXT, _TITLE = 12, 16  # px
_PAPER, _INK, _FAINT = (250, 250, 250), (24, 24, 24), (110, 110, 110)
_TAKEN, _GONE = (20, 120, 60), (190, 40, 40)  # told by words, too

Thumbs = Mapping[str, RGB8]


def shown_in(plan: SetPlan, most: int = MAX_CELLS) -> tuple[Item | Rejected, ...]:
    """What a sheet shows: pictures that are taken, then the others; of each at least a quarter of the room."""
    room = max(most - len(plan.rejected), most * 3 // 4)
    items = plan.items[:room]
    return (*items, *plan.rejected[: most - len(items)])


def thumbs_of(sources: Sources, names: Sequence[str], check: Callable[[], None] = lambda: None) -> Thumbs:
    """Small copies; without those that cannot be opened. `check` may raise to stop."""
    known = {s.name: s for s in sources.pictures}

    def small(source: Source) -> RGB8 | None:
        try:
            return thumbnail(source, THUMB)
        except LikenessError:
            return None

    wanted = [known[name] for name in names if name in known]
    found = zip(wanted, in_order(wanted, small, check), strict=True)
    return {source.name: picture for source, picture in found if picture is not None}


def sheet(plan: SetPlan, thumbs: Thumbs, columns: int = 8) -> RGB8:
    """uint8 [H, W, 3]; equal plans and thumbnails give equal pixels."""
    cells = shown_in(plan)
    columns = max(min(columns, len(cells)), 2)
    size = sheet_size(len(cells), columns)
    image = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(headline(plan, len(cells))):
        _write(draw, (_GAP, 8 + i * (_TITLE + 6)), line, size[0] - 2 * _GAP, _TITLE if not i else _TEXT, _INK)
    for i, cell in enumerate(cells):
        _draw_cell(image, draw, _corner(i, columns), cell, thumbs.get(cell.source))
    return np.asarray(image).copy()


def sheet_size(cells: int, columns: int = 8) -> tuple[int, int]:
    """(width, height) of a sheet, px."""
    columns = max(min(columns, cells), 2)
    return columns * (_CELL_W + _GAP) + _GAP, _HEAD + max(ceil(cells / columns), 1) * (_CELL_H + _GAP)


def places(plan: SetPlan, columns: int = 8) -> dict[str, tuple[int, int]]:
    """Where the sheet shows each source: left and top of a square of `THUMB` px that holds its picture."""
    cells = shown_in(plan)
    columns = max(min(columns, len(cells)), 2)
    corners = (_corner(i, columns) for i in range(len(cells)))
    return {cell.source: (x + (_CELL_W - THUMB) // 2, y + 6) for cell, (x, y) in zip(cells, corners, strict=True)}


def _corner(index: int, columns: int) -> tuple[int, int]:
    return _GAP + index % columns * (_CELL_W + _GAP), _HEAD + index // columns * (_CELL_H + _GAP)


def headline(plan: SetPlan, cells: int) -> tuple[str, str]:
    """Two lines above the cells."""
    total = len(plan.items) + len(plan.rejected)
    more = f", {cells} shown" if cells < total else ""
    counts = ", ".join(f"{n} {code}" for code, n in plan.counts.items()) or "none left out"
    first = f"{plan.name}: {len(plan.items)} of {total} pictures, {plan.samples} with repeats{more}"
    return first, counts


def _draw_cell(
    image: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], cell: Item | Rejected, thumb: RGB8 | None
) -> None:
    x, y = corner
    taken = isinstance(cell, Item)
    draw.rectangle((x, y, x + _CELL_W - 1, y + _CELL_H - 1), outline=_TAKEN if taken else _GONE, width=2)
    if thumb is not None:
        picture = _cropped(thumb, cell) if isinstance(cell, Item) else Image.fromarray(thumb)
        image.paste(picture, (x + (_CELL_W - picture.width) // 2, y + 6 + (THUMB - picture.height) // 2))
    for i, line in enumerate(_lines(cell)):
        colour = (_TAKEN if taken else _GONE) if not i else _FAINT
        _write(draw, (x + 8, y + THUMB + 10 + i * (_TEXT + 2)), line, _CELL_W - 16, _TEXT, colour)


def _cropped(thumb: RGB8, item: Item) -> Image.Image:
    """What lies outside the crop is dark, and the crop has a frame."""
    scale = thumb.shape[1] / item.width
    box = [round(v * scale) for v in (item.box.left, item.box.top, item.box.right, item.box.bottom)]
    shaded = (thumb // 3).astype(np.uint8)
    shaded[box[1] : box[3], box[0] : box[2]] = thumb[box[1] : box[3], box[0] : box[2]]
    picture = Image.fromarray(shaded)
    ImageDraw.Draw(picture).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=(255, 220, 60))
    return picture


def _lines(cell: Item | Rejected) -> tuple[str, ...]:
    """Six at most: what becomes of it, its path, and the caption, or why it is left out."""
    path = _end_of(cell.source, _CELL_W - 16)
    if isinstance(cell, Rejected):
        of = (f"of {_end_of(cell.of, _CELL_W - 34)}",) if cell.of else ()
        return f"left out: {cell.code}", path, *_wrapped(cell.reason, _CELL_W - 16, _CAPTION_LINES), *of
    measured = f"{cell.verdict} {cell.similarity:.3f}" if cell.similarity is not None else cell.verdict
    size = f"{cell.bucket_width} x {cell.bucket_height}, {cell.repeats} times"
    caption = _wrapped(cell.caption, _CELL_W - 16, _CAPTION_LINES)
    return f"{cell.stem}: {size}", path, *filter(None, (measured or cell.group,)), *caption


def _wrapped(text: str, width: int, most: int) -> list[str]:
    """Lines of at most `width` px, broken between words; the last of `most` lines holds the rest, to be cut."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and (len(lines) == most or _font(_TEXT).getlength(longer) <= width):
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _end_of(path: str, width: int) -> str:
    """A path whose end tells more than its beginning."""
    font, start = _font(_TEXT), 0
    while start < len(path) - 1 and font.getlength(f"...{path[start:]}" if start else path) > width:
        start += 1
    return f"...{path[start:]}" if start else path


@cache
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, size: int, colour: tuple[int, int, int]
) -> None:
    font = _font(size)
    if font.getlength(text) > width:
        while text and font.getlength(f"{text}...") > width:
            text = text[:-1]
        text += "..."
    draw.text(at, text, fill=colour, font=font)
