"""How long a cached, compiled character takes to prepare: open its profile and faces, read the compiled identity,
and mix keys and values for one set of strengths. No model file is read.

    python benchmarks/prepare_identity.py [--family sd15|sdxl] [--runs 20]

Makes a random adapter of the real widths, compiles it once, and prints milliseconds per step (min, median)
and the bytes read and held.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from faceid import CompiledIdentity, cross_attentions  # noqa: E402
from faceid.compiled import Provenance  # noqa: E402
from likeness.character import open_character  # noqa: E402
from likeness.library import Library  # noqa: E402

TOKENS = 4


def widths(family: str) -> tuple[int, ...]:
    """Hidden width of every cross-attention of the published models, adapter order."""
    wide = {"sd15": {1: 320, 2: 320, 4: 640, 5: 640}, "sdxl": {4: 640, 5: 640}}[family]
    tail = {"sd15": {6: 640, 7: 640, 8: 640, 9: 320, 10: 320, 11: 320}, "sdxl": {3: 640, 4: 640, 5: 640}}[family]
    by_block = {"input": wide, "output": tail, "middle": {}}
    return tuple(by_block[place.block].get(place.id, 1280) for place in cross_attentions(family))


def random_identity(family: str) -> CompiledIdentity:
    hidden = widths(family)
    shape = (2, 2, TOKENS, sum(hidden))  # Plus V2: base and shortcut, cond and uncond
    generator = torch.Generator().manual_seed(0)
    keys, values = (torch.randn(shape, generator=generator) for _ in range(2))
    about = Provenance(family, "faceid_plus_v2", "random.bin", 1, "0" * 64, "benchmark", "none", "average")
    return CompiledIdentity(about, hidden, keys, values)


def timed(function: Callable[[], object], runs: int) -> str:
    function()
    taken = []
    for _ in range(runs):
        begun = time.perf_counter()
        function()
        taken.append((time.perf_counter() - begun) * 1000)
    return f"{min(taken):7.1f} ms min {statistics.median(taken):7.1f} ms median"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=["sd15", "sdxl"], default="sd15")
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    library = Library([ROOT / "sample" / "characters"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "identity.safetensors"
        file.write_bytes(random_identity(arguments.family).to_bytes())
        compiled = CompiledIdentity.from_bytes(file.read_bytes())

        def everything() -> object:
            open_character(library, "mara_voss").identity  # noqa: B018
            return CompiledIdentity.from_bytes(file.read_bytes()).at(0.8, 1.0)

        print(f"{arguments.family}, Plus V2, {len(compiled.hidden)} layers, file {file.stat().st_size / 1e6:.2f} MB")
        print("open character   ", timed(lambda: open_character(library, "mara_voss").identity, arguments.runs))
        print("read compiled    ", timed(lambda: CompiledIdentity.from_bytes(file.read_bytes()), arguments.runs))
        print("mix strengths    ", timed(lambda: compiled.at(0.8, 1.0), arguments.runs))
        print("all of it        ", timed(everything, arguments.runs))
        mixed = compiled.at(0.8, 1.0)
        held = (mixed.keys.numel() + mixed.values.numel()) * 2
        print(f"held while sampling in fp16: {held / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
