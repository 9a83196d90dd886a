"""What is missing, where it was looked for, what lies there instead, and what to do about it.

Reads folder listings and profiles only; opens no model.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import __version__
from .assets import FACEID_FAMILIES, base_name, choose_adapter, choose_image_encoder
from .character import open_character
from .errors import LikenessError
from .faces.packs import find_pack, find_packs
from .faces.runtime import runtime_state
from .library import Library
from .profile import Profile

Status = Literal["ok", "warning", "missing"]
_WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".sft")
_SHOWN = 6  # names listed per folder
_MAX_FILES = 20_000


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    status: Status
    subject: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.status:8}{self.subject}: {self.found}" + (f" -> {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Folders:
    """Where each kind of file is looked for, in order."""

    characters: tuple[Path, ...] = ()
    insightface: tuple[Path, ...] = ()
    ipadapter: tuple[Path, ...] = ()
    loras: tuple[Path, ...] = ()
    clip_vision: tuple[Path, ...] = ()
    checkpoints: tuple[Path, ...] = ()


def model_folders(models: Path) -> Folders:
    """The standard folders below ComfyUI's `models`."""
    return Folders(**{name: (models / name,) for name in Folders.__dataclass_fields__})


def examine(folders: Folders) -> list[Check]:
    """All checks, in the order in which things are needed."""
    checks = [Check("ok", "Likeness", f"{__version__}, Python {platform.python_version()}")]
    checks += [_runtime(), *_face_models(folders.insightface), _checkpoints(folders.checkpoints)]
    for family in FACEID_FAMILIES:
        checks += _faceid(family, folders)
    return [*checks, *_characters(folders)]


def _runtime() -> Check:
    state = runtime_state()
    if not state.usable:
        return Check("missing", "onnxruntime", state.problem, "needed to create and score characters, not to generate")
    found = f"{', '.join(state.distributions)}; providers {', '.join(state.providers)}"
    return Check("warning" if state.problem else "ok", "onnxruntime", found, state.problem)


def _face_models(roots: Sequence[Path]) -> list[Check]:
    packs = find_packs(roots)
    if not packs:
        try:
            find_pack("auto", roots)
        except LikenessError as error:
            return [Check("missing", "face model", str(error))]
    return [
        Check("ok", "face model", f"{p.name} in {p.folder} ({p.detector.name}, {p.recogniser.name})") for p in packs
    ]


def listed(roots: Iterable[Path]) -> list[str]:
    """Weight files below the roots, as ComfyUI lists them; sorted."""
    found: list[str] = []
    for root in roots:
        for path in root.rglob("*") if root.is_dir() else ():
            if path.suffix.lower() in _WEIGHTS and path.is_file():
                found.append(path.relative_to(root).as_posix())
            if len(found) >= _MAX_FILES:
                break
    return sorted(set(found))


def _there(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) + more) if names else "nothing"


def _where(roots: Sequence[Path]) -> str:
    return " and ".join(str(r) for r in roots) or "no folder"


def _checkpoints(roots: Sequence[Path]) -> Check:
    names = listed(roots)
    if names:
        return Check("ok", "checkpoints", f"{_where(roots)} has {_there(names)}")
    return Check("missing", "checkpoints", f"{_where(roots)} has nothing", "put an SD 1.5 or SDXL checkpoint there")


def _faceid(family: str, folders: Folders) -> list[Check]:
    adapters = listed(folders.ipadapter)
    adapter = choose_adapter(adapters, family)
    if adapter is None:
        remedy = f"put ip-adapter-faceid-plusv2_{family}.bin there to steer faces on {family} (weights: non-commercial)"
        return [Check("missing", f"FaceID {family}", f"{_where(folders.ipadapter)} has {_there(adapters)}", remedy)]
    checks = [Check("ok", f"FaceID {family}", f"{adapter} in {_where(folders.ipadapter)}")]
    lora = base_name(adapter).rsplit(".", 1)[0] + "_lora.safetensors"
    if "portrait" not in adapter and lora not in {base_name(n) for n in listed(folders.loras)}:
        remedy = "put it there; without it, it is rebuilt from the adapter at every start"
        checks.append(Check("warning", f"companion LoRA {family}", f"{_where(folders.loras)} has no {lora}", remedy))
    encoders = listed(folders.clip_vision)
    if "plus" in adapter and choose_image_encoder(encoders) is None:
        found = f"{_where(folders.clip_vision)} has {_there(encoders)}"
        remedy = "put CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors there; FaceID Plus needs it once for each character"
        checks.append(Check("missing", "image encoder", found, remedy))
    return checks


def _characters(folders: Folders) -> list[Check]:
    if not folders.characters:
        return []
    library = Library(folders.characters)
    entries = library.list()
    if not entries:
        return [
            Check("warning", "characters", f"{_where(folders.characters)} has none", "make one with `likeness create`")
        ]
    return [check for e in entries for check in _character(library, e.slug, e.profile, e.error, folders)]


def _character(
    library: Library, slug: str, profile: Profile | None, error: LikenessError | None, folders: Folders
) -> list[Check]:
    if profile is None:
        return [Check("missing", slug, str(error))]
    opened = open_character(library, slug)
    checks = [
        Check("warning", slug, problem, "open it once with a face model installed") for problem in opened.problems
    ]
    loras, adapters = set(listed(folders.loras)), set(listed(folders.ipadapter))
    for family, settings in profile.base.items():
        wanted = [(settings.lora.file, loras, folders.loras)] if settings.lora else []
        wanted += [(settings.faceid.adapter, adapters, folders.ipadapter)] if settings.faceid.adapter else []
        for name, names, roots in wanted:
            if name.replace("\\", "/") not in names:
                checks.append(
                    Check(
                        "missing",
                        slug,
                        f"{family}: {name} is not in {_where(roots)}, which has {_there(sorted(names))}",
                    )
                )
    if opened.has_identity:
        checks += [Check("warning", slug, line) for line in opened.identity.advice()]
    references = f"{len(profile.references)} reference(s), face by {profile.face_model or 'nothing yet'}"
    return checks or [Check("ok", slug, references)]
