"""Attack: a picture that is a bomb, is cut short, or breaks the decoder.

A PNG of 136 KB can hold 144 megapixels (1.6 GB as floats); headers can claim 60,000 x 60,000; FITS,
PSD, EPS and JPEG 2000 decoders have had holes, so only three formats are ever tried.
"""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import textwrap
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness import images
from likeness.errors import ImageError

MUTATIONS = 5_000
SECONDS = 1.0  # for one picture


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def flat_png(width: int, height: int, rows: int | None = None, before: bytes = b"") -> bytes:
    """A grey PNG of one colour; with fewer `rows` than the header claims where that is wanted."""
    packer, row = zlib.compressobj(9), b"\0" * (width + 1)
    data = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def refuse(data: bytes, text: str, seconds: float = SECONDS) -> None:
    start = time.process_time()
    with pytest.raises(ImageError, match=text):
        images.decode(data, "photo.png")
    assert time.process_time() - start < seconds


def test_a_picture_of_144_megapixels_is_refused_without_decoding_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = flat_png(12_000, 12_000)
    assert len(data) < 300_000
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("the picture was decoded"))
    refuse(data, "more than 50 megapixels", 0.1)


@pytest.mark.parametrize(
    ("width", "height"), [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (50_000_001, 1), (1, 50_000_001)]
)
def test_a_header_that_claims_too_much_is_refused(width: int, height: int) -> None:
    refuse(
        flat_png(width, height, rows=0) if width < 100_000 else png_header(width, height),
        "more than 50 megapixels|damaged",
        0.1,
    )


def png_header(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_text_bomb_in_a_picture_is_refused() -> None:
    bomb = zlib.compress(b"A" * 200_000_000, 9)
    refuse(flat_png(4, 4, before=chunk(b"zTXt", b"k\0\0" + bomb)), "damaged")


def test_a_colour_profile_bomb_does_no_harm() -> None:
    bomb = zlib.compress(b"A" * 100_000_000, 9)
    start = time.perf_counter()
    try:
        assert images.decode(flat_png(4, 4, before=chunk(b"iCCP", b"k\0\0" + bomb))).shape == (4, 4, 3)
    except ImageError:
        pass
    assert time.perf_counter() - start < SECONDS


@pytest.mark.parametrize("size", [64 * 1024 * 1024 + 1])
def test_a_file_over_64_mb_is_refused_unread(size: int) -> None:
    refuse(b"\x89PNG\r\n\x1a\n".ljust(size, b"\0"), "larger than 64 MB", 0.1)


@pytest.mark.parametrize(
    "data",
    [b"SIMPLE  =                    T", b"8BPS\0\1", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0\0\0\x0cjP  \r\n\x87\n",
     b"II*\0\x08\0\0\0", b"GIF89a",
     b"<?xml version='1.0'?><svg/>", b"BM", b"\0\0\1\0", b"P6\n1 1\n255\n", b"DDS ", b"ftypavif", b"\x93NUMPY",
     b"\x80\x04."],
)  # fmt: skip
def test_no_other_decoder_is_tried(data: bytes) -> None:
    refuse(data.ljust(200, b"\0"), "not a PNG, JPEG or WebP")


def seeds() -> list[bytes]:
    noise = np.random.default_rng(6).integers(0, 256, (40, 48, 4)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "text"
    rgb, rgba = Image.fromarray(noise[:, :, :3].copy()), Image.fromarray(noise)
    ways = [
        (rgb, "PNG", {"exif": exif}), (rgba, "PNG", {}), (rgb.convert("P"), "PNG", {"transparency": 3}),
        (rgb.convert("1"), "PNG", {}),
        (rgb, "JPEG", {"exif": exif}), (rgb, "JPEG", {"progressive": True}), (rgb.convert("CMYK"), "JPEG", {}),
        (rgb.convert("L"), "JPEG", {}),
        (rgb, "WEBP", {"exif": exif}), (rgba, "WEBP", {"lossless": True}), (rgb, "WEBP", {"save_all": True,
        "append_images": [rgb]}),
        (rgb, "PNG", {"save_all": True, "append_images": [rgb.rotate(90)]}),
    ]  # fmt: skip
    out = []
    for image, kind, options in ways:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        out.append(buffer.getvalue())
    return out


def fixed_crcs(data: bytearray) -> bytearray:
    """A mutated PNG with right checksums, so that the damage gets past the first gate."""
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        end = at + 8 + length
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(bytes(data[at + 4 : end])))
        at = end + 4
    return data


@pytest.mark.filterwarnings("ignore")
def test_5000_mutations_give_a_picture_or_an_image_error() -> None:
    rng, originals, worst, decoded = random.Random(7), seeds(), 0.0, 0
    for i in range(MUTATIONS):
        data = bytearray(originals[i % len(originals)])
        for _ in range(rng.randint(1, 5)):
            at = rng.randrange(min(len(data), 300) if rng.random() < 0.6 else len(data))
            change = rng.randrange(4)
            if change < 2:
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            elif change == 2:
                data[at : at + rng.randint(1, 12)] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 12)))
            else:
                data[at:at] = data[at : at + 16]
            data = data or bytearray(b"\0")
        if data[:4] == b"\x89PNG" and rng.random() < 0.7:
            data = fixed_crcs(data)
        start = time.perf_counter()
        try:
            pixels = images.decode(bytes(data))
            decoded += 1
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            assert pixels.shape[0] * pixels.shape[1] <= images.MAX_PIXELS
        except ImageError as error:
            assert len(str(error)) < 300
        worst = max(worst, time.perf_counter() - start)
    assert worst < SECONDS
    assert 0 < decoded < MUTATIONS


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_picture_too_large_takes_less_than_600_mb(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bomb"
    if kind == "PNG":
        path.write_bytes(flat_png(12_000, 12_000))
    else:
        Image.new("L", (12_000, 12_000)).convert("RGB").save(path, "WEBP", lossless=True, quality=0, method=0)
    code = """
        import pathlib, sys
        from likeness import images
        from likeness.errors import ImageError
        try:
            images.read(pathlib.Path(sys.argv[1]))
            print("decoded")
        except ImageError:
            status = pathlib.Path("/proc/self/status").read_text()
            print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout)  # KiB
    assert peak < 600 * 1024
