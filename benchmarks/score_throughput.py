"""Faces of many pictures: `analyse_many` beside a plain loop of `insightface.app.FaceAnalysis.get`, paired.

    python benchmarks/score_throughput.py --photos FOLDER... --pack FOLDER [--pairs 10] [--images 1000]
                                          [--rss 10000] [--crowd FILE] [--json FILE]

`--pack` is a model folder with a detector and a recogniser. The models of a full pack that are missing in it are
replaced by stand-ins with random weights (face_stand_ins.py). The pictures are seeded variations of the photos, written
as files of the same format; each program reads them from disk. Our cache is not used. Wall time.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import shutil
import statistics
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import support

support.package("likeness")

from PIL import Image  # noqa: E402

from likeness import images  # noqa: E402
from likeness.faces import analyser as analyser_module  # noqa: E402
from likeness.faces.analyser import OnnxAnalyser  # noqa: E402
from likeness.faces.packs import find_packs  # noqa: E402
from likeness.faces.stream import AHEAD, WORKERS, Analysed, analyse_many  # noqa: E402

BLOCK = 24  # pictures per pair


class Counted:
    """A session that remembers which runs it made."""

    made: ClassVar[Counter[tuple[str, tuple[int, ...]]]] = Counter()
    sessions: ClassVar[dict[str, Any]] = {}
    lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, session: Any, name: str) -> None:
        self._session, self._name = session, name
        Counted.sessions[name] = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, outputs: Any, feed: dict[str, Any]) -> Any:
        with Counted.lock:
            Counted.made[self._name, next(iter(feed.values())).shape] += 1
        return self._session.run(outputs, feed)


def replay(runs: Counter[tuple[str, tuple[int, ...]]], share: float) -> float:
    """Seconds of the same runs, one after the other, nothing else going on; `share` of each kind."""
    rng, total = np.random.default_rng(0), 0.0
    for (name, shape), count in runs.items():
        session, times = Counted.sessions[name], max(1, round(count * share))
        feed = {session.get_inputs()[0].name: rng.uniform(-1, 1, shape).astype(np.float32)}
        begun = time.perf_counter()
        for _ in range(times):
            session.run(None, feed)
        total += (time.perf_counter() - begun) * count / times
    return total


def variations(photos: Sequence[Path], count: int, folder: Path, side: int = 0) -> list[Path]:
    """`count` pictures that differ a little from the photos and from each other; `side` px square if given."""
    made, rng = [], np.random.default_rng(7)
    for i in range(count):
        source = photos[i % len(photos)]
        pixels = images.read(source)
        cut, gain = rng.integers(0, 4, 2), 1 + 0.04 * rng.uniform(-1, 1)
        pixels = (pixels[cut[0] :, cut[1] :] * gain).clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(pixels)
        path = folder / f"{i:05d}{source.suffix}"
        (picture.resize((side, side)) if side else picture).save(path, quality=92)
        made.append(path)
    return made


def stream(analyser: OnnxAnalyser, files: Sequence[Path], **options: Any) -> Iterator[Analysed[Path]]:
    return analyse_many(((f, partial(images.read, f)) for f in files), analyser, **options)


def insightface_app(pack: Path, scratch: Path, full: bool) -> Any:
    """`FaceAnalysis` with the pack's two models, and with `full` the three others."""
    import face_stand_ins
    from insightface.app import FaceAnalysis

    folder = scratch / "models" / ("full" if full else "two")
    folder.mkdir(parents=True)
    for file in pack.glob("*.onnx"):
        shutil.copy(file, folder)
    if full and not all((folder / name).is_file() for name in face_stand_ins.STAND_INS):
        face_stand_ins.write(folder)
    with contextlib.redirect_stdout(io.StringIO()):
        app = FaceAnalysis(folder.name, root=str(scratch), providers=["CPUExecutionProvider"])
        app.prepare(ctx_id=-1, det_size=(640, 640))
    return app


def loop(app: Any, files: Sequence[Path]) -> int:
    import cv2

    return sum(len(app.get(cv2.imread(str(file)))) for file in files)


