"""Load Project: checkpoint, LoRAs, words and sampler settings that a character is used under."""

from __future__ import annotations

import logging
from typing import Any

import comfy.samplers
import comfy.sd
import comfy.utils
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..likeness.character import Character
from ..likeness.errors import LibraryError, LikenessError, ModelMissingError
from ..likeness.lora_registry import load_registry
from ..likeness.lora_stack import joined_triggers, parse_stacks
from ..likeness.profile import RATINGS
from ..likeness.projects import GenerationSettings, load_project, project_slugs, settings_for
from ..likeness.routes import GENERAL, Route, profiles_behind, route_of
from ..likeness.shared_files import PROJECTS, shared_read
from . import host
from .lora_stack import put_on, registry_state, without_own
from .place_character import Placement
from .types import CastType, CharacterType, sampling_outputs

log = logging.getLogger(__name__)
NONE_YET = "(no project yet)"


class LoadProject(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessLoadProject",
            display_name="Load Project",
            category="likeness/scenes",
            description="Loads what a project draws with: checkpoint, VAE, LoRAs, style words, negative prompt and "
            "sampler settings, as they count for a character. Other checkpoints of the project or the character are "
            "asked for by purpose and content rating.",
            search_aliases=["likeness", "project", "generation profile", "quality preset", "load checkpoint", "route"],
            hidden=[io.Hidden.unique_id],
            inputs=_inputs(),
            outputs=_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, project: str | None = None, **_: object) -> str:
        """Runs again when the project, the LoRA registry or a LoRA was changed."""
        try:
            data = shared_read(host.library(), PROJECTS, project or "") or b""
        except LikenessError as error:
            data = str(error).encode()
        loras = host.file_stamps("loras") if b"loras" in data else []
        return host.digest_of([data, registry_state(), *loras])

    @classmethod
    def execute(
        cls,
        project: str,
        character: Character | None = None,
        cast: tuple[Placement, ...] | None = None,
        purpose: str = "",
        rating: str = GENERAL,
    ) -> io.NodeOutput:
        if project == NONE_YET:
            raise LibraryError("There is no project yet: make one with `likeness project new`, then press R.")
        library = host.library()
        opened, profile = load_project(library, project), None if character is None else character.profile
        characters = [*([character] if character else []), *(placed.character for placed in cast or ())]
        route = route_of(profile, opened, purpose or "", rating, profiles_behind(characters))
        check_names(settings_for(opened, profile, route.family or "other"), opened.slug)  # before gigabytes are read
        model, clip, vae = _checkpoint(route.checkpoint)
        family = host.family_of(model)
        settings = settings_for(opened, profile, family)
        check_names(settings, opened.slug)
        lines = [f"{opened.name}: {route.why}", *_family_note(route, family)]
        entries = parse_stacks(settings.loras, load_registry(library), host.listed("loras"), family, lines)
        entries = without_own(entries, characters, family, lines)
        model, clip = put_on(model, clip, entries, family, lines)
        if route.default and settings.vae:
            vae = _vae(settings.vae)
            lines.append(f"VAE {settings.vae}, by {settings.origin('vae')}")
        style = joined_triggers(settings.style, entries)
        report = "\n".join([*lines, *_told(settings)])
        log.info("%s", report.replace("\n", "; "))
        host.show_text(report, cls.hidden.unique_id)
        s, name = settings, route.checkpoint
        numbers = (s.steps, s.cfg, s.sampler, s.scheduler, s.width, s.height, s.denoise, s.upscale)
        parts = (model, _part(clip, "text encoder", name), _part(vae if _is_whole(vae) else None, "VAE", name))
        return io.NodeOutput(*parts, style, s.negative, *numbers, report)


def _inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "project",
            options=project_slugs(host.library()) or [NONE_YET],
            tooltip="A project in models/characters/_shared/projects. Make one with `likeness project new`.",
        ),
        CharacterType.Input(
            "character",
            optional=True,
            tooltip="Whose settings count: its profile and the generation profile it uses in the project. Its own LoRA "
            "is left to Apply Character.",
        ),
        CastType.Input(
            "cast",
            optional=True,
            tooltip="Of Place Character, where several characters are in the picture: all of them must be adults for a "
            "rating other than general.",
        ),
        io.String.Input(
            "purpose",
            default="",
            optional=True,
            tooltip="Which named checkpoint to draw with, for example portrait. Empty: the one the project draws with.",
        ),
        io.Combo.Input(
            "rating",
            options=list(RATINGS),
            default=GENERAL,
            optional=True,
            tooltip="Content rating of the checkpoint. Another than general is refused unless the profile of every "
            "character says adult = true. It is never guessed from a prompt.",
        ),
    ]


