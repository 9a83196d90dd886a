"""Which base family a workflow draws with, as far as it tells before it runs.

Each piece of evidence leaves some families open. What is sure comes from the headers of files that are here, the type
of text encoder loaders, and nodes that only some families have. What is likely is what is left by the names of files,
and by empty latents, which ComfyUI would fit to another model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..assets import base_name
from ..profile import FAMILIES
from .workflow import Node

if TYPE_CHECKING:
    from .trace import Found

FamilyOf = Callable[[str], str | None]  # name of a model file as workflows list it -> family that its header tells
ALL = frozenset(FAMILIES)
_UNETS = frozenset({"sd15", "sdxl", "kolors", "other"})
_FLOWS = ALL - {"sd15", "sdxl", "kolors"}
_GUIDED = frozenset({"flux", "flux2", "chroma", "hunyuan_video", "other"})
_OTHER = frozenset({"other"})
_TYPES = {  # `type` of the text encoder loaders; "stable_diffusion", their default, says nothing
    "lumina2": {"z_image", "other"},
    "hunyuan_video_15": {"hunyuan_video"},
    **{name: {name} for name in ("sdxl", "sd3", "flux", "flux2", "chroma", "qwen_image", "hunyuan_video", "wan")},
}
_OTHER_TYPES = (
    "stable_cascade", "stable_audio", "hunyuan_dit", "mochi", "ltxv", "pixart", "cosmos", "hidream", "ace", "omnigen2",
    "hunyuan_image", "ovis", "kandinsky5", "kandinsky5_image", "newbie", "longcat_image", "cogvideox", "lens",
    "pixeldit", "ideogram4", "boogu", "krea2", "joyimage", "mage", "minimax",
)  # fmt: skip
_NODES = tuple(  # class types on the way to a sampler -> families that have them
    (re.compile(rule), frozenset(families))
    for rule, families in (
        (r"TripleCLIPLoader(GGUF)?|CLIPTextEncodeSD3", {"sd3"}),
        (r"QuadrupleCLIPLoader(GGUF)?|CLIPTextEncode(HunyuanDiT|HiDream|Kandinsky5|PixArtAlpha)", _OTHER),
        (r"(LTXV|Cosmos|StableCascade|SV3D|SVD|TextEncodeAceStep|ModelSamplingStableCascade)\w*", _OTHER),
        (r"MZ_(Kolors|ChatGLM3)\w*|Kolors\w*", {"kolors"}),
        (r"CLIPTextEncodeSDXL.*", {"sdxl"}),
        (r"CLIPTextEncodeFlux|FluxGuidance|FluxDisableGuidance|ModelSamplingFlux", _GUIDED),
        (r"\w*Flux(?!2)\w*(DiT|UNET)\w*Loader\w*", {"flux"}),
        (r"(?!.*[Ff]lux2).*[Ff]lux.*", _FLOWS),
        (r"EmptyFlux2LatentImage|Flux2Scheduler", {"flux2", "other"}),
        (r"CLIPTextEncodeLumina2", {"z_image", "other"}),
        (r"TextEncodeZImage\w*", {"z_image"}),
        (r"TextEncodeQwenImage\w*", {"qwen_image", "other"}),
        (r"Wan(?!Video)\w*ToVideo\w*|Wan22\w*|WanCamera\w*", {"wan"}),
        (r"HunyuanImageToVideo|HunyuanVideo15\w*|TextEncodeHunyuanVideo\w*", {"hunyuan_video"}),
        (r"ModelSampling(SD3|AuraFlow|LTXV)", _FLOWS),
        (r"ModelSamplingDiscrete|ADE_.*|IPAdapter(?!.*(Flux|SD3)).*|GLIGEN\w*", _UNETS),
    )
)
_LATENTS = {
    "EmptySD3LatentImage": {"sd3", "flux", "chroma", "qwen_image", "z_image", "other"},
    "EmptyHunyuanLatentVideo": {"hunyuan_video", "wan", "other"},
    "EmptyMochiLatentVideo": _OTHER,
    "EmptyHunyuanImageLatent": _OTHER,
}
_NAMES = tuple(  # in the names of model files, and of their folders; the first that fits
    (re.compile(rule), family)
    for rule, family in (
        (r"flux[-_. ]?2|klein", "flux2"),
        (r"chroma(?!t)", "chroma"),
        (r"flux|kontext", "flux"),
        (r"qwen[-_ ]?(image|edit)", "qwen_image"),
        (r"z[-_ ]?image", "z_image"),
        (r"hunyuan[-_ ]?video|hyvideo", "hunyuan_video"),
        (r"(?<![a-z])wan(?![a-z])", "wan"),
        (r"kolors", "kolors"),
        (r"sd[-_ ]?3|stable[-_ ]?diffusion[-_ ]?3", "sd3"),
        (r"hunyuan|hidream|lumina|(?<![a-z])ltx|mochi|cosmos|cascade|aura[-_ ]?flow|pixart|omnigen|krea|kandinsky|"
         r"ace[-_ ]?step|stable[-_ ]?(audio|video|zero)|(?<![a-z])svd|ideogram|(?<![a-z])anima(?![a-z])", "other"),
        (r"sd[-_ ]?2|(?<![a-z0-9_])v2-[01](?![0-9])|512-(inpainting|base|depth)-ema", "other"),
        (r"(?<!x)xl(?![a-uw-z])|pony|illustrious|noob[-_ ]?ai", "sdxl"),
        (r"sd[-_ ]?v?1[-_.]?[45](?![0-9])|(?<![a-z0-9])v1[-_.]?[45](?![0-9])|sd[-_ ]?15", "sd15"),
    )
)  # fmt: skip
_FILE = re.compile(r".*\.(safetensors|sft|ckpt|gguf|pth?|bin)", re.IGNORECASE)
_FILE_INPUTS = ("ckpt_name", "unet_name", "model_name", "model_path")


@dataclass(frozen=True)
class Told:
    """The base families that a model can be."""

    sure: frozenset[str] = ALL  # by what cannot be otherwise
    likely: frozenset[str] = ALL  # of these, by names and latents
    by: str = ""  # the name that decided, "" where none did

    def within(self, said: str) -> frozenset[str]:
        """With what the user says, which counts where it can be."""
        return frozenset({said}) if said in self.sure else self.likely


def told_of(found: Found, loaders: Iterable[Node], samplers: Iterable[Node], family_of: FamilyOf | None) -> Told:
    """Of a model by its loaders, and by everything on the way to the samplers that read it."""
    loaders = list(loaders)
    files = {file: name for loader in loaders for file, name in _files(loader)}
    nodes = {node.id: node for sampler in samplers for node in _on_the_way(found, sampler)}
    by_header = [frozenset({told}) for file in files if family_of and (told := family_of(file)) in ALL]
    sure = _left(ALL, [*by_header, *(said for node in (*loaders, *nodes.values()) for said in _said(node))])
    names = {name: frozenset({told}) for name in files.values() if (told := family_of_name(name))}
    likely = _left(sure, names.values())
    by = next((base_name(name) for name, told in names.items() if likely <= told and not sure <= told), "")
    return Told(sure, _left(likely, (frozenset(_LATENTS.get(n.class_type, ALL)) for n in nodes.values())), by)


def family_of_name(name: str) -> str:
    """The base family that a model file's name tells, else that of its folder, else ""."""
    parts = reversed(re.split(r"[\\/]", name.lower()))
    return next((family for part in parts for rule, family in _NAMES if rule.search(part)), "")


