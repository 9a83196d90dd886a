"""TorchCompileModel drops every guard on transformer_options; the identity must not get lost in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import comfy_unet
import pytest
import torch
from random_adapter import embedding, state_dict

import faceid


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.soak
def test_compiled_models_render_what_eager_ones_do(
    comfy_attention: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.ldm.modules.attention as attention
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    # ComfyUI's default on a CPU asks psutil for free memory in every layer, which breaks the graph.
    monkeypatch.setattr(attention, "optimized_attention", attention.attention_pytorch)
    model, call = comfy_unet.small_model("sd15"), comfy_unet.Call("sd15", size=8)
    adapter = faceid.read_adapter(state_dict("sd15"), name="a.bin")
    faces = [
        faceid.compile_identity(
            adapter, faceid.identity_tokens(adapter, faceid.FaceInputs(embedding(i))), identity=str(i)
        )
        for i in (0, 1)
    ]
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    def compiled(patcher: Any) -> Any:
        patcher = patcher.clone()
        set_torch_compile_wrapper(patcher, backend, options={"guard_filter_fn": skip_torch_compile_dict})
        return patcher

    def face(patcher: Any, i: int, mask: torch.Tensor | None = None, **controls: Any) -> Any:
        chosen = faceid.Controls(**controls)
        return faceid.apply_identity(patcher, faces[i], chosen, mask=mask, attention=attention.attention_pytorch)

    one, two, outside = face(model, 0), face(face(model, 0), 1), face(model, 0, end=0.1)
    left = torch.zeros(64, 64)
    left[:, :32] = 1
    masked, part = face(model, 0, left), face(model, 0, weight_type="composition")
    cases = [
        (model, compiled(model), [1, 0]),
        (one, compiled(one), [1, 0]),
        (face(model, 1, weight=0.5), face(compiled(model), 1, weight=0.5), [1, 0]),
        (outside, compiled(outside), [1, 0]),
        (two, compiled(two), [1, 0]),
        (one, compiled(one), [0, 1]),
        (masked, compiled(masked), [1, 0]),
        (face(model, 1, 1 - left), compiled(face(model, 1, 1 - left)), [1, 0]),
        (part, compiled(part), [1, 0]),
        (model, compiled(model), [1, 0]),
    ]
    for eager, fast, order in cases:
        assert comfy_unet.relative(call.run(fast, order), call.run(eager, order)) < 1e-5
    # plain, one face (any face and weight), outside its window, two, other rows, masked (any mask), some layers
    assert len(graphs) == 7
