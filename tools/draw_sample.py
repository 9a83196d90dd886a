"""Draws the project's own sample character, so that a demo needs nobody's photograph.

The five pictures of Mara Voss and the one of Tomas Reed, who is not her, are small sculptures: a head made of
smoothly joined ellipsoids, painted in its own coordinates, found by sphere tracing and lit by a lamp, the sky
and a rim light. One head seen from several sides stays the same person, which flat drawings do not manage.

Only + - * / and square roots of numpy touch the pixels, so every machine draws the same bytes.

    python tools/draw_sample.py --out DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 512  # px of a picture
OVERSAMPLE = 2  # rays per pixel and axis
CAMERA = 7.0  # distance of the eye from the head's middle; lengths are about half a head's height
ZOOM = 4.6  # of the lens: half the picture is CAMERA / ZOOM lengths at the head's middle

Numbers = NDArray[np.float32]
Vector = tuple[Numbers, Numbers, Numbers]
Triple = tuple[float, float, float]
Colour = Triple  # linear light, 0..1
Backdrop = tuple[Colour, Colour]  # middle, edge


@dataclass(frozen=True)
class Person:
    """What makes somebody who they are. In head space x points to the viewer's right, y up, z to the viewer."""

    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    clothes: Colour
    jaw: float  # half width of the jaw
    chin: float  # how far the chin reaches down
    cheek: float  # how far the cheekbones stand out
    eye_x: float  # from the middle to an eye
    eye_w: float  # half width of an eye
    eye_h: float  # half height of an eye
    eye_tilt: float  # how much higher its outer corner is
    brow_y: float
    brow_h: float  # half thickness of a brow
    brow_arch: float
    nose_y: float  # height of the tip
    nose_w: float  # half width at the wings
    nose_z: float  # how far the tip stands out
    mouth_y: float
    mouth_w: float
    lip_h: float
    long_hair: bool
    freckles: float


# fmt: off
MARA = Person(
    skin=(0.74, 0.47, 0.36), hair=(0.110, 0.035, 0.018), iris=(0.10, 0.22, 0.16),
    lips=(0.52, 0.15, 0.13), clothes=(0.030, 0.140, 0.150), freckles=0.7, long_hair=True,
    jaw=0.37, chin=-0.90, cheek=0.37, eye_x=0.265, eye_w=0.135, eye_h=0.066, eye_tilt=0.020,
    brow_y=0.235, brow_h=0.026, brow_arch=0.045, nose_y=-0.235, nose_w=0.105, nose_z=0.800,
    mouth_y=-0.500, mouth_w=0.215, lip_h=0.066,
)
TOMAS = Person(
    skin=(0.60, 0.35, 0.25), hair=(0.020, 0.016, 0.014), iris=(0.10, 0.045, 0.02),
    lips=(0.40, 0.17, 0.14), clothes=(0.16, 0.05, 0.04), freckles=0.0, long_hair=False,
    jaw=0.48, chin=-0.98, cheek=0.34, eye_x=0.240, eye_w=0.115, eye_h=0.046, eye_tilt=-0.010,
    brow_y=0.195, brow_h=0.042, brow_arch=0.010, nose_y=-0.290, nose_w=0.150, nose_z=0.860,
    mouth_y=-0.580, mouth_w=0.235, lip_h=0.040,
)
# fmt: on


@dataclass(frozen=True)
class View:
    """One sitting: how the head is held, what the face does, and where the light comes from."""

    yaw: float = 0.0  # tangent of half the turn; positive looks to the viewer's right
    pitch: float = 0.0  # tangent of half the nod; positive looks up
    smile: float = 0.0  # 0..1
    lamp: Triple = (-0.60, 0.50, 0.75)  # towards the main light
    lamp_colour: Colour = (1.00, 0.95, 0.88)
    sky: Colour = (0.32, 0.34, 0.38)
    rim: Colour = (0.30, 0.32, 0.36)
    backdrop: Backdrop = ((0.42, 0.47, 0.50), (0.20, 0.24, 0.28))


