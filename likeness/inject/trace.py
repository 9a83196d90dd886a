"""From the samplers of a workflow back to where their models, text encoders and prompts come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from .families import FamilyOf, Told, told_of
from .kinds import Kinds, ObjectInfo, is_foreign
from .workflow import Edge, Node, Workflow

Role = Literal["positive", "negative", "other"]
Point = tuple[str, int]  # an output: node id, number
APPLY = ("LikenessApplyCharacter", "LikenessApplyCharacters")
WORDS, LOAD = "LikenessCharacterPrompt", "LikenessLoadCharacter"
SPEAKS = (WORDS, "LikenessCharacterVariations", "LikenessCharacterSheet")  # with its words
# Nodes that give their model on although they sample, in packs that chain samplers.
_DRAWS = re.compile(r"sampler|detailer|upscale|inpaint|guider", re.IGNORECASE)
_NO_PICTURES = re.compile(r"train(?!sform)|save", re.IGNORECASE)  # take a model and conditioning for something else
_AREAS = re.compile(
    r"SetArea(Percentage)?$|SetMask|SetAreaPercentageVideo|PairConditioning|Regional|GLIGEN", re.IGNORECASE
)
_SUMS = re.compile(r"Merge(Add|Subtract)", re.IGNORECASE)
_ENCODES = re.compile(r"(CLIP)?TextEncode", re.IGNORECASE)
ASKED = "you asked to leave it alone"
_IMAGE_ONLY = ("ImageOnlyCheckpointLoader",)


@dataclass(frozen=True)
class Encoder:
    """A node that makes conditioning from text, in one role."""

    node: Node
    role: Role
    texts: tuple[str, ...]  # names of its inputs that hold a prompt
    regional: bool = False  # acts in a part of the picture only
    only: bool = False  # makes positive and negative from two inputs of its own


@dataclass(frozen=True)
class Sampler:
    """A node that draws with a model and conditioning: a sampler, a guider, a detailer, or what packs both for one."""

    node: Node
    models: tuple[Point, ...]  # the outputs that its models come from, without patches in between
    clips: tuple[Point, ...]  # likewise of the text encoders that its conditioning comes from, the positive's first
    encoders: tuple[Encoder, ...]
    edges: frozenset[Edge]  # the links that those outputs are read by on the way to it
    has_character: bool  # one of ours is on all its models already
    applied: tuple[Point, ...] = ()  # outputs of ours that are
    why_not: str = ""  # why a character is not for it; "" where it is


@dataclass
class Found:
    """Everything in a workflow that a character has to do with."""

    workflow: Workflow
    kinds: Kinds
    samplers: list[Sampler] = field(default_factory=list)
    hidden: list[Node] = field(default_factory=list)  # samplers whose model cannot be followed
    edges: dict[Point, list[Edge]] = field(default_factory=dict)  # readers of a model, or text encoder, on the way
    told: dict[Point, Told] = field(default_factory=dict)  # the base family of model outputs

    @property
    def checkpoints(self) -> list[Node]:
        """Loaders of the models that draw, in the order of the file."""
        roots = {root for sampler in self.samplers for point in sampler.models for root in roots_of(self, point)}
        return [node for node in self.workflow.nodes.values() if node.id in roots]

    @property
    def loras(self) -> list[Node]:
        return [n for n in self.workflow.nodes.values() if is_lora(n) and not n.class_type.startswith("Likeness")]

    @property
    def prompts(self) -> list[Encoder]:
        """Every text encoder that a sampler draws by, once."""
        found = {(e.node.id, e.role): e for sampler in self.samplers for e in sampler.encoders}
        return list(found.values())


def found_in(
    workflow: Workflow,
    info: ObjectInfo | None = None,
    skip: Iterable[str] = (),
    family_of: FamilyOf | None = None,
) -> Found:
    """Look through a workflow. `skip` names samplers or loaders that are not for the character; `family_of` reads the
    headers of model files that are here."""
    kinds = Kinds(workflow, info)
    drawing = [node for node in workflow.nodes.values() if _draws(kinds, node)]
    left, stops = frozenset(skip), frozenset[str]()
    while True:
        found = Found(workflow, kinds)
        way = _Way(found, stops)
        found.samplers += [way.sampler(node, left) for node in drawing]
        shared = way.shared() - {node.id for node in drawing}
        if shared <= stops:
            break
        stops |= shared
    known = {node.id for node in drawing} | left
    rest = [node for node in workflow.nodes.values() if node.id not in known]
    found.hidden += [node for node in rest if _is_hidden(workflow, kinds, node)]
    way.add_schedulers()
    _tell_families(found, family_of)
    return found


def _tell_families(found: Found, family_of: FamilyOf | None) -> None:
    readers: dict[Point, list[Node]] = {}
    for sampler in found.samplers:
        for point in (*sampler.models, *sampler.applied):
            readers.setdefault(point, []).append(sampler.node)
    for point, nodes in readers.items():
        loaders = [found.workflow.nodes[node_id] for node_id in roots_of(found, point)]
        found.told[point] = told_of(found, loaders, nodes, family_of)


def is_lora(node: Node) -> bool:
    return "lora" in node.class_type.lower()


def roots_of(found: Found, point: Point) -> list[str]:
    """Ids of the loaders that a model output comes from, through LoRAs, patches, merges and switches."""
    return list(dict.fromkeys(node_id for node_id, _ in root_points(found, point)))


def root_points(found: Found, point: Point, kind: Literal["model", "clip"] = "model") -> list[Point]:
    """The outputs of the loaders that a model, or text encoder, comes from."""
    roots, waiting, seen = [], [point], set()
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        parents = parents_of(found, here[0], kind)
        waiting += [(edge.source, edge.slot) for edge in reversed(parents)]
        if not parents:
            roots.append(here)
    return roots


def before(workflow: Workflow, node_id: str) -> set[str]:
    """Ids of the nodes that a node waits for, and its own."""
    waiting, seen = [node_id], {node_id}
    while waiting:
        for edge in workflow.into[waiting.pop()]:
            if edge.source not in seen:
                seen.add(edge.source)
                waiting.append(edge.source)
    return seen


def parents_of(found: Found, node_id: str, kind: Literal["model", "clip"]) -> list[Edge]:
    """Links of that kind into a node; for one that unpacks a pipe, those into the node that packed it."""
    direct = found.kinds.into(node_id, kind)
    pipes = [] if direct else found.kinds.into(node_id, "pipe")
    seen: set[str] = set()
    while pipes and not direct:
        maker = pipes.pop().source
        if maker not in seen:
            seen.add(maker)
            direct = found.kinds.into(maker, kind)
            pipes += [] if direct else found.kinds.into(maker, "pipe")
    return direct


def _draws(kinds: Kinds, node: Node) -> bool:
    if node.class_type.startswith("Likeness") or _NO_PICTURES.search(node.class_type):
        return False
    takes = bool(kinds.into(node.id, "model")) and bool(kinds.into(node.id, "conditioning"))
    declared = kinds.first_output(node.id, "model") is not None
    return takes and (not declared or _DRAWS.search(node.class_type) is not None)


def _is_hidden(workflow: Workflow, kinds: Kinds, node: Node) -> bool:
    """A sampler without a model that can be followed: in a pipe, or of its pack's own kind."""
    if not re.search(r"(?<!up)sampler|detailer", node.class_type, re.IGNORECASE) or not workflow.into[node.id]:
        return False
    if kinds.into(node.id, "model"):
        return False
    own = any(re.search(r"model|transformer|pipeline", e.name, re.IGNORECASE) for e in workflow.into[node.id])
    piped = bool(kinds.into(node.id, "pipe"))
    if piped:
        return not parents_of(Found(workflow, kinds), node.id, "model")
    return own and (is_foreign(node.class_type) or kinds.is_known(node.class_type))


