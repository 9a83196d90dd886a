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


def sampling_outputs(denoise: str) -> list[io.Output]:
    """Numbers for KSampler: steps, cfg, sampler_name, scheduler, width, height (px) and denoise (0..1)."""
    return [
        io.Int.Output("steps", display_name="steps", tooltip="Sampling steps."),
        io.Float.Output("cfg", display_name="cfg", tooltip="Guidance scale."),
        # Any type: KSampler's list of names accepts nothing else from a link.
        io.AnyType.Output("sampler_name", display_name="sampler_name", tooltip="Sampler."),
        io.AnyType.Output("scheduler", display_name="scheduler", tooltip="Scheduler."),
        io.Int.Output("width", display_name="width", tooltip="Picture width in px."),
        io.Int.Output("height", display_name="height", tooltip="Picture height in px."),
        io.Float.Output("denoise", display_name="denoise", tooltip=denoise),
    ]


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
