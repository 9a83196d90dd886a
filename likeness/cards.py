"""What a list and a page say of a character. Reads profiles and stored faces; opens no model and writes nothing.

A card comes from the profile and two folder listings alone, so that a library of a thousand is listed at once. Nothing
here holds an embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .calibration import band_of, leave_one_out
from .character import FACES, IDENTITY, Character, faces_path, lost_references, open_character
from .dataset.balance import balance_of
from .dataset.set_folder import read_set_quietly
from .dataset.sources import SET_FILE
from .errors import LibraryError, LikenessError
from .faces.face import Face
from .identity import find_outliers
from .library import PROFILE, Library
from .method import method_for
from .paths import inside
from .profile import BaseSettings, Profile

_STORED = "*.safetensors"


@dataclass(frozen=True)
class Card:
    """One character in a list."""

    slug: str
    name: str
    error: str = ""  # why the profile cannot be used; the rest is empty then
    trigger: str = ""
    class_word: str = ""
    references: int = 0
    embedded: bool = False  # its faces are stored
    families: tuple[str, ...] = ()
    methods: tuple[tuple[str, str], ...] = ()  # (family, method)
    loras: tuple[tuple[str, int], ...] = ()  # (family, active version)
    calibrated: bool = False
    adult: bool = False
    thumbnail: str = ""  # changes with the picture; "" where there is none

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "methods": dict(self.methods), "loras": dict(self.loras)}


class Cards:
    """The cards of a library; those of profiles that have not changed are remembered."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, ...], Card]] = {}

    def of(self, library: Library) -> list[Card]:
        """All of them, by name."""
        found, places = [], set()
        for slug, folder in library.folders().items():
            try:
                folder = library.folder(slug) if folder.is_symlink() else folder
            except LikenessError as error:  # one folder that is a link to elsewhere hides no other character
                found.append(Card(slug, slug, error=str(error)))
                continue
            places.add(folder)
            found.append(self._card(library, slug, folder))
        for gone in set(self._known) - places:
            del self._known[gone]
        return sorted(found, key=lambda c: (c.name.casefold(), c.slug))

    def _card(self, library: Library, slug: str, folder: Path) -> Card:
        stamp = _stamp(folder)
        known = self._known.get(folder)
        if known is None or known[0] != stamp:
            known = self._known[folder] = (stamp, _read_card(library, slug, folder))
        return known[1]


def _stamp(folder: Path) -> tuple[int, ...]:
    """Changes when the profile or the list of stored faces does."""
    found: list[int] = []
    for path in (folder / PROFILE, folder / FACES):
        try:
            about = path.stat()
        except OSError:
            continue
        found += [about.st_mtime_ns, about.st_size]
    return tuple(found)


def _read_card(library: Library, slug: str, folder: Path) -> Card:
    try:
        return _card_of(library.read(slug, folder), folder)
    except LikenessError as error:
        return Card(slug, slug, error=str(error))


def _card_of(profile: Profile, folder: Path) -> Card:
    embedded = _has_faces(folder, profile.face_model)
    bases: Mapping[str, BaseSettings] = profile.base  # type: ignore[assignment]
    return Card(
        slug=profile.slug,
        name=profile.name,
        trigger=profile.trigger,
        class_word=profile.class_word,
        references=len(profile.references),
        embedded=embedded,
        families=tuple(bases),
        methods=tuple((family, method_of(base, embedded)) for family, base in bases.items()),
        loras=tuple((family, base.lora.version) for family, base in bases.items() if base.lora),
        calibrated=bool(profile.calibrations),
        adult=profile.adult,
        thumbnail=picture_tag(folder, profile, main_reference(profile)),
    )


def _has_faces(folder: Path, pack: str) -> bool:
    """Whether faces are stored under the profile's face model, under any where it names none."""
    try:
        return faces_path(folder, pack).is_file() if pack else any((folder / FACES).glob(_STORED))
    except LikenessError:
        return False


def method_of(base: BaseSettings, has_face: bool) -> str:
    """The profile's method, or what "auto" comes to where the model takes a face."""
    return method_for(base.lora is not None, has_face) if base.method == "auto" else base.method


def matching(cards: Iterable[Card], search: str) -> list[Card]:
    """Those in which every word of `search` stands: in the name, trigger, class word, family or method."""
    words = search.casefold().split()
    return [c for c in cards if all(w in _text(c) for w in words)]


def _text(card: Card) -> str:
    parts = [card.name, card.slug, card.trigger, card.class_word, *card.families, *(m for _, m in card.methods)]
    return " ".join(parts).casefold()


def main_reference(profile: Profile) -> int:
    """Index of the reference that stands for the character, -1 where it has none."""
    weights = [r.weight for r in profile.references]
    return weights.index(max(weights)) if weights else -1


def picture_tag(folder: Path, profile: Profile, index: int) -> str:
    """16 hex digits that change with a reference's file; "" where there is none."""
    try:
        path = reference_path(folder, profile, index)
        about = path.stat()
    except (LikenessError, OSError):
        return ""
    return hashlib.sha256(f"{path.name}\0{about.st_size}\0{about.st_mtime_ns}".encode()).hexdigest()[:16]


