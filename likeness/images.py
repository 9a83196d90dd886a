"""The only place that decodes and encodes pictures.

`decode` is strict: a picture that cannot be read whole is refused, because a half-grey picture
would give a face embedding that is silently wrong.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from .errors import ImageError
from .files import read_limited

MAX_PIXELS = 50_000_000
MAX_BYTES = 64 * 1024 * 1024
FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
BACKDROP = (128, 128, 128)  # mid grey behind transparent pixels, so that hidden colours do not count

RGB8 = NDArray[np.uint8]  # uint8 [H, W, 3], sRGB
A8 = NDArray[np.uint8]  # uint8 [H, W], 255 opaque
T = TypeVar("T")


@dataclass(frozen=True)
class Layers:
    """A picture and how opaque it is."""

    rgb: RGB8 = field(repr=False)  # where `alpha` is 0 whatever colour the file hides there
    alpha: A8 | None = field(default=None, repr=False)  # None: opaque everywhere

    def over(self, backdrop: tuple[int, int, int] = BACKDROP) -> RGB8:
        """The picture as it is seen before a backdrop, uint8 [H, W, 3]."""
        if self.alpha is None:
            return self.rgb
        canvas = Image.new("RGB", (self.rgb.shape[1], self.rgb.shape[0]), backdrop)
        canvas.paste(Image.fromarray(self.rgb), mask=Image.fromarray(self.alpha))
        return np.asarray(canvas).copy()


def decode(data: bytes, name: str = "image") -> RGB8:
    """Picture bytes -> uint8 [H, W, 3] RGB: upright by EXIF, transparent parts on grey, first frame only.

    Raises ImageError for anything but a whole PNG, JPEG or WebP of at most 50 megapixels and 64 MB.
    """
    return _decoded(data, name, _to_rgb8)


def decode_layers(data: bytes, name: str = "image", least: int = 0) -> Layers:
    """As `decode`, but with the colours and their opacity apart; JPEGs in other colour spaces become sRGB.

    `least`: px; where both sides stay above it, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, which is faster.
    """
    return _decoded(data, name, _to_layers, least)


def read_layers(path: Path) -> Layers:
    """`decode_layers` for a file; StorageError when it cannot be read at all."""
    return decode_layers(read_limited(path, MAX_BYTES), path.name)


def _decoded(data: bytes, name: str, then: Callable[[Image.Image], T], least: int = 0) -> T:
    """`then` of the whole and upright picture. ImageError."""
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name}: the file is larger than {MAX_BYTES >> 20} MB: save it smaller.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _Strict(data) as source, Image.open(source, formats=FORMATS) as image:
                _check_size(image, name)
                if least:
                    image.draft(None, (least, least))
                source.strict = ImageFile.LOAD_TRUNCATED_IMAGES
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return then(image)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a PNG, JPEG or WebP picture: convert it to one of these.") from error
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError) as error:
        raise _damaged(name) from error
    except (struct.error, zlib.error, MemoryError) as error:
        raise _damaged(name) from error


def read(path: Path) -> RGB8:
    """`decode` for a file; StorageError when it cannot be read at all."""
    return decode(read_limited(path, MAX_BYTES), path.name)


def _check_size(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name)


class _Strict(io.BytesIO):
    """Refuses to read past the end while `strict`.

    Another pack may have told Pillow, for the whole process, to fill up pictures that were cut short.
    """

    strict = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data and size and self.strict:
            raise OSError("the picture was cut short")
        return data


def _too_large(name: str) -> ImageError:
    return ImageError(f"{name}: more than {MAX_PIXELS // 1_000_000} megapixels: scale it down first.")


def _damaged(name: str) -> ImageError:
    return ImageError(f"{name}: the picture is damaged or cut short: save or download it again.")


def _to_rgb8(image: Image.Image) -> RGB8:
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):  # Pillow's own conversion clips 16-bit grey to white
        grey = (np.asarray(image, dtype=np.float64) / 257.0).round().clip(0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (*BACKDROP, 255))
        canvas.alpha_composite(rgba)
        image = canvas
    return np.array(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)


def _to_layers(image: Image.Image) -> Layers:
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        alpha = np.ascontiguousarray(rgba[:, :, 3])
        return Layers(np.ascontiguousarray(rgba[:, :, :3]), None if alpha.min() == 255 else alpha)
    return Layers(_to_rgb8(_to_srgb(image)))


def _to_srgb(image: Image.Image) -> Image.Image:
    """Phones write Display P3 and printers' files CMYK: read as sRGB their colours would be trained wrongly."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or image.mode not in ("RGB", "CMYK") or b"sRGB" in profile[:4096]:
        return image
    try:
        converted = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImportError, OSError, ImageCms.PyCMSError, ValueError, TypeError):
        return image  # a damaged profile, or one of another colour space than the pixels
    return converted if converted is not None else image


def encode_png_fast(rgb: RGB8, alpha: A8 | None = None) -> bytes:
    """uint8 [H, W, 3], and opacity [H, W] -> PNG bytes without any metadata; half the time of Pillow's level 1.

    Every row is filtered by its difference to the row above (PNG specification, filter type 2, "Up"), which needs one
    subtraction, and deflated at level 1 with run lengths only; Pillow tries five filters for each row.
    """
    pixels = rgb if alpha is None else np.dstack([rgb, alpha])
    height, width, channels = pixels.shape
    flat = pixels.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), dtype=np.uint8)
    rows[:, 0] = 2
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    deflate = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    body = deflate.compress(rows.data) + deflate.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def encode_png(pixels: RGB8) -> bytes:
    """uint8 [H, W, 3] -> PNG bytes without any metadata."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=4)
    return out.getvalue()


def encode_jpeg(pixels: RGB8, longest: int, quality: int = 82) -> bytes:
    """uint8 [H, W, 3] -> JPEG bytes of at most `longest` px a side, without any metadata; `quality` 1..95."""
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()


def layers_from_float(image: NDArray[np.float32]) -> Layers:
    """As `from_float`, with the opacity of a fourth channel apart."""
    if image.ndim != 3 or image.shape[2] != 4:
        return Layers(from_float(image))
    return Layers(from_float(image[:, :, :3]), alpha_from_float(image[:, :, 3]))


def alpha_from_float(mask: NDArray[np.float32]) -> A8:
    """float [H, W] in 0..1 -> uint8 [H, W]; NaN counts as 0."""
    if mask.ndim != 2 or 0 in mask.shape:
        raise ImageError(f"a mask of shape {tuple(mask.shape)} is not [height, width].")
    return np.asarray((np.nan_to_num(mask, nan=0.0).clip(0, 1) * 255.0).round().astype(np.uint8))


def from_float(image: NDArray[np.float32]) -> RGB8:
    """float [H, W, 1|3|4] in 0..1, as ComfyUI passes pictures -> uint8 [H, W, 3]; NaN counts as black."""
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise ImageError(f"an image of shape {tuple(image.shape)} is not [height, width, 1, 3 or 4 channels].")
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise _too_large("image")
    u8 = (np.nan_to_num(image, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 255.0).round().astype(np.uint8)
    if u8.shape[2] == 1:
        u8 = np.repeat(u8, 3, axis=2)
    return np.ascontiguousarray(_to_rgb8(Image.fromarray(u8)))


def to_float(pixels: RGB8) -> NDArray[np.float32]:
    """uint8 [H, W, 3] -> float32 [H, W, 3] in 0..1."""
    return pixels.astype(np.float32) / np.float32(255.0)
