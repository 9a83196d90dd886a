"""What a graph is drawn with, as its manifest tells it."""

from __future__ import annotations

from typing import Any

from likeness.cli.graphs import Overrides
from likeness.cli.graphs_scene import Drawing, scene_graph
from likeness.lora_stack import StackEntry
from likeness.scenes.drawn_with import drawn_with, questions
from likeness.scenes.scene import Scene

SCENE = Scene(name="park", seed=3, prompt="in a park")
REPORT = """Mara on sd15: lora_faceid, strengths from profile
character LoRA mara/mara_v2.safetensors v2: model 0.7, clip 0.65
companion LoRA ip-adapter-faceid-plusv2_sd15_lora.safetensors: 0.6
faceid_plusv2 ip-adapter-faceid-plusv2_sd15.bin: weight 0.6, weight_v2 1
note: this identity was computed with antelopev2"""


def ours(**numbers: Any) -> dict[str, Any]:
    stack = [StackEntry("town.safetensors", 0.7, 0.5)]
    return scene_graph(
        Drawing("mara", "a.safetensors", vae="v.safetensors", numbers=Overrides(**numbers)), SCENE, stack
    )


def test_what_stands_in_the_graph_is_read() -> None:
    about = drawn_with(ours(steps=9, cfg=6.5, sampler="euler", scheduler="simple", width=512, height=640))
    assert about["checkpoint"] == "a.safetensors" and about["vae"] == "v.safetensors"
    assert about["loras"] == [{"file": "town.safetensors", "model": 0.7, "clip": 0.5}]
    assert [about[k] for k in ("steps", "cfg", "sampler", "scheduler", "width", "height")] == [
        9, 6.5, "euler", "simple", 512, 640,
    ]  # fmt: skip
    assert (about["method"], about["adapter"], about["strengths"]) == ("auto", "auto", {"source": "profile"})


def test_what_the_nodes_decide_is_asked_and_told() -> None:
    graph = ours(steps=9)
    asked = questions(graph)
    assert set(asked) == {"cfg", "sampler", "scheduler", "width", "height", "report"}
    assert graph[asked["report"][0]]["class_type"] == "LikenessApplyCharacter" and asked["report"][1] == 2
    told = {"cfg": "7.0", "sampler": "dpmpp_2m", "scheduler": "karras", "width": "768", "height": "x", "report": REPORT}
    about = drawn_with(graph, told)
    assert (about["steps"], about["cfg"], about["sampler"], about["width"]) == (9, 7.0, "dpmpp_2m", 768)
    assert "height" not in about
    assert (about["family"], about["method"]) == ("sd15", "lora_faceid")
    assert about["adapter"] == "ip-adapter-faceid-plusv2_sd15.bin"
    assert about["strengths"] == {"source": "profile", "faceid_weight": 0.6, "faceid_weight_v2": 1.0}
    assert [(x["file"].split("/")[-1], x["model"], x["clip"]) for x in about["loras"]] == [
        ("town.safetensors", 0.7, 0.5),
        ("mara_v2.safetensors", 0.7, 0.65),
        ("ip-adapter-faceid-plusv2_sd15_lora.safetensors", 0.6, 0.0),
    ]


def test_of_a_foreign_graph_what_can_be_read() -> None:
    graph = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux.safetensors"}},
        "2": {"class_type": "PrimitiveInt", "inputs": {"value": 20}},
        "9": {
            "class_type": "KSampler",
            "inputs": {"model": ["1", 0], "latent_image": ["4", 0], "steps": 5, "cfg": 1.0},
        },
        "3": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "steps": ["2", 0], "sampler_name": "euler"}},
        "4": {"class_type": "LatentUpscale", "inputs": {"samples": ["3", 0], "width": 2048, "height": 2048}},
        "5": {
            "class_type": "Power Lora Loader (rgthree)",
            "inputs": {
                "lora_1": {"on": True, "lora": "a.safetensors", "strength": 0.4},
                "lora_2": {"on": False, "lora": "b.safetensors", "strength": 1.0},
            },
        },
        "6": "no node",
        "7": {"class_type": "LikenessLoRAStack", "inputs": {"stack": "town:0.7"}},
    }
    about = drawn_with(graph)  # type: ignore[arg-type]
    assert about["checkpoint"] == "flux.safetensors" and about["steps"] == 20 and about["sampler"] == "euler"
    assert about["loras"] == [{"file": "a.safetensors", "model": 0.4, "clip": None}, {"stack": "town:0.7"}]
    assert "family" not in about and "method" not in about
    assert drawn_with({}) == {"loras": []}
