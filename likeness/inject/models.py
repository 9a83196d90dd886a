"""Putting a character on the models of a workflow: our nodes, or its LoRA alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..assets import FACEID_FAMILIES
from ..errors import LikenessError
from ..lora_file import fits
from ..lora_versions import with_version
from ..method import as_preset, resolve
from ..profile import METHODS, Profile
from .edit import Editor, listed
from .insert import Insert
from .slots import all_slots
from .trace import LOAD, Found, Point, Sampler, before, root_points, roots_of
from .workflow import as_link

_CARRIES = re.compile(r"model|lora|pipe|unet|transformer|prev", re.IGNORECASE)
_CLIP_OUTPUT = {
    "CheckpointLoaderSimple": 1, "CheckpointLoader": 1, "unCLIPCheckpointLoader": 1, "DiffusersLoader": 1,
    "CheckpointLoaderNF4": 1, "CheckpointLoader|pysssss": 1, "Efficient Loader": 5, "Eff. Loader SDXL": 5,
}  # fmt: skip


@dataclass(frozen=True)
class Lora:
    """The character's LoRA for one base family."""

    file: str
    model: float
    clip: float
    version: int


def lora_for(insert: Insert, families: frozenset[str]) -> Lora:
    """The character's LoRA and its strengths for a model that is of one of these families. LikenessError where it has
    none, or several."""
    profile = _needed(insert)
    have = sorted(f for f, s in with_version(profile, insert.lora_version).base.items() if f in families and s.lora)
    if len(have) != 1:
        raise LikenessError(_no_lora(profile, have, families))
    (family,) = have
    settings = with_version(profile, insert.lora_version).settings(family)
    assert settings.lora is not None  # as was asked above
    recipe = resolve(
        settings, family, has_lora=True, has_faceid=False, method="lora_only", preset_name=as_preset(insert.strengths)
    )
    return Lora(settings.lora.file, recipe.strengths.lora_model, recipe.strengths.lora_clip, settings.lora.version)


def _no_lora(profile: Profile, have: list[str], families: frozenset[str]) -> str:
    if have:
        return (
            f"{profile.name} has LoRAs for {listed(have)}, and the workflow does not tell which base model it draws "
            "with: say which, with --family."
        )
    if len(families) == 1:
        return (
            f"{profile.name} has no active LoRA for {listed([*families])}: train or register one, or give another "
            "--family."
        )
    if others := sorted(f for f, settings in profile.base.items() if settings.lora is not None):
        return (
            f"{profile.name} has LoRAs for {listed(others)}, which the model of the workflow is not: train one for it, "
            "or say its base family, with --family."
        )
    return f"{profile.name} has no LoRA: train one, or let the face steer alone, with --how nodes."


def _needed(insert: Insert) -> Profile:
    if insert.profile is None:
        raise LikenessError(f"To place the LoRA of {insert.character!r}, its profile is needed, and it was not given.")
    return insert.profile


def families_at(found: Found, point: Point, insert: Insert) -> frozenset[str]:
    """The base families that a model can be: as the workflow tells and the user says."""
    return found.told[point].within(insert.family)


def named(families: frozenset[str]) -> str:
    """For people: the families, where they are few."""
    known = sorted(families - {"other"})
    if not 0 < len(known) < 5:
        return "this kind of model"
    *others, last = known
    return f"{', '.join(others)} or {last}" if others else last


def own_files(insert: Insert) -> frozenset[str]:
    """The files of all LoRA versions of the character, with "/" between folders."""
    settings = insert.profile.base.values() if insert.profile else ()
    return frozenset(version.file.replace("\\", "/") for s in settings for version in s.loras)


def behind(found: Found, node_id: str) -> set[str]:
    """Ids of the nodes that a node's model, and the LoRAs on it, come from, and its own."""
    waiting, seen = [node_id], {node_id}
    while waiting:
        for edge in found.workflow.into[waiting.pop()]:
            kind = found.kinds.of(edge)
            carries = kind in ("model", "pipe") or (kind == "other" and _CARRIES.search(edge.name) is not None)
            if carries and edge.source not in seen:
                seen.add(edge.source)
                waiting.append(edge.source)
    return seen


def _loaded(editor: Editor, point: Point, insert: Insert) -> list[str]:
    """Addresses of the loaders behind a model that have the character's LoRA already."""
    reached, own = behind(editor.found, point[0]), own_files(insert)
    slots = [slot for slot in all_slots(editor.workflow) if slot.node.id in reached]
    return [slot.address for slot in slots if slot.file.replace("\\", "/") in own]


