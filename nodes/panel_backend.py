"""What the panel's routes ask of ComfyUI. They run beside the queue, so nothing here touches a model of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
        return {"Likeness": __version__, **host.versions()}

    def tell(self, event: str, data: Mapping[str, Any], client: str) -> None:
        if client and (server := host.prompt_server()) is not None:
            server.send_sync(event, dict(data), client)
