"""Create Character: pictures -> a character, or more references for one."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..likeness.character import Character, open_character
from ..likeness.create import NamedImage, add_references, create_character, draft
from ..likeness.faces.face import describe_engine
from ..likeness.library import Library
from ..likeness.lora_file import attach
from ..likeness.paths import slug_of
from . import host
from .types import CharacterType, backend_input, face_model_input, provider_input

ADD, ADD_UNLIKE, STOP = "add the pictures", "add even if unlike", "stop"
NO_LORA = "none"
MAX_PICTURES = 50  # sockets; each takes a batch


class CreateCharacter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessCreateCharacter",
            display_name="Create Character",
            category="likeness/character",
            description="Makes a character from pictures of one person: finds the face, computes its "
            "embedding once and "
            "saves both as a profile. 3 to 5 different pictures are best. Run again to add more.",
            search_aliases=["likeness", "new character", "face embedding", "save face model", "insightface"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Autogrow.Input(
                    "images",
                    template=io.Autogrow.TemplatePrefix(
                        io.Image.Input("image", tooltip="One picture, or a batch."),
                        prefix="image",
                        min=1,
                        max=MAX_PICTURES,
                    ),
                    tooltip="Pictures of the character, one face each where possible; a new socket "
                    "appears for the next one.",
                ),
                io.String.Input(
                    "name", default="", tooltip="The character's name, for example Ada Ray; its folder becomes ada_ray."
                ),
                io.String.Input(
                    "trigger",
                    default="",
                    optional=True,
                    tooltip="The word its LoRA was or will be trained on; may stay empty.",
                ),
                io.String.Input(
                    "class_word",
                    default="",
                    optional=True,
                    tooltip="What it is: woman, man, robot. Follows the trigger in prompts.",
                ),
                io.String.Input(
                    "description",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="Looks to mention in every prompt, for example: short red hair, freckles.",
                ),
                io.String.Input(
                    "negative",
                    default="",
                    multiline=True,
                    optional=True,
                    advanced=True,
                    tooltip="Joined to every negative prompt.",
                ),
                io.Combo.Input(
                    "if_exists",
                    options=[ADD, ADD_UNLIKE, STOP],
                    default=ADD,
                    optional=True,
                    tooltip="When there is a character of that name: add the pictures that look like "
                    "it, add all of them, "
                    "or stop with an error.",
                ),
                io.Combo.Input(
                    "lora",
                    options=[NO_LORA, *host.listed("loras")],
                    default=NO_LORA,
                    optional=True,
                    tooltip="A LoRA trained on this character, in models/loras; becomes its newest version.",
                ),
                face_model_input("Face-model pack in models/insightface/models. FaceID adapters want buffalo_l."),
                provider_input(),
                backend_input(),
            ],
            outputs=[
                CharacterType.Output("CHARACTER", display_name="character", tooltip="The character, saved."),
                io.Image.Output(
                    "faces",
                    display_name="faces",
                    tooltip="The aligned face of every reference, in the profile's order.",
                ),
                io.String.Output(
                    "report", display_name="report", tooltip="What was added and what was left out, and why."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, name: str, **_: object) -> bool:
        """Runs again when the character has been trashed meanwhile."""
        return bool(name.strip()) and host.library().exists(slug_of(name))

    @classmethod
    def execute(
        cls,
        images: dict[str, torch.Tensor],
        name: str,
        trigger: str = "",
        class_word: str = "",
        description: str = "",
        negative: str = "",
        if_exists: str = ADD,
        lora: str = NO_LORA,
        face_model: str = host.AUTO,
        provider: str = "cpu",
        backend: str = host.BACKENDS[0],
    ) -> io.NodeOutput:
        library, slug, pictures = host.library(), slug_of(name), named_pictures(images)
        step = host.progress(len(pictures))
        if if_exists != STOP and library.exists(slug):
            engine = host.analyser(
                library.get(slug).face_model if face_model == host.AUTO else face_model, provider, backend
            )
            made = add_references(library, slug, pictures, engine, step, unlike=if_exists == ADD_UNLIKE)
        else:
            engine = host.analyser(face_model, provider, backend)
            texts = {"trigger": trigger, "class_word": class_word, "description": description, "negative": negative}
            made = create_character(library, draft(name, slug, **texts), pictures, engine, step)
        character = made.character if lora == NO_LORA else attach_lora(library, slug, lora)
        faces = host.to_image([f.face.crop for f in character.faces])
        report = f"{made.report()}\nFace model: {describe_engine(engine)}"
        host.show_text(report, cls.hidden.unique_id)
        preview = ui.PreviewImage(faces, cls=cls).as_dict()
        return io.NodeOutput(character, faces, report, ui={**preview, "text": [report]})


def attach_lora(library: Library, slug: str, lora: str) -> Character:
    path = host.find_file("loras", lora, "The LoRA")
    library.update(slug, lambda profile: attach(profile, path, lora))
    return open_character(library, slug)


def named_pictures(images: dict[str, torch.Tensor]) -> list[NamedImage]:
    """Sockets in order -> pictures, named by socket and position in its batch."""
    return [
        NamedImage(socket if len(batch) == 1 else f"{socket} #{i}", pixels)
        for socket, batch in images.items()
        if batch is not None
        for i, pixels in enumerate(host.to_pixels(batch), 1)
    ]
