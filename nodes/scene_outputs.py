"""The socket of scenes, and what the nodes that make scenes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..likeness.scenes.scene import MAX_SEED, SEEDS, Scene

SceneType = io.Custom("LIKENESS_SCENE")  # likeness.scenes.scene.Scene
SAVER = "LikenessSaveScene"
LORAS = 5  # place of `loras` among the outputs of `scene_outputs`
_LINES = 40  # of a report


def text_inputs(what: str) -> list[io.Input]:
    """The user's own words."""
    return [
        io.String.Input(
            "text",
            default="",
            multiline=True,
            optional=True,
            tooltip=f"Words for every {what}, for example: photo, soft light, 85 mm.",
        ),
        io.String.Input(
            "negative",
            default="",
            multiline=True,
            optional=True,
            tooltip="What to keep out, beside the character's own list.",
        ),
    ]


def seed_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=MAX_SEED,
            control_after_generate=io.ControlAfterGenerate.fixed,  # another seed is another grid: nothing would go on
            optional=True,
            tooltip="All seeds come from this one. Keep it fixed to get the same pictures again.",
        ),
        io.Combo.Input(
            "seeds",
            options=list(SEEDS),
            default=SEEDS[0],
            optional=True,
            tooltip="each: a seed for each scene, made of its name, so it stays when entries come or go. same: one "
            "seed for all, to compare one thing.",
        ),
    ]


def scene_outputs() -> list[io.Output]:
    one = "one for each scene, which ComfyUI runs one by one."
    return [
        io.String.Output(
            "prompt",
            display_name="prompt",
            is_output_list=True,
            tooltip=f"For the positive CLIP Text Encode: {one} The character's words are in it.",
        ),
        io.String.Output(
            "negative_text",
            display_name="negative",
            is_output_list=True,
            tooltip=f"For the negative CLIP Text Encode: {one}",
        ),
        io.Int.Output("seed_out", display_name="seed", is_output_list=True, tooltip=f"For the sampler's seed: {one}"),
        io.String.Output("name", display_name="name", is_output_list=True, tooltip=f"For file names: {one}"),
        SceneType.Output("scene", display_name="scene", is_output_list=True, tooltip=f"For Save Scene: {one}"),
        io.String.Output(
            "loras",
            display_name="loras",
            is_output_list=True,
            tooltip=f"LoRAs that come with a scene's outfit, as a LoRA stack: {one}",
        ),
        io.String.Output("report", display_name="report", tooltip="What is made, in words."),
    ]


def lists_out(scenes: Sequence[Scene], report: str) -> list[Any]:
    """The outputs for these scenes; without any, what comes after is not run."""
    if not scenes:
        return [*([[ExecutionBlocker(None)]] * 6), report]
    return [
        [s.prompt for s in scenes],
        [s.negative for s in scenes],
        [s.seed for s in scenes],
        [s.name for s in scenes],
        list(scenes),
        [s.loras for s in scenes],
        report,
    ]


def report_of(scenes: Sequence[Scene], first: str) -> str:
    """A sentence, then a line for each scene."""
    rows = [f"{s.name}  seed {s.seed}{f'  LoRAs {s.loras}' if s.loras else ''}" for s in scenes[:_LINES]]
    return "\n".join([first, *rows, *([f"... and {len(scenes) - _LINES} more"] if len(scenes) > _LINES else [])])
