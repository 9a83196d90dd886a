"""The failure ladder: what to try when the detector finds nothing, or finds something doubtful.

The detector misses faces that fill the picture, and on a turned face it gives wrong points with a fair
score, which gives a stranger's embedding. So, in this order, version 1 of `Pipeline.ladder`:

1. the picture at each size (640, 256);
2. on mid grey, widened by 25, 50 and 100 % of its longer side on every side, at each size;
3. where the first size found nothing, or its best score is below .72, or that face is rolled by more than
   25 degrees: the quarter turns. In each, the best face is turned upright around its centre and detected
   again, and the turn with the best score then wins: a wrong turn may win before that, but hardly after;
4. every other face that is rolled by more than 25 degrees: turned upright and detected again.

Whatever is shown to the detector, faces come back in px of the picture as given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..images import BACKDROP, RGB8
from .align import Matrix, compose, inverse, move, scale_of, warp
from .face import Vector
from .measure import pose_of
from .scrfd import Detections

VERSION = 1  # Pipeline.ladder; raise it with every change that can move a box or a point
PADS = (25, 50, 100)  # % of the longer side, added on every side
SURE_SCORE = 0.72
SURE_ROLL = 25.0  # degrees
KEEP_SCORE = 0.9  # a face turned upright must keep this share of its score, or it stays as it was
MAX_LEVELLED = 8  # faces per picture that are turned upright one by one

Look = Callable[[RGB8, int], Detections]  # (picture, size in px) -> faces in px of that picture


@dataclass(frozen=True)
class Sighting:
    """One face as found, in px of the picture as given."""

    box: Vector  # float32 [4]: left, top, right, bottom
    keypoints: Vector  # float32 [5, 2]
    score: float  # 0..1
    width: float  # px of the picture, across the upright face
    rung: str

    @property
    def roll(self) -> float:
        return pose_of(self.keypoints).roll

    @property
    def centre(self) -> NDArray[np.float64]:
        return (self.box[:2].astype(np.float64) + self.box[2:]) / 2


@dataclass(frozen=True, eq=False)
class Frame:
    """What the detector is shown."""

    image: RGB8
    matrix: Matrix  # picture px -> frame px
    size: int  # px, the detector's input
    rung: str


@dataclass(frozen=True)
class _Try:
    frame: Frame
    found: tuple[Sighting, ...]  # one or more


def find(picture: RGB8, sizes: Sequence[int], look: Look) -> tuple[Sighting, ...]:
    """All faces by the ladder; () when no rung finds one."""
    views = [Frame(picture, _identity(), size, str(size)) for size in sizes]
    first = _first_hit(views, picture, look)
    if first is not None and first.frame.rung == views[0].rung and _is_sure(_best(first.found)):
        return _level(picture, first, {}, look)
    frames = views if first is None or first.frame in views else [*views, first.frame]
    tries = [first] if first is not None else []
    tries += [t for frame in frames for turn in _quarter_turns(frame) if (t := _try(turn, look)) is not None]
    upright = [_levelled(picture, t.frame, _best(t.found), look) for t in tries]
    if not tries:
        return ()
    winner = max(range(len(tries)), key=lambda i: upright[i].score)
    best = _best(tries[winner].found)
    return _level(picture, tries[winner], {id(best): upright[winner]}, look)


def look_once(picture: RGB8, size: int, look: Look) -> tuple[Sighting, ...]:
    """The faces at one size, without the ladder."""
    return sight(Frame(picture, _identity(), size, str(size)), look)


def sight(frame: Frame, look: Look) -> tuple[Sighting, ...]:
    """Show a frame to the detector and bring what it finds back into the picture."""
    seen = look(frame.image, frame.size)
    back = inverse(frame.matrix)
    return tuple(
        Sighting(
            _moved_box(box, back),
            move(points, back),
            float(score),
            float(box[2] - box[0]) * scale_of(back),
            frame.rung,
        )
        for box, points, score in zip(seen.boxes, seen.keypoints, seen.scores, strict=True)
    )


def _try(frame: Frame, look: Look) -> _Try | None:
    found = sight(frame, look)
    return _Try(frame, found) if found else None


def _first_hit(views: Sequence[Frame], picture: RGB8, look: Look) -> _Try | None:
    for frame in _upright_frames(views, picture):
        hit = _try(frame, look)
        if hit is not None:
            return hit
    return None


def _upright_frames(views: Sequence[Frame], picture: RGB8) -> Iterator[Frame]:
    yield from views
    for percent in PADS:
        for view in views:
            yield _padded(picture, view.size, percent)


def _padded(picture: RGB8, size: int, percent: int) -> Frame:
    height, width = picture.shape[:2]
    border = max(height, width) * percent / 100
    scale = size / (max(height, width) + 2 * border)
    matrix = np.array([[scale, 0, border * scale], [0, scale, border * scale]])
    return Frame(warp(picture, matrix, size, BACKDROP[0]), matrix, size, f"{size}+pad{percent}")


def _quarter_turns(frame: Frame) -> Iterator[Frame]:
    """The frame turned counter-clockwise by 90, 180 and 270 degrees."""
    for quarters in (1, 2, 3):
        height, width = frame.image.shape[:2]
        turn = {
            1: np.array([[0.0, 1, 0], [-1, 0, width - 1]]),
            2: np.array([[-1.0, 0, width - 1], [0, -1, height - 1]]),
            3: np.array([[0.0, -1, height - 1], [1, 0, 0]]),
        }[quarters]
        image = np.rot90(frame.image, quarters)
        yield Frame(image, compose(turn, frame.matrix), frame.size, f"{frame.rung}+turn{90 * quarters}")


def _level(picture: RGB8, seen: _Try, done: dict[int, Sighting], look: Look) -> tuple[Sighting, ...]:
    """Replace rolled faces, the largest first, by what the detector says of them when they are upright."""
    rolled = sorted((s for s in seen.found if id(s) not in done and _is_rolled(s, seen.frame)), key=lambda s: -s.width)
    levelled = {id(s): _levelled(picture, seen.frame, s, look) for s in rolled[:MAX_LEVELLED]} | done
    return tuple(levelled.get(id(s), s) for s in seen.found)


def _levelled(picture: RGB8, seen_in: Frame, face: Sighting, look: Look) -> Sighting:
    """The face as detected upright in the middle of a frame of the same scale; `face` where that fails."""
    scale = scale_of(seen_in.matrix) * seen_in.size / max(seen_in.image.shape[:2])
    angle = math.radians(-face.roll)
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle, centre = np.full(2, (seen_in.size - 1) / 2), face.centre
    matrix = np.hstack([linear, (middle - linear @ centre)[:, None]])
    frame = Frame(warp(picture, matrix, seen_in.size, BACKDROP[0]), matrix, seen_in.size, f"{face.rung}+level")
    same = [s for s in sight(frame, look) if np.hypot(*(s.centre - centre)) < face.width / 2]
    best = max(same, key=lambda s: s.score, default=face)
    return best if best.score >= face.score * KEEP_SCORE else face


def _best(found: Sequence[Sighting]) -> Sighting:
    return max(found, key=lambda s: s.score)


def _is_sure(face: Sighting) -> bool:
    return face.score >= SURE_SCORE and abs(face.roll) <= SURE_ROLL


def _is_rolled(face: Sighting, frame: Frame) -> bool:
    """Rolled in the frame that it was seen in."""
    return abs(pose_of(move(face.keypoints, frame.matrix)).roll) > SURE_ROLL


def _identity() -> Matrix:
    return np.array([[1.0, 0, 0], [0, 1, 0]])


def _moved_box(box: Vector, matrix: Matrix) -> Vector:
    """The box around the ellipse that fills `box`, after a similarity: exact for quarter turns."""
    centre = move((box[:2].astype(np.float64) + box[2:]) / 2, matrix)
    half = np.abs(box[2:].astype(np.float64) - box[:2]) / 2
    reach = np.sqrt((matrix[:, :2] ** 2) @ half**2)
    return np.concatenate([centre - reach, centre + reach]).astype(np.float32)
