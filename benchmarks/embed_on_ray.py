"""Faces of many pictures: analysed in one process, beside the same on Ray with all cores of this machine, paired.

    python benchmarks/embed_on_ray.py --photos FOLDER... --pack FOLDER [--images 64] [--pairs 5] [--paths] [--json FILE]

Needs `pip install ray`. Both fill an empty cache and read the files from disk. On one machine Ray can win nothing but
what a process leaves of its cores; the ratio, local / Ray in wall time, tells what sending, other processes and a model
for each worker cost. Starting Ray is timed apart. The pictures are copies of the photos that differ a little.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import support

support.package("likeness")

from likeness import images  # noqa: E402
from likeness.faces.packs import FacePack, find_packs  # noqa: E402
from likeness.remote.faces import PackModel, fill_cache  # noqa: E402
from likeness.remote.on_ray import connected  # noqa: E402
from likeness.remote.spread import OnRay  # noqa: E402


def copies(photos: list[Path], count: int, folder: Path) -> list[Path]:
    """Each with one pixel of its own, so that no two have one entry in the cache."""
    made = []
    for i in range(count):
        pixels = images.read(photos[i % len(photos)]).copy()
        pixels[0, 0] = (i % 256, i // 256, 7)
        made.append(folder / f"{i:05d}.png")
        made[-1].write_bytes(images.encode_png_fast(pixels))
    return made


def seconds(pictures: list[Path], model: PackModel, cache: Path, on: OnRay | None, paths: bool) -> float:
    shutil.rmtree(cache, ignore_errors=True)
    begun = time.perf_counter()
    filled = fill_cache(pictures, model, cache, on=on, shared=paths)
    taken = time.perf_counter() - begun
    assert filled.analysed == len(pictures), filled
    return taken


def the_pack(folder: Path) -> FacePack:
    return next(p for p in find_packs([folder.parent.parent, folder.parent]) if p.name == folder.name)


def main() -> None:
    parser = support.arguments(__doc__ or "", checkout=False)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--pack", type=Path, required=True, help="folder with a detector and a recogniser")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--paths", action="store_true", help="workers read the files themselves")
    options = parser.parse_args()
    photos = sorted(p for f in options.photos for p in f.rglob("*") if p.suffix.lower() in images.SUFFIXES)
    model = PackModel(the_pack(options.pack.resolve()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = copies(photos, options.images, folder)
        begun = time.perf_counter()
        with connected(OnRay()):
            started = time.perf_counter() - begun
            ways: dict[str, OnRay | None] = {"local": None, "ray": OnRay()}
            for on in ways.values():  # open the models
                seconds(pictures[:32], model, folder / "cache", on, options.paths)
            taken: dict[str, list[float]] = {way: [] for way in ways}
            for i in range(options.pairs):
                for way in sorted(ways, reverse=bool(i % 2)):
                    taken[way].append(seconds(pictures, model, folder / "cache", ways[way], options.paths))
    ratio = support.Ratio.of(taken["local"], taken["ray"])
    rates = {way: len(pictures) / statistics.median(values) for way, values in taken.items()}
    print(f"{len(pictures)} pictures, {ratio.pairs} pairs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"local {rates['local']:.1f} a second, Ray {rates['ray']:.1f} a second; starting Ray took {started:.1f} s")
    print(f"local / Ray {ratio} (above 1: Ray is faster)")
    support.write_json(options.json, {"ratio": ratio, "seconds": taken, "start": started, **support.machine()})


if __name__ == "__main__":
    main()
