"""Create Character: pictures -> a character, or more references for one."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..likeness.character import open_character
from ..likeness.create import Creation, NamedImage, add_references, create_character, draft
from ..likeness.crops import character_crops
from ..likeness.errors import FaceError, LibraryError
from ..likeness.faces.face import Analyser, describe_engine
from ..likeness.library import Library
from ..likeness.lora_file import attach, lora_base
from ..likeness.paths import slug_of
from ..likeness.profile import FAMILIES, Profile
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
            description="Makes a character from pictures of one person: finds the face, computes its embedding "
            "once and saves both as a profile. 3 to 5 different pictures are best. Run again to add more.",
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
                    tooltip="When there is a character of that name: add the pictures that look like it, add all "
                    "of them, or stop with an error.",
                ),
                io.Combo.Input(
                    "lora",
                    options=[NO_LORA, *host.listed("loras")],
                    default=NO_LORA,
                    optional=True,
                    tooltip="A LoRA trained on this character, in models/loras; becomes its newest version.",
                ),
                io.Combo.Input(
                    "lora_family",
                    options=[host.AUTO, *FAMILIES],
                    default=host.AUTO,
                    optional=True,
                    advanced=True,
                    tooltip="Base family of the LoRA. auto: as its file says.",
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
    def fingerprint_inputs(cls, name: str | None = None, **_: object) -> str:
        """Runs again when the character was edited or trashed since; a linked name is not known here."""
        return host.seen_state(slug_of(name)) if name and name.strip() else ""

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
        lora_family: str = host.AUTO,
        face_model: str = host.AUTO,
        provider: str = "cpu",
        backend: str = host.BACKENDS[0],
    ) -> io.NodeOutput:
        library, slug, pictures = host.library(), slug_of(name), named_pictures(images)
        family = None if lora_family == host.AUTO else lora_family
        path = None if lora == NO_LORA else host.find_file("loras", lora, "The LoRA")
        if path is not None:
            lora_base(path, family)  # before anything is written
        known = library.get(slug).face_model if library.exists(slug) else ""
        engine = host.analyser(known if face_model == host.AUTO else face_model, provider, backend)
        texts = {"trigger": trigger, "class_word": class_word, "description": description, "negative": negative}
        made = make_or_add(library, draft(name, slug, **texts), pictures, engine, if_exists)
        if path is not None:
            library.update(slug, lambda profile: attach(profile, path, lora, family))
        host.remember_state(slug)
        character = made.character if path is None else open_character(library, slug)
        report = f"{made.report()}\nFace model: {describe_engine(engine)}"
        if not character.faces:
            raise FaceError(report)
        kept = [f.face.crop for f in character.faces if f.face.crop is not None]
        faces = host.to_image(kept or list(character_crops(character)))
        host.show_text(report, cls.hidden.unique_id)
        preview = ui.PreviewImage(faces, cls=cls).as_dict()
        return io.NodeOutput(character, faces, report, ui={**preview, "text": [report]})


def make_or_add(
    library: Library, profile: Profile, pictures: list[NamedImage], engine: Analyser, if_exists: str
) -> Creation:
    """A new character, or more pictures for one, also when another program makes it at the same moment."""
    step = host.progress(len(pictures))
    if if_exists == STOP or not library.exists(profile.slug):
        try:
            return create_character(library, profile, pictures, engine, step)
        except LibraryError:
            if if_exists == STOP or not library.exists(profile.slug):
                raise
    return add_references(library, profile.slug, pictures, engine, step, unlike=if_exists == ADD_UNLIKE)


def named_pictures(images: dict[str, torch.Tensor]) -> list[NamedImage]:
    """Sockets in order -> pictures, named by socket and position in its batch."""
    return [
        NamedImage(socket if len(batch) == 1 else f"{socket} #{i}", pixels)
        for socket, batch in images.items()
        if batch is not None
        for i, pixels in enumerate(host.to_pixels(batch), 1)
    ]
