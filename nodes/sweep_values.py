"""Sweep Values: the strengths, seed and prompt of one picture of a sweep."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..likeness.method import preset
from ..likeness.sweep.plan import FACEID, LORA, LORA_FILE, MAX_SEED, MAX_SEEDS, SHORTCUT, START, SweepPoint, plan_of
from . import host

SweepType = io.Custom("LIKENESS_SWEEP")  # likeness.sweep.plan.SweepPoint
_BALANCED = preset("balanced", "lora_faceid")[0]
_USUAL = {  # where a strength is not swept, in the order of the outputs
    LORA: _BALANCED.lora_model,
    FACEID: _BALANCED.faceid_weight,
    SHORTCUT: _BALANCED.faceid_weight_v2,
    START: _BALANCED.start,
}
OUTPUTS = ("sweep", *_USUAL, LORA_FILE, "seed", "prompt", "label")  # by place
_FORMS = "Numbers like 0.4, 0.6, 0.8, or from:to:count like 0.4:1.0:4. Empty: not swept."
_PROMPTS = (
    "portrait in a sunny park, soft light, looking at the camera\n"
    "sitting in a cafe by the window, reading a book, evening light"
)


def _strength(name: str, default: str, what: str) -> io.Input:
    return io.String.Input(name, default=default, optional=True, tooltip=f"{what} {_FORMS}")


class SweepValues(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessSweepValues",
            display_name="Sweep Values",
            category="likeness/score",
            description="Strengths to try, with seeds and prompts. Gives those of one picture; Tune Strengths draws "
            "the graph after it once for every picture that it needs. Without Tune Strengths the graph draws the "
            "picture that index says.",
            search_aliases=["likeness", "xy plot", "grid search", "strength sweep", "lora strength", "compare epochs"],
            inputs=[*_inputs()],
            outputs=[*_outputs()],
        )

    @classmethod
    def fingerprint_inputs(cls, lora_files: str | None = "", **_: object) -> str:
        """Runs again when a LoRA file was replaced, where files are swept."""
        return "" if lora_files == "" else host.digest_of(host.file_stamps("loras"))

    @classmethod
    def execute(
        cls, seed: int = 1, seeds: int = 4, prompts: str = "", lora_files: str = "", index: int = 0, **numbers: str
    ) -> io.NodeOutput:
        plan = plan_of(numbers, lora_files, prompts, seed, seeds, _stamp)
        point = SweepPoint.at(plan, index)
        cell = point.render.cell
        no_file = ExecutionBlocker("Sweep Values sweeps no LoRA files: name them under lora_files, one a line.")
        return io.NodeOutput(
            point,
            *(float(dict(cell.values).get(name, usual)) for name, usual in _USUAL.items()),
            cell.lora_file or no_file,
            point.render.seed,
            point.render.prompt,
            str(cell),
        )


def _stamp(file: str) -> str:
    """Size and time of a LoRA file. ModelMissingError when it is not in models/loras."""
    about = host.find_file("loras", file, "The swept LoRA").stat()
    return f"{about.st_size} {about.st_mtime_ns}"


def _inputs() -> list[Any]:
    return [
        _strength(LORA, "0.4:1.0:4", "Strength of the character LoRA, on model and text encoder."),
        _strength(FACEID, "0.4:1.0:4", "Strength of the FaceID attention."),
        _strength(SHORTCUT, "", "Shortcut of FaceID Plus V2."),
        _strength(START, "", "Share of the sampling steps from which FaceID acts."),
        io.String.Input(
            "lora_files",
            default="",
            multiline=True,
            optional=True,
            tooltip="LoRA files to rank, for example the epochs of one training run, as listed in models/loras, one "
            "a line. Empty: the character's own.",
        ),
        io.String.Input(
            "prompts",
            default=_PROMPTS,
            multiline=True,
            optional=True,
            tooltip="Scenes to draw every cell with, one a line.",
        ),
        io.Int.Input("seed", default=1, min=0, max=MAX_SEED, optional=True, tooltip="The first seed."),
        io.Int.Input(
            "seeds",
            default=4,
            min=1,
            max=MAX_SEEDS,
            optional=True,
            tooltip="How many seeds. Halving takes under half of the full grid from four on.",
        ),
        io.Int.Input(
            "index",
            default=0,
            min=0,
            max=10**6,
            optional=True,
            advanced=True,
            tooltip="Which picture of the sweep to give when the graph runs by itself. Tune Strengths sets its own.",
        ),
    ]


def _outputs() -> list[Any]:
    unswept = "Where it is not swept, the balanced preset's."
    return [
        SweepType.Output(
            "SWEEP", display_name="sweep", tooltip="For Apply Character's sweep input, and for Tune Strengths."
        ),
        io.Float.Output("lora", display_name="lora", tooltip=f"LoRA strength, for any LoRA loader. {unswept}"),
        io.Float.Output("faceid_weight", display_name="faceid_weight", tooltip=f"For any face node. {unswept}"),
        io.Float.Output("faceid_weight_v2", display_name="faceid_weight_v2", tooltip=f"Plus V2's shortcut. {unswept}"),
        io.Float.Output("start", display_name="start", tooltip=f"Share of the sampling steps. {unswept}"),
        # Any type: LoraLoader's list of names accepts nothing else from a link.
        io.AnyType.Output("lora_file", display_name="lora_file", tooltip="LoRA file, for any LoRA loader."),
        io.Int.Output("seed_out", display_name="seed", tooltip="For the sampler."),
        io.String.Output("prompt", display_name="prompt", tooltip="The scene, for Character Prompt's text."),
        io.String.Output("label", display_name="label", tooltip="The strengths in words, for file names."),
    ]
