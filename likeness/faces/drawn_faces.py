"""Twelve faces that are drawn here, in code: what a recogniser makes of them shows where it puts drawn faces.

Three ways of drawing, four faces each: flat with large eyes (anime), outlined with a hard shadow (comic) and
shaded like a doll (3D). Each is drawn in the recogniser's own template, 112 px, so no detector is needed.
No picture of anybody else's went into them.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ..images import RGB8
from .align import TEMPLATE_SIZE

VERSION = 1  # raise it with every change that can move a pixel
FACES_EACH = 4
_SCALE = 4  # drawn that much larger, then reduced, for smooth edges
MIDDLE, EYE_LINE, EYES_APART, MOUTH_LINE = 56.0, 51.6, 17.6, 92.0  # px of the template; EYES_APART from the middle

Colour = tuple[int, int, int]
Point = tuple[float, float]
WHITE: Colour = (255, 255, 255)


def drawn_faces() -> Iterator[tuple[str, RGB8]]:
    """(way of drawing, uint8 [112, 112, 3]), the same ones every time."""
    for number, (name, draw) in enumerate((("anime", _anime), ("comic", _comic), ("doll", _doll))):
        for face in range(FACES_EACH):
            sheet = _Sheet(1000 * number + face)
            draw(sheet)
            yield name, sheet.reduced()


class _Sheet:
    """Paper, pen and dice. Lengths are px of the 112 px template."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        side = TEMPLATE_SIZE * _SCALE
        self.image = Image.new("RGB", (side, side))
        self.pen = ImageDraw.Draw(self.image)

    def pick(self, low: float, high: float) -> float:
        return float(self._random.uniform(low, high))

    def chance(self, share: float) -> bool:
        return self.pick(0, 1) < share

    def colour(self, hue: Point, saturation: Point, value: Point) -> Colour:
        """One from ranges of 0..1; a hue may pass 1."""
        return _rgb(*colorsys.hsv_to_rgb(self.pick(*hue) % 1, self.pick(*saturation), self.pick(*value)))

    def paper(self, colour: Colour) -> None:
        self.image.paste(colour, (0, 0, *self.image.size))

    def oval(self, x: float, y: float, across: float, down: float, fill: Colour) -> None:
        """`across` and `down` are half axes."""
        self.pen.ellipse(_box(x, y, across, down), fill=fill)

    def cut(self, x: float, y: float, across: float, down: float, angles: Point, fill: Colour) -> None:
        """The part of an oval that a straight line cuts off, degrees clockwise from the right."""
        self.pen.chord(_box(x, y, across, down), *angles, fill=fill)

    def bow(self, x: float, y: float, across: float, down: float, angles: Point, ink: Colour, width: float) -> None:
        self.pen.arc(_box(x, y, across, down), *angles, fill=ink, width=_px(width))

    def line(self, points: Sequence[Point], ink: Colour, width: float) -> None:
        self.pen.line(_up(points), fill=ink, width=_px(width), joint="curve")

    def shape(self, points: Sequence[Point], fill: Colour, ink: Colour | None = None, width: float = 1.0) -> None:
        self.pen.polygon(_up(points), fill=fill)
        if ink is not None:
            self.line([*points, points[0]], ink, width)

    def fringe(self, half: float, low: float, hang: float, teeth: int, fill: Colour, ink: Colour) -> None:
        """Hair over the brow, `low` px down and `hang` px further at the sides."""
        points = [(MIDDLE - half - 7, -6.0)]
        for i, x in enumerate(np.linspace(MIDDLE - half - 4, MIDDLE + half + 4, 2 * teeth + 1)):
            side = abs(x - MIDDLE) > 0.78 * half
            points.append((float(x), low + self.pick(-3, 4) - (10 if i % 2 == 0 else 0) + (hang if side else 0)))
        self.shape([*points, (MIDDLE + half + 7, -6.0)], fill, ink, 1.2)

    def reduced(self) -> RGB8:
        return np.asarray(self.image.resize((TEMPLATE_SIZE, TEMPLATE_SIZE), Image.Resampling.BOX)).copy()