WARM: Backdrop = ((0.50, 0.45, 0.40), (0.26, 0.22, 0.20))
NIGHT: Backdrop = ((0.10, 0.13, 0.24), (0.03, 0.04, 0.09))
EVENING = View(-0.05, lamp=(0.75, 0.35, 0.75), lamp_colour=(1.10, 0.80, 0.55), sky=(0.26, 0.32, 0.46))
PICTURES: dict[str, tuple[Person, View]] = {
    "mara_voss_1_front.png": (MARA, View()),
    "mara_voss_2_left.png": (MARA, View(yaw=-0.15, pitch=0.02)),
    "mara_voss_3_right.png": (MARA, View(yaw=0.15, backdrop=WARM)),
    "mara_voss_4_smile.png": (MARA, View(yaw=0.04, smile=1.0, lamp=(0.45, 0.50, 0.80))),
    "mara_voss_5_evening.png": (MARA, replace(EVENING, rim=(0.20, 0.30, 0.55), backdrop=NIGHT)),
    "tomas_reed.png": (TOMAS, View(backdrop=((0.46, 0.46, 0.42), (0.22, 0.22, 0.20)))),
}


def length(x: Numbers, y: Numbers, z: Numbers) -> Numbers:
    return np.sqrt(x * x + y * y + z * z)


def unit(vector: Vector) -> Vector:
    size = length(*vector)
    return vector[0] / size, vector[1] / size, vector[2] / size


def step(low: float, high: float, value: Numbers) -> Numbers:
    """0 below `low`, 1 above `high`, smooth between; `low` may be the larger one."""
    part = np.clip((value - low) / (high - low), 0.0, 1.0)
    return part * part * (3.0 - 2.0 * part)


def mix(first: Numbers | float, second: Numbers | float, part: Numbers) -> Numbers:
    return first + (second - first) * part


def join(first: Numbers, second: Numbers, blend: float) -> Numbers:
    """Union of two solids with a fillet of about `blend`."""
    gap = np.maximum(blend - np.abs(first - second), 0.0)
    return np.minimum(first, second) - gap * gap * (0.25 / blend)


def carve(solid: Numbers, tool: Numbers, blend: float) -> Numbers:
    return -join(-solid, tool, blend)


def ellipsoid(point: Vector, centre: Triple, radii: Triple) -> Numbers:
    x, y, z = ((item - middle) / radius for item, middle, radius in zip(point, centre, radii, strict=True))
    size = length(x, y, z)
    return size * (size - 1.0) / np.maximum(length(x / radii[0], y / radii[1], z / radii[2]), 1e-3)


def rod(point: Vector, start: Triple, end: Triple, radius: float, radius_end: float) -> Numbers:
    """A line with round ends, its radius going from `radius` to `radius_end`."""
    axis = [b - a for a, b in zip(start, end, strict=True)]
    offset = [item - a for item, a in zip(point, start, strict=True)]
    share = sum(part * item for part, item in zip(axis, offset, strict=True)) / sum(part * part for part in axis)
    share = np.clip(share, 0.0, 1.0)
    gaps = (item - share * part for item, part in zip(offset, axis, strict=True))
    return length(*gaps) - mix(radius, radius_end, share)


def noise(x: Numbers, y: Numbers, seed: int) -> Numbers:
    """Smooth noise, 0..1, one bump per unit square."""
    column, row = np.floor(x), np.floor(y)
    u, v = step(0.0, 1.0, x - column), step(0.0, 1.0, y - row)
    column, row = column.astype(np.int64), row.astype(np.int64)

    def corner(dx: int, dy: int) -> Numbers:
        value = (column + dx) * 374761393 + (row + dy) * 668265263 + seed * 974711
        value = ((value ^ (value >> 13)) * 1274126177) & 0xFFFFFFF
        return ((value ^ (value >> 9)) & 0xFFFF).astype(np.float32) / 65535.0

    return mix(mix(corner(0, 0), corner(1, 0), u), mix(corner(0, 1), corner(1, 1), u), v)


