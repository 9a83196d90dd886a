"""Compiling a face: embeddings and image encodings of a character's references, through an adapter."""

from __future__ import annotations

import torch

from ..faceid import Adapter, CompiledIdentity, FaceInputs, combine, compile_identity, identity_tokens
from ..likeness.character import Character
from ..likeness.crops import character_crops
from ..likeness.faces.face import EMBEDDING_DIM
from ..likeness.identity_store import FaceRecipe
from ..likeness.method import check_comparable
from .faceid_options import PER_IMAGE, FaceIDOptions
from .image_encoder import ImageEncoder


def compile_face(
    character: Character, adapter: Adapter, options: FaceIDOptions, encoder_choice: str
) -> CompiledIdentity:
    """The character's compiled identity for this adapter."""
    recipe = options.recipe(adapter.family)
    encoder = ImageEncoder.open(encoder_choice) if adapter.needs_image_encoder else None
    faces = _faces(character, adapter, encoder, recipe)
    uncond = None
    if options.negative is not None:
        check_comparable(character, options.negative)
        uncond = combine(_faces(options.negative, adapter, encoder, recipe), _weights(options.negative))
    elif encoder is not None:
        uncond = FaceInputs(torch.zeros(1, EMBEDDING_DIM), encoder.empty_hidden_states(recipe.empty_image))
    faces = combine(faces, _weights(character), recipe.combine)
    tokens = identity_tokens(adapter, faces, uncond, frames=recipe.combine == PER_IMAGE)
    return compile_identity(
        adapter,
        tokens,
        identity=character.identity.digest,
        image_encoder=encoder.origin if encoder else "",
        combine=recipe.combine,
        negative=recipe.negative,
        crop=str(recipe.crop),
        empty_image=recipe.empty_image,
    )


def _faces(character: Character, adapter: Adapter, encoder: ImageEncoder | None, recipe: FaceRecipe) -> FaceInputs:
    """One row per used reference, in the profile's order."""
    vectors = [f.face.embedding if adapter.raw_embedding else f.face.normed for f in character.used]
    hidden = None if encoder is None else encoder.hidden_states(character_crops(character, recipe.crop))
    return FaceInputs(torch.stack([torch.from_numpy(v.copy()) for v in vectors]), hidden)


def _weights(character: Character) -> list[float]:
    return [f.weight for f in character.used]
