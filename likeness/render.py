"""Pictures with their score written below them."""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .images import RGB8
from .scoring import SAME_PICTURE, Score

ACCEPTED, REJECTED, NEITHER = (38, 112, 140), (184, 105, 47), (141, 146, 155)  # as on the report's page
_COLOURS = {"accepted": ACCEPTED, "rejected": REJECTED, "not measurable": NEITHER}
_INK, _PAPER = (255, 255, 255), (24, 24, 24)
_LETTERS, _LETTER = 130, 0.55  # of the longest text that must fit, and of a letter's width to its height
_LEAST_LINES, _MOST_LINES = 2, 8


def label(score: Score) -> str:
    """ "0.512 accepted", "0.120 rejected" or "not measurable: ..."."""
    if score.similarity is None:
        return f"{score.verdict}{': ' if score.reason else ''}{score.reason}"
    return f"{score.similarity:.3f} {score.verdict}"


def labelled(pixels: RGB8, score: Score) -> RGB8:
    """The picture with its faces framed, and the verdict on a strip below it; nothing of the picture is covered.

    The strip's height depends on the picture's size alone, so that the pictures of a batch stay of one size. The
    chosen face has a thick frame in the colour of the verdict, the others thin grey ones.
    """
    height, width = pixels.shape[:2]
    size = max(10, min(width, height) // 24)
    letters = max(8, int(width / (size * _LETTER)))
    lines = min(max(-(-_LETTERS // letters), _LEAST_LINES), _MOST_LINES)
    step, edge = size + -(-size // 4), max(3, size // 6)
    image = Image.new("RGB", (width, height + size // 2 + lines * step), _PAPER)
    image.paste(_framed(pixels, score, size))
    draw = ImageDraw.Draw(image)
    told = textwrap.wrap(_text(score), letters, max_lines=lines, placeholder=" …")
    draw.rectangle([0, height, edge - 1, image.height], fill=_COLOURS[score.verdict])
    for i, line in enumerate(told):
        place = (edge + size // 3, height + size // 5 + i * step)
        draw.text(place, line, fill=_INK, font=ImageFont.load_default(size))
    return np.asarray(image).copy()


def _framed(pixels: RGB8, score: Score, size: int) -> Image.Image:
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for face in score.faces:
        box = [float(v) for v in face.face.box]
        if face is not score.chosen:
            draw.rectangle(box, outline=NEITHER, width=max(1, size // 16))
            continue
        draw.rectangle([box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1], outline=_INK)  # to stand out on any picture
        draw.rectangle(box, outline=_COLOURS[face.verdict], width=max(2, size // 8))
    return image


def _text(score: Score) -> str:
    if score.chosen is None or score.similarity is None:
        return label(score)
    itself = score.chosen.nearest_similarity >= SAME_PICTURE
    copy = ", a copy?" if score.chosen.copy and not itself else ""
    return f"{label(score)}{copy}  {'' if itself else 'nearest '}{score.chosen.nearest}{' itself' if itself else ''}"
