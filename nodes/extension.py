"""The nodes, in the order in which a graph uses them."""

from collections.abc import Callable

from comfy_api.latest import ComfyExtension, io

from . import host
from .apply_character import ApplyCharacter
from .apply_characters import ApplyCharacters
from .best_of_n import BestOfN, BestOfNStep
from .blend_characters import BlendCharacters
from .build_training_set import BuildTrainingSet
from .calibrate_character import CalibrateCharacter
from .character_prompt import CharacterPrompt
from .character_sampling import CharacterSampling
from .compare_versions import CompareVersions
from .compile_identity import CompileIdentity
from .consistency_report import ConsistencyReport
from .create_character import CreateCharacter
from .face_embedding import LoadFaceEmbedding, SaveFaceEmbedding
from .faceid_options import FaceIDOptionsNode
from .gate import LikenessGate
from .load_character import LoadCharacter
from .load_training_set import LoadTrainingSet
from .pick_best import PickBest
from .place_character import PlaceCharacter
from .register_lora import RegisterLora
from .score_likeness import ScoreLikeness
from .seed import Seed
from .sweep_values import SweepValues
from .tune_strengths import SweepRender, SweepRound, TuneStrengths

NODES: list[type[io.ComfyNode]] = [
    CreateCharacter,
    LoadCharacter,
    LoadFaceEmbedding,
    BlendCharacters,
    SaveFaceEmbedding,
    FaceIDOptionsNode,
    CompileIdentity,
    ApplyCharacter,
    PlaceCharacter,
    ApplyCharacters,
    CharacterPrompt,
    CharacterSampling,
    CalibrateCharacter,
    ScoreLikeness,
    ConsistencyReport,
    LikenessGate,
    PickBest,
    Seed,
    BestOfN,
    BestOfNStep,
    SweepValues,
    TuneStrengths,
    SweepRender,
    SweepRound,
    BuildTrainingSet,
    LoadTrainingSet,
    RegisterLora,
    CompareVersions,
]


class LikenessExtension(ComfyExtension):
    def __init__(self, serve: Callable[[], None] = lambda: None) -> None:
        """`serve` adds the panel's routes, of which nodes know nothing."""
        self._serve = serve

    async def on_load(self) -> None:
        host.register_folders()
        self._serve()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
