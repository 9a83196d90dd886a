"""Character Sampling: sampler settings that suit the character and the model."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..likeness.character import Character
from ..likeness.errors import LikenessError
from ..likeness.profile import METHODS, PRESETS
from . import faceid_files, host
from .on_model import PROFILE, recipe_for
from .types import CharacterType, adapter_input, sampling_outputs


class CharacterSampling(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessCharacterSampling",
            display_name="Character Sampling",
            category="likeness/character",
            description="Steps, cfg, sampler, scheduler, size and denoise for KSampler: the profile's own, else "
            "the preset's for the character's method.",
            search_aliases=["likeness", "ksampler settings", "sampling preset"],
            inputs=[
                CharacterType.Input("character", tooltip="From Load Character."),
                io.Model.Input(
                    "model", tooltip="The model that will be sampled; its base family decides the settings."
                ),
                io.Combo.Input(
                    "method",
                    options=[host.AUTO, *METHODS],
                    default=host.AUTO,
                    optional=True,
                    tooltip="As in Apply Character; use the same there.",
                ),
                io.Combo.Input(
                    "preset",
                    options=[PROFILE, *PRESETS],
                    default=PROFILE,
                    optional=True,
                    tooltip="profile: as saved with the character. A preset's name: its steps, cfg and denoise. "
                    "Use the same as strengths in Apply Character.",
                ),
                adapter_input("As in Apply Character; decides whether there is a face to steer."),
            ],
            outputs=sampling_outputs("1 draws from noise; img2img keeps more the lower it is."),
        )

    @classmethod
    def execute(
        cls,
        character: Character,
        model: Any,
        method: str = host.AUTO,
        preset: str = PROFILE,
        adapter: str = host.AUTO,
    ) -> io.NodeOutput:
        family = host.family_of(model)
        files = faceid_files.find(character, family, adapter, any_recipe=True)
        s = recipe_for(character, files, method, {"strengths": preset}).sampling
        for value, known, field in (
            (s.sampler, comfy.samplers.KSampler.SAMPLERS, "sampler"),
            (s.scheduler, comfy.samplers.KSampler.SCHEDULERS, "scheduler"),
        ):
            if value not in known:
                raise LikenessError(
                    f"profile.toml of {character.slug!r}: base.{family}.sampling.{field} is {value!r}, which this "
                    f"ComfyUI does not have; it has {', '.join(known)}."
                )
        return io.NodeOutput(s.steps, s.cfg, s.sampler, s.scheduler, s.width, s.height, s.denoise)
