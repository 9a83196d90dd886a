"""How long a cached, compiled character takes to prepare: open its profile and faces, read the compiled identity,
and mix keys and values for one set of strengths. No model file is read.

    python benchmarks/prepare_identity.py [--family sd15|sdxl] [--variant "Plus V2"] [--runs 20] [--json FILE]

Makes a random adapter of the real widths, compiles it once, and prints milliseconds per step (min, median)
and the bytes read and held.
"""

from __future__ import annotations

import importlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import support
from support import ROOT, VARIANTS


def timed(name: str, function: Callable[[], object], runs: int) -> dict[str, float]:
    """Milliseconds"""
    function()
    taken = []
    for _ in range(runs):
        begun = time.perf_counter()
        function()
        taken.append((time.perf_counter() - begun) * 1000)
    found = {"min_ms": min(taken), "median_ms": statistics.median(taken)}
    print(f"{name:18}{found['min_ms']:7.1f} ms min {found['median_ms']:7.1f} ms median")
    return found


def main() -> None:
    parser = support.arguments(str(__doc__), checkout=False)
    parser.add_argument("--family", choices=["sd15", "sdxl"], default="sd15")
    parser.add_argument("--variant", default="Plus V2")
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    name, runs = f"{options.variant} {options.family}", options.runs
    if name not in VARIANTS:
        parser.error(f"there is no {name}; known: {', '.join(VARIANTS)}")
    faceid = support.package("faceid")
    support.package("likeness")
    characters, shelf = (importlib.import_module(f"likeness.{m}") for m in ("character", "library"))
    library = shelf.Library([ROOT / "sample" / "characters"])
    controls = faceid.Controls(weight=0.8, weight_v2=1.0)
    made = support.compiled_identity(name, support.real_widths(options.family))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "identity.safetensors"
        file.write_bytes(faceid.to_bytes(made))
        compiled, size = faceid.from_bytes(file.read_bytes()), file.stat().st_size
        print(f"{name}, {len(compiled.hidden)} layers, file {size / 1e6:.2f} MB, {compiled.storage}")

        def everything() -> object:
            characters.open_character(library, "mara_voss").identity  # noqa: B018
            return faceid.from_bytes(file.read_bytes()).at(controls)

        found = {
            "open character": timed(
                "open character", lambda: characters.open_character(library, "mara_voss").identity, runs
            ),
            "read compiled": timed("read compiled", lambda: faceid.from_bytes(file.read_bytes()), runs),
            "mix strengths": timed("mix strengths", lambda: compiled.at(controls), runs),
            "all of it": timed("all of it", everything, runs),
        }
    mixed = compiled.at(controls)
    held = (mixed.keys.numel() + mixed.values.numel()) * 2
    print(f"held while sampling in fp16: {held / 1e6:.2f} MB")
    about = {"case": name, "file_bytes": size, "held_fp16_bytes": held}
    support.write_json(options.json, {**support.machine(), **about, **found})


if __name__ == "__main__":
    main()