def check_assets(editor: Editor, targets: list[Sampler], insert: Insert, load: str = "") -> None:
    """Refuse models that the character has nothing for, as far as that is known before the graph runs. `load` is the
    Load Character that was there."""
    if insert.profile is None:
        return
    profile = with_version(insert.profile, insert.lora_version)
    points = {point: insert.method for sampler in targets for point in sampler.models}
    for node in (editor.node(node_id) for sampler in targets for node_id, _ in sampler.applied):
        link, method = as_link(node.inputs.get("character")), node.inputs.get("method", "auto")
        if link and link[0] == load:
            points[node.id, 0] = method if method in METHODS else "auto"
    for point, method in points.items():
        families = families_at(editor.found, point, insert)
        loaders = listed([str(editor.node(i)) for i in roots_of(editor.found, point)])
        if missing := _missing(profile, families, method):
            by = editor.found.told[point].by
            named_so = f" {by} was taken for {named(families)} by its name: say otherwise with --family." if by else ""
            editor.refuse(f"{loaders}: {missing}, or leave this model alone with --skip.{named_so}")
        elif not families.intersection(FACEID_FAMILIES):
            editor.note(f"FaceID does not exist for {named(families)}, so {profile.name} is drawn by its LoRA alone.")
        elif not families <= set(FACEID_FAMILIES):
            editor.note(
                f"The base family of {loaders} is not told by the workflow: say it with --family. FaceID exists for "
                f"{listed([*FACEID_FAMILIES])} alone; on another model Apply Character stops the graph and says so."
            )


def _missing(profile: Profile, families: frozenset[str], method: str) -> str:
    """Why nothing of the character can be put on a model of these families; "" where something can."""
    lora = any(settings.lora is not None and f in families for f, settings in profile.base.items())
    takes_face = bool(families.intersection(FACEID_FAMILIES))
    face = takes_face and bool(profile.references)
    if not takes_face and method in ("lora_faceid", "faceid_only"):
        return f"FaceID does not exist for {named(families)}, so the method {method} cannot be: leave --method out"
    needed = {"lora_only": lora, "faceid_only": face, "lora_faceid": lora and face, "img2img": True}
    if needed.get(method, lora or face):
        return ""
    if not takes_face:
        return f"{profile.name} has no LoRA for {named(families)}, and FaceID does not exist for it: train a LoRA first"
    if method == "auto":
        return f"{profile.name} has neither a reference picture nor a LoRA for it: add photos, or train a LoRA"
    return f"{profile.name} has not what the method {method} needs: leave --method out"


def check_stack(editor: Editor, targets: list[Sampler], insert: Insert) -> None:
    """Refuse other LoRAs that are for another base family than the model they would be put on."""
    for point in dict.fromkeys(p for sampler in targets for p in sampler.models):
        families = families_at(editor.found, point, insert)
        for entry in insert.loras:
            if entry.family and not any(fits(entry.family, f) or f == "other" for f in families):
                editor.refuse(
                    f"{entry.file} is a LoRA for {entry.family}, but {editor.node(point[0])} is {named(families)}: "
                    "leave it out."
                )


def add_nodes(editor: Editor, targets: list[Sampler], insert: Insert, load: str = "") -> str:
    """Load Character, and Apply Character on every model. Returns the id of Load Character."""
    pairs = _pairs(editor, targets)
    for pair in pairs:
        if loaded := _loaded(editor, pair.model, insert):
            editor.refuse(
                f"{listed(loaded)} loads the character's LoRA already, and Apply Character would put it on once more: "
                "place it there, with --replace-lora, or take it out."
            )
    editor.stop_if_refused()
    if not load:
        load = editor.add(LOAD, "Load Character", character=insert.character, lora_version=insert.lora_version)
        editor.change(f"Added Load Character {load} with {insert.character!r}.")
    for pair in pairs:
        model, clip = _with_stack(editor, pair, insert)
        applied = editor.add(
            "LikenessApplyCharacter",
            "Apply Character",
            model=model,
            clip=clip,
            character=[load, 0],
            strengths=insert.strengths,
            method=insert.method,
            adapter="auto",
            image_encoder="auto",
        )
        _connect(editor, pair, f"Apply Character {applied}", [applied, 0], [applied, 1])
    return load


def add_loras(editor: Editor, targets: list[Sampler], insert: Insert) -> None:
    """The character's LoRA on every model and text encoder, by ComfyUI's own loaders."""
    pairs = _pairs(editor, targets, clip_needed=False)
    editor.stop_if_refused()
    for pair in pairs:
        if loaded := _loaded(editor, pair.model, insert):
            editor.note(f"{listed(loaded)} had the character's LoRA already.")
            continue
        lora = lora_for(insert, families_at(editor.found, pair.model, insert))
        model, clip = _with_stack(editor, pair, insert)
        added, model, clip = _loader(editor, insert.character, model, clip, lora.file, lora.model, lora.clip)
        told = f"LoRA loader {added} with {lora.file} (version {lora.version}), strength {lora.model:g}"
        _connect(editor, pair, told, model, clip)


@dataclass(frozen=True)
class _Pair:
    """A model and the text encoder that goes with it. `reads_*`: whether what draws shall read the character's."""

    model: Point
    clip: Point | None
    reads_model: bool
    reads_clip: bool