def dots(x: Numbers, y: Numbers, seed: int) -> Numbers:
    """One soft dot per unit square, of random place and strength."""
    column, row = np.floor(x), np.floor(y)
    dx, dy, strength = (noise(column * 7.0, row * 7.0, seed + item) for item in range(3))
    gap = np.sqrt((x - column - 0.25 - 0.5 * dx) ** 2 + (y - row - 0.25 - 0.5 * dy) ** 2)
    return step(0.24, 0.08, gap) * step(0.35, 0.9, strength)


def skin_distance(p: Person, smile: float, point: Vector) -> Numbers:
    """Signed distance to the bare head; negative inside. Left and right are mirrored."""
    side = np.abs(point[0])
    x, y, z = point
    pair = (side, y, z)
    head = ellipsoid(point, (0.0, 0.26, -0.12), (0.70, 0.80, 0.84))
    head = join(head, ellipsoid(point, (0.0, -0.16, 0.10), (0.57, 0.72, 0.60)), 0.20)
    head = join(head, ellipsoid(point, (0.0, p.chin + 0.26, 0.20), (p.jaw, 0.25, 0.38)), 0.30)
    head = join(head, ellipsoid(point, (0.0, p.chin + 0.12, 0.46), (0.15, 0.12, 0.13)), 0.20)
    cheek = (p.cheek, -0.16 + 0.03 * smile, 0.46)
    head = join(head, ellipsoid(pair, cheek, (0.18, 0.17, 0.18 + 0.02 * smile)), 0.26)
    head = join(head, ellipsoid(pair, (0.20, p.brow_y - 0.01, 0.57), (0.24, 0.075, 0.10)), 0.16)
    head = carve(head, ellipsoid(pair, (p.eye_x, 0.035, 0.74), (0.17, 0.105, 0.13)), 0.15)
    head = join(head, ellipsoid(pair, (p.eye_x, 0.045, 0.515), (0.135, 0.115, 0.125)), 0.05)
    nose = rod(point, (0.0, 0.10, 0.61), (0.0, p.nose_y + 0.03, p.nose_z - 0.09), 0.050, 0.075)
    nose = join(nose, ellipsoid(point, (0.0, p.nose_y, p.nose_z - 0.08), (0.088, 0.078, 0.085)), 0.06)
    wing = ellipsoid(pair, (p.nose_w - 0.045, p.nose_y - 0.025, p.nose_z - 0.145), (0.060, 0.055, 0.080))
    head = join(head, join(nose, wing, 0.05), 0.10)
    bend = 0.05 * smile * (x / p.mouth_w) ** 2
    mouth = (x, y - bend, z)
    head = join(head, ellipsoid(mouth, (0.0, p.mouth_y, 0.545), (p.mouth_w * 1.15, 0.15, 0.125)), 0.14)
    lip = ellipsoid(mouth, (0.0, p.mouth_y + p.lip_h * 0.45, 0.645), (p.mouth_w * 0.80, p.lip_h * 0.62, 0.055))
    lower = ellipsoid(mouth, (0.0, p.mouth_y - p.lip_h * 0.60, 0.635), (p.mouth_w * 0.68, p.lip_h * 0.75, 0.062))
    head = join(head, join(lip, lower, 0.012), 0.045)
    head = join(head, ellipsoid(pair, (0.70, -0.02, -0.10), (0.07, 0.19, 0.12)), 0.06)
    neck = rod(point, (0.0, -0.55, -0.16), (0.0, -1.7, -0.30), 0.34 if p.long_hair else 0.42, 0.38)
    return join(head, neck, 0.12)


def clothes_distance(p: Person, point: Vector) -> Numbers:
    body = ellipsoid(point, (0.0, -2.02, -0.30), (1.35 if p.long_hair else 1.60, 0.70, 0.55))
    collar = rod(point, (0.0, -1.34, -0.24), (0.0, -1.7, -0.26), 0.41 if p.long_hair else 0.50, 0.60)
    return join(body, collar, 0.22)


