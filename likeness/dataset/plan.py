"""What a training set will hold, before anything is written: a value that can be shown, edited and read back.

A plan holds no time and no path but `root`, so the same pictures, rules and choices give the same bytes.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, ValidationError, model_validator

from ..errors import LikenessError, first_fault
from ..profile import BaseFamily, Line, Share, Slug, Text, Value
from .buckets import Bucket, Shape, buckets_of
from .groups import GroupBy

SCHEMA_VERSION: Literal[1] = 1
MAX_BYTES = 64 * 1024 * 1024
MAX_PICTURES = 20_000
MAX_REPEATS = 1000
MAX_CAPTION = 2000  # characters
MAX_FOLDER = 120  # characters


M = TypeVar("M", bound=BaseModel)


def _one_line(text: str) -> str:
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c == "\ufeff" for c in text):
        raise ValueError("contains a line break, control character or byte order mark: write it on one line")
    if not text.strip():
        raise ValueError("is blank: write at least the trigger word")
    return text


def check_caption(text: str) -> str:
    """`text` if it can be a caption, else LikenessError."""
    try:
        _one_line(text)
    except ValueError as error:
        raise LikenessError(f"The caption {error}.") from None
    if len(text) > MAX_CAPTION:
        raise LikenessError(f"The caption has {len(text):,} characters; {MAX_CAPTION:,} are the most.")
    return text


Px = Annotated[int, Field(ge=1, le=100_000)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Source = Annotated[str, StringConstraints(min_length=1, max_length=4096)]  # below the root with "/", or "batch/0003"
Caption = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CAPTION), AfterValidator(_one_line)]
Stem = Annotated[str, StringConstraints(pattern=r"^[0-9]{4,6}$")]
Repeats = Annotated[int, Field(ge=1, le=MAX_REPEATS)]

Framing = Literal["", "portrait", "upper body", "full body"]
Angle = Literal["", "frontal", "three-quarter left", "three-quarter right", "profile left", "profile right"]
Tilt = Literal["", "level", "looking up", "looking down"]
Expression = Literal["", "smiling", "neutral"]
Light = Literal["", "bright", "dark", "even"]
RejectCode = Literal[
    "unreadable",
    "too small",
    "upscaled",
    "shape",
    "no face",
    "several faces",
    "not the person",
    "not measurable",
    "copy",
    "blurred",
    "exposure",
    "border",
    "lying",
    "cut",
    "duplicate",
    "near duplicate",
    "by hand",
    "no picture",
]


class Box(Value):
    """A part of the upright original."""

    left: int = Field(ge=0, le=100_000)  # px
    top: int = Field(ge=0, le=100_000)  # px
    width: Px
    height: Px

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height


class Facts(Value):
    """What was measured of one picture; "" is not known. For captions, balance, groups and people."""

    framing: Framing = ""  # from face height / height of the crop
    angle: Angle = ""  # left and right as the viewer sees the nose point
    tilt: Tilt = ""
    expression: Expression = ""  # from the width of the mouth between its corners, where the face is frontal enough
    light: Light = ""  # mean grey of the crop
    outfit: Line = ""  # of folder names or tags, never guessed from pixels
    background: Line = ""  # of folder names or tags, or the name of a cluster of embeddings
    tags: tuple[Line, ...] = Field(default=(), max_length=500)  # of a tagger or an existing caption


class Item(Value):
    """One picture that is taken."""

    source: Source
    sha256: Sha256  # of the file's bytes; of a tensor its pixels
    width: Px  # of the upright original
    height: Px
    box: Box
    bucket_width: Px  # of the written file
    bucket_height: Px
    stem: Stem  # of the written file; digits only: sd-scripts reads meaning into "_"
    caption: Caption  # one line, trigger first
    repeats: Repeats = 1
    group: Line = ""
    similarity: float | None = Field(default=None, ge=-1.0001, le=1.0001)  # cosine; None where not measured
    verdict: Line = ""  # of the identity gate
    facts: Facts = Facts()
    alpha: bool = False  # written with an alpha channel: 255 is trained, 0 is not

    @property
    def bucket(self) -> Bucket:
        return Bucket(self.bucket_width, self.bucket_height)

    @property
    def scale(self) -> float:
        """Pixels of the written file per pixel of the original; above 1 it was enlarged."""
        return self.bucket_width / self.box.width


class Rejected(Value):
    """One picture that is not taken, and why. A `Choice` takes it all the same."""

    source: Source
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")  # "" where the file could not be read
    code: RejectCode
    reason: Line  # one sentence
    of: str = Field(default="", max_length=4096)  # the picture it duplicates


class Choice(Value):
    """What a person decided about one picture. It outranks every rule and is kept when a set is planned again."""

    source: Source
    take: bool | None = None
    caption: Caption | None = None
    box: Box | None = None
    repeats: Repeats | None = None
    group: Line | None = None


Channel = Annotated[int, Field(ge=0, le=255)]
_UNEVEN = 1.5  # px by which a box of whole numbers may be off its bucket's shape


class Rules(Value):
    """When a picture is not taken. Every threshold with its unit and range."""

    need_face: bool = True  # False: sets of backgrounds, poses, things
    identity: Literal["gate", "note", "off"] = "gate"  # note: measured and shown, nothing is rejected for it
    not_measurable: Literal["reject", "keep"] = "reject"  # faces that no encoder can judge: turned away, far, drawn
    copies: Literal["keep", "reject"] = "keep"  # pictures that are nearly a reference; references themselves are good
    several_faces: Literal["reject", "crop", "keep"] = "reject"  # crop: without the others, where that is possible
    other_face: Share = 0.4  # a face in the crop counts as another person from this share of the chosen one's width
    face_width: float = Field(default=48.0, ge=0.0, le=2000.0)  # px in the written file, at least
    sharpness: float = Field(default=60.0, ge=0.0, le=10_000.0)  # variance of the Laplacian of the 112 px face crop
    picture_sharpness: float = Field(default=12.0, ge=0.0, le=10_000.0)  # of the whole at 256 px; where no face counts
    roll: float = Field(default=60.0, ge=0.0, le=180.0)  # degrees that a face may be turned in the picture's plane
    cut: Share = 0.08  # of the face's width or height, at most, may lie beyond the picture's edge
    darkest: float = Field(default=35.0, ge=0.0, le=255.0)  # mean grey of the face, at least
    brightest: float = Field(default=225.0, ge=0.0, le=255.0)  # mean grey of the face, at most
    clipped: Share = 0.35  # share of pure black and pure white pixels in the face, or in a picture without one
    border: Literal["trim", "reject", "keep"] = "trim"  # uniform bars at opposite sides
    duplicates: Literal["reject", "keep"] = "reject"
    near_bits: int = Field(default=10, ge=0, le=32)  # bits of 64 in which dHash and pHash may each differ
    near_cosine: float = Field(default=0.95, ge=0.0, le=1.0)  # of the 32 px thumbnails (and faces), at least
    upscale: float = Field(default=1.0, ge=1.0, le=4.0)  # a picture may be enlarged that much
    lost: Share = 0.6  # of the picture, at most, may lie outside the crop
    smallest: int = Field(default=256, ge=16, le=4096)  # px of the shorter side of what is left of the picture
    alpha: Literal["composite", "keep"] = "composite"  # keep: as a mask of what is trained
    backdrop: tuple[Channel, Channel, Channel] = (
        128,
        128,
        128,
    )  # RGB behind transparent pixels, whatever becomes of the alpha
    group_by: GroupBy = ""  # what names the groups
    even_groups: bool = False  # smaller groups get more repeats, so that all are trained about equally often


class Wish(Value):
    """What one wants trained; `presets` computes repeats and epochs from it."""

    family: BaseFamily = "sd15"
    steps: int = Field(default=3000, ge=1, le=1_000_000)  # in total
    batch: int = Field(default=1, ge=1, le=256)
    rank: int | None = Field(default=None, ge=1, le=1024)  # None: the family's preset


class SetPlan(Value):
    """A whole training set."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Slug  # of the set
    character: Line = ""  # display name
    slug: Slug  # of the character
    trigger: Annotated[Line, StringConstraints(min_length=1)]
    class_word: Line = ""
    root: str = Field(default="", max_length=4096)  # folder that the sources lie below; "" for pictures of a graph
    shape: Shape = Shape()
    rules: Rules = Rules()
    wish: Wish = Wish()
    regular: bool = False  # regularisation pictures: captions name the class alone
    items: tuple[Item, ...] = Field(default=(), max_length=MAX_PICTURES)
    rejected: tuple[Rejected, ...] = Field(default=(), max_length=MAX_PICTURES)
    choices: tuple[Choice, ...] = Field(default=(), max_length=MAX_PICTURES)
    clusters: tuple[tuple[str, ...], ...] = Field(default=(), max_length=MAX_PICTURES)  # the best one first
    notes: tuple[Text, ...] = Field(default=(), max_length=200)  # for people

    @property
    def family(self) -> BaseFamily:
        return self.wish.family

    @property
    def class_tokens(self) -> str:
        """What sd-scripts trains a picture without caption on: trigger and class word."""
        return f"{self.trigger} {self.class_word}".strip()

    def folder_of(self, item: Item) -> str:
        """Name of the folder below `img/`: "10_ohwx woman"."""
        return folder_name(item.repeats, self.trigger, self.class_word, self.slug)

    @property
    def folder_names(self) -> tuple[tuple[int, str], ...]:
        """(repeats, folder below `img/`), one for each number of repeats, ascending."""
        numbers = sorted({item.repeats for item in self.items})
        return tuple((n, folder_name(n, self.trigger, self.class_word, self.slug)) for n in numbers)

    @property
    def counts(self) -> dict[str, int]:
        """Rejections by code, most first."""
        return dict(Counter(r.code for r in self.rejected).most_common())

    @property
    def samples(self) -> int:
        """Pictures times their repeats: what one epoch shows at batch 1."""
        return sum(item.repeats for item in self.items)

    @model_validator(mode="after")
    def _consistent(self) -> SetPlan:
        sources = [i.source for i in self.items] + [r.source for r in self.rejected]
        _unique(sources, "items and rejected: source")
        _unique([i.stem for i in self.items], "items: stem")
        _unique([c.source for c in self.choices], "choices: source")
        known = set(buckets_of(self.shape))
        for item in self.items:
            if item.bucket not in known:
                raise ValueError(f"items: {item.source}: {item.bucket_width} x {item.bucket_height} px is no bucket")
            if item.box.right > item.width or item.box.bottom > item.height:
                raise ValueError(f"items: {item.source}: the box leaves the picture")
            if abs(item.box.width * item.bucket_height / item.bucket_width - item.box.height) > _UNEVEN:
                raise ValueError(f"items: {item.source}: the box is not of its bucket's shape, so it would be squeezed")
        return self


