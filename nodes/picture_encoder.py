"""A CLIP_VISION of ComfyUI as an image encoder of whole pictures, and how well pictures follow their prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import comfy.clip_model
import comfy.model_management
import numpy as np
import torch
from numpy.typing import NDArray

from ..likeness.errors import ModelMissingError
from ..likeness.images import RGB8

_CHUNK = 8  # pictures in one pass
_ENCODERS = ("clip_l", "clip_g", "clip_h")  # CLIP text encoders as ComfyUI names them inside a CLIP
_TRAINED = (1e-3, 1.0)  # spread of a trained projection's weights; CLIP begins its training at 1 / sqrt(width), .03

Floats = NDArray[np.float32]


class PictureEncoder:
    """`likeness.style.ImageEmbedder` over a CLIP_VISION: CLIP, SigLIP, SigLIP 2, DINOv2 or DINOv3.

    The vector of a picture is, as ComfyUI's own models give it (their third output):

        clip_vision_model                 the projected class token, which texts share; without a projection, as
                                          in LLaVA's, the class token after the last norm
        siglip, siglip2                   the mean of the normed tokens: ComfyUI leaves SigLIP's pooling head out, so
                                          texts share no space with it
        dinov2, dinov3                    the normed class token
    """

    def __init__(self, model: Any, name: str = "") -> None:
        """`model`: comfy.clip_vision.ClipVisionModel. `name`: what reports call it, its kind where not known."""
        self._model = model
        self.name = name or str(model.model_type).removesuffix("_vision_model").replace("_", " ")

    @property
    def joint_width(self) -> int | None:
        """Width of the space that pictures share with texts; None where there is none."""
        weight = getattr(getattr(self._model.model, "visual_projection", None), "weight", None)
        return None if weight is None or self._model.model_type != "clip_vision_model" else int(weight.shape[0])

    def embed(self, pictures: Sequence[RGB8]) -> Floats:
        """float32 [N, D], each squeezed to the model's square, so that nothing of the frame is cut off."""
        return self._vectors(pictures, crop=False)

    def embed_centre(self, pictures: Sequence[RGB8]) -> Floats:
        """float32 [N, D] of the largest square in the middle: how CLIP was trained and a CLIP score is defined."""
        return self._vectors(pictures, crop=True)

    def _vectors(self, pictures: Sequence[RGB8], crop: bool) -> Floats:
        parts = [self._pass(chunk, crop) for chunk in _of_one_shape(pictures)]
        return torch.cat(parts).numpy() if parts else np.empty((0, 0), np.float32)

    @torch.no_grad()
    def _pass(self, pictures: Sequence[RGB8], crop: bool) -> torch.Tensor:
        # Not encode_image: it asks for hidden states, which DINOv3 does not give, and fails there.
        m = self._model
        comfy.model_management.load_model_gpu(m.patcher)
        pixels = torch.from_numpy(np.stack(pictures).astype(np.float32) / 255.0).to(m.load_device)
        look = {"size": m.image_size, "mean": m.image_mean, "std": m.image_std, "crop": crop}
        if m.model_type == "siglip2_vision_model":
            patches = {key: m.config[key] for key in ("patch_size", "num_patches") if key in m.config}
            values = comfy.clip_model.siglip2_preprocess(pixels, **look, **patches)
        else:
            values = comfy.clip_model.clip_preprocess(pixels, **look)
        vectors = m.model(pixel_values=values.float(), intermediate_output=-2)[2]
        return (vectors.mean(dim=1) if vectors.ndim == 3 else vectors).float().cpu()


def _of_one_shape(pictures: Sequence[RGB8]) -> Iterator[list[RGB8]]:
    """Neighbours of one size, at most `_CHUNK` together."""
    for _, group in groupby(pictures, key=lambda p: p.shape):
        same = list(group)
        yield from (same[i : i + _CHUNK] for i in range(0, len(same), _CHUNK))


