"""IPAdapter_plus, InstantID and PuLID on a model that already carries a face of ours.

Their nodes write one patch object into each cross-attention, and where one is already there they call
`.add(callback, **kwargs)` on it. A callback gets (out, q, k, v, extra_options, **kwargs) and returns what to add
to `out` while kwargs["sigma_end"] <= sigma <= kwargs["sigma_start"]. Their objects are shared by every clone of a
model, so that editing one node changes models that were made before it; what comes to us is kept per clone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor

_EVERYTHING = 999_999_999.0  # their sigma for "from the very beginning"


class Guests:
    """The callbacks that others have added to one of our patches."""

    def __init__(self, entries: tuple[tuple[Callable[..., Any], dict[str, Any]], ...] = ()) -> None:
        self.entries = entries

    def add(self, callback: Callable[..., Any], kwargs: dict[str, Any]) -> None:
        self.entries = (*self.entries, (callback, kwargs))

    def own(self) -> Guests:
        """A twin, so that what is added to a clone of the model stays with the clone."""
        return Guests(self.entries)

    def __call__(self, out: Tensor, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        for callback, kwargs in self.entries:
            if _inside(kwargs, extra_options):
                out = out + callback(out, q, k, v, extra_options, **_on_device(kwargs, q))
        return out.to(q.dtype)


def snapshot(patch: Any) -> Any:
    """A patch of theirs as it is now: nodes that come later extend the original, which other models share."""
    lists = [name for name in ("callback", "kwargs") if isinstance(getattr(patch, name, None), list)]
    if len(lists) < 2:
        return patch
    twin = copy.copy(patch)
    for name in lists:
        setattr(twin, name, list(getattr(patch, name)))
    return twin


def _inside(kwargs: dict[str, Any], extra_options: dict[str, Any]) -> bool:
    first, last = kwargs.get("sigma_start", _EVERYTHING), kwargs.get("sigma_end", 0.0)
    if (first >= _EVERYTHING and last <= 0) or "sigmas" not in extra_options:
        return True
    return bool(last <= float(extra_options["sigmas"].flatten()[0]) <= first)


def _on_device(kwargs: dict[str, Any], q: Tensor) -> dict[str, Any]:
    """Their tensors lie on the first GPU; a second one gets copies."""
    if all(v.device == q.device for v in kwargs.values() if isinstance(v, Tensor)):
        return kwargs
    for value in kwargs.values():
        if hasattr(value, "create_multigpu_clone"):
            value.create_multigpu_clone(q.device)
    return {name: v.to(q.device) if isinstance(v, Tensor) else v for name, v in kwargs.items()}
