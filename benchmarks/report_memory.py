"""Memory and speed of `likeness report` over many small pictures: peak RSS after 1,000, 5,000 and 10,000 of them.

    python benchmarks/report_memory.py [--pictures 10000] [--size 256]

Every file is decoded, hashed, judged and written into the journal; the face model is a stand-in that finds one face at
once, so that what is measured is the report and not the model. Each count runs in a process of its own. The pictures
are copies of a few hundred different ones, in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from likeness import images  # noqa: E402
from likeness.calibration import strangers  # noqa: E402
from likeness.character import Character  # noqa: E402
from likeness.faces.face import Face, Pipeline, Pose, Quality  # noqa: E402
from likeness.identity import ReferenceFace  # noqa: E402
from likeness.profile import Profile  # noqa: E402
from likeness.report.document import about, build  # noqa: E402
from likeness.report.finish import files_for, now, pictures_below, save, settings_below  # noqa: E402
from likeness.report.groups import parse_groupings  # noqa: E402
from likeness.report.journal import Journal  # noqa: E402
from likeness.report.measure import Measures, measure_folder  # noqa: E402
from likeness.scoring import judge_for  # noqa: E402

DIFFERENT = 400
PIPELINE = Pipeline(pack="stand-in", detector="d" * 64, recogniser="e" * 64)


class StandIn:
    """Finds one face in every picture: the same person with some noise."""

    pipeline = PIPELINE
    providers = ("none",)

    def __init__(self) -> None:
        centre = np.zeros(512, np.float32)
        centre[0] = 1.0
        self._around = centre + 0.8 * strangers(centre, 512)

    def analyse(self, image: images.RGB8) -> tuple[Face, ...]:
        return (self.face(int(image[0, 0, 0]) + int(image[0, 1, 0])),)

    def face(self, number: int) -> Face:
        crop = np.zeros((224, 224, 3), np.uint8)
        box, points = np.array([10, 10, 90, 90], np.float32), np.zeros((5, 2), np.float32)
        pose = Pose(number % 100 / 100 - 0.5, 0.5, 0.0)
        quality = Quality(80.0, 200.0, 120.0, 0.0)
        return Face(box, points, 0.9, self._around[number % 512], crop, pose, quality, "640")


def make(folder: Path, count: int, size: int) -> None:
    """`count` PNG files in subfolders of 500."""
    rng = np.random.default_rng(7)
    some = []
    for _ in range(min(DIFFERENT, count)):
        small = rng.integers(0, 256, (size // 8, size // 8, 3)).astype(np.uint8)
        pixels = np.repeat(np.repeat(small, 8, axis=0), 8, axis=1)
        pixels[0, :2] = rng.integers(0, 256, (2, 3))
        some.append(images.encode_png(pixels))
    for i in range(count):
        path = folder / f"run{i // 500:02d}" / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(some[i % len(some)])


def measure(folder: Path, out: Path) -> None:
    """One report; prints figures as JSON."""
    engine = StandIn()
    faces = tuple(ReferenceFace(f"references/{i}.png", 1.0, engine.face(i)) for i in range(3))
    character = Character(Profile(name="Ada", slug="ada"), None, replace(PIPELINE), faces, ())
    judge = judge_for(character, engine, threshold=0.35)
    files, before, began = files_for(out), peak(), time.monotonic()
    measures = Measures(engine, judge)
    measured = measure_folder(folder, measures, Journal(files.journal, measures.key()))
    seconds, half = time.monotonic() - began, peak()
    told = about(judge, engine, title="Memory", source=folder.name, made=now())
    report = build(told, measured, parse_groupings(["folder", "lora"]), settings_below(folder))
    save(report, files, pictures_below(folder))
    print(json.dumps({
        "pictures": len(measured.rows), "rss_before": before, "rss_measured": half, "rss": peak(),
        "rate": len(measured.rows) / seconds, "finish_s": time.monotonic() - began - seconds,
        "json": files.json.stat().st_size, "html": files.html.stat().st_size,
    }))  # fmt: skip


def peak() -> float:
    """Of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=256, help="px")
    parser.add_argument("--one", nargs=2, type=Path, metavar=("FOLDER", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return measure(*arguments.one)
    with tempfile.TemporaryDirectory() as temp:
        for count in (arguments.pictures // 10, arguments.pictures // 2, arguments.pictures):
            folder = Path(temp) / str(count)
            make(folder, count, arguments.size)
            words = [sys.executable, __file__, "--one", folder, Path(temp) / f"{count}.json"]
            ran = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
            v = json.loads(ran.stdout)
            print(
                f"{v['pictures']:>6,} pictures: peak RSS {v['rss_before']:.0f} MiB at the start, "
                f"{v['rss_measured']:.0f} measured, {v['rss']:.0f} written; {v['rate']:.0f} a second, then "
                f"{v['finish_s']:.1f} s; JSON {v['json'] / 1e6:.1f} MB, page {v['html'] / 1e3:.0f} kB",
                flush=True,
            )


if __name__ == "__main__":
    main()