def hair_distance(p: Person, point: Vector) -> Numbers:
    x, y, z = point
    side = np.abs(x)
    strand = noise(x * 9.0 + z * 7.0, y * 0.9 + 40.0, 5) * 0.030
    if not p.long_hair:
        cap = ellipsoid(point, (0.0, 0.32, -0.15), (0.745, 0.83, 0.87))
        opening = ellipsoid(point, (0.0, -0.10, 0.80), (0.62, 0.74, 0.82))
        low = ellipsoid(point, (0.0, -0.90, 0.0), (1.2, 0.95, 0.85))
        return carve(carve(cap, opening, 0.06), low, 0.06) + strand * 0.7
    cap = ellipsoid(point, (0.0, 0.33, -0.16), (0.80, 0.86, 0.90))
    swept = (x, y + 0.16 * x, z)
    cap = carve(cap, ellipsoid(swept, (-0.03, -0.30, 0.74), (0.60, 0.86, 0.72)), 0.07)
    lock = rod((side, y, z), (0.62, 0.30, -0.06), (0.65, -0.62, -0.02), 0.22, 0.20)
    lock = join(lock, rod((side, y, z), (0.65, -0.62, -0.02), (0.55, -0.92, 0.10), 0.20, 0.13), 0.10)
    back = ellipsoid(point, (0.0, -0.35, -0.50), (0.74, 0.80, 0.42))
    return join(join(cap, lock, 0.20), back, 0.15) + strand


SOLIDS: tuple[Callable[[Person, View, Vector], Numbers], ...] = (
    lambda p, view, point: skin_distance(p, view.smile, point),
    lambda p, view, point: clothes_distance(p, point),
    lambda p, view, point: hair_distance(p, point),
)
SKIN, CLOTHES, HAIR = range(3)
SOFTNESS = ((0.38, 0.16, 0.10), (0.05, 0.05, 0.05), (0.05, 0.05, 0.05))  # how far red, green, blue reach into shade


def scene(p: Person, view: View, point: Vector) -> Numbers:
    return np.minimum.reduce([solid(p, view, point) for solid in SOLIDS])


def into_head(vector: Vector, view: View) -> Vector:
    """From the camera's space to the head's: the view's yaw and pitch undone."""
    x, y, z = vector
    scale = 1.0 + view.yaw**2
    cos, sin = (1.0 - view.yaw**2) / scale, 2.0 * view.yaw / scale
    x, z = x * cos - z * sin, z * cos + x * sin
    scale = 1.0 + view.pitch**2
    cos, sin = (1.0 - view.pitch**2) / scale, 2.0 * view.pitch / scale
    return x, y * cos - z * sin, z * cos + y * sin


