"""Which files a graph names, whatever is sent as one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.graph_needs import needs_of

FILES = {"checkpoints": ["sd15.safetensors"], "loras": ["ada/ada_v1.safetensors"]}


def needs(graph: Any) -> list[tuple[str, str, bool]]:
    return [(n.folder, n.file, n.there) for n in needs_of(graph, lambda folder: FILES.get(folder, []))]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def test_loaders_name_files_and_links_do_not() -> None:
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name="sd15.safetensors"),
        "2": node("LoraLoader", lora_name="ada\\ada_v1.safetensors", model=["1", 0]),
        "3": node("CLIPVisionLoader", clip_name="h.safetensors"),
        "4": node("CLIPLoader", clip_name="t5.safetensors"),
        "5": node("UpscaleModelLoader", model_name="x4.pth"),
        "6": node("LikenessApplyCharacter", adapter="auto", image_encoder="auto"),
        "7": node("SomebodyElses", adapter="not a file", model_name="neither"),
    }
    assert needs(graph) == [
        ("clip_vision", "h.safetensors", False),
        ("text_encoders", "t5.safetensors", False),
        ("upscale_models", "x4.pth", False),
        ("checkpoints", "sd15.safetensors", True),
        ("loras", "ada\\ada_v1.safetensors", True),
    ]


@pytest.mark.parametrize(
    "graph", [{}, {"1": 3}, {"1": {"inputs": []}}, {"1": {"class_type": 4, "inputs": {"ckpt_name": []}}}]
)
def test_what_is_no_graph_needs_nothing(graph: Any) -> None:
    assert needs(graph) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=9), v, max_size=3),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.fixed_dictionaries(
            {
                "class_type": json_values,
                "inputs": st.dictionaries(st.sampled_from(["ckpt_name", "lora_name", "x"]), json_values),
                "_meta": json_values,
            }
        ),
    )
)
def test_no_graph_is_too_odd(graph: dict[str, Any]) -> None:
    for _, file, there in needs(graph):
        assert isinstance(file, str) and there == (file == "sd15.safetensors")
