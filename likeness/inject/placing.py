"""The one call: a workflow and a character in, a workflow with the character and a report out, or a reason why not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ..errors import LikenessError, quoted
from ..method import as_preset
from ..paths import check_slug
from ..profile import FAMILIES, METHODS
from .edit import Editor, listed, shortened
from .insert import HOW, Injected, Insert
from .kinds import ObjectInfo, is_foreign
from .models import add_loras, add_nodes, check_assets, check_stack, families_at, named
from .replace import asked_slots, hidden_encoders, meant_slots, replace_loras
from .scores import add_scores
from .seeds import MAX_SEED, noisy_nodes, seeds_in, set_seeds
from .slots import Slot, all_slots
from .trace import APPLY, LOAD, Found, Sampler, found_in
from .words import add_prompt_nodes, places_for, set_prompts, write_words
from .workflow import Node, Workflow, as_link, read_workflow

_OTHER_FACES = re.compile(
    r"pulid|instantid|faceid|reactor|photomaker|faceswap|infiniteyou|ipadapter.*face", re.IGNORECASE
)
_IDENTITIES = ("LikenessLoadFaceEmbedding", "LikenessBlendCharacters", "LikenessCreateCharacter")
_MAX_TEXT = 1_000_000


def inject(
    workflow: bytes | str | Mapping[str, Any] | Workflow, insert: Insert, info: ObjectInfo | None = None
) -> Injected:
    """Put a character into a workflow.

    `info` is the /object_info of the ComfyUI that will draw; with it nodes of all packs are understood, and what that
    server lacks is told. The workflow given is not changed. LikenessError says what cannot be placed and what to do;
    then nothing was placed.
    """
    _check(insert)
    workflow = read_workflow(workflow)
    found = found_in(workflow, info, insert.skip, insert.family_of)
    editor = Editor(found)
    _check_ids(editor, insert)
    how, slots = _how(editor, insert)
    _refuse_idle(editor, insert, how)
    targets = _targets(editor, insert, how)
    editor.stop_if_refused()
    places = places_for(editor, found.samplers, hidden_encoders(found) if how == "replace" else [], insert)
    _place(editor, targets, insert, how, slots, places)
    seeds = {} if insert.seed is None else _seed(editor, insert.seed)
    if insert.score:
        add_scores(editor, insert, _load_of(editor))
    _notes(editor, insert)
    editor.stop_if_refused()
    _check_server(editor, info, insert)
    _prove(editor, info, insert, how)
    return _injected(editor, how, seeds)


def _place(editor: Editor, targets: list[Sampler], insert: Insert, how: str, slots: list[Slot], places: Any) -> None:
    if how in ("nodes", "swap"):
        load = _swap(editor, insert) if how == "swap" else ""
        open_targets = [s for s in targets if not s.has_character]
        if how == "swap" and (insert.method, insert.strengths) != ("auto", "profile"):
            editor.note("Apply Character nodes that were there keep their method and strengths: set them there.")
        check_assets(editor, targets, insert, load)
        check_stack(editor, open_targets, insert)
        load = add_nodes(editor, open_targets, insert, load)
        if insert.words:
            add_prompt_nodes(editor, places, insert, load)
        else:
            set_prompts(editor, places, insert)
        return
    if how == "replace":
        replace_loras(editor, targets, insert, slots)
    else:
        check_stack(editor, targets, insert)
        add_loras(editor, targets, insert)
    if insert.profile is not None:  # else refused by now
        write_words(editor, places, insert, insert.profile)


def _injected(editor: Editor, how: str, seeds: dict[str, int]) -> Injected:
    document = editor.workflow.wrapped(editor.graph)
    return Injected(editor.graph, document, tuple(editor.changes), tuple(editor.notes), tuple(editor.added), how, seeds)


def _check(insert: Insert) -> None:
    check_slug(insert.character)
    if insert.profile is not None and insert.profile.slug != insert.character:
        raise LikenessError(f"The profile is that of {insert.profile.slug!r}, not of {insert.character!r}.")
    for value, known, what in (
        (insert.how, HOW, "how"),
        (insert.family, ("", *FAMILIES), "family"),
        (insert.method, ("auto", *METHODS), "method"),
    ):
        if value not in known:
            raise LikenessError(f"{quoted(value)} is no {what}: choose one of {', '.join(filter(None, known))}.")
    if insert.strengths != "profile" and as_preset(insert.strengths) is None:
        raise LikenessError(f"{quoted(insert.strengths)} is no preset of strengths.")
    if insert.seed is not None and not 0 <= insert.seed <= MAX_SEED:
        raise LikenessError(f"The seed {insert.seed} is out of range: give one from 0 to {MAX_SEED}.")
    if any(len(text or "") > _MAX_TEXT for text in (insert.prompt, insert.negative)):
        raise LikenessError(f"The prompt is longer than {_MAX_TEXT:,} characters: shorten it.")
    if any(not math.isfinite(number) for e in insert.loras for number in (e.strength, e.clip_strength)):
        raise LikenessError("A LoRA of the stack has a strength that is no number.")


def _check_ids(editor: Editor, insert: Insert) -> None:
    for node_id in (*insert.skip, *insert.prompt_in, *filter(None, [insert.load])):
        if node_id not in editor.workflow.nodes:
            editor.refuse(f"There is no node {quoted(node_id)} in the workflow: check the id.")


def _how(editor: Editor, insert: Insert) -> tuple[str, list[Slot]]:
    """Which way the character goes in, and the LoRA places that take it."""
    has_ours = any(n.class_type in (LOAD, *APPLY) for n in editor.workflow.nodes.values())
    if insert.replace or insert.how == "replace":
        slots = asked_slots(editor, insert) or ([] if insert.replace else meant_slots(editor.found, insert))
        if not slots and not insert.replace:
            there = [f"{slot.address} ({slot.file})" for slot in all_slots(editor.workflow)]
            editor.refuse(
                f"No LoRA loader says that it is meant for a character: name one, {listed(there) or 'there is none'}."
            )
        return "replace", slots
    if has_ours:
        if insert.how == "lora":
            editor.refuse("The workflow has our nodes: its character is changed there, without --how lora.")
        return "swap", []
    if insert.how == "auto" and (slots := meant_slots(editor.found, insert)):
        return "replace", slots
    return ("lora" if insert.how == "lora" else "nodes"), []


def _refuse_idle(editor: Editor, insert: Insert, how: str) -> None:
    """Options that would do nothing this way."""
    if how in ("lora", "replace") and insert.method not in ("auto", "lora_only"):
        editor.refuse(
            f"By {how!r} the LoRA alone is put in, so the method {insert.method} cannot be: leave --method out, or "
            "place our nodes, with --how nodes."
        )
    if how == "replace" and insert.loras:
        editor.refuse(
            "By 'replace' only loaders that are there are changed, so other LoRAs have no place: leave --loras out, or "
            "choose --how nodes or lora."
        )


def _targets(editor: Editor, insert: Insert, how: str) -> list[Sampler]:
    """The samplers that get the character. What stands against it is refused, or noted where something is left."""
    found = editor.found
    targets = [s for s in found.samplers if not s.why_not]
    for sampler in found.samplers:
        if sampler.why_not:
            editor.note(f"{sampler.node} was left as it is: {sampler.why_not}.")
            _refuse_entangled(editor, sampler, targets)
    if how != "replace" and found.hidden:
        _refuse_hidden(editor)
    if not targets and not found.hidden and how != "swap":
        left = [f"{s.node}: {s.why_not}." for s in found.samplers]
        editor.refuse(" ".join(left) or _nothing_draws(found))
    _refuse_contradicted(editor, insert)
    return targets


def _refuse_entangled(editor: Editor, left: Sampler, targets: list[Sampler]) -> None:
    for sampler in targets:
        models = [e for e in left.edges & sampler.edges if editor.kinds.of(e) == "model"]
        if models:
            editor.refuse(
                f"{left.node} cannot be left alone: it draws with the model of {sampler.node}, by way of "
                f"{editor.node(models[0].target)}."
            )


def _refuse_contradicted(editor: Editor, insert: Insert) -> None:
    told = [told.sure for told in editor.found.told.values()]
    if insert.family and told and all(insert.family not in sure for sure in told) and not editor.found.hidden:
        known = sorted({family for sure in told if len(sure) == 1 for family in sure} - {"other"})
        editor.refuse(
            f"The loaders of the workflow are for {listed(known) or 'another kind of model'}, not for {insert.family}."
        )


def _refuse_hidden(editor: Editor) -> None:
    own = [str(n) for n in editor.found.hidden if is_foreign(n.class_type)]
    others = [str(n) for n in editor.found.hidden if not is_foreign(n.class_type)]
    if own:
        editor.refuse(
            f"{listed(own)}: models of that pack's own kind, on which neither Apply Character nor ComfyUI's LoRA "
            "loader can be put."
        )
    if others:
        editor.refuse(f"{listed(others)}: where the model comes from cannot be followed.")
    places = [f"{slot.address} ({slot.file})" for slot in all_slots(editor.workflow)]
    editor.refuse(
        f"Put the LoRA into loaders that are there, with --replace-lora: {listed(places, 12)}."
        if places
        else "Use a workflow with ComfyUI's own samplers."
    )


def _nothing_draws(found: Found) -> str:
    classes = {n.class_type for n in found.workflow.nodes.values()}
    last = listed(sorted(classes), 5)
    return (
        "No node of the workflow samples with a model and a prompt, so there is nothing that could draw a character "
        f"(it has {last}): give a workflow that makes pictures with a checkpoint."
    )


def _load_of(editor: Editor) -> str:
    return next((i for i, n in editor.graph.items() if n["class_type"] == LOAD), "")


def _swap(editor: Editor, insert: Insert) -> str:
    """Another character into the workflow's Load Character; returns its id."""
    load = _load_to_change(editor, insert)
    was = load.inputs.get("character")
    if as_link(was):
        editor.refuse(f"{load} gets its character from another node: set it there.")
    if was == insert.character and load.inputs.get("lora_version", 0) == insert.lora_version:
        editor.note(f"{load} had {insert.character!r} already.")
    else:
        editor.set(load.id, "character", insert.character)
        editor.set(load.id, "lora_version", insert.lora_version)
        editor.change(f"{load}: the character is {insert.character!r}; it was {quoted(was)}.")
    return load.id


