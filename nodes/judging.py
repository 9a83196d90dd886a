"""What every node that scores has in common: its inputs, and the judge that they describe."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..likeness.character import Character
from ..likeness.faces.cache import CachedAnalyser
from ..likeness.scoring import Judge, judge_for
from . import host
from .picture_encoder import PictureEncoder
from .types import backend_input, face_model_input, provider_input

NONE = "none"
DRAWN_FACES = ("not measurable", "measure")


def judge_inputs() -> list[io.Input]:
    """Face model, threshold, second face model, look model, provider and backend; all optional."""
    return [
        face_model_input(
            "Face-model pack that measures. auto: the one the character was made with. Another one gives "
            "an independent figure, since FaceID steers towards its own."
        ),
        io.Float.Input(
            "threshold",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            tooltip="Cosine from which a picture is accepted. 0: the character's own band from Calibrate Character.",
        ),
        io.Combo.Input(
            "second_face_model",
            options=[NONE, host.AUTO, *(pack.name for pack in host.face_packs())],
            default=NONE,
            optional=True,
            tooltip="A second pack for an independent figure beside the first. auto: another one that is installed, "
            "AuraFace first.",
        ),
        io.ClipVision.Input(
            "look_model",
            optional=True,
            tooltip="CLIP-Vision, SigLIP or DINO model. Gives drawn characters a look similarity where CCIP's files "
            "are not installed. It is no identity score and decides nothing.",
        ),
        io.Combo.Input(
            "drawn_faces",
            options=list(DRAWN_FACES),
            default=DRAWN_FACES[0],
            optional=True,
            advanced=True,
            tooltip="Face models trained on photos take most drawn faces for one person. Measure them all the same "
            "with a warning, for a face model of drawn faces.",
        ),
        provider_input(),
        backend_input(),
    ]


def judge_of(
    character: Character,
    face_model: str = host.AUTO,
    threshold: float = 0.0,
    second_face_model: str = NONE,
    look_model: Any = None,
    drawn_faces: str = DRAWN_FACES[0],
    provider: str = "cpu",
    backend: str = host.BACKENDS[0],
) -> tuple[CachedAnalyser, Judge]:
    """The face model and the judge that the inputs describe."""
    engine = host.analyser(character.profile.face_model if face_model == host.AUTO else face_model, provider, backend)
    second = None
    if second_face_model != NONE:
        second = host.second_analyser(second_face_model, engine.pipeline.pack, provider)
    judge = judge_for(
        character,
        engine,
        threshold=threshold or None,
        second=second,
        gate=host.drawn_gate(engine),
        measure_drawn=drawn_faces != DRAWN_FACES[0],
        look=host.look_for_drawn(character, None if look_model is None else PictureEncoder(look_model), provider),
    )
    return engine, judge
