"""What a character is: the contents of `profile.toml`.

Everything is optional that a preset can supply; `method.resolve` fills the gaps. Values are frozen:
change one with `model_copy(update=...)` and save it through the library.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from .errors import LikenessError
from .paths import SLUG_PATTERN, check_relative, check_slug

SCHEMA_VERSION = 1
MAX_REFERENCES = 500

BaseFamily = Literal[
    "sd15", "sdxl", "kolors", "sd3", "flux", "flux2", "chroma", "qwen_image", "z_image", "hunyuan_video", "wan", "other"
]
Method = Literal["lora_faceid", "lora_only", "faceid_only", "img2img"]
PresetName = Literal["balanced", "face_forward", "double_shortcut"]
StrengthSource = Literal["preset", "swept", "hand"]
Rating = Literal["general", "mature", "explicit"]  # what a route may show; all but the first need `adult`

FAMILIES: tuple[str, ...] = get_args(BaseFamily)
METHODS: tuple[str, ...] = get_args(Method)
PRESETS: tuple[str, ...] = get_args(PresetName)
RATINGS: tuple[str, ...] = get_args(Rating)


def one_line(text: str) -> str:
    """`text` as it is; ValueError where it would not stand on one line."""
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        raise ValueError("contains a line break or control character: write it on one line")
    return text


def no_control(text: str) -> str:
    """`text` as it is; ValueError for control characters other than line breaks and tabs."""
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in text):
        raise ValueError("contains a control character: remove it")
    return text


def _model_file(text: str) -> str:
    parts = text.replace("\\", "/").split("/")
    if any(p in ("", ".", "..") for p in parts) or ":" in parts[0]:
        raise ValueError("write the name as ComfyUI lists it, inside its models folder, without '..'")
    return one_line(text)


def _inside(text: str) -> str:
    try:
        return check_relative(text)
    except LikenessError as error:
        raise ValueError(str(error)) from None


def _slug(text: str) -> str:
    try:
        return check_slug(text)
    except LikenessError as error:
        raise ValueError(str(error)) from None


Line = Annotated[str, StringConstraints(max_length=200), AfterValidator(one_line)]
Text = Annotated[str, StringConstraints(max_length=8000), AfterValidator(no_control)]
ModelFile = Annotated[str, StringConstraints(min_length=1, max_length=400), AfterValidator(_model_file)]
Slug = Annotated[str, StringConstraints(pattern=f"^{SLUG_PATTERN}$"), AfterValidator(_slug)]
InFolder = Annotated[str, AfterValidator(_inside)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Value(BaseModel):
    """Frozen, with no field that is not named and no silent change of type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Reference(Value):
    """A picture that the identity is computed from."""

    file: InFolder  # relative to the character's folder, e.g. "references/001.png"
    weight: float = Field(default=1.0, ge=0.0, le=10.0)  # share in the mean; 0 leaves it out
    source: Line = ""  # what the user called the picture; for people


Cosine = Annotated[float, Field(ge=-1.0, le=1.0)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]


class Comparison(Value):
    """How a LoRA version did against what the character was drawn with before, on the same seeds and prompts.

    A rate is accepted / measurable; None where nothing could be measured.
    """

    date: Line  # ISO 8601
    tool: Line = ""
    pictures: int = Field(ge=1, le=100_000)  # of each side
    seeds: Line = ""  # as whoever drew them says
    rate: Share | None = None
    similarity: Cosine | None = None  # mean of the measurable pictures
    measurable: int = Field(default=0, ge=0)
    copies: int = Field(default=0, ge=0)  # of references
    against: Line  # method and version, e.g. "faceid_only" or "lora_faceid v2"
    against_rate: Share | None = None
    against_similarity: Cosine | None = None
    against_measurable: int = Field(default=0, ge=0)
    against_copies: int = Field(default=0, ge=0)
    better: int = Field(default=0, ge=0)  # pairs in which only this version's picture is accepted
    worse: int = Field(default=0, ge=0)  # pairs in which only the other's is
    p: Share | None = None  # exact McNemar test of those two, two-sided; None without such a pair
    face_model: Line  # the pack that measured
    conditioned: bool = False  # the same face model also steered FaceID, so the figures are flattered
    switched: bool = False  # whether the profile took the version for it
    verdict: Text = ""  # for people, with the rule


