"""Where a face is drawn anew, and how what was drawn comes back into the picture.

    face -> head_around -> window_around -> working_size      what is cut out, and how large the model draws it
    soft_oval -> matched -> pasted                            the way back; what lies outside the oval stays bit for bit
    lost                                                      why the new face is not taken

A mask is float32 [H, W] in 0..1. Pixels are float32 [H, W, C] in 0..1, as ComfyUI passes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from .dataset.crop import ABOVE, BELOW, BESIDE, TILTED
from .faces.face import Face, same_face
from .scoring import FaceScore, Score

Mask = NDArray[np.float32]
Pixels = NDArray[np.float32]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom; px; may leave the picture
Size = tuple[int, int]  # width, height; px

MIN_SIDE = 64  # px; the smallest that UNets halve without a rest
TOO_LARGE = 2.0  # working sizes; a head drawn much larger than a model was trained for gets a second face
ANY_DROP = 2.0  # no cosine can fall further
MAX_SHIFT = 0.1  # of the colour range; what differs more is no tint but another picture
ROUNDING = 1e-6  # 681 * (768 / 681) is a little more than 768
ROUND = 3.0  # exponent of the oval (Lamé curve): 2 is an ellipse, which cuts off jaws; larger ones are squarer


@dataclass(frozen=True)
class Window:
    """A part of a picture. All of it lies inside."""

    left: int  # px
    top: int  # px
    width: int  # px, at least 1
    height: int  # px, at least 1

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.width)

    def shares(self, size: Size) -> Rectangle:
        """The same in shares of a picture of that size, 0..1."""
        width, height = size
        right, bottom = self.left + self.width, self.top + self.height
        return self.left / width, self.top / height, right / width, bottom / height


@dataclass(frozen=True)
class Drawing:
    """How large the model draws a window. `reason` is why it should not."""

    width: int  # px
    height: int  # px
    scale: float  # pixels drawn per pixel of the picture, about
    reason: str = ""


def face_box(face: Face) -> Rectangle:
    left, top, right, bottom = (float(v) for v in face.box)
    return left, top, right, bottom


def head_around(face: Face) -> Rectangle:
    """The head with its hair. It leaves the picture where the head does. See `dataset.crop` for the shares."""
    left, top, right, bottom = face_box(face)
    if abs(face.pose.roll) > TILTED:
        return grown(face_box(face), max(right - left, bottom - top) * ABOVE)
    across, down = (right - left) * BESIDE, bottom - top
    return left - across, top - down * ABOVE, right + across, bottom + down * BELOW


def grown(box: Rectangle, by: float) -> Rectangle:
    """Larger by that many px on every side; smaller where it is negative, down to a pixel."""
    left, top, right, bottom = box
    across, down = max(by, (left - right + 1) / 2), max(by, (top - bottom + 1) / 2)
    return left - across, top - down, right + across, bottom + down


def window_around(head: Rectangle, size: Size, factor: float) -> Window | None:
    """The square `factor` times as long as the head, moved into the picture and cut where it is larger.

    It holds the head as far as the picture does (`factor` >= 1). None for a head outside the picture.
    """
    (width, height), (left, top, right, bottom) = size, head
    if right <= 0 or bottom <= 0 or left >= width or top >= height or right <= left or bottom <= top:
        return None
    side = max(right - left, bottom - top) * max(factor, 1.0)
    first, across = _placed(left, right, side, width)
    upper, down = _placed(top, bottom, side, height)
    return Window(first, upper, across, down)


def _placed(low: float, high: float, side: float, length: int) -> tuple[int, int]:
    """Start and length of a span around low..high, px; within 0..length."""
    low, high = max(low, 0.0), min(high, float(length))
    span = min(max(ceil(side), 1), length)
    start = min(max(round((low + high - span) / 2), 0), length - span)
    start = min(start, int(low))  # rounding must not cut what the span has room for
    end = max(start + span, min(ceil(high), length))
    return start, end - start


def working_size(window: Window, longest: int, limit: float, multiple: int = 8) -> Drawing:
    """A window is enlarged until its longer side is `longest` px, `limit` times at most, and never shrunk: what is
    drawn smaller comes back blurred. Sides are multiples of `multiple` px."""
    side = max(window.width, window.height)
    scale = max(min(longest / side, limit), 1.0)
    cells = (ceil(v * scale / multiple - ROUNDING) for v in (window.width, window.height))
    width, height = (max(n, ceil(MIN_SIDE / multiple)) for n in cells)
    drawing = Drawing(width * multiple, height * multiple, scale)
    if side > longest * TOO_LARGE:
        return replace(drawing, reason=_too_large(side, longest))
    return drawing


def _too_large(side: int, longest: int) -> str:
    return (
        f"its surroundings are {side} px wide, more than {TOO_LARGE:g} times the working size of {longest} px: it is "
        "detailed enough, or raise the working size"
    )


def soft_oval(size: Size, box: Rectangle, feather: float) -> Mask:
    """[H, W]: 0 outside the oval in `box`, 1 from `feather` px inside of it.

    The edge of the picture does not fade: there is nothing to blend with beyond it. A feather longer than the oval
    allows is shortened.
    """
    (width, height), (left, top, right, bottom) = size, box
    half_width, half_height = max((right - left) / 2, 0.5), max((bottom - top) / 2, 0.5)
    across = np.abs(np.arange(width) + 0.5 - (left + right) / 2) / half_width
    down = np.abs(np.arange(height) + 0.5 - (top + bottom) / 2) / half_height
    radius = (across[None, :] ** ROUND + down[:, None] ** ROUND) ** (1 / ROUND)
    shorter = min(half_width, half_height)
    inside = (1.0 - radius) * shorter  # px to the edge, about
    t = np.clip(inside / max(min(feather, shorter), 1.0), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def soft_oval_in(window: Window, box: Rectangle, feather: float) -> Mask:
    """The window's part [h, w] of the `soft_oval` in a box of the whole picture."""
    left, top, right, bottom = box
    moved = (left - window.left, top - window.top, right - window.left, bottom - window.top)
    return soft_oval((window.width, window.height), moved, feather)


