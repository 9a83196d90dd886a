"""The nodes, in the order in which a graph uses them."""

from collections.abc import Callable

from comfy_api.latest import ComfyExtension, io

from . import host
from .apply_character import ApplyCharacter
from .apply_characters import ApplyCharacters
from .base_proposals import BaseProposals
from .best_of_n import BestOfN, BestOfNStep
from .blend_characters import BlendCharacters
from .build_training_set import BuildTrainingSet
from .calibrate_character import CalibrateCharacter
from .character_prompt import CharacterPrompt
from .character_sampling import CharacterSampling
from .character_sheet import CharacterSheet
from .character_variations import CharacterVariations
from .compare_versions import CompareVersions
from .compile_identity import CompileIdentity
from .consistency_report import ConsistencyReport
from .create_character import CreateCharacter
from .detail_face import DetailFace
from .face_embedding import LoadFaceEmbedding, SaveFaceEmbedding
from .face_mask import FaceMask
from .faceid_options import FaceIDOptionsNode
from .gate import LikenessGate
from .load_character import LoadCharacter
from .load_project import LoadProject
from .load_training_set import LoadTrainingSet
from .lora_stack import LoraStack
from .pick_best import PickBest
from .place_character import PlaceCharacter
from .register_lora import RegisterLora
from .save_scene import SaveScene
from .score_likeness import ScoreLikeness
from .seed import Seed
from .sweep_values import SweepValues
from .tune_strengths import SweepRender, SweepRound, TuneStrengths

NODES: list[type[io.ComfyNode]] = [
    CreateCharacter,
    LoadCharacter,
    LoadProject,
    LoadFaceEmbedding,
    BlendCharacters,
    SaveFaceEmbedding,
    FaceIDOptionsNode,
    CompileIdentity,
    ApplyCharacter,
    PlaceCharacter,
    ApplyCharacters,
    CharacterPrompt,
    LoraStack,
    CharacterVariations,
    CharacterSheet,
    BaseProposals,
    CharacterSampling,
    SaveScene,
    DetailFace,
    FaceMask,
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