class _Way:
    """Walks from samplers to the outputs behind which nothing changes weights any more, or to nodes in `stops`."""

    def __init__(self, found: Found, stops: frozenset[str]) -> None:
        self._found, self._workflow, self._kinds, self._stops = found, found.workflow, found.kinds, stops

    def shared(self) -> set[str]:
        """Patches that a sampler draws by and that also lead to a LoRA, merge or switch which another one draws by: a
        character before them would come to the other one twice, so it has to come behind them."""
        kinds: tuple[Literal["model", "clip"], ...] = ("model", "clip")
        shared = set()
        for kind in kinds:
            points = [point for point in self._found.edges if self._kinds.output(*point) == kind]
            above, waiting = {node_id for node_id, _ in points}, [node_id for node_id, _ in points]
            while waiting:
                new = {edge.source for edge in parents_of(self._found, waiting.pop(), kind)} - above
                above |= new
                waiting += new
            shared |= {edge.target for point in points for edge in self._found.edges[point] if edge.target in above}
        return shared

    def sampler(self, node: Node, left: frozenset[str]) -> Sampler:
        models, applied = self._points(self._kinds.into(node.id, "model"), "model")
        encoders, aside = self._conditioning(node)
        own = [e for encoder in encoders for e in self._kinds.into(encoder.node.id, "clip")]
        clips, _ = self._points([*own, *self._kinds.into(node.id, "clip")], "clip")
        for edge in aside:  # other nodes on the way, such as GLIGEN's, where they read the same text encoder
            for point in self._points([edge], "clip")[0].keys() & clips.keys():
                clips[point].append(edge)
        why_not = self._why_not(node, list(models), left)
        edges = [edge for readers in (*models.values(), *clips.values()) for edge in readers]
        if not why_not:
            self._note_readers(models | clips)
        has = bool(applied) and not models
        return Sampler(node, tuple(models), tuple(clips), tuple(encoders), frozenset(edges), has, applied, why_not)

    def _note_readers(self, points: dict[Point, list[Edge]]) -> None:
        for point, readers in points.items():
            known = self._found.edges.setdefault(point, [])
            known += [edge for edge in readers if edge not in known]

    def add_schedulers(self) -> None:
        """Whatever else on the way to a sampler reads one of the models, such as a scheduler, reads the same as it."""
        reach = self._reaching({s.node.id for s in self._found.samplers if not s.why_not})
        alone = {edge for sampler in self._found.samplers if sampler.why_not for edge in sampler.edges}
        for point in [p for p in self._found.edges if self._kinds.output(*p) == "model"]:
            for edge in self._workflow.out_of[point[0]]:
                aside = edge.slot == point[1] and edge not in self._found.edges[point]
                if aside and edge not in alone and edge.target in reach and not self._gives_weights(edge):
                    self._found.edges[point].append(edge)

    def _gives_weights(self, edge: Edge) -> bool:
        node = self._workflow.nodes[edge.target]
        return self._kinds.gives(node.id, "model") or node.class_type in APPLY or self._kinds.of(edge) != "model"

    def _reaching(self, samplers: set[str]) -> set[str]:
        """Ids of the nodes that tell a sampler how to go about it, such as schedulers, and what goes with a guider; not
        of those that give it a model, a text encoder, conditioning or pictures."""
        targets = samplers | {e.target for s in samplers for e in self._workflow.out_of[s] if e.name == "guider"}
        reach, waiting = set(targets), list(targets)
        while waiting:
            for edge in self._workflow.into[waiting.pop()]:
                if edge.source not in reach and self._kinds.of(edge) == "other":
                    reach.add(edge.source)
                    waiting.append(edge.source)
        return reach

    def _points(
        self, edges: list[Edge], kind: Literal["model", "clip"]
    ) -> tuple[dict[Point, list[Edge]], tuple[Point, ...]]:
        """The outputs that the links come from, with who reads them, and the outputs of ours that they pass."""
        points: dict[Point, list[Edge]] = {}
        applied: dict[Point, None] = {}
        waiting, seen = list(reversed(edges)), set()
        while waiting:
            edge = waiting.pop()
            if edge in seen:
                continue
            seen.add(edge)
            if self._is_ours(edge.source):
                applied[edge.source, edge.slot] = None
            elif parents := self._through(edge, kind):
                waiting += reversed(parents)
            else:
                points.setdefault((edge.source, edge.slot), []).append(edge)
        return points, tuple(applied)

    def _through(self, edge: Edge, kind: Literal["model", "clip"]) -> list[Edge]:
        """Links into a node that only patches what it is given; [] for one that makes it: loader, LoRA, merge, switch.

        Patches stay behind the character: they must see the weights that are drawn with. A LoRA, merge or switch that
        has the character on one of its ways is gone through: it is missing on the others alone.
        """
        direct = self._kinds.into(edge.source, kind)
        if edge.source in self._stops or len(direct) > 1 or (direct and is_lora(self._workflow.nodes[edge.source])):
            return self._ways_of_it(edge.source, kind)
        return parents_of(self._found, edge.source, kind)

    def _ways_of_it(self, node_id: str, kind: Literal["model", "clip"]) -> list[Edge]:
        """Links into a LoRA, merge or switch where the character is on one of them; else []."""
        parents = parents_of(self._found, node_id, kind)
        has = [e for e in parents if self._is_ours(e.source) or self._applied_before(e.source, kind)]
        if not _SUMS.search(self._workflow.nodes[node_id].class_type):
            return parents if has else []
        return [edge for edge in has if edge.name.endswith("1")]  # on both it would be added twice, or taken away again

    def _is_ours(self, node_id: str) -> bool:
        return self._workflow.nodes[node_id].class_type in APPLY

    def _applied_before(self, node_id: str, kind: Literal["model", "clip"]) -> bool:
        waiting, seen = [node_id], {node_id}
        while waiting:
            for edge in parents_of(self._found, waiting.pop(), kind):
                if self._is_ours(edge.source):
                    return True
                if edge.source not in seen:
                    seen.add(edge.source)
                    waiting.append(edge.source)
        return False

    def _why_not(self, node: Node, models: list[Point], left: frozenset[str]) -> str:
        roots = [self._workflow.nodes[i] for point in models for i in roots_of(self._found, point)]
        if node.id in left or (roots and all(root.id in left for root in roots)):
            return ASKED
        if roots and all(root.class_type in _IMAGE_ONLY for root in roots):
            return "its model makes a video of a finished picture and reads no prompt, so no character can be put on it"
        if roots and all(_is_refiner(root) for root in roots):
            return "its model is a refiner, which neither FaceID nor a LoRA of the base model fits"
        return ""

    # ---- conditioning

    def _conditioning(self, sampler: Node) -> tuple[list[Encoder], list[Edge]]:
        """The text encoders behind a sampler, and links by which other nodes on the way read a text encoder model."""
        encoders: dict[tuple[str, Role], Encoder] = {}
        aside: list[Edge] = []
        waiting = [(e, _role(e.name), False) for e in reversed(self._kinds.into(sampler.id, "conditioning"))]
        waiting.sort(key=lambda w: w[1] == "positive")  # popped from the end: the positive's come first
        seen: set[tuple[Edge, Role]] = set()
        while waiting:
            edge, role, regional = waiting.pop()
            if (edge, role) in seen:
                continue
            seen.add((edge, role))
            node = self._workflow.nodes[edge.source]
            if node.class_type in (*APPLY, "ConditioningZeroOut"):
                continue  # ours have their words; a text that is zeroed out does not count
            parents = self._conditioned(edge, role)
            area = regional or _AREAS.search(node.class_type) is not None
            waiting += [(e, r, area) for e, r in reversed(parents)]
            if not parents or _ENCODES.search(node.class_type):
                encoder = self._encoder(node, role, regional)
                known = encoders.get((node.id, encoder.role))
                if known is None or (known.regional and not regional):
                    encoders[node.id, encoder.role] = encoder
            else:
                aside += self._kinds.into(node.id, "clip")
        return list(encoders.values()), aside

    def _encoder(self, node: Node, role: Role, regional: bool) -> Encoder:
        texts = self._kinds.texts(node)
        negative = [name for name in texts if name.lower().startswith("neg")]
        positive = [name for name in texts if name not in negative]
        both = bool(negative and positive)
        names = negative if both and role == "negative" else positive if both else texts
        for main in ("positive", "global_prompt"):  # the others are parts of it, or of something else
            names = [main] if main in names else names
        return Encoder(node, role, tuple(names), regional, both)

    def _conditioned(self, edge: Edge, role: Role) -> list[tuple[Edge, Role]]:
        """Links of conditioning behind the output that `edge` comes from, with their roles."""
        direct = self._kinds.into(edge.source, "conditioning")
        if not direct:
            for maker in self._packers(edge.source):
                direct = [e for e in self._kinds.into(maker, "conditioning") if _role(e.name) == role]
                if direct:
                    break
        roles = {_role(e.name) for e in direct}
        if "negative" in roles and len(roles) > 1:
            first = 1 if self._kinds.output(edge.source, 0) == "model" else 0
            wanted: Role = role if edge.slot < first else "positive" if edge.slot == first else "negative"
            return [(e, role) for e in direct if _role(e.name) == wanted]
        aside = {"conditioning_from"} if any(e.name == "conditioning_to" for e in direct) else set()
        return [(e, "other" if e.name in aside and role == "positive" else role) for e in direct]

    def _packers(self, node_id: str) -> Iterator[str]:
        waiting, seen = self._kinds.into(node_id, "pipe"), set()
        while waiting:
            maker = waiting.pop().source
            if maker not in seen:
                seen.add(maker)
                yield maker
                waiting += self._kinds.into(maker, "pipe")


def _role(name: str) -> Role:
    lowered = name.lower()
    if lowered.startswith("neg") or "negative" in lowered:
        return "negative"
    return "other" if lowered.startswith("empty") or lowered in ("middle", "cond2") else "positive"


def _is_refiner(node: Node) -> bool:
    return any("refiner" in v.lower() for v in (*node.inputs.values(), node.title) if isinstance(v, str))
