"""Geometry of the face: five points -> similarity -> aligned crop, with OpenCV's own rounding.

InsightFace's models are used with OpenCV's `resize` and `warpAffine`. A resize that is only similar
(Pillow's, for one) moves the embedding to a cosine of .95 against InsightFace; these functions give
OpenCV 5's pixels: `resize` the same ones, `warp` at most one grey level off in one pixel of a thousand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..images import RGB8

Matrix = NDArray[np.float64]  # float64 [2, 3]: (x, y, 1) in source px -> (x, y) in target px; pixel centres at integers
Points = NDArray[np.float32]  # float32 [..., 2]: x, y; px

TEMPLATE_SIZE = 112  # px
WIDE_SIZE, WIDE_MARGIN = 128, 8  # px; the wider frame: the same template, moved 8 px to the right and none down
# Where eyes, nose and mouth corners lie in a 112 px aligned face: insightface/utils/face_align.py, arcface_dst.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float64,
)
_STRIP = 32  # lines that are computed together, so that what is between two steps stays in the cache
_WEIGHT = 2048  # OpenCV: INTER_RESIZE_COEF_SCALE, weights of a resize have 11 bits


def similarity(points: Points, size: int = TEMPLATE_SIZE) -> Matrix:
    """The rotation, scale and shift that brings five points nearest to the template of a `size` px crop.

    Least squares after Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", PAMI 1991, equations 38 to 43. The frame of a multiple of 112 px is the recogniser's; that of a multiple
    of 128 px is wider and shows more around the face, so 256 px are not 224 px enlarged.
    """
    source = np.asarray(points, dtype=np.float64)
    target = _template(size)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source, target = source - source_mean, target - target_mean
    u, sigma, vt = np.linalg.svd(target.T @ source / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = u @ np.diag(sign) @ vt
    variance = source.var(axis=0).sum()
    scale = float(sigma @ sign) / variance if variance > 0 else 1.0
    linear = scale * rotation
    return np.hstack([linear, (target_mean - linear @ source_mean)[:, None]])


def _template(size: int) -> NDArray[np.float64]:
    """Where the five points belong in a `size` px crop: insightface/utils/face_align.py, estimate_norm."""
    if size % TEMPLATE_SIZE == 0:
        return TEMPLATE * (size / TEMPLATE_SIZE)
    if size % WIDE_SIZE == 0:
        return (TEMPLATE + np.array([WIDE_MARGIN, 0])) * (size / WIDE_SIZE)
    raise ValueError(f"an aligned crop of {size} px has no template: use a multiple of {TEMPLATE_SIZE} or {WIDE_SIZE}.")


def compose(outer: Matrix, inner: Matrix) -> Matrix:
    """`inner` first, then `outer`."""
    return (np.vstack([outer, [0, 0, 1]]) @ np.vstack([inner, [0, 0, 1]]))[:2]


def inverse(matrix: Matrix) -> Matrix:
    linear = np.linalg.inv(matrix[:, :2])
    return np.hstack([linear, -linear @ matrix[:, 2:]])


def scale_of(matrix: Matrix) -> float:
    """Target px per source px of a similarity."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def move(points: Points, matrix: Matrix) -> Points:
    """Points of the source as points of the target, float32 [..., 2]."""
    return (np.asarray(points, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def align(image: RGB8, points: Points, size: int = TEMPLATE_SIZE) -> RGB8:
    """The face of five points as an upright crop, uint8 [size, size, 3]; black beyond the picture."""
    return warp(image, similarity(points, size), size)


def seen_by(points: Points, shape: tuple[int, ...], size: int = TEMPLATE_SIZE) -> NDArray[np.bool_]:
    """bool [size, size]: which pixels of `align` lie inside a picture of that shape."""
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1)
    x, y = np.moveaxis(move(grid, inverse(similarity(points, size))), -1, 0)
    return (x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1)


def warp(image: RGB8, matrix: Matrix, size: int, fill: int = 0) -> RGB8:
    """uint8 [size, size, 3]: `cv2.warpAffine(image, matrix, (size, size), borderValue=fill)`, bilinear.

    As OpenCV 5 computes it: coordinates and weights in float32, rounded once at the end.
    """
    m = inverse(matrix).astype(np.float32)
    step = np.arange(size, dtype=np.float32)
    x = step[None, :] * m[0, 0] + (step[:, None] * m[0, 1] + m[0, 2])
    y = step[None, :] * m[1, 0] + (step[:, None] * m[1, 1] + m[1, 2])
    out = np.empty((size, size, 3), dtype=np.uint8)
    for start in range(0, size, _STRIP):
        strip = slice(start, start + _STRIP)
        out[strip] = _sample(image, x[strip], y[strip], fill)
    return out


def _sample(image: RGB8, x: NDArray[np.float32], y: NDArray[np.float32], fill: int) -> RGB8:
    """The picture at places between its pixels, uint8 [H, W, 3] for x and y float32 [H, W]."""
    height, width = image.shape[:2]
    left, top = np.floor(x), np.floor(y)
    right, low = (x - left)[..., None], (y - top)[..., None]
    column = left.clip(-2, width).astype(np.int32)
    row = top.clip(-2, height).astype(np.int32)
    if column.max() < -1 or column.min() >= width or row.max() < -1 or row.min() >= height:
        return np.full((*x.shape, 3), fill, dtype=np.uint8)
    upper = _blend(_pixels(image, row, column, fill), _pixels(image, row, column + 1, fill), right)
    lower = _blend(_pixels(image, row + 1, column, fill), _pixels(image, row + 1, column + 1, fill), right)
    values = _blend(upper, lower, low)
    return np.rint(values, out=values).clip(0, 255, out=values).astype(np.uint8)


def _pixels(image: RGB8, row: NDArray[np.int32], column: NDArray[np.int32], fill: int) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    index = row.clip(0, height - 1) * np.int64(width) + column.clip(0, width - 1)
    values = image.reshape(-1, 3).take(index, axis=0).astype(np.float32)
    outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
    if outside.any():
        values[outside] = fill
    return values


def _blend(a: NDArray[np.float32], b: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    difference = b - a
    difference *= share
    difference += a
    return difference


def resize(image: RGB8, width: int, height: int) -> RGB8:
    """uint8 [height, width, 3]: `cv2.resize(image, (width, height))`, bilinear without antialiasing, same bytes.

    OpenCV's fixed point (imgproc/src/resize.cpp): 11-bit weights, the second pass drops 4 and then 16 bits
    of each product before it rounds the sum.
    """
    if image.shape[:2] == (height, width):
        return image
    left, right, column_weights = _taps(image.shape[1], width, clamp=True)
    top, low, row_weights = _taps(image.shape[0], height, clamp=False)
    left, right = _channels(left), _channels(right)
    weights = np.repeat(column_weights, 3, axis=1)
    out = np.empty((height, width, 3), dtype=np.uint8)
    for start in range(0, height, _STRIP):
        strip = slice(start, start + _STRIP)
        rows = np.union1d(top[strip], low[strip])
        lines = image[rows].reshape(len(rows), -1)
        across = lines.take(left, axis=1) * weights[0]
        across += lines.take(right, axis=1) * weights[1]
        across >>= 4
        upper, lower = (across[np.searchsorted(rows, index[strip])] for index in (top, low))
        for part, weight in ((upper, row_weights[0, strip]), (lower, row_weights[1, strip])):
            part *= weight[:, None]
            part >>= 16
        upper += lower
        upper += 2
        upper >>= 2
        out[strip] = upper.reshape(-1, width, 3)
    return out


def _channels(columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Column numbers of RGB pixels as numbers of bytes in a line."""
    return (columns[:, None] * 3 + np.arange(3)).ravel()


def _taps(source: int, target: int, clamp: bool) -> tuple[NDArray, NDArray, NDArray]:
    """First and second source index of every target index, and their weights, int32 [2, target].

    OpenCV sets the weights at the border to 1 and 0 for columns (`clamp`), and for rows it repeats the edge.
    """
    position = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.int64)
    share = (position - first).astype(np.float32)
    if clamp:
        share[(first < 0) | (first >= source - 1)] = 0
    weights = np.rint(np.stack([1 - share, share]) * np.float32(_WEIGHT)).astype(np.int32)
    return first.clip(0, source - 1), (first + 1).clip(0, source - 1), weights
