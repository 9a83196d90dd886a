"""Everything that people put into a folder of pictures. Nothing of it is trained wrongly in silence.

Whatever the kind: each file that looks like a picture is taken or named with a reason, and the set that comes out holds
8-bit PNGs at bucket size and captions of one line with the trigger first, and nothing else.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from likeness.dataset.build import build
from likeness.dataset.captioner import captioner_for
from likeness.dataset.plan import Item, Rejected, Rules, SetPlan
from likeness.dataset.planning import plan_set
from likeness.dataset.sources import folder_sources
from likeness.dataset.survey import survey
from likeness.images import SUFFIXES

from .pictures import ADA, ANYTHING, SMALL, no_configs, save, scene

KEEP = ANYTHING.model_copy(update={"alpha": "keep"})
Make = Callable[[Path], object]
Kind = tuple[Make, str]  # what lies in the folder beside two good pictures; "taken", or the code of the rejection


def text(data: bytes, suffix: str = ".txt") -> Make:
    def make(folder: Path) -> None:
        save(folder / "x.png", scene(50))
        (folder / f"x{suffix}").write_bytes(data)

    return make


def file(name: str, data: bytes) -> Make:
    return lambda folder: (folder / name).write_bytes(data)


def picture(name: str, mode: str = "RGB", **options: object) -> Make:
    return lambda folder: Image.fromarray(scene(50)).convert(mode).save(folder / name, **options)


def lying(folder: Path) -> None:
    image = Image.fromarray(scene(50, 192, 128))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    image.save(folder / "x.jpg", exif=exif, quality=95)


def hidden_black(folder: Path) -> None:
    pixels = np.dstack([scene(50), np.full((160, 160), 255, dtype=np.uint8)])
    pixels[:, :60] = 0  # transparent, and black below
    Image.fromarray(pixels).save(folder / "x.png")


def palette_hole(folder: Path) -> None:
    image = Image.fromarray(scene(50)).quantize(32)
    image.save(folder / "x.png", transparency=0)


def deep_grey(folder: Path) -> None:
    values = np.linspace(0, 65535, 160 * 160).reshape(160, 160).astype(np.uint16)
    Image.fromarray(values).save(folder / "x.png")


def huge(folder: Path) -> None:
    """A PNG that says 8,000 x 8,000 px and would need no more than a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 8000, 8000, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    (folder / "x.png").write_bytes(data)