def _anime(s: _Sheet) -> None:
    hair = s.colour((0, 1), (0.2, 0.8), (0.25, 0.95))
    skin, iris = s.colour((0.04, 0.09), (0.06, 0.3), (0.9, 1)), s.colour((0, 1), (0.4, 0.9), (0.4, 0.9))
    line = s.colour((0, 0.1), (0.5, 0.5), (0.1, 0.3))
    s.paper(s.colour((0, 1), (0, 0.4), (0.4, 1)))
    s.oval(MIDDLE, 48, s.pick(52, 62), s.pick(58, 68), hair)
    if s.chance(0.6):
        s.shape([(0, 48), (112, 48), (112, 112), (0, 112)], hair)
    s.shape([(45, 96), (67, 96), (67, 112), (45, 112)], _times(skin, 0.82))
    half, chin, jaw = s.pick(38, 44), s.pick(104, 112), s.pick(0.62, 0.8)
    turns = np.linspace(0, np.pi, 25)
    narrow = 1 - (1 - jaw) * np.maximum(np.sin(turns) - 0.55, 0) / 0.45
    outline = list(zip(MIDDLE + half * np.cos(turns) * narrow, 55 + (chin - 55) * np.sin(turns), strict=True))
    s.shape([(MIDDLE + half, 20), *outline, (MIDDLE - half, 20)], skin)
    s.line(outline, line, 1.2)
    across, down = s.pick(9, 12.5), s.pick(9, 15)
    for side in (-1, 1):
        _large_eye(s, MIDDLE + side * EYES_APART, across, down, skin, iris, line)
        s.line(
            [(MIDDLE + side * (EYES_APART - 8), EYE_LINE - down - 4), (MIDDLE + side * 27, EYE_LINE - down - 5)],
            line,
            1.5,
        )
    s.line([(MIDDLE, 69.7), (MIDDLE - 1.2, 72.7)], _times(skin, 0.7), 1)
    if s.chance(0.4):
        s.cut(MIDDLE, MOUTH_LINE - 2, s.pick(5, 12), 6, (0, 180), (200, 80, 80))
    else:
        s.bow(MIDDLE, MOUTH_LINE - 4, s.pick(5, 12), 4, (20, 160), line, 1.2)
    s.fringe(half, s.pick(28, 46), s.pick(10, 40), int(s.pick(3, 6)), hair, _times(hair, 0.6))


def _large_eye(s: _Sheet, x: float, across: float, down: float, skin: Colour, iris: Colour, line: Colour) -> None:
    y, wide = EYE_LINE + 1, across * 0.68
    s.oval(x, y, across, down * 0.9, WHITE)
    s.oval(x, y, wide, down * 0.88, iris)
    s.oval(x, y - down * 0.35, wide * 0.95, down * 0.5, _times(iris, 0.45))
    s.oval(x, y, wide * 0.45, down * 0.42, _times(iris, 0.25))
    s.oval(x - wide * 0.35, y - down * 0.4, wide * 0.3, down * 0.22, WHITE)
    s.oval(x + wide * 0.35, y + down * 0.45, wide * 0.18, down * 0.12, WHITE)
    s.cut(x, y - down * 0.45, across + 1.5, down * 0.8, (200, 340), skin)
    s.bow(x, y - down * 0.2, across + 1, down * 0.78, (190, 350), line, s.pick(2, 3.5))
    s.bow(x, y + down * 0.68, across * 0.6, down * 0.3, (20, 160), line, 0.8)


def _comic(s: _Sheet) -> None:
    hair, ink = s.colour((0.02, 0.12), (0.2, 0.8), (0.1, 0.8)), (20, 15, 15)
    skin = s.colour((0.04, 0.09), (0.15, 0.45), (0.75, 1))
    shade = _times(skin, 0.72)
    s.paper(s.colour((0, 1), (0, 0.4), (0.2, 1)))
    s.oval(MIDDLE, 38, s.pick(46, 52), s.pick(46, 54), hair)
    if s.chance(0.5):
        s.shape([(8, 38), (104, 38), (104, 112), (8, 112)], hair)
    half = s.pick(36, 41)
    right = [(half, 10), (half, 50), (half * 0.96, 75), (half * s.pick(0.75, 0.88), 95), (half * 0.45, 113)]
    outline = [(MIDDLE + x, y) for x, y in right] + [(MIDDLE - x, y) for x, y in reversed(right)]
    s.shape(outline, skin, ink, 1.5)
    lit = -1 if s.chance(0.5) else 1
    shadow = [(0.99, 30), (0.7, 55), (0.62, 80), (0.4, 112), (0.6, 112), (0.8, 95), (0.95, 75)]
    s.shape([(MIDDLE + lit * half * x, y) for x, y in shadow], shade)
    across, down, iris = s.pick(7, 9), s.pick(2.6, 4.2), s.colour((0, 1), (0.3, 0.8), (0.2, 0.6))
    for side in (-1, 1):
        _narrow_eye(s, side, across, down, iris, ink)
    s.line([(MIDDLE + lit * x, y) for x, y in ((3, 56), (5, 66), (7, 71), (3, 74))], ink, 1.1)
    for side in (-1, 1):
        s.bow(MIDDLE + side * 3.5, 73, 2.5, 3, (25, 155), ink, 1)
    wide, lips = s.pick(11, 14.5), s.colour((0.96, 1), (0.3, 0.7), (0.5, 0.85))
    upper = [(-wide, 0.0), (-4, -3.5), (0, -2.3), (4, -3.5), (wide, 0)]
    if s.chance(0.5):
        s.shape([(MIDDLE + x, MOUTH_LINE + y) for x, y in [*upper, (5, 4.5), (-5, 4.5)]], lips)
    s.line([(MIDDLE - wide, MOUTH_LINE), (MIDDLE + wide, MOUTH_LINE)], ink, 1.4)
    s.line([(MIDDLE - 4, MOUTH_LINE + 7), (MIDDLE + 4, MOUTH_LINE + 7)], shade, 1)
    s.fringe(half, s.pick(16, 28), s.pick(6, 25), 4, hair, ink)


