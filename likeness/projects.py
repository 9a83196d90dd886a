"""Projects: what all pictures of a production share, `_shared/projects/<slug>.toml` in the library.

    name = "Night City"
    checkpoint = "sdxl/juggernaut.safetensors"
    loras = "neon_style:0.6"
    quality = "high"
    [profiles.portrait]                       generation profiles: the same fields for some of the characters
    sampling = { width = 832, height = 1216 }
    [characters]
    ada = "portrait"                          which character uses which of them
    [routes.grim]                             named checkpoints by purpose and rating, see `routes`
    file = "sdxl/grim.safetensors"
    family = "sdxl"
    purpose = "action"

What was set most specifically counts, number by number (`settings_for`):

    quality preset < project < the character's own profile < the generation profile it uses in the project
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from . import prompt
from .errors import LibraryError, quoted
from .library import Library
from .method import NATIVE_SIZE
from .profile import BaseFamily, Line, ModelFile, NamedCheckpoint, Profile, Sampling, Slug, Text, Value
from .profile_toml import check_as, emit_table, read_table
from .shared_files import (
    PROJECTS,
    missing,
    shared_lock,
    shared_names,
    shared_path,
    shared_read,
    shared_slug,
    shared_trash,
    shared_update,
    shared_write,
)

Quality = Literal["draft", "standard", "high", "ultra"]
QUALITIES: tuple[str, ...] = get_args(Quality)
MAX_PROFILES, MAX_ROUTES, MAX_CHARACTERS = 100, 100, 1000
_HEADER = "# A project of Likeness. Likeness rewrites this file: keep remarks in `notes`, comments are lost.\n"
_STEP = 64  # px; every family takes sizes that are multiples of it


@dataclass(frozen=True)
class QualityPreset:
    """What a quality means where nobody has set a number."""

    steps: int
    scale: float  # of the family's native size, at which most models draw best
    upscale: float  # by how much to enlarge the finished picture; a hint for the graph


QUALITY: Mapping[str, QualityPreset] = {
    "draft": QualityPreset(12, 0.75, 1.0),
    "standard": QualityPreset(25, 1.0, 1.0),
    "high": QualityPreset(35, 1.0, 1.5),
    "ultra": QualityPreset(50, 1.0, 2.0),
}
# (cfg, sampler, scheduler) as ComfyUI's own example graphs draw with each family; guidance-distilled ones run at 1.
_UNET = (7.0, "dpmpp_2m", "karras")
_DRAWN_WITH = {
    "sd3": (4.5, "dpmpp_2m", "sgm_uniform"),
    "flux": (1.0, "euler", "simple"),
    "flux2": (1.0, "euler", "simple"),
    "chroma": (4.0, "euler", "simple"),
    "qwen_image": (2.5, "euler", "simple"),
    "z_image": (1.0, "res_multistep", "simple"),
    "hunyuan_video": (1.0, "euler", "simple"),
    "wan": (6.0, "uni_pc", "simple"),
}


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty: type a name")
    return text


class GenerationProfile(Value):
    """How some pictures of a project are made. What is left empty comes from the project."""

    checkpoint: ModelFile | None = None  # as listed in models/checkpoints
    family: BaseFamily | None = None  # base family of the checkpoint, for programs that do not open it
    vae: ModelFile | None = None  # as listed in models/vae; None: the checkpoint's own
    loras: Text = ""  # a LoRA stack, see `lora_stack`; joined to the project's
    sampling: Sampling = Sampling()
    negative: Text = ""  # joined to the project's
    style: Text = ""  # words for the prompt, joined to the project's
    quality: Quality | None = None
    notes: Text = ""  # for people; never used


class Project(GenerationProfile):
    """One project."""

    schema_version: Literal[1] = 1
    name: Annotated[Line, StringConstraints(min_length=1, max_length=80), AfterValidator(_words)]
    slug: Slug  # the file's name
    quality: Quality = "standard"
    routes: dict[Slug, NamedCheckpoint] = Field(default_factory=dict, max_length=MAX_ROUTES)
    profiles: dict[Slug, GenerationProfile] = Field(default_factory=dict, max_length=MAX_PROFILES)
    characters: dict[Slug, Slug] = Field(default_factory=dict, max_length=MAX_CHARACTERS)  # slug -> name in profiles

    @model_validator(mode="after")
    def _profiles_are_there(self) -> Project:
        for slug, name in self.characters.items():
            if name not in self.profiles:
                there = ", ".join(self.profiles) or "none"
                raise ValueError(f"characters.{slug} uses profile {name!r}, which is not in profiles; there: {there}")
        return self


# ---- on disk


def parse_project(data: bytes, source: Path | str = "project.toml") -> Project:
    """ProfileError with all findings, never anything else."""
    return check_as(Project, read_table(data, source), source)


def emit_project(project: Project, source: Path | str = "project.toml") -> bytes:
    """`parse_project(emit_project(p)) == p`. ProfileError when it could not be read back."""
    check_as(Project, project.model_dump(), source)
    values = project.model_dump(mode="json", exclude_defaults=True)
    head = {key: getattr(project, key) for key in ("schema_version", "name", "slug", "quality")}
    lines = emit_table({**head, **{k: v for k, v in values.items() if k not in head}})
    return (_HEADER + "\n".join(lines).strip() + "\n").encode()


def project_slugs(library: Library) -> list[str]:
    return shared_names(library, PROJECTS)


def load_project(library: Library, name: str) -> Project:
    """By its file name, or by the name it is shown under. LibraryError when there is none, ProfileError when it is
    wrong."""
    slug = shared_slug(PROJECTS, name)
    data = shared_read(library, PROJECTS, slug)
    if data is None:
        raise missing(library, PROJECTS, slug)
    return _checked(data, library, slug)


def _checked(data: bytes, library: Library, slug: str) -> Project:
    path = shared_path(library, PROJECTS, slug)
    project = parse_project(data, path)
    if project.slug != slug:
        raise LibraryError(f"{path}: slug is {project.slug!r} but the file is named {slug!r}: make them equal.")
    return project


def new_project(library: Library, name: str, **values: Any) -> Project:
    """Written. LibraryError when the name is taken, ProfileError for values that a project cannot have."""
    slug = shared_slug(PROJECTS, name)
    project = check_as(Project, {"name": name, "slug": slug, **values}, f"project {slug}")
    with shared_lock(library, PROJECTS, slug):
        if shared_read(library, PROJECTS, slug) is not None:
            raise LibraryError(f"A project {slug!r} exists already: choose another name, or change that one.")
        shared_write(library, PROJECTS, slug, emit_project(project))
    return project


def update_project(library: Library, name: str, change: Callable[[Project], Project]) -> Project:
    """Read, change and write under its lock, so that no other program's change is lost."""
    slug, made = shared_slug(PROJECTS, name), list[Project]()

    def changed(data: bytes | None) -> bytes:
        if data is None:
            raise missing(library, PROJECTS, slug)
        made.append(change(_checked(data, library, slug)))
        if made[0].slug != slug:
            raise LibraryError(f"A change cannot turn project {slug!r} into {made[0].slug!r}: make a new one.")
        return emit_project(made[0], f"project {slug}")

    shared_update(library, PROJECTS, slug, changed)
    return made[0]