def _pairs(editor: Editor, targets: list[Sampler], clip_needed: bool = True) -> list[_Pair]:
    """Every model output once, and every text encoder output once."""
    pairs: list[_Pair] = []
    models: set[Point] = set()
    clips: set[Point] = set()
    for sampler in targets:
        for point in (p for p in sampler.models if p not in models):
            models.add(point)
            clip = _clip_for(editor, sampler, point)
            if clip is None and clip_needed:
                editor.refuse(_no_clip(sampler))
            reads = clip in sampler.clips and clip not in clips and not _waits(editor, point, clip)
            clips |= {clip} if reads and clip else set()
            pairs.append(_Pair(point, clip, True, reads))
        for clip in (c for c in sampler.clips if c not in clips and sampler.models):
            clips.add(clip)
            pairs.append(_Pair(_model_for(editor, sampler, clip), clip, False, True))
    return pairs


def _waits(editor: Editor, point: Point, other: Point | None) -> bool:
    """Whether an output is made with the help of what reads `other` on the way to a sampler. NAG makes a model with
    prompts: their text encoder cannot come from behind that model, or the workflow went in a circle."""
    readers = {edge.target for edge in editor.found.edges.get(other, [])} if other else set()
    return bool(readers & before(editor.workflow, point[0]))


def _clip_for(editor: Editor, sampler: Sampler, model: Point) -> Point | None:
    """The text encoder to put the character on together with a model: the sampler's own where that can be."""
    roots = [root for clip in sampler.clips for root in root_points(editor.found, clip, "clip")]
    beside = _clip_beside(editor, model)
    candidates = [*sampler.clips, *roots, *([beside] if beside else [])]
    return next((clip for clip in candidates if not _waits(editor, clip, model)), None)


def _model_for(editor: Editor, sampler: Sampler, clip: Point) -> Point:
    """A model to give Apply Character along with a text encoder, where only the text encoder is read from it."""
    candidates = [*sampler.models, *(root for model in sampler.models for root in root_points(editor.found, model))]
    return next((model for model in candidates if not _waits(editor, model, clip)), candidates[-1])


def _clip_beside(editor: Editor, point: Point) -> Point | None:
    """The text encoder output of the loader that a model comes from."""
    for root in roots_of(editor.found, point):
        slot = editor.kinds.first_output(root, "clip")
        slot = _CLIP_OUTPUT.get(editor.node(root).class_type) if slot is None else slot
        if slot is not None:
            return root, slot
    return None


def _no_clip(sampler: Sampler) -> str:
    bare = [str(e.node) for e in sampler.encoders if e.texts and "clip" not in e.node.inputs]
    if any(e.node.class_type.startswith(("CLIPText", "TextEncode")) for e in sampler.encoders if str(e.node) in bare):
        return (
            f"{listed(bare)} has no text encoder linked (its input clip), so the workflow is not whole: link it, "
            "and export the workflow again."
        )
    return (
        f"No CLIP was found behind {sampler.node}, and Apply Character needs one: place its LoRA alone, with "
        "--how lora, or leave this sampler alone with --skip."
    )


def _with_stack(editor: Editor, pair: _Pair, insert: Insert) -> tuple[list[Any], list[Any] | None]:
    """The pair behind the loaders of the LoRA stack."""
    model: list[Any] = list(pair.model)
    clip = None if pair.clip is None else list(pair.clip)
    for entry in insert.loras:
        added, model, clip = _loader(editor, "stack", model, clip, entry.file, entry.strength, entry.clip_strength)
        editor.change(f"Added LoRA loader {added} with {entry.file}, strength {entry.strength:g}.")
    return model, clip


def _loader(
    editor: Editor, title: str, model: list[Any], clip: list[Any] | None, file: str, strength: float, on_clip: float
) -> tuple[str, list[Any], list[Any] | None]:
    common = {"model": model, "lora_name": file, "strength_model": strength}
    if clip is None:
        added = editor.add("LoraLoaderModelOnly", f"Load LoRA: {title}", **common)
        return added, [added, 0], None
    added = editor.add("LoraLoader", f"Load LoRA: {title}", **common, clip=clip, strength_clip=on_clip)
    return added, [added, 0], [added, 1]


def _connect(editor: Editor, pair: _Pair, what: str, model: list[Any], clip: list[Any] | None) -> None:
    """Let the samplers and text encoders read the character's model and text encoder."""
    source = editor.node(pair.model[0])
    if pair.reads_model:
        readers = editor.rewire(pair.model, model)
        editor.change(f"Added {what} between {source} and {listed(readers)}.")
    if pair.reads_clip and pair.clip and clip:
        readers = editor.rewire(pair.clip, clip)
        one = what.split(" with ")[0]
        editor.change(f"The text encoder of {one} is used by {listed(readers)}.")
        if not pair.reads_model:
            editor.note(f"Only the text encoder of {one} is used: another one draws.")
    elif pair.reads_model and pair.clip not in editor.found.edges and not _has_words_of_it(editor, pair):
        editor.note(f"The prompts behind {source} are encoded without the character's LoRA on the text encoder.")


def _has_words_of_it(editor: Editor, pair: _Pair) -> bool:
    """Whether the samplers of a model read the character on another way, and its text encoder there."""
    return all(sampler.applied for sampler in editor.found.samplers if pair.model in sampler.models)
