"""Seed: where the part of a graph begins that Best of N draws again."""

from __future__ import annotations

from comfy_api.latest import io

from ..likeness.best_of import MAX_SEED


class Seed(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessSeed",
            display_name="Seed",
            category="likeness/score",
            description="A seed for the sampler and for Best of N, which draws what depends on it again with other "
            "seeds.",
            search_aliases=["likeness", "seed", "noise seed", "best of n"],
            inputs=[
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="The seed of the first attempt; the following attempts take the following seeds.",
                ),
            ],
            outputs=[io.Int.Output("seed_out", display_name="seed", tooltip="For the sampler and for Best of N.")],
        )

    @classmethod
    def execute(cls, seed: int) -> io.NodeOutput:
        return io.NodeOutput(seed)
