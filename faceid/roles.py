"""Which row of an identity each part of a batch gets: the face for the positive prompt, "no face" for all others.

ComfyUI tells a patch only the number of each cond, and guiders number them as they like: CFGGuider [positive,
negative], PerpNeg [positive, negative, empty], DualCFG [negative, middle, positive]. So a wrapper around the guider
notes its lists of conds by role, and one around the computation of all conds finds them again in what it is given. A
list is known by the uuids of its conds in their order. One uuid alone tells nothing: ComfyUI copies a cond with an
area from one list to the others, uuid included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .masks import Area, Size

ROLES_KEY, CONDS_KEY = "likeness_roles", "likeness_conds"  # in transformer_options: Roles, Conds
COND, UNCOND = 0, 1  # rows of a compiled identity
# DualCFG's middle cond is the ground that its positive one is measured from, so the face belongs to the latter alone.
_ROW_OF_ROLE = {"positive": COND, "negative": UNCOND, "middle": UNCOND, "empty_negative_prompt": UNCOND}

CondList = Sequence[Mapping[str, Any]] | None


@dataclass(frozen=True)
class Roles:
    """The lists of conds that the guider at work knows by a role."""

    rows: Mapping[tuple[Any, ...], int]  # uuids of a list -> COND or UNCOND

    def row(self, uuids: tuple[Any, ...]) -> int | None:
        """Of a list, or of a part of one, as ComfyUI's context windows make them; None where that is unknown."""
        if uuids in self.rows:
            return self.rows[uuids]
        rows = {row for known, row in self.rows.items() if uuids and set(uuids) <= set(known)}
        return rows.pop() if len(rows) == 1 else None


@dataclass(frozen=True)
class Conds:
    """The conds that are being computed."""

    latent: Size  # height, width of the whole latent
    images: int  # that each cond is computed for
    rows: Mapping[int, int]  # number of a list -> COND or UNCOND
    areas: Mapping[tuple[int, Any], Area]  # number of its list and uuid of a cond that is limited to a rectangle


class NoteRoles:
    """ComfyUI's PREDICT_NOISE wrapper: passes the guider's Roles on in transformer_options."""

    def __call__(
        self, executor: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: Any = None
    ) -> Any:
        roles = roles_of(getattr(executor.class_obj, "conds", None) or {})
        return executor(x, timestep, _with_option(model_options, ROLES_KEY, roles), seed)


class NoteConds:
    """ComfyUI's CALC_COND_BATCH wrapper: passes Conds on in transformer_options."""

    def __call__(
        self,
        executor: Any,
        model: Any,
        conds: Sequence[CondList],
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any] | None = None,
    ) -> Any:
        roles = (model_options or {}).get("transformer_options", {}).get(ROLES_KEY) or Roles({})
        noted = conds_of(conds, roles, (x.shape[-2], x.shape[-1]), x.shape[0])
        return executor(model, conds, x, timestep, _with_option(model_options, CONDS_KEY, noted))


def roles_of(by_role: Mapping[str, CondList]) -> Roles:
    """Lists of an unknown role are left out and go by their number."""
    return Roles({_uuids(conds): _ROW_OF_ROLE[role] for role, conds in by_role.items() if role in _ROW_OF_ROLE})


def conds_of(lists: Sequence[CondList], roles: Roles, latent: Size, images: int) -> Conds:
    """Rows and areas of the lists of conds, as ComfyUI numbers them."""
    rows, areas = {}, {}
    for number, conds in enumerate(lists):
        row = roles.row(_uuids(conds))
        if row is not None:
            rows[number] = row
        for cond in conds or ():
            area = cond.get("area")
            if area is not None and len(area) == 4:
                height, width, top, left = (int(n) for n in area)
                box = (min(height, latent[0] - top), min(width, latent[1] - left), top, left)
                areas[number, cond.get("uuid")] = box
    return Conds(latent, images, rows, areas)


def rows_of(options: Mapping[str, Any], batch: int) -> tuple[int, ...]:
    """Row of the identity for each chunk of a batch of this many pictures.

    Without a known role cond number 0 is the face and all others are not. Without the list the batch is one cond.
    Packs that sample tiles together put all conds of a tile after those of another and leave the list as it was.
    """
    known: Conds | None = options.get(CONDS_KEY)
    by_number = {} if known is None else known.rows
    rows = tuple(by_number.get(n, COND if n == 0 else UNCOND) for n in options.get("cond_or_uncond") or [0])
    tiles, rest = divmod(batch, len(rows) * known.images) if known is not None else (1, 0)
    return rows * tiles if tiles > 1 and not rest else rows


def areas_of(options: Mapping[str, Any], latent: Size, chunks: int) -> tuple[tuple[Area | None, ...], Size]:
    """Area of each chunk of the batch, and the size of the whole latent that the areas lie in."""
    known, keys = options.get(CONDS_KEY), _keys(options)
    if known is None or not any(key in known.areas for key in keys):
        return (), latent
    return tuple(known.areas.get(key) for key in keys) * (chunks // len(keys)), known.latent


def _keys(options: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """Number and uuid of each chunk of the batch."""
    numbers, uuids = options.get("cond_or_uncond") or (), options.get("uuids") or ()
    return list(zip(numbers, uuids, strict=True)) if len(numbers) == len(uuids) else []


def _uuids(conds: CondList) -> tuple[Any, ...]:
    return tuple(cond.get("uuid") for cond in conds or ())


def _with_option(model_options: dict[str, Any] | None, key: str, value: Any) -> dict[str, Any]:
    options = dict(model_options or {})
    options["transformer_options"] = {**options.get("transformer_options", {}), key: value}
    return options


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
