"""What was drawn, as a value and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..scenes.scene import Scene
from ..scoring import Score

FORMAT = 1


@dataclass(frozen=True)
class File:
    """One file in a run's folder."""

    file: str  # name, without folder
    bytes: int
    sha256: str  # hex


@dataclass(frozen=True)
class Picture:
    """One picture, with all that it takes to make it again."""

    scene: Scene = field(repr=False)  # with the seed that was drawn
    key: str  # 16 hex digits of scene and graph; its graph is in requests.jsonl under it
    server: str  # address
    prompt_id: str
    file: str  # relative to the run's folder, "pictures/x.png"
    sha256: str  # hex, of the file
    version: str  # of Likeness, when it was drawn
    date: str = ""  # ISO 8601, UTC, when it was fetched; "" of an older Likeness
    drawn_with: Mapping[str, Any] = field(default_factory=dict, repr=False)  # as `scenes.drawn_with` gives it
    chosen: bool = True  # False: another attempt at the scene was better
    score: Score | None = field(default=None, repr=False)  # None where nothing was scored

    def as_dict(self) -> dict[str, Any]:
        scene = self.scene
        about = {"scene": scene.name, "seed": scene.seed, "prompt": scene.prompt, "negative": scene.negative}
        about |= {"loras": scene.loras, "values": dict(scene.values), "lora_versions": dict(scene.lora_versions)}
        about |= {"server": self.server, "prompt_id": self.prompt_id, "file": self.file, "sha256": self.sha256}
        about |= {"key": self.key, "version": self.version, "date": self.date, "chosen": self.chosen}
        about |= {"drawn_with": dict(self.drawn_with)}
        return {**about, "score": None if self.score is None else self.score.as_dict()}


@dataclass(frozen=True)
class Missing:
    """A scene without a picture."""

    scene: str
    seed: int
    reason: str  # one sentence

    def as_dict(self) -> dict[str, Any]:
        return vars(self).copy()


@dataclass(frozen=True)
class Manifest:
    """A run as far as it came."""

    character: str  # slug
    graph: str  # hex digest of what all scenes share
    scenes: int  # asked for
    pictures: tuple[Picture, ...] = ()  # in the order of the scenes, their attempts one after the other
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)  # checkpoint, threshold, face model, ...

    @property
    def complete(self) -> bool:
        """Whether every scene has a picture."""
        return not self.missing and self.counts()["drawn"] == self.scenes

    @property
    def chosen(self) -> tuple[Picture, ...]:
        """One picture, or one batch, for each scene that has one."""
        return tuple(p for p in self.pictures if p.chosen)

    def counts(self) -> dict[str, int]:
        """Scenes asked for, drawn and missing, and what was found of the chosen pictures."""
        verdicts = Counter(p.score.verdict for p in self.chosen if p.score)
        drawn = len({p.scene.name for p in self.chosen})
        about = {"scenes": self.scenes, "drawn": drawn, "missing": len(self.missing), "attempts": len(self.pictures)}
        return {**about, **{verdict.replace(" ", "_"): n for verdict, n in sorted(verdicts.items())}}

    def as_dict(self) -> dict[str, Any]:
        about = {"likeness_generate": FORMAT, "character": self.character, "graph": self.graph}
        rows = [p.as_dict() for p in self.pictures]
        ends = {"missing": [m.as_dict() for m in self.missing], "notes": list(self.notes)}
        return {**about, "settings": dict(self.settings), **self.counts(), "pictures": rows, **ends}
