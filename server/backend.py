"""What the routes ask of ComfyUI; `nodes` gives it, and tests give a small one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..likeness.doctor import Folders
from ..likeness.faces.cache import EmbeddingCache
from ..likeness.faces.face import Analyser
from ..likeness.library import Library


class Backend(Protocol):
    """Folders, models and the way back to the browser."""

    def library(self) -> Library: ...

    def folders(self) -> Folders: ...

    def listed(self, folder: str) -> list[str]:
        """File names below models/<folder> as ComfyUI lists them; [] where it knows no such folder."""

    def analyser(self, pack: str) -> Analyser:
        """The face model of that name, the best installed for "". ModelMissingError."""

    def cache(self) -> EmbeddingCache: ...

    def input_folder(self) -> Path: ...

    def output_folder(self) -> Path: ...

    def settings_file(self) -> Path: ...

    def versions(self) -> Mapping[str, str]:
        """Name -> version, of what a report of a fault should name."""

    def tell(self, event: str, data: Mapping[str, Any], client: str) -> None:
        """Send an event to one browser; to nobody for ""."""

    def tell_all(self, event: str) -> None:
        """Send an event to every browser. It names nobody: each looks for itself."""


Progress = Callable[[int, int], None]
