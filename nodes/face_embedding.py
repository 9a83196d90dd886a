"""Load Face Embedding and Save Face Embedding: a face as numbers, in and out."""

from __future__ import annotations

from comfy_api.latest import io

from ..likeness.character import Character
from ..likeness.errors import ModelMissingError
from ..likeness.exchange import FORMATS, load_face, save_face
from . import host
from .types import CharacterType

NONE_YET = "(no face file yet)"
RAW, NORMED = "raw", "normed"
STOP, REPLACE = "stop", "replace"


class LoadFaceEmbedding(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessLoadFaceEmbedding",
            display_name="Load Face Embedding",
            category="likeness/character",
            description="A character from a face file: one of Save Face Embedding, a face model of ReActor, or an "
            "embedding as .safetensors. It has no picture, so adapters that look at one (FaceID Plus) cannot use it.",
            search_aliases=["likeness", "reactor face model", "import face", "load embedding", "insightface embedding"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input(
                    "face",
                    options=host.listed(host.FACE_FILES) or [NONE_YET],
                    tooltip="A .safetensors file in models/face_embeddings or models/reactor/faces.",
                ),
                io.String.Input(
                    "name", default="", optional=True, tooltip="The character's name; empty: the file's own."
                ),
            ],
            outputs=[
                CharacterType.Output("CHARACTER", display_name="character", tooltip="The character; it is not saved."),
                io.String.Output("report", display_name="report", tooltip="What the file does not say of itself."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, face: str, **_: object) -> list[tuple[str, int, int]]:
        """Runs again when the file was replaced under its name."""
        return [stamp for stamp in host.file_stamps(host.FACE_FILES) if stamp[0] == face]

    @classmethod
    def execute(cls, face: str, name: str = "") -> io.NodeOutput:
        if face == NONE_YET:
            raise ModelMissingError(
                "There is no face file yet: put one into models/face_embeddings, or write one with Save Face "
                "Embedding, then press R to refresh the list."
            )
        character = load_face(host.find_file(host.FACE_FILES, face, "The face file"), name)
        report = "\n".join([f"{character.profile.name}: {len(character.faces)} embedding(s)", *character.notes])
        host.show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(character, report)


class SaveFaceEmbedding(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessSaveFaceEmbedding",
            display_name="Save Face Embedding",
            category="likeness/character",
            description="Writes the character's face as one embedding, for Load Face Embedding or for ReActor, into "
            "the models folder, which ComfyUI does not serve. No name and no picture, but it identifies a person.",
            search_aliases=["likeness", "reactor face model", "export face", "save embedding", "save face model"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                CharacterType.Input("character", tooltip="Whose face to write; a blend, too."),
                io.String.Input("name", default="", tooltip="The file's name; empty: the character's folder name."),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default=FORMATS[0],
                    optional=True,
                    tooltip="likeness: one embedding, to models/face_embeddings. reactor: a face model that ReActor "
                    "loads, to models/reactor/faces; needs a character made with buffalo_l.",
                ),
                io.Combo.Input(
                    "embedding",
                    options=[RAW, NORMED],
                    default=RAW,
                    optional=True,
                    advanced=True,
                    tooltip="raw: at its length, which Portrait unnorm reads and from which normed follows. normed: "
                    "of length 1. ReActor's format is always raw.",
                ),
                io.Combo.Input(
                    "if_exists",
                    options=[STOP, REPLACE],
                    default=STOP,
                    optional=True,
                    tooltip="When a file of that name holds another face: stop with an error, or replace it.",
                ),
            ],
            outputs=[io.String.Output("file", display_name="file", tooltip="Where it was written.")],
        )

    @classmethod
    def execute(
        cls,
        character: Character,
        name: str,
        format: str = FORMATS[0],
        embedding: str = RAW,
        if_exists: str = STOP,
    ) -> io.NodeOutput:
        path = save_face(
            host.face_folder(format),
            name.strip() or character.slug,
            character,
            format,
            normed=embedding == NORMED,
            replace=if_exists == REPLACE,
        )
        report = f"Wrote {path}. It identifies a person: share it only with their consent."
        host.show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(str(path), ui={"text": [report]})
