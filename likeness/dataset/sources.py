"""What pictures there are: files below a folder, or the pictures of a graph.

Every file that looks like a picture is either a source or is named with the reason why it is none.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ..errors import ImageError, StorageError
from ..files import read_limited
from ..images import A8, MAX_BYTES, RGB8, Layers, decode_layers
from ..report.folder import LeftOut, list_pictures, shown
from .plan import MAX_PICTURES

SET_FILE = "set.json"  # marks a folder that was built
SET_PARTS = ("img/", "reg/", "masks/", "cache/", "sheet.jpg")  # what lies there is no source again
CAPTION_SUFFIXES = (".txt", ".caption")
MAX_CAPTION_BYTES = 64 * 1024
_MASK = re.compile(r"(.+)-masklabel\.png", re.IGNORECASE)  # how OneTrainer names a mask beside its picture
TRAINED = 128  # of 255: from here on a pixel of a mask counts as trained
_JPEG = b"\xff\xd8"
_LABEL = re.compile(r"(outfit|background)[ _=-]+(.+)", re.IGNORECASE)

T = TypeVar("T")


@dataclass(frozen=True)
class Loaded:
    """A picture in memory."""

    layers: Layers = field(repr=False)
    sha256: str  # of the file's bytes; of a graph's picture its pixels and mask
    mask: A8 | None = field(default=None, repr=False)  # what is trained, drawn for the purpose: hides no colour
    jpeg: bool = False  # which may have been decoded smaller


@dataclass(frozen=True)
class Source:
    """One picture that a set may take."""

    name: str  # below the root with "/", or "batch/0003"
    path: Path | None = None  # None for a picture of a graph
    pixels: Layers | None = field(default=None, repr=False)  # of a graph
    mask: A8 | None = field(default=None, repr=False)  # [H, W] as the picture; 255 is trained, 0 is not
    caption: bytes | None = field(default=None, repr=False)  # of the file beside it, or a text of a graph
    caption_error: str = ""  # why the file beside it could not be read
    labels: tuple[tuple[str, str], ...] = ()  # of folder names: ("outfit", "red dress")
    folder: str = ""  # the nearest folder below the root
    error: str = ""  # why the picture cannot be used, known without opening it

    def load(self, least: int = 0) -> Loaded:
        """The whole picture, upright; JPEGs may come smaller where both sides stay above `least` px.

        StorageError or ImageError.
        """
        if self.pixels is not None:
            return Loaded(self.pixels, _digest(self.pixels, self.mask), self.mask)
        assert self.path is not None
        data = read_limited(self.path, MAX_BYTES)
        if not data:
            raise ImageError(f"{self.path.name}: the file is empty: save or download it again.")
        layers = decode_layers(data, self.path.name, least)
        return Loaded(layers, hashlib.sha256(data).hexdigest(), jpeg=data.startswith(_JPEG))


@dataclass(frozen=True)
class Sources:
    """All pictures, sorted by name."""

    root: str  # "" for pictures of a graph
    pictures: tuple[Source, ...]
    left_out: tuple[LeftOut, ...] = ()  # files and folders that are no source, with the reason

    def find(self, name: str) -> Source:
        """StorageError for one that is not there."""
        found = self._by_name.get(name)
        if found is None:
            raise StorageError(f"The picture {shown(name)} of the plan is not in {self.root or 'the batch'} any more.")
        return found

    @cached_property
    def _by_name(self) -> dict[str, Source]:
        return {s.name: s for s in self.pictures}


def folder_sources(folder: Path, check: Callable[[], None] = lambda: None) -> Sources:
    """Every picture below a folder, with the caption file beside it; sets that were built are passed over.

    StorageError where there is no such folder, or too many pictures.
    """
    listing = list_pictures(folder, check)
    built = [p.parent.relative_to(folder).as_posix() for p in sorted(folder.glob(f"*/**/{SET_FILE}")) if _is_set(p)]
    passed = [f"{b}/{part}" for b in built for part in SET_PARTS]
    passed += [part for part in SET_PARTS[1:] if _is_set(folder / SET_FILE)]  # a set's own pictures may be planned anew
    names = [n for n in listing.pictures if not n.startswith(tuple(passed))]
    if len(names) > MAX_PICTURES:
        raise StorageError(f"{folder} holds {len(names):,} pictures: give a folder of at most {MAX_PICTURES:,}.")
    left_out = [x for x in listing.left_out if not x.name.startswith(tuple(passed))]
    left_out += [LeftOut(f"{b}/", "a training set that was built: its pictures are not trained again") for b in built]
    pictures, known = [], {name.lower() for name in names}
    for name in names:
        check()
        mask = _MASK.fullmatch(name)
        if mask and any(f"{mask[1]}{end}".lower() in known for end in (".png", ".jpg", ".jpeg", ".webp")):
            left_out.append(LeftOut(name, "a mask of OneTrainer beside its picture, not a picture"))
        elif name != shown(name):
            left_out.append(LeftOut(shown(name), "the name holds bytes or control characters that no text can: rename"))
        else:
            pictures.append(_file(folder, name))
    return Sources(str(folder), tuple(_with_captions(folder, pictures, check)), tuple(left_out))


def _is_set(path: Path) -> bool:
    """Whether a `set.json` is one of ours: any program may use that name."""
    return path.is_file() and (path.parent / SET_PARTS[0]).is_dir()


def _file(folder: Path, name: str) -> Source:
    parts = PurePosixPath(name).parts[:-1]
    labels = [(m[1].lower(), m[2].replace("_", " ").strip()) for p in parts if (m := _LABEL.fullmatch(p))]
    return Source(name, folder / name, labels=tuple(labels), folder=parts[-1] if parts else "")


def _with_captions(folder: Path, pictures: Sequence[Source], check: Callable[[], None]) -> list[Source]:
    beside: dict[str, dict[str, Path]] = {}  # folder -> name, as it is and in lower case -> caption file
    found = []
    for source in pictures:
        check()
        parent = str(PurePosixPath(source.name).parent)
        if parent not in beside:
            beside[parent] = _caption_files(folder / parent)
        path = _beside(beside[parent], PurePosixPath(source.name).stem)
        found.append(source if path is None else _with_caption(source, path))
    return found


def _caption_files(folder: Path) -> dict[str, Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.name.lower().endswith(CAPTION_SUFFIXES))
    except OSError:
        return {}
    folded = {name.lower(): folder / name for name in reversed(names)}
    return folded | {name: folder / name for name in names}


def _beside(files: Mapping[str, Path], stem: str) -> Path | None:
    """The caption file of a picture: of exactly its name before one that differs in case."""
    wanted = [s + end for s in (stem, stem.lower()) for end in CAPTION_SUFFIXES]
    return next((files[name] for name in wanted if name in files), None)


def _with_caption(source: Source, path: Path) -> Source:
    try:
        return replace(source, caption=read_limited(path, MAX_CAPTION_BYTES))
    except StorageError as error:
        return replace(source, caption_error=str(error))


def batch_sources(
    pictures: Sequence[RGB8 | Layers],
    masks: Sequence[A8 | None] = (),
    captions: Sequence[str] = (),
    prefix: str = "batch",
) -> Sources:
    """The pictures of a graph. `masks` and `captions`: none, one for all, or one each.

    StorageError for another number, ImageError for a mask of another size.
    """
    for what, given in (("masks", masks), ("captions", captions)):
        if len(given) not in (0, 1, len(pictures)):
            raise StorageError(
                f"There are {len(pictures)} pictures and {len(given)} {what}: give one for each, one for all, or none."
            )
    found = []
    for i, picture in enumerate(pictures):
        pixels = picture if isinstance(picture, Layers) else Layers(picture)
        mask = _of(masks, i)
        caption = _of(captions, i)
        text = caption.encode("utf-8", "surrogatepass") if caption and caption.strip() else None
        found.append(Source(f"{prefix}/{i + 1:04d}", None, pixels, _checked(mask, pixels, i), text))
    return Sources("", tuple(found))


def _of(given: Sequence[T], i: int) -> T | None:
    return None if not given else given[i] if len(given) > 1 else given[0]


def _checked(mask: A8 | None, pixels: Layers, i: int) -> A8 | None:
    height, width = pixels.rgb.shape[:2]
    if mask is not None and mask.shape != (height, width):
        raise ImageError(
            f"The mask of picture {i + 1} is {mask.shape[1]} x {mask.shape[0]} px and the picture {width} x {height} "
            "px: give it the picture's size."
        )
    return mask


def joined(first: Sources, second: Sources) -> Sources:
    """Pictures of a folder and pictures of a graph in one set."""
    return Sources(first.root or second.root, (*first.pictures, *second.pictures), (*first.left_out, *second.left_out))


def _digest(pixels: Layers, mask: A8 | None) -> str:
    found = hashlib.sha256(str(pixels.rgb.shape).encode())
    for part in (pixels.rgb, pixels.alpha, mask):
        found.update(b"" if part is None else part.tobytes())
        found.update(b"-" if part is None else b"+")
    return found.hexdigest()
