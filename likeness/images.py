"""The only place that decodes and encodes pictures.

`decode` is strict: a picture that cannot be read whole is refused, because a half-grey picture
would give a face embedding that is silently wrong.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from .errors import ImageError
from .files import read_limited

MAX_PIXELS = 50_000_000
MAX_BYTES = 64 * 1024 * 1024
FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
BACKDROP = (128, 128, 128)  # mid grey behind transparent pixels, so that hidden colours do not count

RGB8 = NDArray[np.uint8]  # uint8 [H, W, 3], sRGB


def decode(data: bytes, name: str = "image") -> RGB8:
    """Picture bytes -> uint8 [H, W, 3] RGB: upright by EXIF, transparent parts on grey, first frame only.

    Raises ImageError for anything but a whole PNG, JPEG or WebP of at most 50 megapixels and 64 MB.
    """
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name}: the file is larger than {MAX_BYTES >> 20} MB: save it smaller.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _Strict(data) as source, Image.open(source, formats=FORMATS) as image:
                _check_size(image, name)
                source.strict = ImageFile.LOAD_TRUNCATED_IMAGES
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return _to_rgb8(image)
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