class LoraVersion(Value):
    """One trained LoRA of this character."""

    file: ModelFile  # as listed in models/loras
    version: int = Field(ge=1, le=9999)
    trained_on: Line = ""  # base model and training set, for people
    notes: Text = ""
    active: bool = True
    sha256: Sha256 = ""  # of the file as it was registered; "" is not known
    date: Line = ""  # ISO 8601, when it was registered
    base_model: Line = ""  # checkpoint it was trained on, as its file says
    training_set: Line = ""
    steps: int | None = Field(default=None, ge=0, le=10**9)  # trained
    rank: int | None = Field(default=None, ge=1, le=65536)
    alpha: float | None = Field(default=None, ge=-1e6, le=1e6)  # it acts with alpha / rank
    comparison: Comparison | None = None  # the newest


class FaceIDAssets(Value):
    """Which adapter steers the face. Empty: the best one that is installed."""

    adapter: ModelFile | None = None  # as listed in models/ipadapter
    companion_lora: ModelFile | None = None  # as listed in models/loras


class Strengths(Value):
    """How strongly each asset acts. A missing number comes from the preset."""

    lora_model: float | None = Field(default=None, ge=-10.0, le=10.0)  # character LoRA on the UNet
    lora_clip: float | None = Field(default=None, ge=-10.0, le=10.0)  # character LoRA on the text encoder
    faceid_weight: float | None = Field(default=None, ge=-1.0, le=5.0)  # FaceID attention; below 0 steers away
    faceid_weight_v2: float | None = Field(default=None, ge=-1.0, le=5.0)  # shortcut of FaceID Plus V2
    companion_lora: float | None = Field(default=None, ge=-10.0, le=10.0)  # the LoRA the adapter was trained with
    start: Share | None = None  # FaceID acts from this share of the sampling steps ...
    end: Share | None = None  # ... to this one
    source: StrengthSource = "hand"

    @model_validator(mode="after")
    def _window(self) -> Strengths:
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ValueError(f"start ({self.start}) comes after end ({self.end}): swap them")
        return self


class Sampling(Value):
    """KSampler settings. A missing one comes from the preset."""

    steps: int | None = Field(default=None, ge=1, le=1000)
    cfg: float | None = Field(default=None, ge=0.0, le=100.0)
    sampler: Line | None = None  # ComfyUI's name, e.g. "dpmpp_2m"
    scheduler: Line | None = None  # ComfyUI's name, e.g. "karras"
    width: int | None = Field(default=None, ge=16, le=16384)  # px
    height: int | None = Field(default=None, ge=16, le=16384)  # px
    denoise: Share | None = None


class SweepEvidence(Value):
    """Where swept strengths come from: what a sweep drew and measured. "control" is its weakest cell."""

    date: Line  # ISO 8601
    tool: Line = ""
    rule: Text  # how the winner was chosen, in one sentence
    checkpoint: Line = ""  # as ComfyUI lists it; "" where the graph does not tell
    mode: Literal["halving", "full"] = "halving"
    cells: int = Field(ge=1)
    renders: int = Field(ge=1)  # pictures
    seeds: int = Field(ge=1)
    prompts: int = Field(ge=1)
    likeness: Cosine  # mean similarity of the winner's measurable pictures
    control_likeness: Cosine | None = None
    measurable: Share = 1.0  # of the winner's pictures
    copies: int = Field(default=0, ge=0)  # of references among the winner's pictures
    prompt_score: Cosine | None = None  # mean cosine of picture and text
    control_prompt_score: Cosine | None = None
    variety: float | None = Field(default=None, ge=0.0, le=2.0)  # mean distance of pictures over seeds
    control_variety: float | None = Field(default=None, ge=0.0, le=2.0)
    variety_measure: Line = ""
    face_model: Line  # the pack that measured
    conditioned: bool = False  # the same face model also steered FaceID, so likeness is flattered
    folder: Line = ""  # pictures and table, below ComfyUI's output folder


class BaseSettings(Value):
    """Assets and strengths for one base family."""

    method: Literal["auto", Method] = "auto"
    preset: PresetName = "balanced"
    loras: tuple[LoraVersion, ...] = Field(default=(), max_length=200)
    faceid: FaceIDAssets = FaceIDAssets()
    strengths: Strengths = Strengths(source="preset")
    sampling: Sampling = Sampling()
    sweep: SweepEvidence | None = None  # what the strengths rest on where their source is "swept"

    @property
    def lora(self) -> LoraVersion | None:
        """The active version."""
        return next((v for v in self.loras if v.active), None)

    @model_validator(mode="after")
    def _one_active(self) -> BaseSettings:
        active = [v.version for v in self.loras if v.active]
        if len(active) > 1:
            raise ValueError(f"loras: versions {active} are all active: leave `active = true` on one of them")
        numbers = [v.version for v in self.loras]
        if len(set(numbers)) != len(numbers):
            raise ValueError(f"loras: version numbers {numbers} repeat: give each version its own number")
        return self


