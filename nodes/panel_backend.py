"""What the panel's routes ask of ComfyUI. They run beside the queue, so nothing here touches a model of a graph."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..likeness import __version__
from ..likeness.doctor import Folders
from ..likeness.faces.cache import CachedAnalyser, EmbeddingCache
from ..likeness.faces.face import Analyser
from ..likeness.library import Library
from ..likeness.settings import Settings, read_settings
from . import host


class PanelBackend:
    """`server.backend.Backend` on ComfyUI."""

    def library(self) -> Library:
        return host.library()

    def folders(self) -> Folders:
        return host.folders()

    def listed(self, folder: str) -> list[str]:
        return host.listed(folder) if host.knows_folder(folder) else []

    def analyser(self, pack: str) -> Analyser:
        """Without the nodes' look at the interrupt: asking takes it away from the graph that it was meant for."""
        return CachedAnalyser(host.analyser(pack, self._settings().provider).inner, self.cache())

    def cache(self) -> EmbeddingCache:
        return host.face_cache()

    def input_folder(self) -> Path:
        return host.input_folder()

    def output_folder(self) -> Path:
        return host.output_folder()

    def settings_file(self) -> Path:
        return host.settings_file()

    def _settings(self) -> Settings:
        return read_settings(self.settings_file())

    def versions(self) -> Mapping[str, str]:
        return {"Likeness": __version__, **_versions()}

    def tell(self, event: str, data: Mapping[str, Any], client: str) -> None:
        if client and (server := host.prompt_server()) is not None:
            server.send_sync(event, dict(data), client)

    def tell_all(self, event: str) -> None:
        if (server := host.prompt_server()) is not None:
            server.send_sync(event, {})


def _versions() -> dict[str, str]:
    """Name -> version of what Likeness runs in."""
    from comfyui_version import __version__ as comfyui

    return {
        "ComfyUI": comfyui,
        "frontend": _frontend(),
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(terse=True),
    }


def _frontend() -> str:
    try:
        return metadata.version("comfyui-frontend-package")
    except metadata.PackageNotFoundError:
        return "of its own"  # a desktop build, or one given with --front-end-root