def _left(families: frozenset[str], evidence: Iterable[frozenset[str]]) -> frozenset[str]:
    """What the evidence leaves open; a piece that would leave nothing is wrong, or about something else."""
    for told in evidence:
        families = families & told or families
    return families


def _said(node: Node) -> Iterator[frozenset[str]]:
    kind = node.inputs.get("type")
    if isinstance(kind, str) and "clip" in node.class_type.lower():
        yield frozenset(_TYPES.get(kind, _OTHER if kind in _OTHER_TYPES else ALL))
    yield from (families for rule, families in _NODES if rule.fullmatch(node.class_type))


def _files(loader: Node) -> Iterator[tuple[str, str]]:
    """(file as it is listed, what of it is a name); an address counts by its last part."""
    for name, value in loader.inputs.items():
        if isinstance(value, str) and (_FILE.fullmatch(value) or name in _FILE_INPUTS):
            yield value, value.split("?")[0].rsplit("/", 1)[-1] if "://" in value else value


def _on_the_way(found: Found, sampler: Node) -> Iterator[Node]:
    """Nodes that give a sampler its model, prompts and steps, and the latent that it, or what its guider is for, begins
    with; not what lies behind a latent or a picture, which another model may have drawn."""
    into, kinds = found.workflow.into, found.kinds
    users = [e.target for e in found.workflow.out_of[sampler.id] if e.name == "guider"]
    waiting, seen = [sampler.id, *users], dict.fromkeys([sampler.id, *users])
    while waiting:
        for edge in into[waiting.pop()]:
            if edge.source in seen:
                continue
            if re.search(r"latent|samples", edge.name):
                yield found.workflow.nodes[edge.source]
            elif kinds.of(edge) in ("model", "clip", "conditioning", "pipe") or edge.name in ("guider", "sigmas"):
                seen[edge.source] = None
                waiting.append(edge.source)
    yield from (found.workflow.nodes[node_id] for node_id in seen)
