from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy_unet
import pytest

from faceid import AdapterFamilyError, cross_attentions, family_of_context


@pytest.mark.parametrize(("family", "count"), [("sd15", 16), ("sdxl", 70)])
def test_numbers_keys_and_adapter_keys_are_unique_and_complete(family: str, count: int) -> None:
    places = cross_attentions(family)
    assert [p.number for p in places] == list(range(count))
    assert [p.adapter_key for p in places] == list(range(1, 2 * count, 2))
    assert len({p.key for p in places}) == len({p.diffusers_name for p in places}) == count


@pytest.mark.parametrize(
    ("family", "number", "key", "name"),
    [
        ("sd15", 0, ("input", 1, 0), "down_blocks.0.attentions.0.transformer_blocks.0"),
        ("sd15", 2, ("input", 4, 0), "down_blocks.1.attentions.0.transformer_blocks.0"),
        ("sd15", 5, ("input", 8, 0), "down_blocks.2.attentions.1.transformer_blocks.0"),
        ("sd15", 6, ("output", 3, 0), "up_blocks.1.attentions.0.transformer_blocks.0"),
        ("sd15", 14, ("output", 11, 0), "up_blocks.3.attentions.2.transformer_blocks.0"),
        ("sd15", 15, ("middle", 0, 0), "mid_block.attentions.0.transformer_blocks.0"),
        ("sdxl", 3, ("input", 5, 1), "down_blocks.1.attentions.1.transformer_blocks.1"),
        ("sdxl", 4, ("input", 7, 0), "down_blocks.2.attentions.0.transformer_blocks.0"),
        ("sdxl", 23, ("input", 8, 9), "down_blocks.2.attentions.1.transformer_blocks.9"),
        ("sdxl", 24, ("output", 0, 0), "up_blocks.0.attentions.0.transformer_blocks.0"),
        ("sdxl", 59, ("output", 5, 1), "up_blocks.1.attentions.2.transformer_blocks.1"),
        ("sdxl", 69, ("middle", 0, 9), "mid_block.attentions.0.transformer_blocks.9"),
    ],
)
def test_places(family: str, number: int, key: tuple[str, int, int], name: str) -> None:
    place = cross_attentions(family)[number]
    assert (place.key, place.diffusers_name) == (key, name)


def test_family_is_told_by_the_context_width() -> None:
    assert [family_of_context(768), family_of_context(2048)] == ["sd15", "sdxl"]
    for other in (1024, 1280, 4096, None, "768"):
        with pytest.raises(AdapterFamilyError, match=r"768.*2048"):
            family_of_context(other)


@pytest.mark.parametrize(("family", "count"), [("sd15", 16), ("sdxl", 11)])
def test_transformers_are_numbered_in_the_order_that_the_unet_runs_them(
    family: str, count: int, comfy_attention: Callable[..., Any]
) -> None:
    """Against ComfyUI: the transformer_index that a patch is told, and the order in which patches are called."""
    model, ran = comfy_unet.small_model(family), []

    def note(number: int, transformer: int) -> Callable[..., Any]:
        def patch(q: Any, k: Any, v: Any, options: dict[str, Any]) -> Any:
            ran.append((number, transformer, options["transformer_index"]))
            return comfy_attention(q, k, v, options["n_heads"])

        return patch

    for place in cross_attentions(family):
        model.set_model_attn2_replace(note(place.number, place.transformer), *place.key)
    comfy_unet.Call(family).run(model, [1, 0])
    assert {number for number, _, _ in ran} == set(range(len(cross_attentions(family))))
    assert all(ours == theirs for _, ours, theirs in ran)
    assert [ours for _, ours, _ in ran] == sorted(ours for _, ours, _ in ran)
    assert {ours for _, ours, _ in ran} == set(range(count))
