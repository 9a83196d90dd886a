"""The histogram as a picture, for graphs and chats."""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..images import RGB8
from ..render import ACCEPTED, REJECTED
from .document import Report
from .plots import similarity_axis
from .statistics import BIN, histogram
from .words import headline

_WIDTH, _HEIGHT, _MARGIN = 960, 540, 48  # px
_PAPER, _INK, _FAINT, _GRID = (255, 255, 255), (28, 30, 34), (110, 114, 122), (232, 234, 238)
_GOOD, _LOW, _BAND = ACCEPTED, REJECTED, (28, 30, 34)


def chart(report: Report) -> RGB8:
    """uint8 [540, 960, 3]."""
    image = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN, 22), _cut(f"{report.about.character}: {report.about.title}"), fill=_INK, font=_font(24))
    for i, line in enumerate(textwrap.wrap(headline(report), 110)[:2]):
        draw.text((_MARGIN, 58 + 22 * i), line, fill=_FAINT, font=_font(16))
    _draw_bars(draw, report, top=130, base=_HEIGHT - 64)
    return np.asarray(image).copy()


def _draw_bars(draw: ImageDraw.ImageDraw, report: Report, top: int, base: int) -> None:
    low, high = similarity_axis(report)
    bins = histogram(r.similarity for r in report.counted)
    most = max((n for _, n in bins), default=1)

    def x(value: float) -> float:
        return _MARGIN + (value - low) / (high - low) * (_WIDTH - 2 * _MARGIN)

    for k in range(-10, 11):
        if low - 1e-9 <= k / 10 <= high + 1e-9:
            draw.line([x(k / 10), top, x(k / 10), base], fill=_GRID)
            draw.text((x(k / 10), base + 8), f"{k / 10:g}", fill=_FAINT, font=_font(14), anchor="ma")
    for edge, count in bins:
        if count:
            height = (base - top - 24) * count / most
            fill = _GOOD if edge + BIN / 2 >= report.about.band else _LOW
            draw.rectangle([x(edge) + 2, base - height, x(edge + BIN) - 2, base], fill=fill)
            draw.text((x(edge + BIN / 2), base - height - 4), str(count), fill=_FAINT, font=_font(13), anchor="mb")
    band = x(report.about.band)
    draw.line([_MARGIN, base, _WIDTH - _MARGIN, base], fill=_INK)
    draw.line([band, top - 12, band, base], fill=_BAND, width=2)
    right = band > _WIDTH * 0.7
    text = f"accepted from {report.about.band:.3f}"
    draw.text((band + (-8 if right else 8), top - 16), text, fill=_INK, font=_font(14), anchor="ra" if right else "la")
    draw.text((_WIDTH - _MARGIN, base + 30), "similarity (cosine)", fill=_FAINT, font=_font(14), anchor="ra")


def _cut(text: str, most: int = 70) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
