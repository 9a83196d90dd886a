"""Nodes of IPAdapter_plus and InstantID on a model with a face: they stand side by side, whoever comes first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy_unet
import pytest
import torch
from comfy_unet import Call, relative
from random_adapter import embedding, state_dict
from torch import Tensor

import faceid


class TheirPatch:
    """The protocol of their patch objects, as their nodes use it."""

    def __init__(self, callback: Callable[..., Any], **kwargs: Any):
        self.callback, self.kwargs = [callback], [kwargs]

    def add(self, callback: Callable[..., Any], **kwargs: Any) -> None:
        self.callback.append(callback)
        self.kwargs.append(kwargs)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        from comfy.ldm.modules.attention import optimized_attention

        out, sigma = optimized_attention(q, k, v, options["n_heads"]), float(options["sigmas"][0])
        for callback, kwargs in zip(self.callback, self.kwargs, strict=True):
            if kwargs["sigma_end"] <= sigma <= kwargs["sigma_start"]:
                out = out + callback(out, q, k, v, options, **kwargs)
        return out


def shift(out: Tensor, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any], *, cond: Tensor, **kw: Any) -> Tensor:
    return q * cond


def their_node(model: Any, strength: float, sigma_start: float = 999_999_999.9, sigma_end: float = 0.0) -> Any:
    """What IPAdapter_plus's nodes do to a model, for SD 1.5: a new patch, or `.add` on the one that is there."""
    work = model.clone()
    kwargs = {"cond": torch.tensor(strength), "sigma_start": sigma_start, "sigma_end": sigma_end}
    for key in [("input", i) for i in (1, 2, 4, 5, 7, 8)] + [("output", i) for i in range(3, 12)]:
        held = work.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
        if key in held:
            held[key].add(shift, **kwargs)
        else:
            work.set_model_attn2_replace(TheirPatch(shift, **kwargs), *key)
    return work


@pytest.fixture(scope="module")
def model(comfy_attention: Callable[..., Any]) -> Any:
    return comfy_unet.small_model("sd15")


@pytest.fixture(scope="module")
def ours(comfy_attention: Callable[..., Any]) -> Callable[..., Any]:
    adapter = faceid.read_adapter(state_dict("sd15"), name="a.bin")

    def run(model: Any, seed: int = 0, weight: float = 0.8) -> Any:
        tokens = faceid.identity_tokens(adapter, faceid.FaceInputs(embedding(seed)))
        made = faceid.compile_identity(adapter, tokens, identity=str(seed))
        return faceid.apply_identity(model, made, faceid.Controls(weight=weight), attention=comfy_attention)

    return run


CALL = Call("sd15")


def run(model: Any) -> Tensor:
    return CALL.run(model, [1, 0])


def test_before_and_after_give_the_same_picture(model: Any, ours: Callable[..., Any]) -> None:
    before, after = run(ours(their_node(model, 0.3))), run(their_node(ours(model), 0.3))
    assert relative(before, after) < 5e-6
    for alone in (model, ours(model), their_node(model, 0.3)):
        assert relative(run(alone), after) > 0.01


def test_any_chain_gives_the_sum(model: Any, ours: Callable[..., Any]) -> None:
    chains = [
        ours(their_node(ours(their_node(model, 0.3)), 0.2), 1),
        their_node(their_node(ours(ours(model), 1), 0.3), 0.2),
        ours(ours(their_node(their_node(model, 0.2), 0.3), 1)),
        their_node(ours(ours(their_node(model, 0.3), 1)), 0.2),
    ]
    first, *others = (run(chain) for chain in chains)
    for other in others:
        assert relative(other, first) < 5e-6


def test_a_node_of_theirs_leaves_the_model_before_it_alone(model: Any, ours: Callable[..., Any]) -> None:
    face = ours(model)
    kept = run(face)
    changed = their_node(face, 0.3)
    for strength in (0.1, 0.5, 0.3):
        again = their_node(face, strength)
    assert torch.equal(run(face), kept)
    assert torch.equal(run(again), run(changed))  # nothing piled up
    second = their_node(changed, 0.2)
    assert relative(run(second), run(changed)) > 0.01
    assert torch.equal(run(changed), run(again))


def test_what_they_change_in_a_shared_patch_later_does_not_reach_ours(model: Any, ours: Callable[..., Any]) -> None:
    theirs = their_node(model, 0.3)
    face = ours(theirs)
    kept = run(face)
    their_node(theirs, 0.7)  # changes the patch objects of `theirs`, which is their defect
    assert torch.equal(run(face), kept)


def test_their_window_is_kept(model: Any, ours: Callable[..., Any]) -> None:
    face = ours(model)
    assert torch.equal(run(their_node(face, 0.3, sigma_start=1.0)), run(face))  # the call's sigma is 2
    assert torch.equal(run(their_node(face, 0.3, sigma_end=3.0)), run(face))
    assert torch.equal(run(their_node(face, 0.3, 2.0, 2.0)), run(their_node(face, 0.3)))


def test_clones_of_clones_keep_what_was_added(model: Any, ours: Callable[..., Any]) -> None:
    both = their_node(ours(model), 0.3)
    assert torch.equal(run(both.clone().clone()), run(both))