def _load_to_change(editor: Editor, insert: Insert) -> Node:
    loads = [n for n in editor.workflow.nodes.values() if n.class_type == LOAD and insert.load in ("", n.id)]
    if len(loads) > 1:
        shown = listed([f"{n.id} ({n.inputs.get('character')})" for n in loads])
        editor.refuse(f"The workflow has {len(loads)} characters: say which one to change, with --load, {shown}.")
    elif not loads:
        others = [str(n) for n in editor.workflow.nodes.values() if n.class_type in _IDENTITIES]
        by = f" but by {listed(others)}" if others else ""
        editor.refuse(
            f"The workflow draws a character that is not loaded by name{by}: put a Load Character in its place, which "
            "can be changed."
        )
    editor.stop_if_refused()
    return loads[0]


def _seed(editor: Editor, first: int) -> dict[str, int]:
    workflow = editor.workflow
    noisy = set(noisy_nodes(workflow)) | {s.node.id for s in editor.found.samplers}
    draws = re.compile(r"sampler|detailer|upscale", re.IGNORECASE)
    ids = [n.id for n in workflow.nodes.values() if n.id in noisy or draws.search(n.class_type)]
    seeds = seeds_in(workflow, ids)
    if not seeds:
        editor.refuse("No seed was found in the workflow: leave the seed away.")
    return set_seeds(editor, seeds, first)


