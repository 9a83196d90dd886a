"""The graph that draws one scene of a character: the portrait graph with a scene's words, seed and LoRAs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..lora_stack import StackEntry, joined_triggers
from ..scenes.scene import Scene
from .graphs import ApiGraph, Graph, Link, Overrides, drawn_picture

AUTO = "auto"


@dataclass(frozen=True)
class Drawing:
    """What all scenes of a run are drawn with."""

    character: str  # slug
    checkpoint: str  # as ComfyUI lists it
    vae: str | None = None  # as ComfyUI lists it; None: the checkpoint's own
    adapter: str = AUTO
    image_encoder: str = AUTO
    method: str = AUTO
    strengths: str = "profile"
    lora_version: int = 0  # 0 is the active one
    numbers: Overrides = field(default_factory=Overrides)


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
    own = {"method": drawing.method, "strengths": drawing.strengths, "adapter": drawing.adapter}
    picture = drawn_picture(g, character, [[applied, 0], *guided], vae, scene.seed, drawing.numbers, **own)
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
