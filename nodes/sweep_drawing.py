"""The part of a graph that draws a sweep's pictures: where it is, what it depends on, whether it can be tuned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..likeness.character import Character, open_character
from ..likeness.errors import LikenessError
from ..likeness.lora_versions import ACTIVE
from ..likeness.paths import slug_of
from ..likeness.sweep.graph_key import describe, digest, file_names, is_link, plain_model, upstream, used_outputs
from ..likeness.sweep.plan import AXES, Plan
from ..likeness.sweep.report import swept_strengths
from ..likeness.sweep.run import shape_of
from . import host
from .load_character import NONE_YET
from .on_model import PROFILE
from .sweep_values import OUTPUTS

APPLY = ("LikenessApplyCharacter", "LikenessApplyCharacters")
_SOURCE = "LikenessSweepValues"
_PEOPLE = ("LikenessLoadCharacter", "LikenessCreateCharacter")
_REGISTER, _CANDIDATE = "LikenessRegisterLoRA", 1  # its output of that place draws with the new version


@dataclass(frozen=True, repr=False)
class Drawing:
    """The part of a graph that draws a sweep's pictures."""

    nodes: Any  # comfy_execution.graph.DynamicPrompt
    source: str  # id of Sweep Values
    picture: list[Any]  # link to the picture

    @property
    def rows(self) -> list[Any]:
        """The part as JSON values."""
        return describe(self.nodes.get_node, self.picture, self.source)

    @property
    def model(self) -> list[Any] | None:
        """Link to the model without the sweep's strengths."""
        return plain_model(self.nodes.get_node, self.picture, self.source)

    @property
    def _parts(self) -> list[dict[str, Any]]:
        """The nodes, without the source."""
        return [row for row in self.rows if isinstance(row, dict)]

    @property
    def appliers(self) -> list[dict[str, Any]]:
        """The nodes that put a character on a model."""
        return [row for row in self._parts if row["class_type"] in APPLY]

    @property
    def tried(self) -> list[str]:
        """LoRA versions that characters are drawn with though they are not the active ones, in words."""
        inputs = [part["inputs"].get("lora_version", ACTIVE) for part in self._parts if part["class_type"] in _PEOPLE]
        loaded = [
            f"LoRA version {i}" if isinstance(i, int) else "a LoRA version from a link" for i in inputs if i != ACTIVE
        ]
        return [*loaded, *(["the LoRA version of Register LoRA's candidate"] if self._draws_candidate else [])]

    @property
    def _draws_candidate(self) -> bool:
        nodes = upstream(self.nodes.get_node, self.picture, self.source)
        links = [value for node in nodes.values() for value in node["inputs"].values() if is_link(value)]
        used = {(nodes[link[0]]["class_type"], int(link[1])) for link in links if link[0] in nodes}
        return (_REGISTER, _CANDIDATE) in used

    @property
    def slugs(self) -> list[str]:
        """Characters that the part loads, sorted."""
        return slugs_of(self.rows)

    def stamps(self, tuned: Character) -> list[Any]:
        """What changes with the files that the part is drawn from: models, pictures, characters.

        `tuned`, whose profile the sweep itself may change, is described by `drawing_key`.
        """
        people = {tuned.slug: tuned} | {s: open_character(host.library(), s) for s in self.slugs if s != tuned.slug}
        active = [s.lora.file for c in people.values() for s in c.profile.base.values() if s.lora is not None]
        others = [shape_of(person) for slug, person in people.items() if slug != tuned.slug]
        models = host.stamps_named([*file_names(self.rows), *active])
        auto = _auto_stamps() if self.appliers else []
        return [models, auto, others, self._states]

    @property
    def _states(self) -> list[str]:
        """What the other nodes say of the files they read, for example a picture's; ComfyUI has asked them."""
        nodes = upstream(self.nodes.get_node, self.picture, self.source).values()
        told = [[n["class_type"], n.get("is_changed")] for n in nodes if n["class_type"] not in (*APPLY, *_PEOPLE)]
        return sorted(str(state) for state in told if "nan" not in str(state[1]).lower())  # NaN: changed at every run


def _auto_stamps() -> list[Any]:
    """Of the files that "auto" may take beside a character's own: adapters, their LoRAs, image encoders."""
    companions = [list(s) for s in host.file_stamps("loras") if "faceid" in s[0].lower()]
    return [*map(list, host.file_stamps("ipadapter")), *companions, *map(list, host.file_stamps("clip_vision"))]


