"""Thumbnails of the example graphs 10 and on: the sample character, drawn as each graph would change her."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import draw_sample as sample
import numpy as np
from draw_sample import MARA, NIGHT, TOMAS, WARM, Person, View
from PIL import Image, ImageDraw, ImageFilter

from likeness.images import RGB8

SIZE = 400  # px, square
GREEN, RED = (46, 125, 50), (198, 40, 40)
FRONT = View()
PARK = ((0.52, 0.62, 0.36), (0.16, 0.30, 0.12))
SEA = ((0.62, 0.76, 0.82), (0.16, 0.40, 0.55))
SUNSET = ((0.85, 0.52, 0.26), (0.30, 0.10, 0.16))
SWEATERS = ((0.030, 0.140, 0.150), (0.300, 0.030, 0.040), (0.330, 0.300, 0.050), (0.040, 0.040, 0.050))
LEFT_RED = np.array([-1.0, 1.0, 1.0])  # ControlNet's normalbae: red to the left, green up, blue to the viewer
PERSON, WALL = (150, 5, 61), (120, 120, 120)  # the colours that ADE20K's classes have
JOINTS = {  # px of SIZE
    "nose": (200, 215),
    "neck": (200, 330),
    "left": (80, 372),
    "right": (320, 372),
    "eye left": (166, 172),
    "eye right": (234, 172),
    "ear left": (116, 190),
    "ear right": (284, 190),
}
BONES = (  # (joint, joint, colour), as OpenPose draws them
    ("neck", "left", (255, 85, 0)),
    ("neck", "right", (255, 0, 0)),
    ("neck", "nose", (0, 0, 255)),
    ("nose", "eye left", (85, 0, 255)),
    ("nose", "eye right", (255, 0, 255)),
    ("eye left", "ear left", (170, 0, 255)),
    ("eye right", "ear right", (255, 0, 170)),
)


@cache
def drawn(person: Person = MARA, view: View = FRONT, size: int = SIZE) -> Image.Image:
    return sample.picture(person, view, size)


def wearing(index: int, view: View = FRONT, size: int = SIZE) -> Image.Image:
    return drawn(replace(MARA, clothes=SWEATERS[index]), view, size)


def tiles(pictures: Sequence[Image.Image], across: int = 2) -> Image.Image:
    side = -(-SIZE // across)
    sheet = Image.new("RGB", (side * across, side * across), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (i % across * side, i // across * side))
    return sheet


def halves(left: Image.Image, right: Image.Image) -> Image.Image:
    """One picture, seen in two ways."""
    both = right.resize((SIZE, SIZE)).copy()
    both.paste(left.resize((SIZE, SIZE)).crop((0, 0, SIZE // 2, SIZE)), (0, 0))
    ImageDraw.Draw(both).line((SIZE // 2, 0, SIZE // 2, SIZE), "white", 4)
    return both


def framed(picture: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    framed = picture.copy()
    ImageDraw.Draw(framed).rectangle((0, 0, framed.width - 1, framed.height - 1), outline=colour, width=14)
    return framed


# ---- maps


@cache
def surface() -> tuple[np.ndarray, np.ndarray]:
    """(distance, 0 where there is nothing, unit normals) of every pixel."""
    origin, direction = sample.rays(FRONT, SIZE)
    found, distance = sample.trace(MARA, FRONT, origin, direction)
    point = sample.along(sample.pick(origin, found), sample.pick(direction, found), distance)
    outward = np.stack(sample.normal(lambda at: sample.scene(MARA, FRONT, at), point, 0.01), axis=1)
    depth, normals = np.zeros(SIZE * SIZE), np.tile((0.0, 0.0, 1.0), (SIZE * SIZE, 1))
    depth[found], normals[found] = distance, outward
    return depth.reshape(SIZE, SIZE), normals.reshape(SIZE, SIZE, 3)


def depth_map() -> Image.Image:
    depth, _ = surface()
    near, far = depth[depth > 0].min(), depth.max()
    shade = np.where(depth > 0, 255.0 - 190.0 * (depth - near) / (far - near), 0.0)
    return Image.fromarray(shade.astype(np.uint8)).convert("RGB")


def normal_map() -> Image.Image:
    return Image.fromarray(((surface()[1] * LEFT_RED * 0.5 + 0.5) * 255.0).astype(np.uint8))


def segmentation_map() -> Image.Image:
    return Image.fromarray(np.where(surface()[0][..., None] > 0, PERSON, WALL).astype(np.uint8))


def edge_map() -> Image.Image:
    seen = np.asarray(drawn().convert("L").filter(ImageFilter.GaussianBlur(1.2))).astype(float)
    down, across = np.gradient(seen)
    return Image.fromarray(((np.hypot(down, across) > 9) * 255).astype(np.uint8)).convert("RGB")


def pose_map() -> Image.Image:
    figure = Image.new("RGB", (SIZE, SIZE))
    pen = ImageDraw.Draw(figure)
    for one, other, colour in BONES:
        pen.line((*JOINTS[one], *JOINTS[other]), colour, 10)
    for x, y in JOINTS.values():
        pen.ellipse((x - 8, y - 8, x + 8, y + 8), (255, 230, 80))
    return figure


# ---- pictures by graph


def quick() -> Image.Image:
    picture = drawn(MARA, View(smile=1.0, yaw=0.04, backdrop=PARK)).copy()
    card = framed(drawn().resize((130, 130), Image.Resampling.LANCZOS), (255, 255, 255))
    picture.paste(card, (14, SIZE - 144))
    return picture


def proposals() -> Image.Image:
    other = replace(MARA, hair=(0.02, 0.016, 0.012), skin=(0.42, 0.22, 0.14), jaw=0.40, chin=-0.84, freckles=0.0)
    third = replace(TOMAS, hair=(0.42, 0.30, 0.12), iris=(0.10, 0.16, 0.30), clothes=SWEATERS[2])
    fourth = replace(MARA, hair=(0.32, 0.30, 0.28), jaw=0.43, brow_arch=0.02, clothes=SWEATERS[3])
    return tiles([drawn(person, FRONT, 200) for person in (MARA, other, third, fourth)])


def detailed() -> Image.Image:
    soft = drawn().filter(ImageFilter.GaussianBlur(4))
    return halves(soft, drawn())


def turned() -> Image.Image:
    views = (
        *(View(yaw=yaw) for yaw in (-0.30, 0.0, 0.30)),
        *(View(yaw=yaw, smile=1.0, backdrop=WARM) for yaw in (-0.12, 0.0, 0.12)),
        View(pitch=0.12, backdrop=SEA),
        View(yaw=-0.5, backdrop=PARK),
        View(pitch=-0.1, backdrop=NIGHT),
    )
    return tiles([wearing(i % 3, view, 140) for i, view in enumerate(views)], 3)


def sorted_out() -> Image.Image:
    people = ((MARA, GREEN), (replace(MARA, jaw=0.44, nose_w=0.14, iris=(0.1, 0.05, 0.02)), RED))
    row = [framed(drawn(person, FRONT, 200), colour) for person, colour in people]
    other = [framed(drawn(TOMAS, FRONT, 200), RED), framed(drawn(MARA, View(yaw=0.12, smile=1.0), 200), GREEN)]
    return tiles([*row, *other])


def enlarged() -> Image.Image:
    small = drawn().resize((40, 40), Image.Resampling.BOX).resize((SIZE, SIZE), Image.Resampling.NEAREST)
    return halves(small, drawn())


def frames() -> Image.Image:
    strip = Image.new("RGB", (SIZE, SIZE), (24, 24, 24))
    pen, side = ImageDraw.Draw(strip), 120
    for row, start in enumerate((14, 142, 270)):
        for i in range(3):
            number = 3 * row + i
            picture = drawn(MARA, View(yaw=-0.2 + 0.05 * number, smile=number / 8, backdrop=SEA), 130)
            strip.paste(picture.resize((side, side - 8), Image.Resampling.LANCZOS), (12 + i * 128, start))
    for x in range(6, SIZE, 26):
        for y in (3, SIZE - 11):
            pen.rectangle((x, y, x + 12, y + 7), (230, 230, 230))
    return strip


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "10 Quick FaceID test": quick,
    "11 Outfits": lambda: tiles([wearing(i, FRONT, 200) for i in range(4)]),
    "12 Backgrounds": lambda: tiles([drawn(MARA, View(backdrop=b), 200) for b in (PARK, SEA, SUNSET, NIGHT)]),
    "13 Pose with ControlNet": lambda: halves(pose_map(), wearing(1, View(backdrop=SEA))),
    "14 Depth with ControlNet": lambda: halves(depth_map(), wearing(2, View(backdrop=WARM))),
    "15 Canny with ControlNet": lambda: halves(edge_map(), wearing(3, View(backdrop=NIGHT))),
    "16 Segmentation with ControlNet": lambda: halves(segmentation_map(), wearing(1, View(backdrop=PARK))),
    "17 Normals with ControlNet": lambda: halves(normal_map(), wearing(2, View(backdrop=SUNSET))),
    "18 Expressions": lambda: tiles(
        [drawn(MARA, View(smile=s, pitch=p), 200) for s, p in ((0.0, 0.0), (1.0, 0.0), (0.5, 0.1), (0.0, -0.12))]
    ),
    "19 Base images from a description": proposals,
    "20 Base image to character": detailed,
    "21 Character sheet": turned,
    "22 Score and gate": sorted_out,
    "23 Upscale with the face kept": enlarged,
    "24 Edit a part with the face kept": lambda: halves(drawn(), wearing(1)),
    "25 SDXL": lambda: wearing(3, View(yaw=0.08, smile=0.6, backdrop=SUNSET)),
    "26 Flux.2 without FaceID": lambda: drawn(MARA, replace(sample.EVENING, backdrop=NIGHT)),
    "27 Video with Wan": frames,
}


def pictures() -> dict[str, RGB8]:
    """Thumbnail by title of the graph."""
    return {title: np.asarray(make().convert("RGB")) for title, make in PICTURES.items()}