def prompt_match(clip: Any, clip_vision: Any, prompts: Sequence[str], pictures: Sequence[RGB8]) -> list[float]:
    """Cosine, -1..1, of each picture with its prompt in CLIP's joint space: the CLIP score without its factor of 100.

    Hessel et al., "CLIPScore", arXiv 2104.08718. `clip` and `clip_vision` must be the two halves of one CLIP. A prompt
    counts up to its 75th token, without weights. Give the CLIP without LoRAs, which move its texts. Numbers of one pair
    of encoders can be compared with one another only. ModelMissingError where the two do not share a space.
    """
    if len(prompts) != len(pictures):
        raise ValueError(f"{len(prompts)} prompts for {len(pictures)} pictures")
    encoder = PictureEncoder(clip_vision)
    texts = _texts(clip, _text_encoder(clip, encoder), prompts)
    return [float(v) for v in np.einsum("nd,nd->n", _normed(texts), _normed(encoder.embed_centre(pictures)))]


def can_match(clip: Any, clip_vision: Any) -> str:
    """Why `prompt_match` cannot be used with these two; "" where it can."""
    try:
        _text_encoder(clip, PictureEncoder(clip_vision))
    except ModelMissingError as error:
        return str(error)
    return ""


def _text_encoder(clip: Any, encoder: PictureEncoder) -> str:
    """The name of the text encoder inside `clip` that shares a space with `encoder`. ModelMissingError without one."""
    width = encoder.joint_width
    if width is None:
        raise ModelMissingError(
            f"The image encoder ({encoder.name}) shares no space with texts: load a CLIP-Vision model that has "
            "a projection, for example CLIP-ViT-L-14 or CLIP-ViT-bigG-14."
        )
    inside = {name: getattr(clip.cond_stage_model, name, None) for name in _ENCODERS}
    weights = {name: _projection(model) for name, model in inside.items() if model is not None}
    fitting = [name for name, weight in weights.items() if weight is not None and weight.shape[0] == width]
    if not fitting:
        there = ", ".join(f"{n} ({'none' if w is None else w.shape[0]})" for n, w in weights.items()) or "no CLIP"
        raise ModelMissingError(
            f"The image encoder projects to {width} numbers and no text encoder of the CLIP input does ({there}): "
            "load the text encoder of the same CLIP, for example clip_l.safetensors for CLIP-ViT-L-14."
        )
    name = fitting[0]
    if not _is_trained(weights[name]):
        raise ModelMissingError(
            f"The text encoder {name} has no trained text projection, as in most checkpoints of SD 1.5, so its prompts "
            "cannot be compared with pictures: load a text encoder file with one (clip_l.safetensors) with Load CLIP."
        )
    return name


def _projection(model: Any) -> torch.Tensor | None:
    """Weight [out, in] of a text projection, None where there is none."""
    return getattr(getattr(model.transformer, "text_projection", None), "weight", None)


def _is_trained(weight: torch.Tensor | None) -> bool:
    """ComfyUI leaves a projection that a file lacks as it was allocated: an identity, zeros or whatever lay there."""
    if weight is None:
        return False
    w = weight.detach().float().cpu()
    if not bool(torch.isfinite(w).all()) or float((w == 0).float().mean()) > 0.01:
        return False
    low, high = _TRAINED
    return low < float(w.std()) < high


@torch.no_grad()
def _texts(clip: Any, name: str, prompts: Sequence[str]) -> Floats:
    """float32 [N, D]: the projected end token of each prompt, once per different prompt."""
    model, key = getattr(clip.cond_stage_model, name), name.removeprefix("clip_")
    clip.cond_stage_model.reset_clip_options()
    clip.load_model()
    found: dict[str, torch.Tensor] = {}
    try:
        model.set_clip_options({"projected_pooled": True, "execution_device": clip.patcher.load_device})
        for prompt in dict.fromkeys(prompts):
            first = [(token, 1.0) for token, *_ in clip.tokenize(prompt)[key][0]]
            found[prompt] = model.encode_token_weights([first])[1][0].float().cpu()
    finally:
        clip.cond_stage_model.reset_clip_options()
    return torch.stack([found[p] for p in prompts]).numpy()


def _normed(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
