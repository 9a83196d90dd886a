"""Character Variations: lists of outfits, backgrounds, poses, ... -> prompts, seeds and names, one for each picture."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy.cli_args import args
from comfy_api.latest import io

from ..likeness.character import Character
from ..likeness.errors import LikenessError, LoraError
from ..likeness.lora_registry import load_registry
from ..likeness.lora_stack import parse_stack
from ..likeness.scenes.lists import DEFAULTS, FACETS, Lists, list_names, lists_of, load_lists, save_lists
from ..likeness.scenes.origin import is_read, origin_of, savers_of
from ..likeness.scenes.saving import PREFIX, drawn_in, missing, scene_folder
from ..likeness.scenes.scene import Scene
from ..likeness.scenes.variations import MAX_SCENES, MODES, RANDOM, VARY, scenes_of
from ..likeness.shared_files import LISTS, shared_path
from . import host
from .scene_outputs import LORAS, SAVER, lists_out, report_of, scene_outputs, seed_inputs, text_inputs
from .types import CharacterType

TYPED = "as typed below"
STOP, REPLACE = "stop", "replace"
_RANDOM = "random"


class CharacterVariations(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LikenessCharacterVariations",
            display_name="Character Variations",
            category="likeness/scenes",
            description="Many scenes of one character: every outfit, background, pose, expression, camera or light of "
            "a list, a grid of several lists, or a random sample. ComfyUI then runs the graph for each scene.",
            search_aliases=["likeness", "prompt list", "outfits", "wildcards", "prompt matrix", "batch prompts", "xy"],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            inputs=[
                CharacterType.Input("character", tooltip="From Load Character."),
                _mode_input(),
                *(_list_input(facet) for facet in FACETS),
                *text_inputs("scene"),
                *seed_inputs(),
                *_number_inputs(),
                *_choice_inputs(),
                *_file_inputs(),
            ],
            outputs=scene_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, saved_lists: str = TYPED, skip_existing: bool = False, **_: object) -> list[Any]:
        """The saved list on disk. What is missing can change with any node of the graph, so it is looked for anew."""
        pictures = [uuid.uuid4().hex] if skip_existing else []
        try:
            path = None if saved_lists in (TYPED, None) else shared_path(host.library(), LISTS, saved_lists)
            return [_stamp(path), *pictures]
        except LikenessError:
            return pictures

    @classmethod
    def execute(cls, character: Character, mode: str, **inputs: Any) -> io.NodeOutput:
        texts = {facet: inputs.pop(facet) for facet in FACETS if facet in inputs}
        settings = _Settings(**inputs)
        lists = settings.lists(texts)
        saved = settings.saved(lists)
        scenes = scenes_of(character.profile, lists, mode, **settings.arguments(mode))
        prompt, own = cls.hidden.prompt, str(cls.hidden.unique_id)
        left, skipped, other = settings.left(scenes, character.slug, _graphs(prompt, own, settings.filename_prefix))
        told = [saved, _summary(mode, scenes, left, skipped, other), *_lora_notes(scenes, is_read(prompt, own, LORAS))]
        report = report_of(left, "\n".join(filter(None, told)))
        host.show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(*lists_out(left, report))


@dataclass(frozen=True)
class _Settings:
    """The inputs, apart from character, mode and lists."""

    text: str = ""
    negative: str = ""
    seed: int = 0
    seeds: str = "each"
    per_scene: int = 1
    count: int = RANDOM
    only: str = ""
    vary: str = VARY
    keep: str = ""
    saved_lists: str = TYPED
    save_as: str = ""
    if_exists: str = STOP
    skip_existing: bool = False
    most: int = 0
    filename_prefix: str = PREFIX

    def arguments(self, mode: str) -> dict[str, Any]:
        """For `scenes_of`."""
        names = ("text", "negative", "seed", "seeds", "per_scene", "only", "vary", "keep")
        return {name: getattr(self, name) for name in names} | {"count": self.count if mode == _RANDOM else None}

    def lists(self, texts: dict[str, str]) -> Lists:
        """What is typed; where a saved list is chosen, that one's, and what is typed for the facets it lacks."""
        defaults = {facet: DEFAULTS.text(facet) for facet in FACETS}
        saved = Lists() if self.saved_lists == TYPED else load_lists(host.library(), self.saved_lists)
        typed = lists_of({f: t for f, t in {**defaults, **texts}.items() if not saved.of(f)})
        return typed.model_copy(update={facet: saved.of(facet) for facet in FACETS if saved.of(facet)})

    def saved(self, lists: Lists) -> str:
        """Save the lists where a name is given; a sentence about it."""
        if not self.save_as.strip():
            return ""
        path = save_lists(host.library(), self.save_as, lists, replace=self.if_exists == REPLACE)
        return f"Lists saved as {path.stem}: press R to see them under saved_lists."

    def left(
        self, scenes: tuple[Scene, ...], character: str, graphs: Iterable[str]
    ) -> tuple[tuple[Scene, ...], int, int]:
        """The scenes to make in this run, how many are there already, and how many only as another graph drew them.

        What `only` names is made again.
        """
        there, other = 0, 0
        if self.skip_existing and not self.only.strip():
            if args.disable_metadata:
                raise LikenessError(
                    "skip_existing finds pictures by their metadata, and ComfyUI was started with --disable-metadata: "
                    "turn one of them off."
                )
            folder = scene_folder(host.output_folder(), self.filename_prefix, character)
            found = drawn_in(folder)
            left = missing(scenes, found, graphs)
            there, other = len(scenes) - len(left), len(left) - len(missing(left, found))
            scenes = left
        return (scenes[: self.most] if self.most else scenes), there, other


