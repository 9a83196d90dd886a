"""Choosing files by name from what a models folder lists.

Names come as ComfyUI lists them, with sub-folders; rules look at the file's own name only, because a
folder called "plusv2" says nothing about what lies in it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from .errors import ModelMissingError

FACEID_FAMILIES = ("sd15", "sdxl")  # FaceID adapters exist for these (and Kolors, which ComfyUI cannot run)
# Best likeness first; Plus V2 needs an image encoder, plain FaceID does not.
_ADAPTERS = (
    r"faceid.plusv2.{family}\.",
    r"faceid.{family}\.",
    r"faceid.plus.{family}\.",
    r"faceid.portrait\S*{family}\.",
    r"faceid.portrait\S*{family}.unnorm\.",
)
_IMAGE_ENCODER = r"(vit.?h.?14.*s32b.?b79k|ipadapter.*sd15|sd1.?5.*model|clip.?vision.?h|clip.?vit.?h)"
_WEIGHTS = r"(safetensors|bin)$"


def base_name(listed: str) -> str:
    """The file's own name, whichever separator the list uses."""
    return re.split(r"[\\/]", listed)[-1]


def choose_adapter(listed: Sequence[str], family: str, crops: bool = True) -> str | None:
    """The best FaceID adapter for `family` by the published file names.

    Without face `crops` (`Character.has_crops`) the Plus adapters, which look at them, come last.
    """
    for rule in _ADAPTERS if crops else sorted(_ADAPTERS, key=lambda r: ".plus" in r):
        if hits := _matching(listed, rule.format(family=family) + _WEIGHTS):
            return hits[0]
    return None


def choose_image_encoder(listed: Sequence[str]) -> str | None:
    """The CLIP ViT-H that FaceID Plus was trained with."""
    hits = _matching(listed, _IMAGE_ENCODER)
    return hits[0] if hits else None


def _matching(listed: Sequence[str], rule: str) -> list[str]:
    return sorted((n for n in listed if re.search(rule, base_name(n), re.IGNORECASE)), key=lambda n: (len(n), n))


def find_listed(wanted: str, listed: Sequence[str], what: str, folder: str, where: Sequence[str]) -> str:
    """`wanted` as the list spells it. ModelMissingError names the folders searched and the nearest names there."""
    if hits := _named(wanted, listed):
        return hits[0]
    spelled, key = {n.replace("\\", "/"): n for n in listed}, wanted.replace("\\", "/")
    near = difflib.get_close_matches(key, list(spelled), 3, 0.4) or sorted(spelled)[:5]
    raise ModelMissingError(
        f"{what} {wanted!r} is not in models/{folder} (searched {', '.join(where) or 'no folder'}); "
        f"there {'are' if near else 'is'} {', '.join(near) or 'nothing'}. Put the file there, or choose another."
    )


def is_listed(wanted: str, listed: Sequence[str]) -> bool:
    """Whether `find_listed` would find it."""
    return bool(_named(wanted, listed))


def _named(wanted: str, listed: Sequence[str]) -> list[str]:
    """The listed file of that name, or the only one of that name in another sub-folder."""
    key = wanted.replace("\\", "/")
    exact = [n for n in listed if n.replace("\\", "/") == key]
    same = [n for n in listed if base_name(n) == base_name(key)]
    return exact or (same if len(same) == 1 else [])
