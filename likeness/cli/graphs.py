"""Example graphs in ComfyUI's API format.

    {"<id>": {"class_type": "...", "inputs": {"name": value or ["<id>", output]}, "_meta": {"title": "..."}}}

The files under `api_graphs/` and `example_workflows/` are made from these functions by
tools/build_workflows.py; the demo fills the same graphs with its own names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

NEGATIVE = "blurry, deformed"

Link = list[Any]  # ["<node id>", output index]
ApiGraph = dict[str, dict[str, Any]]


@dataclass
class Graph:
    """Builds an API graph node by node."""

    nodes: ApiGraph = field(default_factory=dict)

    def add(self, class_type: str, title: str = "", **inputs: Any) -> str:
        """Add a node; returns its id. A dotted input name is written with "__" for the dot."""
        node_id = str(len(self.nodes) + 1)
        named = {k.replace("__", "."): v for k, v in inputs.items() if v is not None}
        self.nodes[node_id] = {"class_type": class_type, "inputs": named, "_meta": {"title": title or class_type}}
        return node_id


@dataclass(frozen=True)
class Files:
    """Names as ComfyUI lists them."""

    checkpoint: str = "v1-5-pruned-emaonly-fp16.safetensors"
    character: str = "my_character"
    second: str = "my_other_character"  # where there are two
    adapter: str = "auto"
    image_encoder: str = "auto"


@dataclass(frozen=True)
class Overrides:
    """What replaces the word of Character Sampling; None keeps that."""

    steps: int | None = None
    width: int | None = None  # px
    height: int | None = None  # px
    cfg: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    batch: int = 1


def created(g: Graph, photos: dict[str, Link], name: str, face_model: str = "auto") -> Link:
    """A character made from pictures; `photos` are the node's inputs `images__image0` and so on."""
    made = g.add(
        "LikenessCreateCharacter",
        "Create Character",
        **photos,
        name=name,
        trigger="",
        class_word="person",
        description="",
        negative="",
        if_exists="add the pictures",
        lora="none",
        lora_family="auto",
        face_model=face_model,
        provider="cpu",
        backend="likeness",
    )
    return [made, 0]


def create_character(
    images: Sequence[str] = ("photo_1.png", "photo_2.png", "photo_3.png"),
    name: str = "My Character",
    face_model: str = "auto",
) -> ApiGraph:
    """Photos in ComfyUI's input folder -> a character; the node shows its aligned faces."""
    graph = Graph()
    photos = {
        f"images__image{i}": [graph.add("LoadImage", f"Photo {i + 1}", image=file), 0] for i, file in enumerate(images)
    }
    created(graph, photos, name, face_model)
    return graph.nodes


def portrait(files: Files = Files(), seed: int = 1, overrides: Overrides = Overrides()) -> ApiGraph:
    """A character drawn from its cached identity."""
    return _draw(
        files, "portrait in a sunny park, soft light, looking at the camera", "likeness/portrait", seed, overrides
    )[0].nodes


def lora_faceid_score(
    files: Files = Files(), seed: int = 1, overrides: Overrides = Overrides(), face_model: str = "auto"
) -> ApiGraph:
    """A character drawn with its LoRA and FaceID together, and scored."""
    graph, character, image = _draw(files, "reading in a cafe, warm evening light", "likeness/scored", seed, overrides)
    graph.add(
        "LikenessScoreLikeness",
        "Score Likeness",
        images=image,
        character=character,
        face_model=face_model,
        threshold=0.0,
        second_face_model="none",
        drawn_faces="not measurable",
        provider="cpu",
        backend="likeness",
    )
    return graph.nodes


def two_characters(files: Files = Files(), seed: int = 1, overrides: Overrides = Overrides()) -> ApiGraph:
    """Two characters side by side, each with face, words and LoRA of its own."""
    g = Graph()
    checkpoint = checkpoint_of(g, files)
    cast: Link | None = None
    people = (
        ("Left", files.character, 0.0, "smiling, wearing a blue coat"),
        ("Right", files.second, 0.5, "laughing, wearing a yellow raincoat"),
    )
    characters: list[Link] = []
    for side, slug, left, words in people:
        characters.append([g.add("LikenessLoadCharacter", f"{side} character", character=slug, lora_version=0), 0])
        placed = g.add(
            "LikenessPlaceCharacter",
            f"Place {side.lower()}",
            character=characters[-1],
            where="box",
            where__left=left,
            where__top=0.0,
            where__width=0.5,
            where__height=1.0,
            where__feather=0.1,
            prompt=words,
            strengths="profile",
            cast=cast,
        )
        cast = [placed, 0]
    placed_on = g.add(
        "LikenessApplyCharacters",
        "Apply Characters",
        model=[checkpoint, 0],
        clip=[checkpoint, 1],
        cast=cast,
        prompt="two friends side by side in a sunny park, soft light, looking at the camera",
        negative=NEGATIVE,
        share=0.7,
        adapter=files.adapter,
        image_encoder=files.image_encoder,
    )
    picture = drawn_picture(
        g,
        characters[0],
        [[placed_on, output] for output in range(3)],
        [checkpoint, 2],
        seed,
        overrides,
        adapter=files.adapter,
    )
    g.add("SaveImage", "Save", images=picture, filename_prefix="likeness/two")
    return g.nodes


