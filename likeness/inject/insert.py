"""What to put into a workflow, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ..lora_stack import StackEntry
from ..profile import Profile
from .families import FamilyOf

How = Literal["auto", "nodes", "lora", "replace"]
HOW: tuple[str, ...] = get_args(How)
ApiGraph = dict[str, dict[str, Any]]  # id -> {"class_type", "inputs": name -> value or [id, output], "_meta"}


@dataclass(frozen=True)
class Insert:
    """A character and what goes with it.

    how  auto     swap the character where the workflow has our nodes; replace the LoRA where a loader is meant for the
                  character (`replace`, a title that says "character", or the LoRA of a known character); else add nodes
         nodes    add Load Character, Apply Character and Character Prompt; the server needs this pack
         lora     add the character's LoRA by ComfyUI's own loaders and write its words into the prompts; needs no pack
         replace  put the character's LoRA into loaders that are there, and its words into the prompts; needs no pack
    """

    character: str  # slug
    profile: Profile | None = None  # what it has; needed by "lora" and "replace", and to refuse early
    how: How = "auto"
    family: str = ""  # base family of the models; "" is told by the workflow, else found when the graph runs
    prompt: str | None = None  # the scene; None keeps the workflow's texts
    negative: str | None = None  # None keeps the workflow's
    seed: int | None = None  # 0..2**64-1; None keeps the workflow's
    words: bool = True  # whether the character's words go into the prompts
    prompt_in: tuple[str, ...] = ()  # ids of the text encoders that take them; () is decided by the graph
    replace: tuple[str, ...] = ()  # LoRA loaders to replace: "12", or "12:lora_name_2" where it holds several
    skip: tuple[str, ...] = ()  # ids of samplers or model loaders to leave alone
    load: str = ""  # id of the Load Character node to change, where there are several
    loras: tuple[StackEntry, ...] = ()  # on top of the character's own
    score: bool = False  # add Score Likeness to the pictures that are saved
    method: str = "auto"  # of Apply Character
    strengths: str = "profile"  # of Apply Character: "profile" or a preset's name
    lora_version: int = 0  # of Load Character: 0 is the active one
    known_loras: frozenset[str] = frozenset()  # LoRA files of all characters of the library
    family_of: FamilyOf | None = None  # reads the header of a model file that the workflow names, where it is here


@dataclass(frozen=True)
class Injected:
    """A workflow with a character in it."""

    graph: ApiGraph  # as POST /prompt takes it under "prompt"
    document: Mapping[str, Any]  # the graph in the wrapping that the file had, else the graph itself
    changes: tuple[str, ...]  # what was changed, one sentence each
    notes: tuple[str, ...] = ()  # what was left alone, and what to know
    added: tuple[str, ...] = ()  # ids of new nodes
    how: str = "nodes"  # "nodes", "lora", "replace" or "swap"
    seeds: Mapping[str, int] = field(default_factory=dict)  # "<id>.<input>" -> what it draws with now

    def as_dict(self) -> dict[str, Any]:
        """The report for programs, without the graph."""
        return {
            "how": self.how,
            "changes": list(self.changes),
            "notes": list(self.notes),
            "added": list(self.added),
            "seeds": dict(self.seeds),
        }

    def report(self) -> str:
        """The report for people."""
        return "\n".join([*self.changes, *(f"Note: {note}" for note in self.notes)])
