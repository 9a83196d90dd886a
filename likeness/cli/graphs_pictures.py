"""Example graphs of one picture: tried, posed by a ControlNet, sorted by likeness, enlarged, edited in a part."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .graphs import ApiGraph, Files, Graph, Link, Overrides, created
from .graphs_parts import (
    PHOTO,
    Pass,
    decoded,
    detailed,
    drawn,
    face_masked,
    sampled,
    saved,
    scored,
    settings_of,
)

_FILES, _OVERRIDES = Files(), Overrides()
MOGE = "moge_2_vitl_normal_fp16.safetensors"


def quick_faceid(files: Files = _FILES, seed: int = 1, overrides: Overrides = _OVERRIDES) -> ApiGraph:
    """One photo -> a character -> four pictures by its face alone, scored."""
    g = Graph()
    photo = g.add("LoadImage", "Your photo", image=PHOTO)
    made = created(g, {"images__image0": [photo, 0]}, "Quick test")
    text = "portrait in a sunny park, soft light, looking at the camera"
    drawing = drawn(files, text, g, made, method="faceid_only")
    picture = decoded(drawing, sampled(drawing, settings_of(drawing, files), overrides, Pass(seed=seed, batch=4)))
    scored(g, picture, drawing.character)
    saved(g, picture, "quick_test")
    return g.nodes


@dataclass(frozen=True)
class Control:
    """A kind of ControlNet of SD 1.5."""

    model: str  # as published in fp16 for ComfyUI
    union: str  # its type in a ControlNet that knows several
    text: str
    strength: float = 0.8
    end: float = 0.8  # share of the steps: the last ones are left to the face


CONTROLS = {
    "pose": Control(
        "control_v11p_sd15_openpose_fp16.safetensors",
        "openpose",
        "standing on a beach, wearing a summer dress, full body",
        1.0,
    ),
    "depth": Control("control_v11f1p_sd15_depth_fp16.safetensors", "depth", "in an old library, warm lamps, half body"),
    "canny": Control(
        "control_v11p_sd15_canny_fp16.safetensors",
        "canny/lineart/anime_lineart/mlsd",
        "in a rainy street at night, neon light, half body",
        0.7,
        0.7,
    ),
    "segmentation": Control(
        "control_v11p_sd15_seg_fp16.safetensors",
        "segment",
        "sitting in a living room, plants at the window, morning light",
    ),
    "normal": Control(
        "control_v11p_sd15_normalbae_fp16.safetensors", "normal", "as a marble statue in a museum, half body"
    ),
}


def controlnet(kind: str, files: Files = _FILES, seed: int = 1, overrides: Overrides = _OVERRIDES) -> ApiGraph:
    """The character in the pose, outline, depth, layout or shape of a picture."""
    control = CONTROLS[kind]
    drawing = drawn(files, control.text)
    g = drawing.graph
    hint = control_map(g, kind, [g.add("LoadImage", _pictured(kind), image=PHOTO), 0])
    net = g.add("ControlNetLoader", "ControlNet", control_net_name=control.model)
    typed = g.add("SetUnionControlNetType", "Kind of map", control_net=[net, 0], type=control.union)
    steered = g.add(
        "ControlNetApplyAdvanced",
        "Apply ControlNet",
        positive=drawing.positive,
        negative=drawing.negative,
        control_net=[typed, 0],
        image=hint,
        strength=control.strength,
        start_percent=0.0,
        end_percent=control.end,
        vae=drawing.vae,
    )
    drawing = replace(drawing, positive=[steered, 0], negative=[steered, 1])
    picture = decoded(drawing, sampled(drawing, settings_of(drawing, files), overrides, Pass(seed=seed)))
    g.add("PreviewImage", "The map", images=hint)
    scored(g, picture, drawing.character)
    saved(g, picture, f"controlnet_{kind}")
    return g.nodes


def _pictured(kind: str) -> str:
    return {"pose": "Pose map", "segmentation": "Segmentation map"}.get(kind, "Photo")


def control_map(g: Graph, kind: str, picture: Link) -> Link:
    """What the ControlNet reads, made from a photo by nodes of ComfyUI's core; a ready map passes as it is."""
    if kind == "canny":
        return [g.add("Canny", "Edges", image=picture, low_threshold=0.2, high_threshold=0.5), 0]
    if kind == "depth":
        return _geometry(g, picture, "depth")
    if kind == "normal":
        # ControlNet's normalbae has red to the left, MoGe to the right: mirror the photo, and the map again.
        seen = _geometry(g, _mirrored(g, picture), "normal_opengl")
        return _mirrored(g, seen)
    return picture


