"""A grey picture with a sentence on it, where a graph needs some picture and there is none."""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .images import RGB8

GREY = 128
_INK = (32, 32, 32)


def placeholder(width: int, height: int, text: str) -> RGB8:
    """uint8 [height, width, 3], mid grey, the text in its middle as far as it fits."""
    image = Image.new("RGB", (width, height), (GREY, GREY, GREY))
    size = max(8, min(width, height) // 14)
    lines = textwrap.wrap(text, max(6, int(width / (size * 0.6))))
    font = ImageFont.load_default(size)
    ImageDraw.Draw(image).multiline_text(
        (width / 2, height / 2), "\n".join(lines), fill=_INK, font=font, anchor="mm", align="center"
    )
    return np.asarray(image).copy()
