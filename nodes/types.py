"""Socket types of Likeness, and the inputs that several nodes share."""

from __future__ import annotations

from comfy_api.latest import io

from . import host

CharacterType = io.Custom("LIKENESS_CHARACTER")  # likeness.character.Character
ScoresType = io.Custom("LIKENESS_SCORES")  # tuple[likeness.scoring.Score, ...]
OptionsType = io.Custom("LIKENESS_FACEID_OPTIONS")  # faceid_options.FaceIDOptions
CastType = io.Custom("LIKENESS_CAST")  # tuple[place_character.Placement, ...]


def face_model_input(tooltip: str) -> io.Combo.Input:
    """The installed face-model packs, and "auto"."""
    options = [host.AUTO, *(pack.name for pack in host.face_packs())]
    return io.Combo.Input("face_model", options=options, default=host.AUTO, optional=True, tooltip=tooltip)


def adapter_input(tooltip: str) -> io.Combo.Input:
    options = [host.AUTO, *host.listed("ipadapter")]
    return io.Combo.Input("adapter", options=options, default=host.AUTO, optional=True, advanced=True, tooltip=tooltip)


def image_encoder_input() -> io.Combo.Input:
    tooltip = "CLIP-Vision model in models/clip_vision, used once when a Plus adapter is compiled."
    options = [host.AUTO, *host.listed("clip_vision")]
    return io.Combo.Input(
        "image_encoder", options=options, default=host.AUTO, optional=True, advanced=True, tooltip=tooltip
    )


def options_input() -> io.Input:
    return OptionsType.Input("options", optional=True, tooltip="From FaceID Options.")


def backend_input() -> io.Combo.Input:
    tooltip = (
        "What runs the face model: Likeness itself, or the insightface package where it is installed. Same models."
    )
    options = list(host.BACKENDS)
    return io.Combo.Input("backend", options=options, default=options[0], optional=True, advanced=True, tooltip=tooltip)


def provider_input() -> io.Combo.Input:
    tooltip = "Where the face model runs. A picture takes well under a second on the CPU, and is analysed once."
    options = ["cpu", "auto", "cuda"]
    return io.Combo.Input("provider", options=options, default="cpu", optional=True, advanced=True, tooltip=tooltip)
