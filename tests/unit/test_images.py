"""Golden pictures are built here pixel by pixel, so that the expected bytes are known without another decoder."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from likeness import images
from likeness.errors import ImageError, StorageError

# four colours in the corners of 32 px squares: JPEG and WebP keep their middles
QUADS = np.zeros((64, 96, 3), dtype=np.uint8)
QUADS[:32, :48], QUADS[:32, 48:], QUADS[32:, :48], QUADS[32:, 48:] = (
    (200, 30, 30),
    (30, 200, 30),
    (30, 30, 200),
    (120, 120, 120),
)
EXIF_ORIENTATION = 0x0112
# how a camera stores a picture that must be shown as QUADS, per orientation
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def oriented(orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    pixels = np.ascontiguousarray(STORED[orientation](QUADS))
    return saved(
        Image.fromarray(pixels), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {"quality": 95})
    )


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_all_eight_orientations_give_the_same_pixels(orientation: int, kind: str) -> None:
    assert (images.decode(oriented(orientation, kind)) == QUADS).all()


@pytest.mark.parametrize("orientation", STORED)
def test_all_eight_orientations_of_a_jpeg_stand_upright(orientation: int) -> None:
    out = images.decode(oriented(orientation, "JPEG")).astype(int)
    assert out.shape == QUADS.shape
    for y, x in ((16, 24), (16, 72), (48, 24), (48, 72)):
        assert abs(out[y, x] - QUADS[y, x]).max() <= 6


GREY = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
AS_RGB = np.repeat(GREY[:, :, None], 3, axis=2)


def alpha_over(colour: tuple[int, int, int], alpha: int) -> int:
    return round(colour[0] * alpha / 255 + 128 * (255 - alpha) / 255)


def transparent_palette() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 10, 10, 250, 250, 250] + [0] * 762)
    image.putdata([0, 1])
    image.info["transparency"] = 0
    return image


def animated() -> bytes:
    frames = [Image.new("RGB", (4, 4), c) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    return saved(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=50)


def animated_webp() -> bytes:
    frames = [Image.new("RGB", (4, 4), c) for c in ((255, 0, 0), (0, 255, 0))]
    return saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)


def la(value: int, alpha: int) -> Image.Image:
    return Image.merge("LA", (Image.new("L", (1, 1), value), Image.new("L", (1, 1), alpha)))


def grey_with_key() -> Image.Image:
    image = Image.fromarray(np.array([[7, 9]], dtype=np.uint8))
    image.info["transparency"] = 7
    return image


GOLDEN: dict[str, tuple[bytes, np.ndarray]] = {
    "one pixel": (saved(Image.new("RGB", (1, 1), (1, 2, 3))), np.array([[[1, 2, 3]]])),
    "one column": (saved(Image.fromarray(AS_RGB[:, :1].copy())), AS_RGB[:, :1]),
    "grey": (saved(Image.fromarray(GREY)), AS_RGB),
    "16-bit grey": (saved(Image.fromarray(GREY.astype(np.uint16) * 257)), AS_RGB),
    "16-bit grey between levels": (saved(Image.fromarray(np.array([[128 * 257 + 90]], dtype=np.uint16))), np.full((1,
    1, 3), 128)),
    "black and white": (saved(Image.fromarray(GREY > 127)), np.where(AS_RGB > 127, 255, 0)),
    "palette": (saved(Image.fromarray(GREY).convert("P")), AS_RGB),
    "grey with alpha": (saved(la(255, 128)), np.full((1, 1, 3), alpha_over((255, 0, 0), 128))),
    "opaque RGBA": (saved(Image.new("RGBA", (2, 2), (9, 8, 7, 255))), np.full((2, 2, 3), (9, 8, 7))),
    "hidden RGBA": (saved(Image.new("RGBA", (2, 2), (255, 0, 0, 0))), np.full((2, 2, 3), 128)),
    "half RGBA": (saved(Image.new("RGBA", (1, 1), (255, 255, 255, 51))), np.full((1, 1, 3), alpha_over((255, 0, 0),
    51))),
    "transparent palette": (saved(transparent_palette()), np.array([[[128] * 3, [250] * 3]])),
    "grey with a transparent level": (saved(grey_with_key(), transparency=7), np.array([[[128] * 3, [9] * 3]])),
    "animated PNG": (animated(), np.full((4, 4, 3), (255, 0, 0))),
    "animated WebP": (animated_webp(), np.full((4, 4, 3), (255, 0, 0))),
    "lossless WebP": (saved(Image.fromarray(QUADS), "WEBP", lossless=True), QUADS),
    "WebP with alpha": (
        saved(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "WEBP", lossless=True, exact=True), np.full((4, 4, 3), 128),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_pictures_have_exactly_these_pixels(name: str) -> None:
    data, expected = GOLDEN[name]
    out = images.decode(data)
    assert out.dtype == np.uint8 and out.flags.c_contiguous and out.flags.writeable
    assert out.shape == expected.shape
    assert (out == expected).all()


def test_there_are_at_least_24_golden_pictures() -> None:
    assert len(GOLDEN) + len(STORED) >= 24


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)])
def test_cmyk_becomes_the_colour_it_shows(colour: tuple[int, int, int]) -> None:
    data = saved(Image.new("RGB", (16, 16), colour).convert("CMYK"), "JPEG", quality=95)
    assert abs(images.decode(data)[8, 8].astype(int) - colour).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
def test_a_truncated_picture_is_refused(kind: str, share: float) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (80, 80, 3)).astype(np.uint8)
    data = saved(Image.fromarray(noise), kind)
    with pytest.raises(ImageError):
        images.decode(data[: int(len(data) * share)])


def test_a_truncated_picture_is_refused_even_when_another_pack_lets_pillow_load_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    noise = np.random.default_rng(5).integers(0, 256, (80, 80, 3)).astype(np.uint8)
    for kind in ("PNG", "JPEG"):
        data = saved(Image.fromarray(noise), kind)
        with pytest.raises(ImageError):
            images.decode(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not a PNG, JPEG or WebP"),
        (b"<svg/>", "not a PNG, JPEG or WebP"),
        (saved(Image.new("RGB", (4, 4)), "GIF"), "not a PNG, JPEG or WebP"),
        (saved(Image.new("RGB", (4, 4)), "BMP"), "not a PNG, JPEG or WebP"),
        (b"\x89PNG\r\n\x1a\n", "photo.png"),
    ],
)
def test_what_is_no_picture_is_said_so_with_its_name(data: bytes, text: str) -> None:
    with pytest.raises(ImageError, match=r"^photo\.png: ") as caught:
        images.decode(data, "photo.png")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError("x"),
        SyntaxError("x"),
        ValueError("x"),
        struct.error("x"),
        zlib.error("x"),
        EOFError(),
        MemoryError(),
        KeyError(1),
    ],
)
def test_whatever_a_decoder_raises_is_an_image_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(image: Image.Image) -> None:
        raise error

    monkeypatch.setattr(images.ImageOps, "exif_transpose", broken)
    with pytest.raises(ImageError, match="damaged or cut short"):
        images.decode(saved(Image.new("RGB", (2, 2))))


def test_the_limits_of_bytes_and_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.new("RGB", (10, 10)))
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    assert images.decode(data).shape == (10, 10, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    with pytest.raises(ImageError, match="megapixels"):
        images.decode(data)
    monkeypatch.setattr(images, "MAX_BYTES", len(data) - 1)
    with pytest.raises(ImageError, match="larger than"):
        images.decode(data)


def test_a_missing_picture_is_a_storage_error(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(StorageError, match="Could not read"):
        images.read(tmp_path / "none.png")


def test_png_bytes_give_the_pixels_back_and_carry_no_metadata() -> None:
    data = images.encode_png(QUADS)
    assert (images.decode(data) == QUADS).all()
    assert data == images.encode_png(QUADS)
    with Image.open(io.BytesIO(data)) as image:
        assert image.info == {} and not image.getexif()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_floats_of_the_editor_become_bytes(channels: int) -> None:
    values = np.full((2, 2, channels), 0.5, dtype=np.float32)
    values[0, 0], values[0, 1], values[1, 1, 0] = 2.0, -1.0, np.nan
    if channels == 4:
        values[..., 3] = 1.0
    out = images.from_float(values)
    assert out.shape == (2, 2, 3)
    assert out[0, 0].tolist() == [255] * 3 and out[0, 1].tolist() == [0] * 3 and out[1, 0].tolist() == [128] * 3
    assert out[1, 1, 0] == 0


def test_every_byte_survives_the_way_through_floats() -> None:
    assert (images.from_float(images.to_float(AS_RGB)) == AS_RGB).all()


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 2), (1, 2, 2, 3), (0, 2, 3), (2, 2, 5)])
def test_what_is_no_picture_of_the_editor_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="shape"):
        images.from_float(np.zeros(shape, dtype=np.float32))
