"""The graph that draws one scene of a character: the portrait graph with a scene's words, seed and LoRAs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..lora_stack import StackEntry, joined_triggers
from ..scenes.scene import Scene
from .graphs import ApiGraph, Graph, Link

AUTO = "auto"


@dataclass(frozen=True)
class Drawing:
    """What all scenes of a run are drawn with. A number that is None is the character's own, by Character Sampling."""

    character: str  # slug
    checkpoint: str  # as ComfyUI lists it
    vae: str | None = None  # as ComfyUI lists it; None: the checkpoint's own
    adapter: str = AUTO
    image_encoder: str = AUTO
    method: str = AUTO
    strengths: str = "profile"
    lora_version: int = 0  # 0 is the active one
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    width: int | None = None  # px
    height: int | None = None  # px
    batch: int = 1


def scene_graph(drawing: Drawing, scene: Scene, loras: Sequence[StackEntry] = ()) -> ApiGraph:
    """Checkpoint, LoRAs, Apply Character, the scene's prompts, sampling, Save. `loras` are put on before the
    character; their trigger words are joined to the prompt."""
    g = Graph()
    checkpoint = g.add("CheckpointLoaderSimple", "Checkpoint", ckpt_name=drawing.checkpoint)
    model, clip, vae = ([checkpoint, output] for output in range(3))
    if drawing.vae:
        vae = [g.add("VAELoader", "VAE", vae_name=drawing.vae), 0]
    for entry in loras:
        model, clip = _with_lora(g, model, clip, entry)
    loaded = g.add(
        "LikenessLoadCharacter", "Load Character", character=drawing.character, lora_version=drawing.lora_version
    )
    character: Link = [loaded, 0]
    applied = g.add(
        "LikenessApplyCharacter",
        "Apply Character",
        model=model,
        clip=clip,
        character=character,
        strengths=drawing.strengths,
        method=drawing.method,
        adapter=drawing.adapter,
        image_encoder=drawing.image_encoder,
    )
    texts = (("Positive", joined_triggers(scene.prompt, loras)), ("Negative", scene.negative))
    guided = [[g.add("CLIPTextEncode", title, clip=[applied, 1], text=text), 0] for title, text in texts]
    picture = _sampled(g, drawing, character, [[applied, 0], *guided], vae, scene.seed)
    g.add("SaveImage", "Save", images=picture, filename_prefix=f"likeness/{drawing.character}/{scene.name}")
    return g.nodes


def _with_lora(g: Graph, model: Link, clip: Link, entry: StackEntry) -> tuple[Link, Link]:
    added = g.add(
        "LoraLoader",
        f"LoRA {entry.file}",
        model=model,
        clip=clip,
        lora_name=entry.file,
        strength_model=entry.strength,
        strength_clip=entry.clip_strength,
    )
    return [added, 0], [added, 1]


def _sampled(g: Graph, drawing: Drawing, character: Link, guided: Sequence[Link], vae: Link, seed: int) -> Link:
    """`guided` are model, positive and negative."""
    model, positive, negative = guided
    own = g.add(
        "LikenessCharacterSampling",
        "Character Sampling",
        character=character,
        model=model,
        method=drawing.method,
        preset=drawing.strengths,
        adapter=drawing.adapter,
    )
    latent = g.add(
        "EmptyLatentImage",
        "Size",
        width=drawing.width or [own, 4],
        height=drawing.height or [own, 5],
        batch_size=drawing.batch,
    )
    sampled = g.add(
        "KSampler",
        "Sample",
        model=model,
        positive=positive,
        negative=negative,
        latent_image=[latent, 0],
        seed=seed,
        steps=[own, 0] if drawing.steps is None else drawing.steps,
        cfg=[own, 1] if drawing.cfg is None else drawing.cfg,
        sampler_name=drawing.sampler or [own, 2],
        scheduler=drawing.scheduler or [own, 3],
        denoise=1.0,
    )
    return [g.add("VAEDecode", "Decode", samples=[sampled, 0], vae=vae), 0]
