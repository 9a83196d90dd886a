"""Putting the character's words into the prompts of a workflow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .. import prompt
from ..lora_stack import joined_triggers
from ..profile import Profile
from .edit import Editor, listed, shortened
from .insert import Insert
from .trace import ASKED, SPEAKS, WORDS, Encoder, Sampler
from .workflow import as_link


@dataclass(frozen=True)
class Place:
    """One input that holds a prompt."""

    encoder: Encoder
    name: str
    value: Any  # a text, or a link to one

    @property
    def negative(self) -> bool:
        return self.encoder.role == "negative"


def places_for(editor: Editor, samplers: list[Sampler], hidden: list[Encoder], insert: Insert) -> list[Place]:
    """Where the words go: every text behind the samplers that takes them. What cannot be decided is refused."""
    encoders: dict[tuple[str, str], Encoder] = {}
    for sampler in (s for s in samplers if s.why_not != ASKED):
        chosen = list(_chosen(editor, sampler, insert))
        wanted = (insert.words or insert.prompt is not None) and not insert.prompt_in and not sampler.why_not
        if wanted and not any(e.role == "positive" for e in chosen):
            _refuse_wordless(editor, sampler, insert)
        encoders |= {(e.node.id, e.role): e for e in chosen}
    encoders |= {(e.node.id, e.role): e for e in hidden}
    positive = {node_id for node_id, role in encoders if role == "positive"}
    for node_id in insert.prompt_in:
        if node_id not in positive:
            editor.refuse(f"Node {node_id} is no text encoder of a positive prompt: {_offered(samplers)}.")
    places = []
    for encoder in encoders.values():
        if encoder.role == "negative" and encoder.node.id in positive and not encoder.only:
            editor.note(f"{encoder.node} makes the positive and the negative prompt, so it was taken for the positive.")
        elif encoder.role != "other":
            places += [Place(encoder, name, encoder.node.inputs[name]) for name in encoder.texts]
    return places


def _chosen(editor: Editor, sampler: Sampler, insert: Insert) -> Iterator[Encoder]:
    """The encoders behind a sampler that take the words."""
    positive = [e for e in sampler.encoders if e.role == "positive" and e.texts]
    if insert.prompt_in:
        positive = [e for e in positive if e.node.id in insert.prompt_in]
    elif len(positive) > 1 and any(e.regional for e in positive):
        if insert.words or insert.prompt is not None:
            editor.refuse(
                f"{sampler.node} has a prompt for each part of the picture, {_shown(positive)}: say which one "
                "shows the character, with --prompt-in."
            )
        positive = []
    yield from positive
    yield from (e for e in sampler.encoders if e.role == "negative" and e.texts)


def _shown(encoders: list[Encoder]) -> str:
    return listed([f"{e.node} {shortened(e.node.inputs[e.texts[0]])}" for e in encoders], 8)


def _offered(samplers: list[Sampler]) -> str:
    found = {e.node.id: e for s in samplers for e in s.encoders if e.role == "positive" and e.texts}
    return f"there is {_shown(list(found.values()))}" if found else "there is none that could be found"


def _refuse_wordless(editor: Editor, sampler: Sampler, insert: Insert) -> None:
    if any(e.regional for e in sampler.encoders):
        return  # told already
    if sampler.has_character and insert.prompt is None:
        return  # by Apply Characters, which makes the prompts itself
    words = "your prompt" if insert.prompt is not None else "the character's words"
    alone = "without a prompt" if insert.prompt is not None else "with --no-words"
    editor.refuse(
        f"No prompt was found behind {sampler.node} that {words} could go into (it may be zeroed out, or made by a "
        f"node that is not known): {alone} the character goes on the model only, and --skip leaves this sampler alone."
    )


# ---- by Character Prompt


def add_prompt_nodes(editor: Editor, places: list[Place], insert: Insert, load: str) -> None:
    """Character Prompt in front of every text; one node for each different text."""
    open_places = [p for p in places if not _has_words(editor, p)]
    for place in places:
        if place not in open_places:
            _into_ours(editor, place, insert)
    _refuse_negative(editor, places, insert)
    texts = {role: _by_text(open_places, insert, role == "negative") for role in ("positive", "negative")}
    if len(texts["positive"]) == len(texts["negative"]) == 1:
        (positive,), (negative,) = texts["positive"].values(), texts["negative"].values()
        return _join(editor, load, positive, negative, insert)
    for found in texts["positive"].values():
        _join(editor, load, found, [], insert)
    for found in texts["negative"].values():
        _join(editor, load, [], found, insert)


def _by_text(places: list[Place], insert: Insert, negative: bool) -> dict[str, list[Place]]:
    given = insert.negative if negative else insert.prompt
    groups: dict[str, list[Place]] = {}
    for place in places:
        if place.negative == negative:
            value = place.value if given is None else given
            groups.setdefault(json.dumps(value), []).append(place)
    return groups


def _join(editor: Editor, load: str, positive: list[Place], negative: list[Place], insert: Insert) -> None:
    """One Character Prompt for these inputs, which all hold the same text."""
    text = _text(editor, positive[0], insert) if positive else ""
    avoid = _text(editor, negative[0], insert) if negative else ""
    added = editor.add(WORDS, "Character Prompt", character=[load, 0], text=text, negative=avoid)
    for output, places in enumerate((positive, negative)):
        for place in places:
            editor.set(place.encoder.node.id, place.name, [added, output])
    for places, value, given in ((positive, text, insert.prompt), (negative, avoid, insert.negative)):
        if places:
            names = listed([f"{p.name} of {p.encoder.node}" for p in places])
            role = "negative prompt" if places[0].negative else "prompt"
            told = _told(editor, value, given)
            editor.change(f"The {role} in {names} comes from Character Prompt {added}, which has {told}.")


def _text(editor: Editor, place: Place, insert: Insert) -> Any:
    """What goes into Character Prompt: the user's text, else the workflow's, with the trigger words of the stack."""
    given = insert.negative if place.negative else insert.prompt
    value = place.value if given is None else given
    if place.negative:
        return value
    if isinstance(value, str):
        return joined_triggers(value, insert.loras)
    return _concatenated(editor, value, joined_triggers("", insert.loras), after=True)


def _told(editor: Editor, value: Any, given: str | None) -> str:
    if link := as_link(value):
        node = editor.workflow.nodes.get(link[0])
        return f"the text of {node}" if node else "the workflow's text and the trigger words of the stack"
    return f"{'your' if given is not None else 'its'} text {shortened(value)}"


def _concatenated(editor: Editor, link: Any, words: str, after: bool) -> Any:
    """A linked text with words before or behind it, joined when the graph runs."""
    if not words:
        return link
    first, second = (link, words) if after else (words, link)
    added = editor.add("StringConcatenate", "Words", string_a=first, string_b=second, delimiter=", ")
    return [added, 0]


# ---- where there is a Character Prompt already


def _has_words(editor: Editor, place: Place) -> bool:
    return _ours_before(editor, place) is not None


def _ours_before(editor: Editor, place: Place) -> str | None:
    """The Character Prompt, or another node of ours with the character's words, that a text comes from."""
    link, seen = as_link(place.value), set()
    waiting = [link[0]] if link else []
    while waiting:
        node_id = waiting.pop()
        node = editor.workflow.nodes.get(node_id)
        if node is None or node_id in seen:
            continue
        if node.class_type in SPEAKS:
            return node_id
        seen.add(node_id)
        waiting += [edge.source for edge in editor.workflow.into[node_id]]
    return None


