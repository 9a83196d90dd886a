"""Character Prompt: the character's words joined to the user's."""

from __future__ import annotations

from comfy_api.latest import io

from ..likeness import prompt
from ..likeness.character import Character
from .types import CharacterType


class CharacterPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessCharacterPrompt",
            display_name="Character Prompt",
            category="likeness/character",
            description="Joins the character's trigger word, class word and description to your "
            "text, for CLIP Text Encode.",
            search_aliases=["likeness", "trigger word", "character text", "prompt"],
            inputs=[
                CharacterType.Input("character", tooltip="From Load Character."),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    tooltip="The scene, for example: portrait in a sunny park, soft light.",
                ),
                io.String.Input(
                    "negative",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="What to keep out, beside the character's own list.",
                ),
            ],
            outputs=[
                io.String.Output("positive", display_name="positive", tooltip="For the positive CLIP Text Encode."),
                io.String.Output(
                    "negative_text", display_name="negative", tooltip="For the negative CLIP Text Encode."
                ),
            ],
        )

    @classmethod
    def execute(cls, character: Character, text: str, negative: str = "") -> io.NodeOutput:
        return io.NodeOutput(prompt.positive(character.profile, text), prompt.negative(character.profile, negative))