def timed(function: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def pairs(runs: dict[str, Callable[[Sequence[Path]], Any]], files: Sequence[Path]) -> dict[str, list[float]]:
    """Seconds of each on the same block of pictures, block after block, the order turned each time."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for name in names:
        runs[name](files[:4])
    for number, start in enumerate(range(0, len(files) - BLOCK + 1, BLOCK)):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            taken[name].append(timed(partial(runs[name], files[start : start + BLOCK])))
    return taken


def share_of_models(analyser: OnnxAnalyser, files: Sequence[Path]) -> dict[str, float]:
    """Time of the models alone / time of the stream, in quarters, each with its own models beside it."""
    alone = whole = faces = empty = 0.0
    quarter = -(-len(files) // 4)
    for start in range(0, len(files), quarter):
        Counted.made.clear()
        begun = time.perf_counter()
        for result in stream(analyser, files[start : start + quarter]):
            faces += len(result.faces)
            empty += not result.faces
        whole += time.perf_counter() - begun
        alone += replay(Counter(Counted.made), 0.5)
    return {"share": alone / whole, "seconds": whole, "models": alone, "faces": faces, "without a face": empty}


def resident(analyser: OnnxAnalyser, files: Sequence[Path], count: int, marks: Sequence[int]) -> dict[int, float]:
    """Peak resident MB of this process when so many pictures have gone through."""
    found = {}
    again = [files[i % len(files)] for i in range(count)]
    for done, _ in enumerate(stream(analyser, again), 1):
        if done in marks:
            found[done] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"  after {done:6d} pictures: peak {found[done]:.0f} MB", flush=True)
    return found


class Interrupt(Exception):
    """What a caller raises to stop."""


def stopping(analyser: OnnxAnalyser, files: Sequence[Path], repeats: int = 10) -> list[float]:
    """Seconds from the moment a stop is asked for until the stream's threads are gone."""
    taken = []
    for i in range(repeats):
        at = time.perf_counter() + 0.3 + 0.13 * i

        def check(at: float = at) -> None:
            if time.perf_counter() > at:
                raise Interrupt

        with contextlib.suppress(Interrupt):
            list(stream(analyser, files, check=check))
        while any(t.name.startswith("likeness-") for t in threading.enumerate()):
            time.sleep(0.002)
        taken.append(time.perf_counter() - at)
    return taken


def main() -> None:
    parser = support.arguments(__doc__ or "", checkout=False)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--images", type=int, default=1000, help="for the share of the models")
    parser.add_argument("--rss", type=int, default=0, help="pictures of 256 px for the memory, detected at 160")
    parser.add_argument("--crowd", type=Path, help="a photo of many people")
    options = parser.parse_args()
    photos = sorted(p for f in options.photos for p in f.rglob("*") if p.suffix in images.SUFFIXES)
    pack = next(p for p in find_packs([options.pack.parents[1]]) if p.name == options.pack.name)
    opened = analyser_module.open_session
    analyser_module.open_session = lambda path, *rest: Counted(opened(path, *rest), path.name)
    options.found, analyser = pack, OnnxAnalyser(pack, "cpu")
    print(f"{len(photos)} photos, pack {pack.name}, {os.cpu_count()} cores, {WORKERS} workers, {AHEAD} ahead")
    warnings.simplefilter("ignore", FutureWarning)  # of the libraries that InsightFace uses
    with tempfile.TemporaryDirectory() as name:
        found = measure(options, analyser, photos, Path(name))
    support.write_json(options.json, found)


def measure(options: Any, analyser: OnnxAnalyser, photos: Sequence[Path], scratch: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if options.rss:  # first, because a peak never falls
        (small := scratch / "small").mkdir()
        files = variations(photos, 200, small, 256)
        quick = OnnxAnalyser(options.found, "cpu", det_sizes=(160,))
        found["rss"] = resident(quick, files, options.rss, (100, 1000, 5000, 10000))
    (folder := scratch / "pictures").mkdir()
    files = variations(photos, max(options.images, options.pairs * BLOCK), folder)
    if options.pairs:
        found |= compare(options, analyser, files, scratch)
    if options.images:
        found["share"] = share_of_models(analyser, files[: options.images])
        print("models alone / stream: {share:.3f}".format(**found["share"]), found["share"])
    if len(files) >= 100:  # fewer are done before the last stop is asked for
        found["stopping"] = stopping(analyser, files)
        print(f"stopping: median {statistics.median(found['stopping']):.3f} s, worst {max(found['stopping']):.3f} s")
    return found | single(options, analyser, scratch)


def compare(options: Any, analyser: OnnxAnalyser, files: Sequence[Path], scratch: Path) -> dict[str, Any]:
    full, two = (insightface_app(options.pack, scratch, full) for full in (True, False))
    runs = {
        "stream": lambda some: list(stream(analyser, some)),
        "one by one": lambda some: [analyser.analyse(images.read(f)) for f in some],
        "all models": partial(loop, full),
        "two models": partial(loop, two),
    }
    np.random.default_rng(3).shuffle(files := list(files))
    taken = pairs(runs, files[: options.pairs * BLOCK])
    print({name: f"{1e3 * sum(t) / len(t) / BLOCK:.1f} ms a picture" for name, t in taken.items()})
    for name in ("all models", "two models", "one by one"):
        print(f"{name} / stream: {support.Ratio.of(taken[name], taken['stream'])}, {options.pairs} pairs")
    return {"seconds": taken, "pictures per pair": BLOCK}


def single(options: Any, analyser: OnnxAnalyser, scratch: Path) -> dict[str, Any]:
    """One picture each: a crowd, and 50 megapixels."""
    found = {}
    if options.crowd:
        found["crowd"] = statistics.median(timed(lambda: list(stream(analyser, [options.crowd]))) for _ in range(5))
        print(f"{options.crowd.name}: {found['crowd']:.2f} s")
    large = scratch / "large.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (700, 1000, 3), np.uint8)).resize((8400, 5900)).save(
        large
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["50 MP"] = timed(lambda: list(stream(analyser, [large])))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"50 MP without a face, every rung of the ladder: {found['50 MP']:.2f} s, peak {before:.0f} -> {after:.0f} MB"
    )
    return found


if __name__ == "__main__":
    main()