def seen(picture: Pixels, window: Window) -> tuple[Pixels, Mask]:
    """The window of a picture [H, W, 1|3|4] as it is seen, float32 [h, w, 3] in 0..1, and how opaque it is [h, w].

    Transparent parts are on mid grey, as face models are shown them; NaN counts as black.
    """
    part = np.nan_to_num(picture[window.rows, window.columns], nan=0.0, posinf=1.0, neginf=0.0).clip(0.0, 1.0)
    if part.shape[2] < 4:
        return np.repeat(part[:, :, :1], 3, axis=2) if part.shape[2] < 3 else part, np.ones_like(part[:, :, 0])
    opacity = part[:, :, 3]
    return part[:, :, :3] * opacity[:, :, None] + 0.5 * (1.0 - opacity[:, :, None]), opacity


def matched(drawn: Pixels, before: Pixels, mask: Mask) -> Pixels:
    """`drawn` with the tint that it has got on the way taken off, so that no patch shows.

    Both [H, W, 3]. The tint is the mean difference where the two are blended half and half: an encoder that shifts
    colours shifts them there, too. At most `MAX_SHIFT`; nothing where there is no edge.
    """
    edge = mask * (1.0 - mask)
    total = float(edge.sum())
    if total <= 0:
        return drawn
    shift = ((before - drawn) * edge[:, :, None]).sum(axis=(0, 1)) / total
    return np.asarray(np.clip(drawn + np.clip(shift, -MAX_SHIFT, MAX_SHIFT), 0.0, 1.0), dtype=np.float32)


def pasted(picture: Pixels, drawn: Pixels, mask: Mask, window: Window) -> Pixels:
    """A copy of the picture [H, W, 1|3|4] with `drawn` [h, w, 3] in the window, under the mask [h, w].

    Where the mask is 0, and in the fourth channel, every bit stays.
    """
    out = picture.copy()
    part = out[window.rows, window.columns, :3]
    drawn = drawn.mean(axis=2, keepdims=True) if part.shape[2] < 3 else drawn
    under = np.nan_to_num(part)
    mixed = under + (drawn - under) * mask[:, :, None]
    part[...] = np.where(mask[:, :, None] > 0, mixed, part)
    return out


def usable(drawn: Pixels) -> bool:
    """Whether a picture is made of numbers: a VAE in half precision may give NaN."""
    return bool(np.isfinite(drawn).all())


def chosen_after(before: Score, after: Score) -> FaceScore | None:
    """The face at the place of the one that was judged before; None where it is gone."""
    if before.chosen is None:
        return None
    found = same_face(before.chosen.face, [f.face for f in after.faces])
    return next((f for f in after.faces if f.face is found), None)


def unchecked(before: Score, tolerance: float) -> str:
    """Why a likeness cannot be watched over in a picture, or ""."""
    if before.chosen is None:
        return before.reason or "no face was found in the picture"
    if tolerance >= ANY_DROP or before.chosen.measurable:
        return ""
    return before.reason


def lost(before: Score, after: Score, tolerance: float) -> str:
    """Why the refined picture is not to be taken, or "". `tolerance`: cosine, by which the likeness may fall."""
    if tolerance >= ANY_DROP:
        return ""
    was, now = before.chosen, chosen_after(before, after)
    if was is None:
        return before.reason
    if now is None:
        return "the face was not found any more"
    if not now.measurable:
        return f"the face could not be measured any more: {now.reason}"
    if _by_look(was) or _by_look(now):
        return "its look would be another character's" if _refused(was, now) else ""
    if was.similarity - now.similarity > tolerance:
        return f"the similarity would fall from {was.similarity:.3f} to {now.similarity:.3f}"
    if was.second is not None and (now.second is None or was.second - now.second > tolerance):
        found = "nothing" if now.second is None else f"{now.second:.3f}"
        return f"the second encoder's similarity would fall from {was.second:.3f} to {found}"
    if _refused(was, now):
        return f"it would no longer be accepted: {now.reason}"
    return ""


def _refused(was: FaceScore, now: FaceScore) -> bool:
    return was.verdict == "accepted" and now.verdict != "accepted"


def _by_look(score: FaceScore) -> bool:
    """Whether a look decided, since no face encoder can."""
    return score.look is not None and score.look.same is not None