def trash_project(library: Library, name: str) -> Path:
    """To the library's .trash; returns where it lies now."""
    return shared_trash(library, PROJECTS, shared_slug(PROJECTS, name))


def changed_fields(project: Project, values: Mapping[str, Any], profile: str = "") -> Project:
    """The project with these fields set, of its generation profile `profile` where one is named, which is made where
    there is none. None empties a field. `sampling` is merged, number by number. ProfileError for wrong values."""
    table = project.model_dump(mode="json", exclude_none=True)
    part = table["profiles"].setdefault(profile, {}) if profile else table
    given = values.get("sampling", {})
    sampling = {} if given is None else {**part.get("sampling", {}), **given}
    merged = {**part, **values, "sampling": {k: v for k, v in sampling.items() if v is not None}}
    part.clear()
    part.update({k: v for k, v in merged.items() if v is not None})
    return check_as(Project, table, f"project {project.slug}")


# ---- what counts


@dataclass(frozen=True)
class GenerationSettings:
    """Everything that a picture of a character in a project is made with. No number is missing."""

    family: str
    quality: str
    steps: int
    cfg: float
    sampler: str  # ComfyUI's name
    scheduler: str  # ComfyUI's name
    width: int  # px
    height: int  # px
    denoise: float
    upscale: float  # of the finished picture, 1 is none; a hint for the graph
    checkpoint: str | None  # as listed in models/checkpoints; None where nobody has named one
    vae: str | None  # as listed in models/vae; None: the checkpoint's own
    loras: tuple[str, ...]  # LoRA stacks, the general one first, for lora_stack.parse_stacks
    negative: str
    style: str
    origins: Mapping[str, str] = field(default_factory=dict)  # field above -> who set it

    def origin(self, name: str) -> str:
        return self.origins.get(name, "")

    def as_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "origins"}
        return {**values, "loras": list(self.loras), "origins": dict(self.origins)}


