"""Files hold the very pixels, at exactly the size of the bucket; colours and their opacity are kept apart."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from likeness.dataset.plan import Box, Item, Rules
from likeness.dataset.render import render, thumbnail
from likeness.dataset.sources import Source, batch_sources, folder_sources
from likeness.errors import ImageError
from likeness.images import Layers, decode_layers, encode_png_fast, layers_from_float

from .pictures import save, scene


def opened(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    image.load()
    return np.asarray(image)


@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 99))
def test_a_png_of_ours_is_read_back_to_the_bit(width: int, height: int, masked: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    alpha = rng.integers(0, 256, (height, width)).astype(np.uint8) if masked else None
    expected = rgb if alpha is None else np.dstack([rgb, alpha])
    assert (opened(encode_png_fast(rgb, alpha)) == expected).all()


def test_it_is_not_much_larger_than_pillows_fastest() -> None:
    out = io.BytesIO()
    Image.fromarray(scene(1, 512, 512)).save(out, "PNG", compress_level=1)
    assert len(encode_png_fast(scene(1, 512, 512))) < 1.2 * len(out.getvalue())


def test_layers_keep_colour_and_opacity_apart() -> None:
    out, pixels = io.BytesIO(), np.dstack([scene(1), np.full((160, 160), 100, dtype=np.uint8)])
    Image.fromarray(pixels).save(out, "PNG")
    layers = decode_layers(out.getvalue())
    assert layers.alpha is not None and (layers.alpha == 100).all() and (layers.rgb == pixels[:, :, :3]).all()
    white = layers.over((255, 255, 255)).astype(int)
    assert np.abs(white - np.rint(pixels[:, :, :3] * (100 / 255) + 155)).max() <= 1


def test_an_alpha_channel_that_hides_nothing_is_none() -> None:
    out = io.BytesIO()
    Image.fromarray(np.dstack([scene(1), np.full((160, 160), 255, dtype=np.uint8)])).save(out, "PNG")
    assert decode_layers(out.getvalue()).alpha is None


def test_a_jpeg_comes_smaller_but_never_below_what_is_needed() -> None:
    out = io.BytesIO()
    Image.fromarray(scene(1, 1600, 1200)).save(out, "JPEG")
    sizes = {least: decode_layers(out.getvalue(), least=least).rgb.shape[:2] for least in (0, 1200, 601, 600, 299, 100)}
    assert sizes == {
        0: (1200, 1600),
        1200: (1200, 1600),
        601: (1200, 1600),
        600: (600, 800),
        299: (300, 400),
        100: (150, 200),
    }


def test_a_tensor_of_four_channels_has_an_opacity() -> None:
    values = np.zeros((4, 4, 4), dtype=np.float32)
    values[..., 3] = 0.5
    assert (layers_from_float(values).alpha == 128).all() and layers_from_float(values[..., :3]).alpha is None


def item(source: Source, box: tuple[int, int, int, int], width: int = 64, height: int = 64, **more: object) -> Item:
    rgb = source.load().layers.rgb
    return Item(
        source=source.name, sha256=source.load().sha256, width=rgb.shape[1], height=rgb.shape[0],
        box=Box(left=box[0], top=box[1], width=box[2], height=box[3]), bucket_width=width, bucket_height=height,
        stem="0001", caption="ohwx", **more,
    )  # fmt: skip


def test_a_crop_of_the_buckets_size_is_taken_pixel_for_pixel() -> None:
    (source,) = batch_sources([scene(2)]).pictures
    made = render(item(source, (30, 50, 64, 64)), source, Rules())
    assert (opened(made.png) == scene(2)[50:114, 30:94]).all() and made.mask is None


def test_a_mask_follows_the_picture_through_crop_and_scale() -> None:
    mask = np.zeros((160, 160), dtype=np.uint8)
    mask[40:120, 40:120] = 255
    (source,) = batch_sources([scene(2)], [mask]).pictures
    made = render(item(source, (0, 0, 160, 160), 128, 128, alpha=True), source, Rules())
    alpha = opened(made.png)[:, :, 3]
    assert (alpha[34:94, 34:94] == 255).all() and (alpha[:30] == 0).all() and (alpha[:, 98:] == 0).all()
    assert made.mask is not None and (opened(made.mask)[:, :, 0] == alpha).all()


def test_a_plan_that_speaks_of_alpha_where_there_is_none_is_refused() -> None:
    (source,) = batch_sources([scene(2)]).pictures
    with pytest.raises(ImageError, match="no transparent part"):
        render(item(source, (0, 0, 160, 160), 128, 128, alpha=True), source, Rules())


def test_pictures_with_different_masks_or_opacity_are_different_pictures() -> None:
    opaque, half = np.full((160, 160), 255, np.uint8), np.full((160, 160), 9, np.uint8)
    sources = [
        batch_sources([scene(2)]),
        batch_sources([scene(2)], [opaque]),
        batch_sources([scene(2)], [half]),
        batch_sources([Layers(scene(2), half)]),
    ]
    assert len({s.pictures[0].load().sha256 for s in sources}) == 4


def test_a_thumbnail_shows_the_whole_picture(tmp_path: Path) -> None:
    save(tmp_path / "x.jpg", scene(3, 900, 600), quality=90)
    (source,) = folder_sources(tmp_path).pictures
    assert thumbnail(source, 90).shape == (60, 90, 3)
