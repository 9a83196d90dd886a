"""A training set from 1,000 PNGs of 1024 px: our build beside a plain Pillow loop, paired, and beside its own stages.

    python benchmarks/training_set_speed.py [--images 1000] [--pairs 5] [--side 768] [--photos FOLDER] [--json FILE]

The pictures are seeded variations of the photos (of drawn shapes where there are none). The plain loop is what people
write: open, crop, resize with Lanczos, save with Pillow's default PNG level, one after the other. No face is
analysed. Wall time; `cpu` is the processor time of all threads.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import support

support.package("likeness")

from PIL import Image  # noqa: E402

from likeness.dataset.buckets import Shape  # noqa: E402
from likeness.dataset.build import build  # noqa: E402
from likeness.dataset.plan import Item, Rules, SetPlan  # noqa: E402
from likeness.dataset.planning import About, plan_set  # noqa: E402
from likeness.dataset.render import render  # noqa: E402
from likeness.dataset.sources import Sources, folder_sources  # noqa: E402
from likeness.dataset.survey import survey  # noqa: E402
from likeness.dataset.workers import CORES  # noqa: E402

RULES = Rules(need_face=False, identity="off", duplicates="keep", picture_sharpness=0.0, lost=1.0)
WHO = About("Ada", "ada", "ohwx", "woman")


def pictures(photos: list[Path], count: int, folder: Path) -> None:
    """In a process of its own, so that its memory is not counted."""
    process = multiprocessing.get_context("spawn").Process(target=make_pictures, args=(photos, count, folder))
    process.start()
    process.join()


def make_pictures(photos: list[Path], count: int, folder: Path, side: int = 1024) -> None:
    rng = np.random.default_rng(7)
    bases = [Image.open(p).convert("RGB").resize((side + 64, side + 64), Image.Resampling.LANCZOS) for p in photos]
    bases = bases or [drawn(rng, side + 64) for _ in range(8)]
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        x, y = (int(v) for v in rng.integers(0, 64, 2))
        grain = rng.integers(-2, 3, (side, side, 1))
        pixels = np.asarray(bases[i % len(bases)].crop((x, y, x + side, y + side)), dtype=np.int16) + grain
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05d}.png", compress_level=1)


def drawn(rng: np.random.Generator, side: int) -> Image.Image:
    small = rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray((smooth + rng.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8))


def plan_of(folder: Path, side: int) -> tuple[SetPlan, Sources, float]:
    begun = time.perf_counter()
    sources = folder_sources(folder)
    seen = survey(sources)
    made = plan_set(
        seen, WHO, lambda asked: f"ohwx woman, {asked.index}", name="speed", shape=Shape.of(side), rules=RULES
    )
    return made.plan, sources, time.perf_counter() - begun


def plain_loop(plan: SetPlan, folder: Path, out: Path) -> None:
    out.mkdir(parents=True)
    for item in plan.items:
        box = (item.box.left, item.box.top, item.box.right, item.box.bottom)
        size = (item.bucket_width, item.bucket_height)
        image = Image.open(folder / item.source).convert("RGB").crop(box).resize(size, Image.Resampling.LANCZOS)
        image.save(out / f"{item.stem}.png")
        (out / f"{item.stem}.txt").write_text(f"{item.caption}\n")


def timed(job: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - cpu


def stages(plan: SetPlan, sources: Sources, count: int = 24) -> tuple[float, float]:
    """Seconds (wall, processor) of one picture's decoding, scaling and encoding, one after the other on one core."""

    def one(item: Item) -> tuple[float, float]:
        source = sources.find(item.source)
        return timed(lambda: render(item, source, plan.rules))

    found = [one(item) for item in plan.items[:count]]
    return statistics.median(wall for wall, _ in found), statistics.fmean(cpu for _, cpu in found)


class Memory:
    """The most that the process holds at a time while it is watched, MB."""

    def __enter__(self) -> Memory:
        self.most, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.most = max(self.most, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    def __exit__(self, *about: object) -> None:
        self._ended.set()
        self._thread.join()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    photos = sorted(p for p in arguments.photos.rglob("*") if p.suffix in (".png", ".jpg")) if arguments.photos else []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        report = measure(Path(scratch), photos[:16], arguments)
    print(json.dumps(report, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2))


def measure(root: Path, photos: list[Path], arguments: argparse.Namespace) -> dict[str, object]:
    block = root / "block"
    pictures(photos, max(arguments.images // 5, 10), block)
    plan, sources, _ = plan_of(block, arguments.side)
    pairs = []
    for number in range(arguments.pairs):
        for out in (root / "theirs", root / "ours"):
            shutil.rmtree(out, ignore_errors=True)
        jobs = [
            lambda: plain_loop(plan, block, root / "theirs"),
            lambda: build(plan, sources, root / "ours" / "speed", nothing),
        ]
        order = (0, 1) if number % 2 else (1, 0)
        took = {i: timed(jobs[i]) for i in order}
        pairs.append((took[0], took[1], stages(plan, sources)))
    ratios = sorted(theirs[0] / ours[0] for theirs, ours, _ in pairs)
    shares = sorted(stage[0] * len(plan.items) / CORES / ours[0] for _, ours, stage in pairs)
    spent = sorted(stage[1] * len(plan.items) / ours[1] for _, ours, stage in pairs)
    quiet = sorted(theirs[1] * CORES / ours[1] for theirs, ours, _ in pairs)
    report: dict[str, object] = {
        "cores": CORES, "images in a pair": len(plan.items), "pairs": len(pairs),
        "plain loop / ours": {"median": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1]},
        "from processor time, all cores free": {"median": statistics.median(quiet), "lowest": quiet[0]},
        "stages / ours": {"median": statistics.median(shares), "lowest": shares[0], "highest": shares[-1]},
        "the same in processor time": {"median": statistics.median(spent), "lowest": spent[0], "highest": spent[-1]},
        "cores that ours used": statistics.median(cpu / wall for _, (wall, cpu), _ in pairs),
        "ms of one picture's stages": 1000 * statistics.median(stage[0] for _, _, stage in pairs),
    }  # fmt: skip
    if arguments.images >= 100:
        report["whole"] = whole(root, photos, arguments)
    return report


def whole(root: Path, photos: list[Path], arguments: argparse.Namespace) -> dict[str, object]:
    """All pictures once, and a quarter of them: the memory must not grow with their number."""
    folder, few = root / "all", root / "few"
    pictures(photos, arguments.images, folder)
    few.mkdir()
    for path in sorted(folder.iterdir())[: arguments.images // 4]:
        path.rename(few / path.name)
    held = {}
    for name, place in (("quarter", few), ("rest", folder)):
        with Memory() as looking:
            plan, sources, looked = plan_of(place, arguments.side)
        with Memory() as building:
            wall, cpu = timed(lambda: build(plan, sources, root / name / "speed", nothing))  # noqa: B023
        held[name] = {
            "images": len(plan.items), "survey and plan s": looked, "build s": wall, "build cpu s": cpu,
            "most MB held": [looking.most, building.most],
        }  # fmt: skip
    return held


def nothing(plan: SetPlan, folder: Path, regular: SetPlan | None) -> dict[str, bytes]:
    """No trainer's files."""
    return {}


if __name__ == "__main__":
    main()
