"""How weights are shared out among the layers: every type against tables written out in golden_reference.py."""

from __future__ import annotations

import golden_reference as golden
import pytest

import faceid
from faceid import Controls, PatchError, layer_factors

FAMILIES = {"sd15": 16, "sdxl": 11}  # spatial transformers


def by_transformer(controls: Controls, family: str) -> list[tuple[float, bool]]:
    """(factor, swapped) of each spatial transformer, which must be the same for all its cross-attentions."""
    found: dict[int, set[tuple[float, bool]]] = {}
    factors = layer_factors(controls, family)
    for place, layer in zip(faceid.cross_attentions(family), factors, strict=True):
        found.setdefault(place.transformer, set()).add((layer.factor, layer.swapped))
    assert all(len(values) == 1 for values in found.values())
    return [found[t].pop() for t in range(FAMILIES[family])]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", faceid.WEIGHT_TYPES)
def test_every_weight_type_equals_its_table(family: str, kind: str) -> None:
    for weight, composition in ((1.0, 1.0), (0.7, 0.3), (-0.4, 2.0)):
        found = by_transformer(Controls(weight, weight_type=kind, weight_composition=composition), family)
        expected = golden.layer_weights(family, kind, weight, composition)
        assert [swapped for _, swapped in found] == [swapped for _, swapped in expected]
        assert [factor for factor, _ in found] == pytest.approx([factor for factor, _ in expected], abs=1e-15)


# Sum of the factors, the first, and the one of the middle block, at weight 1.
RECORDED = {
    ("sd15", "ease in"): (8.875, 1.0, 0.64375),
    ("sd15", "ease out"): (7.925, 0.05, 0.40625),
    ("sd15", "ease in-out"): (8.4, 0.05, 0.7625),
    ("sd15", "reverse in-out"): (8.4, 1.0, 0.2875),
    ("sdxl", "ease in"): (6.25, 1.0, 0.6545454545454545),
    ("sdxl", "ease in-out"): (5.731818181818182, 0.05, 0.740909090909091),
    ("sd15", "weak middle"): (15.2, 1.0, 0.2),
    ("sdxl", "strong middle"): (3.0, 0.2, 1.0),
    ("sd15", "composition"): (1.25, 0.0, 0.0),
    ("sd15", "composition precise"): (12.55, 1.0, 0.1),
    ("sdxl", "style transfer precise"): (2.0, 0.0, 0.0),
}


@pytest.mark.parametrize(("family", "kind"), RECORDED)
def test_weight_types_equal_recorded_numbers(family: str, kind: str) -> None:
    factors = [factor for factor, _ in by_transformer(Controls(weight_type=kind), family)]
    middle = golden.blocks(family).index("middle")
    assert (sum(factors), factors[0], factors[middle]) == pytest.approx(RECORDED[family, kind], abs=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", faceid.WEIGHT_TYPES)
def test_matching_ipadapter_plus_turns_off_the_middle_block_alone(family: str, kind: str) -> None:
    ours = layer_factors(Controls(weight_type=kind), family)
    theirs = layer_factors(Controls(weight_type=kind, match_ipadapter_plus=True), family)
    for place, one, other in zip(faceid.cross_attentions(family), ours, theirs, strict=True):
        assert other.factor == (0.0 if place.block == "middle" else one.factor)


def test_layer_weights_replace_the_weight_type() -> None:
    controls = Controls(0.5, weight_type="ease in", layer_weights=((3, 1.0), (6, -0.5)))
    assert by_transformer(controls, "sdxl") == [({3: 0.5, 6: -0.25}.get(t, 0.0), False) for t in range(11)]
    assert by_transformer(Controls(layer_weights=((6, 1.0),)), "sd15")[6] == (1.0, False)  # the middle block


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["style transfer precise", "composition precise"])
def test_layer_weights_leave_precise_types_swapped(family: str, kind: str) -> None:
    controls = Controls(weight_type=kind, layer_weights=((3, 1.0), (4, 1.0)))
    expected = [swapped for _, swapped in golden.layer_weights(family, kind, 1.0)]
    assert [swapped for _, swapped in by_transformer(controls, family)] == expected


