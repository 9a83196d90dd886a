"""Pieces that example graphs share: a character put on a checkpoint with its words, a pass of the sampler, a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .graphs import Files, Graph, Link, Overrides, applied, checkpoint_of, loaded, worded
from .graphs_train import JUDGING

PHOTO = "example.png"  # what lies in the input folder of every ComfyUI


@dataclass(frozen=True)
class Drawn:
    """A character ready to be sampled."""

    graph: Graph
    character: Link
    model: Link
    positive: Link
    negative: Link
    vae: Link
    method: str = "auto"

    @property
    def conditions(self) -> tuple[Link, Link]:
        return self.positive, self.negative


@dataclass(frozen=True)
class Pass:
    """What one run of the sampler is given besides the character's own settings."""

    latent: Link | None = None  # None: an empty one of the character's size
    denoise: float = 1.0
    seed: Any = 1  # a number or a link
    batch: int = 1
    title: str = "Sample"


def drawn(files: Files, text: Any, graph: Graph | None = None, character: Link | None = None, **choices: Any) -> Drawn:
    """A character on a checkpoint with everything that it has, and its words."""
    g = graph or Graph()
    checkpoint = checkpoint_of(g, files)
    who = character or loaded(g, files)
    model = applied(g, [checkpoint, 0], [checkpoint, 1], who, files, **choices)
    positive, negative = worded(g, [model, 1], who, text)
    return Drawn(g, who, [model, 0], positive, negative, [checkpoint, 2], choices.get("method", "auto"))


def settings_of(drawing: Drawn, files: Files, model: Link | None = None) -> str:
    """Character Sampling: steps, cfg, sampler, scheduler, width and height are its outputs 0 to 5.

    `model`: where the drawing's own is a list, one to look at, so that there is one setting for all.
    """
    return drawing.graph.add(
        "LikenessCharacterSampling",
        "Character Sampling",
        character=drawing.character,
        model=model or drawing.model,
        method=drawing.method,
        preset="profile",
        adapter=files.adapter,
    )


def _sampling(settings: str, overrides: Overrides) -> dict[str, Any]:
    names = ("cfg", "sampler_name", "scheduler")
    return {"steps": overrides.steps or [settings, 0], **{name: [settings, i] for i, name in enumerate(names, 1)}}


def sampled(drawing: Drawn, settings: str, overrides: Overrides, run: Pass = Pass()) -> Link:
    """The latent that comes out."""
    g, latent = drawing.graph, run.latent
    if latent is None:
        width, height = overrides.width or [settings, 4], overrides.height or [settings, 5]
        latent = [g.add("EmptyLatentImage", "Size", width=width, height=height, batch_size=run.batch), 0]
    made = g.add(
        "KSampler",
        run.title,
        model=drawing.model,
        positive=drawing.positive,
        negative=drawing.negative,
        latent_image=latent,
        seed=run.seed,
        **_sampling(settings, overrides),
        denoise=run.denoise,
    )
    return [made, 0]


def detailed(drawing: Drawn, settings: str, images: Link, overrides: Overrides, seed: int) -> Link:
    """The pictures with the character's face drawn anew, where that does not make it less alike."""
    made = drawing.graph.add(
        "LikenessDetailFace",
        "Detail Face",
        images=images,
        model=drawing.model,
        vae=drawing.vae,
        positive=drawing.positive,
        negative=drawing.negative,
        character=drawing.character,
        seed=seed,
        **_sampling(settings, overrides),
        denoise=0.3,
        faces="the character's",
        tolerance=0.02,
        crop_factor=1.5,
        working_size=768,
        upscale_limit=8.0,
        feather=0.3,
        **JUDGING,
    )
    return [made, 0]


def decoded(drawing: Drawn, latent: Link) -> Link:
    return [drawing.graph.add("VAEDecode", "Decode", samples=latent, vae=drawing.vae), 0]


def face_masked(g: Graph, images: Link, character: Link, edit: Link) -> Link:
    """What of `edit` is left without the character's head."""
    measuring = {name: JUDGING[name] for name in ("face_model", "provider", "backend")}
    options = {"part": "head", "faces": "the character's", "grow": 0.0, "feather": 0.2, **measuring}
    return [g.add("LikenessFaceMask", "Face Mask", images=images, character=character, edit=edit, **options), 1]


def scored(g: Graph, images: Link, character: Link, title: str = "Score Likeness") -> str:
    return g.add("LikenessScoreLikeness", title, images=images, character=character, **JUDGING)


def saved(g: Graph, images: Link, prefix: str, title: str = "Save") -> str:
    return g.add("SaveImage", title, images=images, filename_prefix=f"likeness/{prefix}")
