"""Which row of an identity each part of a batch gets: the face for the positive prompt, "no face" for all others.

ComfyUI tells a patch only the number of each cond, and guiders number them as they like: CFGGuider [positive,
negative], PerpNeg [positive, negative, empty], DualCFG [negative, middle, positive]. So a wrapper around the
guider notes the role of every cond by the uuid that ComfyUI gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .masks import Area, Size

CONDS_KEY = "likeness_conds"  # in transformer_options: Conds
COND, UNCOND = 0, 1  # rows of a compiled identity
# DualCFG's middle cond is the ground that its positive one is measured from, so the face belongs to the latter alone.
_ROW_OF_ROLE = {"positive": COND, "negative": UNCOND, "middle": UNCOND, "empty_negative_prompt": UNCOND}


@dataclass(frozen=True)
class Conds:
    """The conds of the guider at work, by uuid."""

    latent: Size  # height, width of the whole latent
    rows: Mapping[Any, int]  # COND or UNCOND
    areas: Mapping[Any, Area]  # of the conds that are limited to a rectangle


class NoteRoles:
    """ComfyUI's PREDICT_NOISE wrapper: passes Conds on in transformer_options."""

    def __call__(
        self, executor: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: Any = None
    ) -> Any:
        options = dict(model_options or {})
        conds = conds_of(getattr(executor.class_obj, "conds", None) or {}, (x.shape[-2], x.shape[-1]))
        options["transformer_options"] = {**options.get("transformer_options", {}), CONDS_KEY: conds}
        return executor(x, timestep, options, seed)


def conds_of(by_role: Mapping[str, Sequence[Mapping[str, Any]] | None], latent: Size) -> Conds:
    """Rows and areas of a guider's conds. Conds of an unknown role are left out and go by their number."""
    rows, areas = {}, {}
    for role, conds in by_role.items():
        for cond in conds or ():
            uuid = cond.get("uuid")
            if role in _ROW_OF_ROLE:
                rows[uuid] = _ROW_OF_ROLE[role]
            area = cond.get("area")
            if area is not None and len(area) == 4:
                height, width, top, left = (int(n) for n in area)
                areas[uuid] = (min(height, latent[0] - top), min(width, latent[1] - left), top, left)
    return Conds(latent, rows, areas)


def rows_of(options: Mapping[str, Any]) -> tuple[int, ...]:
    """Row of the identity for each chunk of the batch.

    Without a known role cond number 0 is the face and all others are not. Without the list the batch is one cond.
    """
    numbers = options.get("cond_or_uncond") or [COND]
    known, uuids = options.get(CONDS_KEY), options.get("uuids") or ()
    by_number = tuple(COND if n == 0 else UNCOND for n in numbers)
    if known is None or len(uuids) != len(numbers):
        return by_number
    return tuple(known.rows.get(uuid, row) for uuid, row in zip(uuids, by_number, strict=True))


def areas_of(options: Mapping[str, Any], latent: Size) -> tuple[tuple[Area | None, ...], Size]:
    """Area of each chunk of the batch, and the size of the whole latent that the areas lie in."""
    known, uuids = options.get(CONDS_KEY), options.get("uuids") or ()
    if known is None or not any(uuid in known.areas for uuid in uuids):
        return (), latent
    return tuple(known.areas.get(uuid) for uuid in uuids), known.latent


def frames_of(options: Mapping[str, Any], images: int) -> tuple[int, ...]:
    """Number of each picture of the batch within the whole video, where only a window of it is being sampled.

    Sliding context windows: AnimateDiff-Evolved's ad_params["sub_idxs"], and ComfyUI's own context_window.
    """
    index = (options.get("ad_params") or {}).get("sub_idxs")
    window = options.get("context_window")
    if index is None and getattr(window, "dim", None) == 0:
        anchor = getattr(window, "causal_anchor_index", None)  # a picture that ComfyUI puts before the window
        index = window.index_list if anchor is None or anchor < 0 else [anchor, *window.index_list]
    frames = tuple(range(images)) if index is None else tuple(int(i) for i in index)
    return frames if len(frames) == images else tuple(range(images))
