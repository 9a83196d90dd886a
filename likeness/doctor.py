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
from .assets import FACEID_FAMILIES, base_name, choose_adapter, choose_image_encoder, is_listed
from .ccip import find_ccip
from .character import lost_references, open_character
from .errors import LikenessError
from .faces.packs import find_pack, find_packs
from .faces.runtime import runtime_state
from .faces.yunet import find_yunet
from .library import Entry, Library
from .profile import BaseSettings

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
    ccip: tuple[Path, ...] = ()
    yunet: tuple[Path, ...] = ()


def model_folders(models: Path) -> Folders:
    """The standard folders below ComfyUI's `models`."""
    return Folders(**{name: (models / name,) for name in Folders.__dataclass_fields__})


@dataclass(frozen=True)
class _Kind:
    """One kind of weights: where it was looked for, and the names found."""

    roots: tuple[Path, ...]
    names: list[str]

    @property
    def where(self) -> str:
        return " and ".join(str(r) for r in self.roots) or "no folder"

    @property
    def there(self) -> str:
        more = f" and {len(self.names) - _SHOWN} more" if len(self.names) > _SHOWN else ""
        return (", ".join(self.names[:_SHOWN]) + more) if self.names else "nothing"


def examine(folders: Folders, drawing: bool = True, most: int | None = None) -> list[Check]:
    """All checks, in the order in which things are needed; without `drawing` those of faces and characters only.

    Where there are more than `most` characters, the stored faces of the others are not read, and a line says so.
    """
    checks = [Check("ok", "Likeness", f"{__version__}, Python {platform.python_version()}")]
    checks += [_runtime(), *_face_models(folders.insightface)]
    kinds = {
        name: _Kind(getattr(folders, name), listed(getattr(folders, name)))
        for name in ("checkpoints", "ipadapter", "loras", "clip_vision")
    }
    checks.append(_drawn(folders))
    if drawing:
        checks.append(_checkpoints(kinds["checkpoints"]))
        for family in FACEID_FAMILIES:
            checks += _faceid(family, kinds)
    return [*checks, *_characters(folders.characters, kinds if drawing else {}, most)]


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


def _drawn(folders: Folders) -> Check:
    """What scores of drawn characters need."""
    ccip, yunet = find_ccip(folders.ccip), find_yunet(folders.yunet, folders.insightface)
    found = f"CCIP {'not there' if ccip is None else ccip.folder}, YuNet {'not there' if yunet is None else yunet}"
    lacks = "" if ccip and yunet else "only scores of drawn characters need them; the README names the files"
    return Check("ok", "drawn faces", found, lacks)


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


def _checkpoints(kind: _Kind) -> Check:
    if kind.names:
        return Check("ok", "checkpoints", f"{kind.where} has {kind.there}")
    return Check("missing", "checkpoints", f"{kind.where} has nothing", "put an SD 1.5 or SDXL checkpoint there")


def _faceid(family: str, kinds: dict[str, _Kind]) -> list[Check]:
    adapters, loras, encoders = kinds["ipadapter"], kinds["loras"], kinds["clip_vision"]
    adapter = choose_adapter(adapters.names, family)
    if adapter is None:
        remedy = f"put ip-adapter-faceid-plusv2_{family}.bin there to steer faces on {family} (weights: non-commercial)"
        others = any(choose_adapter(adapters.names, other) for other in FACEID_FAMILIES)
        return [
            Check(
                "warning" if others else "missing", f"FaceID {family}", f"{adapters.where} has {adapters.there}", remedy
            )
        ]
    checks = [Check("ok", f"FaceID {family}", f"{adapter} in {adapters.where}")]
    lora = base_name(adapter).rsplit(".", 1)[0] + "_lora.safetensors"
    if "portrait" not in base_name(adapter).lower() and lora not in {base_name(n) for n in loras.names}:
        remedy = "put it there; without it, it is rebuilt from the adapter at every start"
        checks.append(Check("warning", f"companion LoRA {family}", f"{loras.where} has no {lora}", remedy))
    if "plus" in base_name(adapter).lower() and choose_image_encoder(encoders.names) is None:
        remedy = "put CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors there; FaceID Plus needs it once for each character"
        checks.append(Check("missing", "image encoder", f"{encoders.where} has {encoders.there}", remedy))
    return checks


def _characters(roots: Sequence[Path], kinds: dict[str, _Kind], most: int | None) -> list[Check]:
    if not roots:
        return []
    library = Library(roots)
    entries = library.list()
    if not entries:
        where = " and ".join(str(r) for r in roots)
        return [Check("warning", "characters", f"{where} has none", "make one with `likeness create`")]
    looked = entries[:most]
    checks = [check for entry in looked for check in _character(library, entry, kinds)]
    rest = [check for entry in entries[len(looked) :] for check in _profile(entry, kinds)]
    if left := len(entries) - len(looked):
        found = f"of {left} more only the profiles were read, not the stored faces"
        checks.append(Check("ok", "characters", found, "`likeness doctor` reads them all"))
    return [*checks, *rest]


def _profile(entry: Entry, kinds: dict[str, _Kind]) -> list[Check]:
    """A profile that cannot be used, and what a sound one names and the folders lack."""
    if entry.profile is None:
        return [Check("missing", entry.slug, str(entry.error))]
    return [c for family, base in entry.profile.base.items() for c in _assets(entry.slug, family, base, kinds)]


def _character(library: Library, entry: Entry, kinds: dict[str, _Kind]) -> list[Check]:
    if entry.profile is None:
        return _profile(entry, kinds)
    slug, profile, opened = entry.slug, entry.profile, open_character(library, entry.slug)
    checks = [Check("warning", slug, p, "load or score it once with a face model installed") for p in opened.problems]
    checks += [Check("warning", slug, f"{file} is gone", "its face is kept") for file in lost_references(opened)]
    checks += _profile(entry, kinds)
    if opened.has_identity:
        checks += [Check("warning", slug, line) for line in opened.identity.advice()]
    references = f"{len(profile.references)} reference(s), face by {profile.face_model or 'nothing yet'}"
    return checks or [Check("ok", slug, references)]


def _assets(slug: str, family: str, settings: BaseSettings, kinds: dict[str, _Kind]) -> list[Check]:
    """Files that the profile names and the folders lack."""
    lora = settings.lora.file if settings.lora else None
    wanted = [("loras", lora), ("ipadapter", settings.faceid.adapter), ("loras", settings.faceid.companion_lora)]
    return [
        Check("missing", slug, f"{family}: {name} is not in {kind.where}, which has {kind.there}", "put it there")
        for folder, name in wanted
        if name and (kind := kinds.get(folder)) is not None and not is_listed(name, kind.names)
    ]