class NamedCheckpoint(Value):
    """A checkpoint this character is drawn with, under a name of the user's."""

    file: ModelFile  # as listed in models/checkpoints
    family: BaseFamily
    purpose: Line = ""
    rating: Rating = "general"


class Outfit(Value):
    """Clothes that a character wears under a name of the user's."""

    text: Line  # as in a prompt, e.g. "a red summer dress"
    trigger: Line = ""  # the word its LoRA was trained on
    loras: Line = ""  # LoRAs that come with it, e.g. "red_dress:0.7, silk:0.4"; see `lora_stack`


class Calibration(Value):
    """A character's accept band under one face model, as `calibration.calibrate` found it."""

    face_model: Line  # the pack's name; `recogniser` decides
    recogniser: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]  # sha256 of its file
    references: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]  # which ones the band rests on
    threshold: Cosine  # accepted from here on
    genuine_mean: Cosine  # of the references, each against the centroid of the others
    genuine_spread: float = Field(ge=0.0, le=1.0)  # standard deviation, shrunk
    genuine_min: Cosine
    impostor_mean: Cosine  # of strangers and other characters against this one's centroid
    impostor_spread: float = Field(ge=0.0, le=1.0)
    impostor_max: Cosine
    others_max: Cosine | None = None  # of the other characters' faces alone, without assumed strangers
    false_reject: Share  # expected share of the character's own pictures below the threshold
    false_accept: Share  # expected share of strangers' pictures above it
    nearest_character: Line = ""  # slug
    nearest_similarity: Cosine | None = None  # of the two centroids
    margin: float | None = Field(default=None, ge=-2.0, le=2.0)  # genuine_min - nearest_similarity
    reference_count: int = Field(ge=0, le=MAX_REFERENCES)
    impostor_count: int = Field(ge=0)  # faces of other characters; synthetic strangers come on top
    same_person: Line = ""  # slugs of characters too near to be impostors, with ", " between them
    date: Line  # ISO 8601
    tool: Line = ""

    @model_validator(mode="after")
    def _between(self) -> Calibration:
        if not self.impostor_mean < self.threshold < self.genuine_mean:
            raise ValueError(
                f"threshold {self.threshold} is not between strangers ({self.impostor_mean}) and the character "
                f"({self.genuine_mean}): calibrate again"
            )
        return self


class Profile(Value):
    """One character."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Annotated[str, StringConstraints(min_length=1, max_length=80), AfterValidator(one_line)]
    slug: Slug  # the folder's name
    trigger: Line = ""  # the word the character LoRA was trained on
    class_word: Line = ""  # "woman", "man", "robot": what kind of thing the trigger is
    description: Text = ""  # joined to every prompt
    negative: Text = ""  # joined to every negative prompt
    notes: Text = ""  # for people; never used
    face_model: Line = ""  # face-model pack the identity is computed with, e.g. "buffalo_l"; "" is the best installed
    references: tuple[Reference, ...] = Field(default=(), max_length=MAX_REFERENCES)
    base: dict[BaseFamily, BaseSettings] = Field(default_factory=dict)
    checkpoints: dict[Slug, NamedCheckpoint] = Field(default_factory=dict, max_length=100)
    adult: bool = False  # the user says that this is an adult; routes other than "general" are refused otherwise
    outfits: dict[Slug, Outfit] = Field(default_factory=dict, max_length=200)
    calibrations: tuple[Calibration, ...] = Field(default=(), max_length=50)  # one per face model

    @model_validator(mode="after")
    def _unique_references(self) -> Profile:
        files = [r.file for r in self.references]
        twice = sorted({f for f in files if files.count(f) > 1})
        if twice:
            raise ValueError(f"references: {', '.join(twice)} is listed twice: keep one entry")
        return self

    def settings(self, family: str) -> BaseSettings:
        """Settings for `family`; the defaults where the profile has none."""
        return self.base.get(family, BaseSettings())  # type: ignore[call-overload]
