"""Where the command line looks: the ComfyUI it finds, folders given by hand, or a folder of its own."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from ..doctor import Folders, model_folders
from ..faces.analyser import OnnxAnalyser
from ..faces.cache import CachedAnalyser, EmbeddingCache
from ..faces.face import Analyser
from ..faces.packs import find_pack
from ..library import Library
from .comfy import find_comfy

OWN = Path.home() / ".likeness"  # where there is no ComfyUI


@dataclass(frozen=True)
class Places:
    """Folders of one call."""

    comfy: Path | None
    folders: Folders
    cache: Path

    def library(self) -> Library:
        return Library(self.folders.characters)

    def analyser(self, pack: str = "", provider: str = "cpu", backend: str = "likeness") -> Analyser:
        """The face model of that name, the best installed for ""; answers are cached."""
        found = find_pack(pack or "auto", self.folders.insightface)
        if backend == "insightface":
            from ..faces.insightface_backend import InsightFaceAnalyser

            return CachedAnalyser(InsightFaceAnalyser(found), EmbeddingCache(self.cache))
        return CachedAnalyser(OnnxAnalyser(found, provider), EmbeddingCache(self.cache))


def places_of(arguments: argparse.Namespace) -> Places:
    comfy = find_comfy()
    folders = model_folders(comfy / "models" if comfy else OWN)
    if arguments.library:
        folders = replace(folders, characters=(Path(arguments.library),))
    if arguments.face_models:
        folders = replace(folders, insightface=(Path(arguments.face_models), *folders.insightface))
    return Places(comfy, folders, OWN / "cache" / "faces")
