"""Many pictures of a character by ComfyUI servers: checked, queued, fetched, scored, and written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from .. import images
from ..best_of import BestOf
from ..errors import LikenessError, ServerError
from ..faces.face import Analyser, describe_engine
from ..inject.insert import ApiGraph
from ..scenes.drawn_with import drawn_with
from ..scenes.scene import Scene, made, seed_for
from ..scoring import Judge, Score, unreadable
from ..sweep.graph_key import digest
from .board import Job
from .checks import NodeClasses
from .client import ClientOf, QueueClient, server_url
from .folder import OTHERS, PICTURES, Folder, Request
from .lane import USUAL, Drawn, Event, Missed, Timing
from .manifest import Manifest, Missing, Picture
from .media import Media
from .pool import LaneStatus, Pool
from .sent import SHOWS, as_sent

GraphOf = Callable[[Scene], ApiGraph]
MetadataOf = Callable[[Scene], Mapping[str, Any]]
BLANK = Scene(name="scene", seed=0, prompt="")


def usual_metadata(scene: Scene) -> dict[str, Any]:
    """Text chunks of a scene's PNG files, by name; the same for the same scene."""
    return {"likeness": scene.metadata()}


class UnfitError(ServerError):
    """No server can run the graph. `problems` holds all that was found, one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class Scorer:
    """What measures the pictures."""

    engine: Analyser
    judge: Judge

    def score(self, path: Path) -> Score:
        """Never an error: what cannot be read is not measurable."""
        try:
            pixels = images.read(path)
            return self.judge.score(path.name, self.engine.analyse(pixels), pixels)
        except LikenessError as error:
            return unreadable(path.name, str(error))

    def settings(self) -> dict[str, Any]:
        return {"threshold": self.judge.band.low, "face_model": describe_engine(self.engine)}


@dataclass(frozen=True)
class Found:
    """A scene got pictures, by a server or by an earlier run."""

    pictures: tuple[Picture, ...]
    over: bool  # whether the scene has all that it will get
    earlier: bool  # drawn by an earlier run


@dataclass(frozen=True)
class Tick:
    """A few times a second, while servers draw."""

    over: int  # scenes that have all that they will get
    scenes: int
    servers: tuple[LaneStatus, ...]


Report = Event | Found | Tick
Watch = Callable[[Report], None]


def generate(
    character: str,
    scenes: Iterable[Scene],
    servers: Sequence[str],
    out: Path,
    *,
    graph_of: GraphOf,
    scorer: Scorer | None = None,
    best_of: int = 1,
    check: bool = True,
    metadata_of: MetadataOf = usual_metadata,
    settings: Mapping[str, Any] | None = None,
    watch: Watch = lambda report: None,
    timing: Timing = USUAL,
    own_names: bool = True,
    client_of: ClientOf = QueueClient,
    look: Callable[[Path], None] = lambda path: None,
) -> Manifest:
    """Draw every scene once, by whichever server is free; returns what there is in the end.

    character  its slug, for the manifest
    scenes     with names of their own (`likeness.scenes.variations.scenes_of`)
    servers    addresses of ComfyUIs, "http://127.0.0.1:8188"
    out        a folder; called again with the same one, it goes on, without repeats or gaps
    graph_of   the graph of a scene (`likeness.cli.graphs_scene.scene_graph`, or `likeness.inject`); the same for the
               same scene
    scorer     None: nothing is measured
    best_of    attempts at a scene, with other seeds, until one is accepted; the best is chosen
    check      whether graphs are held against what the servers tell of their nodes before anything is queued
    metadata_of    text chunks that the servers write into a scene's PNG files
    settings   more for the manifest
    watch      is told what happens, in the caller's thread
    own_names  whether files get names of their own on the servers, and graphs tell what they are drawn with; not where
               the graph is to stay as it is to the letter
    client_of  what speaks with a server; `far.Far.client` lets other machines do so
    look       is called in a server's thread with each new file before it is scored; `far.Ahead` has others look

    Raises UnfitError with all problems when no server can run the graphs, ServerError when none answers at first,
    LikenessError when `out` holds pictures of another graph or is in use, or a file cannot be written. A scene that
    cannot be drawn is no error: it is in `missing`. After KeyboardInterrupt our prompts are off the servers' queues,
    and what was drawn is in the folder.
    """
    wanted = [_State(scene, best_of) for scene in _checked(scenes)]
    if best_of < 1 or (best_of > 1 and scorer is None):
        raise LikenessError(
            f"best of {best_of}: attempts are chosen by their scores, so ask for 1, or have them scored."
        )
    shared = digest(graph_of(BLANK))
    folder = Folder(out)
    with folder.opened(shared, character):
        base = Manifest(character, shared, len(wanted), settings={**(settings or {})})
        run = _Run(folder, base, wanted, lambda s: Request(s, graph_of(s), metadata_of(s)), scorer, watch)
        try:
            if asked := run.resumed():
                urls, asks = tuple(dict.fromkeys(map(server_url, servers))), False
                if check:
                    urls, asks = run.fit(urls, asked, timing, client_of)
                send = partial(_sent, asks=asks) if own_names else _as_it_is
                with Pool(urls, _Desk(folder, look), timing, client_of) as pool:
                    run.draw(asked, pool, send)
        finally:
            run.write(last=True)
        return run.manifest()


def _sent(request: Request, asks: bool) -> Request:
    return replace(request, sent=as_sent(request.graph, request.key, asks))


def _as_it_is(request: Request) -> Request:
    return request


@dataclass(frozen=True)
class _Desk:
    """The folder; pictures that are in it are looked at, maybe elsewhere, before anybody is told."""

    folder: Folder
    look: Callable[[Path], None]

    def sent(self, job: Job, server: str, prompt_id: str) -> None:
        self.folder.sent(job, server, prompt_id)

    def keep(self, job: Job, server: str, prompt_id: str, made: tuple[Media, ...], shown: Mapping[str, str]) -> None:
        for name in self.folder.keep(job, server, prompt_id, made, shown):
            self.look(self.folder.place(name))


def _checked(scenes: Iterable[Scene]) -> list[Scene]:
    found = list(scenes)
    names = [scene.name for scene in found]
    if not found:
        raise LikenessError("There is no scene to draw.")
    if twice := sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []:
        raise LikenessError(f"Several scenes are named {', '.join(twice[:5])}: give each a name of its own.")
    return found


@dataclass
class _State:
    """A scene on its way."""

    scene: Scene
    limit: int
    best: BestOf[Picture] = field(init=False)
    pictures: list[Picture] = field(default_factory=list)
    attempts: int = 0
    over: bool = False
    missing: str = ""

    def __post_init__(self) -> None:
        self.best = BestOf(1, self.limit)

    def attempt(self) -> Scene:
        """The scene with the seed of the attempt that is due. Attempts at two scenes share no seed."""
        if not self.attempts:
            return self.scene
        seed = seed_for(self.scene.seed, f"{self.scene.name}\n{self.attempts}")
        return made({**self.scene.model_dump(), "seed": seed})

    def add(self, pictures: Sequence[Picture]) -> None:
        self.attempts += 1
        scored = [(p.score, p) for p in pictures if p.score]
        self.best = self.best.add(self.scene.seed, scored)
        self.over = self.limit == 1 or self.best.done or not scored
        self.pictures += pictures
        if self.limit > 1 and self.best.kept:
            best = self.best.kept[0].picture
            self.pictures = [replace(p, chosen=p.file == best.file) for p in self.pictures]


class _Run:
    def __init__(
        self,
        folder: Folder,
        base: Manifest,
        states: Sequence[_State],
        request_of: Callable[[Scene], Request],
        scorer: Scorer | None,
        watch: Watch,
    ) -> None:
        self._folder, self._base, self._states, self._request_of = folder, base, states, request_of
        self._scorer, self._watch, self._notes = scorer, watch, list[str]()
        self._asked: dict[str, tuple[_State, Request]] = {}
        self._over = 0
        family = base.settings.get("family")
        self._told_family = {"family": family} if family else {}  # for graphs that do not tell it themselves

    def resumed(self) -> list[Request]:
        """Takes what an earlier run has drawn; returns what is to be drawn."""
        return [request for state in self._states if (request := self._next(state))]

    def fit(
        self, servers: Sequence[str], asked: Sequence[Request], timing: Timing, client_of: ClientOf
    ) -> tuple[tuple[str, ...], bool]:
        """(servers that can draw it, whether they can show values)."""
        fit = fit_servers(servers, [request.graph for request in asked], timing, client_of)
        self._notes += fit.notes
        return fit.servers, fit.shows

    def draw(self, asked: Sequence[Request], pool: Pool, send: Callable[[Request], Request]) -> None:
        def add(request: Request) -> None:
            self._folder.ask(sent := send(request))
            pool.add(sent.job(), self._folder.sent_to(sent))

        for request in asked:
            add(request)
        for event in pool.events():
            for request in self._react(event):
                add(request)
            self._watch(Tick(self._over, len(self._states), tuple(pool.status())))

    def _react(self, event: Event | None) -> Iterator[Request]:
        """What is to be drawn after this."""
        if event is not None:
            self._watch(event)
        if isinstance(event, Drawn):
            if event.job.key not in self._asked:
                return  # told before: two servers had it for a moment
            state, request = self._asked.pop(event.job.key)
            self._take(state, request)
            if not state.over and (following := self._next(state)):
                yield following
        elif isinstance(event, Missed) and event.job.key in self._asked:
            state, _ = self._asked.pop(event.job.key)
            state.over, state.missing = True, "" if state.pictures else event.reason
            self._over += 1
            self.write()

    def _next(self, state: _State) -> Request | None:
        """The request that is due for a scene, after all that an earlier run has drawn; None when it has all."""
        while not state.over:
            request = self._request_of(state.attempt())
            self._folder.ask(request)
            if self._folder.done(request) is None:
                self._asked[request.key] = (state, request)
                return request
            self._take(state, request, earlier=True)
        return None

    def _take(self, state: _State, request: Request, earlier: bool = False) -> None:
        done = self._folder.done(request)
        assert done is not None
        found = []
        for file in done.files:
            place = self._folder.place(file.file)
            scored = self._scorer is not None and place.suffix in images.SUFFIXES
            score = self._scorer.score(place) if self._scorer and scored else None
            about = (done.server, done.prompt_id, file.file, file.sha256, done.version, done.date)
            drawn = self._told_family | drawn_with(request.graph, done.told)
            found.append(Picture(request.scene, request.key, *about, drawn, score=score))
        state.add(found)
        self._folder.choose({p.file: p.chosen for p in state.pictures})
        self._over += state.over
        self._watch(Found(tuple(found), state.over, earlier))
        self.write()

    def write(self, last: bool = False) -> None:
        self._folder.write(self.manifest, last)

    def manifest(self) -> Manifest:
        missing = [Missing(s.scene.name, s.scene.seed, s.missing) for s in self._states if s.missing]
        placed = [
            replace(p, file=f"{PICTURES if p.chosen else OTHERS}/{p.file}") for s in self._states for p in s.pictures
        ]
        about = self._scorer.settings() if self._scorer else {}
        families = {p.drawn_with["family"]: None for p in placed if p.drawn_with.get("family")}
        about |= {"family": ", ".join(families)} if families else {}
        notes = [*self._notes, *(self._scorer.judge.notes() if self._scorer else ())]
        return replace(
            self._base,
            pictures=tuple(placed),
            missing=tuple(missing),
            notes=tuple(notes),
            settings={**self._base.settings, **about},
        )


@dataclass(frozen=True)
class Fit:
    """Of several servers."""

    servers: tuple[str, ...]  # that can run all graphs, or do not answer now
    notes: tuple[str, ...]  # for each that is left out
    shows: bool  # whether all that answer have the node that shows values


def fit_servers(
    servers: Sequence[str], graphs: Sequence[ApiGraph], timing: Timing = USUAL, client_of: ClientOf = QueueClient
) -> Fit:
    """UnfitError when none of those that answer can, ServerError when none answers."""
    shows = True
    fit, silent, notes, problems = list[str](), list[str](), list[str](), list[str]()
    for server in servers:
        try:
            classes = NodeClasses(client_of(server, timing.answer).object_info())
        except ServerError as error:
            silent.append(server)
            notes.append(str(error))
            continue
        found = _all_problems(classes, graphs)
        if not found:
            fit.append(server)
            shows = shows and SHOWS in classes.info
            continue
        problems += [f"{server}: {p}" for p in found] if len(servers) > 1 else found
        notes.append(f"{server} was left out: {found[0]}")
    if problems and not fit:
        raise UnfitError(problems)
    if not fit:
        raise ServerError(" ".join(notes) or "No server was named: give the address of a ComfyUI.")
    return Fit((*fit, *silent), tuple(notes), shows)


def _all_problems(classes: NodeClasses, graphs: Sequence[ApiGraph]) -> list[str]:
    """Each once, with the number of graphs that have it where these are some of many."""
    counts: dict[str, int] = {}
    for graph in graphs:
        for problem in classes.problems(graph):
            counts[problem] = counts.get(problem, 0) + 1
    return [p if n == len(graphs) else f"{p} (in {n} of {len(graphs)} graphs)" for p, n in counts.items()]