def _notes(editor: Editor, insert: Insert) -> None:
    for node in editor.workflow.nodes.values():
        if _OTHER_FACES.search(node.class_type) and "loader" not in node.class_type.lower():
            editor.note(f"{node} puts another face in: take it out, or give it this character's picture.")
    for slot in all_slots(editor.workflow):
        kept = editor.get(slot.node.id, slot.name) == slot.node.inputs[slot.name]
        if kept and slot.file.replace("\\", "/") in insert.known_loras and slot.file != _own_file(insert):
            editor.note(f"{slot.node} still loads {slot.file}, the LoRA of another character: take it out.")
    for edge in editor.workflow.dangling[:5]:
        editor.note(f"{editor.node(edge.target)}: {edge.name} is linked to node {edge.source}, which is not there.")
    for told in editor.found.told.values():
        if told.by and len(told.likely) == 1 and not insert.family:
            editor.note(f"{told.by} was taken for {named(told.likely)} by its name: say otherwise with --family.")
    high_low = {p for s in editor.found.samplers for p in s.models if families_at(editor.found, p, insert) == {"wan"}}
    if len(high_low) > 1:
        editor.note("Both models, for high and for low noise, got the same LoRA.")


def _own_file(insert: Insert) -> str:
    files = [v.file for s in insert.profile.base.values() for v in s.loras] if insert.profile else []
    return files[0] if len(files) == 1 else ""


