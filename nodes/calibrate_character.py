"""Calibrate Character: from which similarity on a picture shows this character."""

from __future__ import annotations

from comfy_api.latest import io

from ..likeness.calibration import calibrate, drawn_note, report, rivals_of, save_calibration
from ..likeness.character import Character, open_character, with_encoder
from ..likeness.errors import FaceError
from . import host
from .types import CharacterType, backend_input, face_model_input, provider_input


class CalibrateCharacter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessCalibrateCharacter",
            display_name="Calibrate Character",
            category="likeness/score",
            description="Finds the similarity from which a picture shows this character: its references against one "
            "another, strangers and the library's other characters against it. Saved in its profile.",
            search_aliases=["likeness", "face threshold", "accept band", "similarity threshold"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                CharacterType.Input("character", tooltip="Whom to calibrate; needs three references or more."),
                face_model_input(
                    "Face-model pack to calibrate for; each has its own band. auto: the one the character has."
                ),
                provider_input(),
                backend_input(),
            ],
            outputs=[
                CharacterType.Output(
                    "CHARACTER", display_name="character", tooltip="The character with its band, for Score Likeness."
                ),
                io.Float.Output("threshold", display_name="threshold", tooltip="Accepted from this cosine on."),
                io.String.Output(
                    "report", display_name="report", tooltip="Band, expected errors, nearest other character."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> str:
        """Runs again when any character's faces have changed: they are the impostors. Its own band is none of them."""
        return host.digest_of(host.face_stamps())

    @classmethod
    def execute(
        cls,
        character: Character,
        face_model: str = host.AUTO,
        provider: str = "cpu",
        backend: str = host.BACKENDS[0],
    ) -> io.NodeOutput:
        if character.folder is None:
            raise FaceError(f"{character.profile.name!r} lies in no library, so its band has no place: save it first.")
        engine = host.analyser(
            character.profile.face_model if face_model == host.AUTO else face_model, provider, backend
        )
        library, step = host.library(), host.progress(max(1, len(host.library().slugs()) - 1))
        rivals, problems = rivals_of(library, character.slug, engine, lambda done, total: step(done))
        measured = with_encoder(character, engine)
        made = calibrate(measured, rivals)
        save_calibration(library, character.slug, made)
        text = "\n".join(
            [
                report(made, character.profile.name),
                *measured.identity.advice(),
                *drawn_note(measured, engine),
                *problems,
            ]
        )
        host.show_text(text, cls.hidden.unique_id)
        calibrated = open_character(library, character.slug, lambda pack: engine)
        return io.NodeOutput(
            calibrated, made.threshold, text, ui={"text": [text], "likeness_threshold": [made.threshold]}
        )
