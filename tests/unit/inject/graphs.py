"""Small workflows that tests put a character into."""

from __future__ import annotations

from typing import Any

from likeness.inject import Insert
from likeness.profile import BaseSettings, LoraVersion, Profile, Reference

Graph = dict[str, dict[str, Any]]


def node(class_type: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"class_type": class_type, "inputs": inputs}
    return made | ({"_meta": {"title": title}} if title else {})


def plain() -> Graph:
    """ComfyUI's default workflow."""
    return {
        "3": node("KSampler", "KSampler", seed=1, steps=20, cfg=8, sampler_name="euler", scheduler="normal", denoise=1,
                  model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0]),
        "4": node("CheckpointLoaderSimple", ckpt_name="v1-5.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "6": node("CLIPTextEncode", text="in a park", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="watermark", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", filename_prefix="x", images=["8", 0]),
    }  # fmt: skip


def sampler(model: str, positive: str, negative: str, **more: Any) -> dict[str, Any]:
    return node(
        "KSampler",
        model=[model, 0],
        positive=[positive, 0],
        negative=[negative, 0],
        latent_image=["5", 0],
        seed=1,
        **more,
    )


def flux() -> Graph:
    """UNETLoader, DualCLIPLoader, guider, custom sampler; a scheduler that reads the model too."""
    return {
        "1": node("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default"),
        "2": node("DualCLIPLoader", clip_name1="a", clip_name2="b", type="flux"),
        "3": node("CLIPTextEncode", text="in a park", clip=["2", 0]),
        "4": node("FluxGuidance", guidance=3.5, conditioning=["3", 0]),
        "5": node("BasicGuider", model=["1", 0], conditioning=["4", 0]),
        "6": node("BasicScheduler", model=["1", 0], scheduler="simple", steps=20, denoise=1),
        "7": node("RandomNoise", noise_seed=7),
        "8": node("KSamplerSelect", sampler_name="euler"),
        "9": node("SamplerCustomAdvanced", noise=["7", 0], guider=["5", 0], sampler=["8", 0], sigmas=["6", 0],
                  latent_image=["10", 0]),
        "10": node("EmptySD3LatentImage", width=1024, height=1024, batch_size=1),
        "11": node("VAELoader", vae_name="ae.safetensors"),
        "12": node("VAEDecode", samples=["9", 0], vae=["11", 0]),
        "13": node("SaveImage", filename_prefix="x", images=["12", 0]),
    }  # fmt: skip


def wan() -> Graph:
    """Wan 2.2: a model for high and one for low noise, each with a LoRA and a patch, drawing one after the other."""
    first = {"positive": ["8", 0], "negative": ["8", 1], "add_noise": "enable", "noise_seed": 5}
    second = first | {"add_noise": "disable", "noise_seed": 0}
    return {
        "1": node("UNETLoader", unet_name="wan_high.safetensors", weight_dtype="default"),
        "2": node("UNETLoader", unet_name="wan_low.safetensors", weight_dtype="default"),
        "3": node("LoraLoaderModelOnly", model=["1", 0], lora_name="light_high.safetensors", strength_model=1.0),
        "4": node("LoraLoaderModelOnly", model=["2", 0], lora_name="light_low.safetensors", strength_model=1.0),
        "5": node("CLIPLoader", clip_name="umt5.safetensors", type="wan"),
        "6": node("CLIPTextEncode", text="walking", clip=["5", 0]),
        "7": node("CLIPTextEncode", text="static", clip=["5", 0]),
        "8": node("WanImageToVideo", positive=["6", 0], negative=["7", 0], vae=["9", 0], width=640, height=640,
                  length=81, batch_size=1),
        "9": node("VAELoader", vae_name="wan_vae.safetensors"),
        "10": node("ModelSamplingSD3", model=["3", 0], shift=8),
        "11": node("ModelSamplingSD3", model=["4", 0], shift=8),
        "12": node("KSamplerAdvanced", model=["10", 0], latent_image=["8", 2], **first),
        "13": node("KSamplerAdvanced", model=["11", 0], latent_image=["12", 0], **second),
        "14": node("VAEDecode", samples=["13", 0], vae=["9", 0]),
        "15": node("SaveAnimatedWEBP", images=["14", 0], filename_prefix="x", fps=16),
    }  # fmt: skip


def profile(*families: str, **more: Any) -> Profile:
    """A character with a face, and a LoRA for each of the families."""
    base = {f: BaseSettings(loras=(LoraVersion(file=f"ada/ada_{f}_v1.safetensors", version=1),)) for f in families}
    values: dict[str, Any] = {
        "name": "Ada", "slug": "ada", "trigger": "adaray", "class_word": "woman", "negative": "blurry", "base": base,
        "references": (Reference(file="references/001.png"),),
    }  # fmt: skip
    return Profile(**(values | more))


ADA = Insert("ada")


def of_class(graph: Graph, class_type: str) -> list[str]:
    return [i for i, n in graph.items() if n["class_type"] == class_type]
