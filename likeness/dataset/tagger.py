"""WD taggers, version 3: which of some 10,000 Danbooru words fit a picture. Run on the user's own files.

    models/wd_tagger/<model>/model.onnx          picture -> a probability for each word
    models/wd_tagger/<model>/selected_tags.csv   the words: tag_id, name, category, count

From https://huggingface.co/SmilingWolf (wd-vit-tagger-v3, wd-swinv2-tagger-v3, wd-convnext-tagger-v3,
wd-vit-large-tagger-v3, wd-eva02-large-tagger-v3; licence: Apache-2.0). Preprocessing as in app.py of its wd-tagger
space: a white square around the picture, 448 px by Pillow's bicubic filter, blue first, 0..255.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import LikenessError, ModelMissingError, StorageError
from ..faces.onnx_graph import Tensor, model_file
from ..faces.runtime import Session, open_session
from ..files import read_limited
from ..images import RGB8

MODEL, WORDS = "model.onnx", "selected_tags.csv"
SOURCE = "https://huggingface.co/SmilingWolf"
SIZE = 448  # px
GENERAL, CHARACTER, RATING = 0, 4, 9  # categories of Danbooru
_MAX_WORDS = 4 * 1024 * 1024  # bytes of the list
_CHUNK = 4  # pictures in one pass
_LARGE = (
    2048  # px; from twice that a picture is averaged down first: the square around a panorama would fill the memory
)
# Smileys, in which "_" is a mouth and no blank.
_FACES = frozenset("0_0 (o)_(o) +_+ +_- ._. <o>_<o> <|>_<|> =_= >_< 3_3 6_9 >_o @_@ ^_^ o_o u_u x_x |_| ||_||".split())

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Thresholds:
    """From which probability a word fits, 0..1."""

    general: float = 0.35
    character: float = 0.85

    def __post_init__(self) -> None:
        if not 0 <= self.general <= 1 or not 0 <= self.character <= 1:
            raise LikenessError("The tagger's thresholds lie between 0 and 1.")


@dataclass(frozen=True)
class Word:
    """One output of the model."""

    name: str  # as captions write it: blanks for "_"
    category: int


@dataclass(frozen=True)
class Tag:
    """A word that fits a picture."""

    name: str
    probability: float  # 0..1


@dataclass(frozen=True)
class Tags:
    """What a tagger says of one picture, the surest first."""

    general: tuple[Tag, ...]
    character: tuple[Tag, ...]  # of well-known characters: seldom meant in a set of one's own

    @property
    def names(self) -> tuple[str, ...]:
        """For `Facts.tags`."""
        return tuple(tag.name for tag in self.general)


@dataclass(frozen=True)
class TaggerFiles:
    """One installed model."""

    name: str  # of its folder
    folder: Path


def find_taggers(roots: Iterable[Path]) -> list[TaggerFiles]:
    """All models below the folders of taggers, the newest kind first, then by name."""
    found = [TaggerFiles(f.name, f) for root in roots for f in (root, *_folders(root)) if _complete(f)]
    return sorted(found, key=lambda f: ("v3" not in f.name, f.name))


def find_tagger(roots: Iterable[Path], name: str = "") -> TaggerFiles | None:
    """The first of them, or the one of that name; None when there is none."""
    return next((f for f in find_taggers(roots) if name in ("", f.name)), None)


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(p for p in root.iterdir() if p.is_dir())
    except OSError:
        return []


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (MODEL, WORDS))


class Tagger:
    """One model, opened with the first picture."""

    def __init__(self, files: TaggerFiles, thresholds: Thresholds = Thresholds(), provider: str = "auto") -> None:
        """ModelMissingError where the files are not a WD tagger's."""
        self.name, self.thresholds = files.name, thresholds
        self._path, self._provider = files.folder / MODEL, provider
        self._words = read_words(files.folder / WORDS)
        self._input, self._batch, self._sha256 = self._checked()
        self._session: Session | None = None

    def _checked(self) -> tuple[str, int, str]:
        """Name of the input, pictures in one pass, and hash of the file."""
        known = model_file(self._path)
        inputs, outputs = known.graph.inputs, known.graph.outputs
        if len(inputs) != 1 or inputs[0].shape[1:] != (SIZE, SIZE, 3) or inputs[0].shape[0] > 1:
            raise self._wrong(f"its input is {_shown(inputs)}, not pictures of [{SIZE}, {SIZE}, 3]")
        if len(outputs) != 1 or len(outputs[0].shape) != 2 or outputs[0].shape[1] not in (0, len(self._words)):
            raise self._wrong(f"its output is {_shown(outputs)} for the {len(self._words)} words of {WORDS}")
        return inputs[0].name, inputs[0].shape[0] or _CHUNK, known.sha256

    def tag(self, pictures: Sequence[RGB8], check: Callable[[], None] = lambda: None) -> tuple[Tags, ...]:
        """The words of each picture, uint8 [H, W, 3]. `check` is called before each pass and may raise to stop."""
        found: list[Tags] = []
        for start in range(0, len(pictures), self._batch):
            check()
            pixels = np.stack([preprocess(p) for p in pictures[start : start + self._batch]])
            found += [self._chosen(row) for row in self._run(pixels)]
        return tuple(found)

    def _run(self, pixels: Floats) -> Floats:
        """Probabilities, float32 [N, words]; on the CPU where the graphics card cannot (memory, driver)."""
        try:
            found = self._once(pixels)
        except Exception as error:  # onnxruntime's exceptions share no base class below Exception
            if self._provider == "cpu":
                if isinstance(error, ModelMissingError):
                    raise
                raise self._wrong(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
            self._session, self._provider = None, "cpu"
            return self._run(pixels)
        if found.shape != (len(pixels), len(self._words)):
            raise self._wrong(f"it gave {found.shape} for {len(pixels)} pictures and {len(self._words)} words")
        if not (found.min() >= -1e-3 and found.max() <= 1 + 1e-3):
            raise self._wrong("what it gives are no probabilities")
        return found

    def _once(self, pixels: Floats) -> Floats:
        if self._session is None:
            self._session = open_session(self._path, self._provider, self._sha256)
        (found,) = self._session.run(None, {self._input: pixels})
        return np.asarray(found, dtype=np.float32)

    def _chosen(self, row: Floats) -> Tags:
        limits = {GENERAL: self.thresholds.general, CHARACTER: self.thresholds.character}
        kinds: dict[int, list[Tag]] = {GENERAL: [], CHARACTER: []}
        for i in (int(i) for i in np.argsort(-row, kind="stable")):
            word = self._words[i]
            if word.category in kinds and word.name and row[i] >= limits[word.category]:
                kinds[word.category].append(Tag(word.name, round(float(row[i]), 4)))
        return Tags(tuple(kinds[GENERAL]), tuple(kinds[CHARACTER]))

    def _wrong(self, why: str) -> ModelMissingError:
        return ModelMissingError(
            f"{self._path} is no WD tagger of version 3 ({why}): take {MODEL} and {WORDS} of one model from {SOURCE}."
        )


def _shown(tensors: Sequence[Tensor]) -> str:
    return " and ".join(f"{t.name} {list(t.shape)}" for t in tensors) or "none"


def read_words(path: Path) -> tuple[Word, ...]:
    """The list of words, in the order of the model's outputs. ModelMissingError."""
    try:
        text = read_limited(path, _MAX_WORDS).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        words = tuple(Word(readable(row["name"]), int(float(row["category"]))) for row in rows)
    except StorageError as error:
        raise ModelMissingError(f"The words of the tagger cannot be read ({error}): download {WORDS} again.") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, csv.Error):
        words = ()
    if not words or not any(w.category == GENERAL for w in words):
        raise ModelMissingError(
            f"{path} is no list of a WD tagger, which has the columns tag_id, name, category and count: "
            f"download it again from {SOURCE}."
        )
    return words


def readable(name: str) -> str:
    """A tag as captions write it; "" for one that captions cannot hold, since it has a comma or no sign that shows."""
    if name in _FACES:
        return name
    text = " ".join(name.replace("_", " ").split())
    return text if text.isprintable() and "," not in text else ""


def preprocess(picture: RGB8) -> Floats:
    """uint8 [H, W, 3] red first -> float32 [448, 448, 3] blue first, 0..255, in the middle of a white square."""
    image = Image.fromarray(picture)
    if (factor := max(image.size) // _LARGE) > 1:
        image = image.reduce(factor)
    side = max(image.size)
    square = Image.new("RGB", (side, side), (255, 255, 255))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    if side != SIZE:
        square = square.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square, dtype=np.float32)[:, :, ::-1])
