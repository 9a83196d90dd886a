"""Load Training Set: a set that was built -> pictures and captions for ComfyUI's own training nodes."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..likeness.dataset.loading import find_set, pictures_of
from ..likeness.dataset.set_folder import IMAGES
from ..likeness.dataset.sources import SET_FILE
from ..likeness.errors import LikenessError
from . import host

MOST = 4096  # pictures


class LoadTrainingSet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessLoadTrainingSet",
            display_name="Load Training Set",
            category="likeness/training",
            description="Gives the pictures of a training set and their captions as lists, each picture once, for Make "
            "Training Dataset, Resolution Bucket and Train LoRA.",
            search_aliases=["likeness", "load dataset", "train lora", "kohya folder", "images and captions"],
            inputs=[
                io.String.Input(
                    "training_set",
                    default="",
                    tooltip="From Build Training Set, or its folder below output/likeness/training/: character/set.",
                ),
                io.Int.Input(
                    "first", default=1, min=1, max=100_000, optional=True, advanced=True, tooltip="The first picture."
                ),
                io.Int.Input(
                    "most",
                    default=256,
                    min=1,
                    max=MOST,
                    optional=True,
                    advanced=True,
                    tooltip="Pictures at most: each takes 12 bytes a pixel, 256 of 1024 px need 3 GB.",
                ),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, training_set: Any = "", **_: object) -> str:
        """Changes with the set; one that comes by a link changes with what it is linked to."""
        try:
            folder = find_set(host.output_folder(), training_set).folder
            stats = [(str(p), p.stat()) for p in (folder / SET_FILE, *sorted((folder / IMAGES).rglob("*.txt")))]
        except (LikenessError, OSError, AttributeError):
            return ""
        return str([(name, about.st_mtime_ns, about.st_size) for name, about in stats])

    @classmethod
    def execute(cls, training_set: str, first: int = 1, most: int = 256) -> io.NodeOutput:
        found = find_set(host.output_folder(), training_set)
        items = found.plan.items[first - 1 : first - 1 + most]
        step = host.progress(max(len(items), 1))
        images = []
        for done, pixels in enumerate(pictures_of(found, items, host.stop_if_interrupted), 1):
            images.append(host.to_image([pixels]))  # one after the other: the numbers need four times the room
            step(done)
        plan = found.plan
        return io.NodeOutput(
            images,
            [found.caption(item) for item in items],
            plan.trigger,
            plan.wish.steps,
            len(items),
            str(found.folder),
        )


def _outputs() -> list[io.Output]:
    return [
        io.Image.Output(
            "images",
            display_name="images",
            is_output_list=True,
            tooltip="One after the other, each at its own size. Repeats are left out: Train LoRA draws at random.",
        ),
        io.String.Output("captions", display_name="captions", is_output_list=True, tooltip="One for each picture."),
        io.String.Output("trigger", display_name="trigger", tooltip="The trigger word of the captions."),
        io.Int.Output("steps", display_name="steps", tooltip="The total number of steps that was wished."),
        io.Int.Output("count", display_name="count", tooltip="Pictures given."),
        io.String.Output("path", display_name="path", tooltip="The set's folder."),
    ]