def _mirrored(g: Graph, picture: Link) -> Link:
    return [g.add("ImageFlip", "Mirror", image=picture, flip_method="y-axis: horizontally"), 0]


def _geometry(g: Graph, picture: Link, output: str) -> Link:
    model = g.add("LoadMoGeModel", "Geometry model", model_name=MOGE)
    seen = g.add(
        "MoGeInference",
        "Geometry",
        moge_model=[model, 0],
        image=picture,
        resolution_level=5,
        fov_x_degrees=0.0,
        batch_size=4,
        force_projection=True,
        apply_mask=output == "depth",
    )
    return [g.add("MoGeRender", "Map", moge_geometry=[seen, 0], output=output), 0]


def score_gate(files: Files = _FILES, seed: int = 1, overrides: Overrides = _OVERRIDES) -> ApiGraph:
    """Eight pictures at once; those that are like the character are saved, the others only shown."""
    drawing = drawn(files, "walking through an autumn forest, golden light, half body")
    g = drawing.graph
    picture = decoded(drawing, sampled(drawing, settings_of(drawing, files), overrides, Pass(seed=seed, batch=8)))
    scores = scored(g, picture, drawing.character)
    gate = g.add(
        "LikenessGate", "Gate", images=picture, scores=[scores, 0], when_empty="block downstream", threshold=0.0
    )
    saved(g, [gate, 0], "accepted", "Save accepted")
    g.add("PreviewImage", "Rejected", images=[gate, 1])
    g.add("PreviewImage", "Not measurable", images=[gate, 2])
    return g.nodes


def upscale(
    files: Files = _FILES, seed: int = 1, overrides: Overrides = _OVERRIDES, megapixels: float = 2.0
) -> ApiGraph:
    """A picture enlarged by an upscale model and drawn over lightly with the character; its face is drawn by itself,
    and only where that does not make it less alike. Scored before and after."""
    drawing = drawn(files, "portrait, sharp, detailed skin and eyes")
    g = drawing.graph
    small = g.add("LoadImage", "Small picture", image=PHOTO)
    upscaler = g.add("UpscaleModelLoader", "Upscale model", model_name="RealESRGAN_x4plus.pth")
    large = g.add("ImageUpscaleWithModel", "Enlarge", upscale_model=[upscaler, 0], image=[small, 0])
    fitted = g.add(
        "ImageScaleToTotalPixels",
        "Size",
        image=[large, 0],
        upscale_method="lanczos",
        megapixels=megapixels,
        resolution_steps=8,
    )
    latent = g.add("VAEEncode", "Encode", pixels=[fitted, 0], vae=drawing.vae)
    settings = settings_of(drawing, files)
    again = decoded(drawing, sampled(drawing, settings, overrides, Pass([latent, 0], 0.3, seed, title="Second pass")))
    picture = detailed(drawing, settings, again, overrides, seed)
    scored(g, [small, 0], drawing.character, "Score before")
    scored(g, picture, drawing.character, "Score after")
    saved(g, picture, "upscaled")
    return g.nodes


def inpaint(files: Files = _FILES, seed: int = 1, overrides: Overrides = _OVERRIDES) -> ApiGraph:
    """A painted part of a picture drawn anew with the character; its head, and all that was not painted, stay."""
    drawing = drawn(files, "wearing a red wool sweater")
    g = drawing.graph
    given = g.add("LoadImage", "Picture and mask", image=PHOTO)
    grown = g.add("GrowMask", "Grow mask", mask=[given, 1], expand=8, tapered_corners=True)
    part = face_masked(g, [given, 0], drawing.character, [grown, 0])
    latent = g.add("VAEEncode", "Encode", pixels=[given, 0], vae=drawing.vae)
    masked = g.add("SetLatentNoiseMask", "Only here", samples=[latent, 0], mask=part)
    drawing = replace(
        drawing, model=[g.add("DifferentialDiffusion", "Soft edge", model=drawing.model, strength=1.0), 0]
    )
    changed = decoded(drawing, sampled(drawing, settings_of(drawing, files), overrides, Pass([masked, 0], 0.85, seed)))
    picture: Link = [
        g.add(
            "ImageCompositeMasked",
            "Put back",
            destination=[given, 0],
            source=changed,
            x=0,
            y=0,
            resize_source=True,
            mask=part,
        ),
        0,
    ]
    scored(g, [given, 0], drawing.character, "Score before")
    scored(g, picture, drawing.character, "Score after")
    saved(g, picture, "inpainted")
    return g.nodes