def _outputs() -> list[io.Output]:
    return [
        io.Model.Output(
            "MODEL", display_name="model", tooltip="The checkpoint's model with the project's LoRAs on it."
        ),
        io.Clip.Output("CLIP", display_name="clip", tooltip="Its text encoder with the project's LoRAs on it."),
        io.Vae.Output("VAE", display_name="vae", tooltip="The project's VAE, else the checkpoint's own."),
        io.String.Output(
            "style",
            display_name="style",
            tooltip="Style words and trigger words of the LoRAs, to join to the positive prompt.",
        ),
        io.String.Output("negative", display_name="negative", tooltip="The project's negative prompt."),
        *sampling_outputs("1 draws from noise."),
        io.Float.Output(
            "upscale",
            display_name="upscale",
            tooltip="By how much the quality preset asks to enlarge the finished picture; 1 is not at all.",
        ),
        io.String.Output("report", display_name="report", tooltip="What was loaded, and who set each number."),
    ]


def _checkpoint(listed: str) -> tuple[Any, Any, Any]:
    """(model, clip, vae) as core's Load Checkpoint gives them."""
    path = host.find_file("checkpoints", listed, "The checkpoint")
    try:
        loaded = comfy.sd.load_checkpoint_guess_config(
            str(path), output_vae=True, output_clip=True, embedding_directory=host.embedding_folders()
        )
    except RuntimeError as error:
        if "detect model type" not in str(error):  # out of memory, or stopped
            raise
        raise ModelMissingError(f"{listed} is no checkpoint that this ComfyUI knows: choose another file.") from None
    return loaded[:3]


def _vae(listed: str) -> Any:
    """As core's Load VAE gives it."""
    path = host.find_file("vae", listed, "The VAE")
    weights, notes = comfy.utils.load_torch_file(str(path), return_metadata=True)
    vae = comfy.sd.VAE(sd=weights, metadata=notes)
    if not _is_whole(vae):
        raise ModelMissingError(f"{listed} is no VAE that this ComfyUI knows: choose another file.")
    return vae


def _is_whole(vae: Any) -> bool:
    """Where a file has no VAE, ComfyUI makes one without a model."""
    return vae is not None and vae.first_stage_model is not None


def _part(part: Any, what: str, checkpoint: str) -> Any:
    """A part of the checkpoint; one that it lacks stops only a node that uses it."""
    return ExecutionBlocker(f"{checkpoint} has no {what}: load one by another node.") if part is None else part


def _family_note(route: Route, family: str) -> list[str]:
    if route.family in ("", "other", family) or family == "other":
        return []
    return [f"warning: it is said to be {route.family}, and the file is {family}: correct the family where it is named"]


def _told(s: GenerationSettings) -> list[str]:
    """One line for each who set something."""
    shown: dict[str, list[str]] = {}
    for field, origin in s.origins.items():
        if field not in ("checkpoint", "vae"):
            value = getattr(s, field)
            shown.setdefault(origin, []).append(
                f"{field} {value:g}" if isinstance(value, float) else f"{field} {value}"
            )
    return [f"{origin}: {', '.join(parts)}" for origin, parts in shown.items()]


def check_names(s: GenerationSettings, project: str) -> None:
    """LikenessError for a sampler or scheduler that this ComfyUI does not have."""
    for field, known in (
        ("sampler", comfy.samplers.KSampler.SAMPLERS),
        ("scheduler", comfy.samplers.KSampler.SCHEDULERS),
    ):
        if (value := getattr(s, field)) not in known:
            raise LikenessError(
                f"Project {project!r}: {field} is {value!r}, set by {s.origin(field)}, which this ComfyUI does not "
                f"have; it has {', '.join(known)}."
            )
