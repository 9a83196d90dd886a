"""Conditioning and model of a whole picture, for a part of it that is sampled by itself.

Whatever says where in the picture it acts is cut to that part, or left out where it cannot be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..faceid.window import Shares, cut, in_window, masked

_WHOLE_PICTURE = {  # ComfyUI derives these anew from the latent, or can do without
    "concat_latent_image": "the picture for an inpainting model",
    "concat_mask": "",
    "gligen": "GLIGEN's boxes",
}
_LATENT = 8  # px that ComfyUI counts as one in areas


@dataclass
class CloseUp:
    """One window of one picture."""

    window: Shares
    size: tuple[int, int]  # of the whole picture: width, height; px
    picture: int = 0  # which of the batch
    notes: dict[str, None] = field(default_factory=dict)  # what was done, once each
    _controls: dict[int, Any] = field(default_factory=dict)  # by id: positive and negative share one

    def model(self, model: Any) -> Any:
        """A clone whose faces act where they would act in the whole picture."""
        if masked(model):
            self.notes["The model's face masks were cut to the crop."] = None
        return in_window(model, self.window, self.picture)

    def conditioning(self, conds: Sequence[Any]) -> list[Any]:
        """CONDITIONING in which masks, areas and control pictures are cut to the window.

        A prompt whose region lies outside is left out, unless all do.
        """
        moved = [[tensor, self._moved(about)] for tensor, about in conds]
        inside = [cond for cond in moved if not _nowhere(cond[1])]
        return inside or [[tensor, _everywhere(about)] for tensor, about in moved]

    def _moved(self, about: dict[str, Any]) -> dict[str, Any]:
        out = {key: value for key, value in about.items() if key not in _WHOLE_PICTURE}
        for key in sorted(about.keys() - out.keys()):
            if told := _WHOLE_PICTURE[key]:
                self.notes[f"Not used for the crop: {told}, which belongs to the whole picture."] = None
        if isinstance(out.get("mask"), torch.Tensor):
            out["mask"] = self._frame(cut(out["mask"], self.window))
            self.notes["Masks of prompts were cut to the crop."] = None
        if out.get("area") is not None:
            out["area"] = self._area(out["area"])
            self.notes["Areas of prompts were cut to the crop."] = None
        if out.get("control") is not None:
            out["control"] = self._control(out["control"])
            if out["control"] is None:
                del out["control"]
        return out

    def _frame(self, mask: torch.Tensor) -> torch.Tensor:
        """Of a mask for each picture this picture's, as ComfyUI repeats the last one."""
        if mask.ndim < 3 or mask.shape[0] < 2:
            return mask
        frame = min(self.picture, mask.shape[0] - 1)
        return mask[frame : frame + 1]

    def _area(self, area: Sequence[Any]) -> tuple[Any, ...] | None:
        """("percentage", height, width, top, left) within the window; None outside of it.

        An area in latent pixels belongs to the size that the picture has now.
        """
        by_share = area[0] == "percentage"
        across, down = (1.0, 1.0) if by_share else (max(v / _LATENT, 1.0) for v in self.size)
        values = area[1:] if by_share else area
        half = len(values) // 2  # of a video's area the first of each half counts frames
        (height, width), (top, left) = values[half - 2 : half], values[-2:]
        height, width, top, left = height / down, width / across, top / down, left / across
        x0, y0, x1, y1 = self.window
        first, last = max(left, x0), min(left + width, x1)
        upper, lower = max(top, y0), min(top + height, y1)
        if last <= first or lower <= upper:
            return None
        wide, high = x1 - x0, y1 - y0
        return "percentage", (lower - upper) / high, (last - first) / wide, (upper - y0) / high, (first - x0) / wide

    def _control(self, control: Any) -> Any:
        """A copy of a ControlNet, and of those before it, that sees its picture's part; None for a foreign kind."""
        if id(control) not in self._controls:
            self._controls[id(control)] = self._copied(control)
        return self._controls[id(control)]

    def _copied(self, control: Any) -> Any:
        hint = getattr(control, "cond_hint_original", None)
        before = getattr(control, "previous_controlnet", None)
        rest = None if before is None else self._control(before)
        if not isinstance(hint, torch.Tensor) or hint.ndim != 4 or not hasattr(control, "copy"):
            self.notes["Not used for the crop: a ControlNet whose picture cannot be cut."] = None
            return rest
        twin = control.copy()
        twin.cond_hint_original = self._frame(cut(_like(hint, self.size), self.window))
        twin.extra_concat_orig = [
            cut(_like(extra, self.size), self.window) if extra.ndim == 4 and extra.shape[-1] > 1 else extra
            for extra in getattr(control, "extra_concat_orig", [])
        ]
        twin.set_previous_controlnet(rest)
        self.notes["Pictures of ControlNets were cut to the crop."] = None
        return twin


def _like(hint: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The middle of a control picture [B, C, H, W] in the shape of the whole picture, as ComfyUI crops it."""
    (width, height), (high, wide) = size, hint.shape[-2:]
    if wide * height > high * width:
        kept = max(round(high * width / height), 1)
        return hint[..., (wide - kept) // 2 : (wide - kept) // 2 + kept]
    kept = max(round(wide * height / width), 1)
    return hint[..., (high - kept) // 2 : (high - kept) // 2 + kept, :]


def _nowhere(about: dict[str, Any]) -> bool:
    mask = about.get("mask")
    return ("area" in about and about["area"] is None) or (isinstance(mask, torch.Tensor) and not bool(mask.any()))


def _everywhere(about: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in about.items() if key not in ("area", "mask")}
