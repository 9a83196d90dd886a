"""Load Character: a name -> the character."""

from __future__ import annotations

import logging
from dataclasses import replace

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..likeness.character import open_character, state_digest
from ..likeness.errors import LibraryError
from ..likeness.lora_versions import ACTIVE, NONE, with_version
from . import host
from .types import CharacterType

log = logging.getLogger(__name__)
NONE_YET = "(no character yet)"


class LoadCharacter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessLoadCharacter",
            display_name="Load Character",
            category="likeness/character",
            description="Loads a character profile with its cached face. No face model is needed for that.",
            search_aliases=["likeness", "character profile", "face profile", "consistent character", "identity"],
            inputs=[
                io.Combo.Input(
                    "character",
                    options=host.library().slugs() or [NONE_YET],
                    tooltip="Folder name of a character in models/characters. Make one with Create Character.",
                ),
                io.Int.Input(
                    "lora_version",
                    default=ACTIVE,
                    min=NONE,
                    max=9999,
                    optional=True,
                    advanced=True,
                    tooltip="Draw with another version of its LoRA, to try it; the profile stays as it is. 0: the "
                    "active one. -1: without a LoRA.",
                ),
            ],
            outputs=[
                CharacterType.Output(
                    "CHARACTER", display_name="character", tooltip="The character, for the other nodes."
                ),
                io.Image.Output(
                    "reference",
                    display_name="reference",
                    tooltip="Its most important reference picture, for img2img and edit models.",
                ),
                io.String.Output("name", display_name="name", tooltip="Its folder name, for file names."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, character: str, **_: object) -> list[str]:
        """The character on disk, and the face models that could complete it."""
        return [state_digest(host.library(), character), *(pack.name for pack in host.face_packs())]

    @classmethod
    def execute(cls, character: str, lora_version: int = ACTIVE) -> io.NodeOutput:
        if character == NONE_YET:
            raise LibraryError(
                "There is no character yet: make one with Create Character, then press R to refresh the list."
            )
        opened = open_character(host.library(), character, host.analyser)
        opened = replace(opened, profile=with_version(opened.profile, lora_version))
        for problem in opened.problems:
            log.warning("%s: %s", character, problem)
        picture = opened.reference_image()
        # A character of LoRA and words alone has no picture; only a graph that asks for one stops.
        none = ExecutionBlocker(f"Character {character!r} has no reference picture: add one with Create Character.")
        return io.NodeOutput(opened, none if picture is None else host.to_image([picture]), opened.slug)
