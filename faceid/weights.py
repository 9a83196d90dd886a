"""How the weight of an identity is shared out among the cross-attentions.

t counts the spatial transformers in the order of execution (CrossAttention.transformer) and L is their number, 16
for sd15 and 11 for sdxl. The weight types and their formulas are those that users know from IPAdapter_plus. There
"weak middle" has no effect, because that pack never reaches the middle block; here it has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .controls import Controls
from .errors import PatchError
from .layout import CrossAttention, cross_attentions

_COMPOSITION = {"sd15": {4: 0.25, 5: 1.0}, "sdxl": {3: 1.0}}  # transformers that lay out the picture: share of weight
_STYLE = {"sd15": frozenset((0, 1, 2, 3, *range(9, 16))), "sdxl": frozenset((6,))}
_WEAK = 0.2

_EASE: dict[str, Callable[[float, float], float]] = {  # (t, L) -> 0..1
    "ease in": lambda t, length: 1 - t / length,
    "ease out": lambda t, length: t / length,
    "ease in-out": lambda t, length: 1 - abs(t - length / 2) / (length / 2),
    "reverse in-out": lambda t, length: abs(t - length / 2) / (length / 2),
}
_PARTS = {  # factors for composition transformers, style transformers and all others
    "style transfer": (0.0, 1.0, 0.0),
    "composition": (1.0, 0.0, 0.0),
    "strong style transfer": (0.0, 1.0, 1.0),
    "style and composition": (1.0, 1.0, 0.0),
    "style transfer precise": (1.0, 1.0, 0.0),
    "composition precise": (1.0, 1.0, 0.1),
}


@dataclass(frozen=True)
class LayerFactor:
    """What one cross-attention makes of the identity."""

    factor: float  # the whole weight of this layer, Controls.weight included; 0 is off
    swapped: bool  # the cond row gets zero tokens and the uncond row gets the face: away from it instead of towards it


def layer_factors(controls: Controls, family: str) -> tuple[LayerFactor, ...]:
    """One for each cross-attention, in adapter order. PatchError when layer_weights names a transformer there is not.

    layer_weights take the place of the weight type, except that "precise" types stay swapped.
    """
    places = cross_attentions(family)
    last = max(place.transformer for place in places)
    for t, _ in controls.layer_weights:
        if not 0 <= t <= last:
            raise PatchError(f"layer_weights names the layer {t}, and {family} has the layers 0 to {last}.")
    return tuple(
        LayerFactor(_factor(controls, place, family, last + 1), _swapped(controls.weight_type, place, family))
        for place in places
    )


def _factor(controls: Controls, place: CrossAttention, family: str, length: int) -> float:
    kind, t, weight = controls.weight_type, place.transformer, controls.weight
    if controls.match_ipadapter_plus and place.block == "middle":
        return 0.0
    if controls.layer_weights:
        return weight * dict(controls.layer_weights).get(t, 0.0)
    if kind in _EASE:
        return weight * (0.05 + 0.95 * _EASE[kind](t, length))
    if kind in _PARTS:
        composition, style, other = _PARTS[kind]
        if t in _COMPOSITION[family]:
            return (
                (controls.weight_composition if controls.composes else weight) * composition * _COMPOSITION[family][t]
            )
        return weight * (style if t in _STYLE[family] else other)
    weak = kind == f"weak {place.block}" or (kind == "strong middle" and place.block != "middle")
    return weight * _WEAK if weak else weight


def _swapped(kind: str, place: CrossAttention, family: str) -> bool:
    composes = place.transformer in _COMPOSITION[family]
    return composes if kind == "style transfer precise" else kind == "composition precise" and not composes
