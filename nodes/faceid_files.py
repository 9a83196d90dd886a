"""From a character to its compiled identity: taken from its folder, or made from an adapter file.

    characters/<slug>/identity/<family>-<adapter>.safetensors

A compiled identity is used while the references and the adapter it was made from are the same. With
it neither the adapter, nor the image encoder, nor a face model is opened.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..faceid import Adapter, CompiledIdentity, CompiledIdentityError, compile_identity, identity_tokens, load_adapter
from ..likeness.assets import FACEID_FAMILIES, base_name, choose_adapter
from ..likeness.character import IDENTITY, Character
from ..likeness.errors import LikenessError, ModelMissingError, PathError
from ..likeness.files import atomic_write, read_limited
from ..likeness.paths import contained
from . import host
from .image_encoder import ImageEncoder

log = logging.getLogger(__name__)
MAX_COMPILED = 64 * 1024 * 1024  # bytes; the largest variant takes 11 MB


@dataclass(frozen=True)
class FaceIDFiles:
    """What there is to steer a character's face on one base family."""

    family: str
    adapter: Path | None  # None when its file is not there
    compiled: Path | None  # where its compiled identity is, or would be, stored
    missing: str = ""  # why the face cannot steer on this family, in one sentence

    @property
    def usable(self) -> bool:
        return self.adapter is not None or (self.compiled is not None and self.compiled.is_file())


def find(character: Character, family: str, choice: str = host.AUTO) -> FaceIDFiles:
    """The chosen adapter, else the profile's, else the best of those listed and those compiled before.

    ModelMissingError when the user chose one that is not there; one that the profile names is only reported.
    """
    if family not in FACEID_FAMILIES:
        return FaceIDFiles(family, None, None)
    if not character.has_identity:
        none = f"No reference of {character.slug!r} has a face that can be used. " + " ".join(character.problems)
        return FaceIDFiles(family, None, None, none if character.profile.references else "")
    named = character.profile.settings(family).faceid.adapter if choice == host.AUTO else choice
    wanted = named or _best(character, family)
    if wanted is None:
        none = (
            f"The face of {character.slug!r} cannot steer: models/ipadapter has no FaceID adapter for {family}, "
            f"for example ip-adapter-faceid-plusv2_{family}.bin. Put one there."
        )
        return FaceIDFiles(family, None, None, none)
    compiled = _compiled_path(character, family, wanted)
    try:
        return FaceIDFiles(family, host.find_file("ipadapter", wanted, "The FaceID adapter"), compiled)
    except ModelMissingError as error:
        if compiled is not None and compiled.is_file():
            return FaceIDFiles(family, None, compiled)
        if choice != host.AUTO:
            raise
        return FaceIDFiles(family, None, None, str(error))


def _best(character: Character, family: str) -> str | None:
    """The best adapter by name. One whose file is gone counts by what was compiled with it: a character that moved
    to another machine stays the same there."""
    mark = f"{family}-"
    stored = sorted(p.stem.removeprefix(mark) for p in (character.folder / IDENTITY).glob(f"{mark}*.safetensors"))
    kept = [f"{stem}.safetensors" for stem in stored]
    return choose_adapter([*host.listed("ipadapter"), *kept], family) or next(iter(kept), None)


def _compiled_path(character: Character, family: str, adapter: str) -> Path | None:
    """None where the folder is not the character's own, a link to elsewhere, say: nothing is kept then."""
    stem = base_name(adapter).rsplit(".", 1)[0]
    try:
        return contained(character.folder, IDENTITY, f"{family}-{stem}.safetensors")
    except PathError as error:
        log.warning("%s", error)
        return None


def compiled_identity(character: Character, files: FaceIDFiles, encoder_choice: str = host.AUTO) -> CompiledIdentity:
    """The stored compiled identity when it is still true, else a new one, which is stored."""
    stored = _stored(character, files, encoder_choice)
    if stored is not None:
        return stored
    if files.adapter is None:
        raise ModelMissingError(
            f"The FaceID adapter of {character.slug!r} is gone and its compiled identity no longer fits its "
            f"references: put a FaceID adapter for {files.family} into models/ipadapter."
        )
    log.info("compiling the identity of %s with %s", character.slug, files.adapter.name)
    adapter = open_adapter(files.adapter)
    if adapter.family != files.family:
        raise ModelMissingError(
            f"{files.adapter.name} is a FaceID adapter for {adapter.family} and the model is {files.family}: "
            f"choose one for {files.family}, or leave adapter on auto."
        )
    made = _compile(character, adapter, encoder_choice)
    try:
        if files.compiled is not None:
            atomic_write(files.compiled, made.to_bytes())
    except LikenessError as error:
        log.warning("%s The identity will be compiled again next time.", error)
    return made


def open_adapter(path: Path) -> Adapter:
    """The adapter; its hash is taken from the table, so that a large file is read once."""
    return load_adapter(path, sha256=host.file_hashes().sha256(path))


def _stored(character: Character, files: FaceIDFiles, encoder_choice: str) -> CompiledIdentity | None:
    if files.compiled is None or not files.compiled.is_file():
        return None
    try:
        compiled = CompiledIdentity.from_bytes(read_limited(files.compiled, MAX_COMPILED))
    except (CompiledIdentityError, LikenessError) as error:
        log.warning("%s: %s It is compiled again.", files.compiled.name, error)
        return None
    made_from = compiled.provenance
    same_face = made_from.identity == character.identity.digest
    same_encoder = encoder_choice == host.AUTO or made_from.image_encoder in ("", encoder_choice)
    return (
        compiled
        if same_face and same_encoder and _same_adapter(made_from.adapter_sha256, made_from.adapter_size, files)
        else None
    )


def _same_adapter(sha256: str, size: int, files: FaceIDFiles) -> bool:
    if files.adapter is None:
        return True  # nothing to compare with; what was compiled is all there is
    return files.adapter.stat().st_size == size and host.file_hashes().sha256(files.adapter) == sha256


def _compile(character: Character, adapter: Adapter, encoder_choice: str) -> CompiledIdentity:
    embedding = torch.from_numpy(character.identity.vector)[None]
    hidden = uncond = None
    name = ""
    if adapter.needs_image_encoder:
        encoder = ImageEncoder.open(encoder_choice)
        used = [f for f in character.faces if f.weight > 0]
        weights = torch.tensor([f.weight for f in used], dtype=torch.float64)
        states = encoder.hidden_states(np.stack([f.face.crop for f in used]))
        hidden = torch.tensordot(weights / weights.sum(), states.double(), dims=1).float()[None]
        uncond, name = encoder.empty_hidden_states(), encoder.name
    tokens = identity_tokens(adapter, embedding, hidden, uncond)
    return compile_identity(adapter, tokens, identity=character.identity.digest, image_encoder=name)
