"""`likeness best-of`: any graph, queued with one seed after the other until enough pictures are accepted.

DIR/best_of.json    what was drawn: seed, files, score of each; read again when the command is repeated
DIR/pictures/       the pictures as ComfyUI made them, <seed>_<number>.<png>
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import images
from ..best_of import BestOf, Kept, next_seed
from ..errors import LikenessError
from ..faces.face import Analyser, describe_engine
from ..files import atomic_write, read_limited
from ..inject import read_workflow_file
from ..remote.client import QueueClient
from ..scoring import Judge, Score, describe, unreadable
from ..sweep.graph_key import digest
from .graphs import ApiGraph
from .output import say, slug_named
from .own_server import show_seconds
from .places import Places
from .rated import check_graph
from .scoring import judge_of

JOURNAL, PICTURES = "best_of.json", "pictures"
_SECONDS = 3600.0  # one attempt; video and large models on a slow machine take long
_LIMIT = 64 << 20  # bytes of a journal
_NAMES = ("seed", "noise_seed")
_SOURCE = "LikenessSeed"


@dataclass(frozen=True)
class Seeds:
    """Where a graph's seeds are, and what they are there."""

    places: tuple[tuple[str, str], ...]  # (node id, input)
    first: int

    def at(self, graph: ApiGraph, seed: int) -> ApiGraph:
        """The graph with that seed instead of the first; several seeds keep their distance."""
        changed = {**graph}
        for node_id, name in self.places:
            node = changed[node_id]
            moved = next_seed(node["inputs"][name], seed - self.first)
            changed[node_id] = {**node, "inputs": {**node["inputs"], name: moved}}
        return changed

    def key(self, graph: ApiGraph) -> str:
        """A digest of the graph without titles and first seed; how far the others are from it counts."""
        plain = {i: {"class_type": n["class_type"], "inputs": n["inputs"]} for i, n in self.at(graph, 0).items()}
        first = graph[self.places[0][0]]["inputs"][self.places[0][1]]
        for node_id, name in self.places:
            apart = (graph[node_id]["inputs"][name] - first) % 2**64
            plain[node_id]["inputs"] = {**plain[node_id]["inputs"], name: apart}
        return digest(plain)


def find_seeds(graph: ApiGraph, node_id: str = "") -> Seeds:
    """Every seed that is a number: of the named node, else of the Seed node, else of all nodes. LikenessError: none."""
    if node_id and node_id not in graph:
        raise LikenessError(f"The graph has no node {node_id}: give the id of a node with a seed to --seed-node.")
    found = [
        (i, name)
        for i, node in graph.items()
        for name in _NAMES
        if node_id in ("", i) and type(node["inputs"].get(name)) is int
    ]
    own = [place for place in found if graph[place[0]]["class_type"] == _SOURCE]
    places = tuple(own or found)
    if not places:
        where = f"Node {node_id}" if node_id else "The graph"
        raise LikenessError(
            f"{where} has no seed that is a number (inputs named {' or '.join(_NAMES)}): add a Seed node, or name "
            "the node with --seed-node."
        )
    return Seeds(places, graph[places[0][0]]["inputs"][places[0][1]])


@dataclass(frozen=True)
class Folder:
    """What earlier calls left in --out. Pictures are scored anew, so another threshold may be asked for."""

    path: Path
    key: str

    def drawn(self) -> dict[int, list[str]]:
        """File names by seed. LikenessError when the folder belongs to another graph."""
        journal = self.path / JOURNAL
        if not journal.exists():
            return {}
        try:
            stored = json.loads(read_limited(journal, _LIMIT))
            key, rows = stored["graph"], stored["pictures"]
            found: dict[int, list[str]] = {seed: [] for seed in stored["seeds"]}
            for row in rows:
                found[row["seed"]].append(Path(row["file"]).name)
        except (ValueError, KeyError, TypeError) as error:
            raise LikenessError(f"{journal} cannot be read ({error!r}): delete it, or choose another --out.") from error
        if key != self.key:
            raise LikenessError(f"{self.path} holds pictures of another graph: choose another --out.")
        return {seed: names for seed, names in found.items() if all((self.pictures / n).is_file() for n in names)}

    @property
    def pictures(self) -> Path:
        return self.path / PICTURES

    def keep(self, client: QueueClient, seed: int, made: Sequence[dict[str, str]]) -> list[str]:
        """Fetch an attempt's pictures; returns their file names."""
        names = []
        for number, image in enumerate(made, 1):
            suffix = Path(image["filename"]).suffix.lower()
            if suffix in images.SUFFIXES:
                names.append(f"{seed}_{number}{suffix}")
                atomic_write(self.pictures / names[-1], client.fetch(image))
        return names

    def write(self, values: dict[str, Any]) -> None:
        atomic_write(self.path / JOURNAL, json.dumps(values, indent=2, ensure_ascii=False).encode())


