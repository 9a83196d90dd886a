"""Compile Identity: a character's face made ready for drawing, before anything is drawn."""

from __future__ import annotations

import time

from comfy_api.latest import io

from ..likeness.assets import FACEID_FAMILIES, choose_adapter
from ..likeness.character import Character
from ..likeness.errors import ModelMissingError
from . import faceid_files, host
from .faceid_options import DEFAULTS, FaceIDOptions
from .types import CharacterType, adapter_input, image_encoder_input, options_input


class CompileIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessCompileIdentity",
            display_name="Compile Identity",
            category="likeness/character",
            description="Computes a character's face for a FaceID adapter and keeps it with the character, as Apply "
            "Character does on its first run. After that the character can move to a machine without the adapter.",
            search_aliases=["likeness", "bake identity", "precompute face", "cache face"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                CharacterType.Input("character", tooltip="Whose face to compile."),
                io.Combo.Input(
                    "family",
                    options=[host.AUTO, *FACEID_FAMILIES],
                    default=host.AUTO,
                    optional=True,
                    tooltip="Base family. auto: the chosen adapter's, else every one that an adapter is installed for.",
                ),
                adapter_input(
                    "FaceID adapter in models/ipadapter. auto: the profile's, else the best for each family."
                ),
                image_encoder_input(),
                options_input(),
            ],
            outputs=[
                io.String.Output(
                    "report", display_name="report", tooltip="File, variant, size and time of each family."
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> int:
        """Looks every time: the file may have been deleted, and one that is there costs a few milliseconds."""
        return time.time_ns()

    @classmethod
    def execute(
        cls,
        character: Character,
        family: str = host.AUTO,
        adapter: str = host.AUTO,
        image_encoder: str = host.AUTO,
        options: FaceIDOptions | None = None,
    ) -> io.NodeOutput:
        chosen = options or DEFAULTS
        families = [family] if family != host.AUTO else _families(character, adapter, chosen)
        step = host.progress(len(families))
        lines = []
        for done, name in enumerate(families, 1):
            lines.append(_compiled(character, name, adapter, image_encoder, chosen))
            step(done)
        report = "\n".join(lines)
        host.show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(report, ui={"text": [report]})


def _families(character: Character, adapter: str, options: FaceIDOptions) -> list[str]:
    """The chosen adapter's family, else those that an adapter is there for."""
    if adapter != host.AUTO:
        path = host.find_file("ipadapter", adapter, "The FaceID adapter")
        return [faceid_files.open_adapter(path, options).family]
    listed = host.listed("ipadapter")
    found = [f for f in FACEID_FAMILIES if choose_adapter(listed, f) or character.profile.settings(f).faceid.adapter]
    if not found:
        raise ModelMissingError(
            "models/ipadapter has no FaceID adapter, for example ip-adapter-faceid-plusv2_sd15.bin. Put one there."
        )
    return found


def _compiled(character: Character, family: str, adapter: str, image_encoder: str, options: FaceIDOptions) -> str:
    """One line about the identity for this family, which is on disk afterwards."""
    files = faceid_files.find(character, family, adapter, options)
    if not files.usable:
        raise ModelMissingError(files.missing or f"{character.slug!r} has no face to compile: add a reference picture.")
    begun = time.perf_counter()
    stored = faceid_files.stored_identity(character, files, image_encoder)
    made = stored or faceid_files.make_identity(character, files, image_encoder)
    ms = (time.perf_counter() - begun) * 1000
    about, path = made.provenance, files.compiled
    kept = f"{path.name}, {path.stat().st_size:,} bytes" if path is not None and path.is_file() else "not stored"
    how = "was there already" if stored else f"compiled in {ms:.0f} ms"
    return f"{character.profile.name} on {family}: {about.variant} {about.adapter_name}, {kept}, {how}"