def cut_short(folder: Path) -> None:
    out = io.BytesIO()
    Image.fromarray(scene(50)).save(out, "JPEG")
    (folder / "x.jpg").write_bytes(out.getvalue()[: len(out.getvalue()) // 2])


def gif_in_disguise(folder: Path) -> None:
    Image.fromarray(scene(50)).save(folder / "x.png", format="GIF")


def animation(folder: Path) -> None:
    frames = [Image.fromarray(scene(s)) for s in (50, 51)]
    frames[0].save(folder / "x.webp", save_all=True, append_images=frames[1:], lossless=True)


def twins(folder: Path) -> None:
    save(folder / "x.png", scene(50))
    save(folder / "x.jpg", scene(51), quality=95)
    (folder / "x.txt").write_text("ohwx, two share this")


def link(target: str, name: str = "x.png") -> Make:
    return lambda folder: (folder / name).symlink_to(target)


def circle(folder: Path) -> None:
    (folder / "x.png").mkdir()
    (folder / "x.png" / "again").symlink_to(folder, target_is_directory=True)
    save(folder / "x.png" / "y.png", scene(50))


def display_p3(folder: Path) -> None:
    """A profile with another name and gamma than sRGB's, as phones and cameras embed one."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    while b"sRGB" in profile:
        at = profile.index(b"sRGB")
        profile[at : at + 4] = b"ABCD"
    Image.fromarray(scene(50)).save(folder / "x.png", icc_profile=bytes(profile))


def bars(folder: Path) -> None:
    pixels = np.zeros((220, 160, 3), dtype=np.uint8)
    pixels[30:190] = scene(50)
    save(folder / "x.png", pixels)


def caches(folder: Path) -> None:
    save(folder / "x.png", scene(50))
    (folder / "x.npz").write_bytes(b"latents of another picture")
    (folder / "x_0160x0160_sd.npz").write_bytes(b"and these")
    (folder / "metadata_cache.json").write_bytes(b"{}")


def built_before(folder: Path) -> None:
    save(folder / "x.png", scene(50))
    save(folder / "set" / "img" / "10_ohwx" / "0001.png", scene(51))
    (folder / "set" / "set.json").write_text("{}")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "x.png")


def masked(folder: Path) -> None:
    save(folder / "x.png", scene(50))
    save(folder / "x-masklabel.png", np.zeros((160, 160, 3), dtype=np.uint8))


KINDS: dict[str, Kind] = {
    "caption with a byte order mark": (text(b"\xef\xbb\xbfohwx, smiling"), "taken"),
    "empty caption": (text(b""), "taken"),
    "caption of blanks": (text(b" \r\n\t\n"), "taken"),
    "caption with Windows line ends": (text(b"ohwx, one\r\n"), "taken"),
    "caption whose first line is blank": (text(b"\nohwx, below"), "taken"),
    "caption of several lines": (text(b"ohwx, one\ntwo\nthree\n"), "taken"),
    "caption in Latin-1": (text("ohwx, caf\xe9".encode("latin-1")), "taken"),
    "caption in UTF-16": (text("ohwx, wide".encode("utf-16")), "taken"),
    "caption without the trigger": (text(b"a woman in a garden"), "taken"),
    "caption of 100,000 characters": (text(b"ohwx, " + b"very " * 20_000), "taken"),
    "caption with control characters": (text(b"ohwx,\x00\x07 bell\x1b[31m"), "taken"),
    "caption of kohya's own suffix": (text(b"ohwx, smiling", ".caption"), "taken"),
    "caption that is a folder": (lambda f: (save(f / "x.png", scene(50)), (f / "x.txt").mkdir()), "taken"),
    "suffix in mixed case": (picture("x.Jpg", quality=95), "taken"),
    "suffix in upper case": (picture("X.PNG"), "taken"),
    "two pictures of one stem": (twins, "taken"),
    "EXIF says lying": (lying, "taken"),
    "transparent, black below": (hidden_black, "taken"),
    "palette": (picture("x.png", "P"), "taken"),
    "palette with a transparent colour": (palette_hole, "taken"),
    "grey": (picture("x.jpg", "L", quality=95), "taken"),
    "grey with alpha": (picture("x.png", "LA"), "taken"),
    "black and white": (picture("x.png", "1"), "taken"),
    "16 bits": (deep_grey, "taken"),
    "CMYK": (picture("x.jpg", "CMYK", quality=95), "taken"),
    "another colour space": (display_p3, "taken"),
    "animation": (animation, "taken"),
    "bars above and below": (bars, "taken"),
    "in a subfolder": (lambda f: save(f / "sub" / "deep" / "x.png", scene(50)), "taken"),
    "many underlines": (lambda f: save(f / "my_char_front_smile_01.png", scene(50)), "taken"),
    "blanks and other scripts": (lambda f: save(f / "été 写真 😀.png", scene(50)), "taken"),
    "suffix within the name": (lambda f: save(f / "a.png.b.png", scene(50)), "taken"),
    "stale caches": (caches, "taken"),
    "a set that was built before": (built_before, "taken"),
    "a folder called x.png that leads in a circle": (circle, "taken"),
    "mask of OneTrainer": (masked, "no picture"),
    "tiny": (lambda f: save(f / "x.png", scene(50, 16, 16)), "too small"),
    "very long": (lambda f: save(f / "x.png", scene(50, 2000, 70)), "shape"),
    "smaller than a bucket": (lambda f: save(f / "x.png", scene(50, 100, 100)), "upscaled"),
    "more than 50 megapixels": (huge, "unreadable"),
    "no bytes": (file("x.png", b""), "unreadable"),
    "cut short": (cut_short, "unreadable"),
    "text called .png": (file("x.png", b"<html>not found</html>"), "unreadable"),
    "GIF called .png": (gif_in_disguise, "unreadable"),
    "GIF": (lambda f: Image.fromarray(scene(50)).save(f / "x.gif"), "unreadable"),
    "TIFF": (lambda f: Image.fromarray(scene(50)).save(f / "x.tiff"), "unreadable"),
    "the very same pixels": (lambda f: save(f / "x.png", scene(0), compress_level=1), "duplicate"),
    "nearly the same": (lambda f: save(f / "x.jpg", scene(0), quality=70), "near duplicate"),
}
LINKS: dict[str, Kind] = {
    "link to a picture of the folder": (link("00.png"), "no picture"),
    "link to nothing": (link("gone.png"), "no picture"),
    "link to itself": (link("x.png"), "no picture"),
    "name with a line break": (lambda f: save(f / "a\nb.png", scene(50)), "no picture"),
    "name that is no text": (
        lambda f: save(Path(os.fsdecode(os.fsencode(f) + b"/\xff\xfe.png")), scene(50)),
        "no picture",
    ),
    "named pipe": (pipe, "unreadable"),
}
if os.name == "posix":
    KINDS |= LINKS


def set_of(folder: Path, rules: Rules = ANYTHING) -> tuple[SetPlan, Path, list[str]]:
    """Two good pictures and whatever else lies there -> a set that was built."""
    save(folder / "00.png", scene(0))
    save(folder / "01.png", scene(1))
    sources, problems = folder_sources(folder), []
    caption = captioner_for(ADA, "files, then template", problems)
    plan = plan_set(survey(sources), ADA, caption, name="first", shape=SMALL, rules=rules).plan
    built = build(plan, sources, folder.parent / "out" / "first", no_configs)
    return plan, built.folder, [*problems, *plan.notes]


def assert_sound(plan: SetPlan, folder: Path) -> None:
    """What every trainer needs, and nothing else."""
    expected = set()
    for item in plan.items:
        place = folder / "img" / plan.folder_of(item) / item.stem
        expected |= {place.with_suffix(".png"), place.with_suffix(".txt")}
        with Image.open(place.with_suffix(".png")) as image:
            assert image.format == "PNG" and image.mode == ("RGBA" if item.alpha else "RGB")
            assert image.size == (item.bucket_width, item.bucket_height)
            assert not image.info and not image.getexif()
        data = place.with_suffix(".txt").read_bytes()
        line = data.decode("utf-8")
        assert line.startswith("ohwx") and line.endswith("\n") and line.count("\n") == 1 and "\r" not in line
        assert not any(ord(c) < 32 for c in line[:-1]) and len(line) <= 2001
    assert {p for p in (folder / "img").rglob("*") if p.is_file()} == expected


def assert_accounted_for(plan: SetPlan, folder: Path) -> None:
    """Each file that looks like a picture is taken, or left out with a reason."""
    told = {x.source for x in (*plan.items, *plan.rejected)}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() in (*SUFFIXES, ".gif", ".tiff") and not path.is_dir() and not name.startswith("set/"):
            shown = name.replace("\n", "\\x0a").replace("\udcff\udcfe", "\\xff\\xfe")
            assert shown in told, name
    assert all(len(r.reason) > 8 and r.reason.endswith(".") for r in plan.rejected)


def others(plan: SetPlan) -> list[Item | Rejected]:
    return [x for x in (*plan.items, *plan.rejected) if x.source not in ("00.png", "01.png")]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_whatever_lies_in_the_folder_the_set_is_sound(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    make, outcome = KINDS[kind]
    make(folder)
    plan, out, _ = set_of(folder)
    assert_sound(plan, out)
    assert_accounted_for(plan, folder)
    outcomes = ["taken" if isinstance(x, Item) else x.code for x in others(plan)]
    assert outcome in outcomes or (kind == "nearly the same" and "near duplicate" in [r.code for r in plan.rejected])
    if outcome == "taken":
        assert set(outcomes) <= {"taken", "no picture"}


def only(tmp_path: Path, kind: str, rules: Rules = ANYTHING) -> tuple[Item, Path, str, list[str]]:
    """The item of a kind, its file without a suffix, its caption, and what was told."""
    folder = tmp_path / "photos"
    folder.mkdir()
    KINDS[kind][0](folder)
    plan, out, problems = set_of(folder, rules)
    (item,) = [x for x in others(plan) if isinstance(x, Item)]
    place = out / "img" / plan.folder_of(item) / item.stem
    return item, place, place.with_suffix(".txt").read_text("utf-8").strip(), problems


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("caption with a byte order mark", "ohwx, smiling"),
        ("caption with Windows line ends", "ohwx, one"),
        ("caption whose first line is blank", "ohwx, below"),
        ("caption of kohya's own suffix", "ohwx, smiling"),
        ("caption without the trigger", "a woman in a garden"),
    ],
)
def test_a_caption_that_can_be_saved_is_used(tmp_path: Path, kind: str, words: str) -> None:
    assert words in only(tmp_path, kind)[2]


@pytest.mark.parametrize(
    "kind", ["empty caption", "caption of blanks", "caption of 100,000 characters", "caption that is a folder"]
)
def test_one_that_cannot_is_told_of(tmp_path: Path, kind: str) -> None:
    item, _, caption, problems = only(tmp_path, kind)
    assert caption.startswith("ohwx") and any(item.source in p for p in problems)


def test_a_lying_photo_is_trained_upright(tmp_path: Path) -> None:
    item, place, _, _ = only(tmp_path, "EXIF says lying")
    assert (item.width, item.height) == (128, 192)
    upright = np.rot90(scene(50, 192, 128), -1).astype(np.float64)
    upright = upright[item.box.top : item.box.bottom, item.box.left : item.box.right]
    written = np.asarray(Image.open(place.with_suffix(".png")), dtype=np.float64)
    assert np.corrcoef(upright.reshape(-1), written.reshape(-1))[0, 1] > 0.8


def test_a_hidden_colour_is_not_trained(tmp_path: Path) -> None:
    _, place, _, _ = only(tmp_path, "transparent, black below")
    pixels = np.asarray(Image.open(place.with_suffix(".png")))
    assert pixels.shape[2] == 3 and (pixels[:, :40] == 128).all()


def test_nor_under_a_mask_that_a_trainer_does_not_look_at(tmp_path: Path) -> None:
    item, place, _, _ = only(tmp_path, "transparent, black below", KEEP)
    pixels = np.asarray(Image.open(place.with_suffix(".png")))
    assert item.alpha and pixels.shape[2] == 4
    assert (pixels[:, :40, :3] == 128).all() and (pixels[:, :40, 3] == 0).all() and (pixels[:, -40:, 3] == 255).all()


def test_sixteen_bits_keep_their_greys(tmp_path: Path) -> None:
    _, place, _, _ = only(tmp_path, "16 bits")
    grey = np.asarray(Image.open(place.with_suffix(".png")).convert("L"), dtype=np.float64)
    assert 120 < grey.mean() < 136 and grey.std() > 60


def test_bars_are_cut_off(tmp_path: Path) -> None:
    item, place, _, _ = only(tmp_path, "bars above and below")
    assert item.box.top >= 30 and item.box.bottom <= 190
    assert np.asarray(Image.open(place.with_suffix(".png"))).min(axis=(1, 2)).max() > 0


def test_two_pictures_of_one_stem_get_names_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    twins(folder)
    plan, _, _ = set_of(folder)
    assert len({i.stem for i in plan.items}) == len(plan.items) == 4
