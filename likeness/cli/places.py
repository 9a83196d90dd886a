"""Where the command line looks: the ComfyUI it finds, folders given by hand, or a folder of its own."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..ccip import Ccip, find_ccip
from ..character import Character
from ..doctor import Folders, model_folders
from ..errors import LikenessError
from ..faces.analyser import OnnxAnalyser
from ..faces.cache import CachedAnalyser, EmbeddingCache
from ..faces.drawn import DrawnGate, gate_for
from ..faces.face import Analyser
from ..faces.packs import find_pack
from ..faces.yunet import YuNet, find_yunet
from ..library import Library
from ..looks import look_for
from ..lora_file import checkpoint_family
from ..paths import contained
from ..scoring import LookMeasure
from .comfy import base_directory, find_comfy

log = logging.getLogger(__name__)

OWN = Path.home() / ".likeness"  # where there is no ComfyUI


@dataclass(frozen=True)
class Places:
    """Folders of one call."""

    comfy: Path | None
    folders: Folders
    cache: Path
    base: Path | None = None  # where its models, input and output are: itself, or what --base-directory gives it

    def library(self) -> Library:
        return Library(self.folders.characters)

    def family_of(self, model: str) -> str | None:
        """The base family of a checkpoint or diffusion model by its header, None where it is not here or does not
        tell. PathError for a name that leaves its folder."""
        beside = ("", "../diffusion_models", "../unet")  # of checkpoints: where ComfyUI looks for models alone
        roots = [(root / more).resolve() for root in self.folders.checkpoints for more in beside]
        paths = [contained(root, model.replace("\\", "/")) for root in roots]
        return next((family for path in paths if path.is_file() and (family := checkpoint_family(path))), None)

    def drawn_gate(self, engine: Analyser) -> DrawnGate:
        """The gate that tells drawn faces under that face model."""
        return gate_for(engine.inner if isinstance(engine, CachedAnalyser) else engine, self.cache)

    def look_for_drawn(self, character: Character, provider: str = "cpu") -> LookMeasure | None:
        """CCIP, which compares drawn characters, where its files are."""
        found, detector = find_ccip(self.folders.ccip), find_yunet(self.folders.yunet, self.folders.insightface)
        return look_for(
            character,
            ccip=None if found is None else Ccip(found, provider),
            yunet=None if detector is None else partial(YuNet.open, detector, provider),
        )

    def analyser(self, pack: str = "", provider: str = "cpu", backend: str = "likeness") -> Analyser:
        """The face model of that name, the best installed for ""; answers are cached."""
        found = find_pack(pack or "auto", self.folders.insightface)
        if backend == "insightface":
            from ..faces.insightface_backend import InsightFaceAnalyser

            return CachedAnalyser(InsightFaceAnalyser(found, provider), EmbeddingCache(self.cache))
        return CachedAnalyser(OnnxAnalyser(found, provider), EmbeddingCache(self.cache))


def with_extra_paths(folders: Folders, config: Path) -> Folders:
    """Also the folders of ComfyUI's extra_model_paths.yaml: after the standard ones, before them with is_default."""
    if not config.is_file():
        return folders
    try:
        import yaml
    except ImportError:
        log.warning("%s was not read (PyYAML is not installed): only the standard folders are searched.", config)
        return folders
    try:
        sections = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise LikenessError(f"{config} cannot be read, by ComfyUI neither: {error}") from error
    for section in sections.values() if isinstance(sections, dict) else ():
        if isinstance(section, dict):
            folders = _with_section(folders, section, config.parent)
    return folders


def _with_section(folders: Folders, section: dict[str, object], beside: Path) -> Folders:
    base = Path(os.path.expandvars(str(section.get("base_path", "")))).expanduser()
    for key in Folders.__dataclass_fields__:
        rows = str(section.get(key) or "").splitlines()
        extra = tuple(beside / base / row.strip() for row in rows if row.strip())
        known = getattr(folders, key)
        folders = replace(folders, **{key: (*extra, *known) if section.get("is_default") else (*known, *extra)})
    return folders


def places_of(arguments: argparse.Namespace) -> Places:
    comfy = find_comfy()
    base = comfy or base_directory()
    if base is None and (named := os.environ.get("COMFYUI_PATH")):
        log.warning(
            "COMFYUI_PATH=%s is neither a ComfyUI (main.py is not there) nor a base directory of one (models is not "
            "there): model files are looked for in %s.",
            named,
            OWN,
        )
    folders = model_folders(base / "models" if base else OWN)
    if base:
        folders = with_extra_paths(folders, base / "extra_model_paths.yaml")
    if arguments.library:
        folders = replace(folders, characters=(Path(arguments.library),))
    if arguments.face_models:
        folders = replace(folders, insightface=(Path(arguments.face_models), *folders.insightface))
    return Places(comfy, folders, OWN / "cache" / "faces", base)
