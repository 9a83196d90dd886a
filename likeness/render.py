"""Pictures with their score written on them."""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .images import RGB8
from .scoring import Score

_MAX_LINES = 3
_INK, _PAPER = (255, 255, 255), (24, 24, 24)
_FRAME = {"accepted": (255, 204, 0), "rejected": (230, 80, 60), "not measurable": (150, 150, 150)}


def label(score: Score) -> str:
    """ "0.512 accepted", "0.120 rejected" or "not measurable: ..."."""
    if score.similarity is None:
        return f"{score.verdict}{': ' if score.reason else ''}{score.reason}"
    return f"{score.similarity:.3f} {score.verdict}"


def labelled(pixels: RGB8, score: Score) -> RGB8:
    """The picture with its faces framed and the verdict on a strip along its lower edge; same size.

    The chosen face has a thick frame in the colour of the verdict, the others thin grey ones.
    """
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    size = max(10, min(image.width, image.height) // 24)
    for face in score.faces:
        colour, width = _FRAME["not measurable"], max(1, size // 16)
        if face is score.chosen:
            colour, width = _FRAME[face.verdict], max(1, size // 8)
        draw.rectangle([float(v) for v in face.face.box], outline=colour, width=width)
    font = ImageFont.load_default(size)
    lines = textwrap.wrap(_text(score), max(8, int(image.width / (size * 0.55))))[:_MAX_LINES]
    strip = size // 2 + len(lines) * (size + size // 4)
    draw.rectangle([0, image.height - strip, image.width, image.height], fill=_PAPER)
    draw.text((size // 3, image.height - strip + size // 5), "\n".join(lines), fill=_INK, font=font)
    return np.asarray(image).copy()


def _text(score: Score) -> str:
    if score.chosen is None or score.similarity is None:
        return label(score)
    return f"{label(score)}{', a copy?' if score.chosen.copy else ''}  nearest {score.chosen.nearest}"