def rays(view: View, size: int) -> tuple[Vector, Vector]:
    """(origin, unit direction) of one ray per picture point, in head space."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size * 2.0 - 1.0
    across, down = np.broadcast_arrays(line[None, :], line[:, None])
    across, down = across.ravel() / np.float32(ZOOM), down.ravel() / np.float32(ZOOM)
    direction = unit((across, -down - np.float32(0.018), np.full_like(down, -1.0)))
    origin = tuple(np.full_like(down, item) for item in (0.0, -0.05, CAMERA))
    return into_head(origin, view), into_head(direction, view)


def along(origin: Vector, direction: Vector, distance: Numbers | float) -> Vector:
    return tuple(start + part * distance for start, part in zip(origin, direction, strict=True))


def pick(vector: Vector, chosen: NDArray) -> Vector:
    return vector[0][chosen], vector[1][chosen], vector[2][chosen]


def trace(p: Person, view: View, origin: Vector, direction: Vector) -> tuple[NDArray, Numbers]:
    """(numbers of the rays that hit, how far away)."""
    active = np.arange(len(origin[0]))
    distance = np.full(len(active), CAMERA - 1.3, np.float32)
    hit = np.zeros(len(active), bool)
    for _ in range(60):
        gap = scene(p, view, along(pick(origin, active), pick(direction, active), distance[active]))
        hit[active] = gap < 0.003
        distance[active] += gap * 0.85
        active = active[(gap >= 0.003) & (distance[active] < CAMERA + 1.5)]
    found = np.flatnonzero(hit)
    return found, distance[found]


def normal(solid: Callable[[Vector], Numbers], point: Vector, reach: float) -> Vector:
    slope = []
    for axis in range(3):
        ahead, behind = list(point), list(point)
        ahead[axis], behind[axis] = point[axis] + reach, point[axis] - reach
        slope.append(solid(tuple(ahead)) - solid(tuple(behind)))
    return unit(tuple(slope))


def dot(a: Vector, b: Vector) -> Numbers:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


class Paint:
    """Layers of colour over a solid."""

    def __init__(self, base: Colour, count: int) -> None:
        self.colour = [np.full(count, part, np.float32) for part in base]

    def over(self, colour: Colour, cover: Numbers) -> None:
        self.colour = [mix(under, part, cover) for under, part in zip(self.colour, colour, strict=True)]

    def times(self, colour: Colour, cover: Numbers) -> None:
        self.colour = [under * mix(1.0, part, cover) for under, part in zip(self.colour, colour, strict=True)]


def paint_eyes(p: Person, view: View, point: Vector, paint: Paint, front: Numbers) -> Numbers:
    """Returns where the surface is wet."""
    x, y, _ = point
    side = np.abs(x)
    u = (side - p.eye_x) / p.eye_w
    open_h = p.eye_h * (1.0 - 0.18 * view.smile)
    v = (y - 0.045 - p.eye_tilt * u) / open_h
    bow = 1.0 - u * u
    top, bottom = bow * (1.05 - 0.12 * u), -0.85 * bow * (1.0 + 0.15 * u) + 0.15 * view.smile * bow
    soft = 0.010 / open_h
    inside = step(0.0, soft, top - v) * step(0.0, soft, v - bottom) * step(1.02, 0.98, np.abs(u)) * front
    socket = step(2.3, 0.6, np.sqrt(u * u * 1.6 + (v * 0.55 - 0.3) ** 2)) * front
    paint.times((0.74, 0.60, 0.56), socket * 0.75)
    crease = step(0.30, 0.0, np.abs(v - top - 0.62 + 0.12 * u)) * step(1.15, 0.7, np.abs(u)) * front
    paint.times((0.50, 0.36, 0.32), crease * 0.7)
    paint.over((0.80, 0.75, 0.72), inside)
    dx, dy = (side - p.eye_x) / p.eye_w, (y - 0.050) / p.eye_w
    gaze = -0.55 * view.yaw
    radius = np.sqrt((dx - np.where(x > 0, gaze, -gaze)) ** 2 + dy * dy)
    iris = step(0.50, 0.44, radius) * inside
    paint.over(p.iris, iris)
    paint.over(tuple(part * 1.7 for part in p.iris), step(0.42, 0.24, radius) * iris * 0.8)
    paint.times((0.25, 0.25, 0.28), step(0.37, 0.48, radius) * iris)
    paint.over((0.006, 0.005, 0.005), step(0.22, 0.17, radius) * inside)
    paint.times((0.30, 0.27, 0.27), step(0.75, 0.0, (top - v)) * inside)
    paint.times((0.70, 0.55, 0.52), step(0.55, 1.0, np.abs(u)) * inside)
    lash = step(0.34 + 0.10 * p.long_hair, 0.06, np.abs(v - top - 0.10 - 0.12 * p.long_hair * step(0.2, 1.0, u)))
    lash = lash * step(1.14, 1.0, np.abs(u + 0.04)) * front
    paint.over((0.020, 0.012, 0.010), lash * (0.92 if p.long_hair else 0.6))
    under = step(0.22, 0.02, np.abs(v - bottom + 0.06)) * step(1.05, 0.8, np.abs(u)) * front
    paint.times((0.45, 0.32, 0.30), under * 0.65)
    light = 0.16 if view.lamp[0] > 0 else -0.16
    spark = step(0.13, 0.08, np.sqrt((dx * np.where(x > 0, 1, -1) - light) ** 2 + (dy - 0.17) ** 2)) * inside
    paint.over((1.3, 1.3, 1.3), spark)
    return inside


def paint_brows(p: Person, view: View, point: Vector, paint: Paint, front: Numbers) -> None:
    x, y, _ = point
    u = (np.abs(x) - 0.095) / (p.eye_x + p.eye_w + 0.035 - 0.095)
    centre = p.brow_y + 0.012 * view.smile + p.brow_arch * (1.0 - ((u - 0.62) / 0.62) ** 2) - 0.02
    v = (y - centre) / (p.brow_h * (1.15 - 0.75 * np.clip(u, 0.0, 1.0)))
    fibre = noise(u * 26.0 - v * 1.6, v * 1.2 + 9.0, 3)
    shape = step(1.25, 0.45, np.abs(v)) * step(-0.06, 0.10, u) * step(1.06, 0.90, u) * front
    paint.over(tuple(part * 0.55 for part in p.hair), shape * (0.62 + 0.38 * fibre) * 0.92)


def paint_mouth(p: Person, view: View, point: Vector, paint: Paint, front: Numbers) -> Numbers:
    """Returns where the surface is moist."""
    x, y, _ = point
    width = p.mouth_w * (1.0 + 0.16 * view.smile)
    u = x / width
    line = p.mouth_y + 0.05 * view.smile * u * u - 0.010 * (1.0 - np.clip(np.abs(u) * 3.2, 0.0, 1.0))
    v = (y - line) / p.lip_h
    bow = np.clip(1.0 - u * u, 0.0, 1.0)
    peak = np.clip(1.0 - np.abs(np.abs(u) - 0.22) * 3.5, 0.0, 1.0)
    top, bottom = 0.70 * bow + 0.16 * peak * bow, -1.12 * bow * (0.72 + 0.28 * bow)
    soft = 0.22
    inside = step(-soft, soft, top - v) * step(-soft, soft, v - bottom) * step(1.02, 0.92, np.abs(u)) * front
    upper = step(-0.05, 0.10, v)
    paint.over(p.lips, inside * 0.78)
    paint.times((0.78, 0.70, 0.70), inside * upper)
    paint.times((0.82, 0.74, 0.74), noise(u * 22.0, v * 0.6, 11) * inside * 0.5)
    if view.smile:
        teeth = step(0.02, 0.14, 0.30 * bow * view.smile - np.abs(v + 0.10)) * step(0.80, 0.66, np.abs(u)) * front
        paint.over((0.66, 0.62, 0.57), teeth)
        paint.times((0.45, 0.36, 0.34), teeth * step(0.10, 0.60, np.abs(u)))
        seam = step(0.26, 0.0, np.abs(np.abs(v + 0.10) - 0.30 * bow * view.smile))
    else:
        seam = step(0.22, 0.02, np.abs(v))
    seam = seam * step(1.10, 0.92, np.abs(u)) * front
    paint.over((0.070, 0.018, 0.016), seam * 0.85)
    corner = step(0.14, 0.0, np.sqrt((np.abs(u) - 1.04) ** 2 + (v * 0.25) ** 2)) * front
    paint.times((0.55, 0.42, 0.40), corner * 0.6)
    return inside


def paint_skin(p: Person, view: View, point: Vector) -> tuple[Paint, Numbers]:
    x, y, z = point
    side = np.abs(x)
    front = step(0.10, 0.30, z)
    paint = Paint(p.skin, len(x))
    mottle = noise(x * 16.0, y * 16.0, 1) * 0.6 + noise(x * 37.0, y * 37.0, 2) * 0.4
    paint.times((0.90, 0.86, 0.84), mottle * 0.7)
    blush = step(0.34, 0.05, np.sqrt((side - p.cheek) ** 2 + ((y + 0.20) * 1.2) ** 2)) * front
    paint.times((1.02, 0.78, 0.74), blush * (0.55 + 0.25 * view.smile))
    tip = step(0.20, 0.02, np.sqrt(x * x + (y - p.nose_y) ** 2)) * front
    paint.times((1.0, 0.84, 0.80), tip * 0.6)
    spots = dots(x * 26.0 + y * 3.0, y * 26.0 - x * 3.0, 30) + 0.7 * dots(x * 41.0, y * 41.0 + x * 5.0, 40)
    spread = step(0.40, 0.10, np.sqrt((side - 0.22) ** 2 * 0.7 + ((y + 0.13) * 1.7) ** 2)) * front
    paint.times((0.70, 0.52, 0.42), np.clip(spots, 0.0, 1.0) * spread * p.freckles)
    if not p.long_hair:
        beard = step(-0.20, -0.55, y + 0.18 * step(0.25, 0.6, side)) * front
        paint.times((0.60, 0.60, 0.64), beard * (0.55 + 0.35 * noise(x * 90.0, y * 60.0, 8)))
    fold = np.abs(side - (0.15 + (p.nose_y - y) * (0.42 + 0.10 * view.smile)))
    fold = step(0.035, 0.0, fold) * step(p.mouth_y - 0.02, p.mouth_y + 0.10, y) * front
    fold = fold * step(p.nose_y + 0.03, p.nose_y - 0.05, y)
    paint.times((0.70, 0.56, 0.52), fold * (0.30 + 0.5 * view.smile))
    hole = np.sqrt(((side - p.nose_w * 0.50) / (p.nose_w * 0.36)) ** 2 + ((y - p.nose_y + 0.075) / 0.026) ** 2)
    paint.over((0.10, 0.03, 0.025), step(1.25, 0.6, hole) * front * 0.85)
    wet = paint_mouth(p, view, point, paint, front) * 0.5
    wet = wet + paint_eyes(p, view, point, paint, front)
    paint_brows(p, view, point, paint, front)
    return paint, wet


def paint_hair(p: Person, point: Vector) -> Paint:
    x, y, z = point
    paint = Paint(p.hair, len(x))
    fine = noise(x * 40.0 + z * 33.0, y * 1.6, 6) * 0.6 + noise(x * 85.0 + z * 60.0, y * 2.5, 7) * 0.4
    paint.times((2.2, 2.0, 1.9), fine)
    return paint


def shadow(p: Person, view: View, point: Vector, light: Vector) -> Numbers:
    """1 in full light; a blocked ray darkens softly."""
    lit = np.ones(len(point[0]), np.float32)
    distance = np.full(len(lit), 0.05, np.float32)
    for _ in range(12):
        gap = scene(p, view, along(point, light, distance))
        lit = np.minimum(lit, np.clip(0.5 + 5.0 * gap / distance, 0.0, 1.0))
        distance = distance + np.clip(gap, 0.03, 0.20)
    return lit * lit * (3.0 - 2.0 * lit)


def openness(p: Person, view: View, point: Vector, outward: Vector) -> Numbers:
    """How much of the sky reaches a point: 1 in the open, less in hollows."""
    closed = np.zeros(len(point[0]), np.float32)
    for reach, share in ((0.04, 3.2), (0.10, 1.8), (0.22, 1.0)):
        closed = closed + np.clip(reach - scene(p, view, along(point, outward, reach)), 0.0, reach) * share
    return np.clip(1.0 - closed, 0.15, 1.0)


def power(base: Numbers, doublings: int) -> Numbers:
    """`base`, at least 0 and at most 1, to the power of 2 ** doublings."""
    value = np.clip(base, 0.0, 1.0)
    for _ in range(doublings):
        value = value * value
    return value


def surface(p: Person, view: View, point: Vector, index: int) -> tuple[Paint, Numbers]:
    """The paint of one solid, and where it is wet."""
    if index == SKIN:
        return paint_skin(p, view, point)
    if index == HAIR:
        return paint_hair(p, point), np.zeros_like(point[0])
    paint = Paint(p.clothes, len(point[0]))
    paint.times((1.5, 1.5, 1.5), noise(point[0] * 60.0, point[1] * 14.0, 9))
    return paint, np.zeros_like(point[0])


def hair_gloss(point: Vector, half: Vector, facing: Numbers) -> Numbers:
    """A band of light across the strands, broken up by them."""
    shift = noise(point[0] * 30.0 + point[2] * 25.0, point[1] * 1.2, 12) * 0.5 - 0.25
    return power(1.0 - (half[1] + shift) ** 2, 4) * np.clip(facing, 0.0, 1.0) * 1.8


def shade(p: Person, view: View, point: Vector, ray: Vector, index: int) -> NDArray:
    """Linear light [N, 3] that points of one solid send back along their rays."""
    reach = 0.012 if index == HAIR else 0.006
    outward = normal(lambda at: SOLIDS[index](p, view, at), point, reach)
    lamp = into_head(unit(tuple(np.full_like(ray[0], item) for item in view.lamp)), view)
    paint, wet = surface(p, view, point, index)
    facing, lit = dot(outward, lamp), shadow(p, view, along(point, outward, 0.01), lamp)
    open_sky = openness(p, view, point, outward)
    half = unit(tuple(light - part for light, part in zip(lamp, ray, strict=True)))
    edge = 1.0 + dot(outward, ray)
    shine = power(dot(outward, half), 4) * 0.10 + power(dot(outward, half), 7) * wet * 0.8
    band = hair_gloss(point, half, facing) * lit
    channels = []
    for number, soft in enumerate(SOFTNESS[index]):
        direct = np.clip((facing + soft) / (1.0 + soft), 0.0, 1.0) * mix(lit, 1.0, soft * 0.35)
        sky = view.sky[number] * open_sky * (0.75 + 0.25 * outward[1])
        rim = view.rim[number] * edge * edge * edge * open_sky
        value = paint.colour[number] * (direct * view.lamp_colour[number] * 1.08 + sky + rim)
        if index == SKIN:
            value = value + shine * lit * view.lamp_colour[number]
        elif index == HAIR:
            value = value + band * (paint.colour[number] + 0.02)
        channels.append(value)
    return np.stack(channels, axis=1)


def light_up(p: Person, view: View, point: Vector, ray: Vector) -> NDArray:
    kind = np.stack([solid(p, view, point) for solid in SOLIDS]).argmin(axis=0)
    light = np.zeros((len(kind), 3), np.float32)
    for index in range(len(SOLIDS)):
        chosen = np.flatnonzero(kind == index)
        if len(chosen):
            light[chosen] = shade(p, view, pick(point, chosen), pick(ray, chosen), index)
    return light


def backdrop(view: View, size: int) -> NDArray:
    line = (np.arange(size, dtype=np.float32) + 0.5) / size * 2.0 - 1.0
    x, y = np.broadcast_arrays(line[None, :], line[:, None])
    part = step(0.1, 1.5, np.sqrt((x + 0.15) ** 2 + (y + 0.2) ** 2)).ravel()
    grain = noise(x.ravel() * 3.0, y.ravel() * 3.0, 21) * 0.10 + 0.95
    middle, edge = view.backdrop
    return np.stack([mix(a, b, part) * grain for a, b in zip(middle, edge, strict=True)], axis=1)


def picture(p: Person, view: View, size: int = SIZE, oversample: int = OVERSAMPLE) -> Image.Image:
    points = size * oversample
    light = backdrop(view, points)
    origin, direction = rays(view, points)
    for start in range(0, points * points, 1 << 15):
        chunk = slice(start, start + (1 << 15))
        some, ways = pick(origin, chunk), pick(direction, chunk)
        found, distance = trace(p, view, some, ways)
        if len(found):
            ways = pick(ways, found)
            light[start + found] = light_up(p, view, along(pick(some, found), ways, distance), ways)
    pixels = np.sqrt(np.clip(light, 0.0, 1.0)) * 255.0 + 0.5
    image = Image.fromarray(pixels.astype(np.uint8).reshape(points, points, 3))
    return image.resize((size, size), Image.Resampling.BOX) if oversample > 1 else image


def draw(out: Path) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (person, view) in PICTURES.items():
        picture(person, view).save(out / name, optimize=True)
        written.append(out / name)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    for path in draw(parser.parse_args().out):
        print(f"{path.stat().st_size / 1e3:8.1f} kB  {path}")


if __name__ == "__main__":
    main()
