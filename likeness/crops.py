"""Face crops as an image encoder is shown them.

224 px is what FaceID Plus was trained with, and what is stored with every face. 256 px is what IPAdapter_plus gives
SDXL adapters: a wider frame, which is warped from the reference pictures again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import images
from .character import Character
from .errors import FaceError, LikenessError
from .faces.align import align
from .faces.face import CROP_SIZE
from .identity import ReferenceFace
from .paths import inside

WIDE_CROP = 256  # px
SIZES = (CROP_SIZE, WIDE_CROP)


def character_crops(character: Character, size: int = CROP_SIZE) -> NDArray[np.uint8]:
    """uint8 [N, size, size, 3] RGB: the aligned faces of the N used references, in the order of `character.used`.

    FaceError where a face came without a picture, or where `size` is 256 and a picture is gone.
    """
    if size not in SIZES:
        raise ValueError(f"face crops are {' or '.join(map(str, SIZES))} px wide, not {size}.")
    if not character.has_identity:
        _ = character.identity  # says why
    if not character.has_crops:
        raise FaceError(
            f"The face of {character.profile.name!r} came without a picture, so an image encoder has nothing to look "
            "at: use an adapter that needs none (plain FaceID or Portrait), or create the character from pictures."
        )
    if size == CROP_SIZE:
        return np.stack([_warped(character, f, size) if f.face.crop is None else f.face.crop for f in character.used])
    if character.parts:
        return np.concatenate([character_crops(part.character, size) for part in character.parts])
    return np.stack([_warped(character, f, size) for f in character.used])


def _warped(character: Character, reference: ReferenceFace, size: int) -> images.RGB8:
    try:
        if character.folder is None:
            raise FaceError(f"{reference.file} belongs to no folder.")
        picture = images.read(inside(character.folder, reference.file))  # keypoints are in px of the picture as given
    except LikenessError as error:
        raise FaceError(
            f"A {size} px crop needs the reference picture, and {reference.file} of {character.profile.name!r} cannot "
            f"be used: {error} Put the picture back, or use the {CROP_SIZE} px crop, which is stored with the face."
        ) from error
    return align(picture, reference.face.keypoints, size)
