"""Score Likeness on the pictures that a workflow saves."""

from __future__ import annotations

import re
from typing import Any

from .edit import Editor, listed
from .insert import Insert
from .trace import LOAD
from .workflow import Edge

_SAVES = re.compile(r"save|combine|video", re.IGNORECASE)
_SHOWS = re.compile(r"preview|send", re.IGNORECASE)
_SCORE = "LikenessScoreLikeness"


def add_scores(editor: Editor, insert: Insert, load: str) -> None:
    """One Score Likeness for each output of pictures that is saved, or shown where none is saved."""
    if any(node.class_type == _SCORE for node in editor.workflow.nodes.values()):
        editor.note("The workflow has Score Likeness already.")
        return
    pictures = _pictures(editor, _SAVES) or _pictures(editor, _SHOWS)
    if not pictures:
        editor.refuse("No node saves or shows pictures that could be scored: leave the score away.")
        return
    load = load or editor.add(LOAD, "Load Character", character=insert.character, lora_version=insert.lora_version)
    for link, readers in pictures.items():
        added = editor.add(_SCORE, "Score Likeness", images=list(link), character=[load, 0])
        editor.change(f"Added Score Likeness {added} for the pictures of {listed(readers)}.")


def _pictures(editor: Editor, rule: re.Pattern[str]) -> dict[tuple[str, int], list[str]]:
    """Outputs of pictures, with the nodes that save them."""
    found: dict[tuple[str, int], list[str]] = {}
    for node in editor.workflow.nodes.values():
        last = not editor.workflow.out_of[node.id] or "video" in node.class_type.lower()
        if last and rule.search(node.class_type):
            for edge in editor.workflow.into[node.id]:
                if _is_picture(editor, edge):
                    found.setdefault((edge.source, edge.slot), []).append(str(node))
    return found


def _is_picture(editor: Editor, edge: Edge) -> bool:
    kind: Any = editor.kinds.of(edge)
    return kind == "image" and edge.name in ("images", "image")