def _note_lacking(editor: Editor, info: ObjectInfo) -> None:
    """What the server that will draw lacks of the workflow as it was."""
    unknown = sorted({n.class_type for n in editor.workflow.nodes.values()} - set(info))
    if unknown:
        editor.note(f"That ComfyUI does not have the nodes {listed(unknown)}: install their packs there.")
    for node in editor.workflow.nodes.values():
        for name in node.inputs:
            value, offered = editor.get(node.id, name), editor.kinds.choices(node.class_type, name)
            if offered is not None and isinstance(value, str) and value not in offered:
                editor.note(f"That ComfyUI does not list {shortened(value)}, {name} of {node}: choose what it has.")


def _check_server(editor: Editor, info: ObjectInfo | None, insert: Insert) -> None:
    """What the server that will draw lacks for the nodes that were added; of the others it is noted."""
    if not info:
        return
    _note_lacking(editor, info)
    missing = sorted({editor.graph[i]["class_type"] for i in editor.added} - set(info))
    if missing:
        editor.refuse(
            f"That ComfyUI does not have {listed(missing)}: install this pack there, or place the LoRA alone, with "
            "--how lora."
        )
    known = editor.kinds.choices(LOAD, "character")
    if _load_of(editor) and known is not None and insert.character not in known:
        editor.refuse(f"The library of that ComfyUI has no character {insert.character!r}: copy its folder there.")
    for node_id in editor.added:
        node = editor.graph[node_id]
        offered = editor.kinds.choices(node["class_type"], "lora_name")
        if offered is not None and node["inputs"]["lora_name"] not in offered:
            editor.refuse(f"That ComfyUI does not list the LoRA {node['inputs']['lora_name']}: put the file there.")
    editor.stop_if_refused()


def _prove(editor: Editor, info: ObjectInfo | None, insert: Insert, how: str) -> None:
    """Look through what was made as through any workflow: every sampler meant has the character, on no way twice."""
    try:
        made = read_workflow(editor.graph)
    except LikenessError as error:
        raise LikenessError(f"The character was not put into the workflow: with it, {str(error)[4:]}") from None
    if how not in ("nodes", "swap"):
        return
    for sampler in found_in(made, info, insert.skip).samplers:
        if not sampler.why_not and not sampler.has_character:
            raise LikenessError(
                f"The character was not put into the workflow: {sampler.node} would have been left without it. Leave "
                "it alone with --skip, or use a simpler workflow."
            )
    twice = [i for i, n in made.nodes.items() if n.class_type in APPLY and _applied_before(made, i)]
    if twice:
        raise LikenessError(
            f"The character was not put into the workflow: {listed([str(made.nodes[i]) for i in twice])} would have "
            "put it on a model that has it already. Place it by hand."
        )


def _applied_before(made: Workflow, node_id: str) -> bool:
    """Whether a model passes one of our nodes before it comes to this one."""
    waiting, seen = [e for e in made.into[node_id] if e.name == "model"], set()
    while waiting:
        source = waiting.pop().source
        if source in seen:
            continue
        seen.add(source)
        if made.nodes[source].class_type in APPLY:
            return True
        waiting += [e for e in made.into[source] if "model" in e.name]
    return False
