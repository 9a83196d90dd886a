"""Which model files a graph in API format asks for, and whether they are there. Pure: listings come from outside."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_NODES = 5000
MAX_COMPARED = 20_000  # names that are looked at for a near one, about 2 s; the graph may come from anywhere
# Input of ComfyUI's own loaders, and of ours -> folder below models/
_FOLDERS = {
    "ckpt_name": "checkpoints",
    "unet_name": "diffusion_models",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "clip_name3": "text_encoders",
    "clip_name4": "text_encoders",
    "vae_name": "vae",
    "lora_name": "loras",
    "control_net_name": "controlnet",
    "style_model_name": "style_models",
    "gligen_name": "gligen",
    "audio_encoder_name": "audio_encoders",
    "adapter": "ipadapter",
    "image_encoder": "clip_vision",
    "lora": "loras",
}
# Inputs of one name that mean another folder in these nodes
_OF_NODE = {
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
    ("LatentUpscaleModelLoader", "model_name"): "latent_upscale_models",
    ("ModelPatchLoader", "name"): "model_patches",
    ("unCLIPCheckpointLoader", "ckpt_name"): "checkpoints",
}
_NOT_FILES = ("auto", "none", "None", "", "pixel_space")  # what these inputs offer beside files
_OURS = "Likeness"  # how the ids of our nodes begin


@dataclass(frozen=True)
class Download:
    """Where a file comes from. Nothing is ever fetched by Likeness itself."""

    url: str
    licence: str


@dataclass(frozen=True)
class Need:
    """One file that one input of a graph names."""

    node: str  # id
    title: str
    input: str
    file: str  # as the graph names it
    folder: str  # below models/
    there: bool
    remedy: str = ""  # one sentence, where it is not there
    download: Download | None = None


_FACEID = Download("https://huggingface.co/h94/IP-Adapter-FaceID", "non-commercial")
_CLIP = Download("https://huggingface.co/laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "MIT")
_KNOWN = (  # how a file's name begins, in lower case -> where it is published
    ("ip-adapter-faceid", _FACEID),
    ("clip-vit-h-14-laion2b", _CLIP),
    (
        "buffalo_",
        Download("https://github.com/deepinsight/insightface/tree/master/python-package", "non-commercial research"),
    ),
    (
        "antelopev2",
        Download("https://github.com/deepinsight/insightface/tree/master/python-package", "non-commercial research"),
    ),
    ("auraface", Download("https://huggingface.co/fal/AuraFace-v1", "Apache-2.0")),
    (
        "v1-5-pruned-emaonly",
        Download("https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive", "CreativeML OpenRAIL-M"),
    ),
    (
        "sd_xl_base_1.0",
        Download("https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0", "CreativeML OpenRAIL++-M"),
    ),
)


def needs_of(graph: Mapping[str, Any], listed: Callable[[str], list[str]]) -> tuple[Need, ...]:
    """Every file that the graph names, those that are missing first.

    `listed(folder)`: the files in a folder below models/ as ComfyUI lists them; [] for a folder that it does not know.
    What is no graph gives ().
    """
    known: dict[str, list[str]] = {}
    remedies: dict[tuple[str, str], str] = {}
    found, left = [], MAX_COMPARED
    for node, title, name, value, folder in _named(graph):
        files = known[folder] if folder in known else known.setdefault(folder, listed(folder))
        there = value in files or value.replace("\\", "/") in files
        if not there and (folder, value) not in remedies:
            left -= len(files)
            remedies[folder, value] = _remedy(value, folder, files, near=left >= 0)
        remedy = "" if there else remedies[folder, value]
        found.append(Need(node, title, name, value, folder, there, remedy, _from(value)))
    return tuple(sorted(found, key=lambda n: n.there))


def _named(graph: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """(node id, title, input, value, folder) of each input that names a model file."""
    for node_id, node in list(graph.items())[:MAX_NODES]:
        inputs = node.get("inputs") if isinstance(node, dict) else None
        kind = _text(node.get("class_type")) if isinstance(node, dict) else ""
        meta = node.get("_meta") if isinstance(node, dict) else None
        title = _text(meta.get("title")) or kind if isinstance(meta, dict) else kind
        for name, value in inputs.items() if isinstance(inputs, dict) else ():
            folder = folder_of(kind, str(name))
            if folder and isinstance(value, str) and value not in _NOT_FILES:
                yield str(node_id), title, str(name), value[:400], folder


def _text(value: object) -> str:
    return value[:200] if isinstance(value, str) else ""


def folder_of(kind: str, name: str) -> str:
    """Folder below models/ that an input of a node names a file of; "" for any other input.

    "adapter" and "lora" are files in our own nodes; in those of others they may be anything.
    """
    if (kind, name) in _OF_NODE:
        return _OF_NODE[kind, name]
    own = name in ("adapter", "image_encoder", "lora")
    return "" if own and not kind.startswith(_OURS) else _FOLDERS.get(name, "")


def _remedy(file: str, folder: str, files: list[str], near: bool = True) -> str:
    """What to do. `near`: look for a file of nearly that name; one of the same name in another folder always is."""
    other = next((f for f in files if _base(f) == _base(file)), "")
    if near and not other:
        close = difflib.get_close_matches(_base(file), [_base(f) for f in files], 1, 0.6)
        other = next((f for f in files if close and _base(f) == close[0]), "")
    choose = (
        f"choose {other}, which is there, or put" if other else "choose one that is there, or put" if files else "put"
    )
    return f"{choose[:1].upper()}{choose[1:]} {file} into models/{folder} and press R."


def _base(file: str) -> str:
    """Its name without folders, for comparing."""
    return file.replace("\\", "/").rsplit("/", 1)[-1].casefold()


def _from(file: str) -> Download | None:
    return next((download for begin, download in _KNOWN if _base(file).startswith(begin)), None)