def generation_profile(project: Project, profile: Profile | None) -> tuple[str, GenerationProfile]:
    """Name and values of the generation profile that the character uses in the project; ("", empty) for none."""
    name = "" if profile is None else project.characters.get(profile.slug, "")
    return name, project.profiles.get(name, GenerationProfile())


def settings_for(project: Project, profile: Profile | None, family: str) -> GenerationSettings:
    """What counts for a character in a project on a base family; `profile` None: for nobody in particular.

    Number by number, the later of these: the quality preset and what the family is usually drawn with, the project's
    sampling, the sampling in the character's profile, and that of the generation profile the character uses in the
    project. LoRA stacks, negative prompt and style words add up. A VAE goes with the checkpoint that it was named
    beside.
    """
    name, special = generation_profile(project, profile)
    by_project, by_special = f"project {project.slug}", f"profile {name} of project {project.slug}"
    quality = special.quality or project.quality
    values, origins = _usual(quality, family)
    own = Sampling() if profile is None else profile.settings(family).sampling
    by_character = "" if profile is None else f"character {profile.slug}"
    for sampling, by in ((project.sampling, by_project), (own, by_character), (special.sampling, by_special)):
        given = sampling.model_dump(exclude_none=True)
        values |= given
        origins |= dict.fromkeys(given, by)
    checkpoint, vae = _files(project, special)
    fields = {"quality": quality, "checkpoint": checkpoint, "vae": vae}
    origins |= {k: by_special if getattr(special, k) else by_project for k, value in fields.items() if value}
    both: Sequence[GenerationProfile] = (project, special)
    return GenerationSettings(
        family=family,
        loras=tuple(part.loras for part in both if part.loras.strip()),
        negative=prompt.join(*(part.negative for part in both)),
        style=prompt.join(*(part.style for part in both)),
        origins=origins,
        **fields,
        **values,
    )


def _files(project: Project, special: GenerationProfile) -> tuple[str | None, str | None]:
    """(checkpoint, VAE); the project's VAE was named beside the project's checkpoint, and goes with no other."""
    if special.checkpoint is not None:
        return special.checkpoint, special.vae
    return project.checkpoint, special.vae or project.vae


def _usual(quality: str, family: str) -> tuple[dict[str, Any], dict[str, str]]:
    """(values, who set each) before anybody has set one."""
    preset = QUALITY[quality]
    side = int(NATIVE_SIZE.get(family, 1024) * preset.scale) // _STEP * _STEP
    cfg, sampler, scheduler = _DRAWN_WITH.get(family, _UNET)
    by_quality = {"steps": preset.steps, "width": side, "height": side, "upscale": preset.upscale}
    by_family = {"cfg": cfg, "sampler": sampler, "scheduler": scheduler, "denoise": 1.0}
    origins = {**dict.fromkeys(by_quality, f"quality {quality}"), **dict.fromkeys(by_family, f"usual for {family}")}
    return {**by_quality, **by_family}, origins


def assigned(project: Project, slug: str, name: str | None) -> Project:
    """The project with that character using the generation profile `name`, or none. LibraryError for an unknown one."""
    if name is not None and name not in project.profiles:
        there = ", ".join(project.profiles) or "none"
        raise LibraryError(f"Project {project.slug!r} has no generation profile {quoted(name)}; there: {there}.")
    others = {k: v for k, v in project.characters.items() if k != slug}
    return project.model_copy(update={"characters": others if name is None else {**others, slug: name}})