def _narrow_eye(s: _Sheet, side: int, across: float, down: float, iris: Colour, ink: Colour) -> None:
    x = MIDDLE + side * EYES_APART
    s.oval(x, EYE_LINE, across, down, (250, 250, 250))
    s.oval(x, EYE_LINE, down * 1.05, down * 1.1, iris)
    s.oval(x, EYE_LINE, down * 0.5, down * 0.5, ink)
    s.bow(x, EYE_LINE, across, down * 1.25, (180, 360), ink, s.pick(1.4, 2.4))
    s.bow(x, EYE_LINE, across * 0.9, down * 1.2, (20, 160), ink, 0.7)
    s.line([(x - side * 9, EYE_LINE - 6), (x + side * 3, EYE_LINE - 10), (x + side * 11, EYE_LINE - 8)], ink, 2.5)


def _doll(s: _Sheet) -> None:
    hair, skin = s.colour((0.02, 0.12), (0.4, 0.8), (0.15, 0.7)), s.colour((0.03, 0.08), (0.3, 0.55), (0.7, 1))
    line, iris = s.colour((0.02, 0.08), (0.6, 0.6), (0.25, 0.25)), s.colour((0, 1), (0.4, 0.8), (0.3, 0.6))
    half, tall = s.pick(42, 48), s.pick(52, 56)
    s.paper(s.colour((0, 1), (0.1, 0.5), (0.1, 0.6)))
    s.oval(MIDDLE, 44, half + 8, 54, hair)
    s.image.paste(s.image.filter(ImageFilter.GaussianBlur(3 * _SCALE)))
    _ball(s, skin, half, tall, s.pick(-0.5, 0.5))
    across, down = s.pick(8.5, 11), s.pick(7.5, 10)
    for side in (-1, 1):
        x = MIDDLE + side * EYES_APART
        for reach, colour in ((1.0, (245, 242, 240)), (0.68, iris), (0.36, (10, 8, 8))):
            s.oval(x, EYE_LINE, (across if reach == 1 else down) * reach, down * reach, colour)
        s.oval(x - 2, EYE_LINE - 2.5, 1.6, 1.6, WHITE)
        s.cut(x, EYE_LINE - down * 0.45, across + 1, down * 0.6, (195, 345), _times(skin, 0.82))
        s.bow(x, EYE_LINE + down * 0.15, across + 1, down * 0.95, (195, 345), line, 1.6)
        brow = [(x - side * 8, EYE_LINE - down - 5), (x, EYE_LINE - down - 8), (x + side * 10, EYE_LINE - down - 5)]
        s.line(brow, _times(hair, 0.6), s.pick(2, 4))
    wide = s.pick(9, 14)
    if s.chance(0.5):
        s.cut(MIDDLE, MOUTH_LINE - 1, wide * 0.9, 6, (5, 175), (245, 240, 235))
    s.bow(MIDDLE, MOUTH_LINE - 3, wide, 6, (20, 160), (120, 40, 40), 2)
    s.fringe(half, s.pick(22, 32), 20, 4, hair, hair)
    s.image.paste(s.image.filter(ImageFilter.GaussianBlur(0.6 * _SCALE)))


def _ball(s: _Sheet, skin: Colour, half: float, tall: float, light: float) -> None:
    """A lit ellipsoid with a nose and two cheeks."""
    side = TEMPLATE_SIZE * _SCALE
    y, x = np.mgrid[:side, :side] / _SCALE
    across, down = (x - MIDDLE) / half, (y - 62) / tall
    inside = across**2 + down**2 < 1
    front = np.sqrt(np.clip(1 - across**2 - down**2, 0, 1))
    shine = 0.4 + 0.65 * np.clip(across * light - down * 0.5 + front * 0.8, 0, 1)
    for at, wide, lift in ((MIDDLE, 5.5, 0.18), (MIDDLE - 22, 11, 0.09), (MIDDLE + 22, 11, 0.09)):
        shine += lift * _bump(x - at, y - 71.5, wide, wide)
        shine -= lift * _bump(x - at, y - 71.5 - wide * 0.9, wide, wide * 0.6)
    pixels = np.asarray(s.image).copy()
    pixels[inside] = np.clip(np.array(skin) * shine[inside, None], 0, 255).astype(np.uint8)
    s.image.paste(Image.fromarray(pixels))


def _bump(x: NDArray, y: NDArray, across: float, down: float) -> NDArray:
    return np.exp(-((x / across) ** 2 + (y / down) ** 2))


def _box(x: float, y: float, across: float, down: float) -> list[float]:
    return [v * _SCALE for v in (x - across, y - down, x + across, y + down)]


def _up(points: Sequence[Point]) -> list[Point]:
    return [(float(x) * _SCALE, float(y) * _SCALE) for x, y in points]


def _px(width: float) -> int:
    return max(round(width * _SCALE), 1)


def _times(colour: Colour, factor: float) -> Colour:
    return _rgb(*(c * factor / 255 for c in colour))


def _rgb(red: float, green: float, blue: float) -> Colour:
    return round(255 * red), round(255 * green), round(255 * blue)
