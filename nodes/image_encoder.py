"""The CLIP ViT-H that FaceID Plus looks at a face crop with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.clip_model
import comfy.clip_vision
import comfy.model_management
import numpy as np
import torch
from numpy.typing import NDArray

from ..likeness.assets import choose_image_encoder, is_listed
from ..likeness.errors import ModelMissingError
from . import host

_CHUNK = 8  # crops in one pass, so that many references need no more memory than a few
_WIDTH = 1280  # of ViT-H's hidden states
_HASH = " sha256:"


@dataclass(frozen=True)
class ImageEncoder:
    """A loaded CLIP-Vision model and its name in models/clip_vision."""

    origin: str  # "<name in models/clip_vision> sha256:<64 hex>", kept with what was made with it
    model: Any  # comfy.clip_vision.ClipVisionModel

    @staticmethod
    def open(choice: str) -> ImageEncoder:
        """The chosen file, or the ViT-H among the installed ones. ModelMissingError when there is none."""
        listed = host.listed("clip_vision")
        name = choose_image_encoder(listed) if choice == host.AUTO else choice
        if name is None:
            raise ModelMissingError(
                "FaceID Plus needs the image encoder CLIP-ViT-H-14-laion2B-s32B-b79K and models/clip_vision has "
                f"none of that name; there: {', '.join(listed[:5]) or 'nothing'}. Put it there, name another in "
                "image_encoder, or use a plain FaceID adapter, which needs none."
            )
        path = host.find_file("clip_vision", name, "The image encoder")
        model = comfy.clip_vision.load(str(path))
        width = getattr(model, "config", {}).get("hidden_size")
        if width != _WIDTH:
            raise ModelMissingError(
                f"{name} has hidden states of width {width}; FaceID Plus needs CLIP ViT-H ({_WIDTH}). Choose that one."
            )
        return ImageEncoder(f"{name}{_HASH}{host.file_hashes().sha256(path)}", model)

    def hidden_states(self, crops: NDArray[np.uint8]) -> torch.Tensor:
        """Face crops uint8 [N, S, S, 3] -> float32 [N, 257, 1280], penultimate layer, no final norm."""
        m = self.model
        parts = []
        for chunk in np.array_split(crops, -(-len(crops) // _CHUNK)):
            pixels = torch.from_numpy(chunk.astype(np.float32) / 255.0)
            normed = comfy.clip_model.clip_preprocess(
                pixels, size=m.image_size, mean=m.image_mean, std=m.image_std, crop=False
            )
            parts.append(self._penultimate(normed))
        return torch.cat(parts)

    def empty_hidden_states(self, kind: str) -> torch.Tensor:
        """The same of no image, float32 [1, 257, 1280].

        "zero": pixel values 0, the mean colour, as in the reference implementation; "black": a black picture, as in
        IPAdapter_plus.
        """
        size = self.model.image_size
        if kind == "black":
            return self.hidden_states(np.zeros((1, size, size, 3), np.uint8))
        return self._penultimate(torch.zeros(1, 3, size, size))

    @torch.no_grad()
    def _penultimate(self, pixel_values: torch.Tensor) -> torch.Tensor:
        comfy.model_management.load_model_gpu(self.model.patcher)
        out = self.model.model(pixel_values=pixel_values.float().to(self.model.load_device), intermediate_output=-2)
        return out[1].float().cpu()


def is_same(origin: str, choice: str) -> bool:
    """Whether the image encoder chosen now is the one of `origin`. One that is gone has not changed."""
    name, _, digest = origin.rpartition(_HASH)
    wanted = name if choice == host.AUTO else choice
    if not origin or not is_listed(wanted, host.listed("clip_vision")):
        return not origin or wanted == name
    return host.file_hashes().sha256(host.find_file("clip_vision", wanted, "The image encoder")) == digest
