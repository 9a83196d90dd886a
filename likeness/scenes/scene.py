"""A scene: one picture to make, with everything that it takes to make it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from .. import __version__, prompt
from ..best_of import MAX_SEED, next_seed
from ..errors import LikenessError
from ..profile import Line, Profile, Value, no_control, one_line
from ..profile_toml import check_as

FORMAT = 1  # of the metadata
MAX_PROMPT = 2_000_000  # characters
_WANTED = "loras_wanted"  # in the metadata: LoRAs of the scene that no node has put on
_DERIVED = 50  # bits: a browser holds 53 of a number, so that a seed can be typed again

Seeds = Literal["each", "same"]
SEEDS: tuple[Seeds, ...] = ("each", "same")

Words = Annotated[str, StringConstraints(max_length=MAX_PROMPT), AfterValidator(no_control)]
Stack = Annotated[str, StringConstraints(max_length=4000), AfterValidator(one_line)]  # LoRAs, as `lora_stack` reads it


class Scene(Value):
    """One picture to make."""

    name: Annotated[Line, StringConstraints(min_length=1)]  # a file name without suffix; unique among its like
    seed: int = Field(ge=0, le=MAX_SEED)
    prompt: Words
    negative: Words = ""
    values: dict[Line, Line] = Field(default_factory=dict, max_length=50)  # facet -> name of its entry
    loras: Stack = ""
    triggers: tuple[Line, ...] = ()  # the trigger words in the prompt
    character: Line = ""  # slug; "" where there is none
    lora_versions: dict[Line, int] = Field(default_factory=dict, max_length=50)  # base family -> the character's LoRA

    @cached_property
    def digest(self) -> str:
        """16 hex digits of everything that the picture is made of."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def metadata(
        self, picture: int = 1, pictures: int = 1, more: Mapping[str, Any] | None = None, loras_act: bool = True
    ) -> dict[str, Any]:
        """For the text chunk "likeness" of a PNG: plain JSON values, nothing of a face, no time of day.

        `picture` of `pictures`: of a batch, from 1. `more`: what else made it, for example a checkpoint. `loras_act`:
        whether the scene's LoRAs were put on; else they are named as wanted only.
        """
        about = {"format": FORMAT, "tool": f"likeness {__version__}", "digest": self.digest}
        batch = {"picture": picture, "pictures": pictures}
        idle = {} if loras_act or not self.loras else {"loras": "", _WANTED: self.loras}
        return {**about, **self.model_dump(mode="json"), **idle, **batch, **({"more": dict(more)} if more else {})}


def scene_for(profile: Profile, name: str, seed: int, text: str, negative: str = "", **more: Any) -> Scene:
    """A scene with the character's words joined to these. LikenessError names what is too long.

    `more`: fields of `Scene`.
    """
    triggers = [profile.trigger.strip()] if profile.trigger.strip() else []
    values = {"name": name, "seed": seed, "prompt": prompt.positive(profile, text), "triggers": triggers, **more}
    about = {"character": profile.slug, "lora_versions": versions_of(profile)}
    return made({**values, **about, "negative": prompt.negative(profile, negative)})


def made(values: Mapping[str, Any]) -> Scene:
    """A scene of words that somebody typed. LikenessError names what is too long."""
    return check_as(Scene, values, f"scene {values.get('name', '')}")


def scene_of(metadata: Mapping[str, Any], where: str = "metadata") -> Scene:
    """The scene that `Scene.metadata` wrote down. LikenessError when these are others."""
    if not isinstance(metadata, Mapping) or metadata.get("format") != FORMAT:
        raise LikenessError(f"{where}: written by another program, or by a newer Likeness: update Likeness.")
    wanted = {"loras": metadata[_WANTED]} if _WANTED in metadata else {}
    return check_as(Scene, {key: metadata[key] for key in Scene.model_fields if key in metadata} | wanted, where)


def seed_for(base: int, name: str, seeds: Seeds = "each", number: int = 1) -> int:
    """The seed of a scene's picture `number`, from 1.

    "each": of the scene's name, so that it stays when others come or go. "same": one for all scenes, to compare one
    thing.
    """
    if seeds == "same":
        return next_seed(base, number - 1)
    digest = hashlib.sha256(f"{base}\n{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _DERIVED)


def check_seed(seed: int, seeds: str) -> None:
    """LikenessError for a seed that no sampler takes, or a way to choose seeds that is none."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise LikenessError(f"seed: {seed!r} is not a whole number from 0 to {MAX_SEED}.")
    if seeds not in SEEDS:
        raise LikenessError(f"seeds: {seeds!r} is none of {', '.join(SEEDS)}.")


def checked_text(text: str, field: str) -> str:
    """A text for a prompt with plain line ends. LikenessError for control characters, or more than a prompt holds."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        no_control(plain)
    except ValueError as error:
        raise LikenessError(f"{field}: {error}.") from None
    if len(plain) > MAX_PROMPT:
        raise LikenessError(f"{field}: longer than {MAX_PROMPT:,} characters: shorten it.")
    return plain


def versions_of(profile: Profile) -> dict[str, int]:
    """Base family -> the version of the character's LoRA that is active there."""
    return {str(family): base.lora.version for family, base in profile.base.items() if base.lora is not None}
