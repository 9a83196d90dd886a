"""One picture of a plan -> the file that is trained: cut, scaled once, encoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

import numpy as np
from PIL import Image

from ..errors import ImageError
from ..images import A8, RGB8, encode_png_fast
from .plan import Item, Rules
from .sources import TRAINED, Source

_GAP = 3.0  # how much coarser than Lanczos needs the first step of a large reduction may be; Pillow's advice


_DRAFTS = (1, 2, 4, 8)  # how many times smaller a JPEG may be decoded


@dataclass(frozen=True)
class Rendered:
    """What one picture becomes."""

    png: bytes = field(repr=False)
    mask: bytes | None = field(default=None, repr=False)  # PNG, where the picture has an alpha channel
    thumb: RGB8 | None = field(default=None, repr=False)  # the whole original, small, where it was asked for


def render(item: Item, source: Source, rules: Rules, thumb: int = 0) -> Rendered:
    """The files of one picture. `thumb`: px of the longer side of a small copy, 0 for none.

    The PNG is as large as the item's bucket. Where the alpha is 0 it holds the backdrop and no hidden colour, so a
    trainer that looks at no alpha sees what a person sees. ImageError where the picture is not the planned one.
    """
    loaded = source.load(least=_least(item))
    if loaded.sha256 != item.sha256:
        raise ImageError(f"{item.source} has changed since the plan was made: plan the set again.")
    rgb = loaded.layers.over(rules.backdrop)
    whole = Image.fromarray(rgb)
    if not any(whole.size == (ceil(item.width / k), ceil(item.height / k)) for k in _DRAFTS[: 4 if loaded.jpeg else 1]):
        raise ImageError(f"{item.source} is no picture of {item.width} x {item.height} px: plan the set again.")
    pixels = _scaled(whole, item, Image.Resampling.LANCZOS)
    small = _small(whole, thumb) if thumb else None
    if not item.alpha:
        return Rendered(encode_png_fast(pixels), None, small)
    alpha = loaded.mask if loaded.mask is not None else loaded.layers.alpha
    if alpha is None:
        raise ImageError(f"{item.source} has no transparent part, but the plan says so: plan the set again.")
    mask = _scaled(Image.fromarray(alpha), item, Image.Resampling.BILINEAR)
    if not (mask >= TRAINED).any():
        raise ImageError(f"The mask of {item.source} leaves nothing of its crop to train: draw it where the crop is.")
    return Rendered(encode_png_fast(pixels, mask), encode_png_fast(np.repeat(mask[:, :, None], 3, axis=2)), small)


def _least(item: Item) -> int:
    """px of the shorter side that a JPEG must at least be decoded to."""
    return ceil(min(item.width, item.height) * min(item.scale, 1.0))


def _scaled(image: Image.Image, item: Item, how: Image.Resampling) -> RGB8 | A8:
    """The item's box, at the size of its bucket. `image` may be smaller than the original, all the same whole."""
    x, y = image.width / item.width, image.height / item.height
    box = (item.box.left * x, item.box.top * y, item.box.right * x, item.box.bottom * y)
    size = (item.bucket_width, item.bucket_height)
    return np.asarray(image.resize(size, how, box=box, reducing_gap=_GAP))


def thumbnail(source: Source, longest: int) -> RGB8:
    """The whole picture, small, on grey. StorageError or ImageError."""
    return _small(Image.fromarray(source.load(least=longest).layers.over()), longest)


def _small(image: Image.Image, longest: int) -> RGB8:
    small = image.copy()
    small.thumbnail((longest, longest), reducing_gap=2.0)
    return np.asarray(small)