@dataclass
class Search:
    """One call of the command."""

    folder: Folder
    graph: ApiGraph
    seeds: Seeds
    engine: Analyser
    judge: Judge
    best: BestOf[str]  # pictures are file names
    rows: list[dict[str, Any]]
    tried: list[int]

    def run(self, client: QueueClient) -> None:
        """Attempt after attempt; what is drawn is on disk before the next one begins."""
        there = self.folder.drawn()
        while not self.best.done:
            seed = next_seed(self.seeds.first, self.best.attempts)
            names = there.get(seed)
            if names is None:
                made = client.run(self.seeds.at(self.graph, seed), _SECONDS, show_seconds).saved()
                names = self.folder.keep(client, seed, made)
            self._add(seed, names)
            self.folder.write(self.values(there))

    def _add(self, seed: int, names: Sequence[str]) -> None:
        scored = [(self._score(name), name) for name in names]
        self.best = self.best.add(seed, scored)
        self.tried.append(seed)
        self.rows += [{"seed": seed, "file": f"{PICTURES}/{n}", **s.as_dict()} for s, n in scored]
        found = "; ".join(describe(s) for s, _ in scored) or "the graph saved no picture"
        print(f"{self.best.attempts} of {self.best.limit}: seed {seed}: {found}", file=sys.stderr)

    def _score(self, name: str) -> Score:
        try:
            pixels = images.read(self.folder.pictures / name)
            return self.judge.score(name, self.engine.analyse(pixels), pixels)
        except LikenessError as error:
            return unreadable(name, str(error))

    def values(self, there: dict[int, list[str]]) -> dict[str, Any]:
        """The journal. Earlier calls' pictures of other seeds stay in it, unscored, so that none is drawn again."""
        others = {seed: names for seed, names in there.items() if seed not in self.tried}
        rows = [{"seed": s, "file": f"{PICTURES}/{n}"} for s, names in others.items() for n in names]
        return {
            "graph": self.folder.key,
            "outcome": self.best.outcome(),
            "wanted": self.best.wanted,
            "limit": self.best.limit,
            "attempts": self.best.attempts,
            "accepted": self.best.accepted,
            "threshold": self.judge.band.low,
            "best": [k.picture for k in self.best.chosen(only_accepted=False)],
            "seeds": [*self.tried, *others],
            "seed_inputs": [f"{node}.{name}" for node, name in self.seeds.places],
            "pictures": [*self.rows, *rows],
            "notes": self.judge.notes(),
            "face_model": describe_engine(self.engine),
        }


def best_of(arguments: argparse.Namespace, places: Places) -> int:
    """Exit code 1 when fewer pictures were accepted than wanted."""
    graph: ApiGraph = dict(read_workflow_file(arguments.graph).graph)  # type: ignore[arg-type]
    seeds = find_seeds(graph, arguments.seed_node)
    check_graph(places.library(), graph, [places.library().get(slug_named(arguments.name))])
    engine, judge = judge_of(arguments, places, arguments.name)
    folder = Folder(arguments.out, seeds.key(graph))
    best: BestOf[str] = BestOf(arguments.wanted, arguments.limit)
    search = Search(folder, graph, seeds, engine, judge, best, [], [])
    search.run(QueueClient(arguments.server))
    say(arguments, _report(search), search.values({}))
    return int(search.best.accepted < search.best.wanted)


def _report(search: Search) -> str:
    def line(kept: Kept[str]) -> str:
        return f"{search.folder.pictures / kept.picture}: seed {kept.seed}, {describe(kept.score)}"

    chosen = search.best.chosen(only_accepted=False)
    return "\n".join([search.best.outcome(), *map(line, chosen), *search.judge.notes()])


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that are this command's own."""
    parser.add_argument("name", help="the character that the pictures should show")
    parser.add_argument("graph", type=Path, help="any graph, saved with Export (API)")
    parser.add_argument("--wanted", type=_count, default=1, metavar="N", help="accepted pictures that are enough")
    parser.add_argument("--limit", type=_count, default=20, metavar="N", help="attempts at most")
    parser.add_argument("--server", default="http://127.0.0.1:8188", metavar="URL", help="a ComfyUI that runs")
    parser.add_argument("--out", type=Path, default=Path("best_of"), help="folder for pictures and best_of.json")
    parser.add_argument("--seed-node", default="", metavar="ID", help="change this node's seed only")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return int(text)
