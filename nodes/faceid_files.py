"""From a character to its compiled identity: taken from its folder, or made from an adapter file.

A compiled identity is used while the references, the adapter, the image encoder and the recipe it was made from are
the same. With it neither the adapter, nor the image encoder, nor a face model is opened.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from ..faceid import Adapter, CompiledIdentity, CompiledIdentityError, from_bytes, load_adapter, to_bytes
from ..likeness.archive import MAX_FILE  # what is larger could not be exported with its character
from ..likeness.assets import FACEID_FAMILIES, choose_adapter
from ..likeness.character import Character
from ..likeness.errors import LikenessError, ModelMissingError
from ..likeness.files import read_limited
from ..likeness.identity_store import IdentityStore, store_of
from . import host
from .face_inputs import compile_face
from .faceid_options import DEFAULTS, FaceIDOptions
from .image_encoder import is_same

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FaceIDFiles:
    """What there is to steer a character's face on one base family."""

    family: str
    options: FaceIDOptions
    adapter: Path | None = None  # None when its file is not there
    store: IdentityStore | None = None
    compiled: Path | None = None  # where its compiled identity is, or would be, stored
    missing: str = ""  # why the face cannot steer on this family, in one sentence

    @property
    def usable(self) -> bool:
        return self.adapter is not None or (self.compiled is not None and self.compiled.is_file())


def find(
    character: Character,
    family: str,
    choice: str = host.AUTO,
    options: FaceIDOptions = DEFAULTS,
    any_recipe: bool = False,
) -> FaceIDFiles:
    """The chosen adapter, else the profile's, else the best of those listed and those compiled before.

    With `any_recipe`, for whoever only asks whether a face can steer, what was compiled with other options counts too.
    ModelMissingError when the user chose an adapter that is not there; one that the profile names is only reported.
    """
    nothing = FaceIDFiles(family, options)
    if family not in FACEID_FAMILIES:
        return nothing
    if not character.has_identity:
        none = f"No reference of {character.slug!r} has a face that can be used. " + " ".join(character.problems)
        return FaceIDFiles(family, options, missing=none) if character.profile.references else nothing
    store = store_of(character, host.identity_folder())
    named = character.profile.settings(family).faceid.adapter if choice == host.AUTO else choice
    kept = store.adapters(family, None if any_recipe else options.recipe(family))
    wanted = named or _best(character, family, kept, options)
    if wanted is None:
        none = (
            f"The face of {character.slug!r} cannot steer: models/ipadapter has no FaceID adapter for {family}, "
            f"for example ip-adapter-faceid-plusv2_{family}.bin. Put one there."
        )
        return FaceIDFiles(family, options, missing=none)
    compiled = store.path(family, wanted, None if any_recipe else options.recipe(family))
    try:
        path = host.find_file("ipadapter", wanted, "The FaceID adapter")
        return FaceIDFiles(family, options, path, store, compiled)
    except ModelMissingError as error:
        if compiled is not None and compiled.is_file():
            return FaceIDFiles(family, options, None, store, compiled)
        if choice != host.AUTO:
            raise
        return FaceIDFiles(family, options, missing=str(error))


def _best(character: Character, family: str, kept: list[str], options: FaceIDOptions) -> str | None:
    """The best adapter by name. One whose file is gone counts by what was compiled with it: a character that moved
    to another machine stays the same there."""
    crops = character.has_crops and (options.negative is None or options.negative.has_crops)
    return choose_adapter([*host.listed("ipadapter"), *kept], family, crops) or next(iter(kept), None)


def compiled_identity(character: Character, files: FaceIDFiles, encoder_choice: str = host.AUTO) -> CompiledIdentity:
    """The stored compiled identity when it is still true, else a new one, which is stored."""
    return stored_identity(character, files, encoder_choice) or make_identity(character, files, encoder_choice)


def make_identity(character: Character, files: FaceIDFiles, encoder_choice: str = host.AUTO) -> CompiledIdentity:
    """A new compiled identity, stored where it can be."""
    if files.adapter is None:
        raise ModelMissingError(
            f"The FaceID adapter of {character.slug!r} is gone and its compiled identity no longer fits its "
            f"references: put a FaceID adapter for {files.family} into models/ipadapter."
        )
    log.info("compiling the identity of %s with %s", character.slug, files.adapter.name)
    adapter = open_adapter(files.adapter, files.options)
    if adapter.family != files.family:
        raise ModelMissingError(
            f"{files.adapter.name} is a FaceID adapter for {adapter.family} and the model is {files.family}: "
            f"choose one for {files.family}, or leave adapter on auto."
        )
    return _kept(files, compile_face(character, adapter, files.options, encoder_choice))


def _kept(files: FaceIDFiles, made: CompiledIdentity) -> CompiledIdentity:
    """The identity as its file has it, so that the first picture has the same numbers as all others."""
    if files.store is None or files.compiled is None:
        return made
    try:
        data = to_bytes(made)
        if len(data) > MAX_FILE:
            raise CompiledIdentityError(f"This compiled identity takes {len(data) >> 20} MB, too many to keep.")
        files.store.keep(files.compiled, data)
    except (CompiledIdentityError, LikenessError) as error:
        log.warning("%s The identity will be compiled again next time.", error)
        return made
    return from_bytes(data)


def open_adapter(path: Path, options: FaceIDOptions = DEFAULTS) -> Adapter:
    """The adapter; its hash is taken from the table, so that a large file is read once."""
    return load_adapter(path, plus_v2=options.plus_v2, sha256=host.file_hashes().sha256(path))


def stored_identity(character: Character, files: FaceIDFiles, encoder_choice: str) -> CompiledIdentity | None:
    """The identity on disk; None when there is none, it is damaged, or what it was made from has changed."""
    if files.compiled is None or not files.compiled.is_file():
        return None
    try:
        compiled = from_bytes(read_limited(files.compiled, MAX_FILE))
    except (CompiledIdentityError, LikenessError) as error:
        log.warning("%s: %s It is compiled again.", files.compiled.name, error)
        return None
    made_from, recipe = compiled.provenance, files.options.recipe(files.family)
    same = (
        made_from.identity == character.identity.digest
        and (made_from.combine, made_from.negative) == (recipe.combine, recipe.negative)
        and (made_from.crop, made_from.empty_image) == (str(recipe.crop), recipe.empty_image)
        and (made_from.plus_v2_from == "user") == (recipe.plus_v2 is not None and "plus" in made_from.variant)
        and is_same(made_from.image_encoder, encoder_choice)
        and _same_adapter(made_from.adapter_sha256, made_from.adapter_size, files)
    )
    return compiled if same else None


def _same_adapter(sha256: str, size: int, files: FaceIDFiles) -> bool:
    if files.adapter is None:
        return True  # nothing to compare with; what was compiled is all there is
    return files.adapter.stat().st_size == size and host.file_hashes().sha256(files.adapter) == sha256