def test_layer_weights_replace_weight_composition_too() -> None:
    controls = Controls(weight_type="style and composition", weight_composition=9.0, layer_weights=((4, 1.0),))
    assert by_transformer(controls, "sd15")[4] == (1.0, False)


@pytest.mark.parametrize(
    ("family", "t", "message"),
    [("sd15", 16, "the layer 16, and sd15 has the layers 0 to 15"), ("sdxl", 11, "sdxl has the layers 0 to 10")],
)
def test_a_layer_that_is_not_there_is_named(family: str, t: int, message: str) -> None:
    with pytest.raises(PatchError, match=message):
        layer_factors(Controls(layer_weights=((t, 1.0),)), family)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", ()), ("3:1, 6:0.5", ((3, 1.0), (6, 0.5))), (" 0 : -1e-1 ;\n2:2,", ((0, -0.1), (2, 2.0)))],
)
def test_layer_weights_are_read_from_text(text: str, expected: tuple[tuple[int, float], ...]) -> None:
    assert faceid.parse_layer_weights(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("0, 0.5, 1", (0.0, 0.5, 1.0)),
        ("0:0, 4:1", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("4:1, 2:0", (0.0, 0.0, 0.0, 0.5, 1.0)),
        ("2:3", (3.0, 3.0, 3.0)),
    ],
)
def test_frame_weights_are_read_from_text(text: str, expected: tuple[float, ...]) -> None:
    assert faceid.parse_frame_weights(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (faceid.parse_layer_weights, "3", "layer_weights: '' is not a number"),
        (faceid.parse_layer_weights, "x:1", "'x:1' does not start with a number"),
        (faceid.parse_layer_weights, "3:1,3:2", "names 3 twice"),
        (faceid.parse_layer_weights, "3:nan", "'nan' is not a number"),
        (faceid.parse_frame_weights, "1, two", "frame_weights: 'two' is not a number"),
        (faceid.parse_frame_weights, "0:1, 0:2", "frame_weights names 0 twice"),
        (faceid.parse_frame_weights, "99999:1", "does not start with a number"),
        (faceid.parse_frame_weights, ":", "does not start with a number"),
        (faceid.parse_frame_weights, "0," * 10_001, "10001 weights"),
    ],
)
def test_text_that_is_no_weight_is_named(read: object, text: str, message: str) -> None:
    with pytest.raises(PatchError, match=message) as caught:
        read(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": float("nan")}, "FaceID weight is nan"),
        ({"weight_v2": float("inf")}, "FaceID weight_v2 is inf"),
        ({"layer_weights": ((3, float("nan")),)}, "weight of layer 3 is nan"),
        ({"frame_weights": (0.0, float("inf"))}, "weight of picture 1 is inf"),
        ({"start": 0.6, "end": 0.5}, "runs from 0.6 to 0.5"),
        ({"start": float("nan")}, "runs from nan"),
        ({"weight_type": "strong"}, "weight_type 'strong' is unknown"),
        ({"embeds_scaling": "V"}, "embeds_scaling 'V' is unknown"),
    ],
)
def test_controls_out_of_range_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(PatchError, match=message):
        Controls(**values)


def test_controls_know_when_they_turn_the_face_off() -> None:
    assert Controls(0.0).off and Controls(0.0, weight_type="composition").off and Controls(frame_weights=(0.0, 0.0)).off
    assert not Controls().off and not Controls(frame_weights=(0.0, 1.0)).off
    styled = {"weight_type": "style and composition"}
    assert not Controls(0.0, **styled).off
    assert Controls(0.0, weight_composition=0.0, **styled).off
    assert Controls(0.0, layer_weights=((4, 1.0),), **styled).off