def _unique(values: list[str], what: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"{what} {twice[0]!r} appears twice")


def folder_name(repeats: int, trigger: str, class_word: str, slug: str) -> str:
    """`<repeats>_<trigger> <class>` in letters that every system and trainer takes: plain ASCII, no separators or dots.

    sd-scripts reads the number before the first "_"; ComfyUI looks for a caption by replacing every ".png" of the path.
    Captions and `dataset.toml` hold the trigger as it is.
    """
    words = " ".join(filter(None, (_plain(trigger) or slug, _plain(class_word))))
    return f"{repeats}_{words}"[:MAX_FOLDER].rstrip()


def _plain(text: str) -> str:
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join(re.sub(r"[^A-Za-z0-9 _()+-]+", " ", ascii_text).split())


def emit_plan(plan: SetPlan) -> bytes:
    """The plan as JSON: equal plans give equal bytes."""
    return (json.dumps(plan.model_dump(mode="json"), ensure_ascii=False, indent=1) + "\n").encode()


def parse_plan(data: bytes, where: Path | str = "plan.json") -> SetPlan:
    """The plan in `data`. LikenessError names the field that is wrong."""
    return read_model(SetPlan, data, where)


def read_model(model: type[M], data: bytes, where: Path | str) -> M:
    """A value in JSON. LikenessError names the field that is wrong."""
    if len(data) > MAX_BYTES:
        raise LikenessError(f"{where}: larger than {MAX_BYTES >> 20} MB: this is no training set.")
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise LikenessError(f"{where}: {first_fault(error, 'the file')}{more}.") from None
    except LikenessError as error:
        raise LikenessError(f"{where}: {error}") from None
    except (ValueError, RecursionError):
        raise LikenessError(f"{where}: nested too deeply to be a plan.") from None