def slugs_of(rows: list[Any]) -> list[str]:
    """Characters that a graph's rows load or make, sorted."""
    inputs = [row["inputs"] for row in rows if isinstance(row, dict) and row["class_type"] in _PEOPLE]
    named = [i.get("character") or i.get("name") for i in inputs]
    return sorted({slug_of(name) for name in named if isinstance(name, str) and name.strip()} - {slug_of(NONE_YET)})


def drawing_of(nodes: Any, node_id: str, plan: Plan) -> Drawing:
    """The drawing part of the graph that a Tune Strengths node stands in. LikenessError where it is not wired."""
    inputs = nodes.get_node(node_id)["inputs"]
    source = _source(nodes, inputs["sweep"][0])
    made = Drawing(nodes, source, list(inputs["image"]))
    used = {OUTPUTS[place] for place in used_outputs(nodes.get_node, made.picture, source)}
    swept = [axis.name for axis in plan.axes] if "sweep" not in used else []
    needed = [*swept, *(["seed"] if len(plan.seeds) > 1 else []), *(["prompt"] if len(plan.prompts) > 1 else [])]
    if loose := [name for name in needed if name not in used]:
        hint = " Its sweep output into Apply Character carries all strengths." if set(loose) & set(AXES) else ""
        raise LikenessError(
            f"The picture does not depend on {', '.join(loose)} of Sweep Values, so all pictures would be alike: "
            f"connect it, or give it one value only.{hint}"
        )
    return made


def _source(nodes: Any, node_id: str) -> str:
    """The Sweep Values node, behind whatever only passes its value on."""
    while nodes.get_node(node_id)["class_type"] != _SOURCE:
        links = [v for v in nodes.get_node(node_id)["inputs"].values() if is_link(v)]
        if len(links) != 1:
            raise LikenessError("Tune Strengths needs the sweep output of a Sweep Values node: connect that.")
        node_id = links[0][0]
    return node_id


def check_drawn(drawing: Drawing, judged: list[Any]) -> None:
    """LikenessError where the graph draws other characters than the one that is judged. `judged`: rows of its node."""
    known, drawn = slugs_of(judged), drawing.slugs
    if known and drawn and not set(known) & set(drawn):
        raise LikenessError(
            f"Tune Strengths judges {', '.join(known)}, and the graph draws {', '.join(drawn)}: connect one character "
            "to both."
        )


def check_profile(drawing: Drawing, character: Character) -> None:
    """LikenessError where the graph draws with other settings than the profile's, beside which the winner is written.

    The strengths of the winner were found together with those that were not swept; a profile has its own.
    """
    if tried := drawing.tried:
        raise LikenessError(
            f"The graph draws with {tried[0]}, which may not be the active one, and the winner would be written beside "
            "the active one's strengths: draw with the character as it is saved (lora_version 0, Register LoRA's "
            "character), or only report."
        )
    methods = {settings.method for settings in character.profile.base.values()}
    for node in drawing.appliers:
        strengths, method = (node["inputs"].get(name) for name in ("strengths", "method"))
        if strengths not in (None, PROFILE):
            raise LikenessError(
                f"Apply Character draws with strengths {strengths!r}, and the winner would be written beside the "
                f"profile's own: set its strengths to {PROFILE}, or only report."
            )
        if method not in (None, host.AUTO) and method not in methods:
            raise LikenessError(
                f"Apply Character draws with method {method}, and the profile of {character.slug} with another: set "
                "its method to auto, write the method into the profile, or only report."
            )


def check_family(character: Character, plan: Plan, wanted: str, drawn: str) -> str:
    """The base family to write the winner for. LikenessError where it or one of the cells does not fit the profile.

    `drawn`: the model's family, "other" where it is not known.
    """
    if wanted not in (host.AUTO, drawn) and drawn != "other":
        raise LikenessError(f"The graph draws with a {drawn} model, and family says {wanted}: set it to auto.")
    family = drawn if wanted == host.AUTO else wanted
    for cell in plan.cells:
        swept_strengths(character.profile, family, cell)
    return family


def source_key(nodes: Any, inputs: dict[str, Any], *names: str) -> str:
    """A digest of what the linked inputs of those names are made by."""
    links = [inputs.get(name) for name in names]
    return digest([describe(nodes.get_node, link, "") if is_link(link) else None for link in links])[:8]
