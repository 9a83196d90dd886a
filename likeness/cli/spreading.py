"""The options that spread a command's faces over machines, and the run that goes ahead of the command.

What goes ahead only fills the embedding cache; the command itself then runs as always, on what the cache knows. So its
answer is the same by construction, and a run that was stopped goes on from there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..faces.face import Analyser
from ..faces.packs import find_pack
from ..remote.client import ClientOf, QueueClient
from ..remote.faces import Filled, PackModel, fill_cache
from ..remote.folder import OTHERS, PICTURES
from ..remote.generating import Scorer
from ..remote.spread import OnRay
from .output import picture_files
from .places import Places

if TYPE_CHECKING:
    from ..remote.far import Far

HERE = "local"


def add_ray_options(parser: argparse.ArgumentParser, draws: bool = False) -> None:
    """For a command that analyses many pictures; `draws`: of servers that the machines ask, too."""
    what = "servers are asked, and faces analysed, by" if draws else "faces are analysed on"
    group = parser.add_argument_group("Ray", f"{what} many machines; the answer stays the same")
    group.add_argument(
        "--ray",
        metavar="WHERE",
        help="'auto': the cluster that RAY_ADDRESS names or this machine belongs to; HOST:PORT: that one; "
        f"{HERE!r}: this machine's cores. Every machine needs Likeness, and the face model at the same path",
    )
    if not draws:
        group.add_argument(
            "--ray-paths",
            action="store_true",
            help="machines read the pictures themselves, at the same paths; default: they are sent",
        )
    group.add_argument("--ray-cpus", type=_share, default=1.0, metavar="N", help="cores for each worker; default: 1")
    group.add_argument(
        "--ray-gpus", type=_share, metavar="N", help="graphics cards for each worker; default: 1 with --provider cuda"
    )


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of cores or cards")
    return value


def ray_of(arguments: argparse.Namespace) -> OnRay | None:
    """Where --ray points; None without it."""
    if getattr(arguments, "ray", None) is None:
        return None
    gpus = arguments.ray_gpus
    if gpus is None:
        gpus = 1.0 if arguments.provider == "cuda" else 0.0
    return OnRay("" if arguments.ray == HERE else arguments.ray, arguments.ray_cpus, gpus)


@dataclass(frozen=True)
class Hands:
    """Who asks servers and looks at what they draw: this machine, or with --ray others."""

    arguments: argparse.Namespace
    places: Places
    far: Far | None = None

    @property
    def client_of(self) -> ClientOf:
        return self.far.client if self.far else QueueClient

    def look_for(self, scorer: Scorer | None, out: Path) -> Callable[[Path], None]:
        """What analyses the faces of a picture before it is scored; those of what lies in `out` are analysed now."""
        if self.far is None or scorer is None:
            return lambda path: None
        from ..remote.far import Ahead

        options, places = self.arguments, self.places
        engines = [engine for engine in (scorer.engine, scorer.judge.second) if engine is not None]
        there = picture_files([folder for name in (PICTURES, OTHERS) if (folder := out / name).is_dir()])
        go_ahead(options, places, engines, there, lambda done, of: None)
        models = [(model_of(engine, places, options.provider), engine.pipeline) for engine in engines]
        return Ahead(self.far.looks, models, places.cache, max(int(options.ray_cpus), 1))


@contextmanager
def hands_of(arguments: argparse.Namespace, places: Places) -> Iterator[Hands]:
    """Connected to Ray where --ray asks for it."""
    on = ray_of(arguments)
    if on is None:
        yield Hands(arguments, places)
        return
    from ..remote.far import far

    with redirect_stdout(sys.stderr), far(on) as hands:
        yield Hands(arguments, places, hands)


def fill(
    arguments: argparse.Namespace,
    places: Places,
    pictures: Sequence[Path],
    model: PackModel,
    progress: Callable[[int, int], None],
    layers: bool = False,
) -> Filled:
    """The faces of the pictures in the cache, analysed where the options say."""
    on = ray_of(arguments)
    with ExitStack() as stack:
        if on is not None:
            from ..remote.on_ray import connected

            stack.enter_context(redirect_stdout(sys.stderr))  # Ray prints what becomes of workers, and answers are JSON
            stack.enter_context(connected(on))
        return fill_cache(
            pictures, model, places.cache, on=on, layers=layers,
            shared=getattr(arguments, "ray_paths", False), progress=progress,
        )  # fmt: skip


def go_ahead(
    arguments: argparse.Namespace,
    places: Places,
    engines: Iterable[Analyser | None],
    pictures: Sequence[Path],
    progress: Callable[[int, int], None],
    layers: bool = False,
) -> None:
    """With --ray, analyse the pictures by each of these face models before the command does; else nothing."""
    if ray_of(arguments) is None or not pictures:
        return
    for engine in engines:
        if engine is not None:
            fill(arguments, places, pictures, model_of(engine, places, arguments.provider), progress, layers)


def model_of(engine: Analyser, places: Places, provider: str) -> PackModel:
    """What opens the same analyser on another machine."""
    pipeline = engine.pipeline
    return PackModel(find_pack(pipeline.pack, places.folders.insightface), provider, pipeline.backend)
