"""Save Scene: pictures -> PNG files named after their scenes, with all that makes them again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from comfy.cli_args import args
from comfy_api.latest import io, ui

from ..likeness.images import Layers, encode_png
from ..likeness.scenes.origin import origin_of
from ..likeness.scenes.saving import PREFIX, save_scene, scene_folder
from ..likeness.scenes.scene import Scene
from . import host
from .scene_outputs import LORAS, SceneType


class SaveScene(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessSaveScene",
            display_name="Save Scene",
            category="likeness/scenes",
            description="Saves pictures under the names of their scenes, in a folder of the character. Prompt, seed, "
            "LoRAs and the graph are in every file. Nothing is written over.",
            search_aliases=["likeness", "save image", "save with metadata", "file names", "save png"],
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
            inputs=[
                io.Image.Input("images", tooltip="The pictures of one scene; those of a batch are numbered."),
                SceneType.Input("scene", tooltip="From Character Variations, Character Sheet or Base Proposals."),
                io.String.Input(
                    "filename_prefix",
                    default=PREFIX,
                    optional=True,
                    tooltip="Folder below output; the character's name comes after it.",
                ),
            ],
            outputs=[
                io.Image.Output("images_out", display_name="images", tooltip="The same pictures, for what comes next."),
                io.String.Output("files", display_name="files", tooltip="Where they lie below output, one a line."),
            ],
        )

    @classmethod
    def execute(cls, images: torch.Tensor, scene: Scene, filename_prefix: str = PREFIX) -> io.NodeOutput:
        output = host.output_folder()
        folder = scene_folder(output, filename_prefix, scene.character)
        pictures = [_encoded(layers) for layers in host.to_layers(images)]
        texts = None if args.disable_metadata else _texts(cls.hidden)
        origin = origin_of(cls.hidden.prompt, str(cls.hidden.unique_id), LORAS)
        paths = save_scene(folder, scene, pictures, texts, origin)
        below = [path.relative_to(output.resolve()) for path in paths]
        shown = [ui.SavedResult(p.name, p.parent.as_posix(), io.FolderType.output) for p in below]
        return io.NodeOutput(images, "\n".join(p.as_posix() for p in below), ui=ui.SavedImages(shown))


def _encoded(picture: Layers) -> bytes:
    host.stop_if_interrupted()
    return encode_png(picture.rgb if picture.alpha is None else np.dstack([picture.rgb, picture.alpha]))


def _texts(hidden: Any) -> dict[str, str]:
    """Graph and workflow, as ComfyUI's own Save Image writes them."""
    texts = {"prompt": json.dumps(hidden.prompt)} if hidden.prompt else {}
    return texts | {key: json.dumps(value) for key, value in (hidden.extra_pnginfo or {}).items()}