def faces_tag(folder: Path) -> str:
    """16 hex digits that change with the stored faces; "" where there are none."""
    try:
        about = (folder / FACES).stat()  # every write replaces a file in it
    except OSError:
        return ""
    return hashlib.sha256(str(about.st_mtime_ns).encode()).hexdigest()[:16]


def reference_path(folder: Path, profile: Profile, index: int) -> Path:
    """The picture of a reference, 0-based. LibraryError where the profile has none of that number."""
    if not 0 <= index < len(profile.references):
        raise LibraryError(f"{profile.name} has {len(profile.references)} references: there is no number {index + 1}.")
    return inside(folder, profile.references[index].file)


def details(library: Library, slug: str, sets: Path | None = None) -> dict[str, Any]:
    """Everything a page shows. `sets`: the folder that the character's training sets lie in.

    JSON values: boxes in px of the picture (left, top, right, bottom), degrees, cosines -1..1.
    LibraryError or ProfileError where the character cannot be opened.
    """
    character = open_character(library, slug)
    profile, folder = character.profile, library.folder(slug)
    alike, odd = _alike(character), {o.file: str(o) for o in find_outliers(character.faces)}
    count = len(profile.references)
    return {
        **_card_of(profile, folder).as_dict(),
        "embedded": character.has_identity,
        "methods": {family: method_of(base, character.has_identity) for family, base in profile.base.items()},
        "description": profile.description,
        "negative": profile.negative,
        "notes": profile.notes,
        "face_model": profile.face_model,
        "references_list": [_reference(character, folder, i, alike, odd) for i in range(count)],
        "spread": _spread(list(alike.values())),
        "band": _band(character),
        "base": [_base(family, base, character) for family, base in profile.base.items()],
        "compiled": sorted(path.name for path in (folder / IDENTITY).glob(_STORED)),
        "outfits": [{"name": name, **outfit.model_dump()} for name, outfit in profile.outfits.items()],
        "training_sets": [] if sets is None else training_sets(sets),
        "problems": [
            *character.problems,
            *(f"{f}: the picture is gone; its face is kept." for f in lost_references(character)),
        ],
        "advice": character.identity.advice() if character.has_identity else [],
    }


def _alike(character: Character) -> dict[str, float]:
    """Reference -> cosine to the centroid of the others."""
    return {r.file: round(value, 4) for r, value in zip(character.used, leave_one_out(character.faces), strict=False)}


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    return {"mean": round(sum(values) / len(values), 4), "min": min(values), "max": max(values), "values": list(values)}


def _reference(
    character: Character, folder: Path, index: int, alike: Mapping[str, float], odd: Mapping[str, str]
) -> dict[str, Any]:
    reference = character.profile.references[index]
    face = next((f.face for f in character.faces if f.file == reference.file), None)
    return {
        "index": index,
        "file": reference.file,
        "source": reference.source,
        "weight": reference.weight,
        "thumbnail": picture_tag(folder, character.profile, index),
        "face": None if face is None else _face(face),
        "similarity": alike.get(reference.file),
        "outlier": odd.get(reference.file, ""),
    }


def _face(face: Face) -> dict[str, Any]:
    """Of a stored face, without what identifies a person."""
    pose, quality = face.pose, face.quality
    return {
        "box": [round(float(v), 1) for v in face.box],
        "score": round(float(face.score), 3),
        "yaw": round(pose.yaw, 3),
        "pitch": round(pose.pitch, 3),
        "roll": round(pose.roll, 1),
        "width": round(quality.width, 1),
        "sharpness": round(quality.sharpness, 1),
    }


def _band(character: Character) -> dict[str, Any] | None:
    if not character.has_identity:
        return None
    band = band_of(character)
    stored = band.calibration
    return {
        "threshold": band.low,
        "calibrated": stored is not None,
        "stale": band.stale,
        **({} if stored is None else stored.model_dump(mode="json", include=_SHOWN)),
    }


_SHOWN = {
    "date", "face_model", "genuine_mean", "genuine_min", "impostor_mean", "impostor_max", "false_reject",
    "false_accept", "nearest_character", "nearest_similarity", "reference_count",
}  # fmt: skip


def _base(family: str, base: BaseSettings, character: Character) -> dict[str, Any]:
    values = base.model_dump(mode="json", exclude_none=True)
    return {"family": family, "uses": method_of(base, character.has_identity), **values}


def training_sets(folder: Path, most: int = 20) -> list[dict[str, Any]]:
    """The newest sets in a character's folder of them, with their balance; one that cannot be read says why."""
    found = sorted(folder.glob(f"*/{SET_FILE}"), key=lambda p: -p.stat().st_mtime_ns) if folder.is_dir() else []
    return [_training_set(path.parent) for path in found[:most]]


def _training_set(folder: Path) -> dict[str, Any]:
    try:
        plan = read_set_quietly(folder).plan  # looking completes no killed build
    except LikenessError as error:
        return {"name": folder.name, "error": str(error)}
    rows = [asdict(row) for row in balance_of(plan).rows] if plan.rules.need_face else []
    return {
        "name": folder.name, "family": plan.family, "pictures": len(plan.items), "left_out": plan.counts,
        "trigger": plan.trigger, "steps": plan.wish.steps, "balance": rows,
    }  # fmt: skip
