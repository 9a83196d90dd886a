"""IPAdapter_plus run in this process from a checkout, with recorded faces in place of InsightFace.

Its own node code loads the adapter, crops, encodes, projects and patches. Nothing of it is copied here: the
checkout is imported as it is (GPL-3.0, so it stays outside of this repository).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from support import package
from torch import Tensor

NAME = "ipadapter_plus_checkout"
_STEP = 20  # grey levels between the marks of two faces, more than rounding can change


@dataclass(frozen=True, eq=False)
class RecordedFace:
    """What a face analyser found in a picture."""

    raw: NDArray[np.float32]  # [512], as the recogniser gives it
    crops: dict[int, NDArray[np.uint8]]  # size in pixels -> aligned crop [size, size, 3] RGB

    @property
    def normed(self) -> NDArray[np.float32]:
        return (self.raw / np.linalg.norm(self.raw)).astype(np.float32)


class Analyser:
    """In place of insightface.app.FaceAnalysis: knows the faces by a mark in the picture's first pixel."""

    def __init__(self, faces: Sequence[RecordedFace]):
        self.faces = list(faces)
        self.det_model = SimpleNamespace(input_size=(640, 640))

    def get(self, picture: NDArray[np.uint8]) -> list[Any]:
        number = round(float(picture[0, 0, 0]) / _STEP)
        face = self.faces[number]
        keypoints = np.full((5, 2), number, np.float32)
        return [SimpleNamespace(normed_embedding=face.normed, embedding=face.raw, kps=keypoints)]

    def crop(self, picture: NDArray[np.uint8], landmark: NDArray[np.float32], image_size: int = 112) -> Any:
        """In place of insightface.utils.face_align.norm_crop, BGR."""
        return self.faces[int(landmark[0, 0])].crops[image_size][..., ::-1].copy()

    def pictures(self, numbers: Sequence[int]) -> Tensor:
        """An IMAGE batch in which these faces are found, float32 [N, 64, 64, 3]."""
        marks = torch.tensor(numbers, dtype=torch.float32) * _STEP / 255
        return marks[:, None, None, None].expand(-1, 64, 64, 3).contiguous()


def install_stub(analyser: Analyser) -> None:
    """Let `from insightface.utils import face_align` find the recorded crops."""
    align = ModuleType("insightface.utils.face_align")
    align.norm_crop = analyser.crop  # type: ignore[attr-defined]
    utils, top = ModuleType("insightface.utils"), ModuleType("insightface")
    utils.face_align, top.utils = align, utils  # type: ignore[attr-defined]
    sys.modules |= {"insightface": top, "insightface.utils": utils, "insightface.utils.face_align": align}


class ReferencePack:
    """The nodes of a checkout. ComfyUI must be importable already."""

    def __init__(self, checkout: Path):
        if not (checkout / "IPAdapterPlus.py").is_file():
            sys.exit(f"{checkout} is no checkout of ComfyUI_IPAdapter_plus: IPAdapterPlus.py is not there.")
        self.module = package(NAME, checkout)
        self.main = sys.modules[f"{NAME}.IPAdapterPlus"]
        self.utils = sys.modules[f"{NAME}.utils"]
        self.attention = sys.modules[f"{NAME}.CrossAttentionPatch"]

    def load(self, file: Path) -> dict[str, Any]:
        """An adapter as its loader node reads it, with the flags it takes from the name."""
        return self.utils.ipadapter_model_loader(str(file))

    def apply(
        self,
        model: Any,
        adapter: dict[str, Any],
        vision: Any,
        analyser: Any,  # an Analyser, or with `image` insightface's FaceAnalysis
        *,
        numbers: Sequence[int] = (0,),  # of the recorded faces
        image: Tensor | None = None,  # a real photo, float32 [1, H, W, 3] RGB, for the real insightface
        per_image: bool = False,  # its "FaceID Batch" node: face n, weight n for picture n
        **settings: Any,  # of apply_ipadapter: weight, weight_type, combine_embeds, attn_mask, ...
    ) -> Any:
        """The model as its FaceID node returns it."""
        nodes = self.module.NODE_CLASS_MAPPINGS
        node = nodes["IPAAdapterFaceIDBatch" if per_image else "IPAdapterFaceID"]()
        if image is None:
            install_stub(analyser)
            image = analyser.pictures(numbers)
        pipeline = {
            "ipadapter": {"file": "", "model": adapter},
            "clipvision": {"file": "", "model": vision},
            "insightface": {"provider": "CPU", "model": analyser},
        }
        with torch.no_grad():
            return node.apply_ipadapter(model, pipeline, image=image, **settings)[0]

    def close_middle_block(self, model: Any) -> Any:
        """Its patches for the middle block moved to the key that ComfyUI asks for: what it means to do."""
        patched = model.clone()
        options = patched.model_options["transformer_options"] = dict(patched.model_options["transformer_options"])
        replace = options["patches_replace"] = dict(options["patches_replace"])
        replace["attn2"] = {
            ("middle", 0, *key[2:]) if key[:2] == ("middle", 1) else key: patch
            for key, patch in replace["attn2"].items()
        }
        return patched
