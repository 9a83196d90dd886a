"""What ComfyUI's CLIP models say of a sweep's pictures: prompt score and variety."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..likeness.images import RGB8
from ..likeness.style import ImageEmbedder
from ..likeness.sweep.run import PromptMeasure
from .picture_encoder import PictureEncoder, can_match, prompt_match


@dataclass(frozen=True, repr=False)
class ClipScore:
    """Cosine of picture and text under a CLIP text encoder and its image encoder."""

    clip: Any
    clip_vision: Any
    name: str

    def score(self, picture: RGB8, prompt: str) -> float:
        return float(prompt_match(self.clip, self.clip_vision, [prompt], [picture])[0])


def prompt_measure(clip: Any, clip_vision: Any, key: str) -> tuple[PromptMeasure | None, str]:
    """The measure, or why there is none; both empty where nobody asked for one. `key` changes with the models."""
    if clip is None or clip_vision is None:
        missing = "clip_vision" if clip_vision is None else "clip"
        return None, "" if clip is clip_vision else f"No prompt score: it needs {missing}, too."
    if reason := can_match(clip, clip_vision):
        return None, f"No prompt score. {reason}"
    return ClipScore(clip, clip_vision, f"CLIP score {key}"), ""


def look_measure(clip_vision: Any) -> ImageEmbedder | None:
    """What variety is measured by; None for thumbnails."""
    return None if clip_vision is None else PictureEncoder(clip_vision)
