"""Pictures with their score written on them."""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .images import RGB8
from .scoring import Score

_MAX_LINES = 3
_INK, _PAPER, _BOX = (255, 255, 255), (24, 24, 24), (255, 204, 0)


def label(score: Score) -> str:
    """ "0.512" or "not measurable: ..."."""
    return f"{score.similarity:.3f}" if score.similarity is not None else f"not measurable: {score.reason}"


def labelled(pixels: RGB8, score: Score) -> RGB8:
    """The picture with the measured face framed and the score on a strip along its lower edge; same size."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    size = max(10, min(image.width, image.height) // 24)
    if score.face is not None:
        draw.rectangle([float(v) for v in score.face.box], outline=_BOX, width=max(1, size // 8))
    text = label(score) if score.similarity is None else f"{label(score)}  nearest {score.nearest}"
    font, lines = (
        ImageFont.load_default(size),
        textwrap.wrap(text, max(8, int(image.width / (size * 0.55))))[:_MAX_LINES],
    )
    strip = size // 2 + len(lines) * (size + size // 4)
    draw.rectangle([0, image.height - strip, image.width, image.height], fill=_PAPER)
    draw.text((size // 3, image.height - strip + size // 5), "\n".join(lines), fill=_INK, font=font)
    return np.asarray(image).copy()