def _graphs(prompt: Any, own: str, prefix: str) -> list[str]:
    """Digests of the graphs by which the nodes that save into that folder get the pictures of these scenes."""
    savers = savers_of(prompt, own, SAVER)
    found = [
        origin_of(prompt, i, LORAS) for i, given in savers.items() if given.get("filename_prefix", PREFIX) == prefix
    ]
    return [origin.graph for origin in found if origin is not None]


def _lora_notes(scenes: Iterable[Scene], are_read: bool) -> list[str]:
    """LoraError for LoRAs that some node is to put on and that neither the registry nor models/loras has, with the
    nearest names; a note where no node reads them."""
    wanted = {scene.loras: scene.name for scene in reversed(tuple(scenes)) if scene.loras.strip()}
    if not wanted:
        return []
    notes, registry, listed = list[str](), load_registry(host.library()), host.listed("loras")
    for stack, name in wanted.items():
        try:
            parse_stack(stack, registry, listed)
        except LoraError as error:
            if are_read:
                raise LoraError(f"Scene {name}: {error}") from error
            notes.append(f"note: {name}: {error}")
    idle = "note: these scenes bring LoRAs, which do not act: link loras to the stack of a LoRA Stack"
    return notes if are_read else [*notes, idle]


def _summary(mode: str, scenes: tuple[Scene, ...], left: tuple[Scene, ...], skipped: int, other: int) -> str:
    count = len(scenes)
    there = f", {skipped} of which {'is' if skipped == 1 else 'are'} there already" if skipped else ""
    anew = f"; {other} there by another graph (checkpoint, LoRAs, numbers), made anew" if other else ""
    later = count - skipped - len(left)
    now = f"; {len(left)} in this run, {later} left for the next" if later else ""
    return f"{mode}: {count} picture{'' if count == 1 else 's'}{there}{anew}{now}."


def _stamp(path: Path | None) -> list[Any]:
    try:
        about = path.stat() if path else None
    except OSError:
        about = None
    return [about.st_mtime_ns, about.st_size] if about else []


# ---- inputs

_WHAT = {
    "outfit": "Outfits, without 'wearing'. The character's own outfits come before these.",
    "background": "Backgrounds: 'a sunny park', or with the preposition, 'on a beach'.",
    "pose": "Poses.",
    "expression": "Expressions.",
    "camera": "Framings and camera angles.",
    "light": "Light.",
}


def _mode_input() -> io.Combo.Input:
    return io.Combo.Input(
        "mode",
        options=list(MODES),
        default=MODES[0],
        tooltip="One list: the others stay as they are. grid: every combination of the lists named in vary. random: a "
        "sample of that grid without repeats.",
    )


def _list_input(facet: str) -> io.String.Input:
    form = "One a line, 'name: text' or just the text; '| trigger=word' and '| loras=name:0.7' may follow."
    return io.String.Input(
        facet,
        display_name=f"{facet} list",
        default=DEFAULTS.text(facet),
        multiline=True,
        optional=True,
        advanced=facet in FACETS[3:],
        tooltip=f"{_WHAT[facet]} {form}",
    )


def _number_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "per_scene",
            default=1,
            min=1,
            max=1000,
            optional=True,
            tooltip="Pictures of each scene, with different seeds.",
        ),
        io.Int.Input(
            "count", default=RANDOM, min=1, max=MAX_SCENES, optional=True, tooltip="How many scenes random draws."
        ),
    ]


def _choice_inputs() -> list[io.Input]:
    return [
        io.String.Input(
            "only",
            default="",
            optional=True,
            tooltip="Make only these scenes: names, file names or patterns like *-park-*, with commas between. Names "
            "and seeds stay what they are, so any picture can be made again.",
        ),
        io.String.Input(
            "vary",
            default=VARY,
            optional=True,
            tooltip=f"The lists that grid and random combine: some of {', '.join(FACETS)}, or all.",
        ),
        io.String.Input(
            "keep",
            default="",
            optional=True,
            advanced=True,
            tooltip="Words for what stays the same. Empty: those of the mode, such as 'white background, full body' "
            "for outfits. '-': none.",
        ),
    ]


def _file_inputs() -> list[io.Input]:
    names = list_names(host.library())
    return [
        io.Combo.Input(
            "saved_lists",
            options=[TYPED, *names],
            default=TYPED,
            optional=True,
            tooltip="Lists that were saved; what they lack is taken from the boxes above.",
        ),
        io.String.Input(
            "save_as",
            default="",
            optional=True,
            advanced=True,
            tooltip="Save the lists of this run under a name, for other graphs and the command line.",
        ),
        io.Combo.Input(
            "if_exists",
            options=[STOP, REPLACE],
            default=STOP,
            optional=True,
            advanced=True,
            tooltip="When other lists were saved under that name: stop, or replace them (they go to the trash).",
        ),
        io.Boolean.Input(
            "skip_existing",
            display_name="skip what is there",
            default=False,
            optional=True,
            tooltip="Leave out scenes that Save Scene has written already, whole and with the same words, seed and "
            "LoRAs. With it a grid that was stopped goes on where it was.",
        ),
        io.Int.Input(
            "most",
            default=0,
            min=0,
            max=MAX_SCENES,
            optional=True,
            tooltip="Scenes in one run; 0 is all. ComfyUI samples the whole list before it saves the first picture: "
            "with 1 and 'skip what is there', queue as many runs as you like and each saves its own.",
        ),
        io.String.Input(
            "filename_prefix",
            default=PREFIX,
            optional=True,
            advanced=True,
            tooltip="The folder that Save Scene writes to, below output. The same as there.",
        ),
    ]
