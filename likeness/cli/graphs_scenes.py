"""Example graphs of many pictures of one character: varied on purpose, from a sheet, and from a first description."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..dataset.balance import BACKGROUNDS, OUTFITS
from ..scenes.lists import DEFAULTS, FACETS
from ..scenes.proposals import FRAME
from .graphs import (
    NEGATIVE,
    ApiGraph,
    Files,
    Graph,
    Link,
    Overrides,
    applied,
    checkpoint_of,
    created,
    encoded,
    loaded,
    worded,
)
from .graphs_parts import PHOTO, Drawn, Pass, decoded, detailed, sampled, saved, scored, settings_of
from .graphs_train import training_set

_FILES, _OVERRIDES = Files(), Overrides()
LOOSE = {  # strengths that leave the face room to move: FaceID keeps the expression of the references, too
    "strengths": "custom",
    "strengths__lora_model": 0.7,
    "strengths__lora_clip": 0.7,
    "strengths__faceid_weight": 0.5,
    "strengths__faceid_weight_v2": 0.8,
    "strengths__companion_lora": 0.6,
    "strengths__start": 0.15,
    "strengths__end": 1.0,
}


@dataclass(frozen=True)
class Variation:
    """What a graph varies."""

    mode: str
    text: str
    strengths: dict[str, Any] = field(default_factory=dict)


VARIATIONS = {
    "outfits": Variation("outfit", "photo, soft light, looking at the camera"),
    "backgrounds": Variation("background", "photo, natural light, half body"),
    "expressions": Variation("expression", "portrait, soft light, plain background", LOOSE),
}


def varied(name: str, files: Files = _FILES, seed: int = 1, overrides: Overrides = _OVERRIDES) -> ApiGraph:
    """One picture for every entry of a list, with the LoRAs that come with it; saved by name, scored together."""
    what, g = VARIATIONS[name], Graph()
    checkpoint, character = checkpoint_of(g, files), loaded(g, files)
    put = applied(g, [checkpoint, 0], [checkpoint, 1], character, files, **what.strengths)
    scenes = g.add(
        "LikenessCharacterVariations",
        "Character Variations",
        character=character,
        mode=what.mode,
        **{facet: DEFAULTS.text(facet) for facet in FACETS},
        text=what.text,
        negative=NEGATIVE,
        seed=seed,
        seeds="same",
        per_scene=1,
        count=10,
        only="",
        vary="outfit, background, pose",
        keep="",
        saved_lists="as typed below",
        save_as="",
        if_exists="stop",
        skip_existing=False,
        most=0,
        filename_prefix="likeness/scenes",
    )
    dressed = g.add(
        "LikenessLoRAStack",
        "LoRA Stack",
        model=[put, 0],
        stack=[scenes, 5],
        clip=[put, 1],
        character=character,
        prompt=[scenes, 0],
    )
    positive, negative = encoded(g, [dressed, 1], [dressed, 2], [scenes, 1])
    drawing = Drawn(g, character, [dressed, 0], positive, negative, [checkpoint, 2])
    kept = _kept(drawing, settings_of(drawing, files, [put, 0]), scenes, overrides)
    _scored_together(g, kept, character)
    return g.nodes


def character_sheet(
    files: Files = _FILES, seed: int = 1, overrides: Overrides = _OVERRIDES, pictures: int = 30
) -> ApiGraph:
    """The character from all sides by its face alone, scored, and planned as a training set."""
    g = Graph()
    checkpoint, character = checkpoint_of(g, files), loaded(g, files)
    put = applied(g, [checkpoint, 0], [checkpoint, 1], character, files, method="faceid_only")
    scenes = g.add(
        "LikenessCharacterSheet",
        "Character Sheet",
        character=character,
        pictures=pictures,
        framing="70/20/10",
        text="photo, natural skin",
        negative=NEGATIVE,
        seed=seed,
        seeds="each",
        outfits="\n".join(OUTFITS),
        backgrounds="\n".join(BACKGROUNDS),
    )
    positive, negative = encoded(g, [put, 1], [scenes, 0], [scenes, 1])
    drawing = Drawn(g, character, [put, 0], positive, negative, [checkpoint, 2], "faceid_only")
    kept = _kept(drawing, settings_of(drawing, files), scenes, overrides)
    _scored_together(g, kept, character)
    inputs = {**_builder_inputs(files), "name": "sheet"}
    g.add("LikenessBuildTrainingSet", "Build Training Set", character=character, images=kept, **inputs)
    return g.nodes


def base_images(files: Files = _FILES, seed: int = 1, overrides: Overrides = _OVERRIDES) -> ApiGraph:
    """Three different looks for a description; there is no character yet."""
    g = Graph()
    checkpoint = checkpoint_of(g, files)
    scenes = g.add(
        "LikenessBaseProposals",
        "Base Proposals",
        description="a woman with green eyes and freckles",
        count=3,
        text="photo, natural skin",
        negative=NEGATIVE,
        seed=seed,
        seeds="each",
        frame=FRAME,
    )
    positive, negative = encoded(g, [checkpoint, 1], [scenes, 0], [scenes, 1])
    size = {"width": overrides.width or 768, "height": overrides.height or 768}
    latent = g.add("EmptyLatentImage", "Size", **size, batch_size=1)
    made = g.add(
        "KSampler",
        "Sample",
        model=[checkpoint, 0],
        positive=positive,
        negative=negative,
        latent_image=[latent, 0],
        seed=[scenes, 2],
        steps=overrides.steps or 30,
        cfg=7.0,
        sampler_name="dpmpp_2m",
        scheduler="karras",
        denoise=1.0,
    )
    pictures = g.add("VAEDecode", "Decode", samples=[made, 0], vae=[checkpoint, 2])
    _saved_by_name(g, [pictures, 0], scenes)
    return g.nodes


def _kept(drawing: Drawn, settings: str, scenes: str, overrides: Overrides) -> Link:
    """A picture of every scene, saved; as a list."""
    made = sampled(drawing, settings, overrides, Pass(seed=[scenes, 2]))
    return _saved_by_name(drawing.graph, decoded(drawing, made), scenes)


def _saved_by_name(g: Graph, pictures: Link, scenes: str) -> Link:
    inputs = {"images": pictures, "scene": [scenes, 4], "filename_prefix": "likeness/scenes"}
    return [g.add("LikenessSaveScene", "Save Scene", **inputs), 0]


def _scored_together(g: Graph, pictures: Link, character: Link) -> None:
    """One table for all pictures of a list."""
    together = g.add("RebatchImages", "All in one batch", images=pictures, batch_size=64)
    scored(g, [together, 0], character)


def base_to_character(files: Files = _FILES, seed: int = 1, overrides: Overrides = _OVERRIDES) -> ApiGraph:
    """The picture that was picked -> a character -> the same picture with its face drawn in detail, scored."""
    g = Graph()
    checkpoint = checkpoint_of(g, files)
    base: Link = [g.add("LoadImage", "Base image", image=PHOTO), 0]
    character = created(g, {"images__image0": base}, "My Character")
    put = applied(g, [checkpoint, 0], [checkpoint, 1], character, files)
    text = "close portrait, natural skin texture, pores, detailed eyes"
    positive, negative = worded(g, [put, 1], character, text, "plastic skin, blurry, deformed")
    drawing = Drawn(g, character, [put, 0], positive, negative, [checkpoint, 2])
    picture = detailed(drawing, settings_of(drawing, files), base, overrides, seed)
    scored(g, picture, character)
    saved(g, picture, "detailed")
    return g.nodes


def _builder_inputs(files: Files) -> dict[str, Any]:
    """Inputs of Build Training Set besides its character and pictures."""
    nodes = training_set(files, "").values()
    (builder,) = (node["inputs"] for node in nodes if node["class_type"] == "LikenessBuildTrainingSet")
    return {name: value for name, value in builder.items() if name != "character"}
