"""The nodes, in the order in which a graph uses them."""

from comfy_api.latest import ComfyExtension, io

from . import host
from .apply_character import ApplyCharacter
from .character_prompt import CharacterPrompt
from .character_sampling import CharacterSampling
from .create_character import CreateCharacter
from .load_character import LoadCharacter
from .score_likeness import ScoreLikeness

NODES: list[type[io.ComfyNode]] = [
    CreateCharacter,
    LoadCharacter,
    ApplyCharacter,
    CharacterPrompt,
    CharacterSampling,
    ScoreLikeness,
]


class LikenessExtension(ComfyExtension):
    async def on_load(self) -> None:
        host.register_folders()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