def compile_identity(character: str, family: str = "auto", adapter: str = "auto") -> ApiGraph:
    """A character's face compiled and kept with it; the last node's text says what was made."""
    g = Graph()
    who = g.add("LikenessLoadCharacter", "Load Character", character=character)
    g.add(
        "LikenessCompileIdentity",
        "Compile Identity",
        character=[who, 0],
        family=family,
        adapter=adapter,
        image_encoder="auto",
    )
    return g.nodes


def _draw(files: Files, text: str, prefix: str, seed: int, overrides: Overrides) -> tuple[Graph, Link, Link]:
    """The drawing part that all graphs share; returns (graph, character, image)."""
    g = Graph()
    checkpoint = checkpoint_of(g, files)
    character = loaded(g, files)
    model = applied(g, [checkpoint, 0], [checkpoint, 1], character, files)
    positive, negative = worded(g, [model, 1], character, text)
    picture = drawn_picture(
        g,
        character,
        [[model, 0], positive, negative],
        [checkpoint, 2],
        seed,
        overrides,
        adapter=files.adapter,
    )
    g.add("SaveImage", "Save", images=picture, filename_prefix=prefix)
    return g, character, picture


def loaded(g: Graph, files: Files, title: str = "Load Character") -> Link:
    """The character of a name."""
    return [g.add("LikenessLoadCharacter", title, character=files.character, lora_version=0), 0]


def checkpoint_of(g: Graph, files: Files) -> str:
    return g.add("CheckpointLoaderSimple", "Checkpoint", ckpt_name=files.checkpoint)


def applied(
    g: Graph, model: Link, clip: Link, character: Link, files: Files, title: str = "Apply Character", **choices: Any
) -> str:
    """Apply Character; `choices` replaces its strengths and method."""
    inputs = {"strengths": "profile", "method": "auto", "adapter": files.adapter, "image_encoder": files.image_encoder}
    given = {"model": model, "clip": clip, "character": character, **inputs, **choices}
    return g.add("LikenessApplyCharacter", title, **given)


def worded(
    g: Graph, clip: Link, character: Link, text: Any, negative: Any = NEGATIVE, title: str = "Character Prompt"
) -> tuple[Link, Link]:
    """Positive and negative conditioning of the character's words joined to `text`, which may be a link."""
    words = g.add("LikenessCharacterPrompt", title, character=character, text=text, negative=negative)
    return encoded(g, clip, [words, 0], [words, 1])


def encoded(g: Graph, clip: Link, positive: Link, negative: Link) -> tuple[Link, Link]:
    yes = g.add("CLIPTextEncode", "Positive", clip=clip, text=positive)
    return [yes, 0], [g.add("CLIPTextEncode", "Negative", clip=clip, text=negative), 0]


def drawn_picture(
    g: Graph,
    character: Link,
    guided: Sequence[Link],
    vae: Link,
    seed: int | Link,
    overrides: Overrides = Overrides(),
    method: str = "auto",
    strengths: str = "profile",
    adapter: str = "auto",
) -> Link:
    """Sampling with the character's settings; `guided` are model, positive and negative. Returns the picture."""
    model, positive, negative = guided
    own = g.add(
        "LikenessCharacterSampling",
        "Character Sampling",
        character=character,
        model=model,
        method=method,
        preset=strengths,
        adapter=adapter,
    )
    latent = g.add(
        "EmptyLatentImage",
        "Size",
        width=_or(overrides.width, [own, 4]),
        height=_or(overrides.height, [own, 5]),
        batch_size=overrides.batch,
    )
    latents = g.add(
        "KSampler",
        "Sample",
        model=model,
        positive=positive,
        negative=negative,
        latent_image=[latent, 0],
        seed=seed,
        steps=_or(overrides.steps, [own, 0]),
        cfg=_or(overrides.cfg, [own, 1]),
        sampler_name=_or(overrides.sampler, [own, 2]),
        scheduler=_or(overrides.scheduler, [own, 3]),
        denoise=1.0,
    )
    return [g.add("VAEDecode", "Decode", samples=[latents, 0], vae=vae), 0]


def _or(value: object, link: Link) -> object:
    return link if value is None else value
