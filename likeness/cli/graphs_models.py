"""Example graphs of other models: SDXL, and Flux.2 and Wan, for which there is no FaceID."""

from __future__ import annotations

from dataclasses import dataclass

from .graphs import ApiGraph, Files, Graph, Link, Overrides, applied, loaded, worded
from .graphs_parts import Drawn, Pass, decoded, drawn, sampled, saved, scored, settings_of

_FILES, _OVERRIDES = Files(), Overrides()
_SDXL = Files(checkpoint="sd_xl_base_1.0.safetensors")


@dataclass(frozen=True)
class Parts:
    """A model that comes in three files; names as ComfyUI lists them."""

    model: str
    text_encoder: str
    kind: str  # CLIPLoader's type
    vae: str


FLUX2 = Parts("flux-2-klein-base-4b-fp8.safetensors", "qwen_3_4b.safetensors", "flux2", "flux2-vae.safetensors")
WAN = Parts(
    "wan2.1_t2v_1.3B_fp16.safetensors", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan", "wan_2.1_vae.safetensors"
)


def sdxl(files: Files = _SDXL, seed: int = 1, overrides: Overrides = _OVERRIDES) -> ApiGraph:
    """A character drawn with SDXL at its own size, scored."""
    drawing = drawn(files, "photo in a mountain meadow, wind in the hair, evening sun, half body")
    picture = decoded(drawing, sampled(drawing, settings_of(drawing, files), overrides, Pass(seed=seed)))
    scored(drawing.graph, picture, drawing.character)
    saved(drawing.graph, picture, "sdxl")
    return drawing.graph.nodes


def _opened(g: Graph, parts: Parts) -> tuple[Link, Link, Link]:
    """Model, text encoder and VAE."""
    model = g.add("UNETLoader", "Model", unet_name=parts.model, weight_dtype="default")
    clip = g.add("CLIPLoader", "Text encoder", clip_name=parts.text_encoder, type=parts.kind, device="default")
    return [model, 0], [clip, 0], [g.add("VAELoader", "VAE", vae_name=parts.vae), 0]


def flux2(parts: Parts = FLUX2, files: Files = _FILES, seed: int = 1, steps: int = 20, side: int = 1024) -> ApiGraph:
    """Flux.2 with the character's LoRA, if it has one, and its reference picture as a latent to look at; scored."""
    g = Graph()
    model, clip, vae = _opened(g, parts)
    character = loaded(g, files)
    put = applied(g, model, clip, character, files)
    conditions = worded(g, [put, 1], character, "the same person reading in a cafe, warm evening light, half body")
    seen = g.add(
        "ImageScaleToTotalPixels",
        "Reference size",
        image=[character[0], 1],
        upscale_method="lanczos",
        megapixels=1.0,
        resolution_steps=16,
    )
    latent = g.add("VAEEncode", "Encode reference", pixels=[seen, 0], vae=vae)
    positive, negative = (
        [g.add("ReferenceLatent", title, conditioning=condition, latent=[latent, 0]), 0]
        for title, condition in zip(("Reference", "Reference, negative"), conditions, strict=True)
    )
    made = _flux2_sampled(g, [put, 0], positive, negative, seed, steps, side)
    picture = decoded(Drawn(g, character, [put, 0], positive, negative, vae), made)
    scored(g, picture, character)
    saved(g, picture, "flux2")
    return g.nodes


def _flux2_sampled(g: Graph, model: Link, positive: Link, negative: Link, seed: int, steps: int, side: int) -> Link:
    guider = g.add("CFGGuider", "Guider", model=model, positive=positive, negative=negative, cfg=5.0)
    noise = g.add("RandomNoise", "Noise", noise_seed=seed)
    sampler = g.add("KSamplerSelect", "Sampler", sampler_name="euler")
    sigmas = g.add("Flux2Scheduler", "Steps", steps=steps, width=side, height=side)
    latent = g.add("EmptyFlux2LatentImage", "Size", width=side, height=side, batch_size=1)
    made = g.add(
        "SamplerCustomAdvanced",
        "Sample",
        noise=[noise, 0],
        guider=[guider, 0],
        sampler=[sampler, 0],
        sigmas=[sigmas, 0],
        latent_image=[latent, 0],
    )
    return [made, 0]


def wan_video(parts: Parts = WAN, files: Files = _FILES, seed: int = 1) -> ApiGraph:
    """A short video by the character's Wan LoRA; every frame is scored, and the best one saved as a picture."""
    g = Graph()
    model, clip, vae = _opened(g, parts)
    character = loaded(g, files)
    put = applied(g, model, clip, character, files, method="lora_only")
    text = "walking through a market and smiling at the camera, handheld camera, daylight"
    positive, negative = worded(g, [put, 1], character, text, "blurry, static, deformed, subtitles")
    shifted = g.add("ModelSamplingSD3", "Shift", model=[put, 0], shift=8.0)
    latent = g.add("EmptyHunyuanLatentVideo", "Size and length", width=832, height=480, length=33, batch_size=1)
    made = g.add(
        "KSampler",
        "Sample",
        model=[shifted, 0],
        positive=positive,
        negative=negative,
        latent_image=[latent, 0],
        seed=seed,
        steps=30,
        cfg=6.0,
        sampler_name="uni_pc",
        scheduler="simple",
        denoise=1.0,
    )
    frames = decoded(Drawn(g, character, [shifted, 0], positive, negative, vae), [made, 0])
    scores = scored(g, frames, character, "Score frames")
    best = g.add(
        "LikenessPickBest",
        "Best frame",
        images=frames,
        scores=[scores, 0],
        k=1,
        among="measurable",
        avoid_copies=False,
        when_empty="pass the best",
    )
    saved(g, [best, 0], "video_best_frame", "Save best frame")
    video = g.add("CreateVideo", "Video", images=frames, fps=16.0, bit_depth=8)
    g.add(
        "SaveVideo",
        "Save video",
        video=[video, 0],
        filename_prefix="likeness/video",
        format="auto",
        format__codec="auto",
        codec="auto",
    )
    return g.nodes