def _into_ours(editor: Editor, place: Place, insert: Insert) -> None:
    """The user's text into a Character Prompt that is there."""
    ours = _ours_before(editor, place)
    given, name = (insert.negative, "negative") if place.negative else (insert.prompt, "text")
    if ours is None or (given is None and (place.negative or not insert.loras)):
        return
    value = editor.get(ours, name) if given is None else given
    if not place.negative:
        value = joined_triggers(value, insert.loras) if isinstance(value, str) else value
    if editor.get(ours, name) != value:
        editor.set(ours, name, value)
        editor.change(f"{editor.node(ours)}: {name} is {shortened(value)}.")


def _refuse_negative(editor: Editor, places: list[Place], insert: Insert) -> None:
    if insert.negative and not any(p.negative for p in places):
        editor.refuse(
            "The workflow has no negative prompt that is used (it is zeroed out, or its guider takes none): leave the "
            "negative text away."
        )


# ---- as text, for graphs without our nodes


def write_words(editor: Editor, places: list[Place], insert: Insert, profile: Profile) -> None:
    """The character's words written into the texts; in front of a linked text by ComfyUI's own node."""
    _refuse_negative(editor, places, insert)
    for place in places:
        given = insert.negative if place.negative else insert.prompt
        value = place.value if given is None else given
        made = _written(profile, value, place.negative, insert) if isinstance(value, str) else None
        if made is None:
            words = prompt.negative(profile, "") if place.negative else _words(profile, insert)
            made = value if _joined_before(editor, value, words) else _concatenated(editor, value, words, after=False)
        if made != place.value:
            editor.set(place.encoder.node.id, place.name, made)
            words = "the character's words" + (" to keep out" if place.negative else "")
            told = shortened(made) if isinstance(made, str) else f"{words}, and what was linked there"
            editor.change(f"{place.encoder.node}: {place.name} is {told}.")


def _words(profile: Profile, insert: Insert) -> str:
    return joined_triggers(prompt.positive(profile, ""), insert.loras) if insert.words else ""


def _written(profile: Profile, text: str, negative: bool, insert: Insert) -> str:
    """The text with the character's words, each once."""
    if not insert.words:
        return text if negative else joined_triggers(text, insert.loras)
    if negative:
        return text if profile.negative.strip() and profile.negative.strip() in text else prompt.negative(profile, text)
    told = profile.description.strip()
    if told and told in text:
        profile = profile.model_copy(update={"description": ""})
    return joined_triggers(prompt.positive(profile, text), insert.loras)


def _joined_before(editor: Editor, value: Any, words: str) -> bool:
    link = as_link(value)
    node = editor.workflow.nodes.get(link[0]) if link else None
    return node is not None and node.class_type == "StringConcatenate" and node.inputs.get("string_a") == words


def set_prompts(editor: Editor, places: list[Place], insert: Insert) -> None:
    """The user's texts, with the trigger words of the stack, without the character's words."""
    _refuse_negative(editor, places, insert)
    for place in places:
        given = insert.negative if place.negative else insert.prompt
        made = _text(editor, place, insert)
        if made != place.value:
            editor.set(place.encoder.node.id, place.name, made)
            editor.change(f"{place.encoder.node}: {place.name} is {_told(editor, made, given)}.")
